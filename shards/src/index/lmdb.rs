//! The index on LMDB, through heed.

use std::cell::Cell;
use std::ffi::CString;
use std::io;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions, MdbError, PutFlags, RwTxn};

use super::{Batch, Error, Table};
use crate::Reactor;
use crate::file::{make_directory, sync_directory};

/// Address space that is reserved at first.
pub(super) const MAP_BYTES: usize = 64 << 30;

/// Address space beyond which the map does not grow.
const MAP_BYTES_MAX: usize = 16 << 40;

/// A file system with less room than this may be the cause of a short write: more than a commit writes at a time.
const FULL_BELOW_BYTES: u64 = 64 << 20;

/// I/O errors in a row, with room on the disk, that may still come from a full one.
pub(super) const IO_ERRORS_MAX: u32 = 30;

type Rows = Database<'static, Bytes, Bytes>;

/// What is to become of a key; `None` deletes it.
type Change = (Table, Vec<u8>, Option<Vec<u8>>);

/// An open environment. It stays on the reactor's thread; what runs elsewhere has clones of its parts.
pub(super) struct Store {
    env: Env,
    tables: Arc<[Rows]>,
    /// I/O errors of commits since the last one that succeeded.
    io_errors: Cell<u32>,
}

impl Store {
    pub(super) async fn open(
        reactor: &Reactor,
        directory: &Path,
        tables: &'static [&'static str],
        map_bytes: usize,
    ) -> Result<Store, Error> {
        let directory = directory.to_path_buf();
        reactor.blocking(move || open(&directory, tables, map_bytes)).await
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let read = || {
            let snapshot = self.env.read_txn()?;
            Ok(self.tables[table.0].get(&snapshot, key)?.map(<[u8]>::to_vec))
        };
        read().map_err(|error| broken("get", &error))
    }

    pub(super) fn scan(
        &self,
        table: Table,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        let start = if from.is_empty() { Bound::Unbounded } else { Bound::Included(from) };
        let mut read = || {
            let snapshot = self.env.read_txn()?;
            for entry in self.tables[table.0].range(&snapshot, &(start, Bound::Unbounded))? {
                let (key, value) = entry?;
                if !visit(key, value) {
                    break;
                }
            }
            Ok(())
        };
        read().map_err(|error| broken("scan", &error))
    }

    pub(super) fn len(&self, table: Table) -> Result<u64, Error> {
        let read = || {
            let snapshot = self.env.read_txn()?;
            self.tables[table.0].len(&snapshot)
        };
        read().map_err(|error| broken("len", &error))
    }

    /// The caller sees to it that one commit runs at a time, and to its end.
    pub(super) async fn commit(&self, reactor: &Reactor, batch: Batch) -> Result<(), Error> {
        let mut changes = batch.changes;
        assert!(changes.iter().all(|(table, ..)| table.0 < self.tables.len()), "a table that was not opened");
        loop {
            let (env, tables) = (self.env.clone(), self.tables.clone());
            let work = move || {
                changes = in_order(changes);
                let written = write(&env, &tables, &changes);
                (changes, written)
            };
            let (returned, written) = reactor.blocking(work).await;
            match written {
                Ok(()) => {
                    self.io_errors.set(0);
                    return Ok(());
                }
                Err(heed::Error::Mdb(MdbError::MapFull)) => self.grow()?,
                Err(error) if self.is_disk_full(&error) => return Err(Error::Full),
                Err(error) => return Err(broken("commit", &error)),
            }
            changes = returned;
        }
    }

    /// Doubles the map.
    fn grow(&self) -> Result<(), Error> {
        let map_bytes = self.env.info().map_size.saturating_mul(2);
        if map_bytes > MAP_BYTES_MAX {
            return Err(Error::Full);
        }
        // SAFETY: no transaction is open. Writing ones are open only while a commit runs, and this is the commit that
        // runs, between two attempts; reading ones are opened and closed without a pause, on this thread.
        unsafe { self.env.resize(map_bytes) }.map_err(|error| broken("grow", &error))
    }

    /// LMDB calls a short write, which is what the first page beyond a full disk meets, an I/O error. A disk with hardly any
    /// room is full, for as long as that lasts. Where there is room, others may have given it back since: an I/O error
    /// then counts as a full disk until it has come [`IO_ERRORS_MAX`] times in a row.
    fn is_disk_full(&self, error: &heed::Error) -> bool {
        match error {
            heed::Error::Io(error) => match error.raw_os_error() {
                Some(libc::ENOSPC | libc::EDQUOT) => true,
                Some(libc::EIO) if free_bytes(self.env.path()).is_ok_and(|bytes| bytes < FULL_BELOW_BYTES) => true,
                Some(libc::EIO) => {
                    self.io_errors.set(self.io_errors.get() + 1);
                    self.io_errors.get() <= IO_ERRORS_MAX
                }
                _ => false,
            },
            _ => false,
        }
    }
}

fn open(directory: &PathBuf, tables: &'static [&'static str], map_bytes: usize) -> Result<Store, Error> {
    let opened = || -> heed::Result<Store> {
        make_directory(directory)?;
        // SAFETY: the files belong to this process alone, which holds the lock of its data directory; nothing else maps
        // or changes them. Without flags, LMDB locks and syncs by itself.
        let env = unsafe { EnvOpenOptions::new().map_size(map_bytes).max_dbs(tables.len() as u32).open(directory)? };
        let rows = tables.iter().map(|name| open_table(&env, name)).collect::<heed::Result<_>>()?;
        // LMDB makes its file durable, but not the file's name.
        sync_directory(directory)?;
        Ok(Store { env, tables: rows, io_errors: Cell::new(0) })
    };
    opened().map_err(|error| match error {
        heed::Error::Io(error) if error.raw_os_error() == Some(libc::ENOSPC) => Error::Full,
        error => broken("open", &error),
    })
}

fn open_table(env: &Env, name: &str) -> heed::Result<Rows> {
    let opened = env.create_databases_and_commit(env.write_txn()?, |opener, transaction| {
        opener.create_database(transaction, Some(name)).map(CommitOrAbort::<_, ()>::Commit)
    })?;
    Ok(opened.unwrap_commit())
}

/// Sorts by table and key and keeps the last change of each key, so that the tree is walked once.
fn in_order(mut changes: Vec<Change>) -> Vec<Change> {
    changes.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    changes.dedup_by(|later, kept| {
        let same = (later.0, &later.1) == (kept.0, &kept.1);
        if same {
            kept.2 = later.2.take();
        }
        same
    });
    changes
}

/// Commits `changes`; after an error nothing was changed.
fn write(env: &Env, tables: &[Rows], changes: &[Change]) -> heed::Result<()> {
    let mut transaction = env.write_txn()?;
    for changes in changes.chunk_by(|a, b| a.0 == b.0) {
        write_table(&mut transaction, &tables[changes[0].0.0], changes)?;
    }
    transaction.commit()
}

/// Changes one table. Keys beyond its last are appended, which fills pages whole and searches for nothing.
fn write_table(transaction: &mut RwTxn, rows: &Rows, changes: &[Change]) -> heed::Result<()> {
    let last = rows.last(transaction)?.map(|(key, _)| key.to_vec());
    for (_, key, value) in changes {
        let is_beyond = last.as_ref().is_none_or(|last| key > last);
        match value {
            Some(value) if is_beyond => rows.put_with_flags(transaction, PutFlags::APPEND, key, value)?,
            Some(value) => rows.put(transaction, key, value)?,
            None if is_beyond => {}
            None => {
                rows.delete(transaction, key)?;
            }
        }
    }
    Ok(())
}

/// Bytes that the file system of `path` has left for ordinary users.
fn free_bytes(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all-zero bytes are a valid `statvfs`, a struct of integers.
    let mut facts: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero byte, and `facts` is written by the call only.
    match unsafe { libc::statvfs(path.as_ptr(), &mut facts) } {
        0 => Ok(facts.f_bavail.saturating_mul(facts.f_frsize)),
        _ => Err(io::Error::last_os_error()),
    }
}

fn broken(operation: &str, error: &heed::Error) -> Error {
    Error::Broken(format!("{operation}: {error}"))
}
