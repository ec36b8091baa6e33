//! One conversation: a session on a connection.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::{Either, Shared, select};
use shards::Instant;
use shards::journal::Expected;
use shards::net::Stream;
use shards::tls::{Connection, TlsFacts};

use super::Inbound;
use super::budget::Claim;
use super::quota::{Grant, Place};
use crate::events::Event;
use crate::policy::Authorized;
use crate::screening::Passed;
use crate::smtp::reply;
use crate::smtp::server::{Session, Step};

/// How long a TLS handshake may take in all.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(30);
/// How long a peer may leave our replies unread.
const SEND_PATIENCE: Duration = Duration::from_secs(60);
/// How long a peer that was cut off is listened to, at most.
const LINGER: Duration = Duration::from_secs(2);
/// Reads in that time.
const LINGER_READS_MAX: u32 = 64;
/// How long whoever has no message accepted yet, or is in the middle of one, may take for it once we stop: it connected
/// while we still served.
const LAST_MESSAGE_PATIENCE: Duration = Duration::from_secs(3);
/// Reads after which a peer that sends without a pause lets others have their turn.
const READS_PER_TURN_MAX: u32 = 32;

/// A session with what it needs besides its connection.
pub(super) struct Conversation {
    pub(super) inbound: Inbound,
    pub(super) session: Session,
    pub(super) client: SocketAddr,
    tls: Option<Arc<rustls::ServerConfig>>,
    /// What the handshake agreed on.
    pub(super) encryption: Option<TlsFacts>,
    pub(super) rights: Option<Authorized>,
    /// Among the connections of its account.
    pub(super) place: Option<Place>,
    /// What block lists said of the client, for the transaction that runs.
    pub(super) client_screened: Passed,
    /// What the running transaction has been granted of its account's day.
    pub(super) grant: Grant,
    pub(super) memory: Claim,
    /// The message of the transaction that runs.
    pub(super) expected: Option<Expected>,
    /// What comes in here goes out with reverse-paths of ours, whoever sends it.
    pub(super) return_path: bool,
    deadline: Deadline,
    reads: u32,
    /// Ends when the shard drains; not asked again then.
    stopped: Shared<oneshot::Receiver<()>>,
    departure: Departure,
}

/// Whether the shard drains, and what that means here.
#[derive(Clone, Copy)]
enum Departure {
    /// It does not.
    NotYet,
    /// What has begun may come to its end until then.
    By(Instant),
    /// The session has been told.
    Now,
}

/// When the peer must have got on.
struct Deadline {
    progress: u64,
    patience: Duration,
    until: Instant,
}

impl Deadline {
    /// What is left of `patience`, which begins anew whenever the session has made progress: single bytes buy no time.
    fn left(&mut self, patience: Duration, progress: u64, now: Instant) -> Duration {
        if progress != self.progress || patience != self.patience {
            *self = Deadline { progress, patience, until: now + patience };
        }
        self.until.since(now)
    }
}

impl Conversation {
    pub(super) fn new(
        inbound: Inbound,
        session: Session,
        client: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
        rights: Option<Authorized>,
    ) -> Conversation {
        let memory = inbound.0.budget.claim();
        let stopped = inbound.0.stopped.clone();
        let deadline = Deadline { progress: 0, patience: Duration::ZERO, until: inbound.0.reactor.now() };
        Conversation {
            inbound,
            session,
            client,
            tls,
            encryption: None,
            rights,
            place: None,
            client_screened: Passed::default(),
            grant: Grant::default(),
            memory,
            expected: None,
            return_path: false,
            deadline,
            reads: 0,
            stopped,
            departure: Departure::NotYet,
        }
    }

    /// The same, where what comes in goes out with reverse-paths of ours, or not.
    pub(super) fn with_return_path(self, return_path: bool) -> Conversation {
        Conversation { return_path, ..self }
    }

    /// Converses to the end. A connection that breaks ends it, too; whoever has no 250 then sends again.
    ///
    /// What happens rarely, or once a message, is boxed: thousands of idle conversations should not each hold the room
    /// for it. So is the conversation itself, for which the future would hold the room twice: before it begins, and from then on.
    pub(super) async fn run(mut self: Box<Self>, stream: Stream, implicit_tls: bool) {
        let mut connection = Connection::plain(stream);
        if implicit_tls {
            let Some(encrypted) = Box::pin(self.handshake(connection)).await else { return };
            connection = encrypted;
        }
        loop {
            match self.session.next() {
                Step::Send => {
                    self.log_own_refusals();
                    if connection.send(self.session.output(), SEND_PATIENCE).await.is_err() {
                        return;
                    }
                }
                Step::Read(patience) => {
                    if self.session.sender().is_none() {
                        self.grant.give_back();
                        self.expected = None;
                    }
                    if self.read(&mut connection, patience).await.is_none() {
                        return;
                    }
                }
                Step::Ask(question) => {
                    if let Some(lengthy) = self.answer(question) {
                        Box::pin(self.answer_lengthy(lengthy)).await;
                    }
                }
                Step::StartTls => {
                    let Some(encrypted) = Box::pin(self.handshake(connection)).await else { return };
                    connection = encrypted;
                    self.session.tls_started();
                }
                Step::Close => return Box::pin(self.close(connection)).await,
            }
        }
    }

    /// Closes. A peer that was cut off may read why first: what it still sends is thrown away for a moment.
    async fn close(&self, mut connection: Connection) {
        let reactor = &self.inbound.0.reactor;
        if self.session.was_cut_off() {
            let until = reactor.now() + LINGER;
            for _ in 0..LINGER_READS_MAX {
                match connection.receive(until.since(reactor.now())).await {
                    Ok(bytes) if !bytes.is_empty() => {}
                    _ => break,
                }
            }
        }
        connection.close().await;
    }

    async fn handshake(&mut self, connection: Connection) -> Option<Connection> {
        let config = self.tls.clone()?;
        match connection.accept_tls(&self.inbound.0.reactor, config, HANDSHAKE_PATIENCE).await {
            Ok(connection) => {
                self.encryption = connection.tls();
                Some(connection)
            }
            Err(error) => {
                let why = error.to_string();
                self.inbound.0.counts.note(|counts| counts.tls_failures += 1);
                self.inbound.0.log.emit(&Event::TlsFailed { client: self.client, why: &why });
                None
            }
        }
    }

    /// Waits for bytes, for the end of the peer's time or for ours. `None`: the connection is broken.
    async fn read(&mut self, connection: &mut Connection, patience: Duration) -> Option<()> {
        let reactor = self.inbound.0.reactor.clone();
        let left = self.deadline.left(patience, self.session.progress(), reactor.now());
        if left.is_zero() {
            self.session.expire();
            return Some(());
        }
        if let Departure::By(until) = self.departure
            && (reactor.now() >= until || !self.session.has_message_to_come())
        {
            self.departure = Departure::Now;
            self.session.shut_down();
            return Some(());
        }
        self.reads += 1;
        if self.reads.is_multiple_of(READS_PER_TURN_MAX) {
            reactor.yield_now().await;
        }
        let received = match self.departure {
            _ if self.session.takes_content() => connection.receive(left).await,
            Departure::NotYet => match select(pin!(connection.receive(left)), &mut self.stopped).await {
                Either::Left((received, _)) => received,
                Either::Right(_) => {
                    self.departure = Departure::By(reactor.now() + LAST_MESSAGE_PATIENCE);
                    return Some(());
                }
            },
            Departure::By(until) => {
                let left_here = until.since(reactor.now());
                match connection.receive(left.min(left_here)).await {
                    Err(error) if left_here < left && error.kind() == ErrorKind::TimedOut => return Some(()),
                    received => received,
                }
            }
            Departure::Now => connection.receive(left).await,
        };
        match received {
            Ok(bytes) => {
                self.session.receive(&bytes);
                drop(bytes);
                self.account_for_content();
                Some(())
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                self.session.expire();
                Some(())
            }
            Err(_) => None,
        }
    }

    /// Content that the shard's memory has no room for is refused while it comes.
    fn account_for_content(&mut self) {
        if self.memory.hold(self.session.content_bytes()).is_err() {
            self.session.refuse_content(reply::NO_STORAGE.reply());
            // Refusing dropped all of it.
            let _ = self.memory.hold(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_progress_buys_time() {
        let patience = Duration::from_secs(300);
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        let mut deadline = Deadline { progress: 0, patience: Duration::ZERO, until: at(0) };
        assert_eq!(deadline.left(patience, 0, at(0)), patience);
        assert_eq!(deadline.left(patience, 0, at(100)), Duration::from_secs(200));
        assert_eq!(deadline.left(patience, 1, at(299)), patience);
        assert_eq!(deadline.left(patience, 1, at(599)), Duration::ZERO);
        assert_eq!(deadline.left(Duration::from_secs(60), 1, at(600)), Duration::from_secs(60));
    }
}
