//! Real mail libraries log in on both submission ports and their message arrives byte for byte.

use std::path::Path;
use std::process::Command;

use crate::harness::mailbox::{Mailbox, Received};
use crate::harness::server::{PASSWORD, Server, Setup, USER};
use crate::harness::{PATIENCE, wait_for};

/// What every client sends, and what must stand at the end of what arrives.
const BODY: &str =
    "Hello,\r\n.a line that begins with a dot\r\n..two dots\r\nGr\u{fc}\u{df}e \u{2709}\r\n\r\nlast line\r\n";

fn script(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name).display().to_string()
}

/// Runs `command` with where and as whom to send in its environment.
fn run(command: &mut Command, server: &Server, port: u16, tls: &str) -> std::process::Output {
    command
        .env("SMTP_HOST", "localhost")
        .env("SMTP_PORT", port.to_string())
        .env("SMTP_TLS", tls)
        .env("SMTP_USER", USER)
        .env("SMTP_PASSWORD", PASSWORD)
        .env("SMTP_CA", server.folder.path().join("server.chain.pem"))
        .env("SMTP_FROM", USER)
        .env("SMTP_TO", "recipient@sink.test")
        .env("SMTP_BODY", BODY)
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// On both ports: the message arrives, and `content` says what of it must be there.
fn submits(client: impl Fn() -> Command, intact: impl Fn(&Received)) {
    let mailbox = Mailbox::open();
    mailbox.offer(&["8BITMIME", "SMTPUTF8"]);
    let server = Server::start(&Setup::relay_to(mailbox.address));
    for (count, (address, tls)) in
        [(server.submissions, "implicit"), (server.submission, "starttls")].into_iter().enumerate()
    {
        let output = run(&mut client(), &server, address.port(), tls);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{tls}: {said}");
        let received = mailbox.wait(count + 1).remove(count);
        assert!(received.mail.contains(USER), "{}", received.mail);
        intact(&received);
    }
    let accepted = ["event=accepted".to_owned(), format!("account={USER}")];
    wait_for("both acceptances in the log", PATIENCE, || {
        let log = server.log();
        let lines = log.lines().filter(|line| accepted.iter().all(|word| line.contains(word)));
        (lines.count() == 2).then_some(())
    });
    assert!(!server.log().contains(PASSWORD), "no secret in the log");
}

#[test]
fn python_smtplib() {
    submits(
        || {
            let mut command = Command::new("python3");
            command.arg(script("send_smtplib.py"));
            command
        },
        |received| assert!(received.content.ends_with(BODY.as_bytes()), "{}", received.text()),
    );
}

#[test]
fn swaks() {
    submits(
        || {
            let mut command = Command::new("bash");
            command.arg(script("send_swaks.sh"));
            command
        },
        // swaks ends what it sends with an empty line of its own.
        |received| {
            let content = received.content.strip_suffix(b"\r\n").unwrap_or(&received.content);
            assert!(
                content.ends_with(BODY.as_bytes()) || received.content.ends_with(BODY.as_bytes()),
                "{:?}",
                received.text()
            );
        },
    );
}

#[test]
fn nodemailer() {
    submits(
        || {
            let mut command = Command::new("node");
            command.arg(script("send_nodemailer.js"));
            command
        },
        |received| assert!(received.content.ends_with(BODY.as_bytes()), "{}", received.text()),
    );
}

#[test]
fn a_wrong_password_and_a_foreign_from_are_refused() {
    let mailbox = Mailbox::open();
    let server = Server::start(&Setup::relay_to(mailbox.address));
    let send = |from: &str, password: &str| {
        let mut command = Command::new("python3");
        command.arg(script("send_smtplib.py")).arg(from).arg(password);
        let output = run(&mut command, &server, server.submissions.port(), "implicit");
        assert!(!output.status.success(), "it was accepted");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(send(USER, "wrong").contains("535"), "a wrong password");
    let foreign = send("boss@elsewhere.test", PASSWORD);
    assert!(foreign.contains("553") && foreign.contains(USER), "the reply names what is allowed: {foreign}");
    assert!(mailbox.received().is_empty());
}
