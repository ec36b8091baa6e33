//! What one source may do at the destinations of one group: connections at a time, and how often new ones and messages.
//! Decides and counts; takes the time as an argument.
//!
//! Owns: the counts of a group, on the one shard that is the home of its paths, so that no two shards exceed them together.
//! After a restart rates begin as if they had just been used up: what the process before did still counts at the peer.
//! What replies have made of them ([`Throttle`]) and the plan of a source that warms up ([`Warming`]) hold besides.
//! Limits: a rate is kept in every stretch of its length, by tokens that come evenly; of these [`BURST_SHARE`] may be saved.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;

use shards::{Instant, Reactor};

use super::known::Known;
use super::lately::Lately;
use super::path::Path;
use super::throttle::{Bounds, Change, Signal, Throttle, Use};
use super::warm_up::{self, Warming};
use crate::config::Shaping;
use crate::config::limit::Rate;
use crate::queue::Queue;
use crate::route::{Effective, Said};

/// One in so many of a rate's number may be used at once; the others come evenly.
const BURST_SHARE: u32 = 20;

/// Tokens come slower than the rate by one in so many: on its way to the peer one thing may catch up with another.
const MARGIN_SHARE: u32 = 25;

/// What the limits let go within this time is waited for in place; for what takes longer the path rests.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(5);

pub(super) type SharedBudget = Rc<RefCell<Budget>>;

/// Tokens of a rate.
struct Tokens {
    interval: Duration,
    saved_max: u32,
    /// When all tokens that may be saved are there.
    full_at: Instant,
}

impl Tokens {
    /// Those of `rate`, with none there at `empty_at`.
    fn new(rate: Rate, empty_at: Instant) -> Tokens {
        let saved_max = (rate.number / BURST_SHARE).max(1);
        // In a stretch of its length come those that were saved and those that come in it.
        let evenly = if saved_max == 1 { rate.number } else { rate.number - saved_max };
        let interval = rate.per / evenly;
        let interval = interval + interval / MARGIN_SHARE;
        Tokens { interval, saved_max, full_at: empty_at + interval * saved_max }
    }

    /// Those of what replies allow, so many a second; one is there at first: the probe.
    fn adjusted(rate: f64, now: Instant) -> Tokens {
        let interval = Duration::from_secs_f64(1.0 / rate);
        let saved_max = (rate as u32 / BURST_SHARE).max(1);
        Tokens { interval, saved_max, full_at: now + interval * (saved_max - 1) }
    }

    /// How long until a token is there.
    fn wait(&self, now: Instant) -> Duration {
        self.full_at.since(now + self.interval * (self.saved_max - 1))
    }

    /// Takes the next token, which is there after [`Tokens::wait`].
    fn take(&mut self, now: Instant) {
        self.full_at = self.full_at.max(now) + self.interval;
    }
}

/// A rate with its tokens, and who says so.
struct Limited {
    rate: Rate,
    by: Box<str>,
    tokens: Tokens,
}

impl Limited {
    fn wait(limited: Option<&Limited>, now: Instant) -> Duration {
        limited.map_or(Duration::ZERO, |limited| limited.tokens.wait(now))
    }

    /// As `wanted` says from now on; tokens that are used stay used.
    fn renew(limited: &mut Option<Limited>, wanted: Option<&Said<Rate>>, empty_at: Instant) {
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

/// What is left of the limits of one source at one group.
pub(super) struct Budget {
    name: Box<str>,
    connections: u32,
    connections_max: u32,
    messages_per_connection_max: u32,
    /// Paths that wait for the end of a connection, each once.
    line: VecDeque<Weak<RefCell<Path>>>,
    new_connections: Option<Limited>,
    messages: Option<Limited>,
    /// Messages that were accepted lately.
    pub lately: Lately,
    /// What replies have made of the limits, if anything.
    adjusted: Option<Box<Adjusted>>,
    /// The plan that the source warms up by, if it does.
    pub warming: Option<Box<Warming>>,
    /// Where what is learned is kept, and as what.
    pub kept: Option<(Queue, Box<str>)>,
    /// Until when the peer wants nothing of the source, in seconds since the epoch.
    pub blocked_until_s: u64,
}

/// What replies allow.
pub(super) struct Adjusted {
    pub throttle: Throttle,
    messages: Option<Tokens>,
}

impl Adjusted {
    fn new(throttle: Throttle, now: Instant) -> Box<Adjusted> {
        let messages = throttle.rate().map(|rate| Tokens::adjusted(rate, now));
        Box::new(Adjusted { throttle, messages })
    }

    /// Follows what the throttle allows now; tokens that are used stay used.
    fn follow(&mut self, now: Instant) {
        let tokens = self.throttle.rate().map(|rate| Tokens::adjusted(rate, now));
        self.messages = match (self.messages.take(), tokens) {
            (Some(old), Some(new)) if new.interval <= old.interval => {
                Some(Tokens { full_at: new.full_at.min(old.full_at), ..new })
            }
            (_, tokens) => tokens,
        };
    }
}

impl Budget {
    /// One that nothing was used of but, for what it knows, all until `empty_at`.
    pub fn new(limits: &Effective, empty_at: Instant) -> Budget {
        let name = limits.name.clone();
        let mut budget = Budget {
            name,
            connections: 0,
            connections_max: u32::MAX,
            messages_per_connection_max: u32::MAX,
            line: VecDeque::new(),
            new_connections: None,
            messages: None,
            lately: Lately::default(),
            adjusted: None,
            warming: None,
            kept: None,
            blocked_until_s: 0,
        };
        budget.configure(limits, empty_at);
        budget
    }

    /// Keeps to `limits` from now on.
    pub fn configure(&mut self, limits: &Effective, empty_at: Instant) {
        self.connections_max = limits.connections_max.as_ref().map_or(u32::MAX, |said| said.value.max(1));
        let messages_max = limits.messages_per_connection_max.as_ref();
        self.messages_per_connection_max = messages_max.map_or(u32::MAX, |said| said.value);
        Limited::renew(&mut self.new_connections, limits.connection_rate.as_ref(), empty_at);
        Limited::renew(&mut self.messages, limits.message_rate.as_ref(), empty_at);
    }

    /// What it is of.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What replies have made of the limits.
    pub fn throttle(&self) -> Option<&Throttle> {
        self.adjusted.as_ref().map(|adjusted| &adjusted.throttle)
    }

    /// Goes on with what replies made of the limits before.
    pub fn resume(&mut self, throttle: Option<Throttle>, now: Instant) {
        self.adjusted = throttle.map(|throttle| Adjusted::new(throttle, now));
    }

    /// A reply is a signal; nothing is sent for `pause` because of it.
    pub fn hear(
        &mut self,
        signal: (Signal, &str),
        pause: Duration,
        shaping: &Shaping,
        (now, wall_s): (Instant, u64),
    ) -> Vec<Change> {
        let used = Use { rate: self.lately.rate(now), connections: self.connections };
        let bounds = self.bounds(shaping);
        let adjusted = self.adjusted.get_or_insert_with(|| Adjusted::new(Throttle::default(), now));
        // Of a burst of replies only one is heard, also where nothing rests because of them.
        let pause_s = pause.max(shaping.recovery_step).as_secs();
        let changes = adjusted.throttle.hear(signal, used, &bounds, pause_s, wall_s);
        if !changes.is_empty() {
            adjusted.follow(now);
        }
        changes
    }

    /// So many messages were accepted just now, under limits that are adjusted.
    pub fn went_well(&mut self, messages: u64, shaping: &Shaping, (now, wall_s): (Instant, u64)) -> Vec<Change> {
        let bounds = self.bounds(shaping);
        let Some(adjusted) = &mut self.adjusted else { return Vec::new() };
        let changes = adjusted.throttle.went_well(messages, self.connections, &bounds, wall_s);
        if adjusted.throttle.is_idle() {
            self.adjusted = None;
        } else if !changes.is_empty() {
            adjusted.follow(now);
        }
        changes
    }

    fn bounds(&self, shaping: &Shaping) -> Bounds {
        Bounds {
            rate_max: self.messages.as_ref().map(|limited| limited.rate.per_s()),
            rate_min: shaping.message_rate_min.per_s(),
            connections_max: self.connections_max,
            step_s: shaping.recovery_step.as_secs().max(1),
        }
    }

    /// Connections that are permitted now.
    fn connections_now_max(&self) -> u32 {
        let adjusted = self.throttle().and_then(Throttle::connections);
        adjusted.map_or(self.connections_max, |adjusted| adjusted.min(self.connections_max))
    }

    fn message_wait(&self, now: Instant) -> Duration {
        let adjusted = self.adjusted.as_ref().and_then(|adjusted| adjusted.messages.as_ref());
        let adjusted = adjusted.map_or(Duration::ZERO, |tokens| tokens.wait(now));
        Limited::wait(self.messages.as_ref(), now).max(adjusted)
    }

    fn take_message(&mut self, now: Instant) {
        if let Some(limited) = &mut self.messages {
            limited.tokens.take(now);
        }
        if let Some(tokens) = self.adjusted.as_mut().and_then(|adjusted| adjusted.messages.as_mut()) {
            tokens.take(now);
        }
    }

    /// How long nothing goes, by each of what it is limited by, where that is longer than is waited for in place; and why.
    fn rests(&self, with_connection: bool, now: Instant) -> Vec<(Duration, String)> {
        let of = |what: &str, limited: &Option<Limited>| {
            let Limited { rate, by, tokens } = limited.as_ref()?;
            let why = || format!("the {what} of {}, {rate} as {by} has it, is used up", self.name);
            long(tokens.wait(now)).map(|wait| (wait, why()))
        };
        let connections = (!with_connection).then(|| of("connection_rate", &self.new_connections)).flatten();
        let adjusted = self.adjusted.as_ref().and_then(|adjusted| {
            let wait = long(adjusted.messages.as_ref()?.wait(now))?;
            let (rate, (_, said, _)) = (adjusted.throttle.rate()?, adjusted.throttle.heard()?);
            Some((
                wait,
                format!("the message_rate of {}, {rate:.2} a second since it said: {said}, is used up", self.name),
            ))
        });
        let plan = self.warming.as_ref().and_then(|warming| warming.rest(&self.name, now));
        [connections, of("message_rate", &self.messages), adjusted, plan].into_iter().flatten().collect()
    }

    /// Whether nothing would be lost by forgetting it.
    pub fn is_forgettable(&self, now: Instant) -> bool {
        let is_full = |limited: &Option<Limited>| limited.as_ref().is_none_or(|limited| limited.tokens.full_at <= now);
        self.connections == 0 && is_full(&self.new_connections) && is_full(&self.messages)
    }
}

/// A wait that is longer than what is waited for in place.
fn long(wait: Duration) -> Option<Duration> {
    Some(wait).filter(|wait| *wait > WAIT_MAX)
}

/// What the next connection waits for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// Nothing.
    Now,
    /// A token.
    After(Duration),
    /// The end of another connection.
    WhenOneEnds,
}

/// A connection's place in the budgets that it counts for, given back when it is dropped.
pub(super) struct Place(pub Budgets);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.iter().for_each(|budget| budget.borrow_mut().connections -= 1);
    }
}

/// The budgets that count for one path.
#[derive(Clone, Default)]
pub(super) struct Budgets(pub Vec<SharedBudget>);

impl Budgets {
    /// Whether one more connection may be opened.
    pub fn leave_to_connect(&self, now: Instant) -> Leave {
        if self.0.iter().any(|budget| budget.borrow().connections >= budget.borrow().connections_now_max()) {
            return Leave::WhenOneEnds;
        }
        match self.connection_wait(now).max(self.message_wait(now).saturating_sub(WAIT_MAX)) {
            Duration::ZERO => Leave::Now,
            wait => Leave::After(wait),
        }
    }

    /// A place for a connection, with its token.
    pub fn begin_connection(&self, now: Instant) -> Place {
        self.0.iter().for_each(|budget| budget.borrow_mut().connections += 1);
        self.take_connection(now);
        Place(self.clone())
    }

    fn connection_wait(&self, now: Instant) -> Duration {
        let waits = self.0.iter().map(|budget| Limited::wait(budget.borrow().new_connections.as_ref(), now));
        waits.max().unwrap_or_default()
    }

    fn take_connection(&self, now: Instant) {
        for budget in &self.0 {
            if let Some(limited) = &mut budget.borrow_mut().new_connections {
                limited.tokens.take(now);
            }
        }
    }

    fn message_wait(&self, now: Instant) -> Duration {
        self.0.iter().map(|budget| budget.borrow().message_wait(now)).max().unwrap_or_default()
    }

    /// The budget of all that goes to the group, which replies adjust.
    pub fn whole(&self) -> Option<&SharedBudget> {
        self.0.first()
    }

    /// Whether there are more connections than are permitted now.
    pub fn has_too_many(&self) -> bool {
        self.0.iter().any(|budget| budget.borrow().connections > budget.borrow().connections_now_max())
    }

    /// How long nothing goes, where that is longer than anything is waited for in place, and why. `with_connection`: one
    /// stands already.
    pub fn rest(&self, with_connection: bool, now: Instant) -> Option<(Duration, String)> {
        let waits = self.0.iter().flat_map(|budget| budget.borrow().rests(with_connection, now));
        waits.max_by_key(|(wait, _)| *wait)
    }

    /// Waits until one more transaction may begin; `false`: that takes too long.
    pub async fn leave_to_send(&self, reactor: &Reactor) -> bool {
        let mut now = reactor.now();
        let deadline = now + WAIT_MAX;
        loop {
            let wait = self.message_wait(now);
            if wait > deadline.since(now) {
                return false;
            }
            // A token of one budget alone is taken before it is there: whoever else waits gets the next one.
            if wait.is_zero() || self.0.len() == 1 {
                self.take_message(now);
                if !wait.is_zero() {
                    reactor.sleep(wait).await;
                }
                return self.leave_of_plan(reactor).await;
            }
            reactor.sleep(wait).await;
            now = reactor.now();
        }
    }

    /// Waits until the plan that the source warms up by gives leave for one more message; `false`: not today.
    async fn leave_of_plan(&self, reactor: &Reactor) -> bool {
        let Some(whole) = self.whole().filter(|whole| whole.borrow().warming.is_some()) else { return true };
        loop {
            let (asked, kept) = {
                let mut budget = whole.borrow_mut();
                let asked = budget.warming.as_mut().map(|warming| warming.ask(reactor.wall(), reactor.now()));
                (asked, budget.kept.clone())
            };
            let grant = match asked {
                None | Some(warm_up::Leave::Sent) => return true,
                Some(warm_up::Leave::UsedUp) => return false,
                Some(warm_up::Leave::AfterGrant(grant)) => grant,
            };
            let is_kept = match kept {
                Some((queue, path)) => {
                    let known = Known::of(&whole.borrow()).encode();
                    queue.learn_for_good(&path, known.as_deref()).await
                }
                None => true,
            };
            let warming = &mut whole.borrow_mut().warming;
            match warming {
                Some(warming) if is_kept => warming.grant(grant),
                Some(warming) => warming.stop(),
                None => return true,
            }
        }
    }

    fn take_message(&self, now: Instant) {
        self.0.iter().for_each(|budget| budget.borrow_mut().take_message(now));
    }

    /// Transactions that a connection may have, at most.
    pub fn messages_per_connection_max(&self) -> u32 {
        let each = self.0.iter().map(|budget| budget.borrow().messages_per_connection_max);
        each.min().unwrap_or(u32::MAX).max(1)
    }

    /// The path stands in line for the end of a connection.
    pub fn stand_in_line(&self, path: &Rc<RefCell<Path>>) {
        self.0.iter().for_each(|budget| budget.borrow_mut().line.push_back(Rc::downgrade(path)));
    }

    /// Those that stand in line, in order; they do no more.
    pub fn take_line(&self) -> Vec<Rc<RefCell<Path>>> {
        let lines = self.0.iter().map(|budget| std::mem::take(&mut budget.borrow_mut().line));
        lines.flatten().filter_map(|path| path.upgrade()).collect()
    }

    /// Waits until a search may connect once more, in the place that it has; `false`: that takes longer than `wait_max`.
    pub async fn leave_to_connect_again(&self, reactor: &Reactor, wait_max: Duration) -> bool {
        let now = reactor.now();
        let wait = self.connection_wait(now);
        if wait > wait_max {
            return false;
        }
        self.take_connection(now);
        if !wait.is_zero() {
            reactor.sleep(wait).await;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits(connections_max: u32, message_rate: Rate) -> Effective {
        fn said<T>(value: T) -> Option<Said<T>> {
            Some(Said { value, by: "a test".into() })
        }
        Effective {
            name: "group".into(),
            connections_max: said(connections_max),
            messages_per_connection_max: None,
            connection_rate: None,
            message_rate: said(message_rate),
        }
    }

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
    fn connections_end_before_others_begin() {
        let (now, rate) = (Instant::default(), Rate { number: 1000, per: SECOND });
        let budget = Rc::new(RefCell::new(Budget::new(&limits(2, rate), now)));
        let (one, other) = (Budgets(vec![budget.clone()]), Budgets(vec![budget.clone()]));
        let later = now + SECOND;
        let first = one.begin_connection(later);
        let second = other.begin_connection(later);
        assert_eq!(one.leave_to_connect(later), Leave::WhenOneEnds, "paths of a group share");
        drop(second);
        assert_eq!(one.leave_to_connect(later), Leave::Now);
        drop(first);
        assert!(budget.borrow().is_forgettable(later));
    }

    #[test]
    fn a_slow_rate_is_a_rest_with_its_reason() {
        let (now, rate) = (Instant::default(), Rate { number: 10, per: 3600 * SECOND });
        let budgets = Budgets(vec![Rc::new(RefCell::new(Budget::new(&limits(2, rate), now)))]);
        let (pause, why) = budgets.rest(true, now).expect("it rests");
        assert!(pause > 300 * SECOND && why.contains("message_rate of group, 10/3600s as a test has it"), "{why}");
        assert!(matches!(budgets.leave_to_connect(now), Leave::After(_)));
        assert_eq!(budgets.rest(true, now + pause), None);
    }
}
