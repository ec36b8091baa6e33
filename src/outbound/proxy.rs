//! What a proxy is told of a connection (HAProxy's PROXY protocol, version 2, §2.2): from which address it is to be made, and
//! where to. Pure.

use std::net::{IpAddr, SocketAddr};

/// §2.2: no protocol begins so by chance.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, and the connection is made for another.
const VERSION_AND_PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
/// Octets of two ports.
const PORTS_BYTES: u16 = 4;

/// The header of a connection from `source` (any port) to `remote`, of the same family.
pub(super) fn header(source: IpAddr, remote: SocketAddr) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.push(VERSION_AND_PROXY);
    match (source, remote.ip()) {
        (IpAddr::V4(source), IpAddr::V4(remote)) => {
            header.push(TCP_OVER_IPV4);
            header.extend((2 * 4 + PORTS_BYTES).to_be_bytes());
            header.extend(source.octets());
            header.extend(remote.octets());
        }
        (source, remote) => {
            let v6 = |address| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            header.push(TCP_OVER_IPV6);
            header.extend((2 * 16 + PORTS_BYTES).to_be_bytes());
            header.extend(v6(source));
            header.extend(v6(remote));
        }
    }
    header.extend(0_u16.to_be_bytes());
    header.extend(remote.port().to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_that_of_the_protocol() {
        let header = header("192.0.2.1".parse().expect("an address"), "198.51.100.7:25".parse().expect("an address"));
        let expected = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x07\0\0\0\x19";
        assert_eq!(header, expected);
        let v6 = super::header("2001:db8::1".parse().expect("an address"), "[2001:db8::2]:25".parse().expect("one"));
        assert_eq!((v6.len(), v6[13], &v6[14..16]), (16 + 36, 0x21, &[0, 36][..]));
        assert_eq!((&v6[31], &v6[47], &v6[50..]), (&1, &2, &[0, 25][..]));
    }
}
