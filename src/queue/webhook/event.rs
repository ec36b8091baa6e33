//! What a webhook is told: one record for each recipient to whom something happened. Pure.

use std::fmt;

use shards::Timestamp;
use shards::journal::Position;

use crate::config::webhook::Kind;
use crate::message::Origin;
use crate::queue::MessageId;
use crate::queue::row::Row;
use crate::smtp::envelope::Recipient;
use crate::spool::encode::{self, Corrupt, Reader, put_number, put_optional};
use crate::spool::record::{Said, Standing};

/// The format of events. Version 1, which is still read, knew no tenants and campaigns.
const VERSION: u8 = 2;
const KINDS: [(Kind, u8); 7] = [
    (Kind::Delivered, 1),
    (Kind::Delayed, 2),
    (Kind::Deferred, 3),
    (Kind::Failed, 4),
    (Kind::Expired, 5),
    (Kind::Bounced, 6),
    (Kind::Complaint, 7),
];

/// An event's place in its shard's order: the journal's frame that says so, and which of its recipients. It is the same
/// whenever the frame is read, so whoever is told twice can see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// The frame.
    pub position: Position,
    /// Which of its recipients, from 0.
    pub part: u32,
}

impl EventId {
    /// Bytes of an id in a key.
    pub const BYTES: usize = 12;

    /// The bytes, in the same order as the ids.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        for (place, number) in bytes.chunks_exact_mut(4).zip([self.position.segment, self.position.offset, self.part]) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    /// Reads what [`EventId::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8]) -> Option<EventId> {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *<&[u8; Self::BYTES]>::try_from(bytes).ok()?;
        let number = u32::from_be_bytes;
        let position = Position { segment: number([a, b, c, d]), offset: number([e, f, g, h]) };
        Some(EventId { position, part: number([i, j, k, l]) })
    }

    /// The next one that there can be.
    pub fn next(self) -> EventId {
        EventId { part: self.part.saturating_add(1), ..self }
    }
}

/// An event's id and its bytes, see [`Event::encode`].
pub type Encoded = (EventId, Box<[u8]>);

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: Kind,
    /// When, in seconds since the epoch.
    pub at_s: u32,
    /// The message.
    pub message: MessageId,
    /// When that was accepted.
    pub arrival: Timestamp,
    /// Its Message-ID.
    pub message_id: Option<Box<str>>,
    /// Who submitted it.
    pub account: Option<Box<str>>,
    /// The reverse-path; empty if null.
    pub sender: Box<str>,
    /// ENVID, as xtext.
    pub envid: Option<Box<str>>,
    /// RCPT.
    pub recipient: Recipient,
    /// How it stands since.
    pub standing: Standing,
    /// Whose the message is; the pool is not told.
    pub origin: Origin,
}

impl Event {
    /// The bytes of the event that recipient `index` of a message is in since `at_s`. Nothing if there is none. `came_back`
    /// stands in it instead of what was said last.
    pub fn encode(
        kind: Kind,
        at_s: u32,
        message: MessageId,
        row: &Row,
        index: u16,
        came_back: Option<&Said>,
    ) -> Vec<u8> {
        let Some(entry) = row.recipients.get(usize::from(index)) else { return Vec::new() };
        let mut out = Vec::with_capacity(256);
        let kind = KINDS.iter().find(|(known, _)| *known == kind).map_or(0, |(_, byte)| *byte);
        out.extend([VERSION, kind]);
        put_number(&mut out, u64::from(at_s));
        put_number(&mut out, message.0);
        put_number(&mut out, row.arrival.as_millis());
        put_optional(&mut out, row.tagged.message_id.as_deref());
        put_optional(&mut out, row.account.as_deref());
        encode::put_sender(&mut out, &row.sender);
        encode::put_recipient(&mut out, &entry.recipient);
        match came_back {
            None => encode::put_standing(&mut out, &entry.standing),
            Some(said) => {
                let standing = Standing { last: Some(said.clone()), ..entry.standing.clone() };
                encode::put_standing(&mut out, &standing);
            }
        }
        put_optional(&mut out, row.tagged.origin.tenant.as_deref());
        put_optional(&mut out, row.tagged.origin.campaign.as_deref());
        out
    }

    /// Reads what [`Event::encode`] gave.
    pub fn decode(bytes: &[u8]) -> Result<Event, Corrupt> {
        let mut reader = Reader::new(bytes);
        let version = reader.byte()?;
        if !(1..=VERSION).contains(&version) {
            return Err(Corrupt("an event of another version"));
        }
        let kind = reader.byte()?;
        let kind = KINDS.iter().find(|(_, byte)| *byte == kind).ok_or(Corrupt("an event of unknown kind"))?.0;
        let at_s = reader.number_u32()?;
        let message = MessageId(reader.number()?);
        let arrival = Timestamp::from_millis(reader.number()?);
        let message_id = reader.optional()?.map(Into::into);
        let account = reader.optional()?.map(Into::into);
        let sender = encode::sender(&mut reader)?;
        let event = Event {
            kind,
            at_s,
            message,
            arrival,
            message_id,
            account,
            sender: sender.path.to_string().into(),
            envid: sender.envid,
            recipient: encode::recipient(&mut reader)?,
            standing: encode::standing(&mut reader)?,
            origin: if version == 1 {
                Origin::default()
            } else {
                let mut part = || Ok(reader.optional()?.map(Into::into));
                Origin { tenant: part()?, campaign: part()?, ..Origin::default() }
            },
        };
        reader.end()?;
        Ok(event)
    }

    /// What a receiver knows the event by: unlike any other, also of another installation's before this one.
    pub fn name(&self, id: EventId) -> impl fmt::Display {
        let Position { segment, offset } = id.position;
        format!("evt_{}_{segment:x}_{offset:x}_{:x}_{:x}", self.message, id.part, self.arrival.as_millis())
    }
}
