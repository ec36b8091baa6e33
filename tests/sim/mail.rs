//! Messages that can be told apart: who they are for, and what is in them.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringpost::smtp::client::{self, Patience, Session, Settings, Step, Tls, Transaction};
use ringpost::smtp::envelope::{Body, Notify, Recipient, Sender};
use ringpost::smtp::path::{Mailbox, ReversePath};
use shards::{Instant, Reactor};

use crate::limits::{SUBMITTED_BYTES_MAX, SUBMITTED_RECIPIENTS_MAX};
use crate::oracle::IDENTITY_FIELD;

/// Who sends everything, and gets the notices.
pub const SENDER: &str = "sender@senders.test";

/// Who sends what is the tenant's.
pub const TENANT_SENDER: &str = "tenant@senders.test";

/// The header field by which the server knows that, and which never leaves it.
pub const TENANT_FIELD: &str = "X-Tenant: acme\r\n";

/// One message in so many is the tenant's, is to too many, and is too large.
const TENANT_SHARE: u32 = 3;
const EXCESS_SHARE: u32 = 100;

/// The local part of those who do not exist begins so.
pub const NOBODY: &str = "nobody";

/// Of the lines that make a message larger.
const LINE_BYTES: usize = 128;

/// For one connection to the server.
const CONNECT_PATIENCE: Duration = Duration::from_secs(60);

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

    /// The same, but now and then to one domain and too many there for a transaction and a message, or too large.
    pub fn draw_with_excess(reactor: &Reactor, number: u32, domains: &Rc<[String]>, volume: Volume) -> Mail {
        let mail = Mail::draw(reactor, number, domains, volume);
        match number % EXCESS_SHARE {
            7 => {
                // The last domain does not exist; the first one after it has hosts that take more than we send.
                let domain = domains.iter().rev().cycle().nth(1 + (number / EXCESS_SHARE) as usize);
                let domain = domain.expect("a cycle does not end");
                let recipients = (0..SUBMITTED_RECIPIENTS_MAX + 10).map(|to| format!("r{number}-{to}@{domain}"));
                Mail { recipients: recipients.collect(), ..mail }
            }
            42 => Mail { content: Arc::new(content(reactor, number, SUBMITTED_BYTES_MAX + 1)), ..mail },
            _ => mail,
        }
    }

    /// MAIL.
    pub fn sender(&self) -> Sender {
        sender_at(if self.is_of_tenant() { TENANT_SENDER } else { SENDER })
    }

    fn is_of_tenant(&self) -> bool {
        self.number.is_multiple_of(TENANT_SHARE)
    }

    /// The content as it is submitted: the server takes the field away that says whose it is.
    pub fn submitted(&self) -> Arc<Vec<u8>> {
        if !self.is_of_tenant() {
            return self.content.clone();
        }
        Arc::new([TENANT_FIELD.as_bytes(), &self.content].concat())
    }

    /// RCPTs.
    pub fn envelope_recipients(&self) -> Vec<Recipient> {
        let recipient = |path: &String| Recipient { path: mailbox(path), notify: Notify::default(), orcpt: None };
        self.recipients.iter().map(recipient).collect()
    }
}

/// MAIL of every message that is nobody's in particular.
pub fn sender() -> Sender {
    sender_at(SENDER)
}

fn sender_at(address: &str) -> Sender {
    let path = ReversePath::Mailbox(mailbox(address));
    Sender { path, body: Body::SevenBit, smtputf8: false, size: None, ret: None, envid: None, requiretls: false }
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

/// Submits a message to each of these, or to several with a space between, one after another, trying again until all are
/// accepted; when each was.
pub async fn submit(
    reactor: Reactor,
    server: SocketAddr,
    recipients: Vec<String>,
    accepted: Rc<RefCell<Vec<Instant>>>,
) {
    submit_as(reactor, server, "", recipients, accepted).await;
}

/// The same, where the header of each message begins with these fields.
pub async fn submit_as(
    reactor: Reactor,
    server: SocketAddr,
    fields: &str,
    recipients: Vec<String>,
    accepted: Rc<RefCell<Vec<Instant>>>,
) {
    let message = |number: usize| message(fields, &recipients[number], 0);
    submit_all(reactor, server, recipients.len(), message, accepted).await;
}

/// The same, where the message of each number has so many more octets.
pub async fn submit_sized(
    reactor: Reactor,
    server: SocketAddr,
    recipients: Vec<String>,
    more_bytes: impl Fn(usize) -> usize,
    accepted: Rc<RefCell<Vec<Instant>>>,
) {
    let message = |number: usize| message("", &recipients[number], more_bytes(number));
    submit_all(reactor, server, recipients.len(), message, accepted).await;
}

async fn submit_all(
    reactor: Reactor,
    server: SocketAddr,
    count: usize,
    message: impl Fn(usize) -> Transaction,
    accepted: Rc<RefCell<Vec<Instant>>>,
) {
    let mut submitted = 0;
    while submitted < count {
        reactor.sleep(Duration::from_secs(1)).await;
        let Ok(mut stream) = reactor.connect(server, None, CONNECT_PATIENCE).await else { continue };
        let patience = Patience::default();
        let settings = Settings {
            hostname: "client.test".into(),
            tls: Tls::Off,
            credentials: None,
            pipelining: true,
            chunking: true,
            patience,
        };
        let mut session = Session::new(Arc::new(settings), false);
        loop {
            match session.next() {
                Step::Send => {
                    if let Err(error) = stream.send(session.output(), patience.block).await {
                        session.lost(&error.to_string());
                    }
                }
                Step::Read(patience) => match stream.receive(patience).await {
                    Ok(chunk) => session.receive(&chunk),
                    Err(error) => session.lost(&error.to_string()),
                },
                Step::Ready if submitted < count => session.transact(message(submitted)),
                Step::Ready => session.quit(),
                Step::Done(outcomes) => {
                    let is_accepted = outcomes.iter().all(|outcome| matches!(outcome, client::Result::Accepted(_)));
                    if is_accepted {
                        submitted += 1;
                        accepted.borrow_mut().push(reactor.now());
                    }
                    match session.can_transact() && submitted < count {
                        true => session.transact(message(submitted)),
                        false if session.can_transact() => session.quit(),
                        false => {}
                    }
                }
                Step::Failed(..) | Step::Closed => break,
                Step::StartTls => unreachable!("TLS is off"),
            }
        }
    }
}

fn message(fields: &str, recipients: &str, more_bytes: usize) -> Transaction {
    let more = format!("{}\r\n", "x".repeat(LINE_BYTES - 2)).repeat(more_bytes / LINE_BYTES);
    let content = format!("{fields}From: <{SENDER}>\r\nSubject: {recipients}\r\n\r\nhello\r\n{more}");
    let recipient = |path| Recipient { path: mailbox(path), notify: Notify::default(), orcpt: None };
    let recipients = recipients.split(' ').map(recipient).collect();
    Transaction { sender: sender(), recipients, content: Arc::new(content.into_bytes()) }
}
