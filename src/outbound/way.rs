//! The way from a source to a site on the owner's side: what is outstanding there, and how long nothing is wanted.
//! Decides and counts only. The home of the way has the connections.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use shards::Instant;

use super::Rest;
use super::turns::{SharedTurns, SharedWay};
use crate::config::{Pool, Source};
use crate::queue;
use crate::route::Site;

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
    outstanding: u32,
    /// Until when nothing is wanted, and why.
    parked: Option<(Instant, Arc<str>)>,
    insists: bool,
    /// Whose mail found no room here or on any other of its ways.
    pub blocked: Vec<SharedTurns>,
}

impl Way {
    pub fn new(source: Arc<Source>, home: usize) -> Self {
        Self { source, home, outstanding: 0, parked: None, insists: false, blocked: Vec::new() }
    }

    /// Whether fewer than `window` tasks are outstanding.
    pub fn has_room(&self, window: u32) -> bool {
        self.outstanding < window
    }

    /// A task has been leased.
    pub fn begin(&mut self) {
        self.outstanding += 1;
    }

    /// A task has been settled.
    pub fn end(&mut self) {
        self.outstanding -= 1;
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
