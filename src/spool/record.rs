//! The records: what one frame of the journal says.
//!
//! | record | says |
//! |---|---|
//! | message | this message was accepted (perhaps also what a note says); its content follows |
//! | settlement | these recipients now stand like this, and these notices were accepted with it |
//! | note | these recipients' content is about to be, or was, sent to its end; its reply is not yet known |
//! | return | this came back about a recipient after its delivery |
//! | delay | it was told, to the sender by this notice if there is one, that these recipients' delivery is delayed |
//!
//! Every record is absolute: reading one twice changes nothing more. Limits: [`SAID_BYTES_MAX`] of an answer are kept;
//! a message has at most [`RECIPIENTS_MAX`] recipients.

use std::sync::Arc;

use shards::Timestamp;

use super::encode::{self, Corrupt, Reader, put_number, put_optional};
use super::{Client, Message};
use crate::assurance::Security;
use crate::bounce::classify::Reason;
use crate::message::{Demand, Origin};
use crate::queue::MessageId;
use crate::queue::outcome::Answer;
use crate::smtp::envelope::Envelope;
use crate::smtp::remote::ReplyReader;
use crate::smtp::reply::{EnhancedCode, Reply};

/// Octets of an answer's text that are kept.
pub const SAID_BYTES_MAX: usize = 1024;
/// Octets of a Message-ID that is kept.
pub const MESSAGE_ID_BYTES_MAX: usize = 512;
/// Recipients of one message that a record can name.
pub const RECIPIENTS_MAX: usize = 1 << 16;

/// The format of records that this program writes. Version 1, which it still reads, had no tagged values.
pub const VERSION: u8 = 2;
const MESSAGE: u8 = 1;
const SETTLEMENT: u8 = 2;
const NOTE: u8 = 3;
const DELAY: u8 = 4;
const RETURN: u8 = 5;

/// Where a recipient stands, as it is on disk. Times are seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// To be tried from then on.
    Due {
        /// When.
        at_s: u32,
    },
    /// Waits for the operator.
    Held,
    /// The next hop took responsibility.
    Delivered {
        /// When.
        at_s: u32,
    },
    /// Given up.
    Failed {
        /// When.
        at_s: u32,
    },
}

impl State {
    /// When it ended; `None` while it is queued.
    pub fn ended_s(self) -> Option<u32> {
        match self {
            State::Due { .. } | State::Held => None,
            State::Delivered { at_s } | State::Failed { at_s } => Some(at_s),
        }
    }
}

/// A recipient's state and history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Where it stands.
    pub state: State,
    /// Attempts so far.
    pub attempts: u16,
    /// What was said last.
    pub last: Option<Said>,
}

impl Standing {
    /// That of a recipient who was never tried.
    pub fn fresh(at_s: u32) -> Self {
        Self { state: State::Due { at_s }, attempts: 0, last: None }
    }
}

/// What is kept of an [`Answer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The status of RFC 3463.
    pub status: EnhancedCode,
    /// The reply on one line, or what happened instead; at most [`SAID_BYTES_MAX`].
    pub text: Box<str>,
    /// Who said it.
    pub remote: Option<Box<str>>,
    /// When: seconds since the Unix epoch; 0 if a first version kept it.
    pub at_s: u32,
    /// Whether `text` is a peer's reply; otherwise it tells what happened instead.
    pub replied: bool,
    /// What it is about.
    pub reason: Option<Reason>,
    /// What protected the session.
    pub tls: Option<Arc<Security>>,
}

impl Said {
    /// What is kept of an answer that was given at `at_s`.
    pub fn new(answer: &Answer, at_s: u32) -> Self {
        let mut end = answer.text.len().min(SAID_BYTES_MAX);
        while !answer.text.is_char_boundary(end) {
            end -= 1;
        }
        Self {
            status: answer.status,
            text: answer.text[..end].into(),
            remote: answer.remote.clone(),
            at_s,
            replied: answer.reply.is_some(),
            reason: answer.reason.clone(),
            tls: answer.tls.clone(),
        }
    }

    /// The peer's reply, on one line, where one was given.
    pub fn reply(&self) -> Option<Reply> {
        if !self.replied {
            return None;
        }
        let mut reader = ReplyReader::default();
        reader.receive(self.text.as_bytes());
        reader.receive(b"\r\n");
        // A text that is more than the reply (a list of hosts that were tried) does not begin with a code.
        reader.next_reply().ok().flatten()
    }
}

/// A recipient's new standing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of which message.
    pub message: MessageId,
    /// Its index there.
    pub index: u16,
    /// How it stands from now on.
    pub standing: Standing,
}

/// What comes back about a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It was not delivered in the end.
    Bounced,
    /// The recipient complained.
    Complaint,
}

impl What {
    /// The one with the smallest byte.
    pub const FIRST: What = What::Bounced;

    /// As it stands on disk.
    pub fn byte(self) -> u8 {
        match self {
            What::Bounced => 1,
            What::Complaint => 2,
        }
    }

    /// Reads what [`What::byte`] gave.
    pub fn of_byte(byte: u8) -> Result<What, Corrupt> {
        match byte {
            1 => Ok(What::Bounced),
            2 => Ok(What::Complaint),
            _ => Err(Corrupt("something of an unknown kind came back")),
        }
    }
}

/// Something that came back about a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Return {
    /// Of which message.
    pub message: MessageId,
    /// Its index there.
    pub index: u16,
    /// What.
    pub what: What,
    /// What is said in it, and when it came.
    pub said: Said,
}

/// The tagged values of a message's record or row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tagged {
    /// What screening found.
    pub screening: Option<Box<str>>,
    /// What large receivers' rules make of it.
    pub preflight: Option<Box<str>>,
    /// Before when it is not tried.
    pub scheduled: Option<Timestamp>,
    /// Its Message-ID, by which people ask for it; one of more than [`MESSAGE_ID_BYTES_MAX`] is not kept.
    pub message_id: Option<Box<str>>,
    /// It goes out with reverse-paths of ours, one for each recipient.
    pub return_path: bool,
    /// It is tried at once, so this record is the note of that attempt too.
    pub noted: bool,
    /// Whose it is, and from where it goes out.
    pub origin: Origin,
}

impl Tagged {
    /// Reads what [`Tagged::put`] wrote.
    pub fn read(reader: &mut Reader<'_>) -> Result<Tagged, Corrupt> {
        let mut tagged = Tagged::default();
        encode::tagged(reader, |tag, value| {
            match tag {
                encode::SCREENING => tagged.screening = Some(encode::utf8(value)?.into()),
                encode::PREFLIGHT => tagged.preflight = Some(encode::utf8(value)?.into()),
                encode::SCHEDULED => tagged.scheduled = Some(Timestamp::from_millis(Reader::new(value).number()?)),
                encode::MESSAGE_ID => tagged.message_id = Some(encode::utf8(value)?.into()),
                encode::RETURN_PATH => tagged.return_path = true,
                encode::POOL => tagged.origin.pool = Some(encode::utf8(value)?.into()),
                encode::TENANT => tagged.origin.tenant = Some(encode::utf8(value)?.into()),
                encode::CAMPAIGN => tagged.origin.campaign = Some(encode::utf8(value)?.into()),
                encode::NOTED => tagged.noted = true,
                encode::DEMAND => {
                    let demand = Demand::named(encode::utf8(value)?);
                    tagged.origin.demand = demand.ok_or(Corrupt("what a message asks of TLS is unknown"))?;
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(tagged)
    }

    /// Appends them.
    pub fn put(&self, out: &mut Vec<u8>) {
        let scheduled = self.scheduled.map(|time| {
            let mut value = Vec::new();
            put_number(&mut value, time.as_millis());
            value
        });
        let screening = self.screening.as_deref().map(str::as_bytes);
        let message_id = self.message_id.as_deref().map(str::as_bytes);
        let values = [
            (encode::SCREENING, screening),
            (encode::SCHEDULED, scheduled.as_deref()),
            (encode::MESSAGE_ID, message_id),
            (encode::RETURN_PATH, self.return_path.then_some(&[][..])),
            (encode::POOL, self.origin.pool.as_deref().map(str::as_bytes)),
            (encode::TENANT, self.origin.tenant.as_deref().map(str::as_bytes)),
            (encode::CAMPAIGN, self.origin.campaign.as_deref().map(str::as_bytes)),
            (encode::NOTED, self.noted.then_some(&[][..])),
            (encode::PREFLIGHT, self.preflight.as_deref().map(str::as_bytes)),
            (encode::DEMAND, Some(self.origin.demand.name().as_bytes()).filter(|name| !name.is_empty())),
        ];
        encode::put_tagged(out, &values);
    }
}

/// An accepted message as its record tells it: all but the content, and where that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its identity.
    pub id: MessageId,
    /// When it was accepted.
    pub arrival: Timestamp,
    /// MAIL and RCPT.
    pub envelope: Envelope,
    /// Who submitted it.
    pub account: Option<Box<str>>,
    /// The submitting client.
    pub client: Option<Client>,
    /// What not every message has.
    pub tagged: Tagged,
    /// Bytes of the payload before the content.
    pub skip: u32,
    /// Bytes of content.
    pub len: u32,
}

/// One frame's meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A message was accepted.
    Message(Box<Accepted>),
    /// Recipients changed, and notices about that were accepted.
    Settlement(Vec<Change>, Vec<Accepted>),
    /// Recipients of a message became uncertain.
    Note(MessageId, Vec<u16>),
    /// Its recipients' delay was told: to webhooks, and to the sender by notices that were accepted.
    Delay(MessageId, Vec<u16>, Vec<Accepted>),
    /// Something came back about a recipient.
    Return(Return),
}

impl Record {
    /// Decodes a frame's payload.
    pub fn decode(payload: &[u8]) -> Result<Record, Corrupt> {
        let mut reader = Reader::new(payload);
        let version = reader.byte()?;
        if !(1..=VERSION).contains(&version) {
            return Err(Corrupt("a record of another version"));
        }
        match reader.byte()? {
            MESSAGE => {
                let mut messages = accepted(&mut reader, version, 1, payload.len())?;
                messages
                    .pop()
                    .map(|message| Record::Message(Box::new(message)))
                    .ok_or(Corrupt("a message record without a message"))
            }
            SETTLEMENT => {
                let changes = changes(&mut reader)?;
                let count = reader.count()?;
                Ok(Record::Settlement(changes, accepted(&mut reader, version, count, payload.len())?))
            }
            NOTE => {
                let (message, indices) = recipients(&mut reader)?;
                reader.end()?;
                Ok(Record::Note(message, indices))
            }
            DELAY => {
                let (message, indices) = recipients(&mut reader)?;
                let count = reader.count()?;
                Ok(Record::Delay(message, indices, accepted(&mut reader, version, count, payload.len())?))
            }
            RETURN => {
                let (message, index) = (MessageId(reader.number()?), reader.number_u16()?);
                let what = What::of_byte(reader.byte()?)?;
                let said = encode::said(&mut reader)?.ok_or(Corrupt("what came back says nothing"))?;
                reader.end()?;
                Ok(Record::Return(Return { message, index, what, said }))
            }
            _ => Err(Corrupt("a record of unknown kind")),
        }
    }
}

/// A message and some of its recipients.
fn recipients(reader: &mut Reader<'_>) -> Result<(MessageId, Vec<u16>), Corrupt> {
    let message = MessageId(reader.number()?);
    let count = reader.count()?;
    let indices = (0..count).map(|_| reader.number_u16()).collect::<Result<_, _>>()?;
    Ok((message, indices))
}

fn changes(reader: &mut Reader<'_>) -> Result<Vec<Change>, Corrupt> {
    let count = reader.count()?;
    let mut changes = Vec::with_capacity(count);
    for _ in 0..count {
        let message = MessageId(reader.number()?);
        changes.push(Change { message, index: reader.number_u16()?, standing: encode::standing(reader)? });
    }
    Ok(changes)
}

/// Reads `count` messages' facts; their contents follow all of them, in the same order, up to the payload's end.
fn accepted(reader: &mut Reader<'_>, version: u8, count: usize, payload_len: usize) -> Result<Vec<Accepted>, Corrupt> {
    let mut messages = Vec::with_capacity(count);
    for _ in 0..count {
        messages.push(one_accepted(reader, version)?);
    }
    let mut skip = payload_len - reader.remaining();
    for message in &mut messages {
        message.skip = u32::try_from(skip).map_err(|_| Corrupt("a record is too long"))?;
        skip += message.len as usize;
    }
    if skip != payload_len {
        return Err(Corrupt("a content has another length"));
    }
    Ok(messages)
}

fn one_accepted(reader: &mut Reader<'_>, version: u8) -> Result<Accepted, Corrupt> {
    let id = MessageId(reader.number()?);
    let arrival = Timestamp::from_millis(reader.number()?);
    let account = reader.optional()?.map(Into::into);
    let client = encode::client(reader)?;
    let sender = encode::sender(reader)?;
    let count = reader.count()?;
    if count > RECIPIENTS_MAX {
        return Err(Corrupt("a message has too many recipients"));
    }
    let recipients = (0..count).map(|_| encode::recipient(reader)).collect::<Result<_, _>>()?;
    let len = reader.number_u32()?;
    let tagged = if version == 1 { Tagged::default() } else { Tagged::read(reader)? };
    Ok(Accepted { id, arrival, envelope: Envelope { sender, recipients }, account, client, tagged, skip: 0, len })
}

/// The bytes before the content of a message's record.
pub fn message_head(message: &Message) -> Vec<u8> {
    let mut head = Vec::with_capacity(64 + 64 * message.envelope.recipients.len());
    head.extend([VERSION, MESSAGE]);
    put_message(&mut head, message);
    head
}

/// The bytes before the notices' contents of a settlement's record.
pub fn settlement_head(changes: &[Change], notices: &[&Message]) -> Vec<u8> {
    let mut head = Vec::with_capacity(16 + 32 * changes.len());
    head.extend([VERSION, SETTLEMENT]);
    put_number(&mut head, changes.len() as u64);
    for change in changes {
        put_number(&mut head, change.message.0);
        put_number(&mut head, u64::from(change.index));
        encode::put_standing(&mut head, &change.standing);
    }
    put_number(&mut head, notices.len() as u64);
    for notice in notices {
        put_message(&mut head, notice);
    }
    head
}

/// A note's record.
pub fn note(message: MessageId, indices: &[u16]) -> Vec<u8> {
    let mut record = vec![VERSION, NOTE];
    put_recipients(&mut record, message, indices);
    record
}

/// A return's record.
pub fn returned(came: &Return) -> Vec<u8> {
    let mut record = vec![VERSION, RETURN];
    put_number(&mut record, came.message.0);
    put_number(&mut record, u64::from(came.index));
    record.push(came.what.byte());
    encode::put_said(&mut record, Some(&came.said));
    record
}

/// The bytes before the notice's content of a delay's record.
pub fn delay_head(message: MessageId, indices: &[u16], notice: Option<&Message>) -> Vec<u8> {
    let mut head = vec![VERSION, DELAY];
    put_recipients(&mut head, message, indices);
    put_number(&mut head, u64::from(notice.is_some()));
    if let Some(notice) = notice {
        put_message(&mut head, notice);
    }
    head
}

fn put_recipients(out: &mut Vec<u8>, message: MessageId, indices: &[u16]) {
    put_number(out, message.0);
    put_number(out, indices.len() as u64);
    for index in indices {
        put_number(out, u64::from(*index));
    }
}

fn put_message(out: &mut Vec<u8>, message: &Message) {
    put_number(out, message.id.0);
    put_number(out, message.arrival.as_millis());
    put_optional(out, message.account.as_deref());
    encode::put_client(out, message.client.as_ref());
    encode::put_sender(out, &message.envelope.sender);
    put_number(out, message.envelope.recipients.len() as u64);
    for recipient in &message.envelope.recipients {
        encode::put_recipient(out, recipient);
    }
    put_number(out, message.content.len() as u64);
    message.tagged.put(out);
}
