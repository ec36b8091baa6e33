//! Connections as a task has them: waiting with patience on a slot of the network.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use socket2::{SockAddr, Socket};

use super::net::Slot;
use super::{Handle, socket};
use crate::net::Chunk;

/// Where a Unix socket is on the Internet.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

/// A connected stream.
pub(crate) struct Stream {
    shard: Handle,
    slot: Slot,
    peer: SocketAddr,
    local: SocketAddr,
}

impl Stream {
    /// A connection that a listener on `bound` accepted. Fails if the peer is gone already.
    pub(super) fn accepted(shard: Handle, socket: Socket, bound: SocketAddr) -> io::Result<Stream> {
        let peer = socket::internet(&socket.peer_addr()?)?;
        let local = if bound.ip().is_unspecified() { socket::internet(&socket.local_addr()?)? } else { bound };
        let slot = shard.0.network.adopt(socket);
        Ok(Stream { shard, slot, peer, local })
    }

    pub(super) async fn connect(
        shard: Handle,
        address: SocketAddr,
        source: Option<IpAddr>,
        patience: Duration,
    ) -> io::Result<Stream> {
        let socket = socket::outbound(address, source)?;
        let slot = shard.0.network.connect(socket, address.into());
        let mut stream = Stream { shard, slot, peer: address, local: SocketAddr::new(address.ip(), 0) };
        stream.connected(patience).await?;
        let local = stream.shard.0.network.with_socket(slot, Socket::local_addr);
        stream.local = socket::internet(&local.ok_or(io::ErrorKind::NotConnected)??)?;
        Ok(stream)
    }

    pub(super) async fn connect_local(shard: Handle, path: &Path, patience: Duration) -> io::Result<Stream> {
        let slot = shard.0.network.connect(socket::local()?, SockAddr::unix(path)?);
        let stream = Stream { shard, slot, peer: NOWHERE, local: NOWHERE };
        stream.connected(patience).await?;
        Ok(stream)
    }

    /// Waits until the attempt has succeeded. Dropping the stream closes the socket, and cancels the attempt.
    async fn connected(&self, patience: Duration) -> io::Result<()> {
        let connected = poll_fn(|context| self.shard.0.network.poll_connected(self.slot, context));
        self.shard.timeout(patience, connected).await.map_err(|_| timed_out("connect"))?
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(crate) async fn receive(&mut self, patience: Duration) -> io::Result<Chunk> {
        let received = poll_fn(|context| self.shard.0.network.poll_receive(self.slot, context));
        let received = self.shard.timeout(patience, received).await.map_err(|_| timed_out("receive"))??;
        Ok(received.map_or_else(|| Chunk::owned(Vec::new()), Chunk::borrowed))
    }

    pub(crate) async fn send(&mut self, bytes: &mut Vec<u8>, patience: Duration) -> io::Result<()> {
        let network = &self.shard.0.network;
        let mut from = 0;
        while from < bytes.len() {
            network.start_send(self.slot, std::mem::take(bytes), from)?;
            let sent = poll_fn(|context| network.poll_sent(self.slot, context));
            let (back, sent) = self.shard.timeout(patience, sent).await.map_err(|_| timed_out("send"))?;
            *bytes = back;
            from += sent?;
        }
        bytes.clear();
        Ok(())
    }

    pub(crate) fn reset(self) {
        self.shard.0.network.reset(self.slot);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shard.0.network.release(self.slot);
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}
