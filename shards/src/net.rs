//! Byte streams over TCP (and to Unix sockets): listeners, connections and what is read from them.
//!
//! Patience is part of every call: a peer that does not move within it gives [`io::ErrorKind::TimedOut`].
//! A waiting `receive` holds no buffer: an idle connection costs its state only. As in [`crate::reactor`], the methods
//! here only choose the backend.

use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::time::Duration;

/// Most bytes that one [`Stream::receive`] gives.
pub const RECEIVE_BYTES_MAX: usize = 16 * 1024;

/// What an operator can do where there was no socket to be had, because this process or its host is out of them; `None`:
/// that is not what the error says.
pub fn exhausted(error: &io::Error) -> Option<&'static str> {
    Some(match error.raw_os_error()? {
        libc::EMFILE => {
            "set a larger LimitNOFILE in the systemd unit, or `nofile` in /etc/security/limits.conf, or allow fewer connections"
        }
        libc::ENFILE => "set a larger `sysctl fs.file-max`: the whole host is out of open files",
        libc::ENOBUFS | libc::ENOMEM => "add memory, or allow fewer connections: the host has none left for sockets",
        _ => return None,
    })
}

/// A listening socket of one shard.
pub struct Listener(pub(crate) listener::Backend);

pub(crate) mod listener {
    pub(crate) enum Backend {
        Ring(crate::ring::Listener),
        #[cfg(feature = "sim")]
        Sim(crate::sim::Listener),
    }
}

impl Listener {
    /// The next connection. Errors that belong to one connection (reset before accept) are passed over. Where
    /// descriptors or memory ran out ([`exhausted`]), it pauses, so that others can let go, and says so: ask again. Any other
    /// error is the listener's end.
    pub async fn accept(&self) -> io::Result<Stream> {
        Ok(Stream(match &self.0 {
            listener::Backend::Ring(ring) => stream::Backend::Ring(ring.accept().await?),
            #[cfg(feature = "sim")]
            listener::Backend::Sim(sim) => stream::Backend::Sim(sim.accept().await?),
        }))
    }

    /// Accepts no more, and gives the connections that nobody had fetched yet. Those that the kernel had not accepted
    /// wait in the backlog of a passed socket, and are refused where the socket is our own.
    pub async fn stop(self) -> Vec<Stream> {
        match self.0 {
            listener::Backend::Ring(ring) => {
                ring.stop().await.into_iter().map(|stream| Stream(stream::Backend::Ring(stream))).collect()
            }
            #[cfg(feature = "sim")]
            listener::Backend::Sim(_) => Vec::new(),
        }
    }

    /// The address that it is bound to.
    pub fn address(&self) -> SocketAddr {
        match &self.0 {
            listener::Backend::Ring(ring) => ring.address(),
            #[cfg(feature = "sim")]
            listener::Backend::Sim(sim) => sim.address(),
        }
    }
}

/// A connected stream. Dropping it closes the connection, after what was sent has gone out.
pub struct Stream(pub(crate) stream::Backend);

pub(crate) mod stream {
    pub(crate) enum Backend {
        Ring(crate::ring::Stream),
        #[cfg(feature = "sim")]
        Sim(crate::sim::Stream),
    }
}

impl Stream {
    /// The peer's address.
    pub fn peer(&self) -> SocketAddr {
        match &self.0 {
            stream::Backend::Ring(ring) => ring.peer(),
            #[cfg(feature = "sim")]
            stream::Backend::Sim(sim) => sim.peer(),
        }
    }

    /// Our own address.
    pub fn local(&self) -> SocketAddr {
        match &self.0 {
            stream::Backend::Ring(ring) => ring.local(),
            #[cfg(feature = "sim")]
            stream::Backend::Sim(sim) => sim.local(),
        }
    }

    /// The next bytes of the peer, at most [`RECEIVE_BYTES_MAX`]. Empty: the peer has closed its side (we may still
    /// send). Dropping the future loses nothing.
    pub async fn receive(&mut self, patience: Duration) -> io::Result<Chunk> {
        match &mut self.0 {
            stream::Backend::Ring(ring) => ring.receive(patience).await,
            #[cfg(feature = "sim")]
            stream::Backend::Sim(sim) => sim.receive(patience).await,
        }
    }

    /// Sends all of `bytes` and empties it (its capacity is kept where that is cheap). `patience` renews with progress.
    /// After an error, or when the future was dropped, how much has gone out is unknown: close the stream.
    pub async fn send(&mut self, bytes: &mut Vec<u8>, patience: Duration) -> io::Result<()> {
        match &mut self.0 {
            stream::Backend::Ring(ring) => ring.send(bytes, patience).await,
            #[cfg(feature = "sim")]
            stream::Backend::Sim(sim) => sim.send(bytes, patience).await,
        }
    }

    /// Closes at once with a reset (RST), losing what was not yet sent; for peers that play faults.
    pub fn reset(self) {
        match self.0 {
            stream::Backend::Ring(ring) => ring.reset(),
            #[cfg(feature = "sim")]
            stream::Backend::Sim(sim) => sim.reset(),
        }
    }
}

/// Bytes that were read. Hold it briefly: it may borrow a buffer of the ring, of which a shard has a fixed number.
pub struct Chunk(Bytes);

enum Bytes {
    Owned(Vec<u8>),
    Ring(crate::ring::Buffer),
}

impl Chunk {
    /// A chunk that owns its bytes.
    pub fn owned(bytes: Vec<u8>) -> Self {
        Self(Bytes::Owned(bytes))
    }

    /// A chunk in a buffer of the ring, which goes back when the chunk is dropped.
    pub(crate) fn borrowed(buffer: crate::ring::Buffer) -> Self {
        Self(Bytes::Ring(buffer))
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Owned(bytes) => bytes,
            Bytes::Ring(buffer) => buffer,
        }
    }
}
