//! The simulated backend: a seeded scheduler, virtual time, network and disk.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::net::Chunk;
use crate::reactor::Elapsed;
use crate::time::{Instant, Timestamp};

pub(crate) mod disk;

/// One simulated shard's place in its simulation.
#[derive(Clone)]
pub struct Handle(());

impl Handle {
    pub(crate) fn now(&self) -> Instant {
        todo!()
    }

    pub(crate) fn wall(&self) -> Timestamp {
        todo!()
    }

    pub(crate) fn random(&self) -> u64 {
        todo!()
    }

    pub(crate) async fn sleep(&self, _delay: Duration) {
        todo!()
    }

    pub(crate) async fn yield_now(&self) {
        todo!()
    }

    pub(crate) async fn timeout<T>(&self, _patience: Duration, _future: impl Future<Output = T>) -> Result<T, Elapsed> {
        todo!()
    }

    pub(crate) fn spawn<T: 'static>(&self, _future: impl Future<Output = T> + 'static) -> Task<T> {
        todo!()
    }

    pub(crate) async fn blocking<T: Send + 'static>(&self, _work: impl FnOnce() -> T + Send + 'static) -> T {
        todo!()
    }

    pub(crate) fn listen(&self, _address: SocketAddr) -> io::Result<Listener> {
        todo!()
    }

    pub(crate) async fn connect(
        &self,
        _address: SocketAddr,
        _source: Option<IpAddr>,
        _patience: Duration,
    ) -> io::Result<Stream> {
        todo!()
    }
}

/// A spawned task of the simulation; dropping it cancels it.
pub(crate) struct Task<T>(std::marker::PhantomData<T>);

impl<T> Task<T> {
    pub(crate) fn detach(self) {
        todo!()
    }
}

impl<T> Unpin for Task<T> {}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<T> {
        todo!()
    }
}

/// A listening socket of the simulated network.
pub(crate) struct Listener(());

impl Listener {
    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        todo!()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        todo!()
    }
}

/// A connection of the simulated network.
pub(crate) struct Stream(());

impl Stream {
    pub(crate) fn peer(&self) -> SocketAddr {
        todo!()
    }

    pub(crate) fn local(&self) -> SocketAddr {
        todo!()
    }

    pub(crate) async fn receive(&mut self, _patience: Duration) -> io::Result<Chunk> {
        todo!()
    }

    pub(crate) async fn send(&mut self, _bytes: &mut Vec<u8>, _patience: Duration) -> io::Result<()> {
        todo!()
    }

    pub(crate) fn reset(self) {
        todo!()
    }
}
