//! Tokens of a rate: decides and counts; takes the time as an argument.
//!
//! A rate is kept in every stretch of its length if a token is used as soon as it is taken: who has to wait for something
//! else in between gives it back. An operator may release the number of a rate once, beside what comes evenly.

use std::time::Duration;

use shards::Instant;

use crate::config::limit::Rate;
use crate::route::Said;

/// One in so many of a rate's number may be used at once; the others come evenly.
const BURST_SHARE: u32 = 20;

/// Tokens come slower than the rate by one in so many: on its way to the peer one thing may catch up with another.
const MARGIN_SHARE: u32 = 25;

/// Tokens of a rate.
pub struct Tokens {
    pub interval: Duration,
    saved_max: u32,
    /// When all tokens that may be saved are there.
    pub full_at: Instant,
    /// When the last one was taken.
    taken_at: Instant,
    /// Those that an operator has released, and until when they are of use.
    released: Option<(u32, Instant)>,
}

impl Tokens {
    /// Those of `rate`, with none there at `empty_at`.
    pub fn new(rate: Rate, empty_at: Instant) -> Tokens {
        let saved_max = (rate.number / BURST_SHARE).max(1);
        // In a stretch of its length come those that were saved and those that come in it.
        let evenly = if saved_max == 1 { rate.number } else { rate.number - saved_max };
        let interval = rate.per / evenly;
        let interval = interval + interval / MARGIN_SHARE;
        Tokens { interval, saved_max, full_at: empty_at + interval * saved_max, taken_at: empty_at, released: None }
    }

    /// Those of what replies allow, so many a second; one is there at first: the probe.
    pub fn adjusted(rate: f64, now: Instant) -> Tokens {
        let interval = Duration::from_secs_f64(1.0 / rate);
        let saved_max = (rate as u32 / BURST_SHARE).max(1);
        Tokens { interval, saved_max, full_at: now + interval * (saved_max - 1), taken_at: now, released: None }
    }

    /// With as many there as of those that came more slowly before, `old`: of which some may be taken that are there only later.
    pub fn going_on(self, old: &Tokens, now: Instant) -> Tokens {
        let next_at = old.full_at - old.interval * (old.saved_max - 1);
        let full_at = if next_at <= now {
            self.full_at.min(old.full_at)
        } else {
            now.max(next_at - old.interval + self.interval) + self.interval * (self.saved_max - 1)
        };
        Tokens { full_at, ..self }
    }

    /// So many are there at once, beside those that come evenly; what is not used before `until` is lost.
    pub fn release(&mut self, number: u32, until: Instant) {
        self.released = Some((number, until));
    }

    /// How long until a token is there.
    pub fn wait(&self, now: Instant) -> Duration {
        if self.released.is_some_and(|(left, until)| left > 0 && now < until) {
            return Duration::ZERO;
        }
        self.full_at.since(now + self.interval * (self.saved_max - 1))
    }

    /// Takes the next token to be used `at` that time, which is not before the end of [`Tokens::wait`].
    pub fn take(&mut self, at: Instant) {
        match &mut self.released {
            Some((left, until)) if *left > 0 && at < *until => return *left -= 1,
            Some((_, until)) if at < *until => {}
            _ => self.released = None,
        }
        self.full_at = self.full_at.max(at) + self.interval;
        self.taken_at = at;
    }

    /// Gives a token back that was not used.
    pub fn give_back(&mut self) {
        // One is as good as another, and this way none is lost.
        if let Some((left, _)) = &mut self.released {
            *left += 1;
            return;
        }
        self.full_at = self.full_at - self.interval;
    }

    /// Gives back, some time later, one that was taken at `taken_at` and not used. It is lost if another one was taken since:
    /// had this one been there, no time would have counted while all that may be saved were, and the other came of that time.
    pub fn give_back_late(&mut self, taken_at: Instant) {
        if self.taken_at <= taken_at {
            self.give_back();
        }
    }
}

/// A rate with its tokens, and who says so.
pub struct Limited {
    pub rate: Rate,
    pub by: Box<str>,
    pub tokens: Tokens,
}

impl Limited {
    pub fn wait(limited: Option<&Limited>, now: Instant) -> Duration {
        limited.map_or(Duration::ZERO, |limited| limited.tokens.wait(now))
    }

    /// As `wanted` says from now on; tokens that are used stay used.
    pub fn renew(limited: &mut Option<Limited>, wanted: Option<&Said<Rate>>, empty_at: Instant) {
        let Some(said) = wanted else { return *limited = None };
        match limited {
            Some(known) if known.rate == said.value => known.by = said.by.clone(),
            _ => {
                let tokens = Tokens::new(said.value, empty_at);
                *limited = Some(Limited { rate: said.value, by: said.by.clone(), tokens });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// When tokens are taken by someone who is always there.
    fn taken(tokens: &mut Tokens, from: Instant, until: Instant) -> Vec<Instant> {
        let mut now = from;
        let mut times = Vec::new();
        while now < until {
            now = now + tokens.wait(now);
            tokens.take(now);
            times.push(now);
        }
        times
    }

    #[test]
    fn a_rate_is_kept_in_every_stretch_also_after_a_pause_and_a_restart() {
        for (number, per_s) in [(1, 1), (2, 1), (7, 60), (39, 1), (40, 1), (100, 1), (500, 3600), (1000, 1)] {
            let (rate, start) = (Rate { number, per: per_s * SECOND }, Instant::default());
            let mut tokens = Tokens::new(rate, start);
            let mut times = taken(&mut tokens, start, start + 3 * rate.per);
            let paused = *times.last().expect("some") + 2 * rate.per;
            times.extend(taken(&mut tokens, paused, paused + 3 * rate.per));
            let restarted = *times.last().expect("some");
            times.extend(taken(&mut Tokens::new(rate, restarted), restarted, restarted + 3 * rate.per));
            for (first, begin) in times.iter().enumerate() {
                let within = times[first..].iter().take_while(|time| time.since(*begin) < rate.per).count();
                assert!(within <= number as usize, "{within} within {:?}, at most {number}", rate.per);
            }
            let steady = times.iter().filter(|time| time.since(start) < 3 * rate.per).count();
            assert!(steady * 10 >= 3 * number as usize * 9 - 10, "goodput: {steady} of {number} in three stretches");
        }
    }

    #[test]
    fn a_token_that_is_given_back_is_there_again() {
        let (rate, start) = (Rate { number: 10, per: 10 * SECOND }, Instant::default() + 100 * SECOND);
        let mut tokens = Tokens::new(rate, Instant::default());
        tokens.take(start);
        assert!(!tokens.wait(start).is_zero());
        tokens.give_back();
        assert!(tokens.wait(start).is_zero());
        tokens.take(start);
        tokens.take(start);
        tokens.give_back();
        assert_eq!(tokens.wait(start), tokens.interval);
    }

    #[test]
    fn a_rate_is_kept_where_another_one_that_held_besides_is_lifted() {
        let (rate, start) = (Rate { number: 20, per: 10 * SECOND }, Instant::default());
        let (mut tokens, mut slower) = (Tokens::new(rate, start), Tokens::adjusted(1.0, start));
        let mut used = Vec::new();
        // Five wait for what comes slowly, when that ends.
        let lifted = start + 60 * SECOND;
        while used.last().is_none_or(|at| *at < lifted + 5 * SECOND) {
            let now = used.last().map_or(start, |at: &Instant| *at - 5 * SECOND).max(start);
            let at = now + slower.wait(now).max(tokens.wait(now));
            slower.take(at);
            tokens.take(at);
            used.push(at);
        }
        used.extend(taken(&mut tokens, lifted, lifted + 30 * SECOND));
        used.sort();
        for (first, begin) in used.iter().enumerate() {
            let within = used[first..].iter().take_while(|at| at.since(*begin) < rate.per).count();
            assert!(within <= 20, "{within} within {:?}", rate.per);
        }
    }

    #[test]
    fn what_is_taken_in_advance_counts_when_more_comes() {
        let start = Instant::default() + 100 * SECOND;
        let mut slow = Tokens::adjusted(1.0, start);
        (0..5).for_each(|_| slow.take(start + slow.wait(start)));
        let fast = Tokens::adjusted(2.0, start).going_on(&slow, start);
        assert_eq!(fast.wait(start), 4 * SECOND + SECOND / 2, "half a second after the last of those that are taken");
        let rested = Tokens::adjusted(1.0, start);
        assert!(Tokens::adjusted(2.0, start).going_on(&rested, start).wait(start).is_zero());
    }

    #[test]
    fn what_is_released_comes_at_once_beside_what_comes_evenly_and_not_later() {
        let (rate, start) = (Rate { number: 10, per: 3600 * SECOND }, Instant::default());
        let at_once = |tokens: &mut Tokens, now: Instant| {
            std::iter::from_fn(|| tokens.wait(now).is_zero().then(|| tokens.take(now))).count()
        };
        let mut tokens = Tokens::new(rate, start);
        assert_eq!(at_once(&mut tokens, start), 0);
        tokens.release(10, start + rate.per);
        tokens.take(start);
        tokens.give_back();
        assert_eq!(at_once(&mut tokens, start), 10, "what was given back among them");
        let times = taken(&mut tokens, start, start + 3 * rate.per);
        assert!(times.len() <= 30, "then as before: {}", times.len());
        tokens.release(10, start + 5 * rate.per);
        assert_eq!(at_once(&mut tokens, start + 6 * rate.per), 1, "it has lapsed");
        tokens.give_back();
        assert_eq!(at_once(&mut tokens, start + 6 * rate.per), 1);
    }

    #[test]
    fn a_token_that_is_given_back_late_is_there_again_unless_another_was_taken_since() {
        let (rate, start) = (Rate { number: 10, per: 10 * SECOND }, Instant::default() + 100 * SECOND);
        let mut tokens = Tokens::new(rate, Instant::default());
        tokens.take(start);
        tokens.give_back_late(start);
        assert!(tokens.wait(start).is_zero());
        tokens.take(start);
        let later = start + tokens.interval;
        tokens.take(later);
        tokens.give_back_late(start);
        assert_eq!(tokens.wait(later), tokens.interval);
    }
}
