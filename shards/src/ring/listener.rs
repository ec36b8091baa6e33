//! Accepting connections.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Context;
use std::time::Duration;

use socket2::Socket;

use super::net::Slot;
use super::{Handle, Shard, Stream, socket, steering};
use crate::net::exhausted;
use crate::passed::{self, Passed, Share};

/// Pause after an accept for which descriptors or memory ran out: others must let go first.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// A listening socket of one shard.
pub(crate) struct Listener {
    shard: Handle,
    slot: Slot,
    address: SocketAddr,
    /// The socket was passed to all shards: some of its connections belong to others.
    share: Option<Share>,
}

/// What an error of accept(2) is about.
enum Trouble {
    /// One connection that is already gone.
    Connection,
    /// The process or the host is out of descriptors or memory.
    Exhausted,
    /// The listener itself.
    Listener,
}

impl Listener {
    pub(super) fn new(shard: Handle, socket: Socket) -> io::Result<Listener> {
        Listener::sharing(shard, socket, None)
    }

    pub(super) fn passed(shard: Handle, passed: &Passed) -> io::Result<Listener> {
        let (socket, share) = passed.share(shard.0.number)?;
        Listener::sharing(shard, socket, Some(share))
    }

    fn sharing(shard: Handle, socket: Socket, share: Option<Share>) -> io::Result<Listener> {
        let address = socket::internet(&socket.local_addr()?)?;
        let slot = shard.0.network.listen(socket);
        Ok(Listener { shard, slot, address, share })
    }

    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        loop {
            match self.next().await.and_then(|socket| self.stream(socket)) {
                Ok(stream) => return Ok(stream),
                Err(error) => match trouble(&error) {
                    Trouble::Connection => {}
                    Trouble::Exhausted => {
                        self.shard.sleep(EXHAUSTED_PAUSE).await;
                        return Err(error);
                    }
                    Trouble::Listener => return Err(error),
                },
            }
        }
    }

    async fn next(&self) -> io::Result<Socket> {
        let Shard { network, shards, .. } = &*self.shard.0;
        match &self.share {
            None => poll_fn(|context| network.poll_accept(self.slot, context)).await,
            Some(share) => {
                let accept = |context: &mut Context<'_>| network.poll_accept(self.slot, context);
                passed::next(share, accept, |socket| steering::home(socket, *shards)).await
            }
        }
    }

    fn stream(&self, socket: Socket) -> io::Result<Stream> {
        Stream::accepted(self.shard.clone(), socket, self.address)
    }

    pub(crate) async fn stop(self) -> Vec<Stream> {
        let network = &self.shard.0.network;
        network.stop_accepting(self.slot);
        let mut accepted = poll_fn(|context| network.poll_stopped(self.slot, context)).await;
        accepted.extend(self.share.iter().flat_map(Share::close));
        accepted.into_iter().filter_map(|socket| self.stream(socket).ok()).collect()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shard.0.network.stop_listening(self.slot);
    }
}

/// As accept(2) tells them apart: errors already pending on the new connection come out of accept on Linux.
fn trouble(error: &io::Error) -> Trouble {
    match error.raw_os_error() {
        _ if exhausted(error).is_some() => Trouble::Exhausted,
        Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP | libc::EFAULT) | None => Trouble::Listener,
        Some(_) => Trouble::Connection,
    }
}
