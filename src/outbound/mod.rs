//! Outbound: delivers. Owner side: `dispatch` takes due recipients from the queue, resolves and hands them to the home
//! of their egress path. Home side: `pool` owns the path's connections and limits, `conversation` drives `smtp::client`.
//!
//! Never: writes to disk, or decides when a recipient is tried again (the queue does both). It does not know `inbound`.
//! After a crash: every lease is due again; see [`dispatch`] for what is noted about a delivery before its final dot.
//! RFC: 5321 §4.5.4 and §5.1, 3207, 7435.
//! Limits: those in [`Timing`], [`RECIPIENTS_PER_TRANSACTION_MAX`], and those of `dispatch` and `pool`.

mod after_rest;
mod budget;
mod conversation;
mod dialer;
pub mod dispatch;
mod known;
mod lately;
mod metrics;
mod obstacle;
mod outcome;
mod parking;
mod path;
pub mod pool;
mod protection;
mod proxy;
mod remembered;
mod reporting;
mod resolve;
mod room;
mod suppressed;
#[cfg(test)]
mod tests;
mod throttle;
mod timing;
mod told;
mod turns;
mod waiting;
mod warm_up;
mod way;

pub use dispatch::Dispatcher;
pub use metrics::Metrics;
pub use pool::Pool;
pub use timing::Timing;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use shards::{Reactor, Timestamp};

use crate::bounce::classify::{Context, InForce};
use crate::bounce::return_path::{ReturnPath, Token};
use crate::config::Source;
use crate::config::limit::Party;
use crate::dns;
use crate::events::Log;
use crate::queue::MessageId;
use crate::queue::outcome::Outcome;
use crate::route::Site;
use crate::smtp::envelope::{Recipient, Sender};
use crate::smtp::path::ReversePath;

/// Recipients of one transaction, at most: what every server must take (RFC 5321 §4.5.3.1.8).
pub const RECIPIENTS_PER_TRANSACTION_MAX: usize = 100;

/// What both sides work with: the shard's own, one of each.
#[derive(Clone)]
pub struct Tools {
    /// The world.
    pub reactor: Reactor,
    /// What is known of names.
    pub dns: dns::Cache,
    /// What is counted.
    pub metrics: Rc<Metrics>,
    /// Who is told.
    pub log: Log,
}

/// Deliver these recipients of one message to one site.
pub struct Task {
    /// The owner's number for this lease.
    pub lease: u64,
    /// The message.
    pub message: MessageId,
    /// From where.
    pub source: Arc<Source>,
    /// Where to.
    pub site: Arc<Site>,
    /// MAIL.
    pub sender: Sender,
    /// RCPTs, with their index in the message.
    pub recipients: Vec<(u16, Recipient)>,
    /// The content.
    pub content: Arc<Vec<u8>>,
    /// Reverse-paths of ours, one for each recipient, instead of the sender's: each recipient then has a transaction of its
    /// own.
    pub return_path: Option<Returning>,
    /// An operator wants it tried at once: it ends the rest that its path is given.
    pub insists: bool,
    /// The sender's own rules of what replies to it mean.
    pub replies: Option<InForce>,
    /// Whose it is; empty: nobody's in particular.
    pub tenant: Box<str>,
    /// Of which campaign; empty: of none.
    pub campaign: Box<str>,
}

/// Where what becomes of a message later comes back to.
#[derive(Clone, Debug)]
pub struct Returning {
    /// What makes the addresses.
    pub path: Arc<ReturnPath>,
    /// When the message came.
    pub arrival: Timestamp,
}

impl Task {
    /// What is known of whoever answers, whatever its address.
    pub(super) fn known(&self) -> Context<'_> {
        let (provider, own) = (self.site.shape.provider.as_deref(), self.replies.as_ref());
        Context { provider, own, ..Context::default() }
    }

    /// MAIL of a transaction that begins with the recipient of that index.
    pub fn sender_for(&self, index: u16) -> Sender {
        let ours =
            |returning: &Returning| returning.path.address(Token { message: self.message, index }, returning.arrival);
        match self.return_path.as_ref().and_then(ours) {
            Some(mailbox) => Sender { path: ReversePath::Mailbox(mailbox), ..self.sender.clone() },
            None => self.sender.clone(),
        }
    }

    /// Recipients that a transaction of it may have.
    pub fn recipients_max(&self) -> usize {
        if self.return_path.is_some() { 1 } else { RECIPIENTS_PER_TRANSACTION_MAX }
    }

    /// Whose it is, and of which campaign.
    fn party(&self) -> Party<'_> {
        Party { tenant: &self.tenant, campaign: &self.campaign }
    }

    /// The domain of its recipients, which is the same for all.
    fn domain(&self) -> &str {
        self.recipients.first().map_or("", |(_, recipient)| recipient.path.domain())
    }
}

/// Nothing is wanted for a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// For this long.
    pub pause: Duration,
    /// Why, for people: what its hosts said last, or what happened instead.
    pub why: Arc<str>,
}

/// How a [`Task`] went.
pub struct Done {
    /// The owner's number for the lease.
    pub lease: u64,
    /// One outcome per recipient, by index.
    pub outcomes: Vec<(u16, Outcome)>,
    /// The path is left alone: send nothing for a while.
    pub park: Option<Rest>,
}
