//! When a deferred recipient is tried again, and when it is too old (RFC 5321 §4.5.4.1). Pure.

use std::time::Duration;

use shards::Timestamp;

use crate::config::Retry;

/// Jitter either way, so that what failed together is not tried again together.
const JITTER_PERCENT: u64 = 10;

/// When a recipient whose attempt number `attempts` (from 1) was just deferred is tried again: after the schedule's
/// wait for that attempt (the last repeats) ±10 %, which `random` chooses, but not later than its end of life.
pub fn next(retry: &Retry, attempts: u16, arrival: Timestamp, now: Timestamp, random: u64) -> Timestamp {
    let step = usize::from(attempts.max(1)) - 1;
    let wait = retry.schedule.get(step).or(retry.schedule.last()).copied().unwrap_or(retry.lifetime);
    (now + jittered(wait, random)).min(end_of_life(retry, arrival))
}

/// When a message that is still queued is given up.
pub fn end_of_life(retry: &Retry, arrival: Timestamp) -> Timestamp {
    arrival + retry.lifetime
}

fn jittered(wait: Duration, random: u64) -> Duration {
    let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let span = millis / 100 * JITTER_PERCENT + millis % 100 * JITTER_PERCENT / 100;
    let offset = random % (2 * span + 1);
    Duration::from_millis(millis.saturating_sub(span).saturating_add(offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn retry() -> Retry {
        Retry {
            schedule: vec![MINUTE, 5 * MINUTE, 10 * MINUTE],
            lifetime: 60 * MINUTE,
            delay_notice_after: 60 * MINUTE,
        }
    }

    fn wait(attempts: u16, random: u64) -> Duration {
        let arrival = Timestamp::from_millis(1_000_000);
        next(&retry(), attempts, arrival, arrival, random).since(arrival)
    }

    #[test]
    fn waits_follow_the_schedule_and_the_last_repeats() {
        for (attempts, minutes) in [(1, 1), (2, 5), (3, 10), (4, 10), (u16::MAX, 10)] {
            let expected = minutes * MINUTE;
            for random in [0, 1, 12_345, u64::MAX] {
                let wait = wait(attempts, random);
                assert!(wait >= expected * 9 / 10 && wait <= expected * 11 / 10, "{attempts}: {wait:?}");
            }
        }
    }

    #[test]
    fn jitter_reaches_both_ends() {
        assert_eq!(wait(1, 0), Duration::from_millis(54_000));
        assert_eq!(wait(1, 12_000), Duration::from_millis(66_000));
    }

    #[test]
    fn nothing_is_due_after_its_end_of_life() {
        let arrival = Timestamp::from_millis(1_000_000);
        let late = arrival + 59 * MINUTE;
        assert_eq!(next(&retry(), 9, arrival, late, 0), arrival + 60 * MINUTE);
    }

    #[test]
    fn a_schedule_of_zero_seconds_and_an_endless_one_do_not_overflow() {
        let zero = Retry { schedule: vec![Duration::ZERO], ..retry() };
        let now = Timestamp::from_millis(5);
        assert_eq!(next(&zero, 1, now, now, 77), now);
        let endless = Retry { schedule: vec![Duration::MAX], lifetime: Duration::MAX, ..retry() };
        assert!(next(&endless, 1, now, now, 3) > Timestamp::from_millis(u64::MAX / 2));
    }
}
