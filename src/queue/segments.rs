//! What of each segment of the journal is in use: how many contents it holds, and which are to be erased. Pure.
//!
//! A segment without contents, all of whose frames the index covers, is deleted whole. Until then a content that is no
//! longer needed is erased where it lies, once the index no longer names it.

use std::collections::BTreeMap;

use shards::journal::{Extent, Position};

use crate::spool::encode::{Corrupt, Reader, put_number};

/// A content waits this long before it is erased: by then, under load, its whole segment can be deleted instead.
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

#[derive(Debug, Default, PartialEq, Eq)]
struct Segment {
    live: u64,
    erasures: Vec<Erasure>,
    /// Changed since the last checkpoint began.
    dirty: bool,
    /// A running checkpoint commits that it is gone.
    leaving: bool,
}

/// All segments that hold contents, or did.
#[derive(Debug, Default)]
pub struct Segments(BTreeMap<u32, Segment>);

impl Segments {
    /// A content was written.
    pub fn add(&mut self, extent: &Extent) {
        let segment = self.0.entry(extent.position.segment).or_default();
        segment.live += 1;
        segment.dirty = true;
    }

    /// A content is no longer needed.
    pub fn release(&mut self, extent: &Extent, now_s: u32) {
        let segment = self.0.entry(extent.position.segment).or_default();
        segment.live = segment.live.saturating_sub(1);
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
        let live = |number: &u32| self.0.get(number).map_or(0, |segment| segment.live);
        on_disk.iter().copied().filter(|number| *number < tail.segment && live(number) == 0).collect()
    }

    /// Begins a checkpoint that covers every frame before `tail`: the rows that it writes, by segment. One that is no
    /// longer needed has none.
    pub fn begin_checkpoint(&mut self, tail: Position) -> Vec<(u32, Option<Vec<u8>>)> {
        let mut rows = Vec::new();
        for (number, segment) in &mut self.0 {
            if segment.live == 0 && *number < tail.segment {
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
            for erasure in &mut segment.erasures {
                if erasure.stage == Stage::Committing {
                    erasure.stage = Stage::Released;
                }
            }
        }
    }

    /// At most `extents_max` extents to erase now; call [`Segments::erased`] when that is done.
    pub fn to_erase(&self, now_s: u32, extents_max: usize) -> Vec<Extent> {
        let extents = self.0.iter().flat_map(|(number, segment)| {
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

    /// Takes a row of the last checkpoint. Its erasures are due at once: perhaps they were done, perhaps not.
    pub fn load(&mut self, number: u32, row: &[u8]) -> Result<(), Corrupt> {
        let mut reader = Reader::new(row);
        let live = reader.number()?;
        let count = reader.count()?;
        let mut erasures = Vec::with_capacity(count);
        for _ in 0..count {
            let (offset, skip, len) = (reader.number_u32()?, reader.number_u32()?, reader.number_u32()?);
            erasures.push(Erasure { offset, skip, len, since_s: 0, stage: Stage::Committed });
        }
        reader.end()?;
        self.0.insert(number, Segment { live, erasures, dirty: false, leaving: false });
        Ok(())
    }

    /// Forgets segments that are not on disk: they were deleted after the last checkpoint. `Err` names one whose
    /// contents are still needed.
    pub fn retain_on_disk(&mut self, on_disk: &[u32]) -> Result<(), u32> {
        let missing = |number: &u32| on_disk.binary_search(number).is_err();
        if let Some((number, _)) = self.0.iter().find(|(number, segment)| segment.live > 0 && missing(number)) {
            return Err(*number);
        }
        self.0.retain(|number, _| !missing(number));
        Ok(())
    }
}

impl Segment {
    fn encode(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(16 + 10 * self.erasures.len());
        put_number(&mut row, self.live);
        put_number(&mut row, self.erasures.len() as u64);
        for erasure in &self.erasures {
            for number in [erasure.offset, erasure.skip, erasure.len] {
                put_number(&mut row, u64::from(number));
            }
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
        segments.add(&extent(1, 0));
        segments.add(&extent(1, 200));
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
        segments.add(&extent(1, 0));
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
        segments.add(&extent(1, 0));
        segments.add(&extent(1, 200));
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
            segments.add(&extent(7, offset));
        }
        segments.release(&extent(7, 200), 100);
        segments.release(&extent(7, 0), 100);
        let rows = segments.begin_checkpoint(tail(7));
        let mut loaded = Segments::default();
        for (number, row) in rows {
            loaded.load(number, &row.expect("it is in use")).expect("it was just written");
        }
        assert_eq!(loaded.to_erase(ERASE_AFTER_S, 9), [extent(7, 200), extent(7, 0)]);
        loaded.erased(&[extent(7, 200)]);
        assert_eq!(loaded.to_erase(ERASE_AFTER_S, 9), [extent(7, 0)]);
        assert_eq!(loaded.retain_on_disk(&[6, 8]), Err(7), "one content is still needed");
        assert_eq!(loaded.retain_on_disk(&[7]), Ok(()));
    }

    #[test]
    fn damaged_rows_are_errors() {
        for row in [&[][..], &[1], &[1, 9], &[1, 1, 1, 1], &[0x80; 20]] {
            assert!(Segments::default().load(1, row).is_err());
        }
    }
}
