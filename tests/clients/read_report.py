"""Reads a message that carries a TLS report (RFC 8460 §5.3) with Python's email package; prints what it says as JSON."""

import email
import email.policy
import gzip
import json
import sys

message = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
text, file = message.iter_parts()
print(json.dumps({
    "type": message.get_content_type(),
    "report-type": message.get_param("report-type"),
    "domain": message["TLS-Report-Domain"],
    "submitter": message["TLS-Report-Submitter"],
    "subject": message["Subject"],
    "to": message["To"],
    "signature": message["DKIM-Signature"],
    "text": text.get_content_type(),
    "file-type": file.get_content_type(),
    "file-name": file.get_filename(),
    "report": json.loads(gzip.decompress(file.get_content())),
    "defects": [str(defect) for part in message.walk() for defect in part.defects],
}))
