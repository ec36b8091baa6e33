//! What one source may do at the destinations of one group: connections at a time, and how often new ones and messages.
//! Decides and counts; takes the time as an argument.
//!
//! Owns: the counts of a group, on the one shard that is the home of its paths, so that no two shards exceed them together.
//! After a restart rates begin as if they had just been used up: what the process before did still counts at the peer.
//! What replies have made of them ([`Throttle`]) and the plan of a source that warms up ([`Warming`]) hold besides.
//! Limits: a rate is kept in every stretch of its length, by tokens that come evenly; of these [`tokens::BURST_SHARE`] may be saved.

mod leave;
mod present;
mod tokens;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;

use shards::Instant;

pub(super) use self::leave::{Budgets, Leave, Place};
pub(super) use self::present::UsedUp;
use self::present::since;
use self::tokens::{Limited, Tokens};
use super::lately::Lately;
use super::path::Path;
use super::throttle::{Bounds, Change, Signal, Throttle, Use};
use super::warm_up::Warming;
use crate::config::Shaping;
use crate::queue::Queue;
use crate::route::Effective;

/// What the limits let go within this time is waited for in place; for what takes longer the path rests.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(5);

pub(super) type SharedBudget = Rc<RefCell<Budget>>;

/// What is left of the limits of one source at one group.
pub(super) struct Budget {
    name: Box<str>,
    connections: u32,
    connections_max: u32,
    messages_per_connection_max: u32,
    /// How long a connection without a message stays.
    idle_timeout: Duration,
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
            (Some(old), Some(new)) if new.interval <= old.interval => Some(new.going_on(&old, now)),
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
            idle_timeout: Duration::MAX,
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
        self.idle_timeout = limits.idle_timeout.as_ref().map_or(Duration::MAX, |said| said.value);
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

    /// An operator wants nothing of this to keep mail any longer: what replies have made of the limits is forgotten, and what
    /// is used up for long is there once more. Gives what was in the way: its name, and how it stood.
    pub fn lift(&mut self, (now, wall_s): (Instant, u64)) -> Vec<(&'static str, String)> {
        let mut lifted = Vec::new();
        if self.blocked_until_s > wall_s {
            lifted.push(("block", format!("{} s more", self.blocked_until_s - wall_s)));
        }
        self.blocked_until_s = 0;
        if let Some(Adjusted { throttle, .. }) = self.adjusted.take().as_deref() {
            let said = throttle.heard().map(|(_, said, _)| format!(", {}", since(said))).unwrap_or_default();
            lifted.extend(throttle.rate().map(|rate| ("message_rate", format!("{rate:.2} a second{said}"))));
            lifted.extend(throttle.connections().map(|number| ("connections_max", format!("{number}{said}"))));
        }
        let rates =
            [("connection_rate_used_up", &mut self.new_connections), ("message_rate_used_up", &mut self.messages)];
        for (what, limited) in rates {
            if let Some(Limited { rate, by, tokens }) = limited
                && long(tokens.wait(now)).is_some()
            {
                tokens.release(rate.number, now + rate.per);
                lifted.push((what, format!("{rate} as {by} has it")));
            }
        }
        if let Some(warming) = &mut self.warming
            && let Some((_, why)) = warming.rest(&self.name, now)
            && warming.lift()
        {
            lifted.push(("warm_up", why));
        }
        lifted
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

    /// Whether no other connection is permitted now.
    fn is_full(&self) -> bool {
        self.connections >= self.connections_now_max()
    }

    fn connection_wait(&self, now: Instant) -> Duration {
        Limited::wait(self.new_connections.as_ref(), now)
    }

    fn message_wait(&self, now: Instant) -> Duration {
        let adjusted = self.adjusted.as_ref().and_then(|adjusted| adjusted.messages.as_ref());
        let adjusted = adjusted.map_or(Duration::ZERO, |tokens| tokens.wait(now));
        Limited::wait(self.messages.as_ref(), now).max(adjusted)
    }

    fn give_message_back(&mut self) {
        if let Some(limited) = &mut self.messages {
            limited.tokens.give_back();
        }
        if let Some(tokens) = self.adjusted.as_mut().and_then(|adjusted| adjusted.messages.as_mut()) {
            tokens.give_back();
        }
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
    pub fn rests(&self, with_connection: bool, now: Instant) -> Vec<(Duration, String)> {
        let of = |what: &str, limited: &Option<Limited>| {
            let Limited { rate, by, tokens } = limited.as_ref()?;
            let why = || format!("the {what} of {}, {rate} as {by} has it, is used up", self.name);
            long(tokens.wait(now)).map(|wait| (wait, why()))
        };
        let connections = (!with_connection).then(|| of("connection_rate", &self.new_connections)).flatten();
        let adjusted = self.adjusted.as_ref().and_then(|adjusted| {
            let wait = long(adjusted.messages.as_ref()?.wait(now))?;
            let (rate, (_, said, _)) = (adjusted.throttle.rate()?, adjusted.throttle.heard()?);
            Some((wait, format!("the message_rate of {}, {rate:.2} a second {}, is used up", self.name, since(said))))
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
