//! The real backend: io_uring. glommio keeps tasks, timers, files and blocking work; sockets have a ring of their own.
//!
//! Owns: everything that names glommio or io-uring. Never: what the bytes mean.
//! Limits: one executor a thread; [`BLOCKING_THREADS`] blocking jobs at a time for each shard, the rest wait in line.

mod alarm;
mod blocking;
mod eventfd;
mod listener;
mod net;
mod pass;
mod socket;
mod steering;
mod stream;

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant as Clock, SystemTime, UNIX_EPOCH};

use futures::future::select;
use glommio::timer::Timer;
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement};

use crate::passed::Passed;
use crate::reactor::Elapsed;
use crate::time::{Instant, Timestamp};

use self::alarm::Alarms;
use self::blocking::Blocking;
use self::net::Network;
use self::pass::Passes;

pub(crate) use self::listener::Listener;
pub(crate) use self::net::Received as Buffer;
pub(crate) use self::stream::Stream;

/// Threads of a shard for blocking work: more than the slow computations that may run side by side (a password, two
/// signatures, a checkpoint), so that these do not delay a flush.
const BLOCKING_THREADS: usize = 6;
/// How long an executor that ends waits for blocking work that goes on.
const BLOCKING_PATIENCE: Duration = Duration::from_secs(10);
/// Memory that glommio registers for direct I/O; counts against RLIMIT_MEMLOCK, and we do little direct I/O.
const REGISTERED_BYTES: usize = 256 * 1024;
/// Entries of each of glommio's rings; sockets do not use them.
const RING_ENTRIES: usize = 128;

/// What a panic in a task of a shard means.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OnPanic {
    /// It unwinds into who runs the executor (tools and tests).
    Unwind,
    /// The process ends at once: the shard's state may be half changed.
    Exit,
}

/// One shard's executor.
#[derive(Clone)]
pub(crate) struct Handle(Rc<Shard>);

struct Shard {
    number: usize,
    shards: usize,
    on_panic: OnPanic,
    random: RefCell<fastrand::Rng>,
    alarms: Alarms,
    passes: Passes,
    network: Network,
    blocking: Blocking,
}

/// A shard's place among its peers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) number: usize,
    pub(crate) shards: usize,
    pub(crate) on_panic: OnPanic,
    /// The zero of [`Instant`], the same for every shard of a launch.
    pub(crate) began: Clock,
}

/// What runs a shard on its thread.
pub(crate) struct Executor {
    glommio: LocalExecutor,
    shard: Handle,
}

impl Executor {
    /// Makes an executor on the calling thread, pinned to `core` where one is given.
    pub(crate) fn new(core: Option<usize>, place: Place) -> io::Result<Executor> {
        let glommio = LocalExecutorBuilder::new(core.map_or(Placement::Unbound, Placement::Fixed))
            .io_memory(REGISTERED_BYTES)
            .ring_depth(RING_ENTRIES)
            .preempt_timer(pass::PREEMPTION)
            .blocking_thread_pool_placement(PoolPlacement::Unbound(BLOCKING_THREADS))
            .make()?;
        let alarms = Alarms::new(place.began);
        let passes = Passes::new(alarms.clone())?;
        let network = Network::new(alarms.clone(), passes.clone())?;
        let random = RefCell::new(fastrand::Rng::new());
        let Place { number, shards, on_panic, .. } = place;
        let shard = Shard { number, shards, on_panic, random, alarms, passes, network, blocking: Blocking::default() };
        Ok(Executor { glommio, shard: Handle(Rc::new(shard)) })
    }

    /// Runs `body` to its end; what it has spawned and is not done ends with it.
    pub(crate) fn run<F, T>(self, body: impl FnOnce(Handle) -> F) -> T
    where
        F: Future<Output = T> + 'static,
        T: 'static,
    {
        let Executor { glommio, shard } = self;
        glommio.run(async move {
            let ringing = shard.spawn(shard.0.alarms.clone().ring());
            let driving = shard.spawn(shard.0.network.clone().drive());
            let closing = ShutDown(shard.clone());
            let own = shard.clone();
            let output = shard.guard(async move { body(own).await }).await;
            drop((closing, ringing));
            driving.await;
            let idle = shard.0.blocking.idle();
            // What takes longer is left to the end of the process.
            select(pin!(idle), pin!(Timer::new(BLOCKING_PATIENCE))).await;
            output
        })
    }
}

/// Closes a shard's network when its body has ended, also in a panic, starts no more blocking work and lets go of the tasks
/// that still wait.
struct ShutDown(Handle);

impl Drop for ShutDown {
    fn drop(&mut self) {
        self.0.0.network.shut_down();
        self.0.0.blocking.close();
        self.0.0.alarms.stop();
    }
}

impl Handle {
    pub(crate) fn now(&self) -> Instant {
        self.0.alarms.now()
    }

    pub(crate) fn wall(&self) -> Timestamp {
        // A clock before 1970 is a clock that was never set.
        #[expect(clippy::disallowed_methods, reason = "the door itself")]
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn random(&self) -> u64 {
        self.0.random.borrow_mut().u64(..)
    }

    pub(crate) async fn sleep(&self, delay: Duration) {
        self.0.alarms.at(self.now() + delay).await;
    }

    pub(crate) async fn yield_now(&self) {
        self.0.passes.yield_now().await;
    }

    pub(crate) async fn timeout<T>(&self, patience: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
        alarm::timeout(&self.0.alarms, patience, pin!(future)).await
    }

    pub(crate) fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Task<T> {
        Task(glommio::spawn_local(self.guard(future)))
    }

    pub(crate) async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.0.blocking.run(work).await
    }

    pub(crate) fn listen(&self, address: SocketAddr) -> io::Result<Listener> {
        Listener::new(self.clone(), socket::listening(address, self.0.shards)?)
    }

    pub(crate) fn listen_on(&self, passed: &Passed) -> io::Result<Listener> {
        Listener::passed(self.clone(), passed)
    }

    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        source: Option<IpAddr>,
        patience: Duration,
    ) -> io::Result<Stream> {
        Stream::connect(self.clone(), address, source, patience).await
    }

    pub(crate) async fn connect_local(&self, path: &Path, patience: Duration) -> io::Result<Stream> {
        Stream::connect_local(self.clone(), path, patience).await
    }

    /// `future`, with this shard's panic policy applied to it.
    fn guard<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        let (number, on_panic) = (self.0.number, self.0.on_panic);
        async move {
            let mut future = pin!(future);
            std::future::poll_fn(move |context| match on_panic {
                OnPanic::Unwind => future.as_mut().poll(context),
                // Here, and not only around the thread: nothing of a half changed shard is dropped first.
                OnPanic::Exit => catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)))
                    .unwrap_or_else(|panic| crate::launch::die(&format!("shard {number}"), &*panic)),
            })
            .await
        }
    }
}

/// A spawned task; dropping it cancels it.
pub(crate) struct Task<T>(glommio::Task<T>);

impl<T> Task<T> {
    pub(crate) fn detach(self) {
        drop(self.0.detach());
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<T> {
        std::pin::Pin::new(&mut self.0).poll(context)
    }
}
