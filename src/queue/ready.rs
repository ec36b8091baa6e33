//! What is due and where: slices (a message's recipients at one domain) that are ready, by domain, and those for later.
//! Pure. A domain here is a [lane](super::lane): mail that is somebody's, or has a pool, has one of its own.
//!
//! Slices are hints: the row is the truth, and a slice whose row says otherwise is dropped when it is taken. What must
//! hold is the other direction: every due recipient that is not leased has a slice of its domain that is due no later,
//! here or (until the change that made it due is flushed) on its way here.
//! Domains that rest, and what an operator's order does to that: [`parked`].
//! A slice costs 16 bytes (and the spare capacity of what holds it).

mod parked;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use shards::Instant;
use slab::Slab;

use super::MessageId;
use super::lane::{self, Lane, Scope};
use super::shares::Shares;

/// Tenants and campaigns that are suspended at a time.
pub const SUSPENDED_MAX: usize = 1000;

/// A queue that has become empty keeps no more capacity than this.
const IDLE_CAPACITY: usize = 1024;

/// A destination domain that has queued recipients. A number may be reused when its domain has none left; a stale slice
/// then finds no recipient at the new domain and is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainId(u32);

/// Recipients of one message at one domain, from a time on (seconds since the epoch).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slice {
    /// When it is due. First, because slices are ordered by it.
    pub due_s: u32,
    /// Where to.
    pub domain: DomainId,
    /// The message.
    pub message: MessageId,
}

const _: () = assert!(size_of::<Slice>() == 16);

/// Where a domain is, as the dispatcher sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Nothing is ready.
    Idle,
    /// In the rotation.
    Waiting,
    /// Taken out by the dispatcher.
    Taken,
    /// Not before then.
    Parked(Instant),
    /// Not before an operator resumes it.
    Suspended,
}

struct Domain {
    name: Rc<str>,
    /// Queued recipients, in any state.
    queued: u64,
    ready: VecDeque<(MessageId, u32)>,
    turn: Turn,
    /// Why it was parked last, and because of which destination; empty: of none.
    why: Arc<str>,
    destination: Arc<str>,
    /// An operator wants it tried, however its next hop is.
    insists: bool,
    /// An order that is being carried out will want that.
    chosen: bool,
}

/// What is to be seen of a domain.
pub struct Look<'a> {
    /// Lower case.
    pub name: &'a str,
    /// Queued recipients, in any state.
    pub queued: u64,
    /// Slices that are ready, stale ones included.
    pub ready: usize,
    /// Until when it is parked, why, and because of which destination (empty: of none).
    pub parked: Option<(Instant, &'a Arc<str>, &'a Arc<str>)>,
}

/// All queued slices of a shard.
#[derive(Default)]
pub struct Ready {
    domains: Slab<Domain>,
    names: HashMap<Rc<str>, DomainId>,
    rotation: Shares<DomainId>,
    later: BinaryHeap<Reverse<Slice>>,
    parked: BinaryHeap<Reverse<(Instant, DomainId)>>,
    ready_slices: usize,
    /// Lanes that are not all of their domain.
    lanes_apart: usize,
    /// Tenants and campaigns of which nothing is offered.
    suspended: Vec<Scope>,
}

impl Ready {
    /// Counts `recipients` more at domain `name` (lower case) and gives its number.
    pub fn enter(&mut self, name: &str, recipients: u64) -> DomainId {
        let id = match self.names.get(name) {
            Some(id) => *id,
            None => self.add(name),
        };
        self.domains[id.0 as usize].queued += recipients;
        id
    }

    fn add(&mut self, name: &str) -> DomainId {
        self.lanes_apart += usize::from(is_apart(name));
        let name: Rc<str> = name.into();
        let domain = Domain {
            name: name.clone(),
            queued: 0,
            ready: VecDeque::new(),
            turn: Turn::Idle,
            why: Arc::from(""),
            destination: Arc::from(""),
            insists: false,
            chosen: false,
        };
        let id = DomainId(u32::try_from(self.domains.insert(domain)).expect("fewer than 2^32 domains fit in memory"));
        self.names.insert(name, id);
        id
    }

    /// Counts one recipient less at domain `name`, and forgets the domain when it was the last.
    pub fn leave(&mut self, name: &str) {
        if let Some(id) = self.names.get(name).copied() {
            let domain = &mut self.domains[id.0 as usize];
            domain.queued = domain.queued.saturating_sub(1);
            self.forget_if_unused(id);
        }
    }

    fn forget_if_unused(&mut self, id: DomainId) {
        let domain = &self.domains[id.0 as usize];
        if domain.queued == 0 && domain.ready.is_empty() && domain.turn == Turn::Idle {
            let domain = self.domains.remove(id.0 as usize);
            self.names.remove(&domain.name);
            self.lanes_apart -= usize::from(is_apart(&domain.name));
        }
    }

    /// The number of domain `name`, if it has queued recipients.
    pub fn find(&self, name: &str) -> Option<DomainId> {
        self.names.get(name).copied()
    }

    /// Queued recipients at domain `name`; `None` if that is not known at once, because some are in lanes of their own.
    pub fn queued_at(&self, name: &str) -> Option<u64> {
        (self.lanes_apart == 0).then(|| self.find(name).map_or(0, |id| self.domains[id.0 as usize].queued))
    }

    /// Queued recipients in what an order is about.
    pub fn queued_in(&self, scope: &Scope) -> u64 {
        self.domains.iter().filter(|(_, lane)| scope.covers(&lane.name)).map(|(_, lane)| lane.queued).sum()
    }

    /// From now on nothing of `scope` is offered, or again what is ready of it. `false`: too much is suspended already.
    #[must_use]
    pub fn suspend(&mut self, scope: &Scope, suspend: bool) -> bool {
        if suspend && self.suspended.len() >= SUSPENDED_MAX && !self.suspended.contains(scope) {
            return false;
        }
        self.suspended.retain(|other| other != scope);
        if suspend {
            self.suspended.push(scope.clone());
        }
        let numbers: Vec<usize> =
            self.domains.iter().filter(|(_, lane)| scope.covers(&lane.name)).map(|(number, _)| number).collect();
        // Who waits anew stands at the end; whoever was suspended stands there no more.
        let domains = &self.domains;
        self.rotation.retain(|id| !scope.covers(&domains[id.0 as usize].name));
        for number in numbers {
            if matches!(self.domains[number].turn, Turn::Waiting | Turn::Suspended) {
                self.rejoin(DomainId(number as u32));
            }
        }
        true
    }

    /// What is suspended.
    pub fn suspended(&self) -> &[Scope] {
        &self.suspended
    }

    /// What is suspended of which the lane is a part: nothing of it is offered until an operator resumes that.
    pub fn suspended_with(&self, name: &str) -> Option<&Scope> {
        self.suspended.iter().find(|scope| scope.covers(name))
    }

    /// Adds a slice: to its domain's ready ones if it is due at `now_s`, else for later.
    pub fn push(&mut self, slice: Slice, now_s: u32) {
        if slice.due_s > now_s {
            self.later.push(Reverse(slice));
            return;
        }
        let Some(domain) = self.domains.get_mut(slice.domain.0 as usize) else { return };
        domain.ready.push_back((slice.message, slice.due_s));
        self.ready_slices += 1;
        if domain.turn == Turn::Idle {
            self.rejoin(slice.domain);
        }
    }

    /// Makes at most `slices_max` slices ready that have become due. True: there are more.
    pub fn ripen(&mut self, now_s: u32, slices_max: usize) -> bool {
        for _ in 0..slices_max {
            match self.later.peek() {
                Some(Reverse(slice)) if slice.due_s <= now_s => {}
                _ => return false,
            }
            if let Some(Reverse(slice)) = self.later.pop() {
                self.push(slice, now_s);
            }
        }
        if self.later.len() < self.later.capacity() / 4 {
            self.later.shrink_to(self.later.len() * 2 + IDLE_CAPACITY);
        }
        true
    }

    /// When the next slice becomes due.
    pub fn next_due_s(&self) -> Option<u32> {
        self.later.peek().map(|Reverse(slice)| slice.due_s)
    }

    /// Takes the next domain out of the rotation.
    pub fn take_domain(&mut self) -> Option<Rc<str>> {
        let id = self.rotation.pop()?;
        let domain = &mut self.domains[id.0 as usize];
        domain.turn = Turn::Taken;
        self.rotation.had_turn(lane::party(&domain.name));
        self.rotation.forget();
        Some(domain.name.clone())
    }

    /// Domains in the rotation.
    pub fn waiting_domains(&self) -> usize {
        self.rotation.len()
    }

    /// Slices that are ready.
    pub fn ready_slices(&self) -> usize {
        self.ready_slices
    }

    /// Slices in all, stale ones included.
    pub fn slices(&self) -> usize {
        self.ready_slices + self.later.len()
    }

    /// The longest-waiting ready slice of `id`, taken.
    pub fn pop(&mut self, id: DomainId) -> Option<Slice> {
        let domain = self.domains.get_mut(id.0 as usize)?;
        let (message, due_s) = domain.ready.pop_front()?;
        if domain.ready.is_empty() && domain.ready.capacity() > IDLE_CAPACITY {
            domain.ready = VecDeque::new();
        }
        self.ready_slices -= 1;
        Some(Slice { due_s, domain: id, message })
    }

    /// The message of the longest-waiting ready slice of `id`.
    pub fn front(&self, id: DomainId) -> Option<MessageId> {
        self.domains.get(id.0 as usize)?.ready.front().map(|(message, _)| *message)
    }

    /// Puts a taken domain back: into the rotation if it has ready slices, else aside until it has.
    pub fn hand_back(&mut self, name: &str) {
        if let Some(id) = self.find(name)
            && self.domains[id.0 as usize].turn == Turn::Taken
        {
            self.rejoin(id);
        }
    }

    /// Shows the next `domains_max` domains from number `from` on. Gives the number to go on from; `None`: that was all.
    pub fn look_at(&self, from: u32, domains_max: u32, look: &mut dyn FnMut(Look<'_>)) -> Option<u32> {
        let end = from.saturating_add(domains_max);
        for domain in (from..end).filter_map(|number| self.domains.get(number as usize)) {
            let parked_until = if let Turn::Parked(until) = domain.turn { Some(until) } else { None };
            look(Look {
                name: &domain.name,
                queued: domain.queued,
                ready: domain.ready.len(),
                parked: parked_until.map(|until| (until, &domain.why, &domain.destination)),
            });
        }
        ((end as usize) < self.domains.capacity()).then_some(end)
    }

    fn rejoin(&mut self, id: DomainId) {
        let domain = &mut self.domains[id.0 as usize];
        if domain.ready.is_empty() {
            domain.turn = Turn::Idle;
            self.forget_if_unused(id);
        } else if self.suspended.iter().any(|scope| scope.covers(&domain.name)) {
            domain.turn = Turn::Suspended;
        } else {
            domain.turn = Turn::Waiting;
            self.rotation.push_back(lane::party(&domain.name), id);
        }
    }

    /// Drops every slice, keeping counts and turns; the caller adds what the rows say.
    pub fn clear_slices(&mut self) {
        self.later = BinaryHeap::new();
        for (_, domain) in &mut self.domains {
            domain.ready = VecDeque::new();
        }
        self.ready_slices = 0;
    }
}

/// Whether a lane is not all of its domain.
fn is_apart(name: &str) -> bool {
    Lane::of(name).domain.len() < name.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(ready: &mut Ready, name: &str, message: u64, due_s: u32) -> Slice {
        Slice { due_s, domain: ready.enter(name, 1), message: MessageId(message) }
    }

    pub(super) fn push(ready: &mut Ready, name: &str, message: u64, due_s: u32, now_s: u32) {
        let slice = slice(ready, name, message, due_s);
        ready.push(slice, now_s);
    }

    #[test]
    fn domains_take_turns() {
        let mut ready = Ready::default();
        for message in 0..4 {
            push(&mut ready, "a.test", message, 0, 0);
        }
        push(&mut ready, "b.test", 9, 0, 0);
        assert_eq!(ready.take_domain().as_deref(), Some("a.test"));
        ready.hand_back("a.test");
        assert_eq!(ready.take_domain().as_deref(), Some("b.test"));
        assert_eq!(ready.take_domain().as_deref(), Some("a.test"));
        assert_eq!(ready.take_domain(), None, "both are taken");
    }

    #[test]
    fn slices_of_a_domain_leave_in_the_order_in_which_they_became_ready() {
        let mut ready = Ready::default();
        push(&mut ready, "a.test", 1, 50, 0);
        push(&mut ready, "a.test", 2, 20, 0);
        push(&mut ready, "a.test", 3, 0, 0);
        assert_eq!(ready.next_due_s(), Some(20));
        assert!(!ready.ripen(49, 10));
        let id = ready.find("a.test").expect("it is queued");
        let popped: Vec<_> = std::iter::from_fn(|| ready.pop(id)).map(|slice| slice.message.0).collect();
        assert_eq!(popped, [3, 2]);
        assert!(!ready.ripen(50, 10));
        assert_eq!(ready.pop(id).map(|slice| slice.message.0), Some(1));
    }

    #[test]
    fn ripening_is_done_in_steps() {
        let mut ready = Ready::default();
        for message in 0..5 {
            push(&mut ready, "a.test", message, 10, 0);
        }
        assert!(ready.ripen(10, 3));
        assert_eq!(ready.ready_slices(), 3);
        assert!(!ready.ripen(10, 3));
        assert_eq!(ready.ready_slices(), 5);
    }

    #[test]
    fn a_suspended_tenant_waits_until_it_is_resumed_and_others_go_on() {
        let lane = |tenant: &str| format!("a.test\u{1f}\u{1f}{tenant}\u{1f}");
        let acme = Scope::Tenant("acme".into());
        let mut ready = Ready::default();
        let (one, two) = (lane("acme"), lane("other"));
        for name in [&one, &two, &one] {
            push(&mut ready, name, 1, 0, 0);
        }
        assert_eq!((ready.queued_at("a.test"), ready.queued_in(&acme)), (None, 2));
        assert!(ready.suspend(&acme, true));
        assert!(ready.suspended_with(&one).is_some() && ready.suspended_with(&two).is_none());
        assert_eq!(ready.take_domain().as_deref(), Some(&*two));
        push(&mut ready, &one, 2, 0, 0);
        assert_eq!(ready.take_domain(), None);
        assert!(ready.suspend(&acme, false));
        ready.hand_back(&two);
        assert_eq!(ready.take_domain().as_deref(), Some(&*one));
        assert!(ready.suspend(&acme, true));
        ready.hand_back(&one);
        assert_eq!((ready.take_domain().as_deref(), ready.take_domain()), (Some(&*two), None));
    }

    #[test]
    fn a_domain_without_recipients_is_forgotten() {
        let mut ready = Ready::default();
        push(&mut ready, "a.test", 1, 0, 0);
        assert_eq!(ready.queued_at("a.test"), Some(1));
        let name = ready.take_domain().expect("it is ready");
        let id = ready.find(&name).expect("it is queued");
        ready.pop(id);
        ready.leave(&name);
        assert!(ready.find(&name).is_some(), "it is still taken");
        ready.hand_back(&name);
        assert_eq!(ready.find(&name), None);
    }
}
