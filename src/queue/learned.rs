//! What was learned of egress paths on their home shard, kept across restarts: what it is, outbound knows.
//!
//! A checkpoint commits what changed, so a crash costs the last second of it; who cannot afford that waits until it is on
//! disk. What a change of `[server] shards` gives another home moves there at the start (`rehome`).
//! Limits: [`ENTRIES_MAX`] entries. One that was not learned anew for [`KEPT_FOR_S`] tells nothing any more: it goes at the
//! next start, or when there is no room.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::submitted::Change;
use super::{Life, Queue};
use crate::spool::encode::{Corrupt, Reader, put_number};

/// Entries of a shard.
pub(super) const ENTRIES_MAX: usize = 65_536;
/// … of which so many are for what somebody waits for to be on disk.
const AWAITED_MIN: usize = ENTRIES_MAX / 2;
/// Seconds between two searches of a full table for what may go.
const SEARCH_PAUSE_S: u64 = 60;
/// Seconds that an entry is of use.
const KEPT_FOR_S: u64 = 2 * 24 * 60 * 60;
/// Octets of a key in the index; of a longer one its begin and its checksum stand for it.
const KEY_BYTES_MAX: usize = 400;

/// A value and when it was learned, in seconds since the epoch.
type Value = (u64, Box<[u8]>);

/// What was learned.
#[derive(Default)]
pub struct Learned {
    values: HashMap<Box<str>, Value>,
    /// Those that the index does not have like this.
    changed: HashSet<Box<str>>,
    /// When a full table was last searched for what may go, in seconds since the epoch.
    searched_s: u64,
    /// Counts what was learned: so far, up to the checkpoint that runs, and up to the last one.
    count: u64,
    taken: u64,
    durable: u64,
}

impl Learned {
    fn get(&self, path: &str) -> Option<&[u8]> {
        self.values.get(&*short(path)).map(|(_, value)| &**value)
    }

    /// Learns, or forgets. False: there is no room.
    fn put(&mut self, path: &str, value: Option<&[u8]>, is_awaited: bool, now_s: u64) -> bool {
        let path = short(path);
        match value {
            None if self.values.remove(&*path).is_none() => return true,
            None => {}
            Some(value) => {
                if !self.values.contains_key(&*path) && !self.has_room(is_awaited, now_s) {
                    return false;
                }
                self.values.insert((*path).into(), (now_s, value.into()));
            }
        }
        self.changed.insert((*path).into());
        self.count += 1;
        true
    }

    /// Whether there is room for one more, once what is of no use is gone.
    fn has_room(&mut self, is_awaited: bool, now_s: u64) -> bool {
        let entries_max = if is_awaited { ENTRIES_MAX } else { ENTRIES_MAX - AWAITED_MIN };
        if self.values.len() >= entries_max && now_s.abs_diff(self.searched_s) >= SEARCH_PAUSE_S {
            self.searched_s = now_s;
            let changed = &mut self.changed;
            self.values.retain(|path, (at_s, _)| {
                let is_of_use = is_of_use(*at_s, now_s);
                if !is_of_use {
                    changed.insert(path.clone());
                }
                is_of_use
            });
        }
        self.values.len() < entries_max
    }

    /// Whether something changed since the last checkpoint began.
    pub fn is_dirty(&self) -> bool {
        !self.changed.is_empty()
    }

    /// What the next checkpoint has to commit.
    pub fn begin_checkpoint(&mut self) -> Vec<Change> {
        self.taken = self.count;
        let encoded = |(at_s, value): &Value| {
            let mut out = Vec::with_capacity(value.len() + 8);
            put_number(&mut out, *at_s);
            out.extend_from_slice(value);
            out
        };
        let values = &self.values;
        self.changed
            .drain()
            .map(|path| (values.get(&path).map(encoded), path))
            .map(|(value, path)| (path, value))
            .collect()
    }

    /// The checkpoint is committed.
    pub fn end_checkpoint(&mut self) {
        self.durable = self.taken;
    }

    /// The checkpoint failed: what it held is to be committed by the next one.
    pub fn abandon_checkpoint(&mut self, changes: Vec<Change>) {
        self.changed.extend(changes.into_iter().map(|(path, _)| path));
    }

    /// Reads a row of the index, at the start.
    pub fn load(&mut self, path: &[u8], row: &[u8], now_s: u64) -> Result<(), Corrupt> {
        let path: Box<str> = std::str::from_utf8(path).map_err(|_| Corrupt("a path's name is not text"))?.into();
        let mut reader = Reader::new(row);
        let at_s = reader.number()?;
        if is_of_use(at_s, now_s) {
            let value = &row[row.len() - reader.remaining()..];
            self.values.insert(path, (at_s, value.into()));
        } else {
            self.changed.insert(path);
        }
        Ok(())
    }
}

/// When a row of the index was learned, in seconds since the epoch; one that cannot be read: never.
pub(super) fn learned_at_s(row: &[u8]) -> u64 {
    Reader::new(row).number().unwrap_or(0)
}

/// The shard, of `shards`, on which it is kept what was learned of a path.
pub fn home(path: &str, shards: usize) -> usize {
    crc32fast::hash(short(path).as_bytes()) as usize % shards.max(1)
}

fn is_of_use(at_s: u64, now_s: u64) -> bool {
    // What a clock that was far ahead has written would never grow old.
    now_s.abs_diff(at_s) < KEPT_FOR_S
}

fn short(path: &str) -> Cow<'_, str> {
    if path.len() <= KEY_BYTES_MAX {
        return path.into();
    }
    let begin = &path[..path.floor_char_boundary(KEY_BYTES_MAX - 16)];
    format!("{begin}#{:08x}", crc32fast::hash(path.as_bytes())).into()
}

impl Queue {
    /// What was learned of an egress path.
    pub fn learned(&self, path: &str) -> Option<Box<[u8]>> {
        self.core.state.borrow().learned.get(path).map(Into::into)
    }

    /// What was learned of at most `limit` of the paths that are `wanted`.
    pub fn all_learned(&self, limit: usize, wanted: impl Fn(&str) -> bool) -> Vec<(Box<str>, Box<[u8]>)> {
        let state = self.core.state.borrow();
        let found = state.learned.values.iter().filter(|(path, _)| wanted(path)).take(limit);
        found.map(|(path, (_, value))| (path.clone(), value.clone())).collect()
    }

    /// Keeps what was learned of a path from the next checkpoint on; `None`: nothing. False: there is no room for it.
    pub fn learn(&self, path: &str, value: Option<&[u8]>) -> bool {
        let now_s = self.now_s().into();
        self.core.state.borrow_mut().learned.put(path, value, false, now_s)
    }

    /// As [`Queue::learn`]; returns when it is on disk. False: it will not be.
    pub async fn learn_for_good(&self, path: &str, value: Option<&[u8]>) -> bool {
        let now_s = self.now_s().into();
        let has_room = self.core.state.borrow_mut().learned.put(path, value, true, now_s);
        has_room && self.learned_for_good().await
    }

    /// Waits until all that was learned up to now is on disk. False: that does not happen any more.
    async fn learned_for_good(&self) -> bool {
        let wanted = self.core.state.borrow().learned.count;
        loop {
            let round = self.core.kept.round();
            if self.core.state.borrow().learned.durable >= wanted {
                return true;
            }
            if matches!(self.core.life.get(), Life::Closed | Life::Failed) {
                return false;
            }
            self.core.kept.after(round).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reloaded(changes: &[Change], now_s: u64) -> Learned {
        let mut learned = Learned::default();
        for (path, value) in changes {
            if let Some(value) = value {
                learned.load(path.as_bytes(), value, now_s).expect("it is whole");
            }
        }
        learned
    }

    #[test]
    fn what_was_learned_is_there_again_and_what_is_old_is_not() {
        let mut learned = Learned::default();
        assert!(learned.put("a", Some(b"1"), true, 10) && learned.put("b", Some(b"2"), true, 20));
        let changes = learned.begin_checkpoint();
        assert!(!learned.is_dirty() && learned.durable == 0);
        learned.abandon_checkpoint(changes);
        let changes = learned.begin_checkpoint();
        learned.end_checkpoint();
        assert_eq!(learned.durable, 2);
        let again = reloaded(&changes, 10 + KEPT_FOR_S);
        assert_eq!((again.get("a"), again.get("b")), (None, Some(&b"2"[..])));
        assert!(again.is_dirty(), "the old one is deleted");
        assert!(learned.put("b", None, true, 30));
        assert_eq!(learned.begin_checkpoint(), [("b".into(), None)]);
    }

    #[test]
    fn it_is_bounded_and_long_names_are_told_apart() {
        let mut learned = Learned::default();
        for n in 0..ENTRIES_MAX {
            assert!(learned.put(&n.to_string(), Some(b""), true, 10));
        }
        let mut half = Learned::default();
        let taken = (0..ENTRIES_MAX).filter(|n| half.put(&n.to_string(), Some(b""), false, 10)).count();
        assert_eq!(taken, ENTRIES_MAX - AWAITED_MIN, "what replies taught leaves room for plans");
        assert!(half.put("a plan's", Some(b""), true, 10));
        assert!(!learned.put("one more", Some(b""), true, 20) && learned.put("7", Some(b"new"), true, 20));
        assert!(learned.put("one more", Some(b""), true, 10 + KEPT_FOR_S));
        assert_eq!(learned.values.len(), 2);
        let long = |end: &str| format!("{}{end}", "ä".repeat(KEY_BYTES_MAX));
        assert!(short(&long("a")).len() <= KEY_BYTES_MAX && short(&long("a")) != short(&long("b")));
    }
}
