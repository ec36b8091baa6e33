//! Sockets before the ring knows them: made, bound and set up by plain system calls that do not block.
//!
//! They are left in blocking mode: the ring never blocks on them, and waits where a non-blocking one would fail.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, Socket, Type};

use super::steering;

/// Connections that the kernel completes before we accept them; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A socket that listens on `address`, steered by source address where several shards do.
pub(super) fn listening(address: SocketAddr, shards: usize) -> io::Result<Socket> {
    let socket = tcp(address)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        // An address means itself: 0.0.0.0 is listened on where it is configured.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    if shards > 1 {
        steering::by_source(&socket, shards)?;
    }
    Ok(socket)
}

/// A socket ready to connect to `address`, from `source` where one is given. Its port is chosen at connect, so that
/// one source address can hold as many connections as there are ports *for each* destination.
pub(super) fn outbound(address: SocketAddr, source: Option<IpAddr>) -> io::Result<Socket> {
    let socket = tcp(address)?;
    if let Some(source) = source {
        choose_port_at_connect(&socket)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    Ok(socket)
}

/// A socket ready to connect to a Unix socket's path.
pub(super) fn local() -> io::Result<Socket> {
    Socket::new(Domain::UNIX, Type::STREAM.cloexec(), None)
}

/// IP_BIND_ADDRESS_NO_PORT, ip(7): bind fixes the address only; works for both families.
fn choose_port_at_connect(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the value lives until the call returns, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The Internet address of a socket's end.
pub(super) fn internet(address: &socket2::SockAddr) -> io::Result<SocketAddr> {
    address.as_socket().ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "not an Internet socket"))
}

/// Replies and commands are written whole, so Nagle's wait would only cost; accepted connections inherit it.
fn tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}
