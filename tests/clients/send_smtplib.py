"""Sends the message in SMTP_MESSAGE as it is with Python's smtplib, as told by the environment."""

import os
import smtplib
import ssl

env = os.environ
context = ssl.create_default_context()
host, port = env["SMTP_HOST"], int(env["SMTP_PORT"])
if env["SMTP_TLS"] == "implicit":
    server = smtplib.SMTP_SSL(host, port, context=context)
else:
    server = smtplib.SMTP(host, port)
    server.starttls(context=context)
with server:
    server.login(env["SMTP_USER"], env["SMTP_PASSWORD"])
    server.sendmail(env["SMTP_USER"], [env["SMTP_TO"]], env["SMTP_MESSAGE"].encode(), ["BODY=8BITMIME"])
