"""A receiver of TLS reports: Python's HTTP server with TLS.

Usage: report_receiver.py ADDRESS PORT RECORD CHAIN KEY

Each report that is posted becomes a line of RECORD: its path, its type, and the report itself.
"""

import gzip
import http.server
import json
import ssl
import sys

address, port, record, chain, key = sys.argv[1:]


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        line = {"path": self.path, "type": self.headers["Content-Type"], "report": json.loads(gzip.decompress(body))}
        with open(record, "a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(chain, key)
server = http.server.ThreadingHTTPServer((address, int(port)), Receiver)
server.socket = tls.wrap_socket(server.socket, server_side=True)
server.serve_forever()
