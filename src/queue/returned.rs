//! What came back about recipients after their delivery: bounces and complaints, kept as long as their message's row.
//!
//! A report is one frame of the journal; whoever brought it is told so once that is flushed. In memory it is what changed
//! since the last checkpoint; the rest is in the index.
//! Limits: of each recipient the latest bounce and the latest complaint are kept, so a row has at most two each, and only
//! the first of each is told to the log and to webhooks: whoever knows a return path can write to it as often as he likes.
//! Reports come no faster than frames are flushed, and not while the rows in memory are too many.

use std::collections::BTreeMap;
use std::rc::Rc;

use shards::index::Index;
use shards::journal::{Class, Position};

use super::accept::ROW_BYTES_MAX;
use super::row::{self, Row};
use super::rows::RETURNED;
use super::state::State;
use super::webhook::EventId;
use super::{Error, HEAD_BYTES_MAX, MessageId, Queue, RECIPIENT_BYTES_MAX};
use crate::config::webhook::Kind;
use crate::events::Event;
use crate::spool;
use crate::spool::encode::{self, Reader};
use crate::spool::record::{Return, Said, What};

/// Bytes of a report's frame, at most.
const FRAME_BYTES_MAX: usize = HEAD_BYTES_MAX + 2 * RECIPIENT_BYTES_MAX;
/// About what a report occupies in memory beside its bytes.
const ENTRY_BYTES: usize = 128;

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is on disk, flushed.
    Recorded,
    /// So it is, in place of an earlier one, of which everybody was told.
    Again,
    /// Nobody knows that recipient any more.
    Unknown,
    /// There is no room now.
    Full,
    /// The queue's storage failed, or it is closing.
    Broken,
}

/// A report's place in the index: message, recipient, and which of the two it is.
type Key = [u8; 11];
/// A row of the index: its key, and its value or that there is none any more.
pub(super) type Stored = (Key, Option<Vec<u8>>);

/// The reports of a shard that the index does not have like this.
#[derive(Default)]
pub struct Returned {
    recent: BTreeMap<Key, Option<Vec<u8>>>,
    writing: Rc<BTreeMap<Key, Option<Vec<u8>>>>,
    recent_bytes: usize,
    /// Whether the index may have any.
    any_stored: bool,
}

impl Returned {
    /// Looks whether the index has any, at the start.
    pub fn load(&mut self, index: &Index) -> Result<(), Error> {
        index.scan(RETURNED, &[], &mut |_, _| {
            self.any_stored = true;
            false
        })?;
        Ok(())
    }

    fn put(&mut self, key: Key, value: Option<Vec<u8>>) {
        self.recent_bytes += ENTRY_BYTES + value.as_ref().map_or(0, Vec::len);
        self.recent.insert(key, value);
    }

    /// About how many bytes of memory they occupy.
    pub fn bytes(&self) -> usize {
        self.recent_bytes
    }

    /// What came back about a message: recipient, which of the two, and what was said.
    pub fn of(&self, message: MessageId, index: &Index) -> Result<Vec<(u16, What, Said)>, Error> {
        let prefix = row::key(message);
        let mut all: BTreeMap<Key, Option<Vec<u8>>> = BTreeMap::new();
        if self.any_stored {
            index.scan(RETURNED, &prefix, &mut |key, value| match Key::try_from(key) {
                Ok(key) if key.starts_with(&prefix) => {
                    all.insert(key, Some(value.to_vec()));
                    true
                }
                _ => false,
            })?;
        }
        let first = key_of(message, 0, What::FIRST);
        for newer in [&*self.writing, &self.recent] {
            let of_message = newer.range(first..).take_while(|(key, _)| key.starts_with(&prefix));
            all.extend(of_message.map(|(key, value)| (*key, value.clone())));
        }
        let there = all.into_iter().filter_map(|(key, value)| Some((key, value?)));
        there.map(|(key, value)| decode(message, &key, &value)).collect()
    }

    /// A message's row goes, and what came back about it too.
    pub fn forget(&mut self, message: MessageId, index: &Index) -> Result<(), Error> {
        if !self.any_stored && self.recent.is_empty() {
            return Ok(());
        }
        for (recipient, what, _) in self.of(message, index)? {
            self.put(key_of(message, recipient, what), None);
        }
        Ok(())
    }

    /// Whether something changed since the last checkpoint began.
    pub fn is_dirty(&self) -> bool {
        !self.recent.is_empty()
    }

    /// What the next checkpoint has to commit.
    pub fn begin_checkpoint(&mut self) -> Vec<Stored> {
        self.writing = Rc::new(std::mem::take(&mut self.recent));
        self.recent_bytes = 0;
        self.any_stored |= !self.writing.is_empty();
        self.writing.iter().map(|(key, value)| (*key, value.clone())).collect()
    }

    /// The checkpoint is committed.
    pub fn end_checkpoint(&mut self) {
        self.writing = Rc::default();
    }

    /// The checkpoint failed: what it held is to be committed by the next one, where nothing newer is.
    pub fn abandon_checkpoint(&mut self) {
        let writing = std::mem::take(&mut self.writing);
        for (key, value) in &*writing {
            if !self.recent.contains_key(key) {
                self.put(*key, value.clone());
            }
        }
    }
}

fn key_of(message: MessageId, recipient: u16, what: What) -> Key {
    let mut key = [0; 11];
    key[..8].copy_from_slice(&row::key(message));
    key[8..10].copy_from_slice(&recipient.to_be_bytes());
    key[10] = what.byte();
    key
}

fn decode(message: MessageId, key: &Key, value: &[u8]) -> Result<(u16, What, Said), Error> {
    let damaged = |why: encode::Corrupt| Error::Damaged(format!("what came back about message {message}: {why}"));
    let [.., high, low, what] = *key;
    let mut reader = Reader::new(value);
    let what = What::of_byte(what).map_err(damaged)?;
    let said =
        encode::said(&mut reader).map_err(damaged)?.ok_or(encode::Corrupt("it says nothing")).map_err(damaged)?;
    reader.end().map_err(damaged)?;
    Ok((u16::from_be_bytes([high, low]), what, said))
}

impl State {
    /// A message's row, whether a recipient is queued or all have ended.
    pub fn row_of(&self, message: MessageId) -> Result<Option<Row>, Error> {
        match self.rows.read(message, Row::clone)? {
            Some(row) => Ok(Some(row)),
            None => self.rows.done(message),
        }
    }

    /// Something came back about a recipient, says the frame at `position`; whether it is the first of its kind. Nothing
    /// changes where nobody knows it any more.
    pub fn came_back(&mut self, came: &Return, position: Position) -> Result<bool, Error> {
        let Some(row) = self.row_of(came.message)? else { return Ok(false) };
        let earlier = self.returned.of(came.message, self.rows.index())?;
        let is_first = !earlier.iter().any(|(index, what, _)| (*index, *what) == (came.index, came.what));
        let mut value = Vec::new();
        encode::put_said(&mut value, Some(&came.said));
        self.returned.put(key_of(came.message, came.index, came.what), Some(value));
        let kind = match came.what {
            What::Bounced => Kind::Bounced,
            What::Complaint => Kind::Complaint,
        };
        if is_first {
            self.webhooks.came_back(EventId { position, part: 0 }, kind, came, &row);
        }
        Ok(is_first)
    }
}

impl Queue {
    /// Records what came back about a recipient; returns once it is flushed to disk.
    pub async fn record_return(&self, came: Return) -> Taken {
        if !self.is_open() {
            return Taken::Broken;
        }
        if self.memory_is_full() || self.core.journal.room(FRAME_BYTES_MAX, Class::Ordinary).await.is_err() {
            return Taken::Full;
        }
        let row = self.core.state.borrow().row_of(came.message);
        let Some(row) = self.sound(row) else { return Taken::Broken };
        let recipient = row.as_ref().and_then(|row| row.recipients.get(usize::from(came.index)));
        let Some(recipient) = recipient.filter(|_| self.is_open()) else { return Taken::Unknown };
        let Ok((position, commit)) = spool::append_return(&self.core.journal, &came) else { return Taken::Full };
        let brought = self.core.state.borrow_mut().came_back(&came, position);
        let Some(is_first) = self.sound(brought) else { return Taken::Broken };
        if is_first {
            self.tell_return(&came, recipient.recipient.path.as_str());
        }
        if let Err(why) = commit.durable().await {
            self.fail(why);
            return Taken::Broken;
        }
        if is_first { Taken::Recorded } else { Taken::Again }
    }

    fn memory_is_full(&self) -> bool {
        let state = self.core.state.borrow();
        state.rows.bytes() + state.returned.bytes() > ROW_BYTES_MAX
    }

    fn tell_return(&self, came: &Return, recipient: &str) {
        {
            let tally = &mut self.core.state.borrow_mut().tally;
            match came.what {
                What::Bounced => tally.bounced += 1,
                What::Complaint => tally.complaints += 1,
            }
        }
        let Return { message: id, said, .. } = came;
        self.core.log.emit(&match came.what {
            What::Bounced => Event::Bounced { id: *id, recipient, said },
            What::Complaint => Event::Complaint { id: *id, recipient, said },
        });
        self.events_changed();
    }
}
