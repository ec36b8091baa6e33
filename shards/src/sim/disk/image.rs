//! A file's bytes: as written, and as a crash would leave them.

use std::collections::BTreeSet;
use std::ops::Range;

use super::Fate;
use crate::sim::random::Dice;

/// What a disk writes whole.
const SECTOR_BYTES: u64 = 512;

/// What a file system allocates and frees.
const BLOCK_BYTES: u64 = 4096;

/// A write that no flush has covered yet.
struct Unflushed {
    number: u64,
    offset: u64,
    bytes: Vec<u8>,
}

/// A file's content.
#[derive(Default)]
pub(super) struct Image {
    written: Vec<u8>,
    durable: Vec<u8>,
    /// In order.
    unflushed: Vec<Unflushed>,
    write_count: u64,
    /// Blocks inside the file that use no space.
    holes: BTreeSet<u64>,
    /// Handles on it.
    pub(super) open_count: usize,
}

impl Image {
    /// Makes it a durable file of `bytes` zeros.
    pub(super) fn fill(&mut self, bytes: usize) {
        self.written = vec![0; bytes];
        self.durable = vec![0; bytes];
    }

    pub(super) fn bytes(&self) -> u64 {
        self.written.len() as u64
    }

    pub(super) fn used_bytes(&self) -> u64 {
        (self.bytes().div_ceil(BLOCK_BYTES) - self.holes.len() as u64) * BLOCK_BYTES
    }

    /// Bytes that an open file uses; none once it is closed.
    pub(super) fn open_bytes(&self) -> u64 {
        if self.open_count > 0 { self.used_bytes() } else { 0 }
    }

    /// Bytes of space that a write there would take.
    pub(super) fn growth(&self, offset: u64, bytes: usize) -> u64 {
        let end = offset + bytes as u64;
        let beyond = end.div_ceil(BLOCK_BYTES).saturating_sub(self.bytes().div_ceil(BLOCK_BYTES));
        let filled = self.holes.range(offset / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES)).count() as u64;
        (beyond + filled) * BLOCK_BYTES
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let end = offset + bytes.len() as u64;
        self.holes.retain(|block| !(offset / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES)).contains(block));
        put(&mut self.written, offset, bytes);
        self.write_count += 1;
        self.unflushed.push(Unflushed { number: self.write_count, offset, bytes: bytes.to_vec() });
    }

    /// Zeros `range` and frees its whole blocks.
    pub(super) fn erase(&mut self, range: &Range<u64>) {
        let range = range.start..range.end.min(self.bytes());
        if range.is_empty() {
            return;
        }
        self.write(range.start, &vec![0; (range.end - range.start) as usize]);
        self.holes.extend(range.start.div_ceil(BLOCK_BYTES)..range.end / BLOCK_BYTES);
    }

    pub(super) fn read(&self, offset: u64, bytes: usize) -> Vec<u8> {
        let start = (offset as usize).min(self.written.len());
        let end = start.saturating_add(bytes).min(self.written.len());
        self.written[start..end].to_vec()
    }

    /// The mark of everything that was written so far, for [`Image::flushed`].
    pub(super) fn mark(&self) -> u64 {
        self.write_count
    }

    /// A flush that began at `mark` has ended.
    pub(super) fn flushed(&mut self, mark: u64) {
        let (covered, rest) = std::mem::take(&mut self.unflushed).into_iter().partition(|write| write.number <= mark);
        self.unflushed = rest;
        let covered: Vec<Unflushed> = covered;
        for write in covered {
            put(&mut self.durable, write.offset, &write.bytes);
        }
    }

    /// The power is cut: both images become one that the disk may hold now.
    pub(super) fn cut_power(&mut self, fate: Fate, dice: &Dice) {
        let unflushed = std::mem::take(&mut self.unflushed);
        let sectors: BTreeSet<u64> = unflushed.iter().flat_map(Unflushed::sectors).collect();
        for sector in sectors {
            let touching: Vec<&Unflushed> =
                unflushed.iter().filter(|write| write.sectors().contains(&sector)).collect();
            // The disk gets whole sectors out of the page cache: each is in a state that it once had there.
            let kept = match fate {
                Fate::Lost => 0,
                Fate::Kept => touching.len(),
                Fate::Torn => dice.below(touching.len() + 1),
            };
            for write in &touching[..kept] {
                let start = (sector * SECTOR_BYTES).max(write.offset);
                let end = ((sector + 1) * SECTOR_BYTES).min(write.offset + write.bytes.len() as u64);
                let part = &write.bytes[(start - write.offset) as usize..(end - write.offset) as usize];
                put(&mut self.durable, start, part);
            }
        }
        self.written = self.durable.clone();
        self.open_count = 0;
    }

    /// Some of the file's zeros are there: it was not finished.
    pub(super) fn fill_some(&mut self, bytes: u64, dice: &Dice) {
        let blocks = dice.below((bytes / BLOCK_BYTES) as usize + 1);
        self.fill(blocks * BLOCK_BYTES as usize);
    }
}

impl Unflushed {
    fn sectors(&self) -> Range<u64> {
        self.offset / SECTOR_BYTES..(self.offset + self.bytes.len() as u64).div_ceil(SECTOR_BYTES)
    }
}

fn put(image: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let (start, end) = (offset as usize, offset as usize + bytes.len());
    if image.len() < end {
        image.resize(end, 0);
    }
    image[start..end].copy_from_slice(bytes);
}
