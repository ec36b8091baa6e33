"""Submits small messages in sessions side by side, each from a loopback address of its own, from when all have logged in
until each is refused, cut off or has sent enough. Prints how many 250s all heard, how many sessions were cut off, and
the refusals.

Usage: submit_side_by_side.py PORT USER PASSWORD SESSIONS MESSAGES_MAX RECIPIENTS
"""

import concurrent.futures
import json
import smtplib
import ssl
import sys
import threading

port, user, password = int(sys.argv[1]), sys.argv[2], sys.argv[3]
sessions, messages_max, recipients = map(int, sys.argv[4:])
all_logged_in = threading.Barrier(sessions, timeout=60)


def session(number):
    accepted = 0
    try:
        source = (f"127.0.1.{number + 1}", 0)
        context = ssl._create_unverified_context()
        with smtplib.SMTP_SSL("127.0.0.1", port, source_address=source, context=context, timeout=60) as server:
            server.login(user, password)
            all_logged_in.wait()
            while accepted < messages_max * recipients:
                server.mail(user)
                for recipient in range(recipients):
                    code, text = server.rcpt(f"{number}-{recipient}@sink.test")
                    if code != 250:
                        server.rset()
                        return accepted, f"{code} {text.decode()}"
                code, text = server.data(f"From: {user}\r\nSubject: one of many\r\n\r\nx\r\n")
                if code != 250:
                    return accepted, f"{code} {text.decode()}"
                accepted += recipients
        return accepted, None
    except (OSError, smtplib.SMTPServerDisconnected):
        return accepted, "cut off"


with concurrent.futures.ThreadPoolExecutor(sessions) as pool:
    ends = list(pool.map(session, range(sessions)))
refusals = [end for _, end in ends if end not in (None, "cut off")]
cut_off = sum(end == "cut off" for _, end in ends)
print(json.dumps({"accepted": sum(accepted for accepted, _ in ends), "cut_off": cut_off, "refusals": refusals}))
