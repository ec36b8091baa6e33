//! What of each segment of the journal is in use: how many contents it holds, and which are to be erased. Pure.
//!
//! A segment without contents, all of whose frames the index covers, is deleted whole. Until then a content that is no
//! longer needed is erased where it lies, once the index no longer names it. What surrounds it (heads of frames, other
//! records, the rest of a block that a neighbour's content shared) goes when the segment is *trimmed*: whenever its live
//! contents have come to need at most half of what it occupies, all but them is given back to the file system.

use std::collections::BTreeMap;

use shards::buffer::BLOCK_BYTES;
use shards::journal::{Extent, Position};

use super::MessageId;
use super::open::JOURNAL;
use crate::spool::encode::{Corrupt, Reader, put_number};

/// A content waits this long before it is erased, and a segment before it is trimmed: by then, under load, the whole
/// segment can be deleted instead.
pub const ERASE_AFTER_S: u32 = 2;

/// How far the erasing of a content has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The index may still name it.
    Released,
    /// A running checkpoint commits that nothing names it.
    Committing,
    /// Nothing names it, whatever happens.
    Committed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Erasure {
    offset: u32,
    skip: u32,
    len: u32,
    since_s: u32,
    stage: Stage,
}

/// Contents that are needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Live {
    contents: u64,
    /// The blocks that they touch, at most.
    bytes: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Segment {
    live: Live,
    /// What a committed index names; nothing before it covers every frame of the segment.
    covered: Live,
    /// The bytes of disk that it occupies, at most, beside contents that were released since it was trimmed.
    held_bytes: u64,
    /// Every message whose content it holds is in this range. Rows of the first format did not say.
    messages: (MessageId, MessageId),
    /// Since when trimming it would give back half of it.
    sparse_since_s: Option<u32>,
    erasures: Vec<Erasure>,
    /// Changed since the last checkpoint began.
    dirty: bool,
    /// A running checkpoint commits that it is gone.
    leaving: bool,
}

/// A segment that is to be trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// Its number.
    pub segment: u32,
    /// The first and the last message whose content it may hold.
    pub messages: (MessageId, MessageId),
    /// How many contents of it the committed index names.
    pub contents: u64,
}

/// All segments that hold contents, or did.
#[derive(Debug, Default)]
pub struct Segments(BTreeMap<u32, Segment>);

impl Segments {
    /// The content of `message` was written.
    pub fn add(&mut self, extent: &Extent, message: MessageId) {
        let segment = self.0.entry(extent.position.segment).or_default();
        segment.live.contents += 1;
        segment.live.bytes += touched_bytes(extent);
        segment.messages = (segment.messages.0.min(message), segment.messages.1.max(message));
        segment.dirty = true;
    }

    /// A content is no longer needed.
    pub fn release(&mut self, extent: &Extent, now_s: u32) {
        let segment = self.0.entry(extent.position.segment).or_default();
        segment.live.contents = segment.live.contents.saturating_sub(1);
        segment.live.bytes = segment.live.bytes.saturating_sub(touched_bytes(extent));
        segment.dirty = true;
        let Extent { position: Position { offset, .. }, skip, len } = *extent;
        segment.erasures.push(Erasure { offset, skip, len, since_s: now_s, stage: Stage::Released });
    }

    /// Whether something changed since the last checkpoint began.
    pub fn is_dirty(&self) -> bool {
        self.0.values().any(|segment| segment.dirty)
    }

    /// The segments of `on_disk` that can be deleted once a checkpoint covers every frame before `tail`.
    pub fn dead(&self, on_disk: &[u32], tail: Position) -> Vec<u32> {
        let live = |number: &u32| self.0.get(number).map_or(0, |segment| segment.live.contents);
        on_disk.iter().copied().filter(|number| *number < tail.segment && live(number) == 0).collect()
    }

    /// Begins a checkpoint that covers every frame before `tail`: the rows that it writes, by segment. One that is no
    /// longer needed has none.
    pub fn begin_checkpoint(&mut self, tail: Position) -> Vec<(u32, Option<Vec<u8>>)> {
        let mut rows = Vec::new();
        for (number, segment) in &mut self.0 {
            segment.cover(*number, tail);
            if segment.live.contents == 0 && *number < tail.segment {
                segment.leaving = true;
                rows.push((*number, None));
                continue;
            }
            if std::mem::take(&mut segment.dirty) {
                rows.push((*number, Some(segment.encode())));
            }
            for erasure in &mut segment.erasures {
                if erasure.stage == Stage::Released {
                    erasure.stage = Stage::Committing;
                }
            }
        }
        rows
    }

    /// The checkpoint is committed.
    pub fn end_checkpoint(&mut self) {
        self.0.retain(|_, segment| !segment.leaving);
        for erasure in self.0.values_mut().flat_map(|segment| &mut segment.erasures) {
            if erasure.stage == Stage::Committing {
                erasure.stage = Stage::Committed;
            }
        }
    }

    /// The checkpoint failed.
    pub fn abandon_checkpoint(&mut self) {
        for segment in self.0.values_mut() {
            segment.dirty = true;
            segment.leaving = false;
            segment.covered = Live::default();
            for erasure in &mut segment.erasures {
                if erasure.stage == Stage::Committing {
                    erasure.stage = Stage::Released;
                }
            }
        }
    }

    /// At most `extents_max` extents to erase now; call [`Segments::erased`] when that is done. None of a segment that is to
    /// be trimmed: this is far less work than many small erasures, and does them all.
    pub fn to_erase(&self, now_s: u32, extents_max: usize) -> Vec<Extent> {
        let whole = self.0.iter().filter(|(_, segment)| segment.sparse_since_s.is_none());
        let extents = whole.flat_map(|(number, segment)| {
            let ripe = move |erasure: &&Erasure| {
                erasure.stage == Stage::Committed && erasure.since_s.saturating_add(ERASE_AFTER_S) <= now_s
            };
            segment.erasures.iter().filter(ripe).map(|erasure| erasure.extent(*number))
        });
        extents.take(extents_max).collect()
    }

    /// These extents are erased.
    pub fn erased(&mut self, extents: &[Extent]) {
        for batch in extents.chunk_by(|a, b| a.position.segment == b.position.segment) {
            let number = batch[0].position.segment;
            if let Some(segment) = self.0.get_mut(&number) {
                // They were taken in this order, so one walk over both finds them all.
                let mut gone = batch.iter().peekable();
                segment.erasures.retain(|erasure| gone.next_if(|extent| **extent == erasure.extent(number)).is_none());
                segment.dirty = true;
            }
        }
    }

    /// At most `segments_max` segments to trim now, when no checkpoint runs. Say then what came of it, before the next
    /// checkpoint: [`Segments::trimmed`] or [`Segments::not_trimmed`].
    pub fn due_for_trim(&mut self, now_s: u32, segments_max: usize) -> Vec<Trim> {
        let due = self.0.iter_mut().filter_map(|(number, segment)| {
            // Rows of the first format do not count blocks.
            let Live { contents, bytes } = segment.covered;
            if contents == 0 || bytes == 0 || bytes * 2 > segment.held_bytes {
                return None;
            }
            let since_s = *segment.sparse_since_s.get_or_insert(now_s);
            let Segment { messages, covered: Live { contents, .. }, .. } = *segment;
            (since_s.saturating_add(ERASE_AFTER_S) <= now_s).then_some(Trim { segment: *number, messages, contents })
        });
        due.take(segments_max).collect()
    }

    /// Of this segment nothing but the contents that the committed index names is left.
    pub fn trimmed(&mut self, number: u32) {
        self.not_trimmed(number);
        if let Some(segment) = self.0.get_mut(&number) {
            segment.erasures.retain(|erasure| erasure.stage != Stage::Committed);
            segment.dirty = true;
        }
    }

    /// This segment cannot be trimmed; it is looked at again when half of its contents are gone, or after a restart.
    pub fn not_trimmed(&mut self, number: u32) {
        if let Some(segment) = self.0.get_mut(&number) {
            segment.held_bytes = segment.covered.bytes;
            segment.sparse_since_s = None;
        }
    }

    /// Takes a row of the last checkpoint, which covers every frame before `tail`. Its erasures are due at once: perhaps they
    /// were done, perhaps not.
    pub fn load(&mut self, number: u32, row: &[u8], tail: Position) -> Result<(), Corrupt> {
        let mut reader = Reader::new(row);
        let contents = reader.number()?;
        let count = reader.count()?;
        let mut erasures = Vec::with_capacity(count);
        for _ in 0..count {
            let (offset, skip, len) = (reader.number_u32()?, reader.number_u32()?, reader.number_u32()?);
            erasures.push(Erasure { offset, skip, len, since_s: 0, stage: Stage::Committed });
        }
        let mut segment = Segment { live: Live { contents, bytes: 0 }, erasures, ..Segment::default() };
        if reader.remaining() > 0 {
            segment.live.bytes = reader.number()?;
            segment.held_bytes = reader.number()?;
            segment.messages = (MessageId(reader.number()?), MessageId(reader.number()?));
        }
        reader.end()?;
        segment.cover(number, tail);
        self.0.insert(number, segment);
        Ok(())
    }

    /// Forgets segments that are not on disk: they were deleted after the last checkpoint. `Err` names one whose
    /// contents are still needed.
    pub fn retain_on_disk(&mut self, on_disk: &[u32]) -> Result<(), u32> {
        let missing = |number: &u32| on_disk.binary_search(number).is_err();
        if let Some((number, _)) = self.0.iter().find(|(number, segment)| segment.live.contents > 0 && missing(number))
        {
            return Err(*number);
        }
        self.0.retain(|number, _| !missing(number));
        Ok(())
    }
}

/// The bytes of the blocks that a content touches, at most.
fn touched_bytes(extent: &Extent) -> u64 {
    (u64::from(extent.len).div_ceil(BLOCK_BYTES as u64) + 1) * BLOCK_BYTES as u64
}

impl Default for Segment {
    fn default() -> Self {
        Self {
            live: Live::default(),
            covered: Live::default(),
            held_bytes: u64::from(JOURNAL.segment_bytes),
            messages: (MessageId(u64::MAX), MessageId(0)),
            sparse_since_s: None,
            erasures: Vec::new(),
            dirty: false,
            leaving: false,
        }
    }
}

impl Segment {
    /// The index covers every frame before `tail`.
    fn cover(&mut self, number: u32, tail: Position) {
        self.covered = if number < tail.segment { self.live } else { Live::default() };
    }

    fn encode(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(48 + 10 * self.erasures.len());
        put_number(&mut row, self.live.contents);
        put_number(&mut row, self.erasures.len() as u64);
        for erasure in &self.erasures {
            for number in [erasure.offset, erasure.skip, erasure.len] {
                put_number(&mut row, u64::from(number));
            }
        }
        for number in [self.live.bytes, self.held_bytes, self.messages.0.0, self.messages.1.0] {
            put_number(&mut row, number);
        }
        row
    }
}

impl Erasure {
    fn extent(&self, segment: u32) -> Extent {
        Extent { position: Position { segment, offset: self.offset }, skip: self.skip, len: self.len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(segment: u32, offset: u32) -> Extent {
        Extent { position: Position { segment, offset }, skip: 10, len: 100 }
    }

    fn tail(segment: u32) -> Position {
        Position { segment, offset: 5000 }
    }

    #[test]
    fn a_segment_whose_contents_are_all_released_is_deleted_once_it_is_covered() {
        let mut segments = Segments::default();
        segments.add(&extent(1, 0), MessageId(9));
        segments.add(&extent(1, 200), MessageId(9));
        segments.release(&extent(1, 0), 100);
        assert!(segments.dead(&[1, 2], tail(2)).is_empty());
        segments.release(&extent(1, 200), 100);
        assert!(segments.dead(&[1, 2], tail(1)).is_empty(), "the tail is still in it");
        assert_eq!(segments.dead(&[1, 2], tail(2)), [1]);
        assert_eq!(segments.begin_checkpoint(tail(2)), [(1, None)]);
        segments.abandon_checkpoint();
        assert_eq!(segments.begin_checkpoint(tail(2)), [(1, None)], "the first one failed");
        segments.end_checkpoint();
        assert!(segments.0.is_empty());
    }

    #[test]
    fn a_segment_that_dies_while_a_checkpoint_runs_leaves_with_the_next() {
        let mut segments = Segments::default();
        segments.add(&extent(1, 0), MessageId(9));
        assert_eq!(segments.begin_checkpoint(tail(2)).len(), 1);
        segments.release(&extent(1, 0), 100);
        segments.end_checkpoint();
        assert_eq!(segments.begin_checkpoint(tail(2)), [(1, None)]);
    }

    #[test]
    fn a_segment_with_settlements_alone_is_deleted_once_it_is_covered() {
        assert_eq!(Segments::default().dead(&[1, 2, 3], tail(3)), [1, 2]);
    }

    #[test]
    fn content_is_erased_only_after_a_committed_checkpoint_and_a_while() {
        let mut segments = Segments::default();
        segments.add(&extent(1, 0), MessageId(9));
        segments.add(&extent(1, 200), MessageId(9));
        segments.release(&extent(1, 0), 100);
        assert_eq!(segments.to_erase(200, 9), []);
        segments.begin_checkpoint(tail(1));
        assert_eq!(segments.to_erase(200, 9), []);
        segments.abandon_checkpoint();
        assert!(segments.is_dirty());
        segments.begin_checkpoint(tail(1));
        segments.end_checkpoint();
        assert_eq!(segments.to_erase(101, 9), []);
        assert_eq!(segments.to_erase(102, 9), [extent(1, 0)]);
        segments.erased(&[extent(1, 0)]);
        assert!(segments.to_erase(u32::MAX, 9).is_empty());
    }

    #[test]
    fn what_was_to_be_erased_is_erased_after_a_restart() {
        let mut segments = Segments::default();
        for offset in [0, 200, 400] {
            segments.add(&extent(7, offset), MessageId(9));
        }
        segments.release(&extent(7, 200), 100);
        segments.release(&extent(7, 0), 100);
        let rows = segments.begin_checkpoint(tail(7));
        let mut loaded = Segments::default();
        for (number, row) in rows {
            loaded.load(number, &row.expect("it is in use"), tail(7)).expect("it was just written");
        }
        assert_eq!(loaded.to_erase(ERASE_AFTER_S, 9), [extent(7, 200), extent(7, 0)]);
        loaded.erased(&[extent(7, 200)]);
        assert_eq!(loaded.to_erase(ERASE_AFTER_S, 9), [extent(7, 0)]);
        assert_eq!(loaded.retain_on_disk(&[6, 8]), Err(7), "one content is still needed");
        assert_eq!(loaded.retain_on_disk(&[7]), Ok(()));
    }

    /// A segment with two contents, one of them released, that a checkpoint covers.
    fn sparse() -> Segments {
        let mut segments = Segments::default();
        segments.add(&extent(1, 0), MessageId(5));
        segments.add(&extent(1, 200), MessageId(3));
        segments.release(&extent(1, 0), 100);
        segments
    }

    const TRIM: Trim = Trim { segment: 1, messages: (MessageId(3), MessageId(5)), contents: 1 };

    #[test]
    fn a_sparse_segment_is_trimmed_a_while_after_a_checkpoint_covers_all_of_it() {
        let mut segments = sparse();
        segments.begin_checkpoint(tail(1));
        segments.end_checkpoint();
        assert_eq!(segments.due_for_trim(200, 9), [], "the tail is in it");
        segments.begin_checkpoint(tail(2));
        segments.abandon_checkpoint();
        assert_eq!(segments.due_for_trim(200, 9), [], "nothing was committed");
        segments.begin_checkpoint(tail(2));
        segments.end_checkpoint();
        assert_eq!(segments.due_for_trim(200, 9), [], "perhaps it can soon be deleted");
        assert_eq!(segments.to_erase(202, 9), [], "this is done by trimming");
        assert_eq!(segments.due_for_trim(202, 9), [TRIM]);
        segments.trimmed(1);
        assert!(segments.is_dirty());
        assert_eq!((segments.due_for_trim(999, 9), segments.to_erase(999, 9)), (vec![], vec![]));
    }

    #[test]
    fn what_cannot_be_trimmed_is_erased() {
        let mut segments = sparse();
        segments.begin_checkpoint(tail(2));
        segments.end_checkpoint();
        segments.due_for_trim(200, 9);
        segments.not_trimmed(1);
        assert_eq!((segments.due_for_trim(999, 9), segments.to_erase(999, 9)), (vec![], vec![extent(1, 0)]));
    }

    #[test]
    fn trimming_leaves_to_be_erased_what_the_index_still_named() {
        let mut segments = sparse();
        segments.begin_checkpoint(tail(2));
        segments.end_checkpoint();
        segments.due_for_trim(200, 9);
        segments.release(&extent(1, 200), 201);
        assert_eq!(segments.due_for_trim(202, 9), [TRIM], "what the index names counts");
        segments.trimmed(1);
        assert_eq!(segments.to_erase(999, 9), [], "the index names it still");
        assert_eq!(segments.begin_checkpoint(tail(2)), [(1, None)]);
    }

    #[test]
    fn a_segment_is_trimmed_again_when_half_of_what_was_left_is_gone() {
        let mut segments = Segments::default();
        for offset in [0, 200, 400, 600] {
            segments.add(&extent(1, offset), MessageId(9));
        }
        for (offset, due) in [(0, true), (200, false), (400, true)] {
            segments.release(&extent(1, offset), 100);
            let rows = segments.begin_checkpoint(tail(2));
            segments.end_checkpoint();
            let mut reopened = Segments::default();
            reopened.load(1, rows[0].1.as_deref().expect("it is in use"), tail(2)).expect("it was just written");
            for segments in [&mut reopened, &mut segments] {
                segments.due_for_trim(200, 9);
                assert_eq!(segments.due_for_trim(202, 9).len(), usize::from(due), "after {offset}");
            }
            if due {
                segments.trimmed(1);
            }
        }
    }

    #[test]
    fn rows_that_do_not_say_whose_contents_they_count_are_read() {
        let mut segments = Segments::default();
        segments.load(1, &[2, 1, 8, 10, 100], tail(2)).expect("the first format");
        assert_eq!(
            segments.to_erase(ERASE_AFTER_S, 9),
            [Extent { position: Position { segment: 1, offset: 8 }, ..extent(1, 8) }]
        );
        assert_eq!(segments.retain_on_disk(&[2]), Err(1));
    }

    #[test]
    fn damaged_rows_are_errors() {
        for row in [&[][..], &[1], &[1, 9], &[1, 1, 1, 1], &[1, 0, 1], &[0x80; 20]] {
            assert!(Segments::default().load(1, row, tail(2)).is_err());
        }
    }
}
