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

pub mod lease;
pub mod orders;
pub mod outcome;
pub mod schedule;
pub mod settle;

use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use shards::Reactor;

use crate::config::Config;
use crate::spool::{Durable, Message};
pub use lease::Lease;
pub use settle::{Fate, Settled};

/// A message's identity: the shard that accepted it and a number that only grows there. Shown as 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u64);

impl MessageId {
    /// Bits of the number; the shard's are above.
    const NUMBER_BITS: u32 = 52;

    /// The `number`th message of `shard`.
    pub const fn new(shard: usize, number: u64) -> Self {
        Self(((shard as u64) << Self::NUMBER_BITS) | number)
    }

    /// The shard that accepted it.
    pub const fn shard(self) -> usize {
        (self.0 >> Self::NUMBER_BITS) as usize
    }

    /// Its number on that shard.
    pub const fn number(self) -> u64 {
        self.0 & ((1 << Self::NUMBER_BITS) - 1)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::str::FromStr for MessageId {
    type Err = std::num::ParseIntError;

    /// As shown: hex digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// The queue cannot be opened, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process works on this directory.
    #[error("{0} is in use by another ringpost")]
    Locked(std::path::PathBuf),
    /// There are queued messages of more shards than are configured.
    #[error("{directory} holds queued mail of {found} shards: set `[server] shards` to {found} or more")]
    Leftover {
        /// The data directory.
        directory: std::path::PathBuf,
        /// How many shards it was written by.
        found: usize,
    },
    /// The journal.
    #[error(transparent)]
    Journal(#[from] shards::journal::Error),
    /// The index.
    #[error(transparent)]
    Index(#[from] shards::index::Error),
    /// What is on disk cannot be understood.
    #[error("queue: {0}")]
    Damaged(String),
    /// The file system.
    #[error("{0}: {1}")]
    Io(std::path::PathBuf, std::io::Error),
}

/// Why a message is not accepted now. Always temporary.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The disk, or the memory for what is not yet on it, is full: 452 4.3.1.
    #[error("no room for more messages now")]
    Full,
    /// The storage failed; the process is about to end and recover: 451 4.3.0.
    #[error("the queue's storage has failed")]
    Broken,
}

/// One shard's queue; a cheap handle. Its background work ends when the last handle is dropped.
#[derive(Clone)]
pub struct Queue(Rc<()>);

/// The data directory, held by this process alone for as long as this lives.
pub struct Claim(std::fs::File);

impl Claim {
    /// Creates `directory` where it is missing and locks it, before any shard starts.
    pub fn new(_directory: &Path) -> Result<Claim, Error> {
        todo!()
    }
}

impl Queue {
    /// Opens (or creates) shard `shard`'s queue below `config.data_dir` and recovers it. Shard 0 also checks that no
    /// queued mail is left of shards that are no longer configured.
    pub async fn open(_reactor: &Reactor, _config: Arc<Config>, _shard: usize) -> Result<Queue, Error> {
        todo!()
    }

    /// A new message's identity; one that is never accepted leaves a gap.
    pub fn reserve_id(&self) -> MessageId {
        todo!()
    }

    /// Whether a message of `bytes` (0: unknown) would be accepted now; for MAIL.
    pub fn accepting(&self, _bytes: u64) -> Result<(), AcceptError> {
        todo!()
    }

    /// Takes responsibility for `message`; returns once it is flushed to disk. `message_id` is its Message-ID field's
    /// value, for the reply. Dropping the future leaves the message accepted or not, but never half.
    pub async fn accept(&self, _message: Message, _message_id: &str) -> Result<Durable, AcceptError> {
        todo!()
    }

    /// Carries out an operator's order, in slices that let other work of the shard run.
    pub async fn order(&self, _order: orders::Order) -> orders::Report {
        todo!()
    }

    /// Uses `config` from now on (its directory and shards stay as they were opened).
    pub fn configure(&self, _config: Arc<Config>) {
        todo!()
    }

    /// Waits until the storage has failed beyond repair in this process; then the process must end, and recovers.
    pub async fn failure(&self) -> Error {
        todo!()
    }

    /// Writes the last checkpoint, so that the next start is short. Accept, lease and settle nothing afterwards.
    pub async fn close(&self) -> Result<(), Error> {
        todo!()
    }
}
