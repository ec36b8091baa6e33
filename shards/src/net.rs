//! Byte streams over TCP: listeners, connections and what is read from them.
//!
//! Patience is part of every call: a peer that does not move within it gives [`io::ErrorKind::TimedOut`].
//! A waiting `receive` holds no buffer: an idle connection costs its state only.

use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::time::Duration;

/// A listening socket of one shard.
pub struct Listener(());

impl Listener {
    /// The next connection. Errors that belong to one connection (reset before accept, out of descriptors) are
    /// retried inside with a pause; an error returned here is the listener's end.
    pub async fn accept(&self) -> io::Result<Stream> {
        todo!()
    }

    /// The address that it is bound to.
    pub fn address(&self) -> SocketAddr {
        todo!()
    }
}

/// A connected TCP stream. Dropping it closes the connection, after what was sent has gone out.
pub struct Stream(());

impl Stream {
    /// The peer's address.
    pub fn peer(&self) -> SocketAddr {
        todo!()
    }

    /// Our own address.
    pub fn local(&self) -> SocketAddr {
        todo!()
    }

    /// The next bytes of the peer, at most 16 KiB. Empty: the peer has closed its side.
    pub async fn receive(&mut self, _patience: Duration) -> io::Result<Chunk> {
        todo!()
    }

    /// Sends all of `bytes` and empties it (its capacity is kept where that is cheap). `patience` renews with progress.
    pub async fn send(&mut self, _bytes: &mut Vec<u8>, _patience: Duration) -> io::Result<()> {
        todo!()
    }

    /// Closes at once with a reset (RST), losing what was not yet sent; for peers that play faults.
    pub fn reset(self) {
        todo!()
    }
}

/// Bytes that were read. Hold it briefly: it may borrow a buffer of the ring.
pub struct Chunk(Vec<u8>);

impl Chunk {
    /// A chunk that owns its bytes.
    pub fn owned(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
