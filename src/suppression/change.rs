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

/// Takes a change from the front of `octets`. `None`: they are not such.
pub fn take(octets: &mut &[u8]) -> Option<Change> {
    let scope = match byte(octets)? {
        0 => Scope::Everyone,
        1 => Scope::Relayed,
        2 => Scope::Account(take_text(octets)?),
        _ => return None,
    };
    let address = take_text(octets)?;
    let cause = byte(octets)?;
    if cause == 0 {
        return Some(Change { scope, address, entry: None });
    }
    let cause = CAUSES.iter().find(|(_, octet)| *octet == cause)?.0;
    let mut number = || take_octets(octets, 4)?.try_into().ok().map(u32::from_le_bytes);
    let (since_s, until_s) = (number()?, number()?);
    let strikes = byte(octets)?;
    Some(Change { scope, address, entry: Some(Entry { cause, since_s, until_s, strikes }) })
}

fn take_octets<'o>(octets: &mut &'o [u8], count: usize) -> Option<&'o [u8]> {
    let (taken, rest) = octets.split_at_checked(count)?;
    *octets = rest;
    Some(taken)
}

fn byte(octets: &mut &[u8]) -> Option<u8> {
    take_octets(octets, 1).map(|taken| taken[0])
}

fn take_text(octets: &mut &[u8]) -> Option<Box<str>> {
    let len = u16::from_le_bytes(take_octets(octets, 2)?.try_into().ok()?);
    let text = take_octets(octets, usize::from(len))?;
    std::str::from_utf8(text).ok().map(Into::into)
}
