//! Wrong credentials, by the name that was tried, on all shards together.
//!
//! One table for all shards, of atomic numbers: no lock. Names are in it by a keyed hash, whether or not there is such an
//! account, so that it tells nobody which there are. A name has [`WAYS`] places to be in; where all are taken, the name
//! that failed least often gives way, so who is attacked hard stays counted.
//! Limits: [`SETS`] × [`WAYS`] names, 8 bytes each. Shards that count the same name in the same instant may each find a
//! place for it; both count.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shards::Timestamp;

/// How long a failure counts.
pub(super) const FAILURE_COUNTS: Duration = Duration::from_secs(10 * 60);
/// Places that a name may be in.
const WAYS: usize = 4;
/// How often there are so many.
const SETS: usize = 1024;

/// Bits of a place: what the name is known by, its failures, and the second of the last one (which wraps after years).
const COUNT_BITS: u32 = 20;
const SECOND_BITS: u32 = 26;
/// More failures than any limit.
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

/// The table.
#[derive(Debug)]
pub(super) struct Guesses {
    key: RandomState,
    sets: Box<[[AtomicU64; WAYS]]>,
}

/// What is in a place.
#[derive(Clone, Copy)]
struct Entry {
    tag: u64,
    count: u64,
    second: u64,
}

impl Entry {
    fn unpack(packed: u64) -> Entry {
        let second = packed & ((1 << SECOND_BITS) - 1);
        Entry { tag: packed >> (COUNT_BITS + SECOND_BITS), count: packed >> SECOND_BITS & COUNT_MAX, second }
    }

    fn pack(self) -> u64 {
        self.tag << (COUNT_BITS + SECOND_BITS) | self.count.min(COUNT_MAX) << SECOND_BITS | self.second
    }

    /// Its failures, if the last one still counts at second `now`. A clock may have been set back a little.
    fn recent(self, now: u64) -> u64 {
        let age = now.wrapping_sub(self.second) & ((1 << SECOND_BITS) - 1);
        let is_recent = age <= FAILURE_COUNTS.as_secs() || age >= 1 << (SECOND_BITS - 1);
        if is_recent { self.count } else { 0 }
    }
}

impl Default for Guesses {
    fn default() -> Self {
        let sets = std::iter::repeat_with(|| [const { AtomicU64::new(0) }; WAYS]).take(SETS).collect();
        Guesses { key: RandomState::new(), sets }
    }
}

impl Guesses {
    /// How often credentials for `name` were wrong lately.
    pub(super) fn recent(&self, name: &str, now: Timestamp) -> u32 {
        let (set, tag) = self.places(name);
        recent(&set.each_ref().map(|place| place.load(Ordering::Relaxed)), tag, second(now))
    }

    /// One more; how many that makes.
    pub(super) fn add(&self, name: &str, now: Timestamp) -> u32 {
        let ((set, tag), now) = (self.places(name), second(now));
        // An exchange fails only where another shard's has just succeeded.
        loop {
            let seen = set.each_ref().map(|place| place.load(Ordering::Relaxed));
            let is_own = |at: &usize| Entry::unpack(seen[*at]).tag == tag && Entry::unpack(seen[*at]).recent(now) > 0;
            let weakest = || (0..WAYS).min_by_key(|at| Entry::unpack(seen[*at]).recent(now)).unwrap_or(0);
            let at = (0..WAYS).find(is_own).unwrap_or_else(weakest);
            let count = if is_own(&at) { Entry::unpack(seen[at]).count + 1 } else { 1 };
            let entry = Entry { tag, count, second: now }.pack();
            if set[at].compare_exchange(seen[at], entry, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return recent(&seen, tag, now).saturating_add(1);
            }
        }
    }

    /// Where a name may be, and what it is known by there. Letter case does not count.
    fn places(&self, name: &str) -> (&[AtomicU64; WAYS], u64) {
        let hash = self.key.hash_one(name.to_ascii_lowercase());
        (&self.sets[hash as usize % SETS], hash >> (COUNT_BITS + SECOND_BITS))
    }
}

fn recent(places: &[u64; WAYS], tag: u64, now: u64) -> u32 {
    let own = places.iter().map(|packed| Entry::unpack(*packed)).filter(|entry| entry.tag == tag);
    let sum: u64 = own.map(|entry| entry.recent(now)).sum();
    u32::try_from(sum).unwrap_or(u32::MAX)
}

fn second(now: Timestamp) -> u64 {
    now.as_secs() & ((1 << SECOND_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis((1_800_000_000 + seconds) * 1000)
    }

    #[test]
    fn failures_count_for_a_while_whatever_the_letter_case() {
        let guesses = Guesses::default();
        assert_eq!(guesses.recent("user@x", at(0)), 0);
        assert_eq!([guesses.add("user@x", at(0)), guesses.add("User@X", at(60))], [1, 2]);
        assert_eq!((guesses.recent("uSer@x", at(660)), guesses.recent("other@x", at(660))), (2, 0));
        assert_eq!(guesses.recent("user@x", at(661)), 0);
        assert_eq!(guesses.add("user@x", at(661)), 1, "it begins anew");
        assert_eq!(guesses.recent("user@x", at(600)), 1, "a clock that was set back forgets nothing");
    }

    #[test]
    fn a_wrapping_second_forgets_nothing_too_early() {
        let guesses = Guesses::default();
        let wrap = Timestamp::from_millis((1 << SECOND_BITS) * 1000 - 5000);
        guesses.add("user@x", wrap);
        assert_eq!(guesses.recent("user@x", wrap + Duration::from_secs(600)), 1);
        assert_eq!(guesses.recent("user@x", wrap + Duration::from_secs(601)), 0);
    }

    #[test]
    fn who_fails_often_stays_counted_whatever_else_is_tried() {
        let guesses = Guesses::default();
        (0..50).for_each(|_| _ = guesses.add("attacked@x", at(0)));
        for number in 0..20 * SETS * WAYS {
            guesses.add(&number.to_string(), at(1));
        }
        assert_eq!(guesses.recent("attacked@x", at(1)), 50);
    }

    #[test]
    fn counts_never_run_over_into_what_a_name_is_known_by() {
        let entry = Entry { tag: 5, count: COUNT_MAX + 1, second: 7 };
        let Entry { tag, count, second } = Entry::unpack(entry.pack());
        assert_eq!((tag, count, second), (5, COUNT_MAX, 7));
    }

    #[test]
    fn shards_side_by_side_lose_no_failure() {
        let guesses = Guesses::default();
        // The name has its place before they start: a race for one could take two, of which the weaker may give way.
        guesses.add("user@x", at(0));
        std::thread::scope(|scope| {
            (0..4).for_each(|_| {
                scope.spawn(|| (0..10_000).for_each(|_| _ = guesses.add("user@x", at(0))));
            });
        });
        assert_eq!(guesses.recent("user@x", at(0)), 40_001);
    }
}
