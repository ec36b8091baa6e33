//! The simulated index: sorted maps whose commits are atomic and durable after a delay.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::{Disk, Flush};
use crate::index::{self, Batch, Table};
use crate::sim::Handle;
use crate::sim::random::Dice;
use crate::sim::trace::Event;

/// Bytes that an entry uses beside its key and value.
const ENTRY_OVERHEAD_BYTES: u64 = 16;

/// A store's content as of its last commit, and the commit that is running.
#[derive(Default)]
pub(super) struct Tables {
    tables: Vec<BTreeMap<Vec<u8>, Vec<u8>>>,
    running: Option<Batch>,
    used_bytes: u64,
}

impl Tables {
    pub(super) fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// A running commit has happened, or it has not.
    pub(super) fn end_commit(&mut self, dice: &Dice) {
        let happened = dice.chance(0.5);
        if let (Some(batch), true) = (self.running.take(), happened) {
            self.apply(batch);
        }
    }

    /// Bytes that the batch adds at most.
    fn growth(batch: &Batch) -> u64 {
        let added = batch.changes.iter().filter_map(|(_, key, value)| value.as_ref().map(|value| (key, value)));
        added.map(|(key, value)| entry_bytes(key, value)).sum()
    }

    fn apply(&mut self, batch: Batch) {
        for (table, key, value) in batch.changes {
            let Some(table) = self.tables.get_mut(table.0) else { continue };
            if let Some(old) = table.remove(&key) {
                self.used_bytes -= entry_bytes(&key, &old);
            }
            if let Some(value) = value {
                self.used_bytes += entry_bytes(&key, &value);
                table.insert(key, value);
            }
        }
    }
}

fn entry_bytes(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64 + ENTRY_OVERHEAD_BYTES
}

/// A simulated index; a cheap handle. A crash during a commit leaves all of it or nothing.
#[derive(Clone)]
pub(crate) struct Store {
    machine: Handle,
    disk: Rc<Disk>,
    path: Rc<PathBuf>,
}

impl Store {
    pub(crate) async fn open(machine: &Handle, path: &Path, tables: usize) -> Result<Store, index::Error> {
        machine.sleep(Duration::from_millis(1)).await;
        let disk = machine.world.disk_of(machine.life.node);
        disk.with_tables(path, |stored| stored.tables.resize_with(tables.max(stored.tables.len()), BTreeMap::new));
        Ok(Store { machine: machine.clone(), disk, path: Rc::new(path.to_path_buf()) })
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, index::Error> {
        self.with_table(table, |entries| entries.get(key).cloned())
    }

    pub(crate) fn scan(
        &self,
        table: Table,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), index::Error> {
        self.with_table(table, |entries| {
            let range = (Bound::Included(from), Bound::Unbounded);
            let _stopped_early = entries.range::<[u8], _>(range).all(|(key, value)| visit(key, value));
        })
    }

    pub(crate) fn len(&self, table: Table) -> Result<u64, index::Error> {
        self.with_table(table, |entries| entries.len() as u64)
    }

    /// Serialised by the caller: at most one runs at a time.
    pub(crate) async fn commit(&self, batch: Batch) -> Result<(), index::Error> {
        let this = self.clone();
        self.machine.uninterrupted(async move { this.commit_whole(batch).await }).await
    }

    async fn commit_whole(&self, batch: Batch) -> Result<(), index::Error> {
        self.disk.check_room(Tables::growth(&batch)).map_err(|_| index::Error::Full)?;
        self.machine.world.trace.record(Event::Commit, batch.changes.len() as u64, 0);
        self.disk.with_tables(&self.path, |stored| stored.running = Some(batch));
        let (delay, outcome) = self.disk.next_flush(&self.machine.world.dice.disk);
        self.machine.sleep(delay).await;
        self.disk.with_tables(&self.path, |stored| match (stored.running.take(), outcome) {
            (_, Flush::Failed) => Err(index::Error::Broken("simulated: the device failed".into())),
            (batch, Flush::Done | Flush::Pretended) => {
                stored.apply(batch.unwrap_or_default());
                Ok(())
            }
        })
    }

    fn with_table<T>(
        &self,
        table: Table,
        act: impl FnOnce(&BTreeMap<Vec<u8>, Vec<u8>>) -> T,
    ) -> Result<T, index::Error> {
        self.disk.with_tables(&self.path, |stored| match stored.tables.get(table.0) {
            Some(entries) => Ok(act(entries)),
            None => Err(index::Error::Broken(format!("no table {}", table.0))),
        })
    }
}
