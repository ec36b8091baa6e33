//! The simulated backend: several machines in one thread, from one seed: a scheduler, virtual time, a network and disks.
//!
//! A test makes a [`Simulation`], names its [`Node`]s, spawns programs on them (the same code that runs on the ring), and
//! lets it run until something has happened or virtual time is over. Nodes crash and start again on the disk that the
//! crash left. Two runs of one seed are the same run: [`Simulation::trace`] tells.
//!
//! Owns: the order in which tasks run (any that can, drawn), both clocks (they move when nothing can run, and a little at
//! each poll), connections between nodes with latency, partial reads and writes, bounded buffers, resets, stalls and
//! silence, and disks on which only what was flushed is sure to survive.
//! Never: threads, real time, real files, real sockets. `blocking` runs in place after a drawn delay.
//! Failure: any panic on the thread, also one that the program catches, is preceded by a line `SEED=…` and fails the run.
//! Limits: [`TICKS_MAX`] polls per run, so that a livelock ends; a program that iterates over a `HashMap`, or does TLS
//! with real keys, is not reproducible.

pub(crate) mod disk;
mod failure;
mod handle;
pub(crate) mod network;
mod random;
mod scheduler;
mod task;
#[cfg(test)]
mod tests;
mod timers;
mod trace;
mod wire;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

pub use self::disk::DiskBehaviour;
pub(crate) use self::handle::Handle;
pub use self::network::Link;
pub(crate) use self::network::sockets::{Listener, Stream};
pub use self::random::Dice;
pub(crate) use self::task::Task;
pub use self::wire::Wire;

use self::disk::Disk;
use self::network::{Network, Surroundings};
use self::scheduler::{Scheduler, TaskId};
use self::timers::Timers;
use self::trace::{Event, Trace};
use crate::Reactor;
use crate::reactor::Backend;
use crate::time::{Instant, Timestamp};

/// Polls of one [`Simulation`] before it is taken for a livelock.
const TICKS_MAX: u64 = 50_000_000;

/// Nanoseconds of virtual time that one poll takes at most, so that tasks that yield for ever do not stop the clock.
const POLL_NS_MAX: usize = 2_000;

/// One node between two crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    node: usize,
    start: u32,
}

/// How all tasks of a node end at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The machine has no power any more.
    PowerCut,
    /// The process is killed; the machine runs on.
    Kill,
}

/// Everything that is simulated.
pub(crate) struct World {
    seed: u64,
    timers: Timers,
    scheduler: Scheduler,
    network: RefCell<Network>,
    nodes: RefCell<Vec<NodeState>>,
    dice: AllDice,
    trace: Trace,
    /// Set when the simulation ends: what is spawned from now on is dropped.
    over: Cell<bool>,
}

/// A stream of random numbers per purpose.
struct AllDice {
    scheduling: Dice,
    network: Dice,
    disk: Dice,
    workload: Dice,
}

struct NodeState {
    name: Box<str>,
    /// Grows at every crash.
    start: u32,
    reactor_count: u64,
    disk: Rc<Disk>,
}

impl World {
    fn spawn(&self, life: Life, body: Pin<Box<dyn Future<Output = ()>>>) -> TaskId {
        let task = self.scheduler.spawn(life, body);
        self.trace.record(Event::Spawn, task, life.node as u64);
        if self.over.get() || !self.is_alive(life) {
            self.scheduler.cancel(task);
        }
        task
    }

    fn is_alive(&self, life: Life) -> bool {
        self.nodes.borrow()[life.node].start == life.start
    }

    fn disk_of(&self, node: usize) -> Rc<Disk> {
        self.nodes.borrow()[node].disk.clone()
    }

    /// A node's own address.
    fn ip_of(&self, node: usize) -> IpAddr {
        let host = u32::try_from(node + 1).unwrap_or(u32::MAX);
        IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) | (host & 0x00ff_ffff)))
    }

    /// The node behind an address, seen from `client`; a number that no node has if there is none.
    fn node_of(&self, ip: IpAddr, client: usize) -> usize {
        if ip.is_loopback() {
            return client;
        }
        let listening = self.network.borrow().node_listening_at(ip);
        listening.or_else(|| (0..self.nodes.borrow().len()).find(|node| self.ip_of(*node) == ip)).unwrap_or(usize::MAX)
    }

    fn around_network(&self) -> Surroundings<'_> {
        Surroundings { now: self.timers.now(), dice: &self.dice.network, trace: &self.trace }
    }

    fn end_life(&self, node: usize, end: End) {
        let life = {
            let state = &mut self.nodes.borrow_mut()[node];
            let life = Life { node, start: state.start };
            state.start += 1;
            life
        };
        self.trace.record(Event::Crash, node as u64, u64::from(life.start));
        self.network.borrow_mut().end_life(life, end, &self.around_network());
        self.disk_of(node).end_life(end, &self.dice.disk);
        self.scheduler.cancel_life(life);
    }
}

/// The condition did not come true in time. Names what was awaited.
#[derive(Debug, thiserror::Error)]
#[error("{what}: not within {patience:?} of virtual time")]
pub struct Unmet {
    what: String,
    patience: Duration,
}

/// Looks at the world after a tick; an error ends the run.
type Invariant = Box<dyn FnMut() -> Result<(), String>>;

/// One simulated world. Dropping it drops everything in it.
pub struct Simulation {
    world: Rc<World>,
    invariants: RefCell<Vec<Invariant>>,
    tick_count: Cell<u64>,
    ticks_max: Cell<u64>,
    watch: failure::Watch,
}

impl Simulation {
    /// An empty world whose every chance follows from `seed`.
    pub fn new(seed: u64) -> Self {
        let dice = AllDice {
            scheduling: Dice::new(seed, "scheduling"),
            network: Dice::new(seed, "network"),
            disk: Dice::new(seed, "disk"),
            workload: Dice::new(seed, "workload"),
        };
        let world = World {
            seed,
            timers: Timers::default(),
            scheduler: Scheduler::default(),
            network: Network::new(),
            nodes: RefCell::default(),
            dice,
            trace: Trace::default(),
            over: Cell::new(false),
        };
        Self {
            world: Rc::new(world),
            invariants: RefCell::default(),
            tick_count: Cell::new(0),
            ticks_max: Cell::new(TICKS_MAX),
            watch: failure::Watch::new(seed),
        }
    }

    /// A new machine, with an empty disk and an address of its own.
    pub fn node(&self, name: &str) -> Node {
        let mut nodes = self.world.nodes.borrow_mut();
        nodes.push(NodeState { name: name.into(), start: 0, reactor_count: 0, disk: Rc::default() });
        Node { world: self.world.clone(), node: nodes.len() - 1 }
    }

    /// The random numbers of the test itself: what it submits, when it crashes whom.
    pub fn dice(&self) -> &Dice {
        &self.world.dice.workload
    }

    /// The monotonic clock, which all nodes share.
    pub fn now(&self) -> Instant {
        self.world.timers.now()
    }

    /// The wall clock, which all nodes share.
    pub fn wall(&self) -> Timestamp {
        self.world.timers.wall()
    }

    /// A number that two runs share only if the same happened in both, in the same order and at the same times.
    pub fn trace(&self) -> u64 {
        self.world.trace.hash()
    }

    /// Sets what lies between two nodes from now on.
    pub fn set_link(&self, a: &Node, b: &Node, link: Link) {
        self.world.network.borrow_mut().set_link((a.node, b.node), link);
    }

    /// Sets what lies between any two nodes from now on.
    pub fn set_links(&self, link: Link) {
        self.world.network.borrow_mut().set_links(link);
    }

    /// What lies on the wires between nodes.
    pub fn wire(&self) -> Wire {
        Wire(self.world.clone())
    }

    /// How many connections have an end that is open.
    pub fn connection_count(&self) -> usize {
        self.world.network.borrow().connection_count()
    }

    /// Polls after which the simulation is taken for a livelock, from the beginning.
    pub fn set_ticks_max(&self, ticks_max: u64) {
        self.ticks_max.set(ticks_max);
    }

    /// Calls `invariant` after every tick; what it says is broken ends the run.
    pub fn at_every_tick(&self, invariant: impl FnMut() -> Result<(), String> + 'static) {
        self.invariants.borrow_mut().push(Box::new(invariant));
    }

    /// Runs until `condition` holds, for `patience` of virtual time at most. `what` names it in the error.
    ///
    /// # Panics
    /// When an invariant is broken, something has panicked, or [`Simulation::set_ticks_max`] is reached.
    pub fn run_until(&self, what: &str, patience: Duration, mut condition: impl FnMut() -> bool) -> Result<(), Unmet> {
        let deadline = self.now() + patience;
        while !condition() {
            if self.now() >= deadline {
                return Err(Unmet { what: what.to_owned(), patience });
            }
            self.tick(deadline);
        }
        Ok(())
    }

    /// Runs for `duration` of virtual time.
    pub fn run_for(&self, duration: Duration) {
        let end = self.now() + duration;
        while self.now() < end {
            self.tick(end);
        }
    }

    /// Runs `program` on `node` to its end and gives its output.
    ///
    /// # Panics
    /// As [`Simulation::run_until`], and when it does not end within a year of virtual time.
    pub fn run<F>(&self, node: &Node, program: impl FnOnce(Reactor) -> F) -> F::Output
    where
        F: Future<Output: 'static> + 'static,
    {
        const PATIENCE: Duration = Duration::from_secs(365 * 24 * 3600);
        let output = Rc::new(Cell::new(None));
        let ended = Rc::new(Cell::new(false));
        let body = {
            let (output, ended) = (output.clone(), ended.clone());
            let future = program(node.reactor());
            async move {
                output.set(Some(future.await));
                ended.set(true);
            }
        };
        node.spawn(|_| body);
        let done = self.run_until("the program's end", PATIENCE, || ended.get());
        done.ok().and_then(|()| output.take()).unwrap_or_else(|| self.fail("the program does not end"))
    }

    /// One poll, or one step of the clock (to `limit` at most).
    fn tick(&self, limit: Instant) {
        let world = &self.world;
        if let Some(task) = world.scheduler.turn(&world.dice.scheduling) {
            world.trace.record(Event::Poll, task, 0);
            let cost = Duration::from_nanos(1 + world.dice.scheduling.below(POLL_NS_MAX) as u64);
            world.timers.advance(world.timers.now() + cost);
        } else {
            let next = world.timers.next().map_or(limit, |next| next.min(limit));
            world.timers.advance(next);
            world.trace.record(Event::Clock, next.as_nanos(), 0);
        }
        self.tick_count.set(self.tick_count.get() + 1);
        if self.watch.has_panicked() {
            self.fail("a task has panicked (its report is above)");
        }
        if self.tick_count.get() >= self.ticks_max.get() {
            self.fail("livelock: all ticks are used up");
        }
        for invariant in self.invariants.borrow_mut().iter_mut() {
            if let Err(broken) = invariant() {
                self.fail(&broken);
            }
        }
    }

    fn fail(&self, why: &str) -> ! {
        let (seed, now) = (self.world.seed, self.now().as_nanos() as f64 / 1e9);
        panic!("{why} (seed {seed}, {now:.6} s, tick {})", self.tick_count.get());
    }
}

impl Drop for Simulation {
    /// Tasks hold the world that holds them: ends that.
    fn drop(&mut self) {
        self.world.over.set(true);
        self.world.scheduler.cancel_all();
    }
}

/// One machine of a simulation; a cheap handle.
#[derive(Clone)]
pub struct Node {
    world: Rc<World>,
    node: usize,
}

impl Node {
    /// Its name, for reports.
    pub fn name(&self) -> Box<str> {
        self.world.nodes.borrow()[self.node].name.clone()
    }

    /// Its address. It may listen on any other one, too.
    pub fn address(&self) -> IpAddr {
        self.world.ip_of(self.node)
    }

    /// A new reactor on it, as one shard has; it dies with the node's next crash.
    pub fn reactor(&self) -> Reactor {
        Reactor(Backend::Sim(Handle::new(&self.world, self.node)))
    }

    /// Runs `program` on a reactor of its own.
    pub fn spawn<F>(&self, program: impl FnOnce(Reactor) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        let handle = Handle::new(&self.world, self.node);
        let future = program(Reactor(Backend::Sim(handle.clone())));
        handle.spawn(future).detach();
    }

    /// The machine loses power: its tasks are dropped at once, the peers of its connections see a reset or nothing more
    /// at all, its disk keeps what was flushed and a random part, sector by sector, of what was not. Whatever is started
    /// on it afterwards finds that disk.
    pub fn crash(&self) {
        self.world.end_life(self.node, End::PowerCut);
    }

    /// The process is killed: its tasks are dropped at once and its connections are reset, but the machine still has what
    /// was written, flushed or not. Only a later crash may take what was not flushed.
    pub fn kill(&self) {
        self.world.end_life(self.node, End::Kill);
    }

    /// Sets how its disk behaves from now on.
    pub fn set_disk(&self, behaviour: DiskBehaviour) {
        self.world.disk_of(self.node).set_behaviour(behaviour);
    }

    /// Bytes in use on its disk.
    pub fn disk_bytes(&self) -> u64 {
        self.world.disk_of(self.node).used_bytes()
    }
}
