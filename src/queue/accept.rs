//! Acceptance: responsibility for a message begins (RFC 5321 §4.2.5).

use std::sync::Arc;

use shards::journal::{Class, Expected, Position};

use super::orders::Report;
use super::ready::Slice;
use super::{AcceptError, CONTENT_BYTES_MAX, HEAD_BYTES_MAX, Queue, RECIPIENT_BYTES_MAX};
use crate::config::Uncertain;
use crate::message::{Demand, Origin};
use crate::smtp::envelope::{Body, Envelope, Notify, Recipient, Sender};
use crate::smtp::path::{Mailbox, ReversePath};
use crate::spool::record::{Accepted, RECIPIENTS_MAX, Tagged};
use crate::spool::{self, Durable, Message, Pending};

/// Bytes of rows in memory beyond which nothing is accepted: the index cannot be written, or not fast enough.
pub(super) const ROW_BYTES_MAX: usize = 64 << 20;

impl Queue {
    /// Whether a message of `bytes` (0: unknown) would be accepted now.
    pub fn accepting(&self, bytes: u64) -> Result<(), AcceptError> {
        if !self.is_open() {
            return Err(AcceptError::Broken);
        }
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(CONTENT_BYTES_MAX);
        if self.rows_are_full() || !self.core.journal.has_room_for(bytes + HEAD_BYTES_MAX) {
            return Err(AcceptError::Full);
        }
        Ok(())
    }

    /// Announces a message of `bytes` (0: unknown) if it would be accepted now; for MAIL. To be dropped when its content
    /// is there, or will not come.
    pub fn expect(&self, bytes: u64) -> Result<Expected, AcceptError> {
        self.accepting(bytes)?;
        Ok(self.core.journal.expect())
    }

    /// Recipients that `account` has submitted here today (UTC), also before a restart.
    pub fn submitted_today(&self, account: &str) -> u64 {
        self.core.state.borrow().submitted.today(account, self.core.reactor.wall())
    }

    pub(super) fn rows_are_full(&self) -> bool {
        self.core.state.borrow().rows.bytes() > ROW_BYTES_MAX
    }

    /// Takes responsibility for `message`; returns once it is flushed to disk. `message_id` is its Message-ID field's
    /// value, for the reply. Dropping the future leaves the message accepted or not, but never half.
    pub async fn accept(&self, message: Message, message_id: &str) -> Result<Durable, AcceptError> {
        let recipients = message.envelope.recipients.len();
        if message.content.len() > CONTENT_BYTES_MAX || recipients > RECIPIENTS_MAX || self.rows_are_full() {
            return Err(AcceptError::Full);
        }
        let bytes = message.content.len() + HEAD_BYTES_MAX + recipients * RECIPIENT_BYTES_MAX;
        self.core.journal.room(bytes, Class::Ordinary).await.map_err(|_| AcceptError::Full)?;
        if !self.is_open() {
            return Err(AcceptError::Broken);
        }
        let pending = self.append(message, message_id)?;
        pending.durable().await.map_err(|why| {
            self.fail(why);
            AcceptError::Broken
        })
    }

    /// Queues a report of ours, of which nobody is to hear again.
    pub(super) async fn submit(&self, recipient: Mailbox, content: Vec<u8>) -> Report {
        let (id, arrival) = (self.reserve_id(), self.now());
        let notify = Notify { never: true, ..Notify::default() };
        let sender = Sender {
            path: ReversePath::Null,
            body: Body::SevenBit,
            smtputf8: false,
            size: None,
            ret: None,
            envid: None,
            requiretls: false,
        };
        let recipients = vec![Recipient { path: recipient, notify, orcpt: None }];
        let envelope = Envelope { sender, recipients };
        // RFC 8460 §3: a report is not held up by the very trouble that it tells of.
        let origin = Origin { demand: Demand::Waived, ..Origin::default() };
        let tagged = Tagged { origin, ..Tagged::default() };
        let message = Message { id, arrival, envelope, account: None, client: None, tagged, content };
        match self.accept(message, "").await {
            Ok(_) => Report::Count(1),
            Err(why) => Report::Failed(why.to_string()),
        }
    }

    /// The one synchronous step: the frame is appended, and the message is in memory as the frame says.
    fn append(&self, mut message: Message, message_id: &str) -> Result<Pending, AcceptError> {
        // Where uncertain recipients are held, only what is really under way may be noted.
        let retries = self.core.config.borrow().delivery.uncertain == Uncertain::Retry;
        message.tagged.noted = retries && self.core.state.borrow().may_note_ahead(&message);
        let (extent, pending) =
            spool::append_message(&self.core.journal, &message, message_id).map_err(|_| AcceptError::Full)?;
        self.enter(message, extent.position, extent.skip, extent.len);
        Ok(pending)
    }

    /// Brings an appended message into memory; it can be leased once its frame is durable.
    pub(super) fn enter(&self, message: Message, position: Position, skip: u32, len: u32) {
        self.look_again_for_delay(message.id);
        let Message { id, arrival, envelope, account, client, tagged, content } = message;
        let slices = {
            let state = &mut *self.core.state.borrow_mut();
            if tagged.noted {
                state.noted_ahead.insert(id);
            }
            // What is tried days later would only keep others out of memory.
            if tagged.scheduled.is_none() {
                state.contents.keep(id, &Arc::new(content));
            }
            state.accept(Accepted { id, arrival, envelope, account, client, tagged, skip, len }, position)
        };
        self.publish_when_durable(slices);
        if self.checkpoint_is_urgent() {
            self.core.work.give();
        }
    }

    /// Makes slices ready (or due later) once everything that has been appended so far is durable: what is tried before
    /// its frame is flushed would be tried again, or never have been asked for, after a crash.
    pub(super) fn publish_when_durable(&self, slices: Vec<Slice>) {
        let tail = self.core.journal.tail();
        self.core.unpublished.borrow_mut().extend(slices.into_iter().map(|slice| (tail, slice)));
        self.core.appended.give();
    }

    /// Makes slices ready as their frames become durable, whoever waits for them or no longer does. Ends when the
    /// journal fails.
    pub(super) async fn publish(self) {
        loop {
            let round = self.core.appended.round();
            let next = self.core.unpublished.borrow().front().copied();
            let Some((tail, _)) = next else {
                self.core.appended.after(round).await;
                continue;
            };
            if let Err(why) = self.core.journal.durable_until(tail).await {
                return self.fail(why);
            }
            self.publish_until(tail);
        }
    }

    fn publish_until(&self, durable: Position) {
        let now_s = self.now_s();
        {
            let mut unpublished = self.core.unpublished.borrow_mut();
            let ready = &mut self.core.state.borrow_mut().ready;
            let count = unpublished.iter().take_while(|(tail, _)| *tail <= durable).count();
            unpublished.drain(..count).for_each(|(_, slice)| ready.push(slice, now_s));
        }
        self.slices_changed();
    }
}
