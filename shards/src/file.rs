//! Files: the narrow seam between the journal and the disk, real or simulated.
//!
//! Owns: the system calls on directories and files, off the reactor's thread wherever they may wait. Never: what the bytes
//! mean.
//! A write is durable when [`File::write_synced`] returns; a file's name is durable after [`Directory::sync`].
//! Whole blocks are written around the page cache where the file system can (`O_DIRECT`), as filling and appending do
//! not read back what they write: copying it there costs more than all else that accepting a message takes. Reads and
//! odd ranges go through the page cache, which the kernel keeps in step.
//! Limits: one call moves one buffer; zero-filling moves at most [`FILL_BYTES`] at a time, so that it does not stand in
//! a flush's way.

use std::fs::OpenOptions;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Reactor;
use crate::buffer::{BLOCK_BYTES, Buffer};
use crate::reactor::Backend;
#[cfg(feature = "sim")]
use crate::sim::disk;

/// Bytes of one step of zero-filling a new file.
const FILL_BYTES: usize = 1024 * 1024;

/// Bytes up to which a read first tries what the page cache holds, without waiting and on the reactor's own thread: a thread
/// of its own costs more than to copy so much.
const CACHED_READ_BYTES_MAX: usize = 256 * 1024;

/// A directory that exists; a cheap handle.
#[derive(Clone)]
pub struct Directory(DirectoryKind);

#[derive(Clone)]
enum DirectoryKind {
    Ring {
        reactor: Reactor,
        path: Arc<PathBuf>,
    },
    #[cfg(feature = "sim")]
    Sim(disk::Directory),
}

/// An open file; a cheap handle. The last one that is dropped closes it.
#[derive(Clone)]
pub struct File(FileKind);

#[derive(Clone)]
enum FileKind {
    Ring {
        reactor: Reactor,
        file: Arc<Real>,
    },
    #[cfg(feature = "sim")]
    Sim(disk::File),
}

/// A file of the operating system's.
struct Real {
    file: std::fs::File,
    /// The same file around the page cache, where the file system can do that.
    direct: Option<std::fs::File>,
}

/// A file of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name. Names that are not UTF-8 are not listed.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

impl Directory {
    /// Opens the directory at `path`, durably creating it and its parents where they are missing.
    pub async fn open(reactor: &Reactor, path: &Path) -> io::Result<Directory> {
        match &reactor.0 {
            Backend::Ring(_) => {
                let path = Arc::new(path.to_path_buf());
                let wanted = path.clone();
                reactor.blocking(move || make_directory(&wanted)).await?;
                Ok(Directory(DirectoryKind::Ring { reactor: reactor.clone(), path }))
            }
            #[cfg(feature = "sim")]
            Backend::Sim(machine) => Ok(Directory(DirectoryKind::Sim(disk::Directory::open(machine, path).await?))),
        }
    }

    /// Its regular files, in no particular order.
    pub async fn list(&self) -> io::Result<Vec<Entry>> {
        match &self.0 {
            DirectoryKind::Ring { reactor, path } => {
                let path = path.clone();
                reactor.blocking(move || list(&path)).await
            }
            #[cfg(feature = "sim")]
            DirectoryKind::Sim(directory) => directory.list().await,
        }
    }

    /// Creates the file `name` with `bytes` zero bytes that are allocated and flushed; the name itself is durable after
    /// [`Directory::sync`]. An existing file is replaced. After an error no such file is left, so that a full disk
    /// gets its space back.
    pub async fn create(&self, name: &str, bytes: u64) -> io::Result<File> {
        match &self.0 {
            DirectoryKind::Ring { reactor, path } => {
                let path = path.join(name);
                let created = create(reactor, path.clone(), bytes).await;
                if created.is_err() {
                    // The first error is the one to report; a file that is left is found and removed at the next start.
                    let _ = reactor.blocking(move || std::fs::remove_file(path)).await;
                }
                created
            }
            #[cfg(feature = "sim")]
            DirectoryKind::Sim(directory) => Ok(File(FileKind::Sim(directory.create(name, bytes).await?))),
        }
    }

    /// Opens the existing file `name` for reading and writing.
    pub async fn open_file(&self, name: &str) -> io::Result<File> {
        match &self.0 {
            DirectoryKind::Ring { reactor, path } => {
                let path = path.join(name);
                let open = move || Real::open(&path, std::fs::File::options().read(true).write(true));
                let file = Arc::new(reactor.blocking(open).await?);
                Ok(File(FileKind::Ring { reactor: reactor.clone(), file }))
            }
            #[cfg(feature = "sim")]
            DirectoryKind::Sim(directory) => Ok(File(FileKind::Sim(directory.open_file(name).await?))),
        }
    }

    /// Deletes the file `name`; its space is free once the last handle on it is dropped. Durable after
    /// [`Directory::sync`].
    pub async fn remove(&self, name: &str) -> io::Result<()> {
        match &self.0 {
            DirectoryKind::Ring { reactor, path } => {
                let path = path.join(name);
                reactor.blocking(move || std::fs::remove_file(path)).await
            }
            #[cfg(feature = "sim")]
            DirectoryKind::Sim(directory) => directory.remove(name).await,
        }
    }

    /// Makes every creation and removal so far durable.
    pub async fn sync(&self) -> io::Result<()> {
        match &self.0 {
            DirectoryKind::Ring { reactor, path } => {
                let path = path.clone();
                reactor.blocking(move || sync_directory(&path)).await
            }
            #[cfg(feature = "sim")]
            DirectoryKind::Sim(directory) => directory.sync().await,
        }
    }
}

impl File {
    /// A file that a test has opened in its own way.
    #[cfg(test)]
    pub(crate) fn real(reactor: &Reactor, file: std::fs::File) -> File {
        File(FileKind::Ring { reactor: reactor.clone(), file: Arc::new(Real { file, direct: None }) })
    }

    /// Writes all of `buffer` at `offset` and flushes the file's data. The buffer comes back for reuse, also after an
    /// error; after one, what the file holds in that range is unknown.
    pub async fn write_synced(&self, offset: u64, buffer: Buffer) -> (Buffer, io::Result<()>) {
        match &self.0 {
            FileKind::Ring { reactor, file } => {
                let file = file.clone();
                let work = move || {
                    let written = file.write(&buffer, offset).and_then(|()| file.file.sync_data());
                    (buffer, written)
                };
                reactor.blocking(work).await
            }
            #[cfg(feature = "sim")]
            FileKind::Sim(file) => file.write_synced(offset, buffer).await,
        }
    }

    /// Reads `bytes` bytes from `offset`; fewer only where the file ends.
    pub async fn read(&self, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        match &self.0 {
            FileKind::Ring { reactor, file } => {
                if let Some(cached) = read_cached(&file.file, offset, bytes) {
                    return Ok(cached);
                }
                let file = file.clone();
                reactor.blocking(move || read(&file.file, offset, bytes)).await
            }
            #[cfg(feature = "sim")]
            FileKind::Sim(file) => file.read(offset, bytes).await,
        }
    }

    /// Makes `ranges` read as zeros, gives their whole blocks back to the file system and flushes; the length stays.
    pub async fn erase(&self, ranges: Vec<Range<u64>>) -> io::Result<()> {
        match &self.0 {
            FileKind::Ring { reactor, file } => {
                let file = file.clone();
                let work = move || {
                    ranges.iter().try_for_each(|range| punch(&file.file, range))?;
                    file.file.sync_data()
                };
                reactor.blocking(work).await
            }
            #[cfg(feature = "sim")]
            FileKind::Sim(file) => file.erase(ranges).await,
        }
    }

    /// Its length in bytes.
    pub async fn bytes(&self) -> io::Result<u64> {
        match &self.0 {
            FileKind::Ring { reactor, file } => {
                let file = file.clone();
                reactor.blocking(move || Ok(file.file.metadata()?.len())).await
            }
            #[cfg(feature = "sim")]
            FileKind::Sim(file) => file.bytes().await,
        }
    }
}

impl Real {
    /// Opens the file at `path` as `options` say. Blocks.
    fn open(path: &Path, options: &OpenOptions) -> io::Result<Self> {
        let file = options.open(path)?;
        // Some file systems know no direct writes (tmpfs): theirs go through the page cache.
        let direct = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(path).ok();
        Ok(Self { file, direct })
    }

    /// Writes all of `bytes` at `offset`; they are durable after a flush of either descriptor. Blocks.
    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let whole_blocks = offset.is_multiple_of(BLOCK_BYTES as u64)
            && bytes.len().is_multiple_of(BLOCK_BYTES)
            && (bytes.as_ptr() as usize).is_multiple_of(BLOCK_BYTES);
        let direct = self.direct.as_ref().filter(|_| whole_blocks);
        match direct.map(|direct| direct.write_all_at(bytes, offset)) {
            // It opens files so, but wants another alignment than ours.
            Some(Err(error)) if error.raw_os_error() == Some(libc::EINVAL) => self.file.write_all_at(bytes, offset),
            Some(written) => written,
            None => self.file.write_all_at(bytes, offset),
        }
    }
}

/// Makes a directory and its missing parents, and flushes their names. Blocks.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_directory(parent)?;
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        // Another shard was quicker with a parent that both need.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    sync_directory(parent)
}

/// Makes the names in a directory durable. Blocks.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

fn list(path: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
            entries.push(Entry { name, bytes: metadata.len() });
        }
    }
    Ok(entries)
}

async fn create(reactor: &Reactor, path: PathBuf, bytes: u64) -> io::Result<File> {
    let open =
        move || Real::open(&path, OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600));
    let file = Arc::new(reactor.blocking(open).await?);
    let zeros = Arc::new(Buffer::zeros(FILL_BYTES));
    let mut filled = 0;
    while filled < bytes {
        let step = FILL_BYTES.min(usize::try_from(bytes - filled).unwrap_or(FILL_BYTES));
        let (target, zeros) = (file.clone(), zeros.clone());
        reactor.blocking(move || fill(&target, filled, &zeros[..step])).await?;
        filled += step as u64;
    }
    let target = file.clone();
    reactor.blocking(move || target.file.sync_all()).await?;
    Ok(File(FileKind::Ring { reactor: reactor.clone(), file }))
}

/// Writes zeros and waits until the device has them, so that the flush at the end finds little left to do and no flush
/// of the journal queues behind a whole segment of zeros.
fn fill(real: &Real, offset: u64, zeros: &[u8]) -> io::Result<()> {
    real.write(zeros, offset)?;
    if real.direct.is_some() {
        return Ok(());
    }
    let (file, bytes) = (&real.file, zeros.len());
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: a system call on a descriptor that `file` keeps open; it touches no memory of ours.
    let paced = unsafe { libc::sync_file_range(file.as_raw_fd(), offset as i64, bytes as i64, flags) };
    match io::Error::last_os_error() {
        error if paced != 0 && error.raw_os_error() == Some(libc::ENOSPC) => Err(error),
        // It paces only; what counts is the flush at the end, which reports every other failure.
        _ => Ok(()),
    }
}

/// All of `bytes` from `offset` if that is in the page cache; never waits for the disk.
fn read_cached(file: &std::fs::File, offset: u64, bytes: usize) -> Option<Vec<u8>> {
    if bytes > CACHED_READ_BYTES_MAX {
        return None;
    }
    let mut buffer = vec![0; bytes];
    let part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: bytes };
    // SAFETY: the kernel writes at most `iov_len` bytes to `buffer`, which outlives the call.
    let read = unsafe { libc::preadv2(file.as_raw_fd(), &part, 1, offset as i64, libc::RWF_NOWAIT) };
    // What is not all there, or not to be had in this way, is read in the ordinary one, which tells errors too.
    (usize::try_from(read) == Ok(bytes)).then_some(buffer)
}

fn read(file: &std::fs::File, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    let mut filled = 0;
    while filled < bytes {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

/// One call does both: the kernel writes zeros into the partial blocks at the edges and frees the whole ones.
fn punch(file: &std::fs::File, range: &Range<u64>) -> io::Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let (offset, bytes) = (range.start as i64, (range.end - range.start) as i64);
    loop {
        // SAFETY: a system call on a descriptor that `file` keeps open; it touches no memory of ours.
        if unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, bytes) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
