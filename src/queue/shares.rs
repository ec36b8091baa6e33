//! Who has a share of what can be had, and whose turn it is: tenants, and the campaigns of each. Pure.
//!
//! Next is the tenant that has the least under way, and of those the one whose last turn is longest ago; of its campaigns
//! likewise. So each that has something gets as much as any other, whatever it has and in however many pieces. What is
//! nobody's in particular is one tenant more, what is of no campaign one campaign more. Only who makes use of a turn has
//! had it.
//!
//! Where everything is nobody's it is a queue like any other, and costs as much.
//! Limits: of those that have nothing at the moment [`IDLE_MAX`] at each level are remembered with their turns, as long as
//! somebody has something whose turn was longer ago.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use crate::config::limit::Party;

/// See above.
const IDLE_MAX: usize = 1024;

/// Those that need not be remembered are looked for when there are so many, and whenever that has doubled.
const SWEPT_AT_MIN: usize = 64;

/// Things that take turns by whose they are.
pub struct Shares<T> {
    len: usize,
    under_way: u32,
    /// All, while everything is nobody's.
    alone: VecDeque<T>,
    /// All, since somebody had something.
    several: Option<Box<Several<T>>>,
}

struct Several<T> {
    tenants: Level<Level<VecDeque<T>>>,
    /// Turns that were had.
    turns: u64,
}

/// Some that take turns, by name.
struct Level<Q> {
    places: BTreeMap<Rc<str>, Place<Q>>,
    /// Those that have something, as they stand.
    line: BTreeSet<(Standing, Rc<str>)>,
    swept_at: usize,
}

#[derive(Default)]
struct Place<Q> {
    has: Q,
    standing: Standing,
}

/// Who has less of it comes first.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    under_way: u32,
    last_turn: u64,
}

/// What a place can have.
trait Holds: Default {
    fn is_empty(&self) -> bool;
}

impl<T> Holds for VecDeque<T> {
    fn is_empty(&self) -> bool {
        VecDeque::is_empty(self)
    }
}

impl<Q> Holds for Level<Q> {
    fn is_empty(&self) -> bool {
        self.line.is_empty()
    }
}

impl<T> Default for Shares<T> {
    fn default() -> Self {
        Shares { len: 0, under_way: 0, alone: VecDeque::new(), several: None }
    }
}

impl<T> Shares<T> {
    /// How many things there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How much is under way.
    pub fn under_way(&self) -> u32 {
        self.under_way
    }

    /// Whether more than one is known to share: has something, or had it and is remembered.
    pub fn are_several(&self) -> bool {
        self.several.as_ref().is_some_and(|several| {
            let tenants = &several.tenants.places;
            tenants.len() > 1 || tenants.values().any(|tenant| tenant.has.places.len() > 1)
        })
    }

    /// Adds what comes after all else of its party.
    pub fn push_back(&mut self, party: Party<'_>, item: T) {
        self.len += 1;
        match self.several(party) {
            None => self.alone.push_back(item),
            Some(several) => several.change(party, |items| items.push_back(item)),
        }
    }

    /// Adds what comes before all else of its party.
    pub fn push_front(&mut self, party: Party<'_>, item: T) {
        self.len += 1;
        match self.several(party) {
            None => self.alone.push_front(item),
            Some(several) => several.change(party, |items| items.push_front(item)),
        }
    }

    /// What is next.
    pub fn first(&self) -> Option<&T> {
        let Some(several) = &self.several else { return self.alone.front() };
        let tenant = several.tenants.places.get(several.tenants.first()?)?;
        tenant.has.places.get(tenant.has.first()?)?.has.front()
    }

    /// Takes what is next; [`Shares::end`] or [`Shares::had_turn`] tells whether it made use of its turn.
    pub fn pop(&mut self) -> Option<T> {
        let item = match &mut self.several {
            None => self.alone.pop_front(),
            Some(several) => several.pop(),
        }?;
        self.len -= 1;
        Some(item)
    }

    /// Something of a party is under way.
    pub fn begin(&mut self, party: Party<'_>) {
        if let Some(several) = self.several(party) {
            several.count(party, |standing| standing.under_way += 1);
        }
        self.under_way += 1;
    }

    /// It is no longer.
    pub fn end(&mut self, party: Party<'_>, had_turn: bool) {
        self.under_way -= 1;
        if let Some(several) = &mut self.several {
            several.count(party, |standing| standing.under_way = standing.under_way.saturating_sub(1));
        }
        if had_turn {
            self.had_turn(party);
        }
    }

    /// A party made use of its turn.
    pub fn had_turn(&mut self, party: Party<'_>) {
        if let Some(several) = &mut self.several {
            several.turns += 1;
            let turn = several.turns;
            several.count(party, |standing| standing.last_turn = turn);
        }
    }

    /// Of a party, keeps only such things.
    pub fn retain_of(&mut self, party: Party<'_>, keep: impl FnMut(&T) -> bool) {
        let retain = |items: &mut VecDeque<T>| {
            let before = items.len();
            items.retain(keep);
            before - items.len()
        };
        self.len -= match &mut self.several {
            None => retain(&mut self.alone),
            Some(several) => several.change(party, retain),
        };
    }

    /// Keeps only such things.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.alone.retain(&mut keep);
        self.len = self.alone.len();
        if let Some(several) = &mut self.several {
            several.each(|items| {
                items.retain(&mut keep);
                self.len += items.len();
            });
        }
    }

    /// All, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let tenants = self.several.iter().flat_map(|several| several.tenants.places.values());
        let campaigns = tenants.flat_map(|tenant| tenant.has.places.values());
        self.alone.iter().chain(campaigns.flat_map(|campaign| &campaign.has))
    }

    /// Gives out all.
    pub fn drain(&mut self) -> Vec<T> {
        let mut all: Vec<T> = std::mem::take(&mut self.alone).into();
        if let Some(several) = &mut self.several {
            several.each(|items| all.extend(std::mem::take(items)));
        }
        self.len = 0;
        all
    }

    /// Forgets whose turn it is, where nobody has anything.
    pub fn forget(&mut self) {
        if self.is_empty() && self.under_way == 0 {
            self.several = None;
        }
    }

    /// Where somebody has had something, or has now.
    fn several(&mut self, party: Party<'_>) -> Option<&mut Several<T>> {
        if self.several.is_none() && party != Party::default() {
            let mut several = Box::new(Several { tenants: Level::default(), turns: 1 });
            let (items, under_way) = (std::mem::take(&mut self.alone), self.under_way);
            if under_way > 0 || !items.is_empty() {
                several.change(Party::default(), |has| *has = items);
                // Whoever comes now has had no turn yet.
                several.count(Party::default(), |standing| *standing = Standing { under_way, last_turn: 1 });
            }
            self.several = Some(several);
        }
        self.several.as_deref_mut()
    }
}

impl<T> Several<T> {
    fn pop(&mut self) -> Option<T> {
        let tenant = self.tenants.first()?.clone();
        self.tenants.change(&tenant, |tenant| {
            let campaign = tenant.has.first()?.clone();
            tenant.has.change(&campaign, |campaign| campaign.has.pop_front())
        })
    }

    /// Changes what a party has.
    fn change<R>(&mut self, party: Party<'_>, change: impl FnOnce(&mut VecDeque<T>) -> R) -> R {
        let change = |campaign: &mut Place<VecDeque<T>>| change(&mut campaign.has);
        self.tenants.change(party.tenant, |tenant| tenant.has.change(party.campaign, change))
    }

    /// Changes how a party stands, as a tenant and as a campaign of it.
    fn count(&mut self, party: Party<'_>, count: impl Fn(&mut Standing)) {
        self.tenants.change(party.tenant, |tenant| {
            count(&mut tenant.standing);
            tenant.has.change(party.campaign, |campaign| count(&mut campaign.standing));
        });
    }

    /// Changes what all have.
    fn each(&mut self, mut change: impl FnMut(&mut VecDeque<T>)) {
        for tenant in self.tenants.names() {
            self.tenants.change(&tenant, |tenant| {
                let campaigns = &mut tenant.has;
                campaigns.names().iter().for_each(|name| campaigns.change(name, |campaign| change(&mut campaign.has)));
            });
        }
    }
}

impl<Q> Default for Level<Q> {
    fn default() -> Self {
        Level { places: BTreeMap::new(), line: BTreeSet::new(), swept_at: SWEPT_AT_MIN }
    }
}

impl<Q: Holds> Level<Q> {
    fn first(&self) -> Option<&Rc<str>> {
        self.line.first().map(|(_, name)| name)
    }

    fn names(&self) -> Vec<Rc<str>> {
        self.places.keys().cloned().collect()
    }

    /// Changes the place of that name, which then stands in line where it belongs.
    fn change<R>(&mut self, name: &str, change: impl FnOnce(&mut Place<Q>) -> R) -> R {
        let name = match self.places.get_key_value(name) {
            Some((name, _)) => name.clone(),
            None => self.name(name),
        };
        let place = self.places.entry(name.clone()).or_default();
        let standing = |place: &Place<Q>| (!place.has.is_empty()).then_some(place.standing);
        let before = standing(place);
        let result = change(place);
        let after = standing(place);
        if before != after {
            before.map(|standing| self.line.remove(&(standing, name.clone())));
            after.map(|standing| self.line.insert((standing, name)));
        }
        result
    }

    /// A name that is new here.
    fn name(&mut self, name: &str) -> Rc<str> {
        if self.places.len() >= self.swept_at {
            self.sweep();
        }
        name.into()
    }

    fn sweep(&mut self) {
        let longest_ago = self.line.iter().map(|(standing, _)| standing.last_turn).min().unwrap_or_default();
        let is_idle = |place: &Place<Q>| place.has.is_empty() && place.standing.under_way == 0;
        self.places.retain(|_, place| !is_idle(place) || place.standing.last_turn > longest_ago);
        if self.places.values().filter(|place| is_idle(place)).count() > IDLE_MAX {
            self.places.retain(|_, place| !is_idle(place));
        }
        self.swept_at = SWEPT_AT_MIN.max(2 * self.places.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'a>(tenant: &'a str, campaign: &'a str) -> Party<'a> {
        Party { tenant, campaign }
    }

    fn turn(shares: &mut Shares<(&'static str, &'static str)>) -> String {
        let Some((tenant, campaign)) = shares.pop() else { return "nothing".into() };
        shares.had_turn(of(tenant, campaign));
        format!("{tenant}/{campaign}")
    }

    fn push(
        shares: &mut Shares<(&'static str, &'static str)>,
        tenant: &'static str,
        campaign: &'static str,
        times: u32,
    ) {
        (0..times).for_each(|_| shares.push_back(of(tenant, campaign), (tenant, campaign)));
    }

    #[test]
    fn tenants_take_turns_and_of_each_its_campaigns() {
        let mut shares = Shares::default();
        push(&mut shares, "a", "big", 100);
        push(&mut shares, "a", "small", 2);
        push(&mut shares, "b", "", 4);
        let order: Vec<String> = (0..8).map(|_| turn(&mut shares)).collect();
        assert_eq!(order, ["a/big", "b/", "a/small", "b/", "a/big", "b/", "a/small", "b/"]);
        assert_eq!((turn(&mut shares), shares.len()), ("a/big".into(), 97));
    }

    #[test]
    fn what_is_nobodys_is_a_queue_and_one_more_once_somebody_comes() {
        let mut shares = Shares::default();
        (0..4).for_each(|number| shares.push_back(Party::default(), number));
        shares.push_front(Party::default(), 9);
        assert_eq!((shares.pop(), shares.pop(), shares.are_several()), (Some(9), Some(0), false));
        shares.begin(Party::default());
        shares.push_back(of("a", ""), 7);
        shares.push_back(of("a", ""), 8);
        assert_eq!(shares.first(), Some(&7));
        assert_eq!(shares.pop(), Some(7));
        shares.begin(of("a", ""));
        assert_eq!(shares.first(), Some(&8), "as much is under way, and it has had no turn");
        shares.end(of("a", ""), true);
        shares.end(Party::default(), true);
        assert_eq!((shares.pop(), shares.under_way(), shares.len()), (Some(8), 0, 3));
        assert_eq!(shares.drain(), [1, 2, 3]);
        assert!(shares.are_several(), "as long as that is not forgotten");
        shares.forget();
        assert!(shares.is_empty() && !shares.are_several());
    }

    #[test]
    fn who_has_less_under_way_is_next_and_a_turn_that_came_to_nothing_is_none() {
        let mut shares = Shares::default();
        push(&mut shares, "a", "", 9);
        push(&mut shares, "b", "", 9);
        let take = |shares: &mut Shares<(&'static str, &'static str)>| {
            let (tenant, campaign) = shares.pop().expect("there is some");
            shares.begin(of(tenant, campaign));
            tenant
        };
        assert_eq!([(); 4].map(|()| take(&mut shares)), ["a", "b", "a", "b"]);
        shares.end(of("b", ""), true);
        assert_eq!(take(&mut shares), "b", "it has less under way");
        // Of all that was under way only that of `a` went.
        shares.end(of("a", ""), true);
        shares.end(of("a", ""), false);
        (0..2).for_each(|_| shares.end(of("b", ""), false));
        assert_eq!(take(&mut shares), "b");
    }

    #[test]
    fn who_has_nothing_for_a_while_keeps_its_turn_in_mind_as_long_as_that_matters() {
        let mut shares = Shares::default();
        push(&mut shares, "a", "", 9);
        push(&mut shares, "b", "", 1);
        assert_eq!([(); 2].map(|()| turn(&mut shares)), ["a/", "b/"]);
        push(&mut shares, "b", "", 1);
        assert_eq!([(); 2].map(|()| turn(&mut shares)), ["a/", "b/"], "not before the others");
        for number in 0..10 * IDLE_MAX {
            let name = number.to_string();
            shares.push_back(of(&name, ""), ("x", ""));
            shares.retain_of(of(&name, ""), |_| false);
        }
        let known = |shares: &Shares<_>| shares.several.as_ref().map_or(0, |several| several.tenants.places.len());
        assert!(known(&shares) < 4 * SWEPT_AT_MIN, "{}", known(&shares));
        assert_eq!((turn(&mut shares), shares.len()), ("a/".into(), 6));
        shares.retain(|(tenant, _)| *tenant != "a");
        assert!(shares.is_empty() && shares.pop().is_none());
    }
}
