//! The index: named, ordered tables of small values, committed whole and fully synced (LMDB; a map in a simulation).
//!
//! A commit either happened or it did not, also across a power cut. Reads see the last commit. Writes are made off the
//! reactor's thread. A full disk is [`Error::Full`]: nothing was changed, try again later. The map grows by itself.
//!
//! Owns: one LMDB environment in a directory of its own, open at most once in a process. Never: what a key or a value
//! means.
//! On disk: `DIRECTORY/data.mdb`, `DIRECTORY/lock.mdb`. After a crash: the last commit, without any repair.
//! Limits: keys of 1 to 511 bytes. Reads happen on the reactor's thread: a page that is not in memory blocks it while it
//! is read. 64 GiB of address space are reserved, and twice as much whenever that is used up, to 16 TiB.

mod lmdb;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::rc::Rc;

use futures::channel::oneshot;
use futures::lock::Mutex;

use crate::Reactor;
use crate::reactor::Backend;
#[cfg(feature = "sim")]
use crate::sim::disk;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table(pub usize);

/// Changes that are committed together.
#[derive(Default)]
pub struct Batch {
    /// In order; `None` deletes. A later change of a key wins.
    pub changes: Vec<(Table, Vec<u8>, Option<Vec<u8>>)>,
}

/// A shard's index; a cheap handle.
#[derive(Clone)]
pub struct Index(Rc<Inner>);

struct Inner {
    reactor: Reactor,
    store: Store,
    /// Held by the commit that runs.
    turn: Mutex<()>,
}

enum Store {
    Lmdb(lmdb::Store),
    #[cfg(feature = "sim")]
    Sim(disk::Store),
}

impl Index {
    /// Opens (or creates) the index in `directory`.
    pub async fn open(reactor: &Reactor, directory: &Path, tables: &'static [&'static str]) -> Result<Index, Error> {
        let store = match &reactor.0 {
            Backend::Ring(_) => Store::Lmdb(lmdb::Store::open(reactor, directory, tables, lmdb::MAP_BYTES).await?),
            #[cfg(feature = "sim")]
            Backend::Sim(machine) => Store::Sim(disk::Store::open(machine, directory, tables.len()).await?),
        };
        Ok(Index::new(reactor, store))
    }

    fn new(reactor: &Reactor, store: Store) -> Index {
        Index(Rc::new(Inner { reactor: reactor.clone(), store, turn: Mutex::new(()) }))
    }

    /// The value of `key`.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match &self.0.store {
            Store::Lmdb(store) => store.get(table, key),
            #[cfg(feature = "sim")]
            Store::Sim(store) => store.get(table, key),
        }
    }

    /// Visits entries from `from` (inclusive) in key order until `visit` returns false. `visit` must not use the index.
    pub fn scan(&self, table: Table, from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), Error> {
        match &self.0.store {
            Store::Lmdb(store) => store.scan(table, from, visit),
            #[cfg(feature = "sim")]
            Store::Sim(store) => store.scan(table, from, visit),
        }
    }

    /// Number of entries of a table.
    pub fn len(&self, table: Table) -> Result<u64, Error> {
        match &self.0.store {
            Store::Lmdb(store) => store.len(table),
            #[cfg(feature = "sim")]
            Store::Sim(store) => store.len(table),
        }
    }

    /// Commits `batch`, fully synced, off the reactor's thread. At most one commit runs at a time; others wait. A commit
    /// that was begun ends also when its caller goes away.
    pub async fn commit(&self, batch: Batch) -> Result<(), Error> {
        let (tell, told) = oneshot::channel();
        let inner = self.0.clone();
        let work = async move {
            let _turn = inner.turn.lock().await;
            let outcome = match &inner.store {
                Store::Lmdb(store) => store.commit(&inner.reactor, batch).await,
                #[cfg(feature = "sim")]
                Store::Sim(store) => store.commit(batch).await,
            };
            // A caller that has gone away does not want to know.
            let _ = tell.send(outcome);
        };
        self.0.reactor.spawn(work).detach();
        told.await.unwrap_or_else(|_| Err(Error::Broken("commit: the reactor has stopped".into())))
    }
}
