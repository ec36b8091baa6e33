//! [pure] What an SPF record (RFC 7208) says of an address by itself, without the records that it refers to.

use std::net::IpAddr;

use crate::config::Network;

/// What one record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// It names the address.
    Names,
    /// It names others, and refers to nothing else.
    NamesNot,
    /// It refers to hosts or other records, which may.
    Refers,
}

/// Whether a TXT record is SPF's (RFC 7208 §4.5).
pub(super) fn is_record(text: &str) -> bool {
    text.split(' ').next().is_some_and(|version| version.eq_ignore_ascii_case("v=spf1"))
}

/// What `record` says of `address`. Mechanisms that do not pass (`-`, `~`, `?`) name nobody.
pub(super) fn says(record: &str, address: IpAddr) -> Says {
    let mut refers = false;
    for term in record.split_ascii_whitespace().skip(1) {
        let mechanism = term.trim_start_matches('+').to_ascii_lowercase();
        let block = mechanism.strip_prefix("ip4:").or_else(|| mechanism.strip_prefix("ip6:"));
        if mechanism == "all" || block.is_some_and(|block| contains(block, address)) {
            return Says::Names;
        }
        let name = mechanism.split([':', '/', '=']).next().unwrap_or_default();
        refers |= ["a", "mx", "ptr", "include", "exists", "redirect"].contains(&name);
    }
    if refers { Says::Refers } else { Says::NamesNot }
}

fn contains(block: &str, address: IpAddr) -> bool {
    let (first, prefix) = block.split_once('/').map_or((block, None), |(first, prefix)| (first, prefix.parse().ok()));
    let Ok(first) = first.parse::<IpAddr>() else { return false };
    let prefix = prefix.unwrap_or(if first.is_ipv4() { 32 } else { 128 });
    Network { address: first, prefix }.contains(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_names_an_address_or_refers_to_others() {
        let address = "192.0.2.7".parse().expect("an address");
        for (record, expected) in [
            ("v=spf1 ip4:192.0.2.7 -all", Says::Names),
            ("v=spf1 ip4:192.0.2.0/24 ~all", Says::Names),
            ("v=spf1 +IP4:192.0.2.0/29 -all", Says::Names),
            ("v=spf1 +all", Says::Names),
            ("v=spf1 ip4:192.0.2.8/32 -all", Says::NamesNot),
            ("v=spf1 -ip4:192.0.2.7 -all", Says::NamesNot),
            ("v=spf1 ip6:2001:db8::/32 -all", Says::NamesNot),
            ("v=spf1 include:_spf.example.org -all", Says::Refers),
            ("v=spf1 mx/24 -all", Says::Refers),
            ("v=spf1 redirect=_spf.example.org", Says::Refers),
            ("v=spf1 ip4:nonsense -all", Says::NamesNot),
        ] {
            assert_eq!(says(record, address), expected, "{record}");
        }
        assert_eq!(says("v=spf1 ip6:2001:db8::/32 -all", "2001:db8::1".parse().expect("an address")), Says::Names);
        assert!(is_record("v=spf1") && is_record("V=SPF1 -all") && !is_record("v=spf10 -all") && !is_record(""));
    }
}
