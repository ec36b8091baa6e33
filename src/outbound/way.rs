//! The way from a source to a site on the owner's side: what is outstanding there, and how long nothing is wanted.
//! Decides and counts only. The home of the way has the connections.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use shards::Instant;

use super::turns::{SharedTurns, SharedWay};
use super::{Done, Rest};
use crate::config::{Pool, Source};
use crate::queue;
use crate::queue::outcome::Outcome;
use crate::route::Site;

/// Tasks that may be outstanding on a way whose peer has not shown yet that it works.
const WINDOW_ON_TRIAL: u32 = 4;

/// Ways that are kept only because they rested once are looked for when there are so many, and whenever that has doubled.
const SWEPT_AT_MIN: usize = 1024;

/// All ways that a shard knows, by source and site.
pub(super) struct Ways {
    ways: HashMap<Box<str>, SharedWay>,
    /// Shards among which they have their homes.
    homes: usize,
    /// So many are swept.
    swept_at: usize,
}

impl Ways {
    pub fn new(homes: usize) -> Self {
        Self { ways: HashMap::new(), homes, swept_at: SWEPT_AT_MIN }
    }

    /// The ways of a pool to a site. The home of a way is the same on every shard.
    pub fn of(&mut self, pool: &Pool, site: &Site, now: Instant) -> Vec<SharedWay> {
        if self.ways.len() >= self.swept_at {
            self.ways.retain(|_, way| Rc::strong_count(way) > 1 || way.borrow().rest(now).is_some());
            self.swept_at = SWEPT_AT_MIN.max(2 * self.ways.len());
        }
        pool.members.iter().map(|member| self.way(&member.source, site)).collect()
    }

    fn way(&mut self, source: &Arc<Source>, site: &Site) -> SharedWay {
        let key = key(source, site);
        if let Some(way) = self.ways.get(&*key) {
            way.borrow_mut().source = source.clone();
            return way.clone();
        }
        let way = Rc::new(RefCell::new(Way::new(source.clone(), home(source, site, self.homes))));
        self.ways.insert(key.into(), way.clone());
        way
    }

    /// The ways from `sources` to `destinations` (keys of sites) are open again. Whether any was not.
    pub fn reopen(&self, sources: &BTreeSet<Box<str>>, destinations: &BTreeSet<Box<str>>) -> bool {
        let mut any_rested = false;
        for (key, way) in &self.ways {
            let mut way = way.borrow_mut();
            let source = &way.source.name;
            let site = if source.is_empty() { Some(&**key) } else { key.strip_prefix(&**source).and_then(after_space) };
            if sources.contains(source) && site.is_some_and(|site| destinations.contains(site)) {
                any_rested |= way.parked.take().is_some();
            }
        }
        any_rested
    }

    /// Forgets the ways of a pool to a site that are of no use: other pools may have the same ones, and what rests is to be
    /// known when mail comes that has another way to go.
    pub fn forget(&mut self, pool: &Pool, site: &Site, now: Instant) {
        let alone = pool.members.len() == 1;
        for member in &pool.members {
            let key = key(&member.source, site);
            let is_of_no_use =
                |way: &SharedWay| Rc::strong_count(way) == 1 && (alone || way.borrow().rest(now).is_none());
            if self.ways.get(&*key).is_some_and(is_of_no_use) {
                self.ways.remove(&*key);
            }
        }
    }
}

/// The shard that is the home of the way from `source` to `site`, of so many. The sites whose limits are counted together have
/// one, and what was learned of them is kept there.
pub(super) fn home(source: &Source, site: &Site, homes: usize) -> usize {
    queue::home(&format!("{} {}", source.name, site.group()), homes)
}

/// What the way from `source` to `site` is called, by owners and homes alike: the site alone for the host as it is.
pub(super) fn key<'a>(source: &Source, site: &'a Site) -> Cow<'a, str> {
    if source.name.is_empty() { Cow::Borrowed(&site.key) } else { format!("{} {}", source.name, site.key).into() }
}

fn after_space(text: &str) -> Option<&str> {
    text.strip_prefix(' ')
}

/// One way.
pub(super) struct Way {
    /// Its source, as the last configuration has it.
    pub source: Arc<Source>,
    /// The shard that is its home.
    pub home: usize,
    /// Tasks that have not ended, and the octets of their content.
    outstanding: u32,
    content_bytes: usize,
    /// So many of them there may be: one more with each that the peer answers, so twice as many with each round.
    window: u32,
    /// The peer has not shown yet, or no longer, that it works.
    on_trial: bool,
    /// Until when nothing is wanted, and why.
    parked: Option<(Instant, Arc<str>)>,
    insists: bool,
    /// Whose mail found no room here or on any other of its ways.
    pub blocked: VecDeque<SharedTurns>,
}

impl Way {
    pub fn new(source: Arc<Source>, home: usize) -> Self {
        Self {
            source,
            home,
            outstanding: 0,
            content_bytes: 0,
            window: WINDOW_ON_TRIAL,
            on_trial: true,
            parked: None,
            insists: false,
            blocked: VecDeque::new(),
        }
    }

    /// Whether fewer tasks are outstanding than its window permits, which never is more than `window_max`.
    pub fn has_room(&self, window_max: u32) -> bool {
        self.outstanding < self.window.min(window_max)
    }

    /// How many tasks are outstanding.
    pub fn outstanding(&self) -> usize {
        self.outstanding as usize
    }

    /// The octets of their content.
    pub fn content_bytes(&self) -> usize {
        self.content_bytes
    }

    /// Whether none is.
    pub fn is_unused(&self) -> bool {
        self.outstanding == 0
    }

    /// Whether the peer has yet to show that it works.
    pub fn is_on_trial(&self) -> bool {
        self.on_trial
    }

    /// A task has been leased.
    pub fn begin(&mut self, content_bytes: usize) {
        self.outstanding += 1;
        self.content_bytes += content_bytes;
    }

    /// A task has been settled.
    pub fn end(&mut self, content_bytes: usize) {
        self.outstanding -= 1;
        self.content_bytes -= content_bytes;
    }

    /// Learns from the end of a task how the peer is. One that answers works, whatever it says; it may be slow.
    pub fn learn(&mut self, done: &Done, window_max: u32) {
        let is_lost = |outcome: &Outcome| matches!(outcome, Outcome::Deferred(answer) if answer.reply.is_none());
        let is_answered = |outcome: &Outcome| match outcome {
            Outcome::Delivered(..) => true,
            Outcome::Deferred(answer) | Outcome::Parked(answer, _) | Outcome::Failed(answer) => answer.reply.is_some(),
            Outcome::Untried(_) => false,
        };
        let mut outcomes = done.outcomes.iter().map(|(_, outcome)| outcome);
        if done.park.is_some() {
            self.is_in_trouble(WINDOW_ON_TRIAL);
        } else if outcomes.clone().any(is_lost) {
            self.is_in_trouble(self.window / 2);
        } else if outcomes.any(is_answered) {
            self.works(window_max);
        }
    }

    /// The peer has answered.
    pub fn works(&mut self, window_max: u32) {
        self.on_trial = false;
        self.window = (self.window + 1).min(window_max.max(WINDOW_ON_TRIAL));
    }

    /// The peer stands still, or is gone: no more than `window` from now on.
    fn is_in_trouble(&mut self, window: u32) {
        self.window = window.max(WINDOW_ON_TRIAL);
        self.on_trial = self.window == WINDOW_ON_TRIAL;
    }

    /// The home wants nothing for a while.
    pub fn park(&mut self, rest: &Rest, now: Instant) {
        self.parked = Some((now + rest.pause, rest.why.clone()));
    }

    /// For how long nothing is wanted, and why.
    pub fn rest(&self, now: Instant) -> Option<Rest> {
        let (until, why) = self.parked.as_ref().filter(|(until, _)| now < *until)?;
        Some(Rest { pause: until.since(now), why: why.clone() })
    }

    /// An operator wants it to be tried at once: here, and with the next task also at its home.
    pub fn insist(&mut self) {
        self.parked = None;
        self.insists = true;
    }

    /// Whether the next task insists; true once.
    pub fn takes_insistence(&mut self) -> bool {
        std::mem::take(&mut self.insists)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::queue::outcome::Answer;
    use crate::smtp::client::Phase;
    use crate::smtp::reply::{self, EnhancedCode};

    const WINDOW_MAX: u32 = 80;

    fn done(outcome: Outcome, park: Option<Rest>) -> Done {
        Done { lease: 1, outcomes: vec![(0, outcome)], park }
    }

    /// A deferral, by a reply of the peer or because the connection was lost.
    fn deferred(is_answered: bool) -> Done {
        let reply = is_answered.then(|| reply::codes(450, 4, 2, 1).say("later"));
        let (phase, status, text) = (Phase::Rcpt, EnhancedCode(4, 2, 1), "later".into());
        let answer = Answer { phase, status, reason: None, reply, text, remote: None, tls: None };
        done(Outcome::Deferred(answer), None)
    }

    #[test]
    fn the_window_grows_with_each_answer_and_halves_with_each_loss() {
        let mut way = Way::new(Arc::default(), 0);
        assert_eq!((way.window, way.is_on_trial()), (WINDOW_ON_TRIAL, true));
        way.learn(&done(Outcome::Untried(1), None), WINDOW_MAX);
        assert!(way.is_on_trial(), "that tells nothing of the peer");
        (0..WINDOW_ON_TRIAL).for_each(|_| way.learn(&deferred(true), WINDOW_MAX));
        assert_eq!((way.window, way.is_on_trial()), (2 * WINDOW_ON_TRIAL, false), "a round doubles it");
        (0..2 * WINDOW_MAX).for_each(|_| way.learn(&deferred(true), WINDOW_MAX));
        assert_eq!(way.window, WINDOW_MAX);
        way.learn(&deferred(false), WINDOW_MAX);
        assert_eq!((way.window, way.is_on_trial()), (WINDOW_MAX / 2, false));
        (0..10).for_each(|_| way.learn(&deferred(false), WINDOW_MAX));
        assert_eq!((way.window, way.is_on_trial()), (WINDOW_ON_TRIAL, true));
    }

    #[test]
    fn after_a_rest_the_peer_is_on_trial_again() {
        let mut way = Way::new(Arc::default(), 0);
        (0..WINDOW_MAX).for_each(|_| way.works(WINDOW_MAX));
        let rest = Rest { pause: Duration::from_secs(60), why: "no host took a connection".into() };
        way.learn(&done(Outcome::Untried(60), Some(rest)), WINDOW_MAX);
        assert_eq!((way.window, way.is_on_trial()), (WINDOW_ON_TRIAL, true));
    }
}
