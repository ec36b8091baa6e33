//! Listening sockets that a service manager opened and passed on (sd_listen_fds(3)): they outlive the process, so
//! whoever connects while it restarts waits instead of being refused.
//!
//! A passed socket is one socket for all shards, and the kernel cannot steer its connections as it steers those of a
//! group of sockets. So every shard accepts from it, and hands a connection to the shard that its source address
//! belongs to: the same one that steering would have chosen.
//!
//! Owns: the descriptors, and connections on their way to their shard. Never: binds; knows what the sockets are for.
//! After a crash: connections in the sockets' backlogs wait for the next process; accepted ones are gone.
//! Limits: [`ARRIVALS_MAX`] connections on their way to each shard; whoever finds no room keeps the connection.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::task::{Context, Poll};

use crossbeam::queue::ArrayQueue;
use futures::task::AtomicWaker;
use socket2::Socket;

/// Connections of one passed socket on their way to one shard.
const ARRIVALS_MAX: usize = 256;
/// The first passed descriptor (SD_LISTEN_FDS_START).
const FIRST_DESCRIPTOR: RawFd = 3;
/// Most descriptors that a service manager may pass.
const DESCRIPTORS_MAX: RawFd = 1024;

/// A listening socket that was passed on, for all shards.
pub struct Passed {
    address: SocketAddr,
    socket: Socket,
    arrivals: Arc<[Arrivals]>,
}

/// The sockets that were passed to this process, for `shards` shards; none if no service manager did. Call it once,
/// and before any other descriptor is opened: it takes them over.
///
/// # Errors
/// A descriptor is no listening TCP socket; the text names it.
pub fn take(shards: usize) -> io::Result<Vec<Passed>> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<RawFd>().ok());
    if number("LISTEN_PID").and_then(|pid| u32::try_from(pid).ok()) != Some(std::process::id()) {
        return Ok(Vec::new());
    }
    let count = number("LISTEN_FDS").unwrap_or(0).clamp(0, DESCRIPTORS_MAX);
    let descriptors = FIRST_DESCRIPTOR..FIRST_DESCRIPTOR + count;
    descriptors
        .map(|descriptor| {
            // SAFETY: by the protocol these descriptors are ours, and this is the one place that takes them.
            let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
            Passed::new(owned, shards).map_err(|error| {
                io::Error::new(error.kind(), format!("the passed descriptor {descriptor} cannot be used: {error}"))
            })
        })
        .collect()
}

impl Passed {
    /// Takes over a listening TCP socket, for `shards` shards.
    ///
    /// # Errors
    /// It is none.
    pub fn new(descriptor: OwnedFd, shards: usize) -> io::Result<Passed> {
        let socket = Socket::from(descriptor);
        let address = socket.local_addr()?.as_socket();
        let Some(address) = address.filter(|_| socket.is_listener().unwrap_or(false)) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no listening TCP socket"));
        };
        socket.set_cloexec(true)?;
        // As sockets of our own: the ring waits itself, and replies go out at once.
        socket.set_nonblocking(false)?;
        socket.set_tcp_nodelay(true)?;
        let arrivals = (0..shards).map(|_| Arrivals::new()).collect();
        Ok(Passed { address, socket, arrivals })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// One shard's share: its own descriptor, and its end of the hand-over.
    pub(crate) fn share(&self, shard: usize) -> io::Result<(Socket, Share)> {
        Ok((self.socket.try_clone()?, Share { shard, arrivals: self.arrivals.clone() }))
    }
}

/// Connections on their way to one shard; `None` fills the place of one once the shard has stopped.
struct Arrivals {
    waiting: ArrayQueue<Option<Socket>>,
    receiver: AtomicWaker,
}

impl Arrivals {
    fn new() -> Arrivals {
        Arrivals { waiting: ArrayQueue::new(ARRIVALS_MAX), receiver: AtomicWaker::new() }
    }
}

/// What one shard holds of the hand-over.
pub(crate) struct Share {
    shard: usize,
    arrivals: Arc<[Arrivals]>,
}

impl Share {
    /// Hands a connection to shard `home`. Gives it back where that is this shard, or takes no more.
    pub(crate) fn hand_over(&self, home: usize, socket: Socket) -> Option<Socket> {
        if home == self.shard {
            return Some(socket);
        }
        match self.arrivals[home].waiting.push(Some(socket)) {
            Ok(()) => {
                self.arrivals[home].receiver.wake();
                None
            }
            Err(returned) => returned,
        }
    }

    /// The next connection that another shard accepted for this one.
    pub(crate) fn poll_arrival(&self, context: &mut Context<'_>) -> Poll<Socket> {
        let mine = &self.arrivals[self.shard];
        if let Some(socket) = mine.waiting.pop().flatten() {
            return Poll::Ready(socket);
        }
        mine.receiver.register(context.waker());
        // What came between the look and the registration has woken nobody.
        mine.waiting.pop().flatten().map_or(Poll::Pending, Poll::Ready)
    }

    /// Takes no more, from now on: what others accept stays with them. Gives what had arrived.
    pub(crate) fn close(&self) -> Vec<Socket> {
        // Every push of nothing takes a free place, or that of the oldest. After the first round there is no free place
        // left, so no other shard's push succeeds; the second round has seen every place.
        let mine = &self.arrivals[self.shard].waiting;
        (0..2 * mine.capacity()).filter_map(|_| mine.force_push(None).flatten()).collect()
    }
}

/// The next connection of a passed socket that is this shard's: one that arrived, or one that `poll_accept` gave and
/// whose `home` is here.
pub(crate) async fn next(
    share: &Share,
    mut poll_accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<Socket>>,
    home: impl Fn(&Socket) -> usize,
) -> io::Result<Socket> {
    poll_fn(|context| {
        loop {
            if let Poll::Ready(arrived) = share.poll_arrival(context) {
                return Poll::Ready(Ok(arrived));
            }
            match poll_accept(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(socket)) => {
                    let home = home(&socket);
                    if let Some(mine) = share.hand_over(home, socket) {
                        return Poll::Ready(Ok(mine));
                    }
                }
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, UdpSocket};

    use super::*;

    fn passed(shards: usize) -> Passed {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        Passed::new(listener.into(), shards).expect("a listening socket")
    }

    fn some_socket() -> Socket {
        Socket::from(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"))
    }

    fn arrived(share: &Share) -> Option<Socket> {
        match share.poll_arrival(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(socket) => Some(socket),
            Poll::Pending => None,
        }
    }

    #[test]
    fn only_listening_tcp_sockets_are_taken() {
        let refused = Passed::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port").into(), 1);
        assert!(refused.is_err_and(|error| error.to_string().contains("no listening TCP socket")));
        assert!(take(1).expect("nothing was passed").is_empty());
    }

    #[test]
    fn a_connection_reaches_its_shard_and_comes_back_where_that_takes_no_more() {
        let passed = passed(2);
        let (_, zero) = passed.share(0).expect("a descriptor");
        let (_, one) = passed.share(1).expect("a descriptor");
        assert!(zero.hand_over(0, some_socket()).is_some(), "it is at home");
        assert!(zero.hand_over(1, some_socket()).is_none());
        assert!(arrived(&one).is_some());
        assert!(arrived(&one).is_none());
        for _ in 0..ARRIVALS_MAX {
            assert!(zero.hand_over(1, some_socket()).is_none());
        }
        assert!(zero.hand_over(1, some_socket()).is_some(), "there is no room");
        assert!(arrived(&one).is_some());
        assert_eq!(one.close().len(), ARRIVALS_MAX - 1);
        assert!(zero.hand_over(1, some_socket()).is_some(), "it has stopped");
    }
}
