//! Trimming: disk comes back from segments of which little is still needed.
//!
//! What is kept is what the committed index names, so nothing that a crash could bring back is touched. The housekeeping
//! does this between two checkpoints: meanwhile the index stays as it is. Done twice, after a crash, it changes nothing.

use std::ops::RangeInclusive;

use shards::index::{Index, Table};
use shards::journal::Extent;

use super::row::{self, Content, Row};
use super::rows::{DONE, QUEUED};
use super::segments::Trim;
use super::{Error, MessageId, Queue};
use crate::events::Event;

/// Segments trimmed in one round of the housekeeping.
const SEGMENTS_PER_ROUND: usize = 16;
/// Rows read before other work gets its turn.
const ROWS_PER_TURN: usize = 500;
/// Rows read for one segment; one with more messages in its range stays as it is until half of its contents are gone.
const ROWS_PER_SEGMENT: usize = 200_000;

impl Queue {
    /// Gives back what of sparse segments no content needs. A checkpoint must have been committed, and none may run. What
    /// cannot be done now is tried again in the next round.
    pub(super) async fn trim(&self) {
        let now_s = self.now_s();
        let due = self.core.state.borrow_mut().segments.due_for_trim(now_s, SEGMENTS_PER_ROUND);
        for trim in due {
            let extents = self.committed_contents(&trim).await;
            let Some(extents) = self.sound(extents) else { return };
            // Not all are found where the segment's row does not say whose they are, or says too many.
            if extents.len() as u64 != trim.contents {
                self.core.state.borrow_mut().segments.not_trimmed(trim.segment);
                continue;
            }
            match self.core.journal.keep_only(trim.segment, extents).await {
                Ok(()) => self.core.state.borrow_mut().segments.trimmed(trim.segment),
                Err(why) => {
                    self.core.log.emit(&Event::Trouble(&why));
                    self.core.state.borrow_mut().segments.not_trimmed(trim.segment);
                }
            }
        }
    }

    /// The contents in a segment that the committed index names, as far as [`ROWS_PER_SEGMENT`] allow.
    async fn committed_contents(&self, trim: &Trim) -> Result<Vec<Extent>, Error> {
        let index = self.core.state.borrow().rows.index().clone();
        let (first, last) = trim.messages;
        let mut extents = Vec::new();
        let mut turns = ROWS_PER_SEGMENT / ROWS_PER_TURN;
        for table in [QUEUED, DONE] {
            let mut from = Some(first);
            while let Some(first) = from
                && turns > 0
            {
                from = contents_of(&index, table, first..=last, trim.segment, &mut extents)?;
                turns -= 1;
                self.core.reactor.yield_now().await;
            }
        }
        Ok(extents)
    }
}

/// Adds the contents in `segment` that the first rows of `messages` name. The message to go on with, if there are more.
fn contents_of(
    index: &Index,
    table: Table,
    messages: RangeInclusive<MessageId>,
    segment: u32,
    extents: &mut Vec<Extent>,
) -> Result<Option<MessageId>, Error> {
    let mut read = 0;
    let mut next = None;
    let mut corrupt = None;
    index.scan(table, &row::key(*messages.start()), &mut |key, value| {
        match row::id_of(key) {
            Ok(id) if id > *messages.end() => return false,
            Ok(id) if read == ROWS_PER_TURN => next = Some(id),
            Ok(_) => match Row::decode(value) {
                Ok(Row { content: Content::Kept(extent), .. }) if extent.position.segment == segment => {
                    extents.push(extent)
                }
                Ok(_) => {}
                Err(why) => corrupt = Some(why),
            },
            Err(why) => corrupt = Some(why),
        }
        read += 1;
        next.is_none() && corrupt.is_none()
    })?;
    match corrupt {
        None => Ok(next),
        Some(why) => Err(Error::Damaged(why.to_string())),
    }
}
