//! Who sends which message, and when it is due.

use std::cell::Cell;
use std::time::Duration;

use shards::Instant;

use super::plan::Plan;

/// The right to send one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    /// The message's number on this thread, from 0.
    pub(super) number: u32,
    /// When it should be sent; latency counts from here.
    pub(super) due: Instant,
}

/// One thread's dispenser of tickets.
pub(super) struct Pace {
    next: Cell<u32>,
    count: u32,
    end: Option<Instant>,
    /// Open loop: when the first is due, and the time between two.
    open: Option<(Instant, f64)>,
}

impl Pace {
    /// Thread `thread`'s share of the plan's messages, whose load begins `now`.
    pub(super) fn new(plan: &Plan, thread: usize, now: Instant) -> Self {
        let open = plan.rate.map(|rate| {
            // The threads' messages fall due in turn.
            let offset = Duration::from_secs_f64(thread as f64 / rate);
            (now + offset, plan.threads as f64 / rate)
        });
        let count = plan.messages_of(thread).map_or(u32::MAX, |messages| u32::try_from(messages).unwrap_or(u32::MAX));
        Self { next: Cell::new(0), count, end: plan.duration.map(|duration| now + duration), open }
    }

    /// The next message, which may not yet be due; `None` when there is none left.
    pub(super) fn take(&self, now: Instant) -> Option<Ticket> {
        let number = self.next.get();
        let due = match self.open {
            Some((first, period_s)) => first + Duration::from_secs_f64(period_s * f64::from(number)),
            None => now,
        };
        let over = number >= self.count || self.end.is_some_and(|end| due >= end);
        if over {
            return None;
        }
        self.next.set(number + 1);
        Some(Ticket { number, due })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace(count: u32, end: Option<Duration>, period_s: Option<f64>) -> Pace {
        let start = Instant::from_nanos(0);
        Pace {
            next: Cell::new(0),
            count,
            end: end.map(|end| start + end),
            open: period_s.map(|period| (start, period)),
        }
    }

    #[test]
    fn a_closed_loop_is_due_when_asked_for() {
        let pace = pace(2, None, None);
        let now = Instant::from_nanos(5);
        assert_eq!(pace.take(now), Some(Ticket { number: 0, due: now }));
        assert_eq!(pace.take(now + SECOND), Some(Ticket { number: 1, due: now + SECOND }));
        assert_eq!(pace.take(now), None);
    }

    #[test]
    fn an_open_loop_is_due_whether_asked_for_or_not() {
        let pace = pace(3, None, Some(0.5));
        let late = Instant::from_nanos(0) + SECOND * 10;
        let dues: Vec<u64> = std::iter::from_fn(|| pace.take(late)).map(|ticket| ticket.due.as_nanos()).collect();
        assert_eq!(dues, [0, 500_000_000, 1_000_000_000]);
    }

    #[test]
    fn nothing_is_begun_after_the_duration() {
        let open = pace(u32::MAX, Some(SECOND), Some(0.4));
        let start = Instant::from_nanos(0);
        assert_eq!(std::iter::from_fn(|| open.take(start)).count(), 3, "due at 0, 0.4 and 0.8 s");
        let closed = pace(u32::MAX, Some(SECOND), None);
        assert!(closed.take(start).is_some());
        assert_eq!(closed.take(start + SECOND), None);
    }
}
