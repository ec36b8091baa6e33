//! The home side: the connections of every egress path whose home this shard is.
//!
//! Owns: the paths' waiting tasks, connections, limits and back-off. All of it is this shard's alone: no locks.
//! Never: knows what is queued. It gets a [`Task`] and gives back a [`Done`].
//! On disk: what was learned of limits, by the queue's checkpoints ([`shaping`]). After a crash: the owners' leases are due
//! again.
//!
//! A path opens a connection only while tasks wait, never more than `connections_max`, and a connection takes task after
//! task until it has had `messages_per_connection_max` or has had none for a while. When no host takes a connection, all
//! that waits is deferred with what was tried, and the owners are told how long to send nothing: by the retry schedule
//! and the failures in a row, at most five minutes, until a transaction succeeds again. A peer that takes connections
//! and then ends them without a single transaction is in the same trouble, but costs those who waited no attempt.
//! A peer that has us on a block list, or was sent too much, is left alone for a while too, also by connections that stand;
//! that costs no message an attempt. A block of one recipient or message is not of us: only they wait. After any rest one
//! connection probes, and each transaction that succeeds lets twice as many go on.
//! What waits for a path goes by whose turn it is, tenant by tenant and campaign by campaign, whichever shard it came from.
//! A source that no connection can be made from is our own trouble: that path is left alone, and no message has an attempt
//! less for it.
//! Limits: waiting tasks are bounded by the mesh's credits, idle paths by [`PATHS_MAX`].

mod connection;
mod lift;
mod present;
mod shaping;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::Shared;
use shards::{Instant, Reactor};

use super::after_rest::AT_HOME;
use super::budget::{Budget, Budgets, Leave, SharedBudget};
use super::dialer::Dialer;
use super::metrics::{Metrics, count};
use super::obstacle::{Tried, of_no_connection, trouble_of_source};
use super::parking::{Parking, heard, parked};
use super::path::Path;
use super::told::{USELESS, give_back, said, told, untried, whole_seconds};
use super::waiting::{Reply, Waiting};
use super::{Done, Rest, Task, Timing, Tools, way};
use crate::assurance::Trust;
use crate::config::{Config, Source};
use crate::events::{Event, Log};
use crate::queue::Queue;
use crate::queue::outcome::Outcome;
use crate::route::{Site, effective};

/// Paths beyond this are forgotten where they are idle.
const PATHS_MAX: usize = 10_000;

/// A task that comes while the shard is draining is due again after this many seconds: by then its owner drains too.
const DRAINING_S: u32 = 1;

/// A shard's pool; a cheap handle.
#[derive(Clone)]
pub struct Pool(Rc<Inner>);

struct Inner {
    reactor: Reactor,
    config: RefCell<Arc<Config>>,
    dialer: Dialer,
    metrics: Rc<Metrics>,
    log: Log,
    /// Sources from which the last connection could not be made.
    failed_sources: RefCell<HashSet<Box<str>>>,
    reply: Reply,
    paths: RefCell<HashMap<Box<str>, SharedPath>>,
    /// By source and group of sites.
    budgets: RefCell<HashMap<Box<str>, SharedBudget>>,
    /// Where what is learned is kept.
    queue: Option<Queue>,
    /// When the shard began: what was used before is not known.
    since: Instant,
    /// Completes when the shard begins to drain.
    draining: Shared<oneshot::Receiver<()>>,
    begin_draining: RefCell<Option<oneshot::Sender<()>>>,
    /// Whoever waits for the last connection to end.
    drained: RefCell<Option<Waker>>,
}

type SharedPath = Rc<RefCell<Path>>;

impl Pool {
    /// A pool without connections. `reply` takes every task's end and the shard that it came from; what is learned of paths
    /// is kept in `queue`, if there is one.
    pub fn new(
        tools: Tools,
        config: Arc<Config>,
        trust: &Trust,
        timing: Timing,
        queue: Option<Queue>,
        reply: impl Fn(usize, Done) + 'static,
    ) -> Pool {
        let Tools { reactor, dns, metrics, log } = tools;
        let dialer = Dialer::new(reactor.clone(), dns, timing, metrics.clone(), &config, trust);
        let (begin_draining, draining) = oneshot::channel();
        let since = reactor.now();
        Pool(Rc::new(Inner {
            reactor,
            config: RefCell::new(config),
            dialer,
            metrics,
            log,
            failed_sources: RefCell::default(),
            reply: Rc::new(reply),
            paths: RefCell::default(),
            budgets: RefCell::default(),
            queue,
            since,
            draining: draining.shared(),
            begin_draining: RefCell::new(Some(begin_draining)),
            drained: RefCell::default(),
        }))
    }

    /// Uses `config` from now on; connections that are open stay as they are.
    pub fn configure(&self, config: Arc<Config>, trust: &Trust) {
        self.0.dialer.configure(&config, trust);
        self.0.config.replace(config);
        for path in self.0.paths.borrow().values() {
            let (source, site) = (path.borrow().source.clone(), path.borrow().site.clone());
            path.borrow_mut().budgets = self.0.budgets(&source, &site);
            path.borrow_mut().is_divided = self.0.is_divided();
        }
    }

    /// Takes a task of shard `from`. It is answered exactly once, through the reply function.
    pub fn take(&self, from: usize, task: Task) {
        let inner = &self.0;
        let (source, site, insists) = (task.source.clone(), task.site.clone(), task.insists);
        let waiting = Waiting::new(task, from, inner.reply.clone(), inner.metrics.clone());
        if inner.is_draining() {
            return waiting.answer_all(&Outcome::Untried(DRAINING_S), None);
        }
        let path = inner.path(&source, &site);
        if insists {
            path.borrow_mut().reopen(inner.reactor.now());
        }
        let rest = path.borrow().rest(inner.reactor.now());
        if let Some(rest) = rest {
            // Its owner has not heard of the trouble yet.
            path.borrow_mut().hears_of(waiting.task.party());
            return waiting.answer_all(&untried(rest.pause), Some(rest));
        }
        let is_as_before = Arc::ptr_eq(&path.borrow().source, &source);
        if !is_as_before {
            // A reload may have changed what the source warms up by.
            let budgets = inner.budgets(&source, &site);
            let mut path = path.borrow_mut();
            (path.source, path.budgets) = (source, budgets);
        }
        if let Some(rest) = inner.used_up(&path) {
            path.borrow_mut().hears_of(waiting.task.party());
            return waiting.answer_all(&untried(rest.pause), Some(rest));
        }
        path.borrow_mut().site = site;
        path.borrow_mut().push(waiting);
        if path.borrow_mut().after_rest.begin() {
            let (pool, path) = (inner.clone(), path.clone());
            let gathered = async move {
                pool.reactor.sleep(AT_HOME).await;
                path.borrow_mut().after_rest.end();
                pool.pump(&path);
            };
            inner.reactor.spawn(gathered).detach();
        }
        inner.pump(&path);
    }

    /// Ends all connections at the end of their transactions, and gives waiting tasks back untried. Returns when no
    /// connection is left; the caller's patience bounds it.
    pub async fn drain(&self) {
        self.0.begin_draining.take();
        let paths: Vec<SharedPath> = self.0.paths.borrow().values().cloned().collect();
        for path in paths {
            let waiting = path.borrow_mut().take_waiting();
            let idle = path.borrow_mut().wake_all();
            waiting.into_iter().for_each(|waiting| waiting.answer_all(&Outcome::Untried(0), None));
            idle.into_iter().for_each(Waker::wake);
        }
        poll_fn(|context| {
            if self.0.metrics.connections_now.get() == 0 {
                return Poll::Ready(());
            }
            self.0.drained.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
        self.0.end_plans();
    }
}

impl Inner {
    fn is_draining(&self) -> bool {
        self.begin_draining.borrow().is_none()
    }

    /// The path from `source` to `site`, a new one where there is none.
    fn path(&self, source: &Arc<Source>, site: &Arc<Site>) -> SharedPath {
        let mut paths = self.paths.borrow_mut();
        let key = way::key(source, site);
        if let Some(path) = paths.get(&*key) {
            return path.clone();
        }
        if paths.len() >= PATHS_MAX {
            let now = self.reactor.now();
            paths.retain(|_, path| !path.borrow().is_forgettable(now));
        }
        if paths.len() >= PATHS_MAX {
            paths.retain(|_, path| !path.borrow().is_unused());
        }
        let budgets = self.budgets(source, site);
        let path = Rc::new(RefCell::new(Path::new(source.clone(), site.clone(), budgets)));
        path.borrow_mut().is_divided = self.is_divided();
        self.resume_block(&path);
        paths.insert(key.into(), path.clone());
        path
    }

    /// Whether a part of what goes to a destination may have limits of its own.
    fn is_divided(&self) -> bool {
        self.config.borrow().path_limits.iter().any(|limit| limit.scope.is_partial())
    }

    /// The budgets that count from `source` to `site`, by the limits that hold now.
    fn budgets(&self, source: &Source, site: &Site) -> Budgets {
        let (mut budgets, now) = (self.budgets.borrow_mut(), self.reactor.now());
        if budgets.len() >= PATHS_MAX {
            budgets.retain(|_, budget| Rc::strong_count(budget) > 1 || !budget.borrow().is_forgettable(now));
        }
        let counted = effective(&self.config.borrow(), &source.name, site).into_iter().map(|limits| {
            let key = format!("{} {}", source.name, limits.name);
            if let Some(budget) = budgets.get(&*key) {
                budget.borrow_mut().configure(&limits, now);
                return budget.clone();
            }
            let budget = Rc::new(RefCell::new(Budget::new(&limits, self.since)));
            budgets.insert(key.into(), budget.clone());
            budget
        });
        let counted = Budgets(counted.collect());
        self.shape(&counted, source);
        counted
    }

    /// Gives waiting tasks to idle connections, and opens connections for the rest as the limits permit.
    fn pump(self: &Rc<Self>, path: &SharedPath) {
        let woken = path.borrow_mut().wake();
        woken.into_iter().for_each(Waker::wake);
        while !self.is_draining() && path.borrow().wants_connection(self.reactor.now()) {
            let budgets = path.borrow().budgets.clone();
            match budgets.leave_to_connect(self.reactor.now()) {
                Leave::Now => {
                    let place = budgets.begin_connection(self.reactor.now());
                    let number = path.borrow_mut().opening();
                    self.reactor.spawn(connection::run(self.clone(), path.clone(), number, place)).detach();
                }
                Leave::WhenOneEnds => {
                    if !std::mem::replace(&mut path.borrow_mut().in_line, true) {
                        budgets.stand_in_line(path);
                    }
                    return;
                }
                Leave::After(wait) => return self.wait_for_leave(path, wait),
            }
        }
    }

    /// The limits let no connection begin before `wait` is over: what waits is given back if that is long.
    fn wait_for_leave(self: &Rc<Self>, path: &SharedPath, wait: Duration) {
        if path.borrow().is_unconnected()
            && let Some(rest) = self.used_up(path)
        {
            return give_back(path, &rest);
        }
        if !std::mem::replace(&mut path.borrow_mut().is_timed, true) {
            let (pool, path) = (self.clone(), path.clone());
            let later = async move {
                pool.reactor.sleep(wait).await;
                path.borrow_mut().is_timed = false;
                pool.pump(&path);
            };
            self.reactor.spawn(later).detach();
        }
    }

    /// The rest of a path whose limits let nothing go for a while.
    fn used_up(&self, path: &SharedPath) -> Option<Rest> {
        let (budgets, is_connected) = (path.borrow().budgets.clone(), !path.borrow().is_unconnected());
        let (pause, why) = budgets.rest(is_connected, self.reactor.now())?;
        count(&self.metrics.limits_used_up);
        Some(path.borrow_mut().rests(pause, &why))
    }

    /// Where the limits are used up, what waits is given back, and so is what of a task could not be sent for it.
    fn give_back(&self, path: &SharedPath, outcomes: &mut [(u16, Outcome)]) -> Option<Rest> {
        if !outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Untried(_))) {
            return None;
        }
        let rest = self.used_up(path)?;
        for (_, outcome) in outcomes.iter_mut().filter(|(_, outcome)| matches!(outcome, Outcome::Untried(_))) {
            *outcome = untried(rest.pause);
        }
        give_back(path, &rest);
        Some(rest)
    }

    /// A connection has ended: others that its limits kept waiting may have one, as many as there is room for.
    fn serve_line(self: &Rc<Self>, budgets: &Budgets) {
        while let Some(path) = budgets.next_in_line() {
            path.borrow_mut().in_line = false;
            self.pump(&path);
        }
    }

    /// No host took a connection.
    fn no_connection(&self, path: &SharedPath, tried: &Tried) {
        count(&self.metrics.connections_failed);
        let outcome = {
            let path = path.borrow();
            of_no_connection(tried, path.first_waiting().map(Task::known).unwrap_or_default())
        };
        if let Some(why) = trouble_of_source(tried) {
            let source = path.borrow().source.name.clone();
            count(&self.metrics.source_failures);
            if self.failed_sources.borrow_mut().insert(source.clone()) {
                self.log.emit(&Event::SourceFailed { source: &source, why });
            }
        }
        // The path is shared, but each message's own rules say what a reply means for it.
        self.close(path, &outcome, |task| of_no_connection(tried, task.known()));
    }

    /// A connection was made from the path's source.
    fn source_works(&self, path: &SharedPath) {
        if !self.failed_sources.borrow().is_empty()
            && self.failed_sources.borrow_mut().remove(&path.borrow().source.name)
        {
            self.log.emit(&Event::SourceBack(&path.borrow().source.name));
        }
    }

    /// The peer ended a connection before it had done anything for us.
    fn useless(&self, path: &SharedPath) {
        self.close(path, &Outcome::Untried(0), |_| Outcome::Untried(0));
    }

    /// Leaves the path alone for a while, for what `outcome` says of it, and answers each that waits with its own; unless
    /// others of its connections stand, which then are enough.
    fn close(&self, path: &SharedPath, outcome: &Outcome, own: impl Fn(&Task) -> Outcome) {
        let now = self.reactor.now();
        if !path.borrow().is_unconnected() {
            let pause = self.dialer.timing().opening_pause;
            self.hear(path, heard(outcome, None), pause);
            return path.borrow_mut().is_enough(pause, now);
        }
        let config = self.config.borrow().clone();
        // Whoever refuses a session speaks of us.
        let pause = match Parking::of(outcome, None) {
            Some(parking) => path.borrow_mut().park(parking, &config.retry, config.shaping.adaptive, now),
            None => path.borrow_mut().close(&config.retry.schedule, now),
        };
        self.hear(path, heard(outcome, None), pause);
        let rest = path.borrow_mut().rests(pause, told(outcome).unwrap_or(USELESS));
        let waiting = path.borrow_mut().take_waiting();
        for waiting in waiting {
            let outcome = match own(&waiting.task) {
                Outcome::Untried(_) => untried(pause),
                other => parked(other, None, whole_seconds(pause)),
            };
            waiting.answer_all(&outcome, Some(rest.clone()));
        }
    }

    /// Leaves the path alone if an outcome at a peer that sees us as `ours` says so: its rest, which the outcomes then
    /// name too. What waits is given back. Too many connections are no reason to rest while others of them work.
    fn heed(&self, path: &SharedPath, ours: Option<IpAddr>, outcomes: &mut [(u16, Outcome)]) -> Option<Rest> {
        let signals = outcomes.iter().filter_map(|(_, outcome)| heard(outcome, ours));
        let worst = signals.max_by_key(|(signal, _)| *signal);
        let parkings = outcomes.iter().filter_map(|(_, outcome)| Some((Parking::of(outcome, ours)?, said(outcome)?)));
        let Some((parking, why)) = parkings.max_by_key(|(parking, _)| *parking) else {
            self.hear(path, worst, Duration::ZERO);
            return None;
        };
        if parking == Parking::Connections && path.borrow().has_others() {
            let pause = self.dialer.timing().opening_pause;
            self.hear(path, worst, pause);
            path.borrow_mut().is_enough(pause, self.reactor.now());
            park_all(outcomes, ours, pause);
            return None;
        }
        let config = self.config.borrow().clone();
        let pause = path.borrow_mut().park(parking, &config.retry, config.shaping.adaptive, self.reactor.now());
        self.hear(path, worst.map(|(signal, _)| (signal, &*why)), pause);
        let rest = path.borrow_mut().rests(pause, &why);
        park_all(outcomes, ours, pause);
        give_back(path, &rest);
        Some(rest)
    }
}

/// What parks a path costs no message an attempt.
fn park_all(outcomes: &mut [(u16, Outcome)], ours: Option<IpAddr>, pause: Duration) {
    for (_, outcome) in outcomes {
        *outcome = parked(std::mem::replace(outcome, Outcome::Untried(0)), ours, whole_seconds(pause));
    }
}
