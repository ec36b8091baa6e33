//! DNS block lists (RFC 5782): the name under which a list knows an address, and what its answers mean. Pure.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use super::finding::{Failure, Finding, Refusal, words};
use crate::config::screening::BlockList;
use crate::dns::Answer;

/// The name that is asked for: octets, or nibbles of IPv6, in reverse, before the zone (RFC 5782 §2.1, §2.4).
pub fn name(address: IpAddr, zone: &str) -> String {
    let mut name = String::with_capacity(64 + zone.len());
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            let _ = write!(name, "{d}.{c}.{b}.{a}.");
        }
        IpAddr::V6(address) => {
            for octet in address.octets().iter().rev() {
                let _ = write!(name, "{:x}.{:x}.", octet & 0xf, octet >> 4);
            }
        }
    }
    name + zone
}

/// What a list's answer says of the client.
///
/// Only 127.0.0.0/8 are answers of a list (RFC 5782 §2.1); anything else comes from a resolver that makes answers up. Of
/// those, 127.255.255.0/24 are how lists tell that they will not answer: too many questions, or from the wrong resolver.
pub fn finding(list: &BlockList, answer: &Answer) -> Result<Finding, Failure> {
    let addresses = match answer {
        Answer::Addresses(addresses, _) => addresses,
        Answer::NoData(_) | Answer::NoSuchName(_) => return Ok(Finding::Clean),
        Answer::Trouble(why) => return Err(Failure::Answer(words(&format!("{}: {why}", list.zone)))),
        _ => return Err(Failure::Answer(format!("{}: no addresses", list.zone))),
    };
    let answers = || addresses.iter().filter_map(|address| listing(*address));
    if let Some(refusal) = answers().find(|answer| is_refusal(*answer)) {
        return Err(Failure::Answer(format!("{}: {refusal} means that it will not answer", list.zone)));
    }
    match answers().find(|answer| counts(list, *answer)) {
        Some(answer) => Ok(Finding::Refuse(Refusal::Listed(list.zone.clone()), format!("{}({answer})", list.zone))),
        None => Ok(Finding::Clean),
    }
}

fn listing(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) if address.is_loopback() => Some(address),
        _ => None,
    }
}

fn is_refusal(answer: Ipv4Addr) -> bool {
    matches!(answer.octets(), [127, 255, 255, _])
}

fn counts(list: &BlockList, answer: Ipv4Addr) -> bool {
    list.answers.as_ref().is_none_or(|octets| {
        let matches = octets.iter().zip(answer.octets());
        matches.into_iter().all(|(ranges, octet)| ranges.iter().any(|range| range.contains(&octet)))
    })
}

/// Whether no public list can know the address: loopback, link-local, private, shared (RFC 6598) or unique local.
pub(super) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            let is_shared = a == 100 && b & 0xc0 == 64;
            a == 0 || is_shared || address.is_loopback() || address.is_private() || address.is_link_local()
        }
        IpAddr::V6(address) => {
            let first = address.segments()[0];
            let (is_unique_local, is_link_local) = (first & 0xfe00 == 0xfc00, first & 0xffc0 == 0xfe80);
            address.is_loopback() || address.is_unspecified() || is_unique_local || is_link_local
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn list() -> BlockList {
        BlockList { zone: "bl.test".into(), answers: None }
    }

    fn answer(addresses: &[&str]) -> Answer {
        Answer::Addresses(addresses.iter().map(|address| ip(address)).collect(), Duration::from_secs(60))
    }

    #[test]
    fn names_are_reversed() {
        assert_eq!(name(ip("192.0.2.99"), "bl.test"), "99.2.0.192.bl.test");
        assert_eq!(name(ip("::ffff:192.0.2.99"), "bl.test"), "99.2.0.192.bl.test");
        assert_eq!(
            name(ip("2001:db8:1:2:3:4:567:89ab"), "v6.test"),
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.v6.test"
        );
    }

    #[test]
    fn only_answers_of_lists_count() {
        let listed = Finding::Refuse(Refusal::Listed("bl.test".into()), "bl.test(127.0.0.2)".into());
        assert_eq!(finding(&list(), &answer(&["127.0.0.2"])), Ok(listed.clone()));
        assert_eq!(finding(&list(), &answer(&["198.51.100.1", "127.0.0.2"])), Ok(listed));
        for clean in [answer(&["198.51.100.1"]), Answer::NoSuchName(Duration::ZERO), Answer::NoData(Duration::ZERO)] {
            assert_eq!(finding(&list(), &clean), Ok(Finding::Clean), "{clean:?}");
        }
        for failed in
            [Answer::Trouble("SERVFAIL".into()), answer(&["127.255.255.254"]), Answer::Mx(vec![], Duration::ZERO)]
        {
            assert!(finding(&list(), &failed).is_err(), "{failed:?}");
        }
    }

    #[test]
    fn a_list_may_count_some_answers_only() {
        let list =
            BlockList { answers: Some([vec![127..=127], vec![0..=0], vec![0..=0], vec![2..=3, 9..=9]]), ..list() };
        for (address, counts) in [("127.0.0.2", true), ("127.0.0.9", true), ("127.0.0.4", false), ("127.0.1.2", false)]
        {
            assert_eq!(finding(&list, &answer(&[address])) != Ok(Finding::Clean), counts, "{address}");
        }
    }

    #[test]
    fn private_addresses_are_known() {
        for private in ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.0.1", "100.64.0.1", "0.0.0.0"] {
            assert!(is_private(ip(private)), "{private}");
        }
        for private in ["::1", "::", "fe80::1", "fd00::1", "::ffff:10.0.0.1"] {
            assert!(is_private(ip(private)), "{private}");
        }
        for public in ["192.0.2.1", "100.128.0.1", "172.32.0.1", "2001:db8::1", "::ffff:192.0.2.1"] {
            assert!(!is_private(ip(public)), "{public}");
        }
    }
}
