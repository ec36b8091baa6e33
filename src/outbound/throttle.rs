//! What replies make of the limits of one source at one group of sites: lower at once, higher little by little. Pure; takes
//! the time as an argument.
//!
//! | what the peer says | what is left of what was in use |
//! |---|---|
//! | too many connections | half of the connections |
//! | too much, otherwise | half of the message rate |
//! | our address is on a block list or of bad reputation | a quarter of the rate, half of the connections |
//!
//! What many replies say at once is heard once, but for something worse. Then, as long as replies are good and what is
//! allowed is used, each step (a minute) gives a tenth back, up to what was too much: the *mark*. Where that was never
//! confirmed the steps double from there on, as it may have been far too low. Where about the same was too much again it
//! goes down by less (roots of the share) and stays just below for a while, the longer the more often this was so, before more
//! is tried in steps that begin small.
//! What reaches the configured limit is lifted; what was not spoken of for a day is forgotten. Each of the two numbers has its own such
//! episodes and steps: a signal about connections keeps no rate from growing.
//! Limits: two numbers and a sentence of [`WHY_CHARS_MAX`] characters.

mod level;

use serde::{Deserialize, Serialize};

use self::level::{Heard, Level};

/// Characters that are kept of a reason.
const WHY_CHARS_MAX: usize = 200;
/// What is so near to what is configured is lifted.
const LIFTED_SHARE: f64 = 0.999;
/// Steps for which distrust is heard once: it goes away slowly also where little enough is sent.
const DISTRUST_STEPS: u64 = 3;
/// Messages a second that count as sent where too few were to tell what is too much.
const UNKNOWN_RATE: f64 = 2.0;
/// A number that is used less than by this share does not grow.
const GROWTH_USE_SHARE: f64 = 0.5;
/// An adjustment that nobody spoke of for so long is forgotten.
const LIFTED_AFTER_S: u64 = 24 * 60 * 60;

/// What a reply says about what we send, the worse the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Signal {
    /// There are too many connections.
    Connections,
    /// There is too much of it.
    Rate,
    /// We are not trusted.
    Reputation,
}

impl Signal {
    /// Its name for people and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Connections => "connections",
            Signal::Rate => "rate",
            Signal::Reputation => "reputation",
        }
    }

    /// The share of the message rate, and of the connections, that it leaves.
    fn shares(self) -> (Option<f64>, Option<f64>) {
        match self {
            Signal::Connections => (None, Some(0.5)),
            Signal::Rate => (Some(0.5), None),
            Signal::Reputation => (Some(0.25), Some(0.5)),
        }
    }
}

/// Between what the numbers may be, and how long a step is.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Messages a second that are configured, if any.
    pub rate_max: Option<f64>,
    /// Messages a second, at least.
    pub rate_min: f64,
    /// Connections that are configured.
    pub connections_max: u32,
    /// Seconds of a step.
    pub step_s: u64,
}

/// What is in use.
#[derive(Clone, Copy, Debug)]
pub struct Use {
    /// Messages a second that were accepted lately.
    pub rate: f64,
    /// Connections.
    pub connections: u32,
}

/// A limit that was changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// `message_rate` (a second) or `connections_max`.
    pub limit: &'static str,
    /// What was allowed before; `None`: what is configured.
    pub from: Option<f64>,
    /// What is allowed now; `None`: what is configured.
    pub to: Option<f64>,
    /// Why, for people.
    pub why: String,
}

impl Change {
    /// Whether less is allowed than before.
    pub fn is_lower(&self) -> bool {
        self.to.is_some_and(|to| self.from.is_none_or(|from| to < from))
    }
}

/// What replies have made of the limits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Throttle {
    rate: Option<Level>,
    connections: Option<Level>,
    /// The last signal, and its words.
    heard: Option<(Signal, Box<str>)>,
    heard_s: u64,
}

impl Throttle {
    /// Messages a second, where they are adjusted.
    pub fn rate(&self) -> Option<f64> {
        self.rate.as_ref().and_then(Level::in_force).map(|level| level.value)
    }

    /// Connections, where they are adjusted; at least one.
    pub fn connections(&self) -> Option<u32> {
        self.connections.as_ref().and_then(Level::in_force).map(|level| (level.value as u32).max(1))
    }

    /// The last signal, its words and when it came, in seconds since the epoch.
    pub fn heard(&self) -> Option<(Signal, &str, u64)> {
        self.heard.as_ref().map(|(signal, why)| (*signal, &**why, self.heard_s))
    }

    /// When the message rate, and the connections, may grow at the earliest, in seconds since the epoch: if at least half of
    /// what is allowed is used until then.
    pub fn grow_at_s(&self, step_s: u64) -> [Option<u64>; 2] {
        [&self.rate, &self.connections]
            .map(|level| level.as_ref().and_then(Level::in_force).map(|level| level.grows_at_s(step_s)))
    }

    /// Whether something is limited.
    pub fn limits(&self) -> bool {
        self.rate().is_some() || self.connections().is_some()
    }

    /// Whether nothing is known.
    pub fn is_idle(&self) -> bool {
        self.rate.is_none() && self.connections.is_none()
    }

    /// A reply is a signal; nothing is sent for `pause_s` because of it.
    pub fn hear(
        &mut self,
        (signal, why): (Signal, &str),
        used: Use,
        bounds: &Bounds,
        pause_s: u64,
        now_s: u64,
    ) -> Vec<Change> {
        self.mend_clock(now_s);
        let (rate_share, connections_share) = signal.shares();
        let (from, from_connections) = (self.rate(), self.shown());
        let episode_s = if signal == Signal::Reputation { bounds.step_s.saturating_mul(DISTRUST_STEPS) } else { 0 };
        let episode_s = episode_s.max(pause_s);
        let heard = |share, used, min| Heard { share, used, min, step_s: bounds.step_s, pause_s, episode_s, now_s };
        let mut is_news = false;
        if let Some(share) = rate_share {
            let lately = if self.rate.is_none() { used.rate.max(UNKNOWN_RATE) } else { used.rate };
            let used = lately.min(bounds.rate_max.unwrap_or(f64::INFINITY));
            is_news |= Level::hear(&mut self.rate, &heard(share, used, bounds.rate_min));
        }
        if let Some(share) = connections_share {
            let used = f64::from(used.connections.min(bounds.connections_max));
            let heard = Heard { episode_s: pause_s, ..heard(share, used, 1.0) };
            is_news |= Level::hear(&mut self.connections, &heard);
        }
        if is_news {
            self.heard = Some((signal, why.chars().take(WHY_CHARS_MAX).collect()));
            self.heard_s = now_s;
        }
        self.changes(from, from_connections, |_, _| why.into())
    }

    /// What has changed, where it was this before; why, by what holds now.
    fn changes(
        &self,
        from: Option<f64>,
        from_connections: Option<f64>,
        why: impl Fn(&'static str, Option<f64>) -> String,
    ) -> Vec<Change> {
        let pairs = [("message_rate", from, self.rate()), ("connections_max", from_connections, self.shown())];
        let changed = pairs.into_iter().filter(|(_, from, to)| from != to);
        changed.map(|(limit, from, to)| Change { limit, from, to, why: why(limit, to) }).collect()
    }

    /// A wall clock that was ahead when something was heard must not keep the limits as they were until then.
    fn mend_clock(&mut self, now_s: u64) {
        if self.heard_s > now_s {
            self.heard_s = now_s;
            for level in [&mut self.rate, &mut self.connections].into_iter().flatten() {
                level.mend_clock(now_s);
            }
        }
    }

    fn shown(&self) -> Option<f64> {
        self.connections().map(f64::from)
    }

    /// So many messages were accepted, over so many connections.
    pub fn went_well(&mut self, messages: u64, connections: u32, bounds: &Bounds, now_s: u64) -> Vec<Change> {
        self.mend_clock(now_s);
        let (from, from_connections) = (self.rate(), self.shown());
        let is_old = |level: &Level| now_s.saturating_sub(level.lowered_s) >= LIFTED_AFTER_S;
        let mut seen = [None, None];
        if let Some(level) = &mut self.rate
            && let Some((accepted, elapsed_s)) = level.look(messages, bounds.step_s, now_s)
        {
            seen[0] = Some((accepted, elapsed_s));
            if accepted as f64 >= GROWTH_USE_SHARE * level.value * elapsed_s as f64 {
                level.raise(bounds.step_s, now_s);
            }
            if let Some(max) = bounds.rate_max.filter(|max| level.value >= max * LIFTED_SHARE) {
                level.lift(max);
            }
            if is_old(level) {
                self.rate = None;
            }
        }
        if let Some(level) = &mut self.connections
            && let Some((accepted, elapsed_s)) = level.look(messages, bounds.step_s, now_s)
        {
            seen[1] = Some((accepted, elapsed_s));
            if f64::from(connections) >= GROWTH_USE_SHARE * level.value {
                level.raise(bounds.step_s, now_s);
            }
            let max = f64::from(bounds.connections_max);
            if level.value >= max * LIFTED_SHARE {
                level.lift(max);
            }
            if is_old(level) {
                self.connections = None;
            }
        }
        self.changes(from, from_connections, |limit, to| match (to, seen[usize::from(limit != "message_rate")]) {
            (Some(_), Some((accepted, elapsed_s))) => format!("{accepted} messages in {elapsed_s} s were accepted"),
            _ => "replies have been good for long enough: what is configured holds again".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::level::HELD_STEPS;
    use super::*;

    const MINUTE_S: u64 = 60;
    const FREE: Bounds = Bounds { rate_max: None, rate_min: 1.0 / 60.0, connections_max: 20, step_s: MINUTE_S };

    fn used(rate: f64, connections: u32) -> Use {
        Use { rate, connections }
    }

    fn heard(throttle: &mut Throttle, signal: Signal, rate: f64, now_s: u64) -> Vec<Change> {
        throttle.hear((signal, "421 no"), used(rate, 10), &FREE, MINUTE_S, now_s)
    }

    /// Minute by minute all that is allowed goes well, until the time is over.
    fn goes_well(throttle: &mut Throttle, bounds: &Bounds, from_s: u64, minutes: u64) -> Vec<f64> {
        let step = |minute: u64| {
            let messages = throttle.rate().unwrap_or(1000.0) * MINUTE_S as f64;
            throttle.went_well(messages.ceil() as u64, 20, bounds, from_s + minute * MINUTE_S);
            throttle.rate().unwrap_or(f64::INFINITY)
        };
        (1..=minutes).map(step).collect()
    }

    #[test]
    fn a_burst_of_replies_is_heard_once_and_something_worse_besides() {
        let mut throttle = Throttle::default();
        assert_eq!(heard(&mut throttle, Signal::Rate, 10.0, 1000).len(), 1);
        assert_eq!((throttle.rate(), throttle.connections()), (Some(5.0), None));
        for later in 0..MINUTE_S {
            assert_eq!(heard(&mut throttle, Signal::Rate, 10.0, 1000 + later), []);
        }
        let worse = heard(&mut throttle, Signal::Reputation, 10.0, 1030);
        assert_eq!((worse.len(), throttle.rate(), throttle.connections()), (2, Some(2.5), Some(5)));
        let again = heard(&mut throttle, Signal::Reputation, 10.0, 1209);
        assert!(again.len() == 1 && again[0].limit == "connections_max", "distrust goes away slowly: {again:?}");
        assert_eq!(heard(&mut throttle, Signal::Rate, 0.0, 1211)[0].to, Some(0.9375), "the pause counts for little");
        assert_eq!(throttle.heard(), Some((Signal::Rate, "421 no", 1211)));
        assert_eq!(throttle.grow_at_s(MINUTE_S)[0], Some(1211 + 2 * MINUTE_S));
    }

    #[test]
    fn each_signal_lowers_what_it_is_about_and_a_reputation_more() {
        let lowered = |signal| {
            let mut throttle = Throttle::default();
            let changes = heard(&mut throttle, signal, 8.0, 0);
            assert!(changes.iter().all(|change| change.is_lower() && change.why == "421 no"), "{changes:?}");
            (throttle.rate(), throttle.connections())
        };
        assert_eq!(lowered(Signal::Connections), (None, Some(5)));
        assert_eq!(lowered(Signal::Rate), (Some(4.0), None));
        assert_eq!(lowered(Signal::Reputation), (Some(2.0), Some(5)));
    }

    #[test]
    fn what_is_said_of_connections_keeps_no_rate_from_growing_and_neither_keeps_the_other_from_being_heard() {
        let mut throttle = Throttle::default();
        heard(&mut throttle, Signal::Rate, 10.0, 0);
        assert_eq!(heard(&mut throttle, Signal::Connections, 10.0, 1).len(), 1, "in the same minute");
        assert_eq!((throttle.rate(), throttle.connections()), (Some(5.0), Some(5)));
        // Somebody takes connections away from us every minute, and no new one is opened for half a minute then.
        let mut rates = Vec::new();
        for minute in 1..=10 {
            rates.extend(goes_well(&mut throttle, &FREE, minute * MINUTE_S, 1));
            heard(&mut throttle, Signal::Connections, 10.0, minute * MINUTE_S + 40);
        }
        assert!(rates[1..].windows(2).all(|pair| pair[0] < pair[1]), "{rates:?}");
        assert!(throttle.rate() > Some(10.0) && throttle.connections() == Some(1), "{throttle:?}");
    }

    #[test]
    fn it_comes_back_step_by_step_and_is_lifted_at_what_is_configured() {
        let bounds = Bounds { rate_max: Some(8.0), ..FREE };
        let mut throttle = Throttle::default();
        throttle.hear((Signal::Rate, "slow down"), used(100.0, 1), &bounds, 0, 0);
        assert_eq!(throttle.rate(), Some(4.0), "no more was allowed than is configured");
        let rates = goes_well(&mut throttle, &bounds, 0, 6);
        let wanted = [4.8, 5.6, 6.4, 7.2, f64::INFINITY, f64::INFINITY];
        assert!(
            rates.iter().zip(wanted).all(|(rate, wanted)| *rate == wanted || (rate - wanted).abs() < 1e-9),
            "{rates:?}"
        );
        assert!(!throttle.limits());
        // What is too much only a little below what is configured is learned, too.
        assert_eq!(throttle.hear((Signal::Rate, "slow down"), used(7.9, 1), &bounds, 0, 3600).len(), 1);
        let rates = goes_well(&mut throttle, &bounds, 3600, 15);
        assert!(rates.iter().all(|rate| *rate < 8.0), "{rates:?}");
    }

    #[test]
    fn a_clock_that_was_ahead_holds_up_nothing() {
        let mut throttle = Throttle::default();
        heard(&mut throttle, Signal::Rate, 10.0, 1_000_000);
        let rates = goes_well(&mut throttle, &FREE, 0, 3);
        assert!(rates[2] > rates[0] && rates[0] >= 5.0, "{rates:?}");
        heard(&mut throttle, Signal::Rate, 10.0, 1_000_000);
        assert_eq!(heard(&mut throttle, Signal::Rate, 10.0, 500).len(), 1, "it is heard again");
    }

    #[test]
    fn what_is_not_used_does_not_grow() {
        let mut throttle = Throttle::default();
        heard(&mut throttle, Signal::Rate, 10.0, 0);
        for minute in 2..100 {
            assert_eq!(throttle.went_well(10, 0, &FREE, minute * MINUTE_S), []);
        }
        assert_eq!(throttle.rate(), Some(5.0));
        let lifted = throttle.went_well(1, 0, &FREE, LIFTED_AFTER_S + 1);
        assert!(throttle.is_idle() && lifted[0].to.is_none() && !lifted[0].is_lower(), "{lifted:?}");
    }

    #[test]
    fn one_that_was_much_too_low_grows_fast_and_one_that_was_confirmed_is_stayed_below() {
        let mut throttle = Throttle::default();
        heard(&mut throttle, Signal::Rate, 0.1, 0);
        let rates = goes_well(&mut throttle, &FREE, MINUTE_S, 20);
        assert!(rates.windows(2).all(|pair| pair[0] < pair[1]) && rates[15] > 10.0, "{rates:?}");
        let mut throttle = Throttle::default();
        let mut at_s = 0;
        for held in HELD_STEPS {
            heard(&mut throttle, Signal::Rate, 10.0, at_s);
            let mut told = [None; 2];
            let minutes = (1..200).find(|minute| {
                told = throttle.grow_at_s(MINUTE_S);
                goes_well(&mut throttle, &FREE, at_s + minute * MINUTE_S, 1);
                throttle.rate() > Some(10.0)
            });
            let minutes = minutes.expect("it goes beyond some time");
            assert!((held..held + 10).contains(&minutes), "{minutes} minutes, held for {held}");
            let [Some(grows_at_s), None] = told else { panic!("{told:?}") };
            assert!(grows_at_s >= at_s + held * MINUTE_S, "it was told to grow at {grows_at_s} s");
            at_s += (minutes + 2) * MINUTE_S;
        }
    }

    #[test]
    fn it_is_never_lower_than_the_floor() {
        let mut throttle = Throttle::default();
        for hour in 0..100 {
            heard(&mut throttle, Signal::Reputation, 0.0, hour * 3600);
            assert!(throttle.rate() >= Some(FREE.rate_min) && throttle.connections() >= Some(1));
        }
        assert_eq!((throttle.rate(), throttle.connections()), (Some(FREE.rate_min), Some(1)));
    }

    /// The share that is taken of what a provider allows, from the third hour on: what comes beyond its rate empties its
    /// bucket, and then it says so.
    fn taken(allowed: f64, saved: f64) -> f64 {
        let (mut throttle, mut bucket, mut taken, mut quiet_until_s) = (Throttle::default(), saved, Vec::new(), 0);
        for now_s in 1..=8 * 3600 {
            bucket = f64::min(saved, bucket + allowed);
            let wanted = if now_s < quiet_until_s { 0.0 } else { throttle.rate().unwrap_or(1e6) };
            let sent = f64::min(wanted, bucket);
            bucket -= sent;
            taken.push(sent);
            if sent < wanted {
                let lately = taken.iter().rev().take(90).sum::<f64>() / 90.0;
                heard(&mut throttle, Signal::Rate, lately, now_s);
                quiet_until_s = now_s + MINUTE_S;
            } else {
                throttle.went_well(sent.ceil() as u64, 1, &FREE, now_s);
            }
        }
        taken[2 * 3600..].iter().sum::<f64>() / (allowed * 6.0 * 3600.0)
    }

    #[test]
    fn a_provider_that_allows_so_much_gets_nearly_all_of_it() {
        for (allowed, saved) in [(5.0, 50.0), (0.5, 5.0), (200.0, 6000.0), (5.0, 600.0), (30.0, 30.0), (1000.0, 2000.0)]
        {
            let share = taken(allowed, saved);
            assert!(share > 0.9, "{share} of {allowed}, saving {saved}");
        }
    }

    #[test]
    fn it_is_kept_as_it_is() {
        let mut throttle = Throttle::default();
        heard(&mut throttle, Signal::Reputation, 3.3, 7);
        let kept = serde_json::to_vec(&throttle).expect("it can be written");
        assert_eq!(serde_json::from_slice::<Throttle>(&kept).expect("it can be read"), throttle);
    }
}
