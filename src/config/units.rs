//! Single values: durations, sizes, addresses and names. Each function says in words what it wanted instead.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Network;

/// The longest duration that makes sense anywhere (ten years); also keeps sums of durations from overflowing.
const DURATION_S_MAX: u64 = 3650 * 86_400;

/// Splits `12ab` into 12 and `ab`.
fn amount(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    Some((digits.parse().ok()?, unit))
}

/// `90s`, `5m`, `2h`, `5d`, `0s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wanted = || format!("`{text}` is not a duration: write a number and s, m, h or d, such as \"90s\" or \"5d\"");
    let (number, unit) = amount(text).ok_or_else(wanted)?;
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wanted()),
    };
    match number.checked_mul(unit_s) {
        Some(seconds) if seconds <= DURATION_S_MAX => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("`{text}` is too long: at most 3650d")),
    }
}

/// `25MiB`, `10KB`, `512B`; octets.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wanted =
        || format!("`{text}` is not a size: write a number and B, KB, KiB, MB, MiB, GB or GiB, such as \"25MiB\"");
    let (number, unit) = amount(text).ok_or_else(wanted)?;
    let unit_bytes = match unit {
        "B" => 1,
        "KB" => 1_000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return Err(wanted()),
    };
    number.checked_mul(unit_bytes).ok_or_else(|| format!("`{text}` is too large"))
}

/// `ADDRESS:PORT`, with brackets around an IPv6 address.
pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let example = if text.matches(':').count() > 1 { "[::1]:587" } else { "127.0.0.1:587" };
        format!("`{text}` is not an address with a port: write it like \"{example}\" (a number, not a name)")
    })
}

/// `ADDRESS` or `ADDRESS:PORT` of a DNS server; the port is 53.
pub(super) fn dns_server(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(SocketAddr::new(address, 53)),
        Err(_) => socket_address(text),
    }
}

/// `ADDRESS/PREFIX`, or one address.
pub(super) fn network(text: &str) -> Result<Network, String> {
    let wanted =
        || format!("`{text}` is not a network: write it like \"192.0.2.0/24\", \"2001:db8::/32\" or one address");
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.parse().map_err(|_| wanted())?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.map_or(Ok(bits), str::parse).map_err(|_| wanted())?;
    if prefix > bits {
        return Err(format!("`{text}`: the prefix is at most {bits}"));
    }
    let network = Network { address, prefix };
    let first = first_address(network);
    if first != address {
        return Err(format!("`{text}` has bits set after its prefix: write {first}/{prefix}"));
    }
    Ok(network)
}

/// The address with all bits after the prefix cleared.
fn first_address(network: Network) -> IpAddr {
    match network.address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(network.prefix)).unwrap_or(0);
            IpAddr::V4((u32::from(address) & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(network.prefix)).unwrap_or(0);
            IpAddr::V6((u128::from(address) & mask).into())
        }
    }
}

/// A domain name (RFC 5321 §4.1.2; with letters beyond ASCII, RFC 6531 §3.3), given back in lower case.
pub(super) fn domain(text: &str) -> Result<Box<str>, String> {
    let label_is_good = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c == '-' || c == '_' || c.is_alphanumeric())
    };
    if text.len() <= 255 && text.split('.').all(label_is_good) {
        Ok(text.to_lowercase().into())
    } else {
        Err(format!("`{text}` is not a domain name"))
    }
}

/// Our own name, which EHLO says: ASCII letters, digits and hyphens only (RFC 5321 §4.1.1.1), and not an address.
pub(super) fn hostname(text: &str) -> Result<Box<str>, String> {
    if text.parse::<IpAddr>().is_ok() {
        return Err(format!("`{text}` is an address: write this host's name, such as \"mta.example.org\""));
    }
    if !text.is_ascii() || text.contains('_') {
        return Err(format!("`{text}` is not a host name: only ASCII letters, digits, hyphens and dots"));
    }
    domain(text).map_err(|_| format!("`{text}` is not a host name: write it like \"mta.example.org\""))
}

/// A sender that an account may use: `local@domain`, or `@domain` for all of a domain; the domain in lower case.
pub(super) fn sender(text: &str) -> Result<Box<str>, String> {
    let wanted = || format!("`{text}` is not an address (user@example.org) nor a whole domain (@example.org)");
    let (local, host) = text.rsplit_once('@').ok_or_else(wanted)?;
    let bad_in_local = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>');
    if local.len() > 64 || local.contains(bad_in_local) {
        return Err(wanted());
    }
    let host = domain(host).map_err(|_| wanted())?;
    Ok(format!("{local}@{host}").into())
}

/// What a route is for: `example.org`, `*.example.org` or `*`; in lower case.
pub(super) fn pattern(text: &str) -> Result<Box<str>, String> {
    let wanted =
        || format!("`{text}` is not a domain: write \"example.org\", \"*.example.org\" (its subdomains) or \"*\"");
    match text.strip_prefix("*.") {
        _ if text == "*" => Ok(text.into()),
        Some(parent) => domain(parent).map(|parent| format!("*.{parent}").into()).map_err(|_| wanted()),
        None => domain(text).map_err(|_| wanted()),
    }
}

/// Whether `domain` (lower case) is one of a pattern: `example.org`, `*.example.org` for everything below, or `*`.
pub(super) fn matches(pattern: &str, domain: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some("") => true,
        Some(suffix) => domain.len() > suffix.len() && domain.ends_with(suffix),
        None => pattern == domain,
    }
}

/// `HOST`, `HOST:PORT`, `ADDRESS`, `[ADDRESS]:PORT`; the port is 25.
pub(super) fn next_hop(text: &str) -> Result<(Box<str>, u16), String> {
    const PORT: u16 = 25;
    host_and_port(text, PORT).ok_or_else(|| {
        format!("`{text}` is not a next hop: write \"mail.example.org\", \"192.0.2.1:2525\" or \"[2001:db8::1]:25\"")
    })
}

/// `HOST`, `HOST:PORT`, `ADDRESS`, `[ADDRESS]:PORT`; `port` where none is written.
pub(super) fn host_and_port(text: &str, port: u16) -> Option<(Box<str>, u16)> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return port_is_set(address.port()).then(|| (address.ip().to_string().into(), address.port()));
    }
    let unbracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = unbracketed.parse::<IpAddr>() {
        return Some((address.to_string().into(), port));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| port_is_set(*port))?),
        None => (text, port),
    };
    Some((domain(host).ok()?, port))
}

fn port_is_set(port: u16) -> bool {
    port != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_one_unit() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("5m", 300), ("2h", 7_200), ("5d", 432_000)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "5", "s", "5 m", "-1s", "1.5h", "5w", "1h30m", "3651d", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_know_both_thousands() {
        for (text, bytes) in
            [("512B", 512), ("10KB", 10_000), ("10KiB", 10_240), ("25MiB", 26_214_400), ("1GB", 1_000_000_000)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "25", "25 MiB", "25mib", "MiB", "99999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_are_blocks_without_stray_bits() {
        let block = network("10.1.0.0/16").expect("a block");
        assert!(block.contains("10.1.255.255".parse().expect("an address")));
        assert!(block.contains("::ffff:10.1.2.3".parse().expect("an address")));
        assert!(!block.contains("10.2.0.0".parse().expect("an address")));
        assert!(!block.contains("::1".parse().expect("an address")));
        let everything = network("::/0").expect("a block");
        assert!(everything.contains("2001:db8::1".parse().expect("an address")));
        let one = network("192.0.2.7").expect("one address");
        assert!(one.contains("192.0.2.7".parse().expect("an address")));
        assert!(!one.contains("192.0.2.6".parse().expect("an address")));
        assert!(network("10.1.2.3/16").is_err_and(|text| text.contains("10.1.0.0/16")));
        for text in ["", "10.0.0.0/33", "10.0.0.0/x", "localhost", "::/129"] {
            assert!(network(text).is_err(), "{text}");
        }
    }

    #[test]
    fn next_hops_are_hosts_or_addresses_with_a_port_or_without() {
        for (text, host, port) in [
            ("Mail.Example.Org", "mail.example.org", 25),
            ("mail.example.org:2525", "mail.example.org", 2525),
            ("192.0.2.1", "192.0.2.1", 25),
            ("192.0.2.1:26", "192.0.2.1", 26),
            ("2001:db8::1", "2001:db8::1", 25),
            ("[2001:db8::1]", "2001:db8::1", 25),
            ("[2001:db8::1]:26", "2001:db8::1", 26),
        ] {
            assert_eq!(next_hop(text), Ok((host.into(), port)), "{text}");
        }
        for text in ["", ":25", "host:", "host:0", "host:65536", "192.0.2.1:0", "a b", "host/25"] {
            assert!(next_hop(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_checked_and_lowered() {
        assert_eq!(hostname("MTA.Example.org"), Ok("mta.example.org".into()));
        for text in ["", "mta..org", "-mta.org", "mta_1.org", "192.0.2.1", "mta.org.", "mta org", "пошта.укр"] {
            assert!(hostname(text).is_err(), "{text}");
        }
        assert_eq!(sender("Jo.Ann@Example.ORG"), Ok("Jo.Ann@example.org".into()));
        assert_eq!(sender("@Example.ORG"), Ok("@example.org".into()));
        for text in ["", "jo", "jo@", "@", "jo ann@example.org", "<jo@example.org>"] {
            assert!(sender(text).is_err(), "{text}");
        }
        assert_eq!(pattern("*.Sink.Test"), Ok("*.sink.test".into()));
        assert_eq!(pattern("*"), Ok("*".into()));
        for text in ["", "*.", "**", "a.*.b", "*sink.test"] {
            assert!(pattern(text).is_err(), "{text}");
        }
    }
}
