"""An SMTP destination with STARTTLS by OpenSSL, through Python's ssl.

Usage: tls_destination.py ADDRESS PORT RECORD none
       tls_destination.py ADDRESS PORT RECORD modern|requiretls|tls1|static-rsa CHAIN KEY

One JSON object a line goes to RECORD: handshakes that failed, and messages with what TLS came to.
"""

import json
import socket
import ssl
import sys
import threading

address, port, record, mode, *files = sys.argv[1:]
lock = threading.Lock()


def note(**what):
    with lock, open(record, "a", encoding="utf-8") as out:
        out.write(json.dumps(what) + "\n")


def context():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*files)
    if mode == "tls1":
        tls.minimum_version = tls.maximum_version = ssl.TLSVersion.TLSv1
        tls.set_ciphers("ALL:@SECLEVEL=0")
    elif mode == "static-rsa":
        tls.maximum_version = ssl.TLSVersion.TLSv1_2
        tls.set_ciphers("AES256-SHA256:AES128-SHA:@SECLEVEL=0")
    return tls


def serve(stream):
    reader = stream.makefile("rb")
    tls, mail, rcpt = None, "", []
    say = lambda line: stream.sendall(line.encode() + b"\r\n")
    say("220 destination.test ESMTP")
    while line := reader.readline():
        command = line.decode("utf-8", "replace").strip()
        verb = command.split(" ")[0].upper()
        if verb == "EHLO":
            offers = [] if mode == "none" else ["STARTTLS"]
            if tls:
                offers = ["DSN", "REQUIRETLS"] if mode == "requiretls" else []
            lines = ["destination.test", *offers]
            for line in lines[:-1]:
                say("250-" + line)
            say("250 " + lines[-1])
        elif verb == "STARTTLS" and mode != "none":
            say("220 go ahead")
            try:
                stream = context().wrap_socket(stream, server_side=True)
            except (ssl.SSLError, OSError) as error:
                return note(handshake=str(error))
            reader = stream.makefile("rb")
            tls = [stream.version(), stream.cipher()[0]]
        elif verb == "MAIL":
            mail, rcpt = command, []
            say("250 ok")
        elif verb == "RCPT":
            rcpt.append(command)
            say("250 ok")
        elif verb == "DATA":
            say("354 go ahead")
            content = b""
            while (line := reader.readline()) != b".\r\n":
                if not line:
                    return
                content += line
            note(message=content.decode("utf-8", "replace"), mail=mail, rcpt=rcpt, tls=tls)
            say("250 2.0.0 taken")
        elif verb == "QUIT":
            return say("221 bye")
        else:
            say("250 ok")


def visit(stream):
    with stream:
        try:
            serve(stream)
        except OSError:
            pass


listener = socket.create_server((address, int(port)))
while True:
    threading.Thread(target=visit, args=(listener.accept()[0],), daemon=True).start()
