//! Accepting connections.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use glommio::io::PollableFd;
use socket2::Socket;

use super::{Handle, Stream, socket};

/// Pause before the next accept when descriptors or memory ran out: others must let go first.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// A listening socket of one shard.
pub(crate) struct Listener {
    shard: Handle,
    socket: PollableFd<Socket>,
    address: SocketAddr,
}

/// What an error of accept(2) is about.
enum Trouble {
    /// No connection waits.
    Nothing,
    /// One connection that is already gone.
    Connection,
    /// The process or the host is out of descriptors or memory.
    Exhausted,
    /// The listener itself.
    Listener,
}

impl Listener {
    pub(super) fn new(shard: &Handle, socket: Socket) -> io::Result<Listener> {
        let address = socket::internet(&socket.local_addr()?)?;
        Ok(Listener { shard: shard.clone(), socket: PollableFd::new(socket)?, address })
    }

    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        loop {
            let accepted = self.socket.get_ref().accept();
            match accepted.and_then(|(socket, peer)| Stream::accepted(&self.shard, socket, &peer)) {
                Ok(stream) => return Ok(stream),
                Err(error) => match trouble(&error) {
                    Trouble::Nothing => self.socket.readable().await?,
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

/// As accept(2) tells them apart: errors already pending on the new connection come out of accept on Linux.
fn trouble(error: &io::Error) -> Trouble {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Trouble::Nothing,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Trouble::Exhausted,
        Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP | libc::EFAULT) => Trouble::Listener,
        _ => Trouble::Connection,
    }
}
