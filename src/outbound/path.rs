//! The state of one egress path: what waits, how many connections there are, and how long the path is left alone.
//! Decides and counts; takes the time as an argument and does nothing to the world.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use shards::Instant;

use super::Rest;
use super::Task;
use super::after_rest::AfterRest;
use super::budget::Budgets;
use super::parking::Parking;
use super::waiting::Waiting;
use crate::config::limit::Party;
use crate::config::{Retry, Source};
use crate::queue::shares::Shares;
use crate::route::Site;

/// A path in trouble is tried again after this at the latest.
const BACK_OFF_MAX: Duration = Duration::from_secs(300);

/// One egress path.
pub(super) struct Path {
    /// Its site, as the last task had it: hosts and preferences follow the DNS.
    pub site: Arc<Site>,
    /// Its source, likewise.
    pub source: Arc<Source>,
    /// The limits that hold for it, with what is left of them.
    pub budgets: Budgets,
    /// Some of what goes to its hosts may have limits of its own, and so another path with which it shares them.
    pub is_divided: bool,
    /// No task is given out while those who share the path are waited for.
    pub after_rest: AfterRest,
    /// It stands in line until a connection of its budgets ends.
    pub in_line: bool,
    /// It is looked at again when its limits let a connection begin.
    pub is_timed: bool,
    /// Whoever they come from, whose they are says whose turn it is.
    waiting: Shares<Waiting>,
    /// Connections without a task, by number, with what wakes them.
    idle: BTreeMap<u64, Waker>,
    /// Connections that were woken for a task and have not come for it yet: a task each is spoken for.
    called: BTreeSet<u64>,
    /// Connections that have become ready and not yet ended.
    live: u32,
    /// Connections that are being opened.
    opening: u32,
    /// The last number that a connection was given.
    connection: u64,
    /// Searches for a connection, and connections, that came to nothing since the last success.
    failures: u32,
    /// Nothing is tried before.
    closed_until: Option<Instant>,
    /// The peer wants nothing of us.
    parked: Option<Parked>,
    /// Why it was left alone last, for people.
    why: Arc<str>,
    /// No connection is opened beside working ones before.
    enough_until: Option<Instant>,
    /// Connections that may have a task at a time: after a rest one, then twice as many with each success.
    trusted: u32,
}

/// How long a peer wants nothing of us.
struct Parked {
    until: Instant,
    pause: Duration,
    /// How often in a row we were told that it is too much.
    rate_steps: usize,
}

impl Path {
    /// The task for which a connection is opened.
    pub fn first_waiting(&self) -> Option<&Task> {
        self.waiting.first().map(|waiting| &waiting.task)
    }

    pub fn new(source: Arc<Source>, site: Arc<Site>, budgets: Budgets) -> Self {
        Self {
            site,
            source,
            budgets,
            is_divided: false,
            after_rest: AfterRest::default(),
            in_line: false,
            is_timed: false,
            waiting: Shares::default(),
            idle: BTreeMap::new(),
            called: BTreeSet::new(),
            live: 0,
            opening: 0,
            connection: 0,
            failures: 0,
            closed_until: None,
            parked: None,
            why: Arc::from(""),
            enough_until: None,
            trusted: u32::MAX,
        }
    }

    /// How long the path is still left alone.
    pub fn closed_for(&self, now: Instant) -> Option<Duration> {
        let parked_until = self.parked.as_ref().map(|parked| parked.until);
        self.closed_until.max(parked_until).filter(|until| now < *until).map(|until| until.since(now))
    }

    /// As [`Path::closed_for`], with the reason.
    pub fn rest(&self, now: Instant) -> Option<Rest> {
        self.closed_for(now).map(|pause| Rest { pause, why: self.why.clone() })
    }

    /// The path is left alone for `pause` because of this.
    pub fn rests(&mut self, pause: Duration, why: &str) -> Rest {
        if self.waiting.are_several() || self.is_divided {
            self.after_rest.expect();
        }
        self.why = why.into();
        Rest { pause, why: self.why.clone() }
    }

    /// An operator wants the path to be tried at once. The next rest is as long as it would have been.
    pub fn reopen(&mut self, now: Instant) {
        self.closed_until = None;
        if let Some(parked) = &mut self.parked {
            parked.until = parked.until.min(now);
        }
    }

    /// As [`Path::reopen`], also where more connections than now were not wanted. Why it was left alone, and for how long still.
    pub fn lift(&mut self, now: Instant) -> Option<Rest> {
        let rest = self.rest(now);
        self.reopen(now);
        self.enough_until = None;
        rest
    }

    /// Whether it has nothing to do and nothing to do it with.
    pub fn is_unused(&self) -> bool {
        self.is_unconnected() && self.waiting.is_empty()
    }

    /// Whether nothing would be lost by forgetting the path.
    pub fn is_forgettable(&self, now: Instant) -> bool {
        // After a back-off the number of failures still says how long the next one is.
        let is_over = self.parked.as_ref().is_none_or(|parked| now >= parked.until + parked.pause);
        self.is_unused() && is_over && self.closed_until.is_none_or(|until| now >= until + BACK_OFF_MAX)
    }

    /// Whether there is no connection, nor one being opened.
    pub fn is_unconnected(&self) -> bool {
        self.live == 0 && self.opening == 0
    }

    /// Whether other connections stand beside one that does.
    pub fn has_others(&self) -> bool {
        self.live > 1
    }

    /// Takes a task in.
    pub fn push(&mut self, waiting: Waiting) {
        push(&mut self.waiting, waiting, Shares::push_back);
    }

    /// Takes a task back, before all others of its party.
    pub fn push_back_first(&mut self, waiting: Waiting) {
        push(&mut self.waiting, waiting, Shares::push_front);
    }

    /// The next task, under way from now on.
    pub fn pop(&mut self) -> Option<Waiting> {
        if self.after_rest == AfterRest::Gathering {
            return None;
        }
        let next = self.waiting.pop()?;
        self.waiting.begin(next.task.party());
        Some(next)
    }

    /// There is something of a party, which does not wait here now.
    pub fn hears_of(&mut self, party: Party<'_>) {
        self.waiting.begin(party);
        self.waiting.end(party, false);
    }

    /// A task of a party that was under way is so no longer; whether anything of it was tried.
    pub fn is_no_longer_under_way(&mut self, party: Party<'_>, was_tried: bool) {
        self.waiting.end(party, was_tried);
    }

    /// Gives out everything that waits.
    pub fn take_waiting(&mut self) -> Vec<Waiting> {
        self.waiting.drain()
    }

    /// Connection `number` has no task: `waker` is woken when there is one.
    pub fn idles(&mut self, number: u64, waker: Waker) {
        self.called.remove(&number);
        self.idle.insert(number, waker);
    }

    /// Connection `number` no longer idles.
    pub fn idles_no_more(&mut self, number: u64) {
        self.idle.remove(&number);
        self.called.remove(&number);
    }

    /// The idle connections that have work to do now: as many as tasks wait for which none was called yet, and as the
    /// path is trusted with.
    pub fn wake(&mut self) -> Vec<Waker> {
        if self.after_rest == AfterRest::Gathering {
            return Vec::new();
        }
        let uncalled = self.waiting.len().saturating_sub(self.called.len());
        let busy = ((self.live + self.opening) as usize).saturating_sub(self.idle.len());
        let called_max = uncalled.min((self.trusted as usize).saturating_sub(busy)).min(self.idle.len());
        let mut wakers = Vec::with_capacity(called_max);
        while wakers.len() < called_max
            && let Some((number, waker)) = self.idle.pop_first()
        {
            self.called.insert(number);
            wakers.push(waker);
        }
        wakers
    }

    /// All idle connections, to end them.
    pub fn wake_all(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.idle).into_values().collect()
    }

    /// Whether one more connection shall be opened as soon as the limits permit it: tasks wait that the idle, called and
    /// opening ones do not cover, there are fewer than the path is trusted with, and it is believed to work. As long as no
    /// connection stands only one is tried at a time, so a dead destination costs one search per back-off, however much waits.
    pub fn wants_connection(&self, now: Instant) -> bool {
        let connections = self.live + self.opening;
        let uncovered = self.waiting.len() > self.idle.len() + self.called.len() + self.opening as usize;
        let permitted = match self.live {
            0 => self.opening == 0 && self.closed_for(now).is_none(),
            _ if self.parked_for(now).is_some() => false,
            _ => self.enough_until.is_none_or(|until| now >= until),
        };
        uncovered && connections < self.trusted && permitted
    }

    /// What beside the limits keeps tasks that wait from a connection of their own, for people; a rest is told apart.
    pub fn holds_back(&self, now: Instant) -> Option<String> {
        let connections = self.live + self.opening;
        if connections == 0 || self.waiting.is_empty() {
            return None;
        }
        if self.live == 0 {
            return Some("a connection is being opened".into());
        }
        if connections >= self.trusted {
            return Some(format!("after a rest it goes on with {} at first", counted(self.trusted)));
        }
        let is_enough = self.enough_until.is_some_and(|until| now < until);
        is_enough.then(|| format!("no more than {} could be opened", counted(connections)))
    }

    /// A connection is being opened; its number.
    pub fn opening(&mut self) -> u64 {
        self.opening += 1;
        self.connection += 1;
        self.connection
    }

    /// A connection that was being opened is ready.
    pub fn opened(&mut self) {
        self.opening -= 1;
        self.live += 1;
    }

    /// A connection has ended, before or after it was ready.
    pub fn ended(&mut self, was_live: bool) {
        if was_live {
            self.live -= 1
        } else {
            self.opening -= 1
        }
        if self.is_unused() && self.after_rest == AfterRest::Over {
            self.waiting.forget();
        }
    }

    /// The peer takes mail.
    pub fn works(&mut self, now: Instant) {
        self.failures = 0;
        self.closed_until = None;
        // What was under way when the peer had enough shows nothing of afterwards.
        if self.parked_for(now).is_none() {
            self.trusted = self.trusted.saturating_mul(2);
        }
    }

    /// The peer has enough connections.
    pub fn is_enough(&mut self, pause: Duration, now: Instant) {
        self.enough_until = Some(now + pause);
    }

    /// How long the peer still wants nothing of us.
    fn parked_for(&self, now: Instant) -> Option<Duration> {
        self.parked.as_ref().filter(|parked| now < parked.until).map(|parked| parked.until.since(now))
    }

    /// The peer wants nothing of us, whatever the message: for how long the path is left alone. A connection that works
    /// does not end it. Being told of too much again soon after the last pause makes the next one longer; where limits
    /// follow replies (`is_adaptive`) only if nothing was taken in between, as they keep from sending too much then.
    pub fn park(&mut self, parking: Parking, retry: &Retry, is_adaptive: bool, now: Instant) -> Duration {
        let last = self.parked.as_ref().filter(|last| now < last.until + last.pause);
        let resting = self.parked_for(now);
        let is_too_much = parking != Parking::Block;
        let rate_steps = match last {
            Some(_) if is_too_much && resting.is_none() && is_adaptive && self.trusted > 1 => 0,
            // Other connections hear the same.
            Some(last) if is_too_much && resting.is_none() => last.rate_steps + 1,
            Some(last) => last.rate_steps,
            None => 0,
        };
        let pause = match parking {
            Parking::Block => retry.block_pause,
            Parking::Rate | Parking::Connections => {
                let step = retry.rate_pause.get(rate_steps).or(retry.rate_pause.last());
                step.copied().unwrap_or(retry.block_pause)
            }
        };
        match resting {
            Some(rest) if rest >= pause || is_too_much => rest,
            _ => {
                self.parks(pause, rate_steps, now);
                pause
            }
        }
    }

    /// The path is left alone for `pause`, the `rate_steps`th of those that grow.
    pub fn parks(&mut self, pause: Duration, rate_steps: usize, now: Instant) {
        self.parked = Some(Parked { until: now + pause, pause, rate_steps });
        self.trusted = 1;
    }

    /// The path is in trouble: for how long it is left alone, by `schedule` and the number of failures in a row.
    pub fn close(&mut self, schedule: &[Duration], now: Instant) -> Duration {
        let step = schedule.get(self.failures as usize).or(schedule.last());
        let pause = step.copied().unwrap_or(BACK_OFF_MAX).min(BACK_OFF_MAX);
        self.failures = self.failures.saturating_add(1);
        self.closed_until = Some(now + pause);
        self.trusted = 1;
        pause
    }
}

fn counted(connections: u32) -> String {
    format!("{connections} connection{}", if connections == 1 { "" } else { "s" })
}

/// Adds a task to those of its party.
fn push(all: &mut Shares<Waiting>, waiting: Waiting, at: impl FnOnce(&mut Shares<Waiting>, Party<'_>, Waiting)) {
    let (tenant, campaign) = (waiting.task.tenant.clone(), waiting.task.campaign.clone());
    at(all, Party { tenant: &tenant, campaign: &campaign }, waiting);
}

#[cfg(test)]
pub(super) mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::outbound::tests::task;
    use crate::outbound::waiting::Reply;

    const MINUTE: Duration = Duration::from_secs(60);

    pub(in crate::outbound) fn path() -> Path {
        Path::new(
            Arc::default(),
            Arc::new(Site {
                key: "site".into(),
                hosts: Vec::new(),
                port: 25,
                assurance: Default::default(),
                shape: Default::default(),
            }),
            Budgets::default(),
        )
    }

    #[test]
    fn a_rate_that_is_too_high_again_soon_rests_longer() {
        let (mut path, retry) = (path(), Retry::default());
        let start = Instant::default();
        assert_eq!(path.park(Parking::Rate, &retry, false, start), MINUTE);
        let meanwhile = start + MINUTE / 2;
        assert_eq!(path.park(Parking::Rate, &retry, false, meanwhile), MINUTE / 2, "another connection hears the same");
        path.works(meanwhile);
        assert_eq!(path.closed_for(meanwhile), Some(MINUTE / 2), "a connection that works does not end it");
        let again = start + MINUTE + MINUTE / 2;
        assert_eq!(path.closed_for(again), None);
        assert_eq!(path.park(Parking::Rate, &retry, false, again), 5 * MINUTE);
        let much_later = again + 11 * MINUTE;
        assert_eq!(path.park(Parking::Rate, &retry, false, much_later), MINUTE);
    }

    #[test]
    fn where_limits_follow_replies_a_rest_is_longer_only_if_nothing_was_taken_since_the_last() {
        let (mut path, retry) = (path(), Retry::default());
        let start = Instant::default();
        assert_eq!(path.park(Parking::Rate, &retry, true, start), MINUTE);
        let again = start + MINUTE;
        assert_eq!(path.park(Parking::Rate, &retry, true, again), 5 * MINUTE);
        let taken = again + 5 * MINUTE;
        path.works(taken);
        assert_eq!(path.park(Parking::Rate, &retry, true, taken), MINUTE);
    }

    /// Connections that are opened now.
    fn opened(path: &mut Path, now: Instant) -> usize {
        let wants = |path: &Path| path.live + path.opening < 20 && path.wants_connection(now);
        let connections = std::iter::from_fn(|| wants(path).then(|| path.opening()));
        connections.count()
    }

    fn wait(path: &mut Path) {
        let reply: Reply = Rc::new(|_, _| {});
        for number in 0..100 {
            path.push(Waiting::new(task(&path.site, number, 1), 0, reply.clone(), Default::default()));
        }
    }

    #[test]
    fn after_a_rest_one_connection_probes_and_each_success_doubles_them() {
        let (mut path, retry) = (path(), Retry::default());
        let start = Instant::default();
        wait(&mut path);
        assert_eq!(opened(&mut path, start), 1, "the first one shows whether there is a host at all");
        path.opened();
        assert_eq!(opened(&mut path, start), 19);
        (0..19).for_each(|_| path.opened());
        path.park(Parking::Rate, &retry, true, start);
        path.works(start);
        let numbers: Vec<u64> = (1..=20).collect();
        numbers.iter().for_each(|number| path.idles(*number, Waker::noop().clone()));
        let after = start + MINUTE;
        assert_eq!(path.closed_for(after), None);
        assert_eq!(path.wake().len(), 1, "of those that stand too only one probes");
        (1..=20).for_each(|number| {
            path.idles_no_more(number);
            path.ended(true);
        });
        let mut most = Vec::new();
        for _ in 0..6 {
            most.push(opened(&mut path, after));
            (0..*most.last().expect("just pushed")).for_each(|_| path.opened());
            path.works(after);
        }
        assert_eq!(most, [1, 1, 2, 4, 8, 4]);
        (0..20).for_each(|_| path.ended(true));
        path.close(&retry.schedule, after);
        assert_eq!(opened(&mut path, after + BACK_OFF_MAX), 1);
        path.opened();
        assert_eq!(opened(&mut path, after + BACK_OFF_MAX), 0, "a connection is not yet a success");
    }

    #[test]
    fn a_path_that_is_reopened_is_wanted_at_once_and_remembers_its_failures() {
        let (mut path, retry) = (path(), Retry::default());
        let now = Instant::default();
        let first = path.close(&[MINUTE, 5 * MINUTE], now);
        path.rests(first, "refused");
        path.park(Parking::Block, &retry, true, now);
        assert_eq!(path.rest(now).map(|rest| (rest.pause, &*rest.why == "refused")), Some((60 * MINUTE, true)));
        path.reopen(now);
        assert_eq!(path.rest(now), None);
        assert_eq!(path.close(&[MINUTE, 5 * MINUTE], now), 5 * MINUTE);
    }

    #[test]
    fn a_block_outlasts_a_rate_and_is_not_forgotten() {
        let (mut path, retry) = (path(), Retry::default());
        let start = Instant::default();
        path.park(Parking::Rate, &retry, true, start);
        assert_eq!(path.park(Parking::Block, &retry, true, start), 60 * MINUTE);
        assert_eq!(path.park(Parking::Rate, &retry, true, start + MINUTE), 59 * MINUTE);
        assert!(!path.is_forgettable(start + 61 * MINUTE) && path.is_forgettable(start + 120 * MINUTE));
        assert!(!path.wants_connection(start));
    }
}
