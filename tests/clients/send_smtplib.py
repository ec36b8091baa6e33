"""Sends one message with Python's smtplib, as told by the environment; arguments: another From, another password."""

import os
import smtplib
import ssl
import sys

env = os.environ
sender = sys.argv[1] if len(sys.argv) > 1 else env["SMTP_FROM"]
password = sys.argv[2] if len(sys.argv) > 2 else env["SMTP_PASSWORD"]
context = ssl.create_default_context(cafile=env["SMTP_CA"])
host, port = env["SMTP_HOST"], int(env["SMTP_PORT"])
if env["SMTP_TLS"] == "implicit":
    server = smtplib.SMTP_SSL(host, port, context=context)
else:
    server = smtplib.SMTP(host, port)
    server.starttls(context=context)
header = f"From: {sender}\r\nTo: {env['SMTP_TO']}\r\nSubject: smtplib\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
with server:
    server.login(env["SMTP_USER"], password)
    server.sendmail(sender, [env["SMTP_TO"]], (header + env["SMTP_BODY"]).encode(), ["BODY=8BITMIME"])
