//! The spool: content and envelopes on disk, as the records of the shard's journal.
//!
//! Owns: what a record is and how it is encoded ([`record`], [`encode`]); the proof that a message is safe ([`Durable`]).
//! Never: decides when something is written or removed (the queue does), and never touches a file (the journal does).
//! On disk: every frame of the journal is one record. A message's content lies contiguous inside its frame, so that it
//! can be read, and erased, on its own.
//! After a crash: a record is whole or it is not there; its bytes are decoded with every length checked, so damage is
//! an error and never a panic.
//! RFC: 5321 §4.2.5 (responsibility begins with the 250), 6.1. Limits: those of the fields, in [`record`].

pub mod encode;
pub mod record;
mod security;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use shards::Timestamp;
use shards::journal::{self, Class, Commit, Extent, Full, Journal, Position};

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
    /// What screening found, and when it is scheduled for: `None` if nothing looked at it, or it is due on arrival.
    pub tagged: record::Tagged,
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

/// Appends `message`'s record. Gives back where its content is.
pub fn append_message(journal: &Journal, message: &Message, message_id: &str) -> Result<(Extent, Pending), Full> {
    let head = record::message_head(message);
    let (position, commit) = journal.append(&[&head, &message.content], Class::Ordinary)?;
    let extent = Extent { position, skip: head.len() as u32, len: message.content.len() as u32 };
    Ok((extent, Pending { commit, id: message.id, message_id: message_id.into() }))
}

/// Appends a settlement's record: changes and the notices that they cause, whole or not at all. Gives back where it is,
/// and where the notices' contents are.
pub fn append_settlement(
    journal: &Journal,
    changes: &[record::Change],
    notices: &[&Message],
) -> Result<(Position, Vec<Extent>), Full> {
    let head = record::settlement_head(changes, notices);
    let parts: Vec<&[u8]> = std::iter::once(&*head).chain(notices.iter().map(|notice| &*notice.content)).collect();
    // The commit is not awaited: nobody outside is told of it, and frames become durable in order.
    let (position, _) = journal.append(&parts, Class::Urgent)?;
    let mut skip = head.len() as u32;
    let places = notices.iter().map(|notice| {
        let len = notice.content.len() as u32;
        let extent = Extent { position, skip, len };
        skip += len;
        extent
    });
    Ok((position, places.collect()))
}

/// Appends a note's record.
pub fn append_note(journal: &Journal, message: MessageId, indices: &[u16]) -> Result<Commit, Full> {
    Ok(journal.append(&[&record::note(message, indices)], Class::Urgent)?.1)
}

/// Appends a return's record. Whoever brought it waits for the flush.
pub fn append_return(journal: &Journal, came: &record::Return) -> Result<(Position, Commit), Full> {
    journal.append(&[&record::returned(came)], Class::Ordinary)
}

/// Appends a delay's record: it is told, to the sender of `message` by `notice` if there is one, that these recipients
/// wait. It is no settlement that lets old work end, so a full disk refuses it. Gives back where the notice's content is,
/// or would be.
pub fn append_delay(
    journal: &Journal,
    message: MessageId,
    indices: &[u16],
    notice: Option<&Message>,
) -> Result<Extent, Full> {
    let head = record::delay_head(message, indices, notice);
    let content = notice.map_or(&[][..], |notice| &notice.content);
    let (position, _) = journal.append(&[&head, content], Class::Ordinary)?;
    Ok(Extent { position, skip: head.len() as u32, len: content.len() as u32 })
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
