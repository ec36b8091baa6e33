//! The journal: a shard's append-only log in segments, with group commit.
//!
//! A *frame* is what one `append` writes; it is whole after a crash or it is not there. A *batch* is every frame that
//! was appended while the previous flush ran, or was announced ([`Journal::expect`]) by many: one write, one fdatasync;
//! it begins at a block of its own, so that no block with durable frames is ever written again. Segments are
//! zero-filled ahead in the background, so that a flush moves data only. The index of what lives where is the caller's.
//!
//! Owns: the segments' files, the open batch, the next segment. Never: what a payload means, when a segment or a payload
//! has become needless (the caller says so), retrying a flush that failed.
//! On disk: `DIRECTORY/<segment, 8 hex digits>.log`; each frame is a header (magic, salt, segment number, length,
//! end of earlier batches, CRC-32 over header and payload) and its payload; see `frame`. A batch that spans two segments
//! is flushed in the first before it is written to the second.
//! After a crash: replay reads frames until the first that is not whole; what follows in that segment was never flushed
//! and is overwritten with zeros before anything is appended. A frame that is not whole *before* the last segment with
//! frames, or before a later batch in that segment, is damage and an error: it had been flushed.
//! A full disk: a spare segment that cannot be prepared is tried again every second; ordinary frames are refused when the
//! current segment is down to its reserve, urgent ones when it is used up.
//! A failed write or flush: what the disk holds is unknown, so the journal refuses everything from then on ([`Full`] from
//! `append` and `room`, [`Error`] from all others) and the process must stop and recover.
//! Limits: a frame is at most 1 GiB with its header of 24 bytes; a frame larger than a segment gets a segment of its own
//! size. At most 16 older segments are held open.

mod frame;
mod recovery;
mod state;
#[cfg(test)]
mod tests;
mod writer;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::buffer::BLOCK_BYTES;
use crate::file::{Directory, File};
use crate::{Reactor, Task};
use state::State;

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
    /// Bytes of a segment: whole blocks, at most 1 GiB; new segments are zero-filled to this size ahead of need.
    pub segment_bytes: u32,
    /// Bytes that ordinary frames leave free for urgent ones when the disk is full; less than a segment.
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
        /// Where the whole frames before the damage end.
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

/// A shard's journal; a cheap handle. The last one that is dropped (commits count) ends it and leaves unflushed what
/// nobody waits for.
#[derive(Clone)]
pub struct Journal(Rc<Inner>);

struct Inner {
    shared: Rc<Shared>,
    /// The writer and the preparer of segments: they end with the last handle.
    _tasks: [Task<()>; 2],
}

/// What the handles and the journal's two tasks share.
struct Shared {
    reactor: Reactor,
    directory: Directory,
    state: RefCell<State>,
}

impl Shared {
    /// Changes the state, and wakes whom the change concerns once it is no longer borrowed.
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.borrow_mut();
        let result = change(&mut state);
        let wakers = state.take_wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        result
    }

    async fn flushed(&self, batch: u64) -> Result<(), Error> {
        let mut registered: Option<Waker> = None;
        poll_fn(|context| {
            self.with(|state| {
                if let Some(outcome) = state.outcome(batch) {
                    return Poll::Ready(outcome);
                }
                if registered.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
                    state.wait_for_flush(batch, context.waker().clone());
                    registered = Some(context.waker().clone());
                }
                Poll::Pending
            })
        })
        .await
    }

    /// The file of a segment; opened where it is not.
    async fn file(&self, segment: u32) -> Result<File, Error> {
        if let Some(file) = self.with(|state| state.file(segment)) {
            return Ok(file);
        }
        let file = self.directory.open_file(&segment_name(segment)).await?;
        self.with(|state| state.keep_open(segment, file.clone()));
        Ok(file)
    }
}

/// An appended frame on its way to disk. Await [`Commit::durable`] before telling anyone.
pub struct Commit {
    journal: Journal,
    batch: u64,
}

impl Commit {
    /// Waits until the batch that holds the frame is flushed.
    pub async fn durable(self) -> Result<(), Error> {
        self.journal.0.shared.flushed(self.batch).await
    }
}

/// A frame that may come soon. To be dropped before it is appended, or once it is certain that it will not come.
pub struct Expected(Rc<Shared>);

impl Drop for Expected {
    fn drop(&mut self) {
        self.0.with(State::expected_is_here);
    }
}

impl Journal {
    /// Opens (or creates) the journal in `directory` and hands every whole frame from `from` on to `replay`, in order.
    /// The default position replays from the oldest segment that is there.
    pub async fn open(
        reactor: &Reactor,
        directory: &Path,
        options: Options,
        from: Position,
        replay: &mut dyn FnMut(Position, &[u8]),
    ) -> Result<Journal, Error> {
        assert!(options.segment_bytes <= frame::FRAME_BYTES_MAX, "a segment is at most 1 GiB");
        assert!((options.segment_bytes as usize).is_multiple_of(BLOCK_BYTES), "a segment is made of whole blocks");
        assert!(options.reserve_bytes < options.segment_bytes, "the reserve is a part of a segment");
        let directory = Directory::open(reactor, directory).await?;
        let recovered = recovery::recover(reactor, &directory, &options, from, replay).await?;
        let state = RefCell::new(State::new(options, recovered.current, recovered.numbers));
        let shared = Rc::new(Shared { reactor: reactor.clone(), directory, state });
        let tasks = [reactor.spawn(writer::write(shared.clone())), reactor.spawn(writer::prepare(shared.clone()))];
        Ok(Journal(Rc::new(Inner { shared, _tasks: tasks })))
    }

    /// Waits until [`Journal::append`] would take a frame with `bytes` of payload: fewer than `pending_bytes_max` bytes
    /// wait for a flush and a segment with place for it is ready. [`Full`] as soon as the disk is known to have none.
    /// Append without another await, or the room may have gone to another task.
    pub async fn room(&self, bytes: usize, class: Class) -> Result<(), Full> {
        let shared = &self.0.shared;
        let refusals = shared.with(|state| state.refusals());
        poll_fn(|context| {
            shared.with(|state| {
                let room = state.poll_room(bytes, class, refusals);
                if room.is_pending() {
                    state.wait_for_room(context.waker().clone());
                }
                room
            })
        })
        .await
    }

    /// Appends one frame made of `parts`. Its place is decided at once; it is durable when `Commit` says so.
    /// Frames become durable in the order in which they were appended.
    pub fn append(&self, parts: &[&[u8]], class: Class) -> Result<(Position, Commit), Full> {
        let (position, batch) = self.0.shared.with(|state| state.append(parts, class))?;
        Ok((position, Commit { journal: self.clone(), batch }))
    }

    /// Announces a frame: after a batch of 16 frames or more the next flush waits up to 6 ms since the last one began for
    /// those that are announced. Frames that nobody announces are flushed all the same.
    pub fn expect(&self) -> Expected {
        self.0.shared.with(State::expect);
        Expected(self.0.shared.clone())
    }

    /// Whether an ordinary frame of `bytes` would be taken now, or soon: false while the disk is full.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        self.0.shared.with(|state| state.has_room_for(bytes))
    }

    /// Where the last frame ends: every frame before it has been appended, and the next one begins there or soon after.
    pub fn tail(&self) -> Position {
        self.0.shared.with(|state| state.tail())
    }

    /// Waits until every frame before `position` is durable.
    pub async fn durable_until(&self, position: Position) -> Result<(), Error> {
        let shared = &self.0.shared;
        let batch = shared.with(|state| state.batch_before(position));
        shared.flushed(batch).await
    }

    /// Reads `len` bytes of the frame at `position`, from byte `skip` of its payload. A frame that is not yet durable is
    /// waited for.
    pub async fn read(&self, position: Position, skip: u32, len: u32) -> Result<Vec<u8>, Error> {
        let shared = &self.0.shared;
        let batch = shared.with(|state| {
            state.check()?;
            Ok::<_, Error>(state.batch_of(position))
        })?;
        shared.flushed(batch).await?;
        let file = shared.file(position.segment).await?;
        let range = payload_range(position, skip, len);
        let bytes = file.read(range.start, len as usize).await?;
        if bytes.len() < len as usize {
            return Err(Error::Damaged { segment: position.segment, offset: position.offset });
        }
        Ok(bytes)
    }

    /// The numbers of the segments on disk that hold frames, oldest first, the one being written last.
    pub fn segments(&self) -> Vec<u32> {
        self.0.shared.with(|state| state.numbers())
    }

    /// Deletes a whole segment: never the one being written, and none from the one on that the index's position names.
    pub async fn remove(&self, segment: u32) -> Result<(), Error> {
        let shared = &self.0.shared;
        shared.with(|state| {
            state.check()?;
            state.forget(segment);
            Ok::<_, Error>(())
        })?;
        shared.directory.remove(&segment_name(segment)).await?;
        Ok(shared.directory.sync().await?)
    }

    /// Overwrites `extents` with zeros, gives their whole blocks back to the file system and flushes, once per segment.
    /// The frames' headers stay, but their CRC covers the payload: erase only frames before the position that the
    /// index covers.
    pub async fn erase(&self, extents: Vec<Extent>) -> Result<(), Error> {
        let shared = &self.0.shared;
        shared.with(|state| state.check())?;
        let mut segments: BTreeMap<u32, Vec<Range<u64>>> = BTreeMap::new();
        for Extent { position, skip, len } in extents {
            segments.entry(position.segment).or_default().push(payload_range(position, skip, len));
        }
        for (segment, ranges) in segments {
            shared.file(segment).await?.erase(ranges).await?;
        }
        Ok(())
    }

    /// Makes zeros of everything in a segment but `extents` and the header of its first frame, gives whole blocks back to
    /// the file system and flushes: only for a segment that lies wholly before the position that the index covers.
    pub async fn keep_only(&self, segment: u32, extents: Vec<Extent>) -> Result<(), Error> {
        let shared = &self.0.shared;
        shared.with(|state| state.check())?;
        let file = shared.file(segment).await?;
        let range = |Extent { position, skip, len }: Extent| payload_range(position, skip, len);
        let mut kept: Vec<Range<u64>> = extents.into_iter().map(range).collect();
        kept.sort_unstable_by_key(|range| range.start);
        let mut needless = Vec::with_capacity(kept.len() + 1);
        let mut kept_until = u64::from(frame::HEADER_BYTES);
        for kept in kept {
            needless.push(kept_until..kept.start.max(kept_until));
            kept_until = kept.end.max(kept_until);
        }
        needless.push(kept_until..file.bytes().await?.max(kept_until));
        Ok(file.erase(needless).await?)
    }

    /// What it has done and how it is.
    pub fn statistics(&self) -> Statistics {
        self.0.shared.with(|state| state.statistics())
    }
}

/// Where `len` bytes from byte `skip` of a frame's payload lie in its segment.
fn payload_range(position: Position, skip: u32, len: u32) -> Range<u64> {
    let start = u64::from(position.offset) + u64::from(frame::HEADER_BYTES) + u64::from(skip);
    start..start + u64::from(len)
}

/// The name of a segment's file.
fn segment_name(segment: u32) -> String {
    format!("{segment:08x}.log")
}

/// The segment that a file's name stands for.
fn segment_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 8)?;
    u32::from_str_radix(digits, 16).ok().filter(|segment| segment_name(*segment) == name)
}
