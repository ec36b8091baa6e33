//! A small cache per shard before the one resolver on the control thread (or the simulation's).
//!
//! The shard sends a [`Query`] through a bounded channel; whoever holds the other end answers it.

use std::net::IpAddr;
use std::time::Duration;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// Mail exchangers of a domain.
    Mx(Box<str>),
    /// Addresses (A and AAAA) of a host.
    Addresses(Box<str>),
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// MX: preference and host name (lower case, without the final dot; "" is the null MX's root).
    Mx(Vec<(u16, Box<str>)>, Duration),
    /// Addresses.
    Addresses(Vec<IpAddr>, Duration),
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
