//! Clients: they submit messages that can be told apart, and remember which of them were promised.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringpost::smtp::client::{Patience, Result as Outcome, Session, Settings, Step, Tls, Transaction};
use shards::Reactor;
use shards::net::Stream;

use crate::mail::{Mail, Volume};
use crate::oracle::Shared;

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
    /// How large they are.
    pub volume: Volume,
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
        let mut running: Option<Mail> = None;
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

    fn submit(&self, session: &mut Session) -> Mail {
        let number = self.next_message.get();
        self.next_message.set(number + 1);
        let mail = Mail::draw_with_excess(&self.reactor, number, &self.domains, self.volume);
        self.oracle.borrow_mut().submitting(&mail);
        let (sender, recipients, content) = (mail.sender(), mail.envelope_recipients(), mail.submitted());
        session.transact(Transaction { sender, recipients, content });
        mail
    }

    fn remember(&self, mail: Option<Mail>, outcomes: &[Outcome]) {
        let Some(Mail { number, recipients, .. }) = mail else { return };
        for (path, outcome) in recipients.iter().zip(outcomes) {
            if let Outcome::Accepted(_) = outcome {
                self.oracle.borrow_mut().acknowledged(number, path);
            }
        }
        if outcomes.iter().any(|outcome| matches!(outcome, Outcome::Accepted(_))) {
            self.oracle.borrow_mut().taken_by_a_server(number);
        }
    }
}
