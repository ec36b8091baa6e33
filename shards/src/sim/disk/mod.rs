//! A node's simulated disk: files that a power cut may tear, and the index's store.
//!
//! A file has two images: as written, which everyone reads, and what a crash leaves for sure. A flush copies the writes
//! that came before it from the one to the other; at a crash, each sector takes any of the states that it went through
//! since. A name is sure after a sync of its directory. The store's commits are atomic.
//!
//! The meaning of each operation is the one that [`crate::file`] and [`crate::index`] document.

mod files;
mod image;
mod store;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::Duration;

pub(crate) use files::{Directory, File};
pub(crate) use store::Store;

use self::files::Names;
use self::image::Image;
use self::store::Tables;
use super::End;
use super::random::Dice;

/// How a disk behaves, for better or worse.
#[derive(Clone, Debug)]
pub struct DiskBehaviour {
    /// Bytes that fit; less than what is in use means: full.
    pub capacity_bytes: u64,
    /// How long a flush takes.
    pub flush: Range<Duration>,
    /// That one flush takes `slow_flush` more. 0 to 1.
    pub slow: f64,
    /// How much longer a slow flush takes.
    pub slow_flush: Duration,
    /// That one flush fails, with what was written partly on disk. 0 to 1.
    pub flush_fails: f64,
    /// Flushes of files do nothing and say that they did: what a test's oracle must find out.
    pub lies_about_flush: bool,
}

impl Default for DiskBehaviour {
    /// 1 TiB, a millisecond a flush, sometimes 50; honest.
    fn default() -> Self {
        Self {
            capacity_bytes: 1 << 40,
            flush: Duration::from_micros(100)..Duration::from_millis(2),
            slow: 0.02,
            slow_flush: Duration::from_millis(50),
            flush_fails: 0.0,
            lies_about_flush: false,
        }
    }
}

/// What a power cut makes of the writes that no flush had covered.
#[derive(Clone, Copy)]
enum Fate {
    Lost,
    Kept,
    /// Each sector for itself.
    Torn,
}

impl Fate {
    fn draw(dice: &Dice) -> Self {
        [Fate::Lost, Fate::Kept, Fate::Torn, Fate::Torn][dice.below(4)]
    }
}

/// One disk. Survives its node's crashes.
#[derive(Default)]
pub(super) struct Disk(RefCell<State>);

#[derive(Default)]
struct State {
    behaviour: DiskBehaviour,
    directories: BTreeMap<PathBuf, Names>,
    stores: BTreeMap<PathBuf, Tables>,
    /// Removed files, which use space until their last handle is dropped.
    removed: Vec<Weak<RefCell<Image>>>,
}

impl Disk {
    pub(super) fn set_behaviour(&self, behaviour: DiskBehaviour) {
        self.0.borrow_mut().behaviour = behaviour;
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.0.borrow().used_bytes()
    }

    /// Whoever used it is gone, and perhaps the power with him.
    pub(super) fn end_life(&self, end: End, dice: &Dice) {
        let mut state = self.0.borrow_mut();
        for names in state.directories.values_mut() {
            names.leave_unfinished(dice);
            match end {
                End::PowerCut => names.cut_power(dice),
                End::Kill => names.close(),
            }
        }
        for tables in state.stores.values_mut() {
            tables.end_commit(dice);
        }
        state.removed.clear();
    }

    /// How long the next flush takes, and how it ends.
    fn next_flush(&self, dice: &Dice) -> (Duration, Flush) {
        let behaviour = &self.0.borrow().behaviour;
        let usual = dice.between(&behaviour.flush);
        let slow = dice.chance(behaviour.slow);
        let fails = dice.chance(behaviour.flush_fails);
        let outcome = match (behaviour.lies_about_flush, fails) {
            (_, true) => Flush::Failed,
            (true, false) => Flush::Pretended,
            (false, false) => Flush::Done,
        };
        (if slow { usual + behaviour.slow_flush } else { usual }, outcome)
    }

    /// Room for `bytes` more, or the error of a full disk.
    fn check_room(&self, bytes: u64) -> io::Result<()> {
        let state = self.0.borrow();
        match state.used_bytes().checked_add(bytes) {
            Some(used) if bytes == 0 || used <= state.behaviour.capacity_bytes => Ok(()),
            _ => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn with_names<T>(&self, path: &Path, act: impl FnOnce(&mut Names) -> T) -> T {
        act(self.0.borrow_mut().directories.entry(path.to_path_buf()).or_default())
    }

    fn with_tables<T>(&self, path: &Path, act: impl FnOnce(&mut Tables) -> T) -> T {
        act(self.0.borrow_mut().stores.entry(path.to_path_buf()).or_default())
    }

    fn note_removed(&self, image: &Rc<RefCell<Image>>) {
        let mut state = self.0.borrow_mut();
        state.removed.retain(|image| image.strong_count() > 0);
        state.removed.push(Rc::downgrade(image));
    }
}

impl State {
    fn used_bytes(&self) -> u64 {
        let named: u64 = self.directories.values().map(Names::used_bytes).sum();
        let removed: u64 = self.removed.iter().filter_map(Weak::upgrade).map(|image| image.borrow().open_bytes()).sum();
        let stored: u64 = self.stores.values().map(Tables::used_bytes).sum();
        named + removed + stored
    }
}

/// How a flush ends.
#[derive(Clone, Copy)]
enum Flush {
    Done,
    Failed,
    Pretended,
}
