//! What the journal knows in memory: where the next frame goes, what waits for a flush, and who waits for what.
//!
//! Nothing here waits or makes a system call: appending is one synchronous step. Wakers are collected instead of being
//! called, so that no task is woken while the state is borrowed.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::mem;
use std::task::{Poll, Waker};

use super::frame::{self, ALIGNMENT};
use super::{Class, Error, Full, Options, Position, Statistics};
use crate::buffer::{BLOCK_BYTES, Buffer};
use crate::file::File;

/// Old segments whose files stay open for reading.
const FILES_OPEN_MAX: usize = 16;

/// Buffers kept for the next batches: one is filled while the other is flushed.
const BUFFERS_KEPT_MAX: usize = 2;

/// A buffer that grew beyond this for one large batch is not kept.
const BUFFER_KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// So many frames in one batch are a crowd.
const CROWD_FRAMES_MIN: usize = 16;

pub(super) struct State {
    options: Options,
    current: Segment,
    /// Every segment that holds frames, the current one included.
    numbers: BTreeSet<u32>,
    /// Open files of older segments, the most recently opened last.
    files: VecDeque<(u32, File)>,
    next: Next,
    /// Frames that wait for the flush that is running to end.
    open: Batch,
    /// The batch that is being flushed; its frames are with the writer.
    in_flight: Batch,
    /// Batches that were flushed; also the number of the last of them.
    flushed: u64,
    /// Where the last flushed batch ended: every frame before is durable.
    durable: Position,
    failure: Option<(io::ErrorKind, String)>,
    writer: Option<Waker>,
    /// Frames that somebody has announced.
    expected: usize,
    /// The writer, while it waits for them.
    gatherer: Option<Waker>,
    preparer: Option<Waker>,
    /// Tasks that wait for room.
    waiting_for_room: Vec<Waker>,
    /// Tasks to wake as soon as the state is no longer borrowed.
    to_wake: Vec<Waker>,
    buffers: Vec<Buffer>,
    frames: u64,
    bytes: u64,
    flushes: u64,
}

/// The segment that frames are appended to.
pub(super) struct Segment {
    pub number: u32,
    pub file: File,
    pub salt: u32,
    /// Bytes that the file holds.
    pub bytes: u32,
    /// Where its last frame ends.
    pub tail: u32,
}

/// The segment after the current one.
#[derive(Default)]
struct Next {
    spare: Option<Spare>,
    /// Bytes that an oversized frame asked for.
    oversized_bytes: Option<u32>,
    /// Oversized segments for which the disk had no room.
    refusals: u64,
    /// Whether the disk had no room for an ordinary spare when last tried.
    full: bool,
}

/// A segment that is ready: zero-filled and flushed.
pub(super) struct Spare {
    pub file: File,
    pub salt: u32,
    pub bytes: u32,
}

#[derive(Default)]
struct Batch {
    number: u64,
    runs: Vec<Run>,
    frames: usize,
    bytes: usize,
    waiters: Vec<Waker>,
}

/// The part of a batch that lies in one segment: one write and one flush.
pub(super) struct Run {
    pub file: File,
    pub segment: u32,
    /// Where the frames before it end.
    pub earlier_end: u32,
    /// Where it is written to: at the beginning of a block.
    pub offset: u32,
    /// Whole blocks once it is with the writer.
    pub bytes: Buffer,
    /// Where its last frame ends.
    pub end: u32,
}

enum Place {
    Current,
    Spare,
}

/// What the preparing task is to do next.
pub(super) struct Order {
    pub number: u32,
    pub bytes: u32,
    /// A spare that is too small for the oversized frame: to be removed first.
    pub replaced: Option<Spare>,
}

impl State {
    pub(super) fn new(options: Options, current: Segment, numbers: BTreeSet<u32>) -> State {
        let durable = Position { segment: current.number, offset: current.tail };
        State {
            options,
            current,
            numbers,
            files: VecDeque::new(),
            next: Next::default(),
            open: Batch { number: 1, ..Batch::default() },
            in_flight: Batch::default(),
            flushed: 0,
            durable,
            failure: None,
            writer: None,
            expected: 0,
            gatherer: None,
            preparer: None,
            waiting_for_room: Vec::new(),
            to_wake: Vec::new(),
            buffers: Vec::new(),
            frames: 0,
            bytes: 0,
            flushes: 0,
        }
    }

    /// Takes a frame into the open batch. Gives its place and the batch's number.
    pub(super) fn append(&mut self, parts: &[&[u8]], class: Class) -> Result<(Position, u64), Full> {
        let payload_bytes = parts.iter().map(|part| part.len()).sum();
        let bytes = frame::frame_bytes(payload_bytes).ok_or(Full)?;
        match self.place(bytes, class) {
            None => return Err(Full),
            Some(Place::Current) => {}
            Some(Place::Spare) => self.rotate(),
        }
        let position = Position { segment: self.current.number, offset: self.next_offset() };
        if !self.has_run() {
            let (file, earlier_end) = (self.current.file.clone(), self.current.tail);
            let Position { segment, offset } = position;
            let buffer = self.buffers.pop().unwrap_or_default();
            self.open.runs.push(Run { file, segment, earlier_end, offset, bytes: buffer, end: offset });
        }
        let run = self.open.runs.last_mut().expect("the batch has a run in the current segment");
        frame::encode(&mut run.bytes, self.current.salt, position.segment, run.earlier_end, parts);
        run.end += bytes;
        self.current.tail = run.end;
        self.open.frames += 1;
        self.open.bytes += bytes as usize;
        self.frames += 1;
        self.bytes += u64::from(bytes);
        self.to_wake.extend(self.writer.take());
        Ok((position, self.open.number))
    }

    /// Whether the open batch has a run in the current segment.
    fn has_run(&self) -> bool {
        self.open.runs.last().is_some_and(|run| run.segment == self.current.number)
    }

    /// Where in the current segment the next frame begins.
    fn next_offset(&self) -> u32 {
        if self.has_run() { self.current.tail } else { frame::batch_begin(self.current.tail) }
    }

    /// Where a frame would go, if anywhere: ordinary frames leave the reserve of a segment that has no successor.
    fn place(&self, bytes: u32, class: Class) -> Option<Place> {
        if self.failure.is_some() {
            return None;
        }
        let reserve = match class {
            Class::Ordinary => self.options.reserve_bytes,
            Class::Urgent => 0,
        };
        let kept = if self.next.spare.is_some() { 0 } else { reserve };
        if self.next_offset() + bytes + kept <= self.current.bytes {
            return Some(Place::Current);
        }
        self.next.spare.as_ref().filter(|spare| bytes + reserve <= spare.bytes).map(|_| Place::Spare)
    }

    /// Makes the spare the current segment. Only after [`State::place`] has found one.
    fn rotate(&mut self) {
        let spare = self.next.spare.take().expect("a spare was found");
        let number = self.current.number + 1;
        let Spare { file, salt, bytes } = spare;
        let old = mem::replace(&mut self.current, Segment { number, file, salt, bytes, tail: 0 });
        self.keep_open(old.number, old.file);
        self.numbers.insert(number);
        self.to_wake.extend(self.preparer.take());
    }

    pub(super) fn tail(&self) -> Position {
        Position { segment: self.current.number, offset: self.current.tail }
    }

    pub(super) fn has_room_for(&self, payload_bytes: usize) -> bool {
        self.failure.is_none()
            && frame::frame_bytes(payload_bytes)
                .is_some_and(|bytes| !self.next.full || self.place(bytes, Class::Ordinary).is_some())
    }

    /// Oversized segments that were refused so far; [`State::poll_room`] compares with it.
    pub(super) fn refusals(&self) -> u64 {
        self.next.refusals
    }

    /// Whether a frame would be taken now; a segment of its own is ordered for one that is oversized.
    pub(super) fn poll_room(&mut self, payload_bytes: usize, class: Class, refusals: u64) -> Poll<Result<(), Full>> {
        let Some(bytes) = frame::frame_bytes(payload_bytes) else { return Poll::Ready(Err(Full)) };
        if self.failure.is_some() {
            return Poll::Ready(Err(Full));
        }
        if self.pending_bytes() >= self.options.pending_bytes_max {
            return Poll::Pending;
        }
        if self.place(bytes, class).is_some() {
            return Poll::Ready(Ok(()));
        }
        if self.next.full || self.next.refusals != refusals {
            return Poll::Ready(Err(Full));
        }
        let needed = (bytes + self.options.reserve_bytes).next_multiple_of(BLOCK_BYTES as u32);
        if self.is_oversized(needed) && self.next.oversized_bytes.is_none_or(|ordered| ordered < needed) {
            self.next.oversized_bytes = Some(needed);
            self.to_wake.extend(self.preparer.take());
        }
        Poll::Pending
    }

    pub(super) fn wait_for_room(&mut self, waker: Waker) {
        self.waiting_for_room.push(waker);
    }

    fn pending_bytes(&self) -> usize {
        self.open.bytes + self.in_flight.bytes
    }

    /// The runs of the next batch for the writer; `Pending` keeps its waker until something is appended.
    pub(super) fn poll_batch(&mut self, waker: &Waker) -> Poll<Vec<Run>> {
        if self.open.runs.is_empty() {
            self.writer = Some(waker.clone());
            return Poll::Pending;
        }
        let following = Batch { number: self.open.number + 1, ..Batch::default() };
        self.in_flight = mem::replace(&mut self.open, following);
        self.in_flight.runs.iter_mut().for_each(|run| run.bytes.pad(BLOCK_BYTES));
        Poll::Ready(mem::take(&mut self.in_flight.runs))
    }

    /// A run of the batch in flight is durable.
    pub(super) fn run_is_flushed(&mut self, run: Run) {
        self.flushes += 1;
        self.durable = Position { segment: run.segment, offset: run.end };
        let mut buffer = run.bytes;
        if self.buffers.len() < BUFFERS_KEPT_MAX && buffer.capacity() <= BUFFER_KEPT_BYTES_MAX {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }

    /// The whole batch in flight is durable. Whether it was a crowd's.
    pub(super) fn batch_is_flushed(&mut self) -> bool {
        let mut batch = mem::take(&mut self.in_flight);
        self.flushed = batch.number;
        self.to_wake.append(&mut batch.waiters);
        self.to_wake.append(&mut self.waiting_for_room);
        batch.frames >= CROWD_FRAMES_MIN
    }

    pub(super) fn expect(&mut self) {
        self.expected += 1;
    }

    /// One that was expected has come, or will not. Whoever appends it does so before another task runs.
    pub(super) fn expected_is_here(&mut self) {
        self.expected -= 1;
        if self.expected == 0 {
            self.to_wake.extend(self.gatherer.take());
        }
    }

    /// Ready while nothing is expected.
    pub(super) fn poll_all_here(&mut self, waker: &Waker) -> Poll<()> {
        if self.expected == 0 {
            return Poll::Ready(());
        }
        self.gatherer = Some(waker.clone());
        Poll::Pending
    }

    /// A flush has failed: nothing more becomes durable.
    pub(super) fn fail(&mut self, error: &io::Error) {
        self.failure = Some((error.kind(), error.to_string()));
        self.to_wake.append(&mut self.in_flight.waiters);
        self.to_wake.append(&mut self.open.waiters);
        self.to_wake.append(&mut self.waiting_for_room);
    }

    /// The tasks to wake now.
    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        mem::take(&mut self.to_wake)
    }

    /// What a failed journal answers.
    pub(super) fn check(&self) -> Result<(), Error> {
        match &self.failure {
            None => Ok(()),
            Some((kind, message)) => Err(Error::Io(io::Error::new(*kind, message.clone()))),
        }
    }

    /// The batch that must be flushed before every frame before `position` is durable; 0 if they are.
    pub(super) fn batch_before(&self, position: Position) -> u64 {
        if position <= self.durable {
            return 0;
        }
        match self.open.runs.first() {
            Some(run) if position > (Position { segment: run.segment, offset: run.offset }) => self.open.number,
            _ => self.in_flight.number,
        }
    }

    /// The batch that must be flushed before the frame at `position` is durable; 0 if it is.
    pub(super) fn batch_of(&self, position: Position) -> u64 {
        self.batch_before(Position { offset: position.offset.saturating_add(ALIGNMENT), ..position })
    }

    /// What became of `batch`; `None` while it waits.
    pub(super) fn outcome(&self, batch: u64) -> Option<Result<(), Error>> {
        if self.flushed >= batch { Some(Ok(())) } else { self.check().err().map(Err) }
    }

    /// Adds to the batch's wake list.
    pub(super) fn wait_for_flush(&mut self, batch: u64, waker: Waker) {
        let batch = if batch == self.in_flight.number { &mut self.in_flight } else { &mut self.open };
        batch.waiters.push(waker);
    }

    /// What to prepare next; `Pending` keeps the preparing task's waker until a spare is missing or too small.
    pub(super) fn poll_order(&mut self, waker: &Waker) -> Poll<Order> {
        let bytes = self.next.oversized_bytes.unwrap_or(self.options.segment_bytes);
        if self.next.spare.as_ref().is_some_and(|spare| spare.bytes >= bytes) {
            self.next.oversized_bytes = None;
            self.preparer = Some(waker.clone());
            return Poll::Pending;
        }
        Poll::Ready(Order { number: self.current.number + 1, bytes, replaced: self.next.spare.take() })
    }

    /// A spare is ready.
    pub(super) fn spare_is_ready(&mut self, spare: Spare) {
        self.next.full = false;
        self.next.spare = Some(spare);
        self.to_wake.append(&mut self.waiting_for_room);
    }

    /// The disk had no room for a spare of `bytes`.
    pub(super) fn spare_is_refused(&mut self, bytes: u32) {
        if self.is_oversized(bytes) {
            self.next.oversized_bytes = None;
            self.next.refusals += 1;
        } else {
            self.next.full = true;
        }
        self.to_wake.append(&mut self.waiting_for_room);
    }

    /// Whether a segment of `bytes` is one for an oversized frame.
    pub(super) fn is_oversized(&self, bytes: u32) -> bool {
        bytes > self.options.segment_bytes
    }

    /// The open file of a segment, if it is open.
    pub(super) fn file(&self, number: u32) -> Option<File> {
        if number == self.current.number {
            return Some(self.current.file.clone());
        }
        self.files.iter().find(|(open, _)| *open == number).map(|(_, file)| file.clone())
    }

    /// Keeps the file of an older segment open, and closes the one that was opened longest ago if there are too many.
    pub(super) fn keep_open(&mut self, number: u32, file: File) {
        if self.files.len() == FILES_OPEN_MAX {
            self.files.pop_front();
        }
        self.files.push_back((number, file));
    }

    /// Gives the current segment another file, for a test of what happens when it fails.
    #[cfg(test)]
    pub(super) fn replace_file(&mut self, file: File) {
        self.current.file = file;
    }

    pub(super) fn numbers(&self) -> Vec<u32> {
        self.numbers.iter().copied().collect()
    }

    /// Forgets an older segment, before its file is removed.
    pub(super) fn forget(&mut self, number: u32) {
        assert!(number != self.current.number, "the segment that is being written must stay");
        self.files.retain(|(open, _)| *open != number);
        self.numbers.remove(&number);
    }

    pub(super) fn statistics(&self) -> Statistics {
        Statistics {
            frames: self.frames,
            bytes: self.bytes,
            flushes: self.flushes,
            pending_bytes: self.pending_bytes(),
            full: self.next.full,
            failed: self.failure.is_some(),
        }
    }
}
