"""A policy host of MTA-STS: Python's HTTP server with TLS.

Usage: policy_host.py ADDRESS PORT RECORD CHAIN KEY POLICY

Serves the file POLICY at its well-known place, as it is at each request, and writes each request's host to RECORD.
"""

import http.server
import ssl
import sys

address, port, record, chain, key, policy = sys.argv[1:]


class Host(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open(record, "a", encoding="utf-8") as out:
            out.write(self.headers["Host"] + "\n")
        if self.path != "/.well-known/mta-sts.txt":
            return self.send_error(404)
        with open(policy, "rb") as file:
            body = file.read()
        if body.startswith(b"http"):
            self.send_response(302)
            self.send_header("Location", body.decode().strip())
            body = b""
        else:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(chain, key)
server = http.server.ThreadingHTTPServer((address, int(port)), Host)
server.socket = tls.wrap_socket(server.socket, server_side=True)
server.serve_forever()
