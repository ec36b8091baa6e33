//! Settling: what becomes of leased recipients, in one frame with the notices that it causes.

use super::Queue;
use super::outcome::Outcome;
use shards::Timestamp;

/// What became of one recipient, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The recipient's index in the message.
    pub index: u16,
    /// Its address.
    pub recipient: Box<str>,
    /// Attempts so far.
    pub attempts: u16,
    /// Its state now.
    pub fate: Fate,
}

/// A settled recipient's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Done.
    Delivered,
    /// Due again then.
    Deferred(Timestamp),
    /// The operator holds it.
    Held,
    /// Given up; its notice, where one is wanted, is queued.
    Failed,
}

impl Queue {
    /// Ends a lease. Recipients without an outcome are due again at once. A failure and its notice are one frame. It does
    /// not wait for the flush (waits only to read content back for a notice). An unknown or already settled lease gives
    /// nothing back and changes nothing.
    pub async fn settle(&self, _lease: u64, _outcomes: Vec<(u16, Outcome)>) -> Vec<Settled> {
        todo!()
    }
}
