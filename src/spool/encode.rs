//! The bytes of records and rows: little, self-delimiting, and decoded with every length checked.
//!
//! Numbers are LEB128 (seven bits a byte, least significant first); strings and bytes are a length and themselves;
//! an optional value is a byte 0, or a byte 1 and the value. What was added after the first format is a list of tagged
//! values ([`put_tagged`]).

use std::net::IpAddr;

use super::Client;
use super::record::{Said, Standing, State};
use super::security::{put_security, security};
use crate::bounce::classify::{Category, Reason};
use crate::smtp::envelope::{Body, Notify, Recipient, Return, Sender};
use crate::smtp::path::{Mailbox, ReversePath};
use crate::smtp::reply::EnhancedCode;

/// Bytes that are not what this program (or an older one) wrote; the text says which part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stored bytes cannot be understood: {0}")]
pub struct Corrupt(pub &'static str);

/// Appends `number`.
pub fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends an optional string.
pub fn put_optional(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        None => out.push(0),
        Some(text) => {
            out.push(1);
            put_bytes(out, text.as_bytes());
        }
    }
}

/// What is left of some bytes that are being decoded.
#[derive(Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Decodes `bytes` from their beginning.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Bytes not yet decoded.
    pub fn remaining(&self) -> usize {
        self.0.len()
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, Corrupt> {
        let (first, rest) = self.0.split_first().ok_or(Corrupt("it ends early"))?;
        self.0 = rest;
        Ok(*first)
    }

    /// One number.
    pub fn number(&mut self) -> Result<u64, Corrupt> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Corrupt("a number is too long"))
    }

    /// One number that fits 32 bits.
    pub fn number_u32(&mut self) -> Result<u32, Corrupt> {
        u32::try_from(self.number()?).map_err(|_| Corrupt("a number is too large"))
    }

    /// One number that fits 16 bits.
    pub fn number_u16(&mut self) -> Result<u16, Corrupt> {
        u16::try_from(self.number()?).map_err(|_| Corrupt("a number is too large"))
    }

    /// How many things follow, each of at least one byte: never more than there are bytes left.
    pub fn count(&mut self) -> Result<usize, Corrupt> {
        match usize::try_from(self.number()?) {
            Ok(count) if count <= self.0.len() => Ok(count),
            _ => Err(Corrupt("a count is larger than what follows")),
        }
    }

    /// A length and that many bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], Corrupt> {
        let len = self.count()?;
        self.take(len)
    }

    /// That many bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Corrupt> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(Corrupt("it ends early"))?;
        self.0 = rest;
        Ok(bytes)
    }

    /// As many bytes as there are in a number of fixed size.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Corrupt("it ends early"))?;
        self.0 = rest;
        Ok(*bytes)
    }

    /// A length and that many bytes of UTF-8.
    pub fn text(&mut self) -> Result<&'a str, Corrupt> {
        utf8(self.bytes()?)
    }

    /// An optional string.
    pub fn optional(&mut self) -> Result<Option<&'a str>, Corrupt> {
        match self.byte()? {
            0 => Ok(None),
            1 => self.text().map(Some),
            _ => Err(Corrupt("neither absent nor present")),
        }
    }

    /// Nothing may be left.
    pub fn end(self) -> Result<(), Corrupt> {
        if self.0.is_empty() { Ok(()) } else { Err(Corrupt("something follows its end")) }
    }
}

/// Tag of a message's screening verdict, see [`put_tagged`].
pub const SCREENING: u64 = 1;
/// Tag of the time before which a message is not tried: milliseconds since the epoch, a number.
pub const SCHEDULED: u64 = 2;
/// Tag of a message's Message-ID.
pub const MESSAGE_ID: u64 = 3;
/// Tag of a message that goes out with reverse-paths of ours; its value is empty.
pub const RETURN_PATH: u64 = 4;
/// Tag of the pool that a message asks for.
pub const POOL: u64 = 5;
/// Tag of a message's tenant.
pub const TENANT: u64 = 6;
/// Tag of a message's campaign.
pub const CAMPAIGN: u64 = 7;
/// Tag of a message whose record is the note of its first attempt too; its value is empty.
pub const NOTED: u64 = 8;
/// A message's tag: what large receivers' rules make of it.
pub const PREFLIGHT: u64 = 9;
/// Tag of what a message asks of TLS: a word.
pub const DEMAND: u64 = 10;

/// Appends values that not every message has: how many, then each one's tag and bytes. Their tags are never used again
/// for anything else, so an older or a newer program reads the ones that it knows.
pub fn put_tagged(out: &mut Vec<u8>, values: &[(u64, Option<&[u8]>)]) {
    put_number(out, values.iter().filter(|(_, value)| value.is_some()).count() as u64);
    for (tag, value) in values {
        if let Some(value) = value {
            put_number(out, *tag);
            put_bytes(out, value);
        }
    }
}

/// Reads what [`put_tagged`] wrote; `take` is told each tag and value, and passes over what it does not know.
pub fn tagged<'a>(
    reader: &mut Reader<'a>,
    mut take: impl FnMut(u64, &'a [u8]) -> Result<(), Corrupt>,
) -> Result<(), Corrupt> {
    for _ in 0..reader.count()? {
        let tag = reader.number()?;
        take(tag, reader.bytes()?)?;
    }
    Ok(())
}

/// Bytes as text.
pub fn utf8(bytes: &[u8]) -> Result<&str, Corrupt> {
    std::str::from_utf8(bytes).map_err(|_| Corrupt("a text is not UTF-8"))
}

const EIGHT_BIT: u8 = 1;
const SMTPUTF8: u8 = 1 << 1;
const RET_FULL: u8 = 1 << 2;
const RET_HEADERS: u8 = 1 << 3;
const REQUIRETLS: u8 = 1 << 4;

/// Appends MAIL's part of an envelope.
pub fn put_sender(out: &mut Vec<u8>, sender: &Sender) {
    let mut flags = 0;
    if sender.body == Body::EightBitMime {
        flags |= EIGHT_BIT;
    }
    if sender.smtputf8 {
        flags |= SMTPUTF8;
    }
    if sender.requiretls {
        flags |= REQUIRETLS;
    }
    match sender.ret {
        None => {}
        Some(Return::Full) => flags |= RET_FULL,
        Some(Return::Headers) => flags |= RET_HEADERS,
    }
    out.push(flags);
    match &sender.path {
        ReversePath::Null => put_optional(out, None),
        ReversePath::Mailbox(mailbox) => put_optional(out, Some(mailbox.as_str())),
    }
    put_number(out, sender.size.map_or(0, |size| size.saturating_add(1)));
    put_optional(out, sender.envid.as_deref());
}

/// Reads what [`put_sender`] wrote.
pub fn sender(reader: &mut Reader<'_>) -> Result<Sender, Corrupt> {
    let flags = reader.byte()?;
    let path = match reader.optional()? {
        None => ReversePath::Null,
        Some(text) => ReversePath::Mailbox(mailbox(text)?),
    };
    Ok(Sender {
        path,
        body: if flags & EIGHT_BIT == 0 { Body::SevenBit } else { Body::EightBitMime },
        smtputf8: flags & SMTPUTF8 != 0,
        size: reader.number()?.checked_sub(1),
        ret: match flags & (RET_FULL | RET_HEADERS) {
            0 => None,
            RET_FULL => Some(Return::Full),
            _ => Some(Return::Headers),
        },
        envid: reader.optional()?.map(Into::into),
        requiretls: flags & REQUIRETLS != 0,
    })
}

/// Passes over what [`put_sender`] wrote.
pub fn skip_sender(reader: &mut Reader<'_>) -> Result<(), Corrupt> {
    reader.byte()?;
    reader.optional()?;
    reader.number()?;
    reader.optional()?;
    Ok(())
}

const NEVER: u8 = 1;
const SUCCESS: u8 = 1 << 1;
const FAILURE: u8 = 1 << 2;
const DELAY: u8 = 1 << 3;

/// Appends RCPT's part of an envelope. The address comes first: [`Reader::text`] alone reads it.
pub fn put_recipient(out: &mut Vec<u8>, recipient: &Recipient) {
    put_bytes(out, recipient.path.as_str().as_bytes());
    let notify = recipient.notify;
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    out.push(
        flag(notify.never, NEVER)
            | flag(notify.success, SUCCESS)
            | flag(notify.failure, FAILURE)
            | flag(notify.delay, DELAY),
    );
    put_optional(out, recipient.orcpt.as_deref());
}

/// Reads what [`put_recipient`] wrote.
pub fn recipient(reader: &mut Reader<'_>) -> Result<Recipient, Corrupt> {
    let path = mailbox(reader.text()?)?;
    let flags = reader.byte()?;
    let notify = Notify {
        never: flags & NEVER != 0,
        success: flags & SUCCESS != 0,
        failure: flags & FAILURE != 0,
        delay: flags & DELAY != 0,
    };
    Ok(Recipient { path, notify, orcpt: reader.optional()?.map(Into::into) })
}

/// Passes over what [`put_recipient`] wrote; gives back the address.
pub fn skip_recipient<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Corrupt> {
    let address = reader.text()?;
    reader.byte()?;
    reader.optional()?;
    Ok(address)
}

fn mailbox(text: &str) -> Result<Mailbox, Corrupt> {
    Mailbox::parse(text, true).map_err(|_| Corrupt("an address is not one"))
}

/// Appends who handed a message in.
pub fn put_client(out: &mut Vec<u8>, client: Option<&Client>) {
    match client {
        None => out.push(0),
        Some(Client { address: IpAddr::V4(address), name }) => {
            out.push(4);
            out.extend_from_slice(&address.octets());
            put_bytes(out, name.as_bytes());
        }
        Some(Client { address: IpAddr::V6(address), name }) => {
            out.push(6);
            out.extend_from_slice(&address.octets());
            put_bytes(out, name.as_bytes());
        }
    }
}

/// Reads what [`put_client`] wrote.
pub fn client(reader: &mut Reader<'_>) -> Result<Option<Client>, Corrupt> {
    let address = match reader.byte()? {
        0 => return Ok(None),
        4 => IpAddr::from(octets::<4>(reader)?),
        6 => IpAddr::from(octets::<16>(reader)?),
        _ => return Err(Corrupt("an address family is unknown")),
    };
    Ok(Some(Client { address, name: reader.text()?.into() }))
}

fn octets<const N: usize>(reader: &mut Reader<'_>) -> Result<[u8; N], Corrupt> {
    let mut octets = [0; N];
    for octet in &mut octets {
        *octet = reader.byte()?;
    }
    Ok(octets)
}

/// Before what was said last: nothing was; something, at an unknown time (as the first versions wrote it); what happened
/// at a time; a peer's reply at a time.
const SILENT: u8 = 0;
const SAID: u8 = 1;
const HAPPENED_AT: u8 = 2;
const REPLIED_AT: u8 = 3;
/// Set in the byte before what was said last: its category and rule follow it.
const CLASSIFIED: u8 = 0x80;
/// Set there: what protected the session follows, after them.
const SECURED: u8 = 0x40;

/// Appends a recipient's standing. Its state comes first: [`state`] alone reads it.
pub fn put_standing(out: &mut Vec<u8>, standing: &Standing) {
    let (tag, at_s) = match standing.state {
        State::Due { at_s } => (0, at_s),
        State::Held => (1, 0),
        State::Delivered { at_s } => (2, at_s),
        State::Failed { at_s } => (3, at_s),
    };
    out.push(tag);
    put_number(out, u64::from(at_s));
    put_number(out, u64::from(standing.attempts));
    put_said(out, standing.last.as_ref());
}

/// Appends what was said, if anything was.
pub fn put_said(out: &mut Vec<u8>, said: Option<&Said>) {
    match said {
        None => out.push(SILENT),
        Some(said) => {
            let kind = if said.replied { REPLIED_AT } else { HAPPENED_AT };
            let flag = |set: bool, bit: u8| if set { bit } else { 0 };
            out.push(kind | flag(said.reason.is_some(), CLASSIFIED) | flag(said.tls.is_some(), SECURED));
            let EnhancedCode(class, subject, detail) = said.status;
            out.push(class);
            put_number(out, u64::from(subject));
            put_number(out, u64::from(detail));
            put_bytes(out, said.text.as_bytes());
            put_optional(out, said.remote.as_deref());
            put_number(out, u64::from(said.at_s));
            if let Some(reason) = &said.reason {
                put_bytes(out, reason.category.name().as_bytes());
                put_bytes(out, reason.rule.as_bytes());
            }
            if let Some(tls) = &said.tls {
                put_security(out, tls);
            }
        }
    }
}

/// Reads the state that begins what [`put_standing`] wrote.
pub fn state(reader: &mut Reader<'_>) -> Result<State, Corrupt> {
    let tag = reader.byte()?;
    let at_s = reader.number_u32()?;
    match tag {
        0 => Ok(State::Due { at_s }),
        1 => Ok(State::Held),
        2 => Ok(State::Delivered { at_s }),
        3 => Ok(State::Failed { at_s }),
        _ => Err(Corrupt("a state is unknown")),
    }
}

/// Reads what [`put_standing`] wrote.
pub fn standing(reader: &mut Reader<'_>) -> Result<Standing, Corrupt> {
    let state = state(reader)?;
    Ok(Standing { state, attempts: reader.number_u16()?, last: said(reader)? })
}

/// Reads what [`put_said`] wrote.
pub fn said(reader: &mut Reader<'_>) -> Result<Option<Said>, Corrupt> {
    let byte = reader.byte()?;
    match byte & !(CLASSIFIED | SECURED) {
        SILENT if byte == SILENT => Ok(None),
        kind @ (SAID | HAPPENED_AT | REPLIED_AT) => Ok(Some(Said {
            status: EnhancedCode(reader.byte()?, reader.number_u16()?, reader.number_u16()?),
            text: reader.text()?.into(),
            remote: reader.optional()?.map(Into::into),
            at_s: if kind == SAID { 0 } else { reader.number_u32()? },
            replied: kind == REPLIED_AT,
            reason: if byte & CLASSIFIED == 0 { None } else { reason(reader)? },
            tls: if byte & SECURED == 0 { None } else { security(reader)? },
        })),
        _ => Err(Corrupt("what was said last is of an unknown kind")),
    }
}

/// What an answer is about; nothing where this program does not know the category.
fn reason(reader: &mut Reader<'_>) -> Result<Option<Reason>, Corrupt> {
    let category = Category::named(reader.text()?);
    let rule = reader.text()?.to_owned();
    Ok(category.map(|category| Reason::by(rule, category)))
}

/// Passes over what [`put_standing`] wrote; gives back the state.
pub fn skip_standing(reader: &mut Reader<'_>) -> Result<State, Corrupt> {
    let state = state(reader)?;
    reader.number_u16()?;
    let kind = reader.byte()?;
    if kind != SILENT {
        reader.byte()?;
        reader.number_u16()?;
        reader.number_u16()?;
        reader.bytes()?;
        reader.optional()?;
    }
    if matches!(kind & !(CLASSIFIED | SECURED), HAPPENED_AT | REPLIED_AT) {
        reader.number_u32()?;
    }
    if kind & CLASSIFIED != 0 {
        reader.bytes()?;
        reader.bytes()?;
    }
    if kind & SECURED != 0 {
        reader.bytes()?;
    }
    Ok(state)
}
