//! Rows: those of the last checkpoint in the index, newer ones in memory until the next.
//!
//! A row is looked for in `dirty` (changed since the checkpoint began), then in `writing` (what a running checkpoint
//! commits), then in the index. Memory is bounded by checkpoints: see [`super::checkpoint`].

use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;

use shards::index::{Index, Table};

use super::row::{self, Row};
use super::{Error, MessageId, find};

/// The index's tables, in the order of the constants below.
pub const TABLES: &[&str] =
    &["meta", "queued", "done", "expiry", "segments", "submitted", "message_ids", "events", "returned", "learned"];
/// One value: format, position, next number.
pub const META: Table = Table(0);
/// Message → row, while a recipient is queued.
pub const QUEUED: Table = Table(1);
/// Message → row, after the last recipient ended, until retention is over.
pub const DONE: Table = Table(2);
/// Time and message → nothing: when retention has to look at a row of `done`.
pub const EXPIRY: Table = Table(3);
/// Segment → what of it is in use.
pub const SEGMENTS: Table = Table(4);
/// Account → what it has submitted today.
pub const SUBMITTED: Table = Table(5);
/// Message-ID and message → nothing, see [`super::find`].
pub const MESSAGE_IDS: Table = Table(6);
/// Webhook and event → what it has yet to be told.
pub const EVENTS: Table = Table(7);
/// Message, recipient and kind → what came back, see [`super::returned`].
pub const RETURNED: Table = Table(8);
/// Egress path → what was learned of it, see [`super::learned`].
pub const LEARNED: Table = Table(9);

/// Bytes of rows that each of the three places gives to a page, about: the last one may exceed it.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// What a row has become.
pub enum Slot {
    /// A recipient is queued.
    Queued(Box<Row>),
    /// All have ended; what is left waits for retention.
    Done(Box<Row>),
    /// Nothing is left but, perhaps, its key in the table of Message-IDs.
    Gone(Option<find::Key>),
}

/// A row that the index does not have like this.
pub struct Dirty {
    /// The row.
    pub slot: Slot,
    /// Whether the index has, or is getting, an older version.
    pub stored: bool,
    weight: usize,
}

/// A checkpoint's rows.
pub type Batch = BTreeMap<MessageId, Dirty>;

/// Queued messages in the order of ids.
pub struct Page {
    /// Each with its row.
    pub rows: Vec<(MessageId, Row)>,
    /// Whether there may be more behind them.
    pub more: bool,
}

/// What one place, in memory or in the index, gives to a page: rows in the order of ids.
#[derive(Default)]
struct Part {
    rows: Vec<(MessageId, Row)>,
    bytes: usize,
    /// There may be more behind the last one.
    is_cut: bool,
}

impl Part {
    /// Takes a row in. False: there is no room for another one.
    fn add(&mut self, id: MessageId, row: Row, limit: usize) -> bool {
        self.bytes += row.weight();
        self.rows.push((id, row));
        self.is_cut = self.rows.len() >= limit || self.bytes >= PAGE_BYTES_MAX;
        !self.is_cut
    }

    /// The last row up to which it has all; `None`: it has all.
    fn whole_until(&self) -> Option<MessageId> {
        if self.is_cut { self.rows.last().map(|(id, _)| *id) } else { None }
    }
}

/// All rows of a shard.
pub struct Rows {
    index: Index,
    dirty: Batch,
    dirty_bytes: usize,
    writing: Rc<Batch>,
    writing_bytes: usize,
}

impl Rows {
    /// The rows of `index`.
    pub fn new(index: Index) -> Self {
        Self { index, dirty: Batch::new(), dirty_bytes: 0, writing: Rc::default(), writing_bytes: 0 }
    }

    /// The index below.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// About how many bytes of memory rows occupy.
    pub fn bytes(&self) -> usize {
        self.dirty_bytes + self.writing_bytes
    }

    /// Whether something changed since the last checkpoint began.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Adds a new message's row.
    pub fn insert(&mut self, id: MessageId, row: Row) {
        self.put(id, Slot::Queued(row.into()), false);
    }

    fn put(&mut self, id: MessageId, slot: Slot, stored: bool) {
        let weight = match &slot {
            Slot::Queued(row) | Slot::Done(row) => row.weight(),
            Slot::Gone(_) => size_of::<Dirty>() + size_of::<MessageId>(),
        };
        self.dirty_bytes += weight;
        if let Some(old) = self.dirty.insert(id, Dirty { slot, stored, weight }) {
            self.dirty_bytes -= old.weight;
        }
    }

    fn in_memory(&self, id: MessageId) -> Option<&Slot> {
        self.dirty.get(&id).or_else(|| self.writing.get(&id)).map(|dirty| &dirty.slot)
    }

    fn load(&self, table: Table, id: MessageId) -> Result<Option<Row>, Error> {
        match self.index.get(table, &row::key(id))? {
            None => Ok(None),
            Some(bytes) => Row::decode(&bytes).map(Some).map_err(|why| Error::Damaged(format!("message {id}: {why}"))),
        }
    }

    /// Looks at a queued message's row.
    pub fn read<T>(&self, id: MessageId, look: impl FnOnce(&Row) -> T) -> Result<Option<T>, Error> {
        match self.in_memory(id) {
            Some(Slot::Queued(row)) => Ok(Some(look(row))),
            Some(_) => Ok(None),
            None => Ok(self.load(QUEUED, id)?.as_ref().map(look)),
        }
    }

    /// Changes a queued message's row.
    pub fn update<T>(&mut self, id: MessageId, change: impl FnOnce(&mut Row) -> T) -> Result<Option<T>, Error> {
        if !self.dirty.contains_key(&id) {
            let row = match self.writing.get(&id).map(|dirty| &dirty.slot) {
                Some(Slot::Queued(row)) => Some(row.clone()),
                Some(_) => None,
                None => self.load(QUEUED, id)?.map(Box::new),
            };
            let Some(row) = row else { return Ok(None) };
            self.put(id, Slot::Queued(row), true);
        }
        let Some(Dirty { slot: Slot::Queued(row), weight, .. }) = self.dirty.get_mut(&id) else { return Ok(None) };
        let result = change(row);
        let before = std::mem::replace(weight, row.weight());
        self.dirty_bytes = self.dirty_bytes + *weight - before;
        Ok(Some(result))
    }

    /// Ends a queued message that was just changed: `slot` decides what is left of its row. If that is nothing, and the
    /// index never had it, no trace is left.
    pub fn finish(&mut self, id: MessageId, slot: impl FnOnce(Box<Row>) -> Slot) {
        let Some(Dirty { slot: Slot::Queued(row), stored, weight }) = self.dirty.remove(&id) else { return };
        self.dirty_bytes -= weight;
        match slot(row) {
            Slot::Gone(_) if !stored => {}
            slot => self.put(id, slot, stored),
        }
    }

    /// Replaces what is left of a message that has ended.
    pub fn set(&mut self, id: MessageId, slot: Slot) {
        self.put(id, slot, true);
    }

    /// A message all of whose recipients have ended.
    pub fn done(&self, id: MessageId) -> Result<Option<Row>, Error> {
        match self.in_memory(id) {
            Some(Slot::Done(row)) => Ok(Some((**row).clone())),
            Some(_) => Ok(None),
            None => self.load(DONE, id),
        }
    }

    /// Messages of this Message-ID whose rows the index does not have, or has otherwise.
    pub fn changed_with(&self, message_id: &str) -> Vec<MessageId> {
        let is_it = |dirty: &Dirty| match &dirty.slot {
            Slot::Queued(row) | Slot::Done(row) => row.tagged.message_id.as_deref() == Some(message_id),
            Slot::Gone(_) => false,
        };
        self.dirty.iter().chain(&*self.writing).filter(|(_, dirty)| is_it(dirty)).map(|(id, _)| *id).collect()
    }

    /// Queued messages after `after`: the first `limit`, or fewer where these are large, but one if there is any.
    pub fn page(&self, after: Option<MessageId>, limit: usize) -> Result<Page, Error> {
        let from = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let only_writing = self.writing.range(from).filter(|(id, _)| !self.dirty.contains_key(id));
        let parts = [
            self.stored_part(after, limit)?,
            part_in_memory(self.dirty.range(from), limit),
            part_in_memory(only_writing, limit),
        ];
        let whole_until = parts.iter().filter_map(Part::whole_until).min();
        let mut rows: Vec<(MessageId, Row)> = parts.into_iter().flat_map(|part| part.rows).collect();
        rows.retain(|(id, _)| whole_until.is_none_or(|end| *id <= end));
        rows.sort_unstable_by_key(|(id, _)| *id);
        let more = whole_until.is_some() || rows.len() > limit;
        rows.truncate(limit);
        Ok(Page { rows, more })
    }

    /// The part of a page that the index alone has.
    fn stored_part(&self, after: Option<MessageId>, limit: usize) -> Result<Part, Error> {
        let mut part = Part::default();
        let Some(from) = after.map_or(Some(0), |after| after.0.checked_add(1)) else { return Ok(part) };
        let mut corrupt = None;
        self.index.scan(QUEUED, &row::key(MessageId(from)), &mut |key, value| match row::id_of(key)
            .and_then(|id| Ok((id, Row::decode(value)?)))
        {
            Ok((id, _)) if self.in_memory(id).is_some() => true,
            Ok((id, row)) => part.add(id, row, limit),
            Err(why) => {
                corrupt = Some(why);
                false
            }
        })?;
        match corrupt {
            None => Ok(part),
            Some(why) => Err(Error::Damaged(why.to_string())),
        }
    }

    /// Begins a checkpoint: what is dirty now is what it commits. Only one runs at a time.
    pub fn begin_checkpoint(&mut self) -> Rc<Batch> {
        self.writing = Rc::new(std::mem::take(&mut self.dirty));
        self.writing_bytes = std::mem::take(&mut self.dirty_bytes);
        self.writing.clone()
    }

    /// The checkpoint is committed.
    pub fn end_checkpoint(&mut self) {
        self.writing = Rc::default();
        self.writing_bytes = 0;
    }

    /// The checkpoint failed: what it held is dirty again, where nothing newer is. The caller holds no share of it.
    pub fn abandon_checkpoint(&mut self, batch: Rc<Batch>) {
        self.writing = Rc::default();
        self.writing_bytes = 0;
        let Ok(batch) = Rc::try_unwrap(batch) else { return };
        for (id, old) in batch {
            if let std::collections::btree_map::Entry::Vacant(place) = self.dirty.entry(id) {
                self.dirty_bytes += old.weight;
                place.insert(old);
            }
        }
    }
}

/// The part of a page that is among rows in memory.
fn part_in_memory<'a>(rows: impl Iterator<Item = (&'a MessageId, &'a Dirty)>, limit: usize) -> Part {
    let mut part = Part::default();
    for (id, dirty) in rows {
        if let Slot::Queued(row) = &dirty.slot
            && !part.add(*id, (**row).clone(), limit)
        {
            break;
        }
    }
    part
}
