//! Clients: they submit messages that can be told apart, and remember which of them were promised.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringpost::smtp::client::{Patience, Result as Outcome, Session, Settings, Step, Tls, Transaction};
use ringpost::smtp::envelope::{Body, Notify, Recipient, Sender};
use ringpost::smtp::path::{Mailbox, ReversePath};
use shards::Reactor;
use shards::net::Stream;

use crate::oracle::{IDENTITY_FIELD, Shared};

const CONNECT_PATIENCE: Duration = Duration::from_secs(30);

/// Between two connections of one client, at most.
const PAUSE_MS_MAX: u64 = 20_000;

/// What a client needs to know.
#[derive(Clone)]
pub struct Client {
    pub reactor: Reactor,
    pub server: SocketAddr,
    pub oracle: Shared,
    /// Domains to write to.
    pub domains: Rc<[String]>,
    /// The number of the next message, of all clients.
    pub next_message: Rc<Cell<u32>>,
    /// How many of them there are to be.
    pub messages_max: u32,
}

/// A message on its way to the server.
struct Submission {
    message: u32,
    recipients: Vec<String>,
}

impl Client {
    /// Submits until all messages are submitted, some on each connection.
    pub async fn run(self) {
        while self.next_message.get() < self.messages_max {
            let pause = self.reactor.random() % PAUSE_MS_MAX;
            self.reactor.sleep(Duration::from_millis(pause)).await;
            if let Ok(stream) = self.reactor.connect(self.server, None, CONNECT_PATIENCE).await {
                self.converse(stream).await;
            }
        }
    }

    async fn converse(&self, mut stream: Stream) {
        let mut session = Session::new(Arc::new(self.settings()), false);
        let mut messages_left = 1 + self.reactor.random() % 5;
        let mut running: Option<Submission> = None;
        loop {
            match session.next() {
                Step::Send => {
                    if self.reactor.random().is_multiple_of(100) {
                        return stream.reset();
                    }
                    if let Err(error) = stream.send(session.output(), Patience::default().block).await {
                        session.lost(&error.to_string());
                    }
                }
                Step::Read(patience) => match stream.receive(patience).await {
                    Ok(chunk) => session.receive(&chunk),
                    Err(error) => session.lost(&error.to_string()),
                },
                Step::Ready if messages_left > 0 && self.next_message.get() < self.messages_max => {
                    messages_left -= 1;
                    running = Some(self.submit(&mut session));
                }
                Step::Ready => session.quit(),
                Step::Done(outcomes) => {
                    self.remember(running.take(), &outcomes);
                    if messages_left > 0 && session.can_transact() && self.next_message.get() < self.messages_max {
                        messages_left -= 1;
                        running = Some(self.submit(&mut session));
                    } else if session.can_transact() {
                        session.quit();
                    }
                }
                Step::Failed(..) | Step::Closed => return,
                Step::StartTls => unreachable!("TLS is off"),
            }
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            hostname: "client.test".into(),
            tls: Tls::Off,
            credentials: None,
            pipelining: self.reactor.random().is_multiple_of(2),
            chunking: self.reactor.random().is_multiple_of(2),
            patience: Patience::default(),
        }
    }

    fn submit(&self, session: &mut Session) -> Submission {
        let message = self.next_message.get();
        self.next_message.set(message + 1);
        let recipients = self.recipients(message);
        let content = Arc::new(self.content(message));
        self.oracle.borrow_mut().submitting(message, &content, &recipients);
        session.transact(Transaction {
            sender: Sender {
                path: ReversePath::Mailbox(mailbox("sender@senders.test")),
                body: Body::SevenBit,
                smtputf8: false,
                size: None,
                ret: None,
                envid: None,
            },
            recipients: recipients.iter().map(|path| recipient(path)).collect(),
            content,
        });
        Submission { message, recipients }
    }

    /// One to four recipients; some do not exist.
    fn recipients(&self, message: u32) -> Vec<String> {
        let count = 1 + self.reactor.random() % 4;
        let path = |number: u64| {
            let who = if self.reactor.random().is_multiple_of(20) { "nobody" } else { "r" };
            let domain = &self.domains[self.reactor.random() as usize % self.domains.len()];
            format!("{who}{message}-{number}@{domain}")
        };
        (0..count).map(path).collect()
    }

    /// Lines of all lengths, some that begin with dots; mostly small, sometimes larger than any buffer on its way.
    fn content(&self, message: u32) -> Vec<u8> {
        let bytes = match self.reactor.random() % 20 {
            0 => 300_000,
            1..4 => 20_000,
            _ => 500,
        };
        let mut content = format!(
            "From: <sender@senders.test>\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\n\
             Message-ID: <{message}@senders.test>\r\n{IDENTITY_FIELD}{message}\r\nSubject: {message}\r\n\r\n"
        )
        .into_bytes();
        while content.len() < bytes {
            let length = self.reactor.random() as usize % 78;
            let first = b".. \tabcdefgh"[self.reactor.random() as usize % 12];
            content.push(first);
            content.extend((0..length).map(|at| b'a' + ((at + message as usize) % 26) as u8));
            content.extend_from_slice(b"\r\n");
        }
        content
    }

    fn remember(&self, submission: Option<Submission>, outcomes: &[Outcome]) {
        let Some(Submission { message, recipients }) = submission else { return };
        for (path, outcome) in recipients.iter().zip(outcomes) {
            if let Outcome::Accepted(_) = outcome {
                self.oracle.borrow_mut().acknowledged(message, path);
            }
        }
    }
}

fn recipient(path: &str) -> Recipient {
    Recipient { path: mailbox(path), notify: Notify::default(), orcpt: None }
}

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text, false).expect("the addresses of this test are valid")
}
