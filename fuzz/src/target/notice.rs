//! Notices: what a stranger's server said, and what a stranger's message holds, go into a message of our own.

use ringpost::bounce::dsn::{Action, Report, Told, compose};
use ringpost::message::scan::fields;
use ringpost::queue::MessageId;
use ringpost::queue::outcome::Answer;
use ringpost::smtp::client::Phase;
use ringpost::smtp::command::{self, Command};
use ringpost::smtp::envelope::{Recipient, Sender};
use ringpost::smtp::remote::ReplyReader;
use ringpost::smtp::reply::EnhancedCode;
use shards::Timestamp;

use super::is_strict;

/// Fields of a notice's header, in their order.
const FIELDS: [&str; 8] =
    ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"];

/// Fields that a notice has where the original has a Message-ID.
const FIELDS_OF_A_REPLY: [&str; 2] = ["In-Reply-To", "References"];

/// MAIL's line, RCPT's line, a server's reply, an empty line, the message. Whatever they say, the notice is one well-formed
/// message with the fields that we gave it, and no larger than what it tells.
pub fn notice(data: &[u8]) {
    let Some((sender, recipient, said, content)) = parts(data) else { return };
    let mut reader = ReplyReader::default();
    reader.receive(said.as_bytes());
    reader.receive(b"\r\n");
    let reply = reader.next_reply().ok().flatten();
    let answer = Answer {
        phase: Phase::Rcpt,
        status: reply.as_ref().and_then(|reply| reply.enhanced).unwrap_or(EnhancedCode(5, 0, 0)),
        reason: None,
        reply,
        text: said.into(),
        remote: Some("mx.b.test [192.0.2.1]".into()),
        tls: None,
    };
    let time = Timestamp::from_millis(1_800_000_000_000);
    let told = Told { recipient: &recipient, answer: &answer, attempted: Some(time) };
    let report = Report {
        action: Action::Failed,
        hostname: "mta.example",
        about: MessageId::new(1, 7),
        id: MessageId::new(1, 8),
        arrival: time,
        expiry: time,
        now: time,
        sender: &sender,
        recipients: &[told],
        content,
    };
    let Some(notice) = compose(&report) else { return };
    check(&notice.content, data.len(), is_strict(content));
}

fn parts(data: &[u8]) -> Option<(Sender, Recipient, &str, &[u8])> {
    let end = data.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&data[..end]).ok()?;
    let mut lines = head.splitn(3, "\r\n");
    let sender = match command::parse(lines.next()?.as_bytes(), "mta.example").ok()? {
        Command::Mail(sender) => sender,
        _ => return None,
    };
    let recipient = match command::parse(lines.next()?.as_bytes(), "mta.example").ok()? {
        Command::Rcpt(recipient) => recipient,
        _ => return None,
    };
    Some((sender, recipient, lines.next()?, &data[end + 4..]))
}

fn check(notice: &[u8], told_bytes: usize, original_is_strict: bool) {
    let names: Vec<String> = fields(notice).map(|field| String::from_utf8_lossy(field.name).into_owned()).collect();
    for name in &names {
        assert!(
            FIELDS.iter().chain(&FIELDS_OF_A_REPLY).any(|field| field == name),
            "a field of somebody else's: {name}"
        );
    }
    for name in FIELDS {
        assert_eq!(names.iter().filter(|given| given.as_str() == name).count(), 1, "{name}: {names:?}");
    }
    // What is told stands at most in the part for people, that for programs, and the original.
    assert!(notice.len() <= 16 * 1024 + 8 * told_bytes, "{} bytes tell of {told_bytes}", notice.len());
    assert!(!original_is_strict || is_strict(notice), "{}", notice.escape_ascii());
}
