//! The client session: one connection, transactions one after another, an outcome for every recipient.
//!
//! Owns: what is said to one peer and what its replies mean for each recipient.
//! Never: opens or reads a connection, or waits (the driver does, on [`Step`]); retries; judges whether a refusal is
//! for good (`bounce` does).
//! Order: greeting, EHLO (HELO if that is refused for good), STARTTLS and EHLO again, AUTH PLAIN, then transactions with
//! RSET between them only where one was left open. Where PIPELINING is offered a transaction is one write up to DATA and
//! one with the content; where CHUNKING is offered too, one write up to the last RCPT and one with BDAT and the content.
//! A 421 at any point, a lost connection, or a reply that fits nothing ends the session: recipients without an answer
//! are `Refused` with the 421, or `Lost`.
//! RFC: 5321, 1870, 2920, 3030, 3207, 3461, 4954, 6152, 6531, 9422. Content with eight-bit bytes goes to a peer without
//! 8BITMIME as it is: the driver converts it before.
//! Limits: those of [`remote`](super::remote) for replies; content goes out in blocks of 256 KiB.

mod capabilities;
mod command;
mod content;
mod session;
#[cfg(test)]
mod tests;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use super::envelope::{Recipient, Sender};
use super::reply::Reply;

pub use capabilities::Capabilities;
pub use session::Session;

/// How a session behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// EHLO's argument.
    pub hostname: Box<str>,
    /// STARTTLS.
    pub tls: Tls,
    /// AUTH PLAIN; the session fails where it is not offered, and outside TLS.
    pub credentials: Option<Credentials>,
    /// Use PIPELINING where offered.
    pub pipelining: bool,
    /// Use BDAT where CHUNKING is offered.
    pub chunking: bool,
    /// The waits of RFC 5321 §4.5.3.2.
    pub patience: Patience,
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

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
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
    /// The final dot (or all of BDAT LAST) was sent; its reply is missing. The peer may have the message.
    Dot,
    /// Between transactions.
    Idle,
}

/// What a transaction transfers.
#[derive(Clone)]
pub struct Transaction {
    /// MAIL. SMTPUTF8 is set where the content's header needs it; that somebody said so before is no reason.
    pub sender: Sender,
    /// RCPTs, at least one.
    pub recipients: Vec<Recipient>,
    /// The content: lines ended by CRLF, not dot-stuffed.
    pub content: Arc<Vec<u8>>,
}

impl Transaction {
    /// Whether only a peer that offers SMTPUTF8 can take it (RFC 6531 §3.4): for its header, its reverse-path or one of its
    /// recipients.
    pub fn needs_smtputf8(&self) -> bool {
        let is_of_ascii = |recipient: &Recipient| recipient.path.as_str().is_ascii();
        self.sender.smtputf8 || !self.sender.path.is_ascii() || !self.recipients.iter().all(is_of_ascii)
    }
}

impl Default for Patience {
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        Self { greeting: minutes(5), command: minutes(5), data: minutes(2), block: minutes(3), dot: minutes(10) }
    }
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
    /// Not possible with this peer (SMTPUTF8 missing, too large for its SIZE): the reply we make of it.
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

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Reply(reply) => write!(f, "{reply}"),
            Failure::Lost(why) => f.write_str(why),
        }
    }
}
