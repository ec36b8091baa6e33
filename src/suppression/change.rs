//! What is made of an address, as the file holds it.
//!
//! | octets | what it is |
//! |---|---|
//! | 1 | whose: 0 everybody's, 1 relayed mail's, 2 an account's |
//! | 2 and as many as they say | the account's name, where it is one |
//! | 2 and as many as they say | the address |
//! | 1 | the cause; 0: it is taken away, and nothing follows |
//! | 4, 4, 1 | since when, until when, and how often so far |
//!
//! Numbers are little-endian. A change is absolute, so that it may be made twice.

use super::{Entry, Scope};
use crate::config::suppression::Cause;
use crate::spool::encode::{Corrupt, Reader, utf8};

/// What is made of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// On whose list.
    pub scope: Scope,
    /// The address, see [`Key`](super::Key).
    pub address: Box<str>,
    /// What it has there from now on; `None`: nothing.
    pub entry: Option<Entry>,
}

/// The causes as octets; those of earlier versions keep theirs.
const CAUSES: &[(Cause, u8)] = &[
    (Cause::RecipientUnknown, 1),
    (Cause::RecipientInactive, 2),
    (Cause::MailboxFull, 3),
    (Cause::DomainUnknown, 4),
    (Cause::Expired, 5),
    (Cause::Policy, 6),
    (Cause::Spam, 7),
    (Cause::Complaint, 8),
    (Cause::Operator, 9),
];

/// Appends the octets of a change.
pub fn put(out: &mut Vec<u8>, scope: &Scope, address: &str, entry: Option<Entry>) {
    match scope {
        Scope::Everyone => out.push(0),
        Scope::Relayed => out.push(1),
        Scope::Account(name) => {
            out.push(2);
            put_text(out, name);
        }
    }
    put_text(out, address);
    let Some(Entry { cause, since_s, until_s, strikes }) = entry else { return out.push(0) };
    out.push(CAUSES.iter().find(|(known, _)| *known == cause).map_or(0, |(_, octet)| *octet));
    out.extend(since_s.to_le_bytes());
    out.extend(until_s.to_le_bytes());
    out.push(strikes);
}

/// Names have 255 octets at most and addresses 254, so nothing is ever cut.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let len = u16::try_from(text.len()).unwrap_or(0);
    out.extend(len.to_le_bytes());
    out.extend(&text.as_bytes()[..usize::from(len)]);
}

/// Reads a change.
///
/// # Errors
/// What is there is none.
pub fn take(reader: &mut Reader<'_>) -> Result<Change, Corrupt> {
    let scope = match reader.byte()? {
        0 => Scope::Everyone,
        1 => Scope::Relayed,
        2 => Scope::Account(text(reader)?),
        _ => return Err(Corrupt("whose list it is")),
    };
    let address = text(reader)?;
    let cause = reader.byte()?;
    if cause == 0 {
        return Ok(Change { scope, address, entry: None });
    }
    let (cause, _) = *CAUSES.iter().find(|(_, octet)| *octet == cause).ok_or(Corrupt("why it is there"))?;
    let (since_s, until_s) = (u32::from_le_bytes(reader.array()?), u32::from_le_bytes(reader.array()?));
    let strikes = reader.byte()?;
    Ok(Change { scope, address, entry: Some(Entry { cause, since_s, until_s, strikes }) })
}

fn text(reader: &mut Reader<'_>) -> Result<Box<str>, Corrupt> {
    let len = u16::from_le_bytes(reader.array()?);
    utf8(reader.take(len.into())?).map(Into::into)
}
