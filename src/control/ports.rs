//! Whether an address can be listened on, and if not, why: taken and forbidden look the same to whoever may not use ports
//! below 1024, so the kernel's table of listeners is asked, too.

use std::io::{Error, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use super::clock;

/// How long a port may still be held by a process that is gone.
const PORT_PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks at it.
const PORT_PAUSE: Duration = Duration::from_millis(10);
/// The state of a socket that listens, in the kernel's table.
const LISTENS: &str = "0A";

/// Why an address cannot be listened on.
#[derive(Debug)]
pub enum Obstacle {
    /// Somebody listens there.
    Taken,
    /// Nobody does, and this user may not: the port is below 1024.
    Forbidden,
    /// It is no address of this host.
    Foreign,
    /// Anything else.
    Other(Error),
}

/// Tries to listen at `address`, as a program that shares it with nobody. Listeners at `ours` are not somebody else's.
///
/// # Errors
/// Why that is not possible now.
pub fn look(address: SocketAddr, ours: &[SocketAddr]) -> Result<(), Obstacle> {
    let Err(why) = TcpListener::bind(address) else { return Ok(()) };
    match why.kind() {
        ErrorKind::AddrInUse => Err(Obstacle::Taken),
        ErrorKind::PermissionDenied => {
            let tables =
                ["/proc/net/tcp", "/proc/net/tcp6"].map(|file| std::fs::read_to_string(file).unwrap_or_default());
            let mut others = tables.iter().flat_map(|table| listeners(table)).filter(|other| !ours.contains(other));
            Err(if others.any(|other| excludes(other, address)) { Obstacle::Taken } else { Obstacle::Forbidden })
        }
        ErrorKind::AddrNotAvailable => Err(Obstacle::Foreign),
        _ => Err(Obstacle::Other(why)),
    }
}

/// Makes sure that nobody else listens at `address`. The shards listen with SO_REUSEPORT, with which two programs of one
/// user can share a port and its connections unawares. So ask first without it.
/// A process that was killed a moment ago may still hold it: the kernel takes a ring apart after its process is gone.
///
/// # Errors
/// Why it cannot be listened on, and what to do: for people.
pub fn must_be_free(address: SocketAddr, ours: &[SocketAddr]) -> Result<(), String> {
    let begin = clock::monotonic();
    let obstacle = loop {
        match look(address, ours) {
            Ok(()) => return Ok(()),
            Err(Obstacle::Taken) if begin.elapsed() < PORT_PATIENCE => clock::pause(PORT_PAUSE),
            Err(obstacle) => break obstacle,
        }
    };
    let port = address.port();
    Err(match obstacle {
        Obstacle::Taken => format!(
            "port {port} is taken ({address}): another program listens there; `ss -ltnp 'sport = :{port}'` shows it: stop it, \
             or write another address, and start again"
        ),
        Obstacle::Forbidden => format!(
            "{address}: nobody listens there, but ports below 1024 need a socket unit that passes them (does \
             `systemctl list-sockets` show one?), or CAP_NET_BIND_SERVICE"
        ),
        Obstacle::Foreign => foreign(address),
        Obstacle::Other(why) => format!("{address}: {why}"),
    })
}

/// What is said of an address that is none of this host.
pub fn foreign(address: SocketAddr) -> String {
    format!(
        "{address}: this host does not have that address: write one that `ip address` shows, or 0.0.0.0 or [::] for all, or add \
         it to the host's network configuration"
    )
}

/// The addresses that are listened on, by a table of proc_net(5).
fn listeners(table: &str) -> impl Iterator<Item = SocketAddr> {
    table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        (state == LISTENS).then(|| parse(local)).flatten()
    })
}

/// `0100007F:0019`: words of 32 bits as this processor has them, and the port.
fn parse(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| Some(u32::from_str_radix(address.get(8 * at..8 * at + 8)?, 16).ok()?.to_ne_bytes());
    let address: IpAddr = match address.len() {
        8 => word(0)?.into(),
        32 => {
            let octets: Vec<u8> = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            <[u8; 16]>::try_from(octets).ok()?.into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

/// Whether nobody can listen at `address` while somebody does at `other`.
fn excludes(other: SocketAddr, address: SocketAddr) -> bool {
    let (theirs, wanted) = (other.ip(), address.ip());
    let meets = theirs == wanted || theirs.is_unspecified() || wanted.is_unspecified();
    // Who listens on all of IPv6 may do so on IPv4, too.
    let shares_family = theirs.is_ipv4() == wanted.is_ipv4() || theirs == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    other.port() == address.port() && meets && shares_family
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_taken_port_is_called_taken_and_an_address_of_another_host_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let here = taken.local_addr().expect("its address");
        assert!(matches!(look(here, &[]), Err(Obstacle::Taken)));
        let why = must_be_free(here, &[]).expect_err("it is taken");
        assert!(why.contains("is taken") && why.contains(&format!("ss -ltnp 'sport = :{}'", here.port())), "{why}");
        drop(taken);
        assert!(must_be_free(here, &[]).is_ok());
        let why = must_be_free(address("192.0.2.1:25"), &[]).expect_err("of another host");
        assert!(why.starts_with("192.0.2.1:25: this host does not have that address: write one that"), "{why}");
    }

    #[test]
    fn the_kernels_table_names_who_listens() {
        let taken = [TcpListener::bind("127.0.0.1:0"), TcpListener::bind("[::1]:0")];
        for (taken, file) in taken.into_iter().zip(["/proc/net/tcp", "/proc/net/tcp6"]) {
            // A host without IPv6 has no such listener.
            let Ok(taken) = taken else { continue };
            let here = taken.local_addr().expect("its address");
            let table = std::fs::read_to_string(file).expect("the table");
            assert!(listeners(&table).any(|listener| listener == here), "{here}:\n{table}");
            drop(taken);
            let table = std::fs::read_to_string(file).expect("the table");
            assert!(listeners(&table).all(|listener| listener != here), "{here}:\n{table}");
        }
        assert_eq!(listeners("a header\n   0: zz:19 0:0 0A\n   1: 0100007F:0019 0:0 01\n").count(), 0);
    }

    #[test]
    fn who_listens_on_all_addresses_excludes_others() {
        for (other, wanted) in [
            ("0.0.0.0:25", "127.0.0.1:25"),
            ("127.0.0.1:25", "0.0.0.0:25"),
            ("[::]:25", "0.0.0.0:25"),
            ("[::1]:25", "[::]:25"),
        ] {
            assert!(excludes(address(other), address(wanted)), "{other} {wanted}");
        }
        for (other, wanted) in
            [("0.0.0.0:26", "0.0.0.0:25"), ("127.0.0.1:25", "127.0.0.2:25"), ("0.0.0.0:25", "[::]:25")]
        {
            assert!(!excludes(address(other), address(wanted)), "{other} {wanted}");
        }
    }
}
