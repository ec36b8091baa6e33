//! Opening a journal: replays what is whole, tells a torn tail from damage, and leaves a clean place to go on at.
//!
//! The current segment becomes the last one that holds frames. What follows the last whole frame in it is made zero
//! before anything is appended: a stale frame there could pass for a new one later. Segments after it are spares whose
//! state is unknown, or the second half of a torn batch: they are removed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::frame::{self, ALIGNMENT, HEADER_BYTES, Header};
use super::state::Segment;
use super::writer::{new_salt, new_segment};
use super::{Error, Options, Position, segment_name, segment_of};
use crate::Reactor;
use crate::file::{Directory, File};

/// Bytes that one step reads, or overwrites.
const STEP_BYTES: u32 = 1024 * 1024;

/// A journal as a crash or a stop has left it, ready for the next frame.
pub(super) struct Recovered {
    pub current: Segment,
    pub numbers: BTreeSet<u32>,
}

/// A segment that was read to its end.
struct Walked {
    number: u32,
    file: File,
    bytes: u32,
    /// Known where the segment begins with a frame.
    salt: Option<u32>,
    /// Where its last whole frame ends.
    tail: u32,
    /// Whether it held whole frames from where the walk began.
    has_frames: bool,
    /// Where what is torn ends; `None` if only zeros follow the tail.
    torn_end: Option<u32>,
}

pub(super) async fn recover(
    reactor: &Reactor,
    directory: &Directory,
    options: &Options,
    from: Position,
    replay: &mut dyn FnMut(Position, &[u8]),
) -> Result<Recovered, Error> {
    let lengths = lengths(directory).await?;
    let Some(first) = first_segment(&lengths, from)? else {
        return start(reactor, directory, options).await;
    };
    let mut current = walk(directory, &lengths, Position { segment: first, offset: from.offset }, replay).await?;
    let mut torn = current.torn();
    for &number in lengths.range(first + 1..).map(|(number, _)| number) {
        let walked = walk(directory, &lengths, Position { segment: number, offset: 0 }, replay).await?;
        if walked.has_frames {
            check_order(&lengths, first, number, torn)?;
        }
        torn = torn.or(walked.torn());
        if walked.has_frames {
            current = walked;
        }
    }
    clean(directory, &lengths, &current).await?;
    let Walked { number, file, bytes, salt, tail, .. } = current;
    let salt = salt.unwrap_or_else(|| new_salt(reactor));
    let numbers = lengths.into_keys().filter(|other| *other <= number).collect();
    Ok(Recovered { current: Segment { number, file, salt, bytes, tail }, numbers })
}

/// The segments that are there, with the lengths of their files.
async fn lengths(directory: &Directory) -> Result<BTreeMap<u32, u64>, Error> {
    let entries = directory.list().await?;
    Ok(entries.into_iter().filter_map(|entry| Some((segment_of(&entry.name)?, entry.bytes))).collect())
}

/// Where replay begins; `None` for a new journal.
fn first_segment(lengths: &BTreeMap<u32, u64>, from: Position) -> Result<Option<u32>, Error> {
    if from == Position::default() {
        return Ok(lengths.keys().next().copied());
    }
    match lengths.get(&from.segment) {
        Some(bytes) if u64::from(from.offset) <= *bytes => Ok(Some(from.segment)),
        _ => Err(damage(from)),
    }
}

/// Makes the first segment of a new journal.
async fn start(reactor: &Reactor, directory: &Directory, options: &Options) -> Result<Recovered, Error> {
    let bytes = options.segment_bytes;
    let file = new_segment(directory, 0, bytes).await?;
    let current = Segment { number: 0, file, salt: new_salt(reactor), bytes, tail: 0 };
    Ok(Recovered { current, numbers: BTreeSet::from([0]) })
}

/// Frames in a segment mean that everything in the segments before it had been flushed.
fn check_order(
    lengths: &BTreeMap<u32, u64>,
    first: u32,
    number: u32,
    torn_before: Option<Position>,
) -> Result<(), Error> {
    if let Some(torn) = torn_before {
        return Err(damage(torn));
    }
    match (first..number).find(|segment| !lengths.contains_key(segment)) {
        Some(missing) => Err(damage(Position { segment: missing, offset: 0 })),
        None => Ok(()),
    }
}

/// Removes what was never flushed, and flushes what was replayed.
async fn clean(directory: &Directory, lengths: &BTreeMap<u32, u64>, current: &Walked) -> Result<(), Error> {
    let mut offset = current.tail;
    let end = current.torn_end.unwrap_or(current.tail);
    loop {
        // The flush counts even when there is nothing to write: frames that were replayed may be in the page cache only.
        let bytes = STEP_BYTES.min(end - offset);
        current.file.write_synced(u64::from(offset), vec![0; bytes as usize].into()).await.1?;
        offset += bytes;
        if offset == end {
            break;
        }
    }
    for (number, _) in lengths.range(current.number + 1..) {
        directory.remove(&segment_name(*number)).await?;
    }
    Ok(directory.sync().await?)
}

impl Walked {
    fn torn(&self) -> Option<Position> {
        self.torn_end.map(|_| Position { segment: self.number, offset: self.tail })
    }
}

/// Hands the whole frames of a segment to `replay` and inspects what follows them.
async fn walk(
    directory: &Directory,
    lengths: &BTreeMap<u32, u64>,
    from: Position,
    replay: &mut dyn FnMut(Position, &[u8]),
) -> Result<Walked, Error> {
    let number = from.segment;
    let bytes = u32::try_from(lengths[&number]).map_err(|_| damage(from))?;
    let file = directory.open_file(&segment_name(number)).await?;
    let mut reader = Reader { file: file.clone(), number, bytes, salt: None, start: 0, held: Vec::new() };
    // The header of the first frame stays even when its payload is erased.
    reader.salt = reader.at(0, HEADER_BYTES).await?.and_then(Header::parse).map(|header| header.salt);
    if from.offset > 0 && reader.salt.is_none() {
        return Err(damage(Position { segment: number, offset: 0 }));
    }
    let mut tail = from.offset;
    while let Some(frame) = reader.next_frame(tail).await? {
        if let Some(payload) = reader.at(frame.offset + HEADER_BYTES, frame.payload_bytes).await? {
            replay(Position { segment: number, offset: frame.offset }, payload);
        }
        tail = frame.end;
    }
    let torn_end = reader.torn_end(tail).await?;
    let salt = reader.salt.filter(|_| tail > 0);
    Ok(Walked { number, file, bytes, salt, tail, has_frames: tail > from.offset, torn_end })
}

struct WholeFrame {
    offset: u32,
    /// Where the frames of earlier batches end.
    earlier_end: u32,
    payload_bytes: u32,
    end: u32,
}

/// Reads a segment through a window that moves forward.
struct Reader {
    file: File,
    number: u32,
    bytes: u32,
    salt: Option<u32>,
    /// Where in the file `held` begins.
    start: u32,
    held: Vec<u8>,
}

impl Reader {
    /// `bytes` bytes from `offset`; `None` beyond the end of the file.
    async fn at(&mut self, offset: u32, bytes: u32) -> io::Result<Option<&[u8]>> {
        let left = self.bytes.saturating_sub(offset);
        if bytes > left {
            return Ok(None);
        }
        let held = offset.checked_sub(self.start).and_then(|skip| (self.held.len() as u32).checked_sub(skip));
        if held.is_none_or(|held| held < bytes) {
            self.held = self.file.read(u64::from(offset), bytes.max(STEP_BYTES).min(left) as usize).await?;
            self.start = offset;
        }
        let skip = (offset - self.start) as usize;
        Ok(self.held.get(skip..skip + bytes as usize))
    }

    /// The frame after those that end at `tail`: the next of their batch, or the first of the batch after it.
    async fn next_frame(&mut self, tail: u32) -> io::Result<Option<WholeFrame>> {
        if let Some(frame) = self.whole_frame(tail).await? {
            return Ok(Some(frame));
        }
        let frame = self.whole_frame(frame::batch_begin(tail)).await?;
        Ok(frame.filter(|frame| frame.earlier_end == tail))
    }

    /// The frame at `offset`, if it is whole.
    async fn whole_frame(&mut self, offset: u32) -> io::Result<Option<WholeFrame>> {
        let Some(header) = self.at(offset, HEADER_BYTES).await?.and_then(Header::parse) else { return Ok(None) };
        let belongs = header.segment == self.number && Some(header.salt) == self.salt && header.earlier_end <= offset;
        let bytes = header.frame_bytes().filter(|bytes| belongs && *bytes <= self.bytes - offset);
        let Some(bytes) = bytes else { return Ok(None) };
        let payload = self.at(offset + HEADER_BYTES, header.payload_bytes).await?;
        let whole = payload.is_some_and(|payload| header.fits(payload));
        let Header { earlier_end, payload_bytes, .. } = header;
        Ok(whole.then_some(WholeFrame { offset, earlier_end, payload_bytes, end: offset + bytes }))
    }

    /// Where the last byte after `tail` that is not zero ends. A whole frame of a batch before which frames end after
    /// `tail` means that what stood at `tail` had been flushed.
    async fn torn_end(&mut self, tail: u32) -> Result<Option<u32>, Error> {
        let mut torn_end = None;
        let mut offset = tail;
        while offset < self.bytes {
            let bytes = STEP_BYTES.min(self.bytes - offset);
            let mut suspects = Vec::new();
            for (index, word) in
                self.at(offset, bytes).await?.unwrap_or_default().chunks(ALIGNMENT as usize).enumerate()
            {
                if word.iter().any(|byte| *byte != 0) {
                    let at = offset + index as u32 * ALIGNMENT;
                    torn_end = Some(at + word.len() as u32);
                    suspects.extend(frame::looks_like_a_frame(word).then_some(at));
                }
            }
            for suspect in suspects {
                if self.whole_frame(suspect).await?.is_some_and(|frame| frame.earlier_end > tail) {
                    return Err(damage(Position { segment: self.number, offset: tail }));
                }
            }
            offset += bytes;
        }
        Ok(torn_end)
    }
}

fn damage(at: Position) -> Error {
    Error::Damaged { segment: at.segment, offset: at.offset }
}
