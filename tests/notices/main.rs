//! Notices as others see them: as text, and as mail software reads them that is not ours.

#![allow(missing_docs, reason = "the tests' names and bodies are the documentation")]

mod read;
mod text;

use ringpost::bounce::dsn::Told;
use ringpost::bounce::{Action, Notice, Report, compose};
use ringpost::queue::MessageId;
use ringpost::queue::outcome::Answer;
use ringpost::smtp::client::Phase;
use ringpost::smtp::envelope::{Body, Notify, Recipient, Sender};
use ringpost::smtp::path::{Mailbox, ReversePath};
use ringpost::smtp::reply::{EnhancedCode, Reply};
use shards::Timestamp;

const ARRIVAL: Timestamp = Timestamp::from_millis(1_795_420_000_000);
const ATTEMPTED: Timestamp = Timestamp::from_millis(1_795_423_600_000);
const NOW: Timestamp = Timestamp::from_millis(1_795_423_601_000);
const EXPIRY: Timestamp = Timestamp::from_millis(1_795_852_000_000);

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text, true).expect("a mailbox")
}

/// MAIL that asks for nothing.
fn sender(path: &str) -> Sender {
    let smtputf8 = !path.is_ascii();
    let path = if path.is_empty() { ReversePath::Null } else { ReversePath::Mailbox(mailbox(path)) };
    Sender { path, body: Body::EightBitMime, smtputf8, size: None, ret: None, envid: None, requiretls: false }
}

/// RCPT that asks for nothing.
fn recipient(path: &str) -> Recipient {
    Recipient { path: mailbox(path), notify: Notify::default(), orcpt: None }
}

/// A server's reply.
fn answer(code: u16, status: EnhancedCode, text: &str) -> Answer {
    let reply = Reply { code, enhanced: Some(status), text: text.into() };
    Answer {
        phase: Phase::Rcpt,
        status,
        text: reply.to_string().into(),
        reason: None,
        reply: Some(reply),
        remote: Some("mx.example.org [192.0.2.1]:25".into()),
        tls: None,
    }
}

/// The notice that tells a sender of recipients, each with what was said of it.
fn notice(action: Action, sender: &Sender, told: &[(&Recipient, &Answer)], content: &[u8]) -> Option<Notice> {
    let told: Vec<Told<'_>> =
        told.iter().map(|(recipient, answer)| Told { recipient, answer, attempted: Some(ATTEMPTED) }).collect();
    compose(&Report {
        action,
        hostname: "mta.example.net",
        about: MessageId(0x17),
        id: MessageId(0x18),
        arrival: ARRIVAL,
        expiry: EXPIRY,
        now: NOW,
        sender,
        recipients: &told,
        content,
    })
}
