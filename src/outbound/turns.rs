//! A site on the owner's side: its domains take turns, within the site's window. Decides and counts only.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use shards::Instant;

use super::Rest;
use crate::route::Site;

/// How long a domain stays with the site that it was resolved to before it is resolved again.
const STAY_MAX: Duration = Duration::from_secs(60);

/// The domains of one site that have something to send.
pub(super) struct Turns {
    /// The site, as the last domain resolved to it.
    pub site: Arc<Site>,
    /// What operators know it by.
    pub name: Arc<str>,
    /// The shard that is the home of its egress path.
    pub home: usize,
    domains: VecDeque<(Rc<str>, Instant)>,
    outstanding: u32,
    /// Until when nothing is wanted, and why.
    parked: Option<(Instant, Arc<str>)>,
    insists: bool,
    /// It is in the line of those that wait for a credit or for memory.
    pub in_line: bool,
}

/// What a site does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Lease from this domain.
    Lease(Rc<str>),
    /// The domain has been here long enough.
    ResolveAgain(Rc<str>),
    /// Nothing: no domain, or the window is full.
    Nothing,
}

impl Turns {
    pub fn new(site: Arc<Site>, home: usize) -> Self {
        let name = Arc::from(&*site.key);
        Self {
            site,
            name,
            home,
            domains: VecDeque::new(),
            outstanding: 0,
            parked: None,
            insists: false,
            in_line: false,
        }
    }

    /// A domain has resolved to this site.
    pub fn join(&mut self, domain: Rc<str>, now: Instant) {
        self.domains.push_back((domain, now + STAY_MAX));
    }

    /// Whose turn it is, if fewer than `window` tasks are outstanding.
    pub fn next(&mut self, window: u32, now: Instant) -> Turn {
        if self.outstanding >= window {
            return Turn::Nothing;
        }
        match self.domains.pop_front() {
            None => Turn::Nothing,
            Some((domain, until)) if now >= until => Turn::ResolveAgain(domain),
            Some((domain, until)) => {
                self.domains.push_back((domain.clone(), until));
                Turn::Lease(domain)
            }
        }
    }

    /// The domain whose turn it was comes first again: it could not be served.
    pub fn undo(&mut self) {
        if let Some(last) = self.domains.pop_back() {
            self.domains.push_front(last);
        }
    }

    /// The domain whose turn it was has nothing left.
    pub fn leave(&mut self) {
        self.domains.pop_back();
    }

    /// A task has been leased.
    pub fn begin(&mut self) {
        self.outstanding += 1;
    }

    /// A task has been settled.
    pub fn end(&mut self) {
        self.outstanding -= 1;
    }

    /// The home wants nothing for a while: the domains that leave.
    pub fn park(&mut self, rest: &Rest, now: Instant) -> VecDeque<(Rc<str>, Instant)> {
        self.parked = Some((now + rest.pause, rest.why.clone()));
        std::mem::take(&mut self.domains)
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

    /// Gives out all domains.
    pub fn take_domains(&mut self) -> VecDeque<(Rc<str>, Instant)> {
        std::mem::take(&mut self.domains)
    }

    /// Whether nothing would be lost by forgetting it. The home remembers on its own how long it wants nothing.
    pub fn is_forgettable(&self) -> bool {
        self.outstanding == 0 && self.domains.is_empty() && !self.in_line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(domains: &[&str]) -> Turns {
        let site = Site { key: "site".into(), hosts: Vec::new(), port: 25, assurance: Default::default() };
        let mut turns = Turns::new(Arc::new(site), 0);
        domains.iter().for_each(|domain| turns.join((*domain).into(), Instant::default()));
        turns
    }

    fn lease(turns: &mut Turns) -> String {
        match turns.next(100, Instant::default()) {
            Turn::Lease(domain) => domain.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn domains_take_turns() {
        let mut turns = turns(&["a", "b", "c"]);
        let order: Vec<String> = (0..5).map(|_| lease(&mut turns)).collect();
        assert_eq!(order, ["a", "b", "c", "a", "b"]);
        turns.leave();
        assert_eq!([lease(&mut turns), lease(&mut turns), lease(&mut turns)], ["c", "a", "c"]);
        turns.undo();
        assert_eq!(lease(&mut turns), "c", "it could not be served, so it is first again");
    }

    #[test]
    fn the_window_bounds_what_is_outstanding() {
        let mut turns = turns(&["a"]);
        for _ in 0..2 {
            assert_eq!(turns.next(2, Instant::default()), Turn::Lease("a".into()));
            turns.begin();
        }
        assert_eq!(turns.next(2, Instant::default()), Turn::Nothing);
        turns.end();
        assert_eq!(turns.next(2, Instant::default()), Turn::Lease("a".into()));
    }

    #[test]
    fn a_domain_is_resolved_again_after_a_while() {
        let mut turns = turns(&["a"]);
        let later = Instant::default() + STAY_MAX;
        assert_eq!(turns.next(2, later), Turn::ResolveAgain("a".into()));
        assert_eq!(turns.next(2, later), Turn::Nothing);
    }

    #[test]
    fn a_parked_site_gives_its_domains_back_and_says_for_how_long() {
        let mut turns = turns(&["a", "b"]);
        let now = Instant::default();
        let pause = Duration::from_secs(10);
        let rest = Rest { pause, why: "refused".into() };
        assert_eq!(turns.park(&rest, now).len(), 2);
        assert_eq!(turns.rest(now + pause / 2), Some(Rest { pause: pause / 2, why: "refused".into() }));
        assert_eq!(turns.rest(now + pause), None);
        assert!(turns.is_forgettable());
        turns.insist();
        assert_eq!(turns.rest(now), None);
        assert!(turns.takes_insistence() && !turns.takes_insistence());
    }
}
