//! What protected a session with a next hop, or why nothing did: for events, people and webhooks. Pure.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::{AskedBy, Assurance, Policy, Verified};

/// What was asked of a session, and what it came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Security {
    /// What it had to prove.
    pub policy: Policy,
    /// Who asked for that.
    pub asked_by: AskedBy,
    /// What it came to.
    pub channel: Channel,
}

/// What a session came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// It was encrypted.
    Encrypted {
        /// `TLSv1.3`, `TLSv1.2`.
        protocol: Cow<'static, str>,
        /// The cipher suite's IANA name.
        cipher: Cow<'static, str>,
        /// How the peer has shown who it is.
        verified: Verified,
    },
    /// It was plain text.
    Plain(Plain),
    /// The peer gave less than was asked, so there was no session.
    Refused,
}

/// Why a session was in plain text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plain {
    /// TLS is not to be used.
    Off,
    /// The peer does not offer it.
    NotOffered,
    /// The handshake had failed, then or lately: why.
    Fallback(Arc<str>),
}

impl Security {
    /// There was no session, for want of what `assurance` asks.
    pub fn refused(assurance: &Assurance) -> Security {
        Security { policy: assurance.policy, asked_by: assurance.asked_by, channel: Channel::Refused }
    }
}

impl Plain {
    /// Its name in events.
    pub fn name(&self) -> &'static str {
        match self {
            Plain::Off => "off",
            Plain::NotOffered => "not-offered",
            Plain::Fallback(_) => "fallback",
        }
    }

    /// Why the handshake had failed, where it had.
    pub fn why(&self) -> Option<&str> {
        match self {
            Plain::Fallback(why) => Some(why),
            Plain::Off | Plain::NotOffered => None,
        }
    }
}

impl fmt::Display for Security {
    /// For people: a sentence without its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.channel {
            Channel::Encrypted { protocol, cipher, verified } => {
                write!(f, "encrypted ({protocol}, {cipher})")?;
                match verified {
                    Verified::No => f.write_str(", the next hop not verified")?,
                    Verified::Dane => f.write_str(", the next hop verified by its TLSA records")?,
                    Verified::Authority => f.write_str(", the next hop verified by a trusted authority")?,
                }
            }
            Channel::Plain(Plain::Off) => f.write_str("in plain text, as TLS is off")?,
            Channel::Plain(Plain::NotOffered) => f.write_str("in plain text, as the next hop offers no TLS")?,
            Channel::Plain(Plain::Fallback(why)) => write!(f, "in plain text, as its handshake failed: {why}")?,
            Channel::Refused => f.write_str("no session, as the next hop gave less than was asked")?,
        }
        write!(f, "; asked: {}, by {}", self.policy.name(), self.asked_by.name())
    }
}
