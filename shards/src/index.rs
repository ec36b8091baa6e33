//! The index: named, ordered tables of small values, committed whole and fully synced (LMDB; a map in a simulation).
//!
//! A commit either happened or it did not, also across a power cut. Reads see the last commit. Writes are made off the
//! reactor's thread. A full disk is [`Error::Full`]: nothing was changed, try again later. The map grows by itself.

use std::path::Path;

use crate::Reactor;

/// The index cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No space; nothing was changed.
    #[error("no space left for the index")]
    Full,
    /// Anything else; the message names the operation.
    #[error("index: {0}")]
    Broken(String),
}

/// A table's place in the list of names given to [`Index::open`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Table(pub usize);

/// Changes that are committed together.
#[derive(Default)]
pub struct Batch {
    /// In order; `None` deletes. A later change of a key wins.
    pub changes: Vec<(Table, Vec<u8>, Option<Vec<u8>>)>,
}

/// A shard's index; a cheap handle.
#[derive(Clone)]
pub struct Index(());

impl Index {
    /// Opens (or creates) the index in `directory`.
    pub async fn open(_reactor: &Reactor, _directory: &Path, _tables: &'static [&'static str]) -> Result<Index, Error> {
        todo!()
    }

    /// The value of `key`.
    pub fn get(&self, _table: Table, _key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        todo!()
    }

    /// Visits entries from `from` (inclusive) in key order until `visit` returns false. `visit` must not use the index.
    pub fn scan(&self, _table: Table, _from: &[u8], _visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), Error> {
        todo!()
    }

    /// Number of entries of a table.
    pub fn len(&self, _table: Table) -> Result<u64, Error> {
        todo!()
    }

    /// Commits `batch`, fully synced, off the reactor's thread. At most one commit runs at a time; others wait.
    pub async fn commit(&self, _batch: Batch) -> Result<(), Error> {
        todo!()
    }
}
