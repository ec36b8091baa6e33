"""A webhook's endpoint, written against the published scheme alone (Standard Webhooks), not against Ringpost.

Usage: webhook_receiver.py PORT SECRET_FILE RECORD [CERTIFICATE KEY]. Appends to RECORD a line of JSON for each request:
its id, and its events, or why it is refused.
"""

import base64
import hashlib
import hmac
import http.server
import json
import ssl
import sys
import time

PORT, SECRET_FILE, RECORD, *TLS = sys.argv[1:]
TOLERANCE_S = 300


def verdict(headers, body):
    """Why a request is not genuine, or nothing."""
    message_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
    if abs(time.time() - int(timestamp)) > TOLERANCE_S:
        return "too old, or from the future"
    with open(SECRET_FILE) as file:
        secret = base64.b64decode(file.read().strip().removeprefix("whsec_"))
    signed = b".".join([message_id.encode(), timestamp.encode(), body])
    expected = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    offered = [signature.split(",", 1) for signature in headers["webhook-signature"].split(" ")]
    if not any(version == "v1" and hmac.compare_digest(value, expected) for version, value in offered):
        return "the signature is wrong"
    return None


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        refusal = verdict(self.headers, body)
        entry = {"id": self.headers["webhook-id"], "path": self.path, "refusal": refusal}
        if refusal is None:
            entry["events"] = json.loads(body)["events"]
        with open(RECORD, "a") as record:
            record.write(json.dumps(entry) + "\n")
        self.send_response(204 if refusal is None else 401)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(PORT)), Receiver)
if TLS:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*TLS)
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
