//! Random numbers of a simulation: one stream per purpose, all derived from one seed.
//!
//! A new draw in one place (say, the disk) must not shift what another (say, the scheduler) draws; otherwise every change
//! of the simulator would throw away every regression seed.

use std::cell::RefCell;
use std::ops::Range;
use std::time::Duration;

/// One stream of random numbers.
pub struct Dice(RefCell<fastrand::Rng>);

impl Dice {
    /// The stream of `purpose` under `seed`.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let folded = purpose.bytes().fold(seed, |folded, byte| spread(folded ^ u64::from(byte)));
        Self(RefCell::new(fastrand::Rng::with_seed(spread(folded))))
    }

    /// Any number.
    pub fn any(&self) -> u64 {
        self.0.borrow_mut().u64(..)
    }

    /// A number below `end`, which must not be 0.
    pub fn below(&self, end: usize) -> usize {
        self.0.borrow_mut().usize(..end)
    }

    /// True with `probability` (0 to 1). Draws in any case, so that turning one knob leaves the rest of the stream alone.
    pub fn chance(&self, probability: f64) -> bool {
        self.0.borrow_mut().f64() < probability
    }

    /// A duration of `range`, whose end is not reached; its start if it is empty.
    pub fn between(&self, range: &Range<Duration>) -> Duration {
        let width = u64::try_from(range.end.saturating_sub(range.start).as_nanos()).unwrap_or(u64::MAX);
        let draw = self.any();
        range.start + Duration::from_nanos(if width == 0 { 0 } else { draw % width })
    }
}

/// Spreads every bit over the whole word (the finalizer of SplitMix64).
pub(crate) fn spread(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (word ^ (word >> 31)).wrapping_add(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_are_reproducible_and_independent() {
        let draws = |seed, purpose| {
            let dice = Dice::new(seed, purpose);
            (0..8).map(|_| dice.any()).collect::<Vec<_>>()
        };
        assert_eq!(draws(1, "disk"), draws(1, "disk"));
        assert_ne!(draws(1, "disk"), draws(1, "network"));
        assert_ne!(draws(1, "disk"), draws(2, "disk"));
    }

    #[test]
    fn durations_stay_in_their_range() {
        let dice = Dice::new(7, "test");
        let range = Duration::from_millis(2)..Duration::from_millis(5);
        for _ in 0..1000 {
            assert!(range.contains(&dice.between(&range)));
        }
        assert_eq!(dice.between(&(Duration::ZERO..Duration::ZERO)), Duration::ZERO);
    }
}
