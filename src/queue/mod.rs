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
//! Owns: the messages' rows, what is due and where, leases, notices' timing, checkpoints, retention. Never: opens a
//! connection or chooses a host (`outbound` does), judges a reply (it gets an outcome), says 250 (the session does, with
//! the spool's proof in its hand).
//!
//! On disk: `DATA/lock`, and for each shard `DATA/shard-NN/journal` (every record of the [spool](crate::spool)) and
//! `DATA/shard-NN/index` (rows as of the last checkpoint, with the journal's position that they cover).
//! Both also tell what each account has submitted today ([`submitted`]), what webhooks have yet to be told ([`webhook`]), and
//! what came back about recipients after their delivery ([`returned`]).
//! After a crash: the index is read once and the journal replayed from that position; `recovery` tests each arrow.
//! RFC: 5321 §4.2.5, §4.5.4.1; 3461 §4.1, §5.2.
//!
//! Limits: a queued slice costs 16 bytes of memory, a changed row stays there until the next checkpoint (at most
//! `ROW_BYTES_MAX` in all before new messages are refused, twice that before delivery pauses), contents up to half of
//! `limits.content_memory_bytes_max`. Orders work in pages of 1000 messages and frames of 400 recipients. A full disk
//! refuses messages and delays settlements; it loses neither. Disk: once a checkpoint covers a segment of the journal, and
//! seconds later, its contents that are needed occupy no more than twice the 4 KiB blocks that they touch, and another one
//! for each that was released since; one that holds none is deleted. Two segments (16 MiB each) are always there.
//!
//! 250 is sent only after the batch is flushed. Each arrow is one batch. After a crash every lease is due again.
//! A DSN is committed in the batch that fails its recipient, or that says that its delay was told: once for each.
//! Maximum age is enforced in every state. Content is removed only when nothing names it.

mod accept;
mod alter;
pub mod behind;
mod checkpoint;
mod clockwork;
mod contents;
mod delay;
pub mod describe;
mod domains;
mod expiry;
mod find;
pub mod format;
mod judge;
pub mod lane;
mod learned;
pub mod lease;
pub mod lift;
mod notice;
mod open;
pub mod orders;
pub mod outcome;
mod ready;
mod rehome;
mod retention;
pub mod returned;
pub mod row;
mod rows;
pub mod schedule;
mod segments;
mod selection;
mod settle;
pub mod shares;
mod signal;
mod signing;
mod state;
pub mod submitted;
#[cfg(test)]
mod tests;
mod trim;
pub mod webhook;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use shards::journal::{Journal, Position};
use shards::{Reactor, Task, Timestamp};

use crate::config::Config;
use crate::events::{Event, Log};
use ready::Slice;
use signal::Signal;
use signing::Signing;
use state::State;

pub use learned::home;
pub use lease::{Lease, Submitter};
pub use open::Claim;
pub use rehome::rehome;

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
    #[error("{0} is in use by another ringpost: stop that one, or name another `[server] data_dir` here")]
    Locked(PathBuf),
    /// The directory cannot be made, or not be written in.
    #[error("`[server] data_dir` {0}: {1}: it must be a folder that the user who runs ringpost may make and write in")]
    Unusable(PathBuf, std::io::Error),
    /// There are queued messages, or untold events, of more shards than are configured.
    #[error(
        "{directory} holds queued mail, or events for webhooks, of {shards} shards: set `[server] shards` to {shards} or more"
    )]
    Leftover {
        /// The data directory.
        directory: PathBuf,
        /// How many shards are needed at least to deliver it.
        shards: usize,
    },
    /// A later version wrote what is there.
    #[error(
        "{directory} was written by a newer ringpost (format {format}; this one reads up to format {}): install that version again, \
         or let it deliver what is queued and begin with a new data_dir",
        format::FORMAT
    )]
    Newer {
        /// The data directory.
        directory: PathBuf,
        /// Its format.
        format: u64,
    },
    /// The journal.
    #[error(transparent)]
    Journal(#[from] shards::journal::Error),
    /// The index.
    #[error(transparent)]
    Index(#[from] shards::index::Error),
    /// The queue is closing, or its storage has failed.
    #[error("the queue is closing")]
    Closed,
    /// What is on disk cannot be understood.
    #[error("queue: {0}")]
    Damaged(String),
    /// The file system.
    #[error("{0}: {1}")]
    Io(PathBuf, std::io::Error),
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

/// Bytes of a message's record beside its content and its recipients, at most.
const HEAD_BYTES_MAX: usize = 2048;
/// Bytes of a recipient in a record, at most (RFC 5321 §4.5.3.1.3, RFC 3461 §4.2).
const RECIPIENT_BYTES_MAX: usize = 1024;
/// The largest content: what fits a frame of the journal with its head.
const CONTENT_BYTES_MAX: usize = 1 << 29;

/// One shard's queue; a cheap handle. Its background work ends when the last handle is dropped.
#[derive(Clone)]
pub struct Queue {
    core: Rc<Core>,
    /// Background work, cancelled by being dropped. Its own handles hold no share of it.
    _tasks: Rc<Vec<Task<()>>>,
}

/// What all handles share.
struct Core {
    reactor: Reactor,
    log: Log,
    shard: usize,
    journal: Journal,
    config: RefCell<Arc<Config>>,
    state: RefCell<State>,
    signing: Signing,
    /// Slices that become ready, or due later, when the journal is durable up to a position, in order.
    unpublished: RefCell<VecDeque<(Position, Slice)>>,
    /// Something may be ready.
    ready: Signal,
    /// `unpublished` has grown.
    appended: Signal,
    /// A webhook may have something to be told.
    events: Signal,
    /// When the log was told last that a webhook lost events.
    losses_told: Cell<Timestamp>,
    /// Something is due, or a parking ends, sooner than the clockwork waits for.
    sooner: Signal,
    /// Until when it waits, in seconds since the epoch.
    waits_until_s: Cell<u32>,
    /// The housekeeping has something to do now.
    work: Signal,
    /// A checkpoint has made room, or the housekeeping has ended.
    kept: Signal,
    /// The earliest end of life of any queued message, as far as known.
    next_expiry: Cell<Timestamp>,
    /// The earliest time at which a delay may have to be told.
    next_delay: Cell<Timestamp>,
    /// Messages up to this one are told of, or need not be.
    looked_at_for_delay: Cell<Option<MessageId>>,
    /// Of those, scheduled messages whose delay is to be told later, by the seconds since the epoch that they are
    /// scheduled for; as many as slices are queued, at most.
    scheduled: RefCell<BTreeSet<(u32, MessageId)>>,
    life: Cell<Life>,
    /// The log was told that the disk refuses messages.
    told_refusing: Cell<bool>,
    /// Why the storage failed.
    broken: RefCell<Option<Error>>,
    failed: Signal,
}

/// What the queue still does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Open,
    /// The housekeeping writes the last checkpoint.
    Closing,
    Closed,
    /// The storage failed.
    Failed,
}

impl Queue {
    /// A new message's identity; one that is never accepted leaves a gap.
    pub fn reserve_id(&self) -> MessageId {
        let mut state = self.core.state.borrow_mut();
        let number = state.next_number;
        state.next_number += 1;
        MessageId::new(self.core.shard, number)
    }

    /// Uses `config` from now on (its directory and shards stay as they were opened).
    pub fn configure(&self, config: Arc<Config>) {
        self.core.state.borrow_mut().configure(&config);
        self.core.config.replace(config);
        self.core.next_expiry.set(Timestamp::default());
        self.core.next_delay.set(Timestamp::default());
        self.core.work.give();
    }

    /// Waits until the storage has failed beyond repair in this process; then the process must end, and recovers.
    pub async fn failure(&self) -> Error {
        loop {
            let round = self.core.failed.round();
            if let Some(why) = self.core.broken.take() {
                return why;
            }
            self.core.failed.after(round).await;
        }
    }

    /// The storage failed: nothing more is accepted, leased or settled.
    fn fail(&self, why: impl Into<Error>) {
        let why = why.into();
        if self.core.life.replace(Life::Failed) != Life::Failed {
            self.core.log.emit(&Event::Trouble(&why));
            self.core.broken.replace(Some(why));
            self.core.failed.give();
            self.core.kept.give();
        }
    }

    /// Gives `result`'s value; an error is the storage's failure.
    fn sound<T>(&self, result: Result<T, Error>) -> Option<T> {
        result.map_err(|why| self.fail(why)).ok()
    }

    fn is_open(&self) -> bool {
        self.core.life.get() == Life::Open
    }

    fn has_failed(&self) -> bool {
        self.core.life.get() == Life::Failed
    }

    fn config(&self) -> Arc<Config> {
        self.core.config.borrow().clone()
    }

    fn now(&self) -> Timestamp {
        self.core.reactor.wall()
    }

    fn now_s(&self) -> u32 {
        row::seconds(self.now())
    }

    /// Tells the dispatcher, and the clockwork if it waits too long, that slices were pushed.
    fn slices_changed(&self) {
        let (any_ready, next_due_s) = {
            let state = self.core.state.borrow();
            (state.ready.waiting_domains() > 0, state.ready.next_due_s())
        };
        if any_ready {
            self.core.ready.give();
        }
        if next_due_s.is_some_and(|due_s| due_s < self.core.waits_until_s.get()) {
            self.core.sooner.give();
        }
    }
}
