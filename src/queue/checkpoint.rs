//! Checkpoints and the housekeeping around them.
//!
//! A checkpoint takes, in one synchronous step, everything that changed in memory and the journal's tail; waits until
//! the journal is durable up to there; and commits the rows with that position in one batch. Recovery reads the index
//! and replays the journal from the position. After the commit, and only then, nothing needs the segments before the
//! position that hold no content, nor the contents that no row names any more, nor what else [trimming](super::trim) finds.

use std::rc::Rc;
use std::time::Duration;

use shards::index::{self, Batch};
use shards::journal::Position;

use super::retention::expiry_key;
use super::row;
use super::rows::{
    self, DONE, EVENTS, EXPIRY, LEARNED, MESSAGE_IDS, META, QUEUED, RETURNED, SEGMENTS, SUBMITTED, Slot,
};
use super::submitted::Change;
use super::{Error, Life, Queue, find, returned};
use crate::events::Event;
use crate::spool::encode::{Corrupt, Reader, put_number};

/// A checkpoint is made this often if something changed.
const INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of rows in memory that make a checkpoint due at once.
const URGENT_BYTES: usize = 16 << 20;
/// Rows encoded before other work gets its turn.
const ROWS_PER_TURN: usize = 500;
/// Contents erased in one round: each may read two blocks, and checkpoints wait for it.
const ERASURES_PER_ROUND: usize = 2_000;
/// Between two times that the log is told of events that webhooks lost.
const LOSSES_PAUSE: Duration = Duration::from_secs(60);
/// The only key of the table `meta`.
pub(super) const META_KEY: &[u8] = b"checkpoint";
/// The format of the index.
pub(super) const VERSION: u64 = 1;

/// The value in the table `meta`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    /// The index covers every frame before it.
    pub position: Position,
    /// The number of the next message.
    pub next_number: u64,
}

impl Meta {
    fn encode(self) -> Vec<u8> {
        let mut out = Vec::new();
        let Position { segment, offset } = self.position;
        for number in [VERSION, u64::from(segment), u64::from(offset), self.next_number] {
            put_number(&mut out, number);
        }
        out
    }

    /// Reads what a checkpoint wrote.
    pub(super) fn decode(bytes: &[u8]) -> Result<Meta, Corrupt> {
        let mut reader = Reader::new(bytes);
        if reader.number()? != VERSION {
            return Err(Corrupt("an index of another version"));
        }
        let position = Position { segment: reader.number_u32()?, offset: reader.number_u32()? };
        let meta = Meta { position, next_number: reader.number()? };
        reader.end()?;
        Ok(meta)
    }
}

/// What a checkpoint took.
struct Taken {
    rows: Rc<rows::Batch>,
    segments: Vec<(u32, Option<Vec<u8>>)>,
    submitted: Vec<Change>,
    learned: Vec<Change>,
    expired: Vec<[u8; 12]>,
    events: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    returned: Vec<returned::Stored>,
    /// Segments that can be deleted after the commit.
    dead: Vec<u32>,
    meta: Meta,
}

impl Queue {
    /// Expires, tells delays, retains, makes checkpoints and erases, until the queue is closed or its storage fails.
    pub(super) async fn keep_house(self) {
        while !self.has_failed() {
            let round = self.core.work.round();
            let closing = self.core.life.get() == Life::Closing;
            let more = self.expire().await;
            // What an abandoned checkpoint gave back comes first.
            let gave_back = !self.core.state.borrow().expired.is_empty();
            let more = self.tell_delays().await || more;
            let more = (!gave_back && self.retain().await) || more;
            let result = self.checkpoint().await;
            self.sound(result);
            self.core.kept.give();
            if closing && !self.has_failed() {
                self.core.life.set(Life::Closed);
                self.core.kept.give();
                return;
            }
            self.tell_space();
            self.tell_losses();
            self.core.ready.give();
            self.rebuild_slices_if_stale().await;
            let abandoned = !self.core.state.borrow().expired.is_empty();
            if !more || abandoned {
                let _ = self.core.reactor.timeout(INTERVAL, self.core.work.after(round)).await;
            }
        }
    }

    /// Whether rows in memory should leave it soon.
    pub(super) fn checkpoint_is_urgent(&self) -> bool {
        let state = self.core.state.borrow();
        state.rows.bytes() + state.webhooks.bytes() + state.returned.bytes() > URGENT_BYTES
    }

    /// Waits until rows have left memory enough to change many more.
    pub(super) async fn room_for_rows(&self) {
        loop {
            let round = self.core.kept.round();
            if !self.checkpoint_is_urgent() || !self.is_open() {
                return;
            }
            self.core.work.give();
            self.core.kept.after(round).await;
        }
    }

    /// Makes a checkpoint if something changed; deletes and trims segments and erases contents that nothing needs any more.
    async fn checkpoint(&self) -> Result<(), Error> {
        if let Some(taken) = self.take()? {
            self.core.journal.durable_until(taken.meta.position).await?;
            let batch = self.batch(&taken).await;
            let index = self.core.state.borrow().rows.index().clone();
            match index.commit(batch).await {
                Ok(()) => self.committed(taken).await,
                Err(index::Error::Full) => {
                    self.core.log.emit(&Event::CheckpointFailed(&index::Error::Full));
                    self.abandon(taken);
                    return Ok(());
                }
                Err(why) => return Err(why.into()),
            }
        }
        self.trim().await;
        self.erase().await;
        Ok(())
    }

    /// The synchronous step: what changed, and the position up to which the journal says the same.
    fn take(&self) -> Result<Option<Taken>, Error> {
        let state = &mut *self.core.state.borrow_mut();
        let position = self.core.journal.tail();
        let dead = state.segments.dead(&self.core.journal.segments(), position);
        let is_dirty = state.rows.is_dirty() || state.segments.is_dirty() || state.submitted.is_dirty();
        let is_dirty = is_dirty || state.returned.is_dirty() || state.learned.is_dirty();
        if !is_dirty && !state.webhooks.is_dirty() && state.expired.is_empty() && dead.is_empty() {
            return Ok(None);
        }
        Ok(Some(Taken {
            events: state.webhooks.begin_checkpoint(state.rows.index())?,
            rows: state.rows.begin_checkpoint(),
            segments: state.segments.begin_checkpoint(position),
            submitted: state.submitted.begin_checkpoint(),
            learned: state.learned.begin_checkpoint(),
            returned: state.returned.begin_checkpoint(),
            expired: std::mem::take(&mut state.expired),
            dead,
            meta: Meta { position, next_number: state.next_number },
        }))
    }

    async fn batch(&self, taken: &Taken) -> Batch {
        let mut batch = Batch::default();
        // First, so that a row whose time has changed can have the same key again.
        batch.changes.extend(taken.expired.iter().map(|key| (EXPIRY, key.to_vec(), None)));
        for (done, (message, dirty)) in taken.rows.iter().enumerate() {
            let key = row::key(*message).to_vec();
            let delete = |batch: &mut Batch, table| {
                if dirty.stored {
                    batch.changes.push((table, key.clone(), None));
                }
            };
            if let Slot::Queued(row) | Slot::Done(row) = &dirty.slot
                && let Some(key) = find::key_of(row, *message)
                && !dirty.stored
            {
                batch.changes.push((MESSAGE_IDS, key.to_vec(), Some(Vec::new())));
            }
            match &dirty.slot {
                Slot::Queued(row) => batch.changes.push((QUEUED, key, Some(row.encode()))),
                Slot::Done(row) => {
                    delete(&mut batch, QUEUED);
                    let expiry = expiry_key(self.core.state.borrow().expiry_s(row), *message);
                    batch.changes.push((EXPIRY, expiry.to_vec(), Some(Vec::new())));
                    batch.changes.push((DONE, key.clone(), Some(row.encode())));
                }
                Slot::Gone(found_by) => {
                    delete(&mut batch, QUEUED);
                    delete(&mut batch, DONE);
                    batch.changes.extend(found_by.map(|key| (MESSAGE_IDS, key.to_vec(), None)));
                }
            }
            if done % ROWS_PER_TURN == ROWS_PER_TURN - 1 {
                self.core.reactor.yield_now().await;
            }
        }
        let segment = |(number, row): &(u32, Option<Vec<u8>>)| (SEGMENTS, number.to_be_bytes().to_vec(), row.clone());
        batch.changes.extend(taken.segments.iter().map(segment));
        let submitted = |(account, value): &Change| (SUBMITTED, account.as_bytes().to_vec(), value.clone());
        batch.changes.extend(taken.submitted.iter().map(submitted));
        let learned = |(path, value): &Change| (LEARNED, path.as_bytes().to_vec(), value.clone());
        batch.changes.extend(taken.learned.iter().map(learned));
        batch.changes.extend(taken.events.iter().map(|(key, value)| (EVENTS, key.clone(), value.clone())));
        let returned = |(key, value): &returned::Stored| (RETURNED, key.to_vec(), value.clone());
        batch.changes.extend(taken.returned.iter().map(returned));
        batch.changes.push((META, META_KEY.to_vec(), Some(taken.meta.encode())));
        batch
    }

    async fn committed(&self, taken: Taken) {
        {
            let mut state = self.core.state.borrow_mut();
            state.rows.end_checkpoint();
            state.segments.end_checkpoint();
            state.webhooks.end_checkpoint();
            state.returned.end_checkpoint();
            state.learned.end_checkpoint();
            state.tally.checkpoints += 1;
        }
        for segment in taken.dead {
            // What cannot be deleted now is found again after a restart.
            if let Err(why) = self.core.journal.remove(segment).await {
                self.core.log.emit(&Event::Trouble(&why));
            }
        }
    }

    /// The index is full: everything is as if the checkpoint had not begun.
    fn abandon(&self, taken: Taken) {
        let mut state = self.core.state.borrow_mut();
        state.rows.abandon_checkpoint(taken.rows);
        state.segments.abandon_checkpoint();
        state.webhooks.abandon_checkpoint();
        state.returned.abandon_checkpoint();
        state.submitted.abandon_checkpoint(taken.submitted);
        state.learned.abandon_checkpoint(taken.learned);
        state.expired.extend(taken.expired);
    }

    /// Erases contents that no committed row names. What cannot be erased now is tried again in the next round.
    async fn erase(&self) {
        let extents = self.core.state.borrow().segments.to_erase(self.now_s(), ERASURES_PER_ROUND);
        if extents.is_empty() {
            return;
        }
        match self.core.journal.erase(extents.clone()).await {
            Ok(()) => self.core.state.borrow_mut().segments.erased(&extents),
            Err(why) => self.core.log.emit(&Event::Trouble(&why)),
        }
    }

    /// Tells the log which webhooks lost events, now and then.
    fn tell_losses(&self) {
        let now = self.now();
        if now.since(self.core.losses_told.get()) < LOSSES_PAUSE {
            return;
        }
        let losses = self.core.state.borrow_mut().webhooks.losses();
        for (webhook, events) in &losses {
            self.core.log.emit(&Event::WebhookOverflow { webhook, events: *events });
            self.core.losses_told.set(now);
        }
    }

    /// Tells the log when the disk begins to refuse messages, and when it takes them again.
    fn tell_space(&self) {
        let refusing = self.accepting(0).is_err() && self.is_open();
        if self.core.told_refusing.replace(refusing) != refusing {
            self.core.log.emit(&Event::Space { accepting: !refusing });
        }
    }

    /// Writes the last checkpoint, so that the next start is short. Accepts, leases and settles nothing afterwards.
    pub async fn close(&self) -> Result<(), Error> {
        if self.is_open() {
            let forgotten = self.core.state.borrow_mut().forget_notes_ahead();
            self.sound(forgotten);
        }
        if self.is_open() {
            self.core.life.set(Life::Closing);
            self.core.work.give();
        }
        loop {
            let round = self.core.kept.round();
            match self.core.life.get() {
                Life::Closed => return Ok(()),
                Life::Failed => return Err(self.failure().await),
                Life::Open | Life::Closing => self.core.kept.after(round).await,
            }
        }
    }
}
