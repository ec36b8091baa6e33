//! The reactor: the one door through which a shard reaches the world.
//!
//! A [`Reactor`] is a cheap, single-threaded handle (clone it freely, it is not `Send`). It is an enum over the two
//! backends and not a type parameter, so everything above stays concrete. Every method here only chooses the backend;
//! what it does is written in `ring` and in `sim`, under the same name.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::net::{Listener, Stream, listener, stream};
use crate::passed::Passed;
use crate::ring;
#[cfg(feature = "sim")]
use crate::sim;
use crate::time::{Instant, Timestamp};

/// One shard's way to act on the world.
#[derive(Clone)]
pub struct Reactor(pub(crate) Backend);

#[derive(Clone)]
pub(crate) enum Backend {
    Ring(ring::Handle),
    #[cfg(feature = "sim")]
    Sim(sim::Handle),
}

/// The patience ran out before the awaited thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("timed out")]
pub struct Elapsed;

/// A spawned task. Dropping it cancels the task; [`Task::detach`] lets it run to its end; awaiting it gives its output.
#[must_use = "dropping a task cancels it"]
pub struct Task<T>(Spawned<T>);

enum Spawned<T> {
    Ring(ring::Task<T>),
    #[cfg(feature = "sim")]
    Sim(sim::Task<T>),
}

impl<T> Task<T> {
    /// Lets the task run on its own.
    pub fn detach(self) {
        match self.0 {
            Spawned::Ring(task) => task.detach(),
            #[cfg(feature = "sim")]
            Spawned::Sim(task) => task.detach(),
        }
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match &mut self.get_mut().0 {
            Spawned::Ring(task) => Pin::new(task).poll(context),
            #[cfg(feature = "sim")]
            Spawned::Sim(task) => Pin::new(task).poll(context),
        }
    }
}

impl Reactor {
    /// The monotonic clock.
    pub fn now(&self) -> Instant {
        match &self.0 {
            Backend::Ring(ring) => ring.now(),
            #[cfg(feature = "sim")]
            Backend::Sim(sim) => sim.now(),
        }
    }

    /// The wall clock.
    pub fn wall(&self) -> Timestamp {
        match &self.0 {
            Backend::Ring(ring) => ring.wall(),
            #[cfg(feature = "sim")]
            Backend::Sim(sim) => sim.wall(),
        }
    }

    /// A random number, for jitter and shuffling; not for secrets. Seeded in a simulation.
    pub fn random(&self) -> u64 {
        match &self.0 {
            Backend::Ring(ring) => ring.random(),
            #[cfg(feature = "sim")]
            Backend::Sim(sim) => sim.random(),
        }
    }

    /// Waits for `delay`.
    pub async fn sleep(&self, delay: Duration) {
        match &self.0 {
            Backend::Ring(ring) => ring.sleep(delay).await,
            #[cfg(feature = "sim")]
            Backend::Sim(sim) => sim.sleep(delay).await,
        }
    }

    /// Lets other tasks of this shard run.
    pub async fn yield_now(&self) {
        match &self.0 {
            Backend::Ring(ring) => ring.yield_now().await,
            #[cfg(feature = "sim")]
            Backend::Sim(sim) => sim.yield_now().await,
        }
    }

    /// `future`, or [`Elapsed`] once `patience` is over; the future is dropped then.
    pub async fn timeout<T>(&self, patience: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
        match &self.0 {
            Backend::Ring(ring) => ring.timeout(patience, future).await,
            #[cfg(feature = "sim")]
            Backend::Sim(sim) => sim.timeout(patience, future).await,
        }
    }

    /// Starts a task on this shard.
    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Task<T> {
        Task(match &self.0 {
            Backend::Ring(ring) => Spawned::Ring(ring.spawn(future)),
            #[cfg(feature = "sim")]
            Backend::Sim(sim) => Spawned::Sim(sim.spawn(future)),
        })
    }

    /// Runs `work` (a computation or a blocking system call) off the reactor's thread and waits for it. A panic of
    /// `work` is raised again here. In a simulation it runs in place, after a simulated delay.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match &self.0 {
            Backend::Ring(ring) => ring.blocking(work).await,
            #[cfg(feature = "sim")]
            Backend::Sim(sim) => sim.blocking(work).await,
        }
    }

    /// Listens on `address` with SO_REUSEPORT; every shard listens on the same address and the kernel steers each
    /// source address to one shard. Port 0 picks a port (single-shard use).
    pub fn listen(&self, address: SocketAddr) -> io::Result<Listener> {
        Ok(Listener(match &self.0 {
            Backend::Ring(ring) => listener::Backend::Ring(ring.listen(address)?),
            #[cfg(feature = "sim")]
            Backend::Sim(sim) => listener::Backend::Sim(sim.listen(address)?),
        }))
    }

    /// Listens on a socket that a service manager passed on, together with all other shards; each source address meets
    /// the shard that [`Reactor::listen`] would have steered it to. A simulated machine has no service manager.
    pub fn listen_on(&self, passed: &Passed) -> io::Result<Listener> {
        Ok(Listener(match &self.0 {
            Backend::Ring(ring) => listener::Backend::Ring(ring.listen_on(passed)?),
            #[cfg(feature = "sim")]
            Backend::Sim(_) => return Err(io::ErrorKind::Unsupported.into()),
        }))
    }

    /// Opens a TCP connection to `address`, from the local address `source` where one is given.
    pub async fn connect(&self, address: SocketAddr, source: Option<IpAddr>, patience: Duration) -> io::Result<Stream> {
        Ok(Stream(match &self.0 {
            Backend::Ring(ring) => stream::Backend::Ring(ring.connect(address, source, patience).await?),
            #[cfg(feature = "sim")]
            Backend::Sim(sim) => stream::Backend::Sim(sim.connect(address, source, patience).await?),
        }))
    }

    /// Connects to the Unix socket at `path`. Its stream has no Internet address: both ends are `[::]:0`. A simulated
    /// machine runs no other program, so there nobody listens.
    pub async fn connect_local(&self, path: &Path, patience: Duration) -> io::Result<Stream> {
        Ok(Stream(match &self.0 {
            Backend::Ring(ring) => stream::Backend::Ring(ring.connect_local(path, patience).await?),
            #[cfg(feature = "sim")]
            Backend::Sim(_) => return Err(io::ErrorKind::NotFound.into()),
        }))
    }
}
