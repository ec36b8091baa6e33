//! One connection: opens it, drives the client session over it.

use std::io;

use ringpost::smtp::client::{Failure, Phase, Result, Session, Step, Transaction};
use shards::tls::Connection;
use shards::{Instant, Reactor};

use super::plan::Plan;
use crate::TlsOption;

/// A connection that is ready for transactions.
pub(super) struct Open {
    link: Link,
    session: Session,
    transactions: u32,
}

/// A transaction's end.
pub(super) struct Sent {
    /// One for each recipient.
    pub(super) results: Vec<Result>,
    /// When the last byte of the content had gone out, if it had.
    pub(super) dot: Option<Instant>,
}

/// Why there is no connection: where, and the peer's code if it spoke.
pub(super) struct NotOpen {
    pub(super) phase: Phase,
    pub(super) failure: Failure,
}

/// The bytes' way; `None` for the moment in which a handshake owns it.
struct Link(Option<Connection>);

impl Link {
    fn get(&mut self) -> io::Result<&mut Connection> {
        self.0.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Open {
    /// Connects, and goes on to the first `Ready`.
    pub(super) async fn new(reactor: &Reactor, plan: &Plan, number: u32) -> std::result::Result<Self, NotOpen> {
        let patience = plan.settings.patience.greeting;
        let not_connected =
            |error: io::Error| NotOpen { phase: Phase::Connect, failure: Failure::Lost(error.to_string().into()) };
        let stream = reactor.connect(plan.server, plan.source(number), patience).await.map_err(not_connected)?;
        let mut connection = Connection::plain(stream);
        let implicit = plan.tls.as_ref().filter(|tls| tls.how == TlsOption::Implicit);
        if let Some(tls) = implicit {
            let handshake = connection.connect_tls(reactor, tls.config.clone(), tls.name.clone(), patience);
            connection = handshake.await.map_err(not_connected)?;
        }
        let session = Session::new(plan.settings.clone(), implicit.is_some());
        let mut open = Self { link: Link(Some(connection)), session, transactions: 0 };
        match open.drive(reactor, plan).await.0 {
            Step::Failed(phase, failure) => Err(NotOpen { phase, failure }),
            _ => Ok(open),
        }
    }

    /// Whether a transaction was tried on it.
    pub(super) fn is_used(&self) -> bool {
        self.transactions > 0
    }

    /// Whether it may carry another message.
    pub(super) fn can_transact(&self, plan: &Plan) -> bool {
        let kept = plan.messages_per_connection == 0 || self.transactions < plan.messages_per_connection;
        kept && self.session.can_transact()
    }

    /// Sends one message.
    pub(super) async fn transact(&mut self, reactor: &Reactor, plan: &Plan, transaction: Transaction) -> Sent {
        let recipients = transaction.recipients.len();
        self.transactions += 1;
        self.session.transact(transaction);
        match self.drive(reactor, plan).await {
            (Step::Done(results), dot) => Sent { results, dot },
            _ => {
                Sent { results: vec![Result::Lost(Phase::Idle, "the session had ended".into()); recipients], dot: None }
            }
        }
    }

    /// Says QUIT and closes.
    pub(super) async fn close(mut self, reactor: &Reactor, plan: &Plan) {
        self.session.quit();
        self.drive(reactor, plan).await;
        if let Some(connection) = self.link.0 {
            connection.close().await;
        }
    }

    /// Writes, reads and shakes hands until the session wants something else, and says when the content had gone out.
    async fn drive(&mut self, reactor: &Reactor, plan: &Plan) -> (Step, Option<Instant>) {
        let mut dot = None;
        loop {
            let moved = match self.session.next() {
                Step::Send => self.send(plan).await,
                Step::Read(patience) => {
                    if dot.is_none() && self.session.phase() == Phase::Dot {
                        dot = Some(reactor.now());
                    }
                    self.receive(patience).await
                }
                Step::StartTls => self.shake_hands(reactor, plan).await,
                step => return (step, dot),
            };
            if let Err(error) = moved {
                self.session.lost(&error.to_string());
            }
        }
    }

    async fn send(&mut self, plan: &Plan) -> io::Result<()> {
        self.link.get()?.send(self.session.output(), plan.settings.patience.block).await
    }

    async fn receive(&mut self, patience: std::time::Duration) -> io::Result<()> {
        let chunk = self.link.get()?.receive(patience).await?;
        self.session.receive(&chunk);
        Ok(())
    }

    async fn shake_hands(&mut self, reactor: &Reactor, plan: &Plan) -> io::Result<()> {
        let (Some(connection), Some(tls)) = (self.link.0.take(), &plan.tls) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let patience = plan.settings.patience.command;
        self.link.0 = Some(connection.connect_tls(reactor, tls.config.clone(), tls.name.clone(), patience).await?);
        self.session.tls_started();
        Ok(())
    }
}
