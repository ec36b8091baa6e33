//! The real backend: io_uring. glommio keeps tasks, timers, files and blocking work; sockets have a ring of their own.
//!
//! Owns: everything that names glommio or io-uring. Never: what the bytes mean.
//! Limits: one executor a thread; [`BLOCKING_THREADS`] blocking jobs at a time for each shard, the rest wait in line.

mod alarm;
mod listener;
mod socket;
mod steering;
mod stream;

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant as Clock, SystemTime, UNIX_EPOCH};

use glommio::{LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement};

use crate::reactor::Elapsed;
use crate::time::{Instant, Timestamp};

pub(crate) use listener::Listener;
pub(crate) use stream::Stream;

/// Threads of a shard for blocking work. More than one, so that a slow computation does not delay a flush.
const BLOCKING_THREADS: usize = 4;
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
    /// The zero of [`Instant`], the same for every shard of a launch.
    began: Clock,
    random: RefCell<fastrand::Rng>,
    alarms: alarm::Alarms,
    scratch: stream::Scratch,
}

/// A shard's place among its peers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) number: usize,
    pub(crate) shards: usize,
    pub(crate) on_panic: OnPanic,
    pub(crate) began: Clock,
}

/// Makes an executor for the calling thread, pinned to `core` where one is given.
pub(crate) fn executor(core: Option<usize>) -> io::Result<LocalExecutor> {
    let placement = core.map_or(Placement::Unbound, Placement::Fixed);
    LocalExecutorBuilder::new(placement)
        .io_memory(REGISTERED_BYTES)
        .ring_depth(RING_ENTRIES)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(BLOCKING_THREADS))
        .make()
        .map_err(io::Error::from)
}

/// Runs `body` on `executor` to its end.
pub(crate) fn run<F, T>(executor: &LocalExecutor, place: Place, body: impl FnOnce(Handle) -> F) -> T
where
    F: Future<Output = T> + 'static,
    T: 'static,
{
    executor.run(async move {
        let handle = Handle::new(place);
        let body = body(handle.clone());
        handle.guard(body).await
    })
}

impl Handle {
    /// Must be called on the executor.
    fn new(place: Place) -> Handle {
        let handle = Handle(Rc::new(Shard {
            number: place.number,
            shards: place.shards,
            on_panic: place.on_panic,
            began: place.began,
            random: RefCell::new(fastrand::Rng::new()),
            alarms: alarm::Alarms::new(place.began),
            scratch: stream::Scratch::default(),
        }));
        glommio::spawn_local(handle.0.alarms.ring()).detach();
        handle
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.0.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) fn wall(&self) -> Timestamp {
        // A clock before 1970 is a clock that was never set.
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
        glommio::executor().yield_now().await;
    }

    pub(crate) async fn timeout<T>(&self, patience: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
        alarm::timeout(&self.0.alarms, patience, pin!(future)).await
    }

    pub(crate) fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Task<T> {
        Task(glommio::spawn_local(self.guard(future)))
    }

    pub(crate) async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        glommio::executor().spawn_blocking(work).await
    }

    pub(crate) fn listen(&self, address: SocketAddr) -> io::Result<Listener> {
        Listener::new(self, socket::listening(address, self.0.shards)?)
    }

    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        source: Option<IpAddr>,
        patience: Duration,
    ) -> io::Result<Stream> {
        Stream::connect(self, address, source, patience).await
    }

    /// `future`, with this shard's panic policy applied to it.
    fn guard<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        let (number, on_panic) = (self.0.number, self.0.on_panic);
        async move {
            let mut future = pin!(future);
            std::future::poll_fn(move |context| match on_panic {
                OnPanic::Unwind => future.as_mut().poll(context),
                OnPanic::Exit => catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)))
                    .unwrap_or_else(|panic| crate::launch::die(number, &*panic)),
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
