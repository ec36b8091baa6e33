//! The server session: commands in, replies and questions out.
//!
//! Every command is check → ask → proceed: syntax and order here, then a [`Question`] to the driver (who asks policy),
//! then the effect. Replies of one read are coalesced in `output()`.

use std::sync::Arc;
use std::time::Duration;

use super::envelope::{Envelope, Recipient, Sender};
use super::reply::Reply;

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
    /// Bad commands (and AUTH failures ×3) after which the session ends with 421.
    pub errors_max: u32,
}

/// What the driver does next.
#[derive(Debug)]
pub enum Step {
    /// Write out all of `output()`, then call `next()` again.
    Send,
    /// Nothing to do before more bytes come. `output()` is empty. When the patience ends call `expire()`.
    Read(Duration),
    /// Answer with `answer()` (or `accepted()` for content).
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
    /// The content is complete. On `accepted()` the session says 250.
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

/// One connection's session.
pub struct Session(Arc<Settings>);

impl Session {
    /// A new session; the greeting is its first output. `tls`: the connection is encrypted already.
    pub fn new(_settings: Arc<Settings>, _tls: bool) -> Self {
        todo!()
    }

    /// A session that says `reply` (421 or 554) instead of a greeting, then closes.
    pub fn refusing(_settings: Arc<Settings>, _reply: Reply) -> Self {
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

    /// Answers the question asked last (all but `Message`).
    pub fn answer(&mut self, _answer: Answer) {
        todo!()
    }

    /// The message is accepted: 250 with the proof's text.
    pub fn accepted(&mut self, _proof: &impl Acceptance) {
        todo!()
    }

    /// The message is refused.
    pub fn refused(&mut self, _reply: Reply) {
        todo!()
    }

    /// The content that is coming cannot be kept: drop what came, ignore the rest, and say `reply` at its end.
    pub fn refuse_content(&mut self, _reply: Reply) {
        todo!()
    }

    /// Bytes of content held now (or declared by BDAT and expected).
    pub fn content_bytes(&self) -> usize {
        todo!()
    }

    /// The handshake is done.
    pub fn tls_started(&mut self) {
        todo!()
    }

    /// The patience of `Read` ended: 421 4.4.2 and close.
    pub fn expire(&mut self) {
        todo!()
    }

    /// We are stopping: 421 4.3.2 and close at the next point between transactions' commands. Content that is coming is taken to its end first.
    pub fn shut_down(&mut self) {
        todo!()
    }

    /// EHLO's argument, once said.
    pub fn client_name(&self) -> Option<&str> {
        todo!()
    }

    /// The trace keyword of RFC 3848 (ESMTPSA …), or SMTP, UTF8SMTP… of RFC 6531.
    pub fn protocol(&self) -> &'static str {
        todo!()
    }

    /// Who has authenticated.
    pub fn user(&self) -> Option<&str> {
        todo!()
    }

    /// MAIL of the running transaction.
    pub fn sender(&self) -> Option<&Sender> {
        todo!()
    }
}
