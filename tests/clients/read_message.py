"""Reads a message from standard input with Python's email package and shows what is in it, as JSON."""

import email
import email.policy
import json
import sys

message = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)


def content(kind):
    part = message.get_body(preferencelist=(kind,))
    return part.get_content().replace("\r\n", "\n") if part else None


def attachment(part):
    return {"name": part.get_filename(), "type": part.get_content_type(), "bytes": len(part.get_payload(decode=True))}


fields = {}
for name, value in message.items():
    fields.setdefault(name.lower(), []).append(str(value))
defects = [str(defect) for part in message.walk() for defect in part.defects]
defects += [f"{name}: {defect}" for name, value in message.items() for defect in getattr(value, "defects", ())]
json.dump(
    {
        "fields": fields,
        "defects": defects,
        "subject": message["Subject"],
        "text": content("plain"),
        "html": content("html"),
        "attachments": [attachment(part) for part in message.iter_attachments()],
    },
    sys.stdout,
)
