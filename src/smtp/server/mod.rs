//! The server session: commands in, replies and questions out.
//!
//! Every command is check → ask → proceed: syntax and order here, then a [`Question`] to the driver (who asks policy),
//! then the effect. Replies of one read are coalesced in `output()`.
//!
//! Owns: the order of commands, the content's line endings and size, what EHLO offers. Never: sockets, clocks, TLS
//! itself, who may do what (the driver's and policy's matter).
//! RFC: 5321, 1870, 2920, 3030, 3207, 4954, 6531, 9422. Only CRLF ends a line and only CRLF.CRLF ends the data; input
//! behind STARTTLS in plain text is discarded; content that follows a refused DATA unasked ends the session.
//! Limits: a command line 512 octets (MAIL and RCPT more, AUTH 12,288, see [`command`](super::command)); content SIZE;
//! recipients, messages and errors by [`Settings`]; replies of [`OUTPUT_BYTES_MAX`] before they must go out. An idle
//! session holds no buffer.

mod answers;
mod commands;
mod content;
mod context;
mod input;
mod session;
mod state;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::envelope::{Envelope, Recipient, Sender};
use super::reply::Reply;
pub use session::{OwnRefusal, Session};

/// How long a peer may be silent before its first command. Shorter than RFC 5321's five minutes: who connects and
/// says nothing is a scanner, or stuck.
pub const FIRST_COMMAND_PATIENCE: Duration = Duration::from_secs(60);
/// How long a peer may be silent between commands and within content (RFC 5321 §4.5.3.2.7).
pub const COMMAND_PATIENCE: Duration = Duration::from_secs(5 * 60);
/// Wrong credentials after which the session ends.
pub const AUTH_FAILURES_MAX: u32 = 3;
/// Bytes of replies that are collected before they must be sent.
pub const OUTPUT_BYTES_MAX: usize = 8 * 1024;

/// What a listener offers; one for all its sessions.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our name in the greeting and in EHLO's reply.
    pub hostname: Box<str>,
    /// Whether STARTTLS is offered while the connection is plain.
    pub starttls: bool,
    /// MAIL is refused (530) before TLS.
    pub tls_required: bool,
    /// AUTH is offered (only inside TLS) and MAIL refused (530) before it.
    pub auth_required: bool,
    /// SIZE: octets of content.
    pub message_bytes_max: u64,
    /// RCPTs of one transaction; 452 4.5.3 beyond.
    pub recipients_max: usize,
    /// Transactions of one connection (LIMITS MAILMAX); 421 beyond. 0: no limit.
    pub messages_max: u32,
    /// The bad command that ends the session with 421.
    pub errors_max: u32,
}

/// What the driver does next.
#[derive(Debug)]
pub enum Step {
    /// Write out all of `output()`, then call `next()` again.
    Send,
    /// Nothing to do before more bytes come. `output()` is empty. When the patience ends call `expire()`.
    Read(Duration),
    /// Answer with `answer()` (or `accepted()` or `refused()` for content) before the next `next()`.
    Ask(Question),
    /// `output()` is sent. Do the handshake, then call `tls_started()`. Unread plain bytes were discarded.
    StartTls,
    /// `output()` is sent. Close.
    Close,
}

/// What only the driver can know.
#[derive(Debug)]
pub enum Question {
    /// AUTH with these credentials? Refuse gives 535 (or what the reply says).
    Authenticate {
        /// The authentication identity.
        user: Box<str>,
        /// The secret; never logged.
        password: Box<str>,
    },
    /// MAIL.
    Sender(Sender),
    /// RCPT; `Session::sender()` tells whose.
    Recipient(Recipient),
    /// DATA, or the first BDAT: may content come now?
    Content,
    /// The content is complete: lines ended by CRLF, no NUL, not dot-stuffed. On `accepted()` the session says 250.
    Message(Envelope, Vec<u8>),
}

/// The driver's answer to all but `Message`.
#[derive(Debug)]
pub enum Answer {
    /// Go on.
    Accept,
    /// Say this instead. A 421 ends the session.
    Refuse(Reply),
}

/// Proof that a message is safe, which alone makes the session say 250.
pub trait Acceptance {
    /// The text after `250 2.6.0 `.
    fn text(&self) -> String;
}
