//! Connections on non-blocking sockets: try, and wait for readiness where it would block.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use glommio::io::PollableFd;
use socket2::{SockAddr, Socket};

use super::{Handle, socket};
use crate::net::{Chunk, RECEIVE_BYTES_MAX};

/// Where a shard's connections receive before the bytes are copied out, so that a waiting one holds no buffer.
pub(super) struct Scratch(RefCell<Box<[u8]>>);

impl Default for Scratch {
    fn default() -> Self {
        Scratch(RefCell::new(vec![0; RECEIVE_BYTES_MAX].into_boxed_slice()))
    }
}

/// A connected TCP stream.
pub(crate) struct Stream {
    shard: Handle,
    socket: PollableFd<Socket>,
    peer: SocketAddr,
    local: SocketAddr,
}

impl Stream {
    pub(super) fn accepted(shard: &Handle, socket: Socket, peer: &SockAddr) -> io::Result<Stream> {
        socket.set_nonblocking(true)?;
        socket::set_up(&socket)?;
        let local = socket::internet(&socket.local_addr()?)?;
        Ok(Stream { shard: shard.clone(), socket: PollableFd::new(socket)?, peer: socket::internet(peer)?, local })
    }

    pub(super) async fn connect(
        shard: &Handle,
        address: SocketAddr,
        source: Option<IpAddr>,
        patience: Duration,
    ) -> io::Result<Stream> {
        let socket = PollableFd::new(socket::outbound(address, source)?)?;
        match socket.get_ref().connect(&address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
                shard.timeout(patience, socket.writable()).await.map_err(|_| timed_out("connect"))??;
                if let Some(error) = socket.get_ref().take_error()? {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
        let local = socket::internet(&socket.get_ref().local_addr()?)?;
        Ok(Stream { shard: shard.clone(), socket, peer: address, local })
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(crate) async fn receive(&mut self, patience: Duration) -> io::Result<Chunk> {
        loop {
            match self.receive_now() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.shard.timeout(patience, self.socket.readable()).await.map_err(|_| timed_out("receive"))??;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                received => return received,
            }
        }
    }

    fn receive_now(&self) -> io::Result<Chunk> {
        let mut buffer = self.shard.0.scratch.0.borrow_mut();
        let bytes = self.socket.get_ref().read(&mut buffer)?;
        Ok(Chunk::owned(buffer[..bytes].to_vec()))
    }

    pub(crate) async fn send(&mut self, bytes: &mut Vec<u8>, patience: Duration) -> io::Result<()> {
        let mut sent = 0;
        while sent < bytes.len() {
            let result = self.socket.get_ref().write(&bytes[sent..]);
            match result {
                Ok(progress) => sent += progress,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.shard.timeout(patience, self.socket.writable()).await.map_err(|_| timed_out("send"))??;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.clear();
        Ok(())
    }

    pub(crate) fn reset(self) {
        // It can only fail for a descriptor that is no socket; closing is what remains either way.
        let _ = self.socket.get_ref().set_linger(Some(Duration::ZERO));
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}
