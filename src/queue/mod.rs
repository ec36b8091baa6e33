//! The queue: which recipients exist and when each is due: one shard's partition.
//!
//! | state | on disk | leaves by |
//! |---|---|---|
//! | unknown | nothing; a torn tail after a crash | commit → due |
//! | due | record, envelope, due entry | lease → leased; hold → held; expire → failed |
//! | leased | in memory only; on disk it is still due | settle → due (later), delivered, failed; crash → due or uncertain |
//! | uncertain | a note written before the final dot of a delivery | after a crash, policy decides: retry or hold; counted |
//! | held | record, no due entry | release → due; expire → failed |
//! | delivered | event; placeholder until its retention ends | retention |
//! | failed | event; its DSN committed in the same batch | retention |
//!
//! 250 is sent only after the batch is flushed. Each arrow is one batch. After a crash every lease is due again.
//! A DSN is committed in the batch that fails its recipient. Maximum age is enforced in every state. Content is removed
//! only when nothing names it.

pub mod orders;
pub mod outcome;
pub mod schedule;

use std::fmt;

/// A message's identity: the shard that accepted it and a number that only grows there. Shown as 16 hex-like characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u64);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
