//! The spool: content and envelopes on disk, as the records of the shard's journal.
//!
//! Owns: what a record is and how it is encoded ([`record`], [`encode`]); the proof that a message is safe ([`Durable`]).
//! Never: decides when something is written or removed (the queue does), and never touches a file (the journal does).
//! On disk: every frame of the journal is one record. A message's content lies contiguous inside its frame, so that it
//! can be read, and erased, on its own.
//! After a crash: a record is whole or it is not there; its bytes are decoded with every length checked, so damage is
//! an error and never a panic.
//! RFC: 5321 §4.2.5 (responsibility begins with the 250), 6.1. Limits: those of the fields, in [`record`].

use std::net::IpAddr;

use shards::Timestamp;
use shards::journal::{self, Commit};

use crate::queue::MessageId;
use crate::smtp::envelope::Envelope;
use crate::smtp::server::Acceptance;

/// A message at the moment of its acceptance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its identity, from `Queue::reserve_id`.
    pub id: MessageId,
    /// When its content was complete.
    pub arrival: Timestamp,
    /// MAIL and RCPT with all their parameters.
    pub envelope: Envelope,
    /// Who submitted it; `None` from a relay listener and for our own notices.
    pub account: Option<Box<str>>,
    /// The submitting client; `None` for our own notices.
    pub client: Option<Client>,
    /// Trace fields and content as they go out: lines ended by CRLF, not dot-stuffed.
    pub content: Vec<u8>,
}

/// Who handed a message in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// What it called itself in EHLO.
    pub name: Box<str>,
}

/// A message whose frame is appended and on its way to disk.
pub struct Pending {
    commit: Commit,
    id: MessageId,
    message_id: Box<str>,
}

impl Pending {
    /// Waits for the flush of the batch that holds the message. Nothing else makes a [`Durable`].
    pub async fn durable(self) -> Result<Durable, journal::Error> {
        self.commit.durable().await?;
        Ok(Durable { id: self.id, message_id: self.message_id })
    }
}

/// Proof that a message is on disk, flushed: the session says 250 to nothing less.
#[derive(Debug)]
pub struct Durable {
    id: MessageId,
    message_id: Box<str>,
}

impl Durable {
    /// The message.
    pub fn id(&self) -> MessageId {
        self.id
    }
}

impl Acceptance for Durable {
    fn text(&self) -> String {
        format!("{} queued as {}", self.message_id, self.id)
    }
}
