//! Steering: one source address always meets one shard, so limits per client need no crossing.
//!
//! A classic BPF program on the group of sockets that share a port (SO_ATTACH_REUSEPORT_CBPF, socket(7)) hashes the
//! source address: all of IPv4, the /64 of IPv6 (what one customer has). It gives an index into the group; while the
//! group is still smaller than that, the kernel falls back to its own hash.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use libc::{
    BPF_A, BPF_ABS, BPF_ALU, BPF_B, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_MISC, BPF_MOD, BPF_MUL, BPF_RET, BPF_RSH,
    BPF_TAX, BPF_W, BPF_X, BPF_XOR, SKF_NET_OFF, sock_filter, sock_fprog,
};
use socket2::Socket;

/// Knuth's multiplicative hash: 2^32 divided by the golden ratio.
const GOLDEN: u32 = 0x9E37_79B1;

/// Lets the kernel choose among `shards` listening sockets of one address by the source address.
pub(super) fn by_source(socket: &Socket, shards: usize) -> io::Result<()> {
    let shards = u32::try_from(shards).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut program = program(shards);
    let description = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the description and the program that it points to live until the call returns; the kernel copies both.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const description).cast(),
            size_of::<sock_fprog>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The shard that [`by_source`] would have chosen for a connection, for sockets that it cannot steer. One whose peer is
/// gone already is anyone's.
pub(super) fn home(connection: &Socket, shards: usize) -> usize {
    let peer = connection.peer_addr().ok().and_then(|peer| peer.as_socket());
    peer.map_or(0, |peer| index(peer.ip(), shards))
}

/// What the program computes.
fn index(source: IpAddr, shards: usize) -> usize {
    let customer = match source.to_canonical() {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => ((address.to_bits() >> 96) ^ (address.to_bits() >> 64)) as u32,
    };
    (customer.wrapping_mul(GOLDEN) >> 16) as usize % shards
}

/// Offsets are those of the IPv4 (RFC 791 §3.1) and IPv6 (RFC 8200 §3) headers.
fn program(shards: u32) -> [sock_filter; 13] {
    [
        load(BPF_B, 0), // the version
        step(BPF_ALU | BPF_RSH | BPF_K, 4),
        branch(BPF_JEQ, 6, 2, 0),
        load(BPF_W, 12), // IPv4: the source address
        branch(BPF_JEQ, 0, 4, 4),
        load(BPF_W, 8), // IPv6: the first half of the source address
        step(BPF_MISC | BPF_TAX, 0),
        load(BPF_W, 12),
        step(BPF_ALU | BPF_XOR | BPF_X, 0),
        step(BPF_ALU | BPF_MUL | BPF_K, GOLDEN),
        step(BPF_ALU | BPF_RSH | BPF_K, 16),
        step(BPF_ALU | BPF_MOD | BPF_K, shards),
        step(BPF_RET | BPF_A, 0),
    ]
}

fn load(width: u32, offset: i32) -> sock_filter {
    step(BPF_LD | width | BPF_ABS, (SKF_NET_OFF + offset) as u32)
}

fn branch(test: u32, operand: u32, if_true: u8, if_false: u8) -> sock_filter {
    sock_filter { jt: if_true, jf: if_false, ..step(BPF_JMP | test | BPF_K, operand) }
}

fn step(code: u32, operand: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k: operand }
}
