//! Leave to connect and to send, of all budgets that count for a path together. What is refused uses nothing up.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use shards::{Instant, Reactor};

use super::{Budget, SharedBudget, WAIT_MAX};
use crate::outbound::known::Known;
use crate::outbound::path::Path;
use crate::outbound::warm_up;

/// What the next connection waits for.
#[derive(Debug, PartialEq, Eq)]
pub enum Leave {
    /// Nothing.
    Now,
    /// A token.
    After(Duration),
    /// The end of another connection.
    WhenOneEnds,
}

/// A connection's place in the budgets that it counts for, given back when it is dropped.
pub struct Place(pub Budgets);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.iter().for_each(|budget| budget.borrow_mut().connections -= 1);
    }
}

/// The budgets that count for one path.
#[derive(Clone, Default)]
pub struct Budgets(pub Vec<SharedBudget>);

impl Budgets {
    /// Whether one more connection may be opened.
    pub fn leave_to_connect(&self, now: Instant) -> Leave {
        if self.0.iter().any(|budget| budget.borrow().is_full()) {
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
        self.0.iter().map(|budget| budget.borrow().connection_wait(now)).max().unwrap_or_default()
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

    /// Waits until one more transaction may begin, and begins it; `false`: that takes too long, and nothing is used up. Its
    /// token is used at once, so whatever else takes time comes before it is taken.
    pub async fn leave_to_send(&self, reactor: &Reactor) -> bool {
        let deadline = reactor.now() + WAIT_MAX;
        loop {
            if !self.leave(reactor, deadline, Budget::message_wait, Budgets::take_message).await {
                return false;
            }
            let grant = match self.ask_plan(reactor) {
                warm_up::Leave::Sent => return true,
                warm_up::Leave::UsedUp => {
                    self.give_message_back();
                    return false;
                }
                warm_up::Leave::AfterGrant(grant) => grant,
            };
            self.give_message_back();
            self.keep_grant(grant).await;
        }
    }

    /// Waits until the longest `wait` is over, and takes; `false`: that is not before `deadline`.
    async fn leave(
        &self,
        reactor: &Reactor,
        deadline: Instant,
        wait: impl Fn(&Budget, Instant) -> Duration,
        take: impl Fn(&Self, Instant),
    ) -> bool {
        loop {
            let now = reactor.now();
            let wait_for = |budget: &SharedBudget| wait(&budget.borrow(), now);
            let wait = self.0.iter().map(wait_for).max().unwrap_or_default();
            if wait > deadline.since(now) {
                return false;
            }
            // What all share is taken before it is there: whoever else waits gets the next one. So nobody is passed over by
            // those who wait for nothing else. Of the others it is used up from that moment on, not earlier; of each rate
            // of a budget it counts when it is used.
            if self.whole().is_none_or(|whole| wait_for(whole) == wait) {
                take(self, now + wait);
                if !wait.is_zero() {
                    reactor.sleep(wait).await;
                }
                return true;
            }
            reactor.sleep(wait).await;
        }
    }

    /// Asks the plan that the source warms up by for one more message.
    fn ask_plan(&self, reactor: &Reactor) -> warm_up::Leave {
        let asked = self.whole().and_then(|whole| {
            whole.borrow_mut().warming.as_mut().map(|warming| warming.ask(reactor.wall(), reactor.now()))
        });
        asked.unwrap_or(warm_up::Leave::Sent)
    }

    /// Keeps a grant of the plan, which is used only when it is on disk.
    async fn keep_grant(&self, grant: warm_up::Spent) {
        let Some(whole) = self.whole() else { return };
        let kept = whole.borrow().kept.clone();
        let is_kept = match kept {
            Some((queue, path)) => {
                let known = Known::of(&whole.borrow()).encode();
                queue.learn_for_good(&path, known.as_deref()).await
            }
            None => true,
        };
        match &mut whole.borrow_mut().warming {
            Some(warming) if is_kept => warming.grant(grant),
            Some(warming) => warming.stop(),
            None => {}
        }
    }

    fn give_message_back(&self) {
        self.0.iter().for_each(|budget| budget.borrow_mut().give_message_back());
    }

    fn take_message(&self, now: Instant) {
        self.0.iter().for_each(|budget| budget.borrow_mut().take_message(now));
    }

    /// Transactions that a connection may have, at most.
    pub fn messages_per_connection_max(&self) -> u32 {
        let each = self.0.iter().map(|budget| budget.borrow().messages_per_connection_max);
        each.min().unwrap_or(u32::MAX).max(1)
    }

    /// How long a connection may have no message.
    pub fn idle_timeout(&self) -> Duration {
        self.0.iter().map(|budget| budget.borrow().idle_timeout).min().unwrap_or_default()
    }

    /// The path stands in line for the end of a connection: in one line only, of a budget that is full. In several it would
    /// stay in all but one when it is served, and be in each more often from time to time.
    pub fn stand_in_line(&self, path: &Rc<RefCell<Path>>) {
        if let Some(full) = self.0.iter().find(|budget| budget.borrow().is_full()) {
            let line = &mut full.borrow_mut().line;
            // Before it grows, those leave it that are gone.
            if line.len() == line.capacity() {
                line.retain(|path| path.strong_count() > 0);
            }
            line.push_back(Rc::downgrade(path));
        }
    }

    /// The first of those that stand in line for a budget that is full no longer; it does no more.
    pub fn next_in_line(&self) -> Option<Rc<RefCell<Path>>> {
        self.0.iter().find_map(|budget| {
            let mut budget = budget.borrow_mut();
            while !budget.is_full() {
                if let Some(path) = budget.line.pop_front()?.upgrade() {
                    return Some(path);
                }
            }
            None
        })
    }

    /// Waits until a search may connect once more, in the place that it has; `false`: that takes longer than `wait_max`.
    pub async fn leave_to_connect_again(&self, reactor: &Reactor, wait_max: Duration) -> bool {
        let deadline = reactor.now() + wait_max;
        self.leave(reactor, deadline, Budget::connection_wait, Budgets::take_connection).await
    }

    /// A connection that has had its token since `taken_at` was not begun.
    pub fn give_connection_back(&self, taken_at: Instant) {
        for budget in &self.0 {
            if let Some(limited) = &mut budget.borrow_mut().new_connections {
                limited.tokens.give_back_late(taken_at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Budgets;
    use super::*;
    use crate::config::limit::Rate;
    use crate::outbound::path::tests::path;
    use crate::route::{Effective, Said};

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
            idle_timeout: None,
        }
    }

    #[test]
    fn only_as_many_leave_a_line_as_there_is_room_for_and_no_dead_path_stays() {
        let (now, rate) = (Instant::default() + SECOND, Rate { number: 1000, per: SECOND });
        let budget = Rc::new(RefCell::new(Budget::new(&limits(2, rate), Instant::default())));
        let budgets = Budgets(vec![budget.clone()]);
        let mut places = vec![budgets.begin_connection(now), budgets.begin_connection(now)];
        let paths: Vec<_> = (0..5).map(|_| Rc::new(RefCell::new(path()))).collect();
        paths.iter().for_each(|path| budgets.stand_in_line(path));
        assert!(budgets.next_in_line().is_none(), "it is full");
        places.pop();
        let first = budgets.next_in_line().expect("room for one");
        assert!(Rc::ptr_eq(&first, &paths[0]));
        places.push(budgets.begin_connection(now));
        assert!(budgets.next_in_line().is_none());
        assert_eq!(budget.borrow().line.len(), 4, "the others are not looked at");
        drop((first, paths));
        (0..1000).for_each(|_| budgets.stand_in_line(&Rc::new(RefCell::new(path()))));
        assert!(budget.borrow().line.capacity() < 100, "what is gone takes no memory");
        places.pop();
        assert!(budgets.next_in_line().is_none() && budget.borrow().line.is_empty());
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
        assert!(pause > 300 * SECOND && why.contains("message_rate of group, 10/1h as a test has it"), "{why}");
        assert!(matches!(budgets.leave_to_connect(now), Leave::After(_)));
        assert_eq!(budgets.rest(true, now + pause), None);
    }
}
