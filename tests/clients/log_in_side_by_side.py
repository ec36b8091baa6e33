"""Logs in with sessions side by side, each from a loopback address of its own, and holds them until all have heard their
answer. Prints the answers, a line each.

Usage: log_in_side_by_side.py PORT USER PASSWORD SESSIONS
"""

import base64
import concurrent.futures
import smtplib
import ssl
import sys
import threading

port, user, password, sessions = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
response = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
answered = threading.Barrier(sessions)


def session(number):
    source = (f"127.0.1.{number + 1}", 0)
    context = ssl._create_unverified_context()
    server = smtplib.SMTP_SSL("127.0.0.1", port, source_address=source, context=context, timeout=60)
    server.ehlo()
    code, text = server.docmd("AUTH", f"PLAIN {response}")
    answered.wait(timeout=60)
    server.close()
    return f"{code} {text.decode()}"


with concurrent.futures.ThreadPoolExecutor(sessions) as pool:
    for answer in pool.map(session, range(sessions)):
        print(answer)
