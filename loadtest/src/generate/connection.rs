//! One connection: opens it, drives the client session over it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ringpost::smtp::client::{Failure, Phase, Result, Session, Step, Transaction};
use shards::Instant;
use shards::tls::Connection;

use super::plan::{Plan, TlsPlan};
use super::tally::Timed;
use super::thread::Thread;
use crate::TlsOption;

/// A connection that is ready for transactions.
pub(super) struct Open {
    link: Link,
    _counted: Counted,
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

/// A connection among those that are open.
struct Counted(Arc<Plan>);

impl Counted {
    fn new(plan: &Arc<Plan>) -> Self {
        plan.progress.open.fetch_add(1, Ordering::Relaxed);
        Self(plan.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.progress.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Open {
    /// Connects, and goes on to the first `Ready`.
    pub(super) async fn new(thread: &Thread, number: u32) -> std::result::Result<Self, NotOpen> {
        let _pass = match &thread.door {
            Some(door) => Some(door.enter().await),
            None => None,
        };
        let (reactor, plan) = (&thread.reactor, &thread.plan);
        let began = reactor.now();
        let patience = plan.settings.patience.greeting;
        let not_connected =
            |error: io::Error| NotOpen { phase: Phase::Connect, failure: Failure::Lost(error.to_string().into()) };
        let stream = reactor.connect(plan.server, plan.source(number), patience).await.map_err(not_connected)?;
        thread.tally.borrow_mut().phase(Timed::Connect, began, reactor.now());
        let mut connection = Connection::plain(stream);
        let implicit = plan.tls.as_ref().filter(|tls| tls.how == TlsOption::Implicit);
        if let Some(tls) = implicit {
            connection = encrypt(thread, connection, tls, patience).await.map_err(not_connected)?;
        }
        let session = Session::new(plan.settings.clone(), implicit.is_some());
        let mut open = Self { link: Link(Some(connection)), session, transactions: 0, _counted: Counted::new(plan) };
        match open.drive(thread).await.0 {
            Step::Failed(phase, failure) => Err(NotOpen { phase, failure }),
            _ => {
                thread.tally.borrow_mut().connections += 1;
                Ok(open)
            }
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
    pub(super) async fn transact(&mut self, thread: &Thread, transaction: Transaction) -> Sent {
        let recipients = transaction.recipients.len();
        self.transactions += 1;
        self.session.transact(transaction);
        match self.drive(thread).await {
            (Step::Done(results), dot) => Sent { results, dot },
            _ => {
                Sent { results: vec![Result::Lost(Phase::Idle, "the session had ended".into()); recipients], dot: None }
            }
        }
    }

    /// Says QUIT and closes.
    pub(super) async fn close(mut self, thread: &Thread) {
        self.session.quit();
        self.drive(thread).await;
        if let Some(connection) = self.link.0 {
            connection.close().await;
        }
    }

    /// Writes, reads and shakes hands until the session wants something else, and says when the content had gone out.
    async fn drive(&mut self, thread: &Thread) -> (Step, Option<Instant>) {
        let (mut dot, mut since, mut phase) = (None, thread.reactor.now(), self.session.phase());
        loop {
            let step = self.session.next();
            if self.session.phase() != phase {
                let now = thread.reactor.now();
                thread.tally.borrow_mut().phase(phase.into(), since, now);
                (since, phase) = (now, self.session.phase());
                if phase == Phase::Dot {
                    dot = Some(now);
                }
            }
            let moved = match step {
                Step::Send => self.send(&thread.plan).await,
                Step::Read(patience) => self.receive(patience).await,
                Step::StartTls => self.shake_hands(thread).await,
                step => return (step, dot),
            };
            if let Err(error) = moved {
                self.session.lost(&error.to_string());
                // What was cut off says nothing of how long it takes.
                phase = self.session.phase();
            }
        }
    }

    async fn send(&mut self, plan: &Plan) -> io::Result<()> {
        self.link.get()?.send(self.session.output(), plan.settings.patience.block).await
    }

    async fn receive(&mut self, patience: Duration) -> io::Result<()> {
        let chunk = self.link.get()?.receive(patience).await?;
        self.session.receive(&chunk);
        Ok(())
    }

    async fn shake_hands(&mut self, thread: &Thread) -> io::Result<()> {
        let (Some(connection), Some(tls)) = (self.link.0.take(), &thread.plan.tls) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        self.link.0 = Some(encrypt(thread, connection, tls, thread.plan.settings.patience.command).await?);
        self.session.tls_started();
        Ok(())
    }
}

/// The handshake, timed, and whether it resumed a session counted.
async fn encrypt(thread: &Thread, connection: Connection, tls: &TlsPlan, patience: Duration) -> io::Result<Connection> {
    let began = thread.reactor.now();
    let connection = connection.connect_tls(&thread.reactor, tls.config.clone(), tls.name.clone(), patience).await?;
    let mut tally = thread.tally.borrow_mut();
    tally.phase(Timed::Tls, began, thread.reactor.now());
    tally.resumed += u64::from(connection.tls().is_some_and(|facts| facts.resumed));
    Ok(connection)
}
