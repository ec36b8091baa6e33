//! Delay: the sender learns, once for each recipient, that a message has not been delivered after
//! `[retry] delay_notice_after` (RFC 3461 §4.1, RFC 3464 §2.3.3), whatever it waits for: its next attempt, a destination
//! that is held up, the operator. Webhooks learn it at the same time, by the same frame.
//!
//! Ids are in the order of arrival, so one walk through the queue, from the oldest on, meets every message when its time
//! comes. It goes on where it stopped: a queued message is looked at once (and once more after each start), and what was
//! told is on disk, in the frame of the notice that tells it. A scheduled message is delayed that long after its time: the
//! walk passes it over and writes its time down, in memory, like what is due later.

use std::sync::Arc;
use std::time::Duration;

use shards::Timestamp;

use super::notice::{self, About, Told};
use super::row::{Entry, Row, seconds, timestamp};
use super::signing::{Line, Pen};
use super::{MessageId, Queue};
use crate::bounce::Action;
use crate::config::Config;
use crate::config::webhook::Kind;
use crate::events::Event;
use crate::smtp::path::ReversePath;
use crate::spool::{self, Message};

/// Messages looked at in one round of the housekeeping.
const MESSAGES_PER_ROUND: usize = 500;

/// A round's end.
enum Round {
    /// All is told that is to be told before then.
    Until(Timestamp),
    /// There are more messages; a checkpoint comes first.
    More,
    /// The disk has no room for notices; the message at hand is told of later.
    NoRoom,
}

impl Queue {
    /// Tells the delays whose time has come. True: there are more; a checkpoint must follow before the next call.
    pub(super) async fn tell_delays(&self) -> bool {
        let now = self.now();
        if now < self.core.next_delay.get() || !self.is_open() {
            return false;
        }
        match self.tell_some_delays(now).await {
            Round::Until(next) => self.core.next_delay.set(next),
            Round::More => return true,
            Round::NoRoom => {}
        }
        false
    }

    async fn tell_some_delays(&self, now: Timestamp) -> Round {
        let config = self.config();
        let after = config.retry.delay_notice_after;
        if let Some(end) = self.tell_scheduled_delays(now, &config).await {
            return end;
        }
        let mut looked_at = self.core.looked_at_for_delay.get();
        let page = self.core.state.borrow().rows.page(looked_at, MESSAGES_PER_ROUND);
        // Whatever is accepted from now on has its time later.
        let Some(page) = self.sound(page) else { return Round::Until(now + after) };
        let until =
            |time: Timestamp| Round::Until(self.next_scheduled_delay(after).map_or(time, |next| next.min(time)));
        for (message, row) in page.rows {
            let mut must_leave = false;
            if row.begin() + after > now {
                if row.tagged.scheduled.is_none() {
                    return until(row.arrival + after);
                }
                self.core.scheduled.borrow_mut().insert((seconds(row.begin()), message));
            } else if self.wants_any(&row, &config) {
                if !self.tell_delay(message, &config).await {
                    return Round::NoRoom;
                }
                must_leave = self.checkpoint_is_urgent();
            }
            // An older message may have been accepted in the meantime: then the walk goes on there.
            if self.core.looked_at_for_delay.get() != looked_at {
                return Round::More;
            }
            looked_at = Some(message);
            self.core.looked_at_for_delay.set(looked_at);
            if must_leave {
                return Round::More;
            }
        }
        if page.more { Round::More } else { until(now + after) }
    }

    /// When the first of the scheduled messages that the walk has passed over is delayed.
    fn next_scheduled_delay(&self, after: Duration) -> Option<Timestamp> {
        self.core.scheduled.borrow().first().map(|(begin_s, _)| timestamp(*begin_s) + after)
    }

    /// Tells of those scheduled messages that are delayed by now, at most a round's worth. Gives back how the round ends,
    /// if it ends with them.
    async fn tell_scheduled_delays(&self, now: Timestamp, config: &Config) -> Option<Round> {
        for _ in 0..MESSAGES_PER_ROUND {
            let first = self.core.scheduled.borrow().first().copied();
            let Some((begin_s, message)) = first else { break };
            if timestamp(begin_s) + config.retry.delay_notice_after > now {
                break;
            }
            let row = self.core.state.borrow().rows.read(message, Row::clone);
            let Some(row) = self.sound(row) else { break };
            let wanted = row.is_some_and(|row| self.wants_any(&row, config));
            if wanted && !self.tell_delay(message, config).await {
                return Some(Round::NoRoom);
            }
            self.core.scheduled.borrow_mut().remove(&(begin_s, message));
            if wanted && self.checkpoint_is_urgent() {
                return Some(Round::More);
            }
        }
        None
    }

    /// A message is accepted: if the walk is past its place already, it goes back there.
    pub(super) fn look_again_for_delay(&self, message: MessageId) {
        if self.core.looked_at_for_delay.get().is_some_and(|last| message <= last) {
            self.core.looked_at_for_delay.set(message.0.checked_sub(1).map(MessageId));
        }
    }

    /// Whether a delay of any recipient is to be told to anybody.
    fn wants_any(&self, row: &Row, config: &Config) -> bool {
        let webhooks = self.core.state.borrow().webhooks.want(Kind::Delayed, row);
        row.recipients.iter().any(|entry| is_untold(entry) && (webhooks || sender_wants(entry, row, config)))
    }

    /// Tells the sender of a message, and webhooks, of those of its recipients that are still queued. False: there is no
    /// room.
    async fn tell_delay(&self, message: MessageId, config: &Config) -> bool {
        let header = match self.beginning_of(message, notice::RETURNED_HEADER_BYTES).await {
            Ok(header) => header,
            // The sender is told all the same, only without the original.
            Err(why) => {
                self.core.log.emit(&Event::Trouble(&why));
                Arc::default()
            }
        };
        let Some(mut late) = self.late(message, &header, config) else { return true };
        let mut pen = None;
        if late.notice.is_some() {
            pen = Some(self.pen(Line::Others).await).filter(Pen::signs);
            // It may have taken a while.
            let Some(now) = self.late(message, &header, config).filter(|_| self.is_open()) else { return true };
            late = now;
        }
        while let Some((notice, pen)) = pen.as_ref().and_then(|pen| Some((late.notice.take()?, pen))) {
            let signed = self.signed(notice, pen).await;
            let Some(now) = self.late(message, &header, config).filter(|_| self.is_open()) else { return true };
            let before = std::mem::replace(&mut late, now);
            // Otherwise it tells of others than are late by now, or what was said of them before.
            if (&late.for_sender, &late.told) == (&before.for_sender, &before.told) {
                late.notice = Some(signed);
                break;
            }
        }
        // From here on nothing waits: what became of the recipients meanwhile counts.
        let Late { indices, notice, .. } = late;
        let appended = spool::append_delay(&self.core.journal, message, &indices, notice.as_ref());
        let Ok(place) = appended else { return false };
        let told = self.core.state.borrow_mut().delay_told(message, &indices, place.position);
        self.sound(told);
        if let Some(notice) = notice {
            self.enter_notice(message, Action::Delayed, notice, place);
        }
        self.events_changed();
        true
    }

    /// Whose delay is to be told of a message, and to whom; `None`: nobody's.
    fn late(&self, message: MessageId, header: &[u8], config: &Config) -> Option<Late> {
        let row = self.sound(self.core.state.borrow().rows.read(message, Row::clone))??;
        let webhooks = self.core.state.borrow().webhooks.want(Kind::Delayed, &row);
        let late = || (0..=u16::MAX).zip(&row.recipients).filter(|(_, entry)| is_untold(entry));
        let for_sender = |entry: &Entry| sender_wants(entry, &row, config);
        let indices: Vec<u16> =
            late().filter(|(_, entry)| webhooks || for_sender(entry)).map(|(index, _)| index).collect();
        if indices.is_empty() {
            return None;
        }
        let (for_sender, told): (Vec<u16>, Vec<Told>) =
            late().filter(|(_, entry)| for_sender(entry)).map(|(index, entry)| (index, Told::waiting(entry))).unzip();
        let about = About { message, row: &row, content: header };
        let notice = self.compose(Action::Delayed, &about, &told);
        Some(Late { indices, for_sender, told, notice })
    }
}

/// Recipients whose delay is to be told.
struct Late {
    /// To webhooks or the sender.
    indices: Vec<u16>,
    /// To the sender.
    for_sender: Vec<u16>,
    /// What the sender is told of each.
    told: Vec<Told>,
    /// Which tells the sender.
    notice: Option<Message>,
}

/// Whether a recipient is queued and nobody was told yet that it is late.
fn is_untold(entry: &Entry) -> bool {
    !entry.delay_told && entry.standing.state.ended_s().is_none()
}

/// Whether the sender wants to know of a recipient's delay.
fn sender_wants(entry: &Entry, row: &Row, config: &Config) -> bool {
    row.sender.path != ReversePath::Null && notice::wants_delay(entry.recipient.notify, row.account.as_deref(), config)
}
