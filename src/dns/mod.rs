//! A small cache per shard before the one resolver on the control thread (or the simulation's).
//!
//! The shard sends a [`Query`] through a bounded channel; whoever holds the other end answers it. What a domain publishes
//! about its mail over HTTPS (MTA-STS) is asked for here too: it is named, found and kept like the rest.
//!
//! Owns: the answers that this shard has seen and how long they hold.
//! Never: speaks DNS (the control thread's resolver does) or judges what an answer means for mail (`route` does).
//! On disk: nothing. After a crash: empty.
//! RFC: 2308 (negative answers are cached too), 5321 §5.1.
//! Limits: [`ENTRIES_MAX`] answers, of texts [`TEXTS_BYTES_MAX`], kept between [`TTL_MIN`] and [`TTL_MAX`]; trouble for [`TROUBLE_TTL`];
//! [`QUERIES_MAX`] questions with the resolver at a time, further ones wait their turn. Equal questions that are asked
//! at the same time become one query.

mod cache;
mod zone;

pub use cache::Cache;
pub use zone::{question, records};

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::assurance::dane::Tlsa;
use crate::assurance::sts;

/// Answers that a shard remembers, at most.
pub const ENTRIES_MAX: usize = 16_384;

/// Shorter times to live are lengthened to this: a burst of mail to one domain asks once.
pub const TTL_MIN: Duration = Duration::from_secs(5);

/// Longer times to live are cut to this.
pub const TTL_MAX: Duration = Duration::from_secs(86_400);

/// Octets of all texts of an answer; more are trouble.
pub const TEXTS_BYTES_MAX: usize = 8_192;

/// How long [`Answer::Trouble`] is remembered.
pub const TROUBLE_TTL: Duration = Duration::from_secs(5);

/// Questions of one shard that are with the resolver at a time.
pub const QUERIES_MAX: usize = 256;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// Mail exchangers of a domain.
    Mx(Box<str>),
    /// Mail exchangers of a domain, as far as DNSSEC vouches for them; [`Answer::NoData`] where it does not.
    SecureMx(Box<str>),
    /// Addresses (A and AAAA) of a host.
    Addresses(Box<str>),
    /// Addresses of the older kind (A) alone, as block lists answer (RFC 5782 §2.1).
    Ipv4(Box<str>),
    /// Addresses of the newer kind (AAAA) alone.
    Ipv6(Box<str>),
    /// TXT records.
    Texts(Box<str>),
    /// Names (PTR) of an address, which is written as a name (RFC 1035 §3.5).
    Names(Box<str>),
    /// TLSA records of the SMTP service at a host's port, as far as DNSSEC vouches for them (RFC 7672 §2.2).
    Tlsa(Box<str>, u16),
    /// The MTA-STS policy of a domain (RFC 8461).
    Policy(Box<str>),
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// MX: preference and host name (lower case, without the final dot; "" is the null MX's root).
    Mx(Vec<(u16, Box<str>)>, Duration),
    /// Addresses.
    Addresses(Vec<IpAddr>, Duration),
    /// TXT, the strings of a record joined; or names of an address.
    Texts(Vec<Box<str>>, Duration),
    /// TLSA; at least one record.
    Tlsa(Tlsa, Duration),
    /// A policy; [`Answer::NoData`] where none is announced.
    Policy(Arc<sts::Policy>, Duration),
    /// One is announced, and not to be had.
    NoPolicy(sts::Missing, Duration),
    /// The name exists and has no such record.
    NoData(Duration),
    /// The name does not exist.
    NoSuchName(Duration),
    /// SERVFAIL, time-out, no server: temporary; why, for people. Cached for a few seconds only.
    Trouble(Box<str>),
}

/// A question on its way to the resolver.
pub struct Query {
    /// The question.
    pub question: Question,
    /// Where the answer goes.
    pub reply: futures::channel::oneshot::Sender<Answer>,
}

impl Answer {
    /// How long the answer may be remembered.
    pub fn ttl(&self) -> Duration {
        match self {
            Answer::Mx(_, ttl)
            | Answer::Addresses(_, ttl)
            | Answer::Texts(_, ttl)
            | Answer::Tlsa(_, ttl)
            | Answer::Policy(_, ttl)
            | Answer::NoPolicy(_, ttl)
            | Answer::NoData(ttl)
            | Answer::NoSuchName(ttl) => (*ttl).clamp(TTL_MIN, TTL_MAX),
            Answer::Trouble(_) => TROUBLE_TTL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_as_long_as_its_clamped_ttl() {
        for (answer, expected) in [
            (Answer::NoData(Duration::from_secs(60)), Duration::from_secs(60)),
            (Answer::Mx(Vec::new(), Duration::ZERO), TTL_MIN),
            (Answer::NoSuchName(Duration::from_secs(1_000_000)), TTL_MAX),
            (Answer::Trouble("SERVFAIL".into()), TROUBLE_TTL),
        ] {
            assert_eq!(answer.ttl(), expected, "{answer:?}");
        }
    }
}
