//! What one webhook has yet to be told: the newest events in memory, older ones in the index.

use std::collections::VecDeque;
use std::rc::Rc;

use shards::index::Index;

use super::Interest;
use super::event::{Encoded, EventId};
use crate::queue::Error;
use crate::queue::rows::EVENTS;

/// Told events that one checkpoint deletes from the index, and events that it gives up at most.
const REMOVED_PER_CHECKPOINT_MAX: usize = 10_000;

/// A key in the table of events and what it becomes; `None` deletes it.
pub type Stored = (Vec<u8>, Option<Vec<u8>>);

/// Events and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amount {
    events: u64,
    bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: usize) {
        self.events += 1;
        self.bytes += bytes as u64;
    }

    fn take(&mut self, part: Amount) {
        self.events -= part.events;
        self.bytes -= part.bytes;
    }
}

/// What a running checkpoint writes and deletes.
struct Checkpoint {
    last: EventId,
    written: u64,
    deleted: u64,
}

/// One webhook's events on one shard, in their order.
pub struct Line {
    /// The webhook's name.
    pub name: Box<str>,
    /// What is wanted; `None`: it is no longer configured, and nothing of the line is needed.
    pub interest: Option<Interest>,
    /// Events that were told since the start.
    pub told: u64,
    /// Requests that did not succeed since the start.
    pub failures: u64,
    /// Events that were given up since the start, for want of room or because the webhook is gone.
    pub dropped: u64,
    /// Of those, the ones that the log knows of.
    pub dropped_logged: u64,
    /// The last event that there was.
    last: EventId,
    /// Everything up to here is told or given up.
    done: EventId,
    /// Events behind `done` that the index has.
    stored: Amount,
    /// Events up to `done` that the index still has.
    dead: u64,
    /// Events behind those; the index does not have them, or a checkpoint is about to write them.
    recent: VecDeque<(EventId, Rc<[u8]>)>,
    recent_bytes: usize,
    checkpoint: Option<Checkpoint>,
}

impl Line {
    /// An empty line.
    pub fn new(name: &str, interest: Option<Interest>) -> Self {
        Self {
            name: name.into(),
            interest,
            told: 0,
            failures: 0,
            dropped: 0,
            dropped_logged: 0,
            last: EventId::default(),
            done: EventId::default(),
            stored: Amount::default(),
            dead: 0,
            recent: VecDeque::new(),
            recent_bytes: 0,
            checkpoint: None,
        }
    }

    /// An event that the index has, at the start; they come in order.
    pub fn load(&mut self, id: EventId, bytes: usize) {
        self.last = id;
        self.stored.add(bytes);
    }

    /// Adds an event. One that is not behind all others is there already: a frame was read again.
    pub fn add(&mut self, id: EventId, bytes: &Rc<[u8]>) {
        if id > self.last {
            self.last = id;
            self.recent_bytes += bytes.len();
            self.recent.push_back((id, bytes.clone()));
        }
    }

    /// Bytes of events in memory.
    pub fn recent_bytes(&self) -> usize {
        self.recent_bytes
    }

    /// Bytes of events that the index has and that wait.
    pub fn stored_bytes(&self) -> u64 {
        self.stored.bytes
    }

    /// Events that wait.
    pub fn waiting(&self) -> u64 {
        self.stored.events + self.recent.len() as u64
    }

    /// The next events that are to be told, the oldest first: at most `limit`, and no more once there are `bytes_max`.
    pub fn next(&self, index: &Index, limit: usize, bytes_max: usize) -> Result<Vec<Encoded>, Error> {
        let mut events: Vec<Encoded> = Vec::new();
        let mut bytes = 0;
        let mut take = |id, value: &[u8]| {
            if events.len() < limit && bytes < bytes_max {
                bytes += value.len();
                events.push((id, value.into()));
                return true;
            }
            false
        };
        self.scan_stored(index, &mut take)?;
        for (id, value) in &self.recent {
            if !take(*id, value) {
                break;
            }
        }
        Ok(events)
    }

    /// Visits the events behind `done` that the index has, until `visit` returns false. What a checkpoint has just written
    /// counts as recent until it has ended.
    fn scan_stored(&self, index: &Index, visit: &mut dyn FnMut(EventId, &[u8]) -> bool) -> Result<(), Error> {
        if self.stored.events == 0 {
            return Ok(());
        }
        let end = self.recent.front().map(|(id, _)| *id);
        self.scan(index, self.done.next(), &mut |id, value| end.is_none_or(|end| id < end) && visit(id, value))
    }

    /// Visits events of the line in the index.
    fn scan(&self, index: &Index, from: EventId, visit: &mut dyn FnMut(EventId, &[u8]) -> bool) -> Result<(), Error> {
        let scanned = index.scan(EVENTS, &self.key(from), &mut |key, value| match split_key(key) {
            Some((name, id)) if name == self.name.as_bytes() => visit(id, value),
            _ => false,
        });
        Ok(scanned?)
    }

    fn key(&self, id: EventId) -> Vec<u8> {
        [self.name.as_bytes(), &[0], &id.to_bytes()].concat()
    }

    /// Everything up to `id` was told.
    pub fn done(&mut self, id: EventId, index: &Index) -> Result<(), Error> {
        self.told += self.leave_behind(id, index, Amount { events: u64::MAX, bytes: u64::MAX })?;
        Ok(())
    }

    /// Goes past events up to `id`, until they come to one of the limits; gives how many.
    fn leave_behind(&mut self, id: EventId, index: &Index, limits: Amount) -> Result<u64, Error> {
        let mut passed = Amount::default();
        let is_below = |passed: &Amount| passed.events < limits.events && passed.bytes < limits.bytes;
        let mut last = self.done;
        self.scan_stored(index, &mut |at, value| {
            let goes = at <= id && is_below(&passed);
            if goes {
                passed.add(value.len());
                last = at;
            }
            goes
        })?;
        self.stored.take(passed);
        self.dead += passed.events;
        while is_below(&passed)
            && let Some((at, bytes)) = self.recent.front()
            && *at <= id
        {
            last = *at;
            passed.add(bytes.len());
            self.recent_bytes -= bytes.len();
            self.recent.pop_front();
        }
        self.done = last;
        Ok(passed.events)
    }

    /// The webhook is no longer configured: nothing of its events is needed.
    pub fn give_up(&mut self) {
        self.interest = None;
        self.dropped += self.waiting();
        self.dead += std::mem::take(&mut self.stored).events;
        self.recent.clear();
        self.recent_bytes = 0;
        self.done = self.last;
    }

    /// Whether nothing is left of it anywhere.
    pub fn is_over(&self) -> bool {
        self.interest.is_none() && self.dead == 0 && self.checkpoint.is_none()
    }

    /// Whether a checkpoint has something to do.
    pub fn is_dirty(&self) -> bool {
        self.dead > 0 || !self.recent.is_empty()
    }

    /// What a checkpoint writes and deletes. Keeps to the line's share of the disk (`bytes_max`): the oldest go.
    pub fn begin_checkpoint(&mut self, index: &Index, bytes_max: u64) -> Result<Vec<Stored>, Error> {
        self.make_room(index, bytes_max)?;
        let mut changes = self.deletions(index)?;
        let deleted = changes.len() as u64;
        changes.extend(self.recent.iter().map(|(id, bytes)| (self.key(*id), Some(bytes.to_vec()))));
        let last = self.recent.back().map_or(self.done, |(id, _)| *id);
        self.checkpoint = Some(Checkpoint { last, written: self.recent.len() as u64, deleted });
        Ok(changes)
    }

    fn make_room(&mut self, index: &Index, bytes_max: u64) -> Result<(), Error> {
        let excess = (self.stored.bytes + self.recent_bytes as u64).saturating_sub(bytes_max);
        if excess > 0 {
            let limits = Amount { events: REMOVED_PER_CHECKPOINT_MAX as u64, bytes: excess };
            self.dropped += self.leave_behind(self.last, index, limits)?;
        }
        Ok(())
    }

    /// The first events that the index no longer needs.
    fn deletions(&self, index: &Index) -> Result<Vec<Stored>, Error> {
        let mut changes = Vec::new();
        if self.dead == 0 {
            return Ok(changes);
        }
        self.scan(index, EventId::default(), &mut |id, _| {
            let goes = id <= self.done && changes.len() < REMOVED_PER_CHECKPOINT_MAX;
            if goes {
                changes.push((self.key(id), None));
            }
            goes
        })?;
        Ok(changes)
    }

    /// The checkpoint is committed.
    pub fn end_checkpoint(&mut self) {
        let Some(Checkpoint { last, written, deleted }) = self.checkpoint.take() else { return };
        let mut moved = 0;
        while let Some((id, bytes)) = self.recent.front()
            && *id <= last
        {
            self.recent_bytes -= bytes.len();
            self.stored.add(bytes.len());
            self.recent.pop_front();
            moved += 1;
        }
        // What was told while it was being written is in the index for nothing.
        self.dead += written - moved;
        self.dead -= deleted;
    }

    /// The checkpoint failed: everything is as if it had not begun.
    pub fn abandon_checkpoint(&mut self) {
        self.checkpoint = None;
    }
}

/// The webhook's name and the event of a key.
pub fn split_key(key: &[u8]) -> Option<(&[u8], EventId)> {
    let (head, id) = key.split_at_checked(key.len().checked_sub(EventId::BYTES)?)?;
    Some((head.strip_suffix(&[0])?, EventId::from_bytes(id)?))
}
