"""Sends a message to a server and waits for it at a destination: one_message.py SERVER_PORT DESTINATION_PORT"""
import smtplib
import socket
import sys
import time

server, destination = int(sys.argv[1]), int(sys.argv[2])
PATIENCE_S = 20
CONTENT = b"From: a@static.test\r\nSubject: static\r\n\r\nIt has arrived.\r\n"

listener = socket.create_server(("127.0.0.1", destination))
listener.settimeout(PATIENCE_S)

end = time.monotonic() + PATIENCE_S
while True:
    try:
        client = smtplib.SMTP("127.0.0.1", server, timeout=PATIENCE_S)
        break
    except ConnectionRefusedError:
        if time.monotonic() > end:
            raise
        time.sleep(0.05)
client.sendmail("a@static.test", ["b@static.test"], CONTENT)
client.quit()

connection, _ = listener.accept()
connection.settimeout(PATIENCE_S)
lines = connection.makefile("rwb")


def say(text):
    lines.write(text + b"\r\n")
    lines.flush()


say(b"220 destination")
content, in_content = b"", False
while line := lines.readline():
    if in_content:
        if line == b".\r\n":
            in_content = False
            say(b"250 taken")
            if b"It has arrived." in content:
                sys.exit(0)
        else:
            content += line
    elif line.upper().startswith(b"DATA"):
        in_content = True
        say(b"354 go ahead")
    else:
        say(b"250 destination")
sys.exit("the message did not arrive")
