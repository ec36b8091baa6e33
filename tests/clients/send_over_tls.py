"""Hands the message on stdin in over STARTTLS, with parameters of MAIL.

Usage: send_over_tls.py HOST PORT SENDER RECIPIENT [PARAMETER...]

Prints where REQUIRETLS is offered, and the reply to the message.
"""

import smtplib
import ssl
import sys

host, port, sender, recipient, *parameters = sys.argv[1:]
# Whoever the server is: what it does with the message is what counts here.
tls = ssl.create_default_context()
tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE

with smtplib.SMTP(host, int(port), local_hostname="story.test") as smtp:
    smtp.ehlo()
    before = smtp.has_extn("requiretls")
    smtp.starttls(context=tls)
    smtp.ehlo()
    print(f"REQUIRETLS: before TLS {before}, inside {smtp.has_extn('requiretls')}")
    for code, text in (smtp.mail(sender, parameters), smtp.rcpt(recipient)):
        assert code == 250, text
    code, text = smtp.data(sys.stdin.buffer.read())
    print(code, text.decode())
