//! Directories and files of a simulated disk.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::image::Image;
use super::{Disk, Fate, Flush};
use crate::buffer::Buffer;
use crate::file::Entry;
use crate::sim::Handle;
use crate::sim::random::Dice;
use crate::sim::trace::Event;

/// How long an operation takes that needs no flush.
const ACCESS_DELAY: Range<Duration> = Duration::from_micros(10)..Duration::from_micros(200);

/// Bytes that a disk moves in a microsecond.
const BYTES_PER_US: u64 = 1_000;

type SharedImage = Rc<RefCell<Image>>;

/// A directory's entries.
#[derive(Default)]
pub(super) struct Names {
    seen: BTreeMap<String, SharedImage>,
    durable: BTreeMap<String, SharedImage>,
    /// Files that are being filled, with their length to be.
    unfinished: BTreeMap<String, u64>,
}

impl Names {
    pub(super) fn used_bytes(&self) -> u64 {
        let finished: u64 = self.seen.values().map(|image| image.borrow().used_bytes()).sum();
        finished + self.unfinished.values().sum::<u64>()
    }

    /// Files that were being made stay as far as they were.
    pub(super) fn leave_unfinished(&mut self, dice: &Dice) {
        for (name, bytes) in std::mem::take(&mut self.unfinished) {
            let image = SharedImage::default();
            image.borrow_mut().fill_some(bytes, dice);
            self.seen.insert(name, image);
        }
    }

    /// Every handle is gone.
    pub(super) fn close(&mut self) {
        self.seen.values().for_each(|image| image.borrow_mut().open_count = 0);
    }

    /// Each name that was not synced is in its old state or in its new one, and so is each sector.
    pub(super) fn cut_power(&mut self, dice: &Dice) {
        let mut names: Vec<String> = self.seen.keys().chain(self.durable.keys()).cloned().collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let survivor = if dice.chance(0.5) { self.seen.get(&name) } else { self.durable.get(&name) }.cloned();
            match survivor {
                Some(image) => {
                    image.borrow_mut().cut_power(Fate::draw(dice), dice);
                    self.durable.insert(name, image);
                }
                None => drop(self.durable.remove(&name)),
            }
        }
        self.seen = self.durable.clone();
    }
}

/// A simulated directory; a cheap handle.
#[derive(Clone)]
pub(crate) struct Directory {
    machine: Handle,
    disk: Rc<Disk>,
    path: Rc<PathBuf>,
}

impl Directory {
    pub(crate) async fn open(machine: &Handle, path: &Path) -> io::Result<Directory> {
        access(machine).await;
        let disk = machine.world.disk_of(machine.life.node);
        disk.with_names(path, |_| ());
        Ok(Directory { machine: machine.clone(), disk, path: Rc::new(path.to_path_buf()) })
    }

    pub(crate) async fn list(&self) -> io::Result<Vec<Entry>> {
        access(&self.machine).await;
        let entry =
            |(name, image): (&String, &SharedImage)| Entry { name: name.clone(), bytes: image.borrow().bytes() };
        Ok(self.disk.with_names(&self.path, |names| names.seen.iter().map(entry).collect()))
    }

    pub(crate) async fn create(&self, name: &str, bytes: u64) -> io::Result<File> {
        let (this, name) = (self.clone(), name.to_owned());
        self.machine.uninterrupted(async move { this.create_whole(name, bytes).await }).await
    }

    async fn create_whole(&self, name: String, bytes: u64) -> io::Result<File> {
        let replaced = self.disk.with_names(&self.path, |names| names.seen.remove(&name));
        if let Some(image) = replaced {
            self.disk.note_removed(&image);
        }
        self.disk.check_room(bytes)?;
        self.disk.with_names(&self.path, |names| names.unfinished.insert(name.clone(), bytes));
        let (flush, outcome) = self.disk.next_flush(&self.machine.world.dice.disk);
        self.machine.sleep(Duration::from_micros(bytes / BYTES_PER_US) + flush).await;
        self.disk.with_names(&self.path, |names| names.unfinished.remove(&name));
        if let Flush::Failed = outcome {
            return Err(device_failed());
        }
        let image = SharedImage::default();
        image.borrow_mut().fill(usize::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?);
        self.disk.with_names(&self.path, |names| names.seen.insert(name, image.clone()));
        Ok(File::new(&self.machine, &self.disk, image))
    }

    pub(crate) async fn open_file(&self, name: &str) -> io::Result<File> {
        access(&self.machine).await;
        let image = self.disk.with_names(&self.path, |names| names.seen.get(name).cloned());
        Ok(File::new(&self.machine, &self.disk, image.ok_or(io::ErrorKind::NotFound)?))
    }

    pub(crate) async fn remove(&self, name: &str) -> io::Result<()> {
        access(&self.machine).await;
        let image = self.disk.with_names(&self.path, |names| names.seen.remove(name));
        self.disk.note_removed(&image.ok_or(io::ErrorKind::NotFound)?);
        Ok(())
    }

    pub(crate) async fn sync(&self) -> io::Result<()> {
        let this = self.clone();
        self.machine.uninterrupted(async move { this.sync_whole().await }).await
    }

    async fn sync_whole(&self) -> io::Result<()> {
        let covered = self.disk.with_names(&self.path, |names| names.seen.clone());
        let (delay, outcome) = self.disk.next_flush(&self.machine.world.dice.disk);
        self.machine.sleep(delay).await;
        match outcome {
            Flush::Done => self.disk.with_names(&self.path, |names| names.durable = covered),
            Flush::Failed => return Err(device_failed()),
            Flush::Pretended => {}
        }
        Ok(())
    }
}

/// A simulated open file; a cheap handle.
pub(crate) struct File {
    machine: Handle,
    disk: Rc<Disk>,
    image: SharedImage,
}

impl File {
    fn new(machine: &Handle, disk: &Rc<Disk>, image: SharedImage) -> File {
        image.borrow_mut().open_count += 1;
        File { machine: machine.clone(), disk: disk.clone(), image }
    }

    pub(crate) async fn write_synced(&self, offset: u64, buffer: Buffer) -> (Buffer, io::Result<()>) {
        let this = self.clone();
        let whole = async move {
            let written = this.write_and_flush(offset, &buffer).await;
            (buffer, written)
        };
        self.machine.uninterrupted(whole).await
    }

    async fn write_and_flush(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        access(&self.machine).await;
        let growth = self.image.borrow().growth(offset, bytes.len());
        self.disk.check_room(growth)?;
        self.machine.world.trace.record(Event::Write, offset, bytes.len() as u64);
        self.image.borrow_mut().write(offset, bytes);
        self.flush(bytes.len() as u64).await
    }

    /// Makes what was written so far durable.
    async fn flush(&self, bytes: u64) -> io::Result<()> {
        let mark = self.image.borrow().mark();
        let (delay, outcome) = self.disk.next_flush(&self.machine.world.dice.disk);
        self.machine.sleep(delay + Duration::from_micros(bytes / BYTES_PER_US)).await;
        self.machine.world.trace.record(Event::Flush, mark, bytes);
        match outcome {
            Flush::Done => self.image.borrow_mut().flushed(mark),
            Flush::Failed => return Err(device_failed()),
            Flush::Pretended => {}
        }
        Ok(())
    }

    pub(crate) async fn read(&self, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        access(&self.machine).await;
        Ok(self.image.borrow().read(offset, bytes))
    }

    pub(crate) async fn erase(&self, ranges: Vec<Range<u64>>) -> io::Result<()> {
        let this = self.clone();
        let whole = async move {
            access(&this.machine).await;
            for range in &ranges {
                this.image.borrow_mut().erase(range);
            }
            this.flush(0).await
        };
        self.machine.uninterrupted(whole).await
    }

    pub(crate) async fn bytes(&self) -> io::Result<u64> {
        access(&self.machine).await;
        Ok(self.image.borrow().bytes())
    }
}

impl Clone for File {
    fn clone(&self) -> Self {
        Self::new(&self.machine, &self.disk, self.image.clone())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let open_count = &mut self.image.borrow_mut().open_count;
        // A crash has closed all handles already.
        *open_count = open_count.saturating_sub(1);
    }
}

async fn access(machine: &Handle) {
    let delay = machine.world.dice.disk.between(&ACCESS_DELAY);
    machine.sleep(delay).await;
}

fn device_failed() -> io::Error {
    io::Error::other("simulated: the device failed")
}
