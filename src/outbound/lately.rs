//! How many messages a second were accepted lately. Counts only; takes the time as an argument.

use std::time::Duration;

use shards::Instant;

/// What is looked back upon: this long, and up to twice as long.
const SPAN: Duration = Duration::from_secs(60);

/// A count of the span that runs and one of the span before.
#[derive(Debug, Default)]
pub(super) struct Lately {
    since: Instant,
    count: u64,
    before: u64,
}

impl Lately {
    /// So many were accepted.
    pub fn add(&mut self, messages: u64, now: Instant) {
        self.turn(now);
        self.count += messages;
    }

    /// Messages a second.
    pub fn rate(&mut self, now: Instant) -> f64 {
        self.turn(now);
        (self.before + self.count) as f64 / (SPAN + now.since(self.since)).as_secs_f64()
    }

    /// Begins a new span where one is over.
    fn turn(&mut self, now: Instant) {
        if now.since(self.since) < SPAN {
            return;
        }
        let follows = now.since(self.since) < 2 * SPAN;
        self.before = if follows { self.count } else { 0 };
        self.since = if follows { self.since + SPAN } else { now };
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_flow_is_seen_as_it_is_and_forgotten_after_a_while() {
        let (mut lately, mut now) = (Lately::default(), Instant::default());
        for _ in 0..1000 {
            now = now + Duration::from_millis(500);
            lately.add(1, now);
        }
        assert!((lately.rate(now) - 2.0).abs() < 0.1, "{}", lately.rate(now));
        assert!(lately.rate(now + SPAN) <= 2.0);
        assert_eq!(lately.rate(now + 3 * SPAN), 0.0);
    }
}
