//! What is remembered of a scanner that does not answer, so that not every message waits for it to its end. Pure.
//!
//! One silence may be the message's doing (an archive that takes minutes to unpack) and must not stop the others'
//! scans; a few in a row are the scanner's. Then it is left alone for a while, and one message after another finds out
//! whether it is back.

use std::time::Duration;

use shards::Instant;

/// Silences in a row after which it is left alone.
const SILENCES_MAX: u32 = 3;
/// How long it is left alone.
pub(super) const REST: Duration = Duration::from_secs(10);

/// A scanner's health.
#[derive(Debug, Default)]
pub(super) struct Health {
    silences: u32,
    rests_until: Option<Instant>,
}

impl Health {
    /// Whether it is left alone now.
    pub(super) fn rests(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| now < until)
    }

    /// Whether it may be asked now. Whoever is the first after a rest finds out for the others: their rest begins anew.
    pub(super) fn may_ask(&mut self, now: Instant) -> bool {
        match self.rests_until {
            Some(until) if now < until => false,
            Some(_) => {
                self.rests_until = Some(now + REST);
                true
            }
            None => true,
        }
    }

    /// It has answered, whatever.
    pub(super) fn answered(&mut self) {
        *self = Health::default();
    }

    /// It has not answered.
    pub(super) fn was_silent(&mut self, now: Instant) {
        self.silences = self.silences.saturating_add(1);
        if self.silences >= SILENCES_MAX {
            self.rests_until = Some(now + REST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silences_in_a_row_bring_rest_and_one_finds_out_when_it_is_over() {
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        let mut health = Health::default();
        health.was_silent(at(0));
        health.was_silent(at(0));
        health.answered();
        health.was_silent(at(0));
        health.was_silent(at(0));
        assert!(health.may_ask(at(1)), "two in a row are not enough");
        health.was_silent(at(1));
        assert!(health.rests(at(10)) && !health.may_ask(at(10)));
        assert!(!health.rests(at(11)));
        assert!(health.may_ask(at(11)), "the rest is over");
        assert!(!health.may_ask(at(11)), "for one");
        health.was_silent(at(15));
        assert!(!health.may_ask(at(24)));
        assert!(health.may_ask(at(25)));
        health.answered();
        assert!(health.may_ask(at(25)) && health.may_ask(at(25)));
    }
}
