//! Mailboxes and paths (RFC 5321 §4.1.2, RFC 6531 §3.3).

use std::fmt;

/// `local-part "@" domain` as the peer wrote it, checked and bounded: local part ≤ 64 octets, domain ≤ 255, path ≤ 256.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mailbox {
    text: Box<str>,
    at: u16,
}

/// A mailbox that breaks the rules; the text says which.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPath(pub &'static str);

impl Mailbox {
    /// Parses a bare `local@domain`; `smtputf8` permits UTF-8 in both halves.
    pub fn parse(_text: &str, _smtputf8: bool) -> Result<Mailbox, BadPath> {
        todo!()
    }

    /// The local part as written (quoted strings with their quotes).
    pub fn local(&self) -> &str {
        &self.text[..self.at as usize]
    }

    /// The domain or address literal as written.
    pub fn domain(&self) -> &str {
        &self.text[self.at as usize + 1..]
    }

    /// The whole.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Where delivery status notifications about a message go. `<>` for a notification itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`.
    Null,
    /// A mailbox.
    Mailbox(Mailbox),
}

impl fmt::Display for ReversePath {
    /// Without the angle brackets; the null path is empty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReversePath::Null => Ok(()),
            ReversePath::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}
