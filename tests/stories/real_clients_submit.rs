//! Real mail software runs the guide's examples on both submission ports and its message arrives intact; a wrong
//! password, an untrusted certificate and a foreign From fail in every one of them, and it shows why.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::client::{Attempt, Client, Content, RAW_BODY, RECIPIENT, STRANGER, Tls};
use crate::harness::mailbox::{Mailbox, Received};
use crate::harness::server::{PASSWORD, Server, Setup, USER};
use crate::harness::{PATIENCE, Process, wait_for};

const SUBJECT: &str = "Hello from Ringpost – Привіт!";
const TEXT: &str = "Привіт! This message came through Ringpost ✓";
const HTML: &str = "<b>Привіт!</b> This message came through Ringpost ✓";

/// What most clients have in common; each below says what is special about it.
const CLIENT: Client = Client {
    section: None,
    run: "",
    content: Content::Alternative,
    foreign: &[],
    tells: &[],
    wrong_password: "5.7.8",
    foreign_from: "5.7.1",
    untrusted: "certificate verify failed",
};
/// What clients have in common that are given a whole message.
const RAW: Client =
    Client { content: Content::Raw, foreign: &[("From: app@example.org", "From: boss@elsewhere.test")], ..CLIENT };

/// Two stories per client.
macro_rules! clients {
    ($($name:ident: $client:expr;)*) => {$(
        mod $name {
            use super::*;

            const CLIENT: Client = $client;

            #[test]
            fn arrives_intact() {
                super::arrives_intact(&CLIENT);
            }

            #[test]
            fn is_told_what_is_wrong() {
                super::is_told_what_is_wrong(&CLIENT);
            }
        }
    )*};
}

clients! {
    nodemailer: Client {
        section: Some("Nodemailer"),
        run: "node send.js",
        foreign: &[(r#""Your Name" <app@example.org>"#, r#""Your Name" <boss@elsewhere.test>"#)],
        untrusted: "certificate",
        ..super::CLIENT
    };
    express: Client {
        section: Some("Express.js"),
        run: r#"coproc node server.js 2>&1
            read -r running <&"${COPROC[0]}"
            bash request.sh
            kill "$COPROC_PID""#,
        foreign: &[(r#""Your App" <app@example.org>"#, r#""Your App" <boss@elsewhere.test>"#)],
        untrusted: "certificate",
        ..super::CLIENT
    };
    smtplib: Client {
        section: Some("smtplib"),
        run: "python3 send.py",
        foreign: &[(r#"message["From"] = sender_email"#, r#"message["From"] = "boss@elsewhere.test""#)],
        ..super::CLIENT
    };
    django: Client {
        section: Some("Django"),
        run: r#"DJANGO_SETTINGS_MODULE=settings python3 "$CLIENTS/django_view.py""#,
        foreign: &[("        'app@example.org',", "        'boss@elsewhere.test',")],
        ..super::CLIENT
    };
    phpmailer: Client {
        section: Some("PHPMailer"),
        run: r#"ln -s "$CLIENTS/vendor" vendor; php send.php"#,
        foreign: &[("setFrom('app@example.org'", "setFrom('boss@elsewhere.test'")],
        tells: &[("$mail->isSMTP();", "$mail->isSMTP(); $mail->SMTPDebug = 3;")],
        ..super::CLIENT
    };
    laravel: Client {
        section: Some("Laravel"),
        run: r#"cp -R "$CLIENTS"/laravel/. .; APP_NAME='Your App' php serve.php"#,
        foreign: &[("MAIL_FROM_ADDRESS=app@example.org", "MAIL_FROM_ADDRESS=boss@elsewhere.test")],
        ..super::CLIENT
    };
    symfony: Client {
        section: Some("Symfony Mailer"),
        run: r#"ln -s "$CLIENTS/vendor" vendor; php send.php"#,
        foreign: &[("->from('app@example.org')", "->from('boss@elsewhere.test')")],
        ..super::CLIENT
    };
    ruby_mail: Client {
        section: Some("Mail"),
        run: "ruby send.rb",
        foreign: &[("from     'app@example.org'", "from     'boss@elsewhere.test'")],
        ..super::CLIENT
    };
    javamail: Client {
        section: Some("JavaMail"),
        run: r#"classes=.:/usr/share/java/javax.mail.jar:/usr/share/java/javax.activation.jar
            trust=()
            if [ -n "${SSL_CERT_FILE:-}" ]; then
                keytool -importcert -noprompt -file "$SSL_CERT_FILE" -keystore trust.p12 -storepass changeit
                trust=(-Djavax.net.ssl.trustStore=trust.p12 -Djavax.net.ssl.trustStorePassword=changeit)
            fi
            ecj -17 -proc:none -encoding UTF-8 -nowarn -classpath "$classes" SendEmail.java
            java "${trust[@]}" -classpath "$classes" SendEmail"#,
        foreign: &[("setFrom(new InternetAddress(username))", r#"setFrom(new InternetAddress("boss@elsewhere.test"))"#)],
        untrusted: "unable to find valid certification path",
        ..super::CLIENT
    };
    swaks: Client {
        section: Some("swaks"),
        run: "bash send.sh",
        foreign: &[("--from app@example.org", "--from boss@elsewhere.test")],
        ..RAW
    };
    msmtp: Client {
        section: Some("msmtp"),
        run: "chmod 600 msmtprc; bash send.sh",
        untrusted: "certificate",
        ..RAW
    };
    curl: Client {
        section: Some("curl"),
        run: "bash send.sh",
        tells: &[("--show-error", "--verbose")],
        untrusted: "certificate",
        ..RAW
    };
    thunderbird: Client {
        run: r#"python3 "$CLIENTS/thunderbird.py" "Hello from Ringpost – Привіт!" "Привіт! This message came through Ringpost ✓""#,
        content: Content::Text,
        // It keeps the server's words about a login to itself, and shows a text without its codes.
        wrong_password: "login to server localhost with username user@accept.test failed",
        foreign_from: "the mail server responded: your account may not send as",
        untrusted: "certificate",
        ..super::CLIENT
    };
    apple_mail: Client {
        run: r#"python3 "$CLIENTS/converse.py" "$CLIENTS/dialogues/apple_mail.txt""#,
        content: Content::Text,
        ..super::CLIENT
    };
    apple_mail_older: Client {
        run: r#"python3 "$CLIENTS/converse.py" "$CLIENTS/dialogues/apple_mail_older.txt""#,
        content: Content::Text,
        ..super::CLIENT
    };
    gmail_send_mail_as: Client {
        run: r#"python3 "$CLIENTS/converse.py" "$CLIENTS/dialogues/gmail.txt""#,
        ..super::CLIENT
    };
    smtplib_with_a_message_of_its_own: Client {
        run: r#"python3 "$CLIENTS/send_smtplib.py""#,
        ..RAW
    };
    nodemailer_with_a_message_of_its_own: Client {
        run: r#"node "$CLIENTS/send_nodemailer.js""#,
        untrusted: "certificate",
        ..RAW
    };
}

/// On both ports: the message arrives as it was composed.
fn arrives_intact(client: &Client) {
    let mailbox = Mailbox::open();
    mailbox.offer(&["8BITMIME", "SMTPUTF8"]);
    let server = Server::start(&Setup::relay_to(mailbox.address));
    for (before, tls) in [Tls::Implicit, Tls::StartTls].into_iter().enumerate() {
        let said = client.send(&server, &Attempt::over(tls));
        // Shown only if the story fails.
        eprintln!("{tls:?}: the client said:\n{said}");
        let accepted = || {
            let log = server.log();
            log.lines().filter(|line| line.contains("event=accepted") && line.contains(USER)).count()
        };
        wait_for("the acceptance in the log", PATIENCE, || (accepted() == before + 1).then_some(()));
        let received = mailbox.wait(before + 1).remove(before);
        assert!(received.mail.contains(USER) && received.rcpt[0].contains(RECIPIENT), "{received:?}");
        is_intact(&received, client.content);
    }
    assert!(!server.log().contains(PASSWORD), "no secret in the log");
}

/// Each of the three mistakes: nothing is accepted, and the client shows the reason.
fn is_told_what_is_wrong(client: &Client) {
    let mailbox = Mailbox::open();
    let server = Server::start(&Setup::relay_to(mailbox.address));
    let expect = |attempt: &Attempt, words: &[&str]| {
        let said = client.send(&server, attempt);
        for word in words {
            assert!(said.to_lowercase().contains(word), "{word:?} is missing in what it said:\n{said}");
        }
        assert!(!server.log().contains("event=accepted") && mailbox.received().is_empty(), "it was accepted");
    };
    expect(&Attempt { password: "wrong $ word=", ..Attempt::over(Tls::Implicit) }, &[client.wrong_password]);
    server.wait_log(&["event=refused", "what=auth", &format!("user={USER}"), "535 5.7.8"]);
    expect(&Attempt { foreign: true, ..Attempt::over(Tls::Implicit) }, &[client.foreign_from, STRANGER, USER]);
    server.wait_log(&["event=refused", "553 5.7.1"]);
    for tls in [Tls::Implicit, Tls::StartTls] {
        expect(&Attempt { trusting: false, ..Attempt::over(tls) }, &[client.untrusted]);
    }
}

/// Compares what arrived with what was composed, read by a parser that is not ours.
fn is_intact(received: &Received, content: Content) {
    let read = read_message(&received.content);
    assert_eq!(read["defects"], serde_json::json!([]), "{}", received.text());
    for once in ["date", "message-id", "from", "to"] {
        assert_eq!(read["fields"][once].as_array().map(Vec::len), Some(1), "one {once}: {}", received.text());
    }
    let same = |name: &str, composed: &str| {
        assert_eq!(read[name].as_str().map(str::trim_end), Some(composed), "{name} of:\n{}", received.text());
    };
    if content == Content::Raw {
        let composed = RAW_BODY.replace('\n', "\r\n");
        // swaks ends what it sends with an empty line of its own.
        let arrived = received.content.strip_suffix(b"\r\n\r\n").map(|content| [content, b"\r\n"].concat());
        assert!(arrived.as_ref().unwrap_or(&received.content).ends_with(composed.as_bytes()), "{}", received.text());
        return;
    }
    same("subject", SUBJECT);
    same("text", TEXT);
    if content == Content::Alternative {
        same("html", HTML);
    }
}

fn read_message(content: &[u8]) -> serde_json::Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/read_message.py");
    let mut reader = Command::new("python3");
    let mut reader = Process::start(reader.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()));
    reader.0.stdin.take().expect("its input").write_all(content).expect("written");
    let read = serde_json::from_reader(reader.0.stdout.take().expect("its output")).expect("JSON");
    assert!(reader.0.wait().expect("its status").success());
    read
}
