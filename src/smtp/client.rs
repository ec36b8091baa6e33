//! The client session: one connection, transactions one after another, an outcome for every recipient.

use std::sync::Arc;
use std::time::Duration;

use super::envelope::{Recipient, Sender};
use super::reply::Reply;

/// How a session behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// EHLO's argument.
    pub hostname: Box<str>,
    /// STARTTLS.
    pub tls: Tls,
    /// AUTH, inside TLS only unless `auth_plain_text`.
    pub credentials: Option<Credentials>,
    /// Use PIPELINING where offered.
    pub pipelining: bool,
    /// Use BDAT where CHUNKING is offered.
    pub chunking: bool,
    /// The waits of RFC 5321 §4.5.3.2.
    pub patience: Patience,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// STARTTLS or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Never.
    Off,
    /// Where offered.
    Opportunistic,
    /// Or fail.
    Required,
}

/// What AUTH PLAIN says.
#[derive(Clone)]
pub struct Credentials {
    /// The authentication identity.
    pub user: Box<str>,
    /// The secret; never logged.
    pub password: Box<str>,
}

/// How long to wait for each thing; defaults are RFC 5321 §4.5.3.2's.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The greeting (5 min).
    pub greeting: Duration,
    /// EHLO, STARTTLS, AUTH, MAIL, RCPT, RSET (5 min).
    pub command: Duration,
    /// 354 after DATA (2 min).
    pub data: Duration,
    /// Each block of content to go out (3 min).
    pub block: Duration,
    /// The reply to the final dot (10 min).
    pub dot: Duration,
}

/// Where in the conversation something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// TCP connect (for drivers).
    Connect,
    /// Waiting for 220.
    Greeting,
    /// EHLO or HELO.
    Ehlo,
    /// STARTTLS or the handshake.
    StartTls,
    /// AUTH.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, before 354.
    Data,
    /// Content is going out; the final dot (or BDAT LAST) was not fully sent.
    Content,
    /// The final dot was sent; its reply is missing. The peer may have the message.
    Dot,
    /// Between transactions.
    Idle,
}

/// What a transaction transfers.
#[derive(Clone)]
pub struct Transaction {
    /// MAIL.
    pub sender: Sender,
    /// RCPTs, at least one.
    pub recipients: Vec<Recipient>,
    /// The content: lines ended by CRLF, not dot-stuffed.
    pub content: Arc<Vec<u8>>,
}

/// One recipient's end of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Result {
    /// The final reply was 2xx.
    Accepted(Reply),
    /// The peer said no (or a 4xx) at this phase.
    Refused(Phase, Reply),
    /// The connection ended, or fell silent, at this phase; `Dot` leaves open whether the peer has the message.
    Lost(Phase, Box<str>),
    /// Not possible with this peer (SMTPUTF8 or 8BITMIME missing, too large for its SIZE): the reply we make of it.
    Impossible(Reply),
}

/// What the driver does next.
#[derive(Debug)]
pub enum Step {
    /// Write out all of `output()` with `Patience::block`, then call `next()` again (large content comes in blocks ≤ 256 KiB).
    Send,
    /// Wait for bytes this long; on time-out or a lost connection call `lost()`.
    Read(Duration),
    /// Do the handshake, then `tls_started()` (or `lost()`).
    StartTls,
    /// Ready for `transact()` or `quit()`. Also right after greeting, EHLO, TLS and AUTH went well.
    Ready,
    /// The transaction has ended: one result per recipient, in order.
    Done(Vec<Result>),
    /// The session cannot go on. Before the first transaction: why (a reply, or a loss). Close.
    Failed(Phase, Failure),
    /// QUIT is done, or the peer has said 421 after a transaction. Close.
    Closed,
}

/// Why a session cannot start or go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The peer's words.
    Reply(Reply),
    /// The connection's end; the text is for people.
    Lost(Box<str>),
}

/// One connection's session.
pub struct Session(Arc<Settings>);

impl Session {
    /// A new session that waits for the greeting. `tls`: the connection is encrypted already.
    pub fn new(_settings: Arc<Settings>, _tls: bool) -> Self {
        todo!()
    }

    /// Bytes of the peer; empty means that it has closed its side.
    pub fn receive(&mut self, _bytes: &[u8]) {
        todo!()
    }

    /// What to do next.
    #[expect(clippy::should_implement_trait, reason = "a session is not an iterator")]
    pub fn next(&mut self) -> Step {
        todo!()
    }

    /// What to write out.
    pub fn output(&mut self) -> &mut Vec<u8> {
        todo!()
    }

    /// Starts a transaction; only after `Ready` or `Done`.
    pub fn transact(&mut self, _transaction: Transaction) {
        todo!()
    }

    /// Whether another transaction may follow (the peer did not say 421 and its LIMITS MAILMAX is not reached).
    pub fn can_transact(&self) -> bool {
        todo!()
    }

    /// RCPTs that the peer takes per transaction (LIMITS RCPTMAX), where it says so.
    pub fn recipients_max(&self) -> Option<usize> {
        todo!()
    }

    /// Says QUIT; only after `Ready` or `Done`.
    pub fn quit(&mut self) {
        todo!()
    }

    /// The handshake is done; EHLO is said again.
    pub fn tls_started(&mut self) {
        todo!()
    }

    /// The connection is gone or silent: `why` is for people.
    pub fn lost(&mut self, _why: &str) {
        todo!()
    }

    /// Where the conversation is.
    pub fn phase(&self) -> Phase {
        todo!()
    }
}
