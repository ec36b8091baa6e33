//! What the disk under a directory is like: what it is made of, the room that is left, and how long a flush takes.

#![expect(clippy::disallowed_methods, reason = "it measures a disk, before any shard runs")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant as Clock};

/// Flushes that are timed; the median counts.
const FLUSHES: usize = 15;
/// What each of them writes first.
const BLOCK_BYTES: usize = 4096;
/// The probe's file, removed from the directory before it is written.
const PROBE: &str = ".flush-probe";

/// A directory's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// What it is made of.
    pub kind: Kind,
    /// Bytes that this user may still write.
    pub free_bytes: u64,
    /// What fdatasync(2) of one block takes, in the median.
    pub flush: Duration,
}

/// What a file system keeps its files on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A disk of this host.
    Disk,
    /// Memory: gone after a restart.
    Memory,
    /// Another host: locks and flushes are as good as that one's.
    Network,
    /// A container's own layer: gone with the container.
    Layer,
}

/// The kinds by the file system's magic number, as statfs(2) lists them.
const KINDS: &[(u32, Kind)] = &[
    (0x0102_1994, Kind::Memory),  // tmpfs
    (0x8584_58f6, Kind::Memory),  // ramfs
    (0x0000_6969, Kind::Network), // NFS
    (0xff53_4d42, Kind::Network), // CIFS
    (0xfe53_4d42, Kind::Network), // SMB 2
    (0x0102_1997, Kind::Network), // 9P
    (0x794c_7630, Kind::Layer),   // overlayfs
];

/// Looks at the disk under `directory`, and writes and flushes a few blocks there.
///
/// # Errors
/// It cannot be written.
pub fn measure(directory: &Path) -> io::Result<Disk> {
    let path = directory.join(PROBE);
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
    std::fs::remove_file(&path)?;
    let (magic, free_bytes) = statistics(&file)?;
    let kind = KINDS.iter().find(|(known, _)| *known == magic).map_or(Kind::Disk, |(_, kind)| *kind);
    Ok(Disk { kind, free_bytes, flush: flush(&file)? })
}

fn statistics(file: &File) -> io::Result<(u32, u64)> {
    // SAFETY: statfs is plain bits, for which zero is a value; the call writes no more than its size.
    let (result, found) = unsafe {
        let mut found: libc::statfs = std::mem::zeroed();
        (libc::fstatfs(file.as_raw_fd(), &raw mut found), found)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((found.f_type as u32, found.f_bavail.saturating_mul(found.f_bsize as u64)))
}

fn flush(file: &File) -> io::Result<Duration> {
    let mut took = [Duration::ZERO; FLUSHES];
    for (n, took) in took.iter_mut().enumerate() {
        file.write_all_at(&[1; BLOCK_BYTES], (n * BLOCK_BYTES) as u64)?;
        let begin = Clock::now();
        file.sync_data()?;
        *took = begin.elapsed();
    }
    took.sort_unstable();
    Ok(took[FLUSHES / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_told_from_memory_and_nothing_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = measure(folder.path()).expect("measured");
        assert!(disk.free_bytes > 0);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
        let memory = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
        assert_eq!(measure(memory.path()).expect("measured").kind, Kind::Memory);
        assert!(measure(Path::new("/no/such/folder")).is_err());
    }
}
