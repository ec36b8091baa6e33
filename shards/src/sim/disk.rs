//! The simulated disk: files that a crash may tear, and the index's store.
//!
//! The meaning of each operation is the one that [`crate::file`] and [`crate::index`] document.

use std::io;
use std::ops::Range;
use std::path::Path;

use super::Handle;
use crate::file::Entry;
use crate::index;

/// A simulated directory; a cheap handle.
#[derive(Clone)]
pub(crate) struct Directory(());

impl Directory {
    pub(crate) async fn open(_machine: &Handle, _path: &Path) -> io::Result<Directory> {
        todo!()
    }

    pub(crate) async fn list(&self) -> io::Result<Vec<Entry>> {
        todo!()
    }

    pub(crate) async fn create(&self, _name: &str, _bytes: u64) -> io::Result<File> {
        todo!()
    }

    pub(crate) async fn open_file(&self, _name: &str) -> io::Result<File> {
        todo!()
    }

    pub(crate) async fn remove(&self, _name: &str) -> io::Result<()> {
        todo!()
    }

    pub(crate) async fn sync(&self) -> io::Result<()> {
        todo!()
    }
}

/// A simulated open file; a cheap handle.
#[derive(Clone)]
pub(crate) struct File(());

impl File {
    pub(crate) async fn write_synced(&self, _offset: u64, _buffer: Vec<u8>) -> (Vec<u8>, io::Result<()>) {
        todo!()
    }

    pub(crate) async fn read(&self, _offset: u64, _bytes: usize) -> io::Result<Vec<u8>> {
        todo!()
    }

    pub(crate) async fn erase(&self, _ranges: Vec<Range<u64>>) -> io::Result<()> {
        todo!()
    }

    pub(crate) async fn bytes(&self) -> io::Result<u64> {
        todo!()
    }
}

/// The simulated index: a sorted map whose commit is atomic, and durable after a simulated delay. A crash during a
/// commit leaves all of it or nothing.
#[derive(Clone)]
pub(crate) struct Store(());

impl Store {
    pub(crate) async fn open(_machine: &Handle, _path: &Path, _tables: usize) -> Result<Store, index::Error> {
        todo!()
    }

    pub(crate) fn get(&self, _table: index::Table, _key: &[u8]) -> Result<Option<Vec<u8>>, index::Error> {
        todo!()
    }

    pub(crate) fn scan(
        &self,
        _table: index::Table,
        _from: &[u8],
        _visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), index::Error> {
        todo!()
    }

    pub(crate) fn len(&self, _table: index::Table) -> Result<u64, index::Error> {
        todo!()
    }

    /// Serialised by the caller: at most one runs at a time.
    pub(crate) async fn commit(&self, _batch: index::Batch) -> Result<(), index::Error> {
        todo!()
    }
}
