//! The lists on disk: a file of frames, each some changes, in their order.
//!
//! | octets | what it is |
//! |---|---|
//! | 4 | `supp` |
//! | 4 | how many octets of changes follow, little-endian |
//! | 4 | CRC-32 of those four and the changes |
//! | … | the changes, see [`change`] |
//!
//! Frames are only ever appended, and flushed before anybody is told. A write that a crash or a full disk cut short is cut off.
//! Damage in the middle costs the frames that it touches: the file is kept beside as `suppression.damaged`, and the loss is told.
//! When the file has grown to twice what the lists take, it is written anew, as a whole, and put in the old one's place.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::spool::encode::Reader;
use crate::suppression::{Lists, Pending, change};

const MAGIC: [u8; 4] = *b"supp";
/// Octets of a frame before its changes.
const HEAD_BYTES: usize = 12;
/// Octets of changes in one frame, but for the last one of them.
const FRAME_BYTES_MAX: usize = 4 << 20;
/// A file that is no larger is not written anew.
const COMPACTION_BYTES_MIN: u64 = 1 << 20;
/// Changes that are put into the lists at once when the file is read.
const TAKEN_AT_ONCE: usize = 100_000;

/// The file.
pub struct File {
    path: PathBuf,
    /// Open for appending; `None`: there is none yet, or what it holds is uncertain, and it is to be written anew.
    file: Option<fs::File>,
    bytes: u64,
    /// What it had when it was written anew.
    compact_bytes: u64,
}

/// What was found on disk.
pub struct Found {
    /// The file.
    pub file: File,
    /// The lists.
    pub lists: Lists,
    /// What an administrator should know; for people.
    pub trouble: Option<String>,
}

impl File {
    /// Reads the file of a data directory; there need not be one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(data_dir: &Path, now_s: u32) -> io::Result<Found> {
        let path = data_dir.join("suppression");
        let octets = match fs::read(&path) {
            Ok(octets) => octets,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = File { path, file: None, bytes: 0, compact_bytes: 0 };
                return Ok(Found { file, lists: Lists::default(), trouble: None });
            }
            Err(error) => return Err(error),
        };
        let read = read(&octets);
        let lists = read.lists.current(now_s);
        let mut trouble = None;
        if read.damaged_bytes > 0 {
            let aside = data_dir.join("suppression.damaged");
            let kept = match fs::copy(&path, &aside) {
                Ok(_) => format!("the file is kept as {}", aside.display()),
                Err(error) => format!("the file could not be kept as {}: {error}", aside.display()),
            };
            trouble = Some(format!(
                "{}: {} octets are damaged, and the suppressions in them are lost; {kept}",
                path.display(),
                read.damaged_bytes
            ));
        }
        let unfinished = octets.len() - read.end;
        if trouble.is_none() && unfinished > 0 {
            trouble = Some(format!(
                "{}: its last {unfinished} octets are a write that did not come to its end, and are cut off",
                path.display()
            ));
        }
        let compact_bytes = encoded_bytes(&lists);
        let mut file = File { path, file: None, bytes: read.end as u64, compact_bytes };
        if read.damaged_bytes == 0 {
            let opened = OpenOptions::new().append(true).open(&file.path)?;
            opened.set_len(file.bytes)?;
            opened.sync_all()?;
            file.file = Some(opened);
        } else if file.rewrite(&lists).is_err() {
            // A full disk is no reason not to start: it is written anew with the next change.
            file.file = None;
        }
        Ok(Found { file, lists, trouble })
    }

    /// Makes changes durable that lead to `lists`. Where it fails, the file is as it was, or is written anew next time.
    ///
    /// # Errors
    /// Those of the disk, which may be full.
    pub fn append(&mut self, changes: &Pending, lists: &Lists) -> io::Result<()> {
        let is_due = self.bytes > COMPACTION_BYTES_MIN && self.bytes / 2 > self.compact_bytes;
        if is_due || self.file.is_none() {
            match self.rewrite(lists) {
                // A longer file is no trouble as long as it can be appended to.
                Err(_) if self.file.is_some() => {}
                done => return done,
            }
        }
        let frames = frames(changes.iter());
        let Some(file) = &mut self.file else { return Err(io::Error::other("the file is not open")) };
        if let Err(error) = file.write_all(&frames) {
            // What was written of it must not stay before the next frame.
            if file.set_len(self.bytes).is_err() {
                self.file = None;
            }
            return Err(error);
        }
        if let Err(error) = file.sync_data() {
            // What the disk has is not known after that.
            self.file = None;
            return Err(error);
        }
        self.bytes += frames.len() as u64;
        Ok(())
    }

    /// Writes the whole anew.
    fn rewrite(&mut self, lists: &Lists) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let done = self.rewrite_through(&new, lists);
        if done.is_err() {
            let _ = fs::remove_file(&new);
        }
        done
    }

    fn rewrite_through(&mut self, new: &Path, lists: &Lists) -> io::Result<()> {
        let octets = encoded(lists);
        let mut file = fs::File::create(new)?;
        file.write_all(&octets)?;
        file.sync_all()?;
        fs::rename(new, &self.path)?;
        // From here on the old file is gone, whatever else fails.
        self.file = None;
        if let Some(folder) = self.path.parent() {
            fs::File::open(folder)?.sync_all()?;
        }
        self.file = Some(OpenOptions::new().append(true).open(&self.path)?);
        (self.bytes, self.compact_bytes) = (octets.len() as u64, octets.len() as u64);
        Ok(())
    }
}

fn encoded(lists: &Lists) -> Vec<u8> {
    let of = |(scope, list): (_, &'_ crate::suppression::List)| {
        let entries: Vec<_> = list.after(None).map(|(address, entry)| (address.to_owned(), entry)).collect();
        (scope, entries)
    };
    let mut octets = Vec::new();
    for (scope, entries) in lists.scopes().map(of) {
        octets.extend(frames(entries.iter().map(|(address, entry)| (&scope, address.as_str(), Some(*entry)))));
    }
    octets
}

fn encoded_bytes(lists: &Lists) -> u64 {
    encoded(lists).len() as u64
}

/// The frames of some changes.
fn frames<'a>(
    changes: impl Iterator<Item = (&'a crate::suppression::Scope, &'a str, Option<crate::suppression::Entry>)>,
) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut begin = 0;
    for (scope, address, entry) in changes {
        if octets.len() == begin {
            octets.extend([0; HEAD_BYTES]);
        }
        change::put(&mut octets, scope, address, entry);
        if octets.len() - begin > FRAME_BYTES_MAX {
            close(&mut octets, begin);
            begin = octets.len();
        }
    }
    if octets.len() > begin {
        close(&mut octets, begin);
    }
    octets
}

/// Writes the head of the frame that begins there and ends with the octets.
fn close(octets: &mut [u8], begin: usize) {
    let (head, changes) = octets[begin..].split_at_mut(HEAD_BYTES);
    // A frame is hardly longer than its bound.
    let len = (changes.len() as u32).to_le_bytes();
    head[..4].copy_from_slice(&MAGIC);
    head[4..8].copy_from_slice(&len);
    head[8..].copy_from_slice(&checksum(len, changes).to_le_bytes());
}

fn checksum(len: [u8; 4], changes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&len);
    hasher.update(changes);
    hasher.finalize()
}

/// What a file holds.
struct Read {
    lists: Lists,
    /// Where its last whole frame ends: what is behind was being written.
    end: usize,
    /// Octets between whole frames that are none.
    damaged_bytes: usize,
}

fn read(octets: &[u8]) -> Read {
    let mut read = Read { lists: Lists::default(), end: 0, damaged_bytes: 0 };
    let mut pending = Pending::default();
    while let Some((begin, end)) = next_frame(octets, read.end) {
        read.damaged_bytes += begin - read.end;
        let mut changes = Reader::new(&octets[begin + HEAD_BYTES..end]);
        while changes.remaining() > 0 {
            let Ok(change) = change::take(&mut changes) else { break };
            pending.add(change);
        }
        read.damaged_bytes += changes.remaining();
        read.end = end;
        if pending.len() > TAKEN_AT_ONCE {
            read.lists = read.lists.with(&std::mem::take(&mut pending));
        }
    }
    read.lists = read.lists.with(&pending);
    read
}

/// Where the next whole frame begins and ends, from `from` on.
fn next_frame(octets: &[u8], from: usize) -> Option<(usize, usize)> {
    let begins = memchr::memmem::find_iter(&octets[from..], &MAGIC).map(|at| from + at);
    begins.into_iter().find_map(|begin| {
        let len: [u8; 4] = octets.get(begin + 4..begin + 8)?.try_into().ok()?;
        let sum: [u8; 4] = octets.get(begin + 8..begin + HEAD_BYTES)?.try_into().ok()?;
        let end = (begin + HEAD_BYTES).checked_add(u32::from_le_bytes(len) as usize)?;
        let changes = octets.get(begin + HEAD_BYTES..end)?;
        (checksum(len, changes) == u32::from_le_bytes(sum)).then_some((begin, end))
    })
}
