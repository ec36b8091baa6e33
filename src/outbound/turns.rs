//! A pool's mail to a site on the owner's side: its lanes take turns, tenant by tenant, and each message goes the way that it
//! prefers among those that are open and have room. Decides and counts only.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use shards::Instant;

use super::Rest;
use super::way::Way;
use crate::config::Pool;
use crate::queue::lane::Lane;
use crate::route::Site;

/// How long a lane stays with the site that it was resolved to before it is resolved again.
const STAY_MAX: Duration = Duration::from_secs(60);

pub(super) type SharedTurns = Rc<RefCell<Turns>>;
pub(super) type SharedWay = Rc<RefCell<Way>>;

/// The lanes of one pool at one site that have something to send.
pub(super) struct Turns {
    /// The site, as the last lane resolved to it.
    pub site: Arc<Site>,
    /// What operators know it by.
    pub name: Arc<str>,
    /// The pool.
    pub pool: Arc<Pool>,
    /// The ways of the pool's members, in their order.
    pub ways: Vec<SharedWay>,
    /// Tenants with their lanes, none of them without.
    tenants: VecDeque<(Box<str>, VecDeque<Entry>)>,
    outstanding: u32,
    /// It is in the line of those that wait for a credit or for memory.
    pub in_line: bool,
    /// It waits for room on one of its ways.
    pub is_blocked: bool,
}

/// A lane and until when it stays.
type Entry = (Rc<str>, Instant);

/// What a site does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Lease from this lane.
    Lease(Rc<str>),
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
        let name = Arc::from(&*site.key);
        let (tenants, outstanding) = (VecDeque::new(), 0);
        Self { site, name, pool, ways, tenants, outstanding, in_line: false, is_blocked: false }
    }

    /// A lane has resolved to this site.
    pub fn join(&mut self, lane: Rc<str>, now: Instant) {
        let tenant: Box<str> = Lane::of(&lane).party.tenant.into();
        let entry = (lane, now + STAY_MAX);
        match self.tenants.iter_mut().find(|(name, _)| *name == tenant) {
            Some((_, lanes)) => lanes.push_back(entry),
            None => self.tenants.push_back((tenant, [entry].into())),
        }
    }

    /// Whose turn it is: tenants take turns, and the lanes of each.
    pub fn next(&mut self, now: Instant) -> Turn {
        let Some((tenant, mut lanes)) = self.tenants.pop_front() else { return Turn::Nothing };
        let Some((lane, until)) = lanes.pop_front() else { return Turn::Nothing };
        let stays = now < until;
        if stays {
            lanes.push_back((lane.clone(), until));
        }
        if !lanes.is_empty() {
            self.tenants.push_back((tenant, lanes));
        }
        if stays { Turn::Lease(lane) } else { Turn::ResolveAgain(lane) }
    }

    /// The lane whose turn it was comes first again: it could not be served.
    pub fn undo(&mut self) {
        if let Some((tenant, mut lanes)) = self.tenants.pop_back() {
            lanes.rotate_right(1);
            self.tenants.push_front((tenant, lanes));
        }
    }

    /// The lane whose turn it was has nothing left.
    pub fn leave(&mut self) {
        if let Some((tenant, mut lanes)) = self.tenants.pop_back() {
            lanes.pop_back();
            if !lanes.is_empty() {
                self.tenants.push_back((tenant, lanes));
            }
        }
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

    /// A task has been leased.
    pub fn begin(&mut self) {
        self.outstanding += 1;
    }

    /// A task has been settled.
    pub fn end(&mut self) {
        self.outstanding -= 1;
    }

    /// For how long nothing is wanted on any way, and why; `None`: one is open.
    pub fn rest(&self, now: Instant) -> Option<Rest> {
        let rests: Option<Vec<Rest>> = self.ways.iter().map(|way| way.borrow().rest(now)).collect();
        rests?.into_iter().min_by_key(|rest| rest.pause)
    }

    /// An operator wants it to be tried at once, on all ways.
    pub fn insist(&mut self) {
        self.ways.iter().for_each(|way| way.borrow_mut().insist());
    }

    /// Gives out all lanes.
    pub fn take_lanes(&mut self) -> Vec<Rc<str>> {
        let lanes = std::mem::take(&mut self.tenants).into_iter().flat_map(|(_, lanes)| lanes);
        lanes.map(|(lane, _)| lane).collect()
    }

    /// Whether nothing would be lost by forgetting it. The homes remember on their own how long they want nothing.
    pub fn is_forgettable(&self) -> bool {
        self.outstanding == 0 && self.tenants.is_empty() && !self.in_line && !self.is_blocked
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

    fn lease(turns: &mut Turns) -> String {
        match turns.next(Instant::default()) {
            Turn::Lease(lane) => lane.to_string(),
            other => format!("{other:?}"),
        }
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
        turns.leave();
        assert_eq!([lease(&mut turns), lease(&mut turns), lease(&mut turns)], ["c", "a", "c"]);
        turns.undo();
        assert_eq!(lease(&mut turns), "c", "it could not be served, so it is first again");
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
        assert_eq!(turns.rest(now), Some(rest(pause)), "until the first of them is open again");
        assert_eq!(chosen(&turns, 7, now + pause), first);
        turns.insist();
        assert_eq!(turns.rest(now), None);
        assert_eq!(turns.take_lanes().len(), 2);
    }
}
