//! Domains that rest: put aside until a time, because of a destination, and called back by that time or by an operator.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use shards::Instant;

use super::{Domain, DomainId, Ready, Turn};
use crate::queue::lane;

impl Domain {
    fn rests_at(&self, destinations: &BTreeSet<Box<str>>) -> bool {
        matches!(self.turn, Turn::Parked(_)) && destinations.contains(&*self.destination)
    }
}

impl Ready {
    /// Puts domains back into the rotation whose time of parking is over.
    pub fn unpark(&mut self, now: Instant) {
        while let Some(Reverse((until, id))) = self.parked.peek().copied() {
            if until > now {
                break;
            }
            self.parked.pop();
            // A domain that was parked again, or forgotten since, has another entry or none.
            if self.domains.get(id.0 as usize).is_some_and(|domain| domain.turn == Turn::Parked(until)) {
                self.rejoin(id);
            }
        }
    }

    /// When the next domain's parking ends.
    pub fn next_unpark(&self) -> Option<Instant> {
        self.parked.peek().map(|Reverse((until, _))| *until)
    }

    /// Puts a domain aside until `until`, wherever it is, for the reason `why`, which `destination` gave; unless an
    /// operator wants it tried: the order is newer than what made for the pause.
    pub fn park(&mut self, name: &str, until: Instant, why: &Arc<str>, destination: &Arc<str>) {
        let Some(id) = self.find(name) else { return };
        let domain = &mut self.domains[id.0 as usize];
        if domain.insists {
            return self.hand_back(name);
        }
        if domain.turn == Turn::Waiting {
            self.rotation.retain_of(lane::party(name), |waiting| *waiting != id);
        }
        domain.turn = Turn::Parked(until);
        domain.why = why.clone();
        domain.destination = destination.clone();
        self.parked.push(Reverse((until, id)));
    }

    /// Whether a domain has nothing ready, or waits in the rotation, and no operator wants it tried.
    pub fn is_aside(&self, name: &str) -> bool {
        let domain = self.find(name).map(|id| &self.domains[id.0 as usize]);
        domain.is_some_and(|domain| matches!(domain.turn, Turn::Idle | Turn::Waiting) && !domain.insists)
    }

    /// Until when a domain is parked, and why.
    pub fn parked(&self, name: &str) -> Option<(Instant, Arc<str>)> {
        let domain = &self.domains[self.find(name)?.0 as usize];
        match domain.turn {
            Turn::Parked(until) => Some((until, domain.why.clone())),
            Turn::Idle | Turn::Waiting | Turn::Taken | Turn::Suspended => None,
        }
    }

    /// Whether a domain is parked because of one of `destinations`.
    pub fn rests_at(&self, name: &str, destinations: &BTreeSet<Box<str>>) -> bool {
        self.find(name).is_some_and(|id| self.domains[id.0 as usize].rests_at(destinations))
    }

    /// Puts those of the next `domains_max` domains from number `from` on back into the rotation that are parked because of
    /// `destinations`. Gives the number to go on from; `None`: that was all.
    pub fn unpark_at(&mut self, destinations: &BTreeSet<Box<str>>, from: u32, domains_max: u32) -> Option<u32> {
        let end = from.saturating_add(domains_max);
        for number in from..end {
            if self.domains.get(number as usize).is_some_and(|domain| domain.rests_at(destinations)) {
                self.rejoin(DomainId(number));
            }
        }
        ((end as usize) < self.domains.capacity()).then_some(end)
    }

    /// An operator wants a domain tried: [`Ready::insist_on_chosen`] says when.
    pub fn choose(&mut self, name: &str) {
        if let Some(id) = self.find(name) {
            self.domains[id.0 as usize].chosen = true;
        }
    }

    /// Those of the next `domains_max` domains from number `from` on that were chosen are to be tried at once, parked or
    /// not. Gives the number to go on from; `None`: that was all.
    pub fn insist_on_chosen(&mut self, from: u32, domains_max: u32) -> Option<u32> {
        let end = from.saturating_add(domains_max);
        for number in from..end {
            let Some(domain) = self.domains.get_mut(number as usize) else { continue };
            if !std::mem::take(&mut domain.chosen) {
                continue;
            }
            domain.insists = true;
            if matches!(domain.turn, Turn::Parked(_)) {
                self.rejoin(DomainId(number));
            }
        }
        ((end as usize) < self.domains.capacity()).then_some(end)
    }

    /// Whether that is so; true once.
    pub fn takes_insistence(&mut self, name: &str) -> bool {
        self.find(name).is_some_and(|id| std::mem::take(&mut self.domains[id.0 as usize].insists))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::push;
    use super::*;

    fn insist(ready: &mut Ready, name: &str) {
        ready.choose(name);
        let mut next = Some(0);
        while let Some(from) = next {
            next = ready.insist_on_chosen(from, 2);
        }
    }

    #[test]
    fn a_parked_domain_is_not_offered_before_its_time() {
        let mut ready = Ready::default();
        push(&mut ready, "a.test", 1, 0, 0);
        let start = Instant::from_nanos(0);
        let until = start + Duration::from_secs(5);
        assert!(ready.take_domain().is_some());
        ready.park("a.test", until, &"".into(), &"".into());
        ready.hand_back("a.test");
        ready.unpark(start + Duration::from_secs(4));
        assert_eq!(ready.take_domain(), None);
        ready.unpark(until);
        assert_eq!(ready.take_domain().as_deref(), Some("a.test"));
    }

    #[test]
    fn a_parked_domain_says_why_and_rejoins_when_an_operator_insists() {
        let mut ready = Ready::default();
        push(&mut ready, "a.test", 1, 0, 0);
        let until = Instant::from_nanos(10);
        assert!(ready.is_aside("a.test"));
        ready.park("a.test", until, &"refused".into(), &"".into());
        assert_eq!(ready.parked("a.test"), Some((until, "refused".into())));
        insist(&mut ready, "a.test");
        assert_eq!(ready.parked("a.test"), None);
        assert!(!ready.is_aside("a.test"), "a pause that is told late does not undo the order");
        assert_eq!(ready.take_domain().as_deref(), Some("a.test"));
        assert!(ready.takes_insistence("a.test") && !ready.takes_insistence("a.test"));
        ready.unpark(until);
        assert_eq!(ready.take_domain(), None, "it is taken");
    }

    #[test]
    fn a_pause_that_is_told_after_an_order_does_not_undo_it() {
        let mut ready = Ready::default();
        for name in ["a.test", "b.test", "c.test", "d.test"] {
            push(&mut ready, name, 1, 0, 0);
        }
        assert_eq!(ready.take_domain().as_deref(), Some("a.test"));
        ["a.test", "b.test", "d.test"].iter().for_each(|name| ready.choose(name));
        assert_eq!(ready.insist_on_chosen(0, 2), Some(2));
        let until = Instant::from_nanos(10);
        ["a.test", "b.test", "c.test"].iter().for_each(|name| ready.park(name, until, &"refused".into(), &"".into()));
        let waiting: Vec<String> = std::iter::from_fn(|| ready.take_domain()).map(|name| name.to_string()).collect();
        assert_eq!(waiting, ["b.test", "d.test", "a.test"], "c.test is parked, d.test not yet insisted on");
        assert!(ready.takes_insistence("a.test") && ready.takes_insistence("b.test"));
        assert!(!ready.takes_insistence("d.test"));
        ready.park("a.test", until, &"refused again".into(), &"".into());
        assert_eq!(ready.parked("a.test"), Some((until, "refused again".into())), "an order counts once");
    }

    #[test]
    fn parking_again_counts_from_the_later_time_and_reaches_a_waiting_domain() {
        let mut ready = Ready::default();
        push(&mut ready, "a.test", 1, 0, 0);
        let first = Instant::from_nanos(10);
        let second = Instant::from_nanos(20);
        ready.park("a.test", first, &"".into(), &"".into());
        ready.park("a.test", second, &"".into(), &"".into());
        assert_eq!(ready.waiting_domains(), 0);
        ready.unpark(first);
        assert_eq!(ready.waiting_domains(), 0);
        ready.unpark(second);
        assert_eq!(ready.waiting_domains(), 1);
    }

    #[test]
    fn a_parked_domain_without_recipients_is_forgotten_when_its_time_is_over() {
        let mut ready = Ready::default();
        let id = ready.enter("a.test", 1);
        ready.park("a.test", Instant::from_nanos(5), &"".into(), &"".into());
        ready.leave("a.test");
        assert_eq!(ready.find("a.test"), Some(id));
        ready.unpark(Instant::from_nanos(5));
        assert_eq!(ready.find("a.test"), None);
    }
}
