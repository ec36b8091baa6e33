//! Outbound: delivers. Owner side: `dispatch` takes due recipients from the queue, resolves and hands them to the home
//! of their egress path. Home side: `pool` owns the path's connections and limits, `conversation` drives `smtp::client`.
//!
//! Never: writes to disk, or decides when a recipient is tried again (the queue does both). It does not know `inbound`.
//! After a crash: every lease is due again; see [`dispatch`] for what is noted about a delivery before its final dot.
//! RFC: 5321 §4.5.4 and §5.1, 3207, 7435.
//! Limits: those in [`Timing`], [`RECIPIENTS_PER_TRANSACTION_MAX`], and those of `dispatch` and `pool`.

mod conversation;
mod dialer;
pub mod dispatch;
mod metrics;
mod outcome;
mod path;
pub mod pool;
mod protection;
mod remembered;
#[cfg(test)]
mod tests;
mod timing;
mod turns;
mod waiting;

pub use dispatch::Dispatcher;
pub use metrics::Metrics;
pub use pool::Pool;
pub use timing::Timing;

use std::sync::Arc;
use std::time::Duration;

use crate::queue::MessageId;
use crate::queue::outcome::Outcome;
use crate::route::Site;
use crate::smtp::envelope::{Recipient, Sender};

/// Recipients of one transaction, at most: what every server must take (RFC 5321 §4.5.3.1.8).
pub const RECIPIENTS_PER_TRANSACTION_MAX: usize = 100;

/// Deliver these recipients of one message to one site.
pub struct Task {
    /// The owner's number for this lease.
    pub lease: u64,
    /// The message.
    pub message: MessageId,
    /// Where to.
    pub site: Arc<Site>,
    /// MAIL.
    pub sender: Sender,
    /// RCPTs, with their index in the message.
    pub recipients: Vec<(u16, Recipient)>,
    /// The content.
    pub content: Arc<Vec<u8>>,
    /// An operator wants it tried at once: it ends the rest that its path is given.
    pub insists: bool,
}

impl Task {
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
