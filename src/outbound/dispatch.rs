//! The owner side: takes ready recipients from the queue, finds their site, and hands them to the home of its egress
//! path, one task for the recipients of a message at a domain.
//!
//! Owns: which leases are out, the turns that the lanes of a pool take at a site, and from which of its sources each message
//! goes. When one rests at a site (blocked there, or out of order) the others of the pool take its messages.
//! Never: opens a connection (the home's pool does), or decides when a recipient is tried again (the queue does).
//! On disk: nothing but the queue's note of uncertain deliveries, which is durable before a task leaves: the final dot is
//! the home's doing, and to ask the owner then would cost every message a round trip between cores and an idle connection.
//! So after a crash all that was under way is uncertain, which is more than needed but never too little.
//! After a crash: every lease is uncertain, so due again or held.
//! RFC: 5321 §5.1. A domain that leads nowhere is settled here: for good, or once for each pause while DNS is in trouble.
//! Limits: [`RESOLVING_MAX`] lanes being resolved; [`WINDOW_PER_CONNECTION`] × `connections_max` tasks outstanding for
//! each egress path that has shown that it works; the mesh's credits for each home; `content_memory_bytes_max` of content under
//! way (exceeded by one message at most); of these each path has so much that the others find room ([`super::room`]). What
//! is beyond waits in the queue on disk; nothing is asked for again before something has ended.

mod lift;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::{FutureExt, Shared};
use futures::stream::{self, StreamExt};
use shards::Reactor;
use shards::mesh::{Credit, Port};

use super::metrics::Metrics;
use super::outcome::of_unroutable;
use super::resolve::resolve;
use super::room::{Load, Room};
use super::suppressed::take_suppressed;
use super::turns::{Choice, SharedTurns, SharedWay, Turn, Turns};
use super::way::{Way, Ways};
use super::{Done, Rest, Returning, Task, Tools};
use crate::bounce::return_path::ReturnPath;
use crate::config::limit::Part;
use crate::config::{Config, Pool};
use crate::crossing::Crossing;
use crate::dns;
use crate::queue::lane::Lane;
use crate::queue::outcome::Outcome;
use crate::queue::{self, Lease, Queue};
use crate::route::{Site, Unroutable};
use crate::smtp::path::ReversePath;
use crate::suppression::Gate;

/// Domains that are being resolved at a time.
const RESOLVING_MAX: usize = 1024;

/// Tasks outstanding for each connection that a site may have: enough that none waits for the next task.
const WINDOW_PER_CONNECTION: u32 = 4;

/// A domain whose DNS is in trouble is asked about again after this at the latest.
const TROUBLE_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Messages to a domain that leads nowhere which fail in one turn.
const UNROUTABLE_PER_TURN: usize = 100;

/// When a message is due again whose content could not be read, in seconds.
const UNREADABLE_S: u32 = 60;

/// A shard's dispatcher; a cheap handle.
#[derive(Clone)]
pub struct Dispatcher(Rc<Inner>);

struct Inner {
    reactor: Reactor,
    queue: Queue,
    gate: Gate,
    dns: dns::Cache,
    port: Rc<Port<Crossing>>,
    config: RefCell<Arc<Config>>,
    return_path: RefCell<Option<Arc<ReturnPath>>>,
    metrics: Rc<Metrics>,
    /// By pool and site.
    sites: RefCell<HashMap<Box<str>, SharedTurns>>,
    ways: RefCell<Ways>,
    out: RefCell<HashMap<u64, Out>>,
    room: RefCell<Room>,
    /// For each home, the sites that found no credit or no memory, in order: on a way that works, and on one on trial.
    lines: RefCell<Vec<[VecDeque<SharedTurns>; 2]>>,
    /// Leases that are not settled.
    leases: Cell<usize>,
    draining: Shared<oneshot::Receiver<()>>,
    begin_draining: RefCell<Option<oneshot::Sender<()>>>,
    /// Whoever waits for the last lease to be settled.
    drained: RefCell<Option<Waker>>,
}

/// A lease that is out.
struct Out {
    domain: Rc<str>,
    credit: Credit,
    turns: SharedTurns,
    way: SharedWay,
    load: Load,
    /// What became of recipients that were not tried.
    suppressed: Vec<(u16, Outcome)>,
}

impl Dispatcher {
    /// A dispatcher for `queue` that sends through `port`, but to nobody whom `gate` suppresses.
    pub fn new(
        tools: Tools,
        config: Arc<Config>,
        return_path: Option<Arc<ReturnPath>>,
        queue: Queue,
        gate: Gate,
        port: Rc<Port<Crossing>>,
    ) -> Dispatcher {
        let Tools { reactor, dns, metrics, .. } = tools;
        let (begin_draining, draining) = oneshot::channel();
        let homes = port.shards();
        let lines = (0..homes).map(|_| Default::default()).collect();
        let room = Room::new(homes, port.credits());
        Dispatcher(Rc::new(Inner {
            reactor,
            queue,
            gate,
            dns,
            port,
            config: RefCell::new(config),
            return_path: RefCell::new(return_path),
            metrics,
            sites: RefCell::default(),
            ways: RefCell::new(Ways::new(homes)),
            out: RefCell::default(),
            room: RefCell::new(room),
            lines: RefCell::new(lines),
            leases: Cell::new(0),
            draining: draining.shared(),
            begin_draining: RefCell::new(Some(begin_draining)),
            drained: RefCell::default(),
        }))
    }

    /// Dispatches until [`Dispatcher::drain`].
    pub async fn run(&self) {
        let inner = &self.0;
        stream::repeat(())
            .then(|()| inner.queue.next_ready())
            .take_until(inner.draining.clone())
            .for_each_concurrent(RESOLVING_MAX, |domain| inner.place(domain))
            .await;
    }

    /// Uses `config` and `return_path` from now on.
    pub fn configure(&self, config: Arc<Config>, return_path: Option<Arc<ReturnPath>>) {
        self.0.config.replace(config);
        self.0.return_path.replace(return_path);
    }

    /// Takes the end of a task from its home.
    pub fn take(&self, mut done: Done) {
        let inner = self.0.clone();
        let Some(mut out) = inner.out.borrow_mut().remove(&done.lease) else { return };
        out.way.borrow_mut().learn(&done, inner.window_max());
        if let Some(rest) = done.park {
            inner.park(&out, &rest, &mut done.outcomes);
        }
        done.outcomes.append(&mut out.suppressed);
        let settle = async move {
            inner.queue.settle(done.lease, done.outcomes).await;
            inner.finish(out);
        };
        self.0.reactor.spawn(settle).detach();
    }

    /// Leases nothing more, and returns when every lease has come back and is settled; the caller's patience bounds it.
    pub async fn drain(&self) {
        self.0.begin_draining.take();
        let sites: Vec<SharedTurns> = self.0.sites.borrow_mut().drain().map(|(_, turns)| turns).collect();
        for turns in sites {
            let lanes = turns.borrow_mut().take_lanes();
            lanes.iter().for_each(|lane| self.0.queue.hand_back(lane));
        }
        poll_fn(|context| {
            if self.0.leases.get() == 0 {
                return Poll::Ready(());
            }
            self.0.drained.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

impl Inner {
    fn is_draining(&self) -> bool {
        self.begin_draining.borrow().is_none()
    }

    /// Finds the site of a lane that has something ready, and lets it take its turns there.
    async fn place(self: &Rc<Self>, lane: Rc<str>) {
        let insists = self.queue.takes_insistence(&lane);
        let Lane { domain, pool, party, demand } = Lane::of(&lane);
        let config = self.config.borrow().clone();
        let site = match resolve(&self.dns, &self.metrics.reporting, &config, domain, demand).await {
            Ok(site) => site.shaped(&self.config.borrow(), domain, party),
            Err(unroutable) => return self.refuse(&lane, &unroutable).await,
        };
        if self.is_draining() {
            return self.queue.hand_back(&lane);
        }
        let pool = self.config.borrow().pool_for((!pool.is_empty()).then_some(pool), domain);
        let turns = self.turns(site, pool);
        let now = self.reactor.now();
        if insists {
            turns.borrow_mut().insist();
        }
        let rest = turns.borrow().rest(now);
        match rest {
            Some(rest) => self.queue.park(&lane, rest.pause, &rest.why, &turns.borrow().name),
            None => {
                turns.borrow_mut().join(lane, now);
                self.pump(&turns);
            }
        }
    }

    /// Settles what is ready at a domain that leads nowhere: all of it for good, or one message while it may change.
    async fn refuse(&self, domain: &str, unroutable: &Unroutable) {
        let transient = unroutable.is_transient();
        let leases_max = if transient { 1 } else { UNROUTABLE_PER_TURN };
        for _ in 0..leases_max {
            if self.is_draining() {
                break;
            }
            let Some(lease) = self.queue.lease(domain) else { break };
            self.leases.set(self.leases.get() + 1);
            let outcome = of_unroutable(unroutable);
            lease.recipients.iter().for_each(|_| self.metrics.outcome(&outcome));
            let outcomes = lease.recipients.iter().map(|(index, _)| (*index, outcome.clone())).collect();
            self.queue.settle(lease.number, outcomes).await;
            self.is_settled();
        }
        if transient {
            let first_wait = self.config.borrow().retry.schedule.first().copied();
            let pause = first_wait.unwrap_or(TROUBLE_PAUSE_MAX).min(TROUBLE_PAUSE_MAX);
            self.queue.park(domain, pause, &Arc::from(&*unroutable.text), &Arc::from(""));
        } else {
            self.queue.hand_back(domain);
        }
    }

    /// The turns of `pool` at `site`, new ones where there are none.
    fn turns(&self, site: Site, pool: Arc<Pool>) -> SharedTurns {
        let site = Arc::new(site);
        let key = turns_key(&pool, &site);
        if let Some(turns) = self.sites.borrow().get(&*key) {
            let mut state = turns.borrow_mut();
            if state.pool != pool {
                state.ways = self.ways.borrow_mut().of(&pool, &site, self.reactor.now());
                state.pool = pool;
            }
            state.site = site;
            return turns.clone();
        }
        let ways = self.ways.borrow_mut().of(&pool, &site, self.reactor.now());
        let turns = Rc::new(RefCell::new(Turns::new(site, pool, ways)));
        self.sites.borrow_mut().insert(key, turns.clone());
        turns
    }

    /// Leases and sends for a site as long as the windows of its ways, their homes' credits and our memory allow.
    fn pump(self: &Rc<Self>, turns: &SharedTurns) {
        while !self.is_draining() {
            let turn = turns.borrow_mut().next(self.reactor.now());
            match turn {
                Turn::Nothing => break,
                Turn::ResolveAgain(lane) => self.queue.hand_back(&lane),
                Turn::Lease(lane) => match self.choose(turns, &lane) {
                    Choice::Way(way) => {
                        let Some(credit) = self.credit(&way.borrow(), &lane) else {
                            turns.borrow_mut().undo();
                            return self.stand_in_line(turns, &way.borrow());
                        };
                        match self.queue.lease(&lane) {
                            Some(lease) => self.begin(lease, credit, turns, way),
                            None => {
                                turns.borrow_mut().leave();
                                self.queue.hand_back(&lane);
                            }
                        }
                    }
                    Choice::Full => {
                        turns.borrow_mut().undo();
                        return wait_for_room(turns);
                    }
                    Choice::Resting => {
                        turns.borrow_mut().undo();
                        self.rest(turns);
                    }
                },
            }
        }
        self.forget_if_done(turns);
    }

    /// The way of the next message of a lane.
    fn choose(&self, turns: &SharedTurns, lane: &str) -> Choice {
        let (window_max, memory_max) = (self.window_max(), self.memory_max());
        let may_have_more = |way: &Way| way.has_room(window_max) && self.room.borrow().has_portion_for(way, memory_max);
        let turns = turns.borrow();
        // With one source there is nothing to prefer.
        let several = turns.pool.members.len() > 1;
        let message = if several { self.queue.next_message(lane) } else { None };
        turns.choose(message.map_or(0, |message| message.number()), may_have_more, self.reactor.now())
    }

    /// Tasks outstanding on a way, at most.
    fn window_max(&self) -> u32 {
        self.config.borrow().delivery.connections_max.max(1).saturating_mul(WINDOW_PER_CONNECTION)
    }

    /// Octets of content under way, at most.
    fn memory_max(&self) -> usize {
        self.config.borrow().limits.content_memory_bytes_max
    }

    /// All lanes of a site whose every way rests do so, too.
    fn rest(&self, turns: &SharedTurns) -> Option<Rest> {
        let rest = turns.borrow().rest(self.reactor.now())?;
        let lanes = turns.borrow_mut().take_lanes();
        let name = turns.borrow().name.clone();
        lanes.iter().for_each(|lane| self.queue.park(lane, rest.pause, &rest.why, &name));
        Some(rest)
    }

    /// A credit for the next message of a lane to go a way, if there is memory for its content too.
    fn credit(&self, way: &Way, lane: &str) -> Option<Credit> {
        let content_bytes = || self.queue.next_content_bytes(lane);
        let is_left = self.room.borrow().is_left_for(way, self.memory_max(), content_bytes);
        if is_left { self.port.credit(way.home) } else { None }
    }

    fn stand_in_line(&self, turns: &SharedTurns, way: &Way) {
        if !std::mem::replace(&mut turns.borrow_mut().in_line, true) {
            self.lines.borrow_mut()[way.home][usize::from(way.is_on_trial())].push_back(turns.clone());
        }
    }

    fn forget_if_done(&self, turns: &SharedTurns) {
        let mut state = turns.borrow_mut();
        let key = turns_key(&state.pool, &state.site);
        if state.is_forgettable() && self.sites.borrow().get(&*key).is_some_and(|known| Rc::ptr_eq(known, turns)) {
            self.sites.borrow_mut().remove(&*key);
            state.ways.clear();
            let site = state.site.clone();
            self.ways.borrow_mut().forget(&state.pool, &site, self.reactor.now());
        }
    }

    /// A lease is out from now on, and on its way to the home.
    fn begin(self: &Rc<Self>, lease: Lease, credit: Credit, turns: &SharedTurns, way: SharedWay) {
        let (home, on_trial) = (way.borrow().home, way.borrow().is_on_trial());
        let load = Load { home, content_bytes: lease.content_bytes, on_trial };
        turns.borrow_mut().begin();
        way.borrow_mut().begin(load.content_bytes);
        self.room.borrow_mut().take(load);
        self.queue.goes_from(lease.number, &way.borrow().source);
        self.leases.set(self.leases.get() + 1);
        let (domain, suppressed) = (lease.domain.clone(), Vec::new());
        let out = Out { domain, credit, turns: turns.clone(), way, load, suppressed };
        self.reactor.spawn(self.clone().send(lease, out)).detach();
    }

    /// Sends a leased task to its home.
    async fn send(self: Rc<Self>, mut lease: Lease, mut out: Out) {
        let number = lease.number;
        if !self.gate.is_open() {
            out.suppressed = take_suppressed(&mut lease, &self.queue, &self.gate, self.reactor.wall());
            if lease.recipients.is_empty() {
                self.queue.settle(number, std::mem::take(&mut out.suppressed)).await;
                return self.finish(out);
            }
        }
        let content = match self.prepare(&lease).await {
            Ok(content) => content,
            // The queue reports what is wrong with its storage; this message is tried again.
            Err(_) => {
                let untried = lease.recipients.iter().map(|(index, _)| (*index, Outcome::Untried(UNREADABLE_S)));
                let outcomes = std::mem::take(&mut out.suppressed).into_iter().chain(untried);
                self.queue.settle(number, outcomes.collect()).await;
                return self.finish(out);
            }
        };
        let site = out.turns.borrow().site.clone();
        let (source, home) = (out.way.borrow().source.clone(), out.way.borrow().home);
        let return_path = self.returning(&lease);
        let Lane { domain, party, .. } = Lane::of(&lease.domain);
        let part = Part { provider: site.shape.provider.as_deref(), domain, source: &source.name, party };
        let replies = self.config.borrow().replies.in_force(&part);
        let Lease { message, sender, recipients, .. } = lease;
        let insists = out.way.borrow_mut().takes_insistence();
        let task =
            Task { lease: number, message, source, site, sender, recipients, content, return_path, insists, replies };
        self.port.request(home, &out.credit, Crossing::Attempt(Box::new(task)));
        self.out.borrow_mut().insert(number, out);
    }

    /// What makes the reverse-paths of a message that is to have ours. Nobody is told of the null one's fate.
    fn returning(&self, lease: &Lease) -> Option<Returning> {
        let wanted = lease.return_path && lease.sender.path != ReversePath::Null;
        let path = self.return_path.borrow().clone().filter(|_| wanted)?;
        Some(Returning { path, arrival: lease.arrival })
    }

    /// Reads the content, and notes that only its next hop's reply will tell whether it went.
    async fn prepare(&self, lease: &Lease) -> Result<Arc<Vec<u8>>, queue::Error> {
        let content = self.queue.content(lease).await?;
        self.queue.note_uncertain(lease).await?;
        Ok(content)
    }

    /// A lease is settled: its credit, its memory and its place in the window are for the next.
    fn finish(self: &Rc<Self>, out: Out) {
        let Out { credit, turns, way, load, .. } = out;
        drop(credit);
        turns.borrow_mut().end();
        way.borrow_mut().end(load.content_bytes);
        self.room.borrow_mut().give_back(load);
        self.is_settled();
        self.serve_lines();
        let blocked = std::mem::take(&mut way.borrow_mut().blocked);
        drop(way);
        for other in &blocked {
            other.borrow_mut().is_blocked = false;
            self.pump(other);
        }
        self.pump(&turns);
    }

    fn is_settled(&self) {
        self.leases.set(self.leases.get() - 1);
        if self.leases.get() == 0
            && let Some(waker) = self.drained.take()
        {
            waker.wake();
        }
    }

    /// Lets the sites that stand in line go on, those of each line until one finds no room again.
    fn serve_lines(self: &Rc<Self>) {
        let lines = (0..self.port.shards()).flat_map(|home| [(home, 0), (home, 1)]);
        for (home, line) in lines {
            loop {
                let Some(first) = self.lines.borrow_mut()[home][line].pop_front() else { break };
                first.borrow_mut().in_line = false;
                self.pump(&first);
                if first.borrow().in_line {
                    break;
                }
            }
        }
    }

    /// The home wants nothing from a source for a site for a while. Where another one is open, what was not tried, or met
    /// the reason for this, is due again at once.
    fn park(&self, out: &Out, rest: &Rest, outcomes: &mut [(u16, Outcome)]) {
        out.way.borrow_mut().park(rest, self.reactor.now());
        match self.rest(&out.turns) {
            // With all of its recipients leased, the lane of this one has left its turns.
            Some(rest) => self.queue.park_if_aside(&out.domain, rest.pause, &rest.why, &out.turns.borrow().name),
            None => outcomes.iter_mut().for_each(|(_, outcome)| match outcome {
                Outcome::Parked(_, pause_s) | Outcome::Untried(pause_s) => *pause_s = 0,
                Outcome::Delivered(..) | Outcome::Deferred(_) | Outcome::Failed(_) => {}
            }),
        }
    }
}

/// What the turns of a pool at a site are known by.
fn turns_key(pool: &Pool, site: &Site) -> Box<str> {
    if pool.name.is_empty() { site.key.clone() } else { format!("{} {}", pool.name, site.key).into() }
}

/// Goes on when something ends on any of its ways.
fn wait_for_room(turns: &SharedTurns) {
    if !std::mem::replace(&mut turns.borrow_mut().is_blocked, true) {
        for way in &turns.borrow().ways {
            let blocked = &mut way.borrow_mut().blocked;
            if !blocked.iter().any(|other| Rc::ptr_eq(other, turns)) {
                blocked.push(turns.clone());
            }
        }
    }
}
