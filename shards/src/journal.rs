//! The journal: a shard's append-only log in segments, with group commit.
//!
//! A *frame* is what one `append` writes; it is whole after a crash or it is not there. A *batch* is every frame that
//! was appended while the previous flush ran: one write, one fdatasync. Segments are zero-filled ahead in the
//! background, so that a flush moves data only. The index of what lives where is the caller's.
//!
//! On disk: `DIRECTORY/<segment, 8 hex digits>.log`; each frame is a header (magic, segment number, length, CRC-32 over
//! header and payload) and its payload. After a crash: replay reads frames until the first that is not whole; what
//! follows in that segment was never flushed and is overwritten. A frame that is not whole *before* the last segment
//! with frames is damage and an error.
//! Limits: a frame is at most 1 GiB; a frame larger than a segment gets a segment of its own size.

use std::path::Path;

use crate::Reactor;

/// Where a frame begins. Ordered as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The segment's number; grows by one.
    pub segment: u32,
    /// The byte in the segment at which the frame's header begins.
    pub offset: u32,
}

/// How a journal is laid out.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of a segment; new segments are zero-filled to this size ahead of need.
    pub segment_bytes: u32,
    /// Bytes that ordinary frames leave free for urgent ones when the disk is full.
    pub reserve_bytes: u32,
    /// Bytes that may wait for a flush; `room` waits beyond it.
    pub pending_bytes_max: usize,
}

/// Who may use the last bytes of a full disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// New work: refused while no spare segment is ready and the current one is down to its reserve.
    Ordinary,
    /// What lets old work end (settlements): may use the reserve.
    Urgent,
}

/// The disk has no room for this frame now. Nothing was changed; it may have room later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no space left for the journal")]
pub struct Full;

/// The journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed. After a failed flush the journal refuses everything: the process must restart and recover.
    #[error("journal: {0}")]
    Io(#[from] std::io::Error),
    /// Bytes on disk are not what was written.
    #[error("journal: segment {segment:08x} is damaged at byte {offset}")]
    Damaged {
        /// The segment.
        segment: u32,
        /// The byte.
        offset: u32,
    },
}

/// A part of a frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The frame.
    pub position: Position,
    /// Bytes of the payload before it.
    pub skip: u32,
    /// Its length in bytes.
    pub len: u32,
}

/// What a journal has done since it was opened, and how it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames that were appended.
    pub frames: u64,
    /// Bytes that were appended, headers included.
    pub bytes: u64,
    /// Flushes (one write and one fdatasync each) that made them durable.
    pub flushes: u64,
    /// Bytes that wait for a flush now.
    pub pending_bytes: usize,
    /// Whether the disk had no room for the next segment when last tried.
    pub full: bool,
    /// Whether a flush has failed: the process must stop.
    pub failed: bool,
}

/// A shard's journal; a cheap handle.
#[derive(Clone)]
pub struct Journal(());

/// An appended frame on its way to disk. Await [`Commit::durable`] before telling anyone.
pub struct Commit(());

impl Commit {
    /// Waits until the batch that holds the frame is flushed.
    pub async fn durable(self) -> Result<(), Error> {
        todo!()
    }
}

impl Journal {
    /// Opens (or creates) the journal in `directory` and hands every whole frame from `from` on to `replay`, in order.
    pub async fn open(
        _reactor: &Reactor,
        _directory: &Path,
        _options: Options,
        _from: Position,
        _replay: &mut dyn FnMut(Position, &[u8]),
    ) -> Result<Journal, Error> {
        todo!()
    }

    /// Waits until [`Journal::append`] would take a frame with `bytes` of payload: fewer than `pending_bytes_max` bytes
    /// wait for a flush and a segment with place for it is ready. [`Full`] as soon as the disk is known to have none.
    /// Append without another await, or the room may have gone to another task.
    pub async fn room(&self, _bytes: usize, _class: Class) -> Result<(), Full> {
        todo!()
    }

    /// Appends one frame made of `parts`. Its place is decided at once; it is durable when `Commit` says so.
    /// Frames become durable in the order in which they were appended.
    pub fn append(&self, _parts: &[&[u8]], _class: Class) -> Result<(Position, Commit), Full> {
        todo!()
    }

    /// Whether an ordinary frame of `bytes` would be taken now, or soon: false while the disk is full.
    pub fn has_room_for(&self, _bytes: usize) -> bool {
        todo!()
    }

    /// Where the next frame will begin: every frame before it has been appended.
    pub fn tail(&self) -> Position {
        todo!()
    }

    /// Waits until every frame before `position` is durable.
    pub async fn durable_until(&self, _position: Position) -> Result<(), Error> {
        todo!()
    }

    /// Reads `len` bytes of the frame at `position`, from byte `skip` of its payload. Also frames not yet durable.
    pub async fn read(&self, _position: Position, _skip: u32, _len: u32) -> Result<Vec<u8>, Error> {
        todo!()
    }

    /// The numbers of the segments on disk that hold frames, oldest first, the one being written last.
    pub fn segments(&self) -> Vec<u32> {
        todo!()
    }

    /// Deletes a whole segment (never the one being written).
    pub async fn remove(&self, _segment: u32) -> Result<(), Error> {
        todo!()
    }

    /// Overwrites `extents` with zeros, gives their whole blocks back to the file system and flushes, once per segment.
    /// The frames' headers stay, but their CRC covers the payload: erase only frames before the position that the
    /// index covers.
    pub async fn erase(&self, _extents: Vec<Extent>) -> Result<(), Error> {
        todo!()
    }

    /// What it has done and how it is.
    pub fn statistics(&self) -> Statistics {
        todo!()
    }
}
