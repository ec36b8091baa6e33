//! A pool's mail to a site on the owner's side: its lanes take turns, tenant by tenant and campaign by campaign, and each
//! message goes the way that it prefers among those that are open and have room. Decides and counts only.
//!
//! Whose turn it is is remembered while a site rests that several share.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use shards::Instant;

use super::Rest;
use super::after_rest::AfterRest;
use super::way::Way;
use crate::config::Pool;
use crate::queue::lane::party;
use crate::queue::shares::Shares;
use crate::route::Site;

/// How long a lane stays with the site that it was resolved to before it is resolved again.
const STAY_MAX: Duration = Duration::from_secs(60);

pub(super) type SharedTurns = Rc<RefCell<Turns>>;
pub(super) type SharedWay = Rc<RefCell<Way>>;

/// The lanes of one pool at one site that have something to send.
pub(super) struct Turns {
    /// The site, as the last lane resolved to it.
    pub site: Arc<Site>,
    /// The pool.
    pub pool: Arc<Pool>,
    /// The ways of the pool's members, in their order.
    pub ways: Vec<SharedWay>,
    /// Lanes that have something, and leases that have not come back.
    lanes: Shares<Entry>,
    /// Nothing is leased while those who share the site are waited for.
    pub after_rest: AfterRest,
    /// The lanes for which it is in the line of those that wait for a credit or for memory: one of each party.
    in_line: Vec<Rc<str>>,
    /// It waits for room on one of its ways.
    pub is_blocked: bool,
}

/// A lane and until when it stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its name.
    pub lane: Rc<str>,
    until: Instant,
}

/// What a site does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Lease from this lane: it is kept, put back or forgotten, as it turns out.
    Lease(Entry),
    /// The lane has been here long enough.
    ResolveAgain(Rc<str>),
    /// Nothing: no lane has anything.
    Nothing,
}

/// Which way a message goes.
pub(super) enum Choice {
    /// This one.
    Way(SharedWay),
    /// Those that are open have enough.
    Full,
    /// None is open.
    Resting,
}

impl Turns {
    pub fn new(site: Arc<Site>, pool: Arc<Pool>, ways: Vec<SharedWay>) -> Self {
        let (lanes, after_rest, in_line) = (Shares::default(), AfterRest::default(), Vec::new());
        Self { site, pool, ways, lanes, after_rest, in_line, is_blocked: false }
    }

    /// A lane has resolved to this site.
    pub fn join(&mut self, lane: Rc<str>, now: Instant) {
        self.lanes.push_back(party(&lane), Entry { until: now + STAY_MAX, lane: lane.clone() });
    }

    /// Whose turn it is.
    pub fn next(&mut self, now: Instant) -> Turn {
        match self.lanes.pop() {
            Some(entry) if now < entry.until => Turn::Lease(entry),
            Some(entry) => Turn::ResolveAgain(entry.lane),
            None => Turn::Nothing,
        }
    }

    /// The lane whose turn it was comes first again: it could not be served.
    pub fn undo(&mut self, entry: Entry) {
        self.lanes.push_front(party(&entry.lane.clone()), entry);
    }

    /// The way of message `number`. One that rests, or may have no more, leaves its messages to the others.
    pub fn choose(&self, number: u64, may_have_more: impl Fn(&Way) -> bool, now: Instant) -> Choice {
        let is_open = |way: usize| self.ways[way].borrow().rest(now).is_none();
        let may_have_more = |way: usize| may_have_more(&self.ways[way].borrow());
        match self.pool.prefers(number, |way| is_open(way) && may_have_more(way)) {
            Some(way) => Choice::Way(self.ways[way].clone()),
            None if (0..self.ways.len()).any(is_open) => Choice::Full,
            None => Choice::Resting,
        }
    }

    /// A task of the lane whose turn it was has been leased; it comes last of its party now.
    pub fn begin(&mut self, entry: Entry) {
        let lane = entry.lane.clone();
        self.lanes.begin(party(&lane));
        self.lanes.push_back(party(&lane), entry);
    }

    /// A task of a lane has been settled; whether anything of it was tried.
    pub fn end(&mut self, lane: &str, was_tried: bool) {
        self.lanes.end(party(lane), was_tried);
    }

    /// Tasks that have been leased and not settled.
    pub fn outstanding(&self) -> u32 {
        self.lanes.under_way()
    }

    /// It is to stand in line for a credit or for memory for a lane. False: it does so for another lane of the same party.
    pub fn lines_up(&mut self, lane: &Rc<str>) -> bool {
        let is_new = !self.is_in_line(lane);
        if is_new {
            self.in_line.push(lane.clone());
        }
        is_new
    }

    /// Whether its party does.
    pub fn is_in_line(&self, lane: &str) -> bool {
        let party_of_lane = party(lane);
        self.in_line.iter().any(|other| party(other) == party_of_lane)
    }

    /// It does so no longer.
    pub fn leaves_line(&mut self, lane: &str) {
        self.in_line.retain(|other| **other != *lane);
    }

    /// For how long nothing is wanted on any way, and why, by the source that goes on first; `None`: one is open.
    pub fn rest(&self, now: Instant) -> Option<Rest> {
        let rests: Option<Vec<Rest>> = self.ways.iter().map(|way| way.borrow().rest(now)).collect();
        let by_way = self.ways.iter().zip(rests?);
        let (way, rest) = by_way.min_by_key(|(_, rest)| rest.pause)?;
        match &*way.borrow().source.name {
            "" => Some(rest),
            source => Some(Rest { why: format!("from {source}: {}", rest.why).into(), ..rest }),
        }
    }

    /// An operator wants it to be tried at once, on all ways.
    pub fn insist(&mut self) {
        self.ways.iter().for_each(|way| way.borrow_mut().insist());
    }

    /// What operators know the site by: its provider, or its hosts.
    pub fn name(&self) -> Arc<str> {
        Arc::from(&*self.site.group())
    }

    /// All lanes.
    pub fn lanes(&self) -> impl Iterator<Item = &str> {
        self.lanes.iter().map(|entry| &*entry.lane)
    }

    /// Gives out all lanes: the site rests. `is_divided`: some of what goes to its hosts may have limits of its own, and so is
    /// apart from the rest, with whom it shares them.
    pub fn take_lanes(&mut self, is_divided: bool) -> Vec<Rc<str>> {
        if self.lanes.are_several() || is_divided {
            self.after_rest.expect();
        }
        self.lanes.drain().into_iter().map(|entry| entry.lane).collect()
    }

    /// Whether nothing is had or waited for. The homes remember on their own how long they want nothing.
    pub fn is_idle(&self) -> bool {
        self.lanes.under_way() == 0 && self.lanes.is_empty() && self.in_line.is_empty() && !self.is_blocked
    }

    /// Whether nothing would be lost by forgetting it: not even whose turn it is after a rest.
    pub fn is_forgettable(&self) -> bool {
        self.is_idle() && self.after_rest == AfterRest::Over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;
    use crate::config::egress::Member;

    const WINDOW: u32 = 2;

    fn turns(sources: usize, lanes: &[&str]) -> Turns {
        let site = Arc::new(Site {
            key: "site".into(),
            hosts: Vec::new(),
            port: 25,
            assurance: Default::default(),
            shape: Default::default(),
        });
        let source = |n: usize| Arc::new(Source { name: n.to_string().into(), ..Source::default() });
        let members: Vec<Member> = (0..sources).map(|n| Member { source: source(n), weight: 1 }).collect();
        let ways = members.iter().map(|member| Rc::new(RefCell::new(Way::new(member.source.clone(), 0)))).collect();
        let mut turns = Turns::new(site, Arc::new(Pool { name: "pool".into(), members }), ways);
        lanes.iter().for_each(|lane| turns.join((*lane).into(), Instant::default()));
        turns
    }

    fn next(turns: &mut Turns) -> Entry {
        match turns.next(Instant::default()) {
            Turn::Lease(entry) => entry,
            other => panic!("{other:?}"),
        }
    }

    fn lease(turns: &mut Turns) -> String {
        let entry = next(turns);
        let lane = entry.lane.to_string();
        turns.begin(entry);
        lane
    }

    /// The name of the source that message `number` goes from.
    fn chosen(turns: &Turns, number: u64, now: Instant) -> String {
        match turns.choose(number, |way| way.has_room(WINDOW), now) {
            Choice::Way(way) => way.borrow().source.name.to_string(),
            Choice::Full => "full".into(),
            Choice::Resting => "resting".into(),
        }
    }

    fn rest(pause: Duration) -> Rest {
        Rest { pause, why: "refused".into() }
    }

    #[test]
    fn lanes_take_turns() {
        let mut turns = turns(1, &["a", "b", "c"]);
        let order: Vec<String> = (0..5).map(|_| lease(&mut turns)).collect();
        assert_eq!(order, ["a", "b", "c", "a", "b"]);
        assert_eq!(&*next(&mut turns).lane, "c", "it has nothing left");
        assert_eq!([lease(&mut turns), lease(&mut turns), lease(&mut turns)], ["a", "b", "a"]);
        let entry = next(&mut turns);
        turns.undo(entry);
        assert_eq!(lease(&mut turns), "b", "it could not be served, so it is first again");
    }

    #[test]
    fn a_tenant_with_many_lanes_gets_no_more_than_one_with_few() {
        let lane = |domain: &str, tenant: &str| format!("{domain}\u{1f}\u{1f}{tenant}\u{1f}");
        let lanes: Vec<String> =
            ["a", "b", "c"].iter().map(|domain| lane(domain, "big")).chain([lane("a", "small")]).collect();
        let mut turns = turns(1, &lanes.iter().map(String::as_str).collect::<Vec<_>>());
        let order: Vec<String> = (0..12).map(|_| lease(&mut turns)).collect();
        for lane in &lanes {
            let share = order.iter().filter(|leased| *leased == lane).count();
            assert_eq!(share, if lane.contains("small") { 6 } else { 2 }, "{lane:?} in {order:?}");
        }
    }

    #[test]
    fn after_a_rest_those_who_share_a_site_are_waited_for_and_only_what_was_tried_was_a_turn() {
        let lane = |tenant: &str| format!("a\u{1f}\u{1f}{tenant}\u{1f}");
        let (big, small) = (lane("big"), lane("small"));
        let mut turns = turns(1, &[&big]);
        assert_eq!([lease(&mut turns), lease(&mut turns)], [&*big, &*big]);
        turns.join((*small).into(), Instant::default());
        [true, false].iter().for_each(|was_tried| turns.end(&big, *was_tried));
        assert_eq!(turns.take_lanes(false).len(), 2);
        assert!(turns.is_idle() && !turns.is_forgettable(), "whose turn it is would be lost");
        for first in [&small, &big, &small] {
            turns.join((*big).into(), Instant::default());
            assert!(turns.after_rest.begin());
            turns.join((*small).into(), Instant::default());
            assert!(!turns.after_rest.begin(), "it goes on");
            turns.after_rest.end();
            assert_eq!(lease(&mut turns), **first);
            let other = lease(&mut turns);
            assert_ne!(other, **first);
            turns.end(first, true);
            turns.end(&other, false);
            turns.take_lanes(false);
        }
    }

    #[test]
    fn the_window_of_a_way_bounds_what_is_outstanding_and_the_rest_goes_another_way() {
        let (turns, now) = (turns(2, &["a"]), Instant::default());
        let preferred = chosen(&turns, 7, now);
        for _ in 0..WINDOW {
            assert_eq!(chosen(&turns, 7, now), preferred, "a message keeps to its source");
            let Choice::Way(way) = turns.choose(7, |way| way.has_room(WINDOW), now) else { panic!("no way") };
            way.borrow_mut().begin(0);
        }
        let other = chosen(&turns, 7, now);
        assert!(other != preferred && other != "full", "{other}");
        turns.ways.iter().for_each(|way| (0..WINDOW).for_each(|_| way.borrow_mut().begin(0)));
        assert_eq!(chosen(&turns, 7, now), "full");
    }

    #[test]
    fn a_lane_is_resolved_again_after_a_while() {
        let mut turns = turns(1, &["a"]);
        let later = Instant::default() + STAY_MAX;
        assert_eq!(turns.next(later), Turn::ResolveAgain("a".into()));
        assert_eq!(turns.next(later), Turn::Nothing);
        assert!(turns.is_forgettable());
    }

    #[test]
    fn while_one_source_rests_another_is_used_and_with_all_of_them_the_site_does() {
        let (mut turns, now) = (turns(2, &["a", "b"]), Instant::default());
        let pause = Duration::from_secs(10);
        let first = chosen(&turns, 7, now);
        turns.ways[usize::from(first == "1")].borrow_mut().park(&rest(pause), now);
        let second = chosen(&turns, 7, now);
        assert!(second != first && second != "resting", "{second}");
        assert_eq!(turns.rest(now), None);
        turns.ways[usize::from(second == "1")].borrow_mut().park(&rest(2 * pause), now);
        assert_eq!(chosen(&turns, 7, now), "resting");
        let told = Some(Rest { why: format!("from {first}: refused").into(), ..rest(pause) });
        assert_eq!(turns.rest(now), told, "until the first of them is open again");
        assert_eq!(chosen(&turns, 7, now + pause), first);
        turns.insist();
        assert_eq!(turns.rest(now), None);
        assert_eq!(turns.take_lanes(false).len(), 2);
        assert!(turns.is_forgettable(), "nobody shares it");
    }
}
