"""Speaks a dialogue over SMTP byte for byte, as a client does that cannot be started here; the environment says where.

A dialogue is a text file. Its lines before the first empty one:
    # …          a remark
    HELLO NAME   the client connects, says EHLO NAME and, where SMTP_TLS says so, STARTTLS and EHLO again
    > LINE       it sends LINE; several in a row go out in one write
    * CONTENT    it sends the message as it is, for BDAT
    * DOTTED     it sends the message with its dots doubled and the final dot, for DATA
    < CODE       a reply must begin with CODE; another one is shown, and the dialogue ends with failure
and after that line, the message. In both, {user}, {from}, {to}, {plain} (AUTH PLAIN's response), {login_user} and
{login_password} (AUTH LOGIN's) and {size} (octets of the message) are filled in.
"""

import base64
import os
import socket
import ssl
import sys
from pathlib import Path

env = os.environ


def encoded(text):
    return base64.b64encode(text.encode()).decode()


class Connection:
    def __init__(self, name):
        context = ssl.create_default_context()
        self.socket = socket.create_connection((env["SMTP_HOST"], int(env["SMTP_PORT"])), timeout=60)
        if env["SMTP_TLS"] == "implicit":
            self.secure(context)
        self.expect("220")
        self.say(f"EHLO {name}\r\n".encode())
        self.expect("250")
        if env["SMTP_TLS"] == "starttls":
            self.say(b"STARTTLS\r\n")
            self.expect("220")
            self.secure(context)
            self.say(f"EHLO {name}\r\n".encode())
            self.expect("250")

    def secure(self, context):
        self.socket = context.wrap_socket(self.socket, server_hostname=env["SMTP_HOST"])

    def say(self, octets):
        self.socket.sendall(octets)

    def expect(self, code):
        # Unbuffered: what follows a reply to STARTTLS belongs to TLS.
        reader = self.socket.makefile("rb", buffering=0)
        lines = [reader.readline().decode()]
        while lines[-1][3:4] == "-":
            lines.append(reader.readline().decode())
        print("".join(lines), end="")
        if not lines[-1].startswith(code):
            sys.exit(f"expected {code}")


def speak(steps, message):
    connection, pending = None, b""
    for kind, _, rest in (step.partition(" ") for step in steps if not step.startswith("#")):
        if kind == "HELLO":
            connection = Connection(rest)
        elif kind == ">":
            pending += f"{rest}\r\n".encode()
        elif (kind, rest) == ("*", "CONTENT"):
            pending += message
        elif (kind, rest) == ("*", "DOTTED"):
            pending += (b"\r\n" + message).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"
        elif kind == "<":
            connection.say(pending)
            pending = b""
            connection.expect(rest)
        else:
            sys.exit(f"what does {kind!r} mean?")


words = {
    "user": env["SMTP_USER"],
    "from": env["SMTP_FROM"],
    "to": env["SMTP_TO"],
    "plain": encoded(f"\0{env['SMTP_USER']}\0{env['SMTP_PASSWORD']}"),
    "login_user": encoded(env["SMTP_USER"]),
    "login_password": encoded(env["SMTP_PASSWORD"]),
}
dialogue, _, content = Path(sys.argv[1]).read_text().partition("\n\n")
message = content.format(**words).replace("\n", "\r\n").encode()
speak(dialogue.format(**words, size=len(message)).splitlines(), message)
