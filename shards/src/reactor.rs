//! The reactor: the one door through which a shard reaches the world.
//!
//! A [`Reactor`] is a cheap, single-threaded handle (clone it freely, it is not `Send`). It is an enum over the two
//! backends and not a type parameter, so everything above stays concrete.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::net::{Listener, Stream};
use crate::time::{Instant, Timestamp};

/// One shard's way to act on the world.
#[derive(Clone)]
pub struct Reactor(pub(crate) Backend);

#[derive(Clone)]
pub(crate) enum Backend {
    Ring(crate::ring::Handle),
    #[cfg(feature = "sim")]
    Sim(crate::sim::Handle),
}

/// The patience ran out before the awaited thing happened.
#[derive(Debug, thiserror::Error)]
#[error("timed out")]
pub struct Elapsed;

/// A spawned task. Dropping it cancels the task; [`Task::detach`] lets it run to its end; awaiting it gives its output.
pub struct Task<T>(std::marker::PhantomData<T>);

impl<T> Task<T> {
    /// Lets the task run on its own.
    pub fn detach(self) {
        todo!()
    }
}

impl Reactor {
    /// The monotonic clock.
    pub fn now(&self) -> Instant {
        todo!()
    }

    /// The wall clock.
    pub fn wall(&self) -> Timestamp {
        todo!()
    }

    /// A random number, for jitter and shuffling; not for secrets. Seeded in a simulation.
    pub fn random(&self) -> u64 {
        todo!()
    }

    /// Waits for `delay`.
    pub async fn sleep(&self, _delay: Duration) {
        todo!()
    }

    /// Lets other tasks of this shard run.
    pub async fn yield_now(&self) {
        todo!()
    }

    /// `future`, or [`Elapsed`] once `patience` is over; the future is dropped then.
    pub async fn timeout<T>(&self, _patience: Duration, _future: impl Future<Output = T>) -> Result<T, Elapsed> {
        todo!()
    }

    /// Starts a task on this shard.
    pub fn spawn<T: 'static>(&self, _future: impl Future<Output = T> + 'static) -> Task<T> {
        todo!()
    }

    /// Runs `work` (a computation or a blocking system call) off the reactor's thread and waits for it.
    /// In a simulation it runs in place, after a simulated delay.
    pub async fn blocking<T: Send + 'static>(&self, _work: impl FnOnce() -> T + Send + 'static) -> T {
        todo!()
    }

    /// Listens on `address` with SO_REUSEPORT; every shard listens on the same address and the kernel steers each
    /// source address to one shard. Port 0 picks a port (single-shard use).
    pub fn listen(&self, _address: SocketAddr) -> io::Result<Listener> {
        todo!()
    }

    /// Opens a TCP connection to `address`, from the local address `source` where one is given.
    pub async fn connect(
        &self,
        _address: SocketAddr,
        _source: Option<IpAddr>,
        _patience: Duration,
    ) -> io::Result<Stream> {
        todo!()
    }
}
