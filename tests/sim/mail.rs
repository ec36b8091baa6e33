//! Messages that can be told apart: who they are for, and what is in them.

use std::rc::Rc;
use std::sync::Arc;

use ringpost::smtp::envelope::{Body, Notify, Recipient, Sender};
use ringpost::smtp::path::{Mailbox, ReversePath};
use shards::Reactor;

use crate::oracle::IDENTITY_FIELD;

/// Who sends everything, and gets the notices.
pub const SENDER: &str = "sender@senders.test";

/// The local part of those who do not exist begins so.
pub const NOBODY: &str = "nobody";

/// How large messages are.
#[derive(Clone, Copy, Debug)]
pub enum Volume {
    /// Mostly small, sometimes larger than any buffer on its way.
    Usual,
    /// Half of them large, so that a run fills segments and disks.
    Heavy,
}

impl Volume {
    fn draw(self, reactor: &Reactor) -> usize {
        match (self, reactor.random() % 20) {
            (Volume::Heavy, 0..10) => 600_000,
            (Volume::Usual, 0) => 300_000,
            (_, 1..4) => 20_000,
            _ => 500,
        }
    }
}

/// A message to be submitted.
#[derive(Clone)]
pub struct Mail {
    /// Its number, which its identity field shows.
    pub number: u32,
    /// Forward-paths, of this message alone.
    pub recipients: Vec<String>,
    /// Its content.
    pub content: Arc<Vec<u8>>,
}

impl Mail {
    /// The message of that number: one to four recipients at `domains`, some of whom do not exist.
    pub fn draw(reactor: &Reactor, number: u32, domains: &Rc<[String]>, volume: Volume) -> Mail {
        let path = |recipient: u64| {
            let who = if reactor.random().is_multiple_of(20) { NOBODY } else { "r" };
            let domain = &domains[reactor.random() as usize % domains.len()];
            format!("{who}{number}-{recipient}@{domain}")
        };
        let recipients = (0..1 + reactor.random() % 4).map(path).collect();
        let bytes = volume.draw(reactor);
        Mail { number, recipients, content: Arc::new(content(reactor, number, bytes)) }
    }

    /// RCPTs.
    pub fn envelope_recipients(&self) -> Vec<Recipient> {
        let recipient = |path: &String| Recipient { path: mailbox(path), notify: Notify::default(), orcpt: None };
        self.recipients.iter().map(recipient).collect()
    }
}

/// MAIL of every message.
pub fn sender() -> Sender {
    let path = ReversePath::Mailbox(mailbox(SENDER));
    Sender { path, body: Body::SevenBit, smtputf8: false, size: None, ret: None, envid: None }
}

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text, false).expect("the addresses of these tests are valid")
}

/// Lines of all lengths, some that begin with dots.
fn content(reactor: &Reactor, number: u32, bytes: usize) -> Vec<u8> {
    let mut content = format!(
        "From: <{SENDER}>\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <{number}@senders.test>\r\n\
         {IDENTITY_FIELD}{number}\r\nSubject: {number}\r\n\r\n"
    )
    .into_bytes();
    while content.len() < bytes {
        let length = reactor.random() as usize % 78;
        content.push(b".. \tabcdefgh"[reactor.random() as usize % 12]);
        content.extend((0..length).map(|at| b'a' + ((at + number as usize) % 26) as u8));
        content.extend_from_slice(b"\r\n");
    }
    content
}
