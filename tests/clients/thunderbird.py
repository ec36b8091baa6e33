"""Lets Thunderbird, without a screen, set up an account's outgoing server, write a message and press Send, as told by the
environment; shows what Thunderbird would show its user. It is driven over Marionette, Mozilla's remote control."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

env = os.environ
PATIENCE_S = 120


class Marionette:
    """Length-prefixed JSON over TCP: [0, id, command, parameters] and [1, id, error, result]."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self.reader = self.socket.makefile("rb")
        self.sent = 0
        self.receive()

    def receive(self):
        length = b""
        while (octet := self.reader.read(1)) != b":":
            if not octet:
                raise ConnectionError("Thunderbird has gone")
            length += octet
        return json.loads(self.reader.read(int(length)))

    def call(self, command, **parameters):
        self.sent += 1
        packet = json.dumps([0, self.sent, command, parameters]).encode()
        self.socket.sendall(b"%d:%s" % (len(packet), packet))
        _, _, error, result = self.receive()
        if error:
            raise RuntimeError(f"{command}: {error['error']}: {error['message']}")
        return result


def start(folder):
    """Thunderbird on a new profile; the port of its remote control, as soon as it has written it down."""
    profile = folder / "profile"
    profile.mkdir()
    preferences = {
        "marionette.port": 0,
        "mail.provider.suppress_dialog_on_startup": True,
        "mail.rights.version": 1,
        "mail.spotlight.firstRunDone": True,
        "mailnews.start_page.enabled": False,
        "app.donation.eoy.version.viewed": 1000,
        "datareporting.policy.dataSubmissionEnabled": False,
        "app.update.enabled": False,
        "network.dns.disablePrefetch": True,
        # What it says and hears goes into its log.
        "mailnews.smtp.loglevel": "All",
        "browser.dom.window.dump.enabled": True,
        "devtools.console.stdout.chrome": True,
    }
    lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items())
    (profile / "user.js").write_text("".join(lines))
    log = (folder / "log").open("w")
    thunderbird = subprocess.Popen(
        ["thunderbird", "--headless", "--marionette", "--remote-allow-system-access", "--no-remote"]
        + ["--profile", str(profile)],
        # A Thunderbird that starts removes the messages (nsemail*.eml) that others are about to send from a temporary folder
        # which they share; those then say no more after AUTH, and that the connection has timed out.
        env={**env, "HOME": str(folder), "TMPDIR": str(folder), "MOZ_HEADLESS": "1"},
        stdout=log,
        stderr=log,
    )
    return thunderbird, profile / "MarionetteActivePort"


def port_of(thunderbird, file):
    begin = time.monotonic()
    while time.monotonic() < begin + PATIENCE_S:
        if thunderbird.poll() is not None:
            sys.exit(f"Thunderbird ended with {thunderbird.returncode}")
        if file.exists() and file.read_text():
            return int(file.read_text())
        time.sleep(0.05)
    sys.exit("Thunderbird does not offer its remote control")


def conversation(log):
    """What Thunderbird and the server said to each other, and what went wrong in Thunderbird itself."""
    told = ("mailnews.smtp", "JavaScript error", "console.error")
    lines = log.read_text(errors="replace").splitlines(True)
    return "".join(line for line in lines if any(word in line for word in told))


def main():
    with tempfile.TemporaryDirectory(prefix="thunderbird-") as folder:
        thunderbird, port_file = start(Path(folder))
        try:
            session = Marionette(port_of(thunderbird, port_file))
            session.call("WebDriver:NewSession", capabilities={})
            session.call("Marionette:SetContext", value="chrome")
            session.call("WebDriver:SetTimeouts", script=PATIENCE_S * 1000)
            script = Path(__file__).with_suffix(".js").read_text()
            settings = {
                "host": env["SMTP_HOST"],
                "port": int(env["SMTP_PORT"]),
                "tls": env["SMTP_TLS"],
                "user": env["SMTP_USER"],
                "password": env["SMTP_PASSWORD"],
                "from": env["SMTP_FROM"],
                "to": env["SMTP_TO"],
                "subject": sys.argv[1],
                "text": sys.argv[2],
                "authority": Path(env["SMTP_CA"]).read_text() if env["SMTP_CA"] else "",
            }
            result = session.call("WebDriver:ExecuteAsyncScript", script=script, args=[settings], newSandbox=True)
            print(result["value"])
            if "timed out" in result["value"]:
                print(conversation(Path(folder) / "log"))
        finally:
            thunderbird.terminate()
            thunderbird.wait()


main()
