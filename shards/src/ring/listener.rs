//! Accepting connections.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::Socket;

use super::net::Slot;
use super::{Handle, Stream, socket};

/// Pause before the next accept when descriptors or memory ran out: others must let go first.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// A listening socket of one shard.
pub(crate) struct Listener {
    shard: Handle,
    slot: Slot,
    address: SocketAddr,
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
        let address = socket::internet(&socket.local_addr()?)?;
        let slot = shard.0.network.listen(socket);
        Ok(Listener { shard, slot, address })
    }

    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        loop {
            let accepted = poll_fn(|context| self.shard.0.network.poll_accept(self.slot, context)).await;
            match accepted.and_then(|socket| Stream::accepted(self.shard.clone(), socket, self.address)) {
                Ok(stream) => return Ok(stream),
                Err(error) => match trouble(&error) {
                    Trouble::Connection => {}
                    Trouble::Exhausted => self.shard.sleep(EXHAUSTED_PAUSE).await,
                    Trouble::Listener => return Err(error),
                },
            }
        }
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
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Trouble::Exhausted,
        Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP | libc::EFAULT) | None => Trouble::Listener,
        Some(_) => Trouble::Connection,
    }
}
