"""The clients and the destination of tests/host/run.

    load.py sink PORT FILE           a destination: takes everything, appends the number of each message to FILE
    load.py greet PORT SECONDS       succeeds if whoever connects is greeted by the machine's name within this time
    load.py submit FILE [PASSWORD]   clients that submit without a pause until standard input ends; FILE gets a JSON report:
                                     numbers that were answered 250, and everything that went wrong
"""

import asyncio
import json
import re
import smtplib
import socket
import ssl
import sys
import threading
from email.message import EmailMessage

USER = "app@host.test"
# Longer than a restart may take; a client that waits must not be the one that gives up.
PATIENCE_S = 100


async def take(reader, writer, numbers):
    """One session of the destination, which pipelines nothing and refuses nothing."""
    writer.write(b"220 sink.test ESMTP\r\n")
    while line := await reader.readline():
        command = line[:4].upper()
        if command == b"DATA":
            writer.write(b"354 go on\r\n")
            content = await reader.readuntil(b"\r\n.\r\n")
            numbers.write(re.search(rb"^X-Number: (\S+)", content, re.M).group(1).decode() + "\n")
            numbers.flush()
        writer.write(b"221 bye\r\n" if command == b"QUIT" else b"250 ok\r\n")
        await writer.drain()
        if command == b"QUIT":
            break
    writer.close()


async def sink(port, file):
    numbers = open(file, "a")
    server = await asyncio.start_server(lambda r, w: take(r, w, numbers), "127.0.0.1", port, limit=1 << 20)
    await server.serve_forever()


class Client(threading.Thread):
    """Submits one message after another; `connect` opens a session, which carries `per_session` of them."""

    def __init__(self, name, connect, per_session, stop):
        super().__init__()
        self.prefix, self.connect, self.per_session, self.stop = name, connect, per_session, stop
        self.accepted, self.troubles, self.turned_away, self.sent = [], [], 0, 0

    def run(self):
        while not self.stop.is_set():
            try:
                self.session()
            except Exception as error:  # whatever it is, it is the result of the test
                self.troubles.append(f"{self.prefix}-{self.sent}: {type(error).__name__}: {error}")

    def session(self):
        connection = self.connect()
        for place in range(self.per_session):
            self.sent += 1
            number = f"{self.prefix}-{self.sent}"
            message = EmailMessage()
            message["From"], message["To"], message["X-Number"] = USER, "a@sink.test", number
            message.set_content("Hello")
            try:
                connection.send_message(message)
            except (smtplib.SMTPServerDisconnected, smtplib.SMTPResponseException) as error:
                # A session that has had its message may be told to come again (421): what it had no 250 for, it sends again.
                if place == 0 or not (isinstance(error, smtplib.SMTPServerDisconnected) or error.smtp_code == 421):
                    raise
                self.turned_away += 1
                return
            self.accepted.append(number)
        connection.quit()


def submit(file, password):
    def relay():
        return smtplib.SMTP("127.0.0.1", 25, timeout=PATIENCE_S)

    def submissions():
        connection = smtplib.SMTP_SSL("127.0.0.1", 465, timeout=PATIENCE_S, context=insecure())
        connection.login(USER, password)
        return connection

    stop = threading.Event()
    clients = [Client(f"relay{n}", relay, 1, stop) for n in range(4)] + [Client("kept", relay, 1000, stop)]
    if password:
        clients += [Client(f"submissions{n}", submissions, 1, stop) for n in range(2)]
    for client in clients:
        client.start()
    sys.stdin.read()
    stop.set()
    for client in clients:
        client.join()
    report = {
        "accepted": sum((client.accepted for client in clients), []),
        "troubles": sum((client.troubles for client in clients), []),
        "turned_away": sum(client.turned_away for client in clients),
    }
    with open(file, "w") as out:
        json.dump(report, out)


def insecure():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def greet(port, patience_s):
    connection = socket.create_connection(("127.0.0.1", port), timeout=patience_s)
    if port == 465:
        connection = insecure().wrap_socket(connection)
    greeting = connection.recv(512)
    sys.exit(None if greeting.startswith(b"220 mta.host.test ") else f"greeted with {greeting!r}")


if sys.argv[1] == "greet":
    greet(int(sys.argv[2]), float(sys.argv[3]))
elif sys.argv[1] == "sink":
    asyncio.run(sink(int(sys.argv[2]), sys.argv[3]))
else:
    submit(sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None)
