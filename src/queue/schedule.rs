//! When a deferred recipient is tried again, and when it is too old (RFC 5321 §4.5.4.1). Pure.

use std::time::Duration;

use shards::Timestamp;

use crate::bounce::classify::Category;
use crate::config::Retry;

/// Jitter either way, so that what failed together is not tried again together.
const JITTER_PERCENT: u64 = 10;

/// When a recipient whose attempt number `attempts` (from 1) was just deferred for a reason of `category` is tried again:
/// after the wait for that attempt (the last repeats) in the category's schedule ±10 %, which `random` chooses, but not
/// later than its end of life.
pub fn next(
    retry: &Retry,
    category: Option<Category>,
    attempts: u16,
    begin: Timestamp,
    now: Timestamp,
    random: u64,
) -> Timestamp {
    let schedule = match category {
        Some(Category::Greylisting) => &retry.greylist,
        Some(Category::MailboxFull) => &retry.mailbox_full,
        _ => &retry.schedule,
    };
    let step = usize::from(attempts.max(1)) - 1;
    let wait = schedule.get(step).or(schedule.last()).copied().unwrap_or(retry.lifetime);
    (now + jittered(wait, random)).min(end_of_life(retry, begin))
}

/// When a message that is still queued is given up; its life began at `begin`: when it arrived, or was scheduled for.
pub fn end_of_life(retry: &Retry, begin: Timestamp) -> Timestamp {
    begin + retry.lifetime
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
            ..Retry::default()
        }
    }

    fn wait(attempts: u16, random: u64) -> Duration {
        let arrival = Timestamp::from_millis(1_000_000);
        next(&retry(), None, attempts, arrival, arrival, random).since(arrival)
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
    fn a_full_mailbox_and_a_greylist_have_schedules_of_their_own() {
        let retry = Retry { lifetime: 5 * 1440 * MINUTE, ..Retry::default() };
        let arrival = Timestamp::from_millis(1_000_000);
        let minutes = |category, attempts| {
            // The middle of the jitter's span.
            let wait = |random| next(&retry, Some(category), attempts, arrival, arrival, random).since(arrival);
            let millis = u64::try_from(wait(0).as_millis()).expect("short") * 10 / 9;
            millis / 60_000
        };
        let waits = |category| [1, 2, 3, 4, 5].map(|attempts| minutes(category, attempts));
        assert_eq!(waits(Category::MailboxFull), [60, 240, 480, 480, 480]);
        assert_eq!(waits(Category::Greylisting), [5, 5, 10, 10, 10]);
        assert_eq!(waits(Category::Network), [1, 5, 10, 15, 30]);
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
        assert_eq!(next(&retry(), None, 9, arrival, late, 0), arrival + 60 * MINUTE);
    }

    #[test]
    fn a_schedule_of_zero_seconds_and_an_endless_one_do_not_overflow() {
        let zero = Retry { schedule: vec![Duration::ZERO], ..retry() };
        let now = Timestamp::from_millis(5);
        assert_eq!(next(&zero, None, 1, now, now, 77), now);
        let endless = Retry { schedule: vec![Duration::MAX], lifetime: Duration::MAX, ..retry() };
        assert!(next(&endless, None, 1, now, now, 3) > Timestamp::from_millis(u64::MAX / 2));
    }
}
