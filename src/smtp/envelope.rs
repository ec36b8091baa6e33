//! The envelope: what MAIL and RCPT said.

use super::path::{Mailbox, ReversePath};

/// How the content is encoded (RFC 6152, 3030).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Body {
    /// 7BIT, also when nothing was said.
    #[default]
    SevenBit,
    /// 8BITMIME.
    EightBitMime,
}

/// What a failure notice returns of the message (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Return {
    /// RET=FULL.
    Full,
    /// RET=HDRS.
    Headers,
}

/// When to notify (RFC 3461 §4.1). All false is the same as the parameter being absent, unless `never`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Notify {
    /// NOTIFY=NEVER.
    pub never: bool,
    /// SUCCESS.
    pub success: bool,
    /// FAILURE.
    pub failure: bool,
    /// DELAY.
    pub delay: bool,
}

/// MAIL: the reverse-path and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The reverse-path.
    pub path: ReversePath,
    /// BODY=.
    pub body: Body,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// SIZE= (RFC 1870), octets.
    pub size: Option<u64>,
    /// RET=.
    pub ret: Option<Return>,
    /// ENVID=, as xtext, undecoded (≤ 100 octets).
    pub envid: Option<Box<str>>,
    /// REQUIRETLS (RFC 8689).
    pub requiretls: bool,
}

/// RCPT: a forward-path and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The forward-path's mailbox.
    pub path: Mailbox,
    /// NOTIFY=.
    pub notify: Notify,
    /// ORCPT=, `type;xtext`, undecoded (≤ 500 octets).
    pub orcpt: Option<Box<str>>,
}

/// A transaction's envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// From MAIL.
    pub sender: Sender,
    /// From RCPT, in order, at least one once content follows.
    pub recipients: Vec<Recipient>,
}
