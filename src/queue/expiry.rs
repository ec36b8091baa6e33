//! Expiry: the maximum age holds in every state. Ids are in the order of arrival, so the oldest are found without an
//! index of their own: from the front of the queue up to the first that is young enough. Scheduled messages, whose life
//! begins later than their arrival, are passed over on the way.

use std::time::Duration;

use super::outcome::Outcome;
use super::row::Row;
use super::{MessageId, Queue, schedule};

/// Messages looked at before other work gets its turn.
const MESSAGES_PER_TURN: usize = 100;
/// Young scheduled messages that a walk may pass over; after one that met more, the next waits for
/// [`SCHEDULED_PAUSE`], so that many scheduled messages do not cost a walk a second.
const SCHEDULED_PER_WALK_MAX: usize = 1000;
/// What is too old waits that much longer then. It is not tried meanwhile.
const SCHEDULED_PAUSE: Duration = Duration::from_secs(30);
/// A message with leased recipients is looked at again after this; their settlement usually ends it before. So is one
/// whose notice the disk had no room for.
const PAUSE: Duration = Duration::from_secs(1);
/// Messages ended in one round of the housekeeping.
const ENDED_PER_ROUND_MAX: usize = 500;

/// What became of a message that is too old.
enum Ended {
    Whole,
    /// But for leased recipients.
    NotLeased,
    /// The disk has no room for it.
    NoRoom,
}

impl Queue {
    /// Ends queued recipients (not leased: their settlement does) whose message is too old, a round's worth at most. True:
    /// there are more; a checkpoint must follow before the next call.
    pub(super) async fn expire(&self) -> bool {
        let now = self.now();
        if now < self.core.next_expiry.get() {
            return false;
        }
        let retry = self.config().retry.clone();
        let mut after = None;
        let (mut passed, mut ended) = (0, 0);
        // Whatever is accepted from now on lives at least as long.
        let mut next_expiry = schedule::end_of_life(&retry, now);
        'pages: while self.is_open() {
            let page = self.core.state.borrow().rows.page(after, MESSAGES_PER_TURN);
            let Some(page) = self.sound(page) else { return false };
            let Some((last, _)) = page.rows.last() else { break };
            after = Some(*last);
            for (message, row) in page.rows {
                let end = schedule::end_of_life(&retry, row.begin());
                if end > now {
                    next_expiry = next_expiry.min(end);
                    if row.tagged.scheduled.is_none() {
                        break 'pages;
                    }
                    passed += 1;
                    continue;
                }
                match self.expire_message(message, &row).await {
                    Ended::Whole => ended += 1,
                    Ended::NotLeased => next_expiry = next_expiry.min(now + PAUSE),
                    Ended::NoRoom => {
                        next_expiry = now + PAUSE;
                        break 'pages;
                    }
                }
                // What has ended stays in memory until the next checkpoint.
                if ended >= ENDED_PER_ROUND_MAX || self.checkpoint_is_urgent() {
                    return true;
                }
            }
            self.core.reactor.yield_now().await;
        }
        if passed > SCHEDULED_PER_WALK_MAX {
            next_expiry = next_expiry.max(now + SCHEDULED_PAUSE);
        }
        self.core.next_expiry.set(next_expiry);
        false
    }

    /// Ends a message's recipients for their age.
    async fn expire_message(&self, message: MessageId, row: &Row) -> Ended {
        let (leased, free): (Vec<u16>, Vec<u16>) = {
            let state = self.core.state.borrow();
            let queued =
                (0..=u16::MAX).zip(&row.recipients).filter(|(_, entry)| entry.standing.state.ended_s().is_none());
            queued.map(|(index, _)| index).partition(|index| state.leases.holds(message, *index))
        };
        if !free.is_empty() {
            let outcomes: Vec<_> = free.into_iter().map(|index| (index, Outcome::Untried(0))).collect();
            if self.try_to_conclude(message, None, &outcomes).await.is_err() {
                return Ended::NoRoom;
            }
        }
        if leased.is_empty() { Ended::Whole } else { Ended::NotLeased }
    }
}
