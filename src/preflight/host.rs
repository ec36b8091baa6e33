//! The way back: from an address to its name and from there to the address (forward-confirmed reverse DNS). Pure.

use std::net::IpAddr;

use super::{Egress, Finding, GMAIL_AND_YAHOO, Kind, Rule, Zone};
use crate::config::{Config, Pool};

const PTR: Rule = Rule { id: "ptr", source: "RFC 5321 §4.1.4", asked_by: GMAIL_AND_YAHOO };
/// Names of an address that are looked at.
pub const NAMES_MAX: usize = 10;

/// How the name of an address stands to the EHLO name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WayBack {
    /// The address has the EHLO name, which has the address.
    Whole,
    /// It has another name, which has the address.
    OtherName(String),
    /// It has names, none of which has the address.
    NoReturn(String),
    /// It has no name.
    NoName,
    /// DNS does not answer; why.
    Unknown(String),
}

/// Goes from `address` to its names and back.
pub async fn way_back(zone: &impl Zone, address: IpAddr, ehlo: &str) -> WayBack {
    let mut names = match zone.ask(&arpa(address), Kind::Ptr).await {
        Ok(names) => names,
        Err(why) => return WayBack::Unknown(why),
    };
    names.iter_mut().for_each(|name| *name = name.trim_end_matches('.').to_ascii_lowercase());
    // The EHLO name first: where it leads back, no other matters.
    names.sort_by_key(|name| !name.eq_ignore_ascii_case(ehlo));
    let Some(first) = names.first().cloned() else { return WayBack::NoName };
    let kind = if address.is_ipv4() { Kind::A } else { Kind::Aaaa };
    let mut trouble = None;
    for name in names.into_iter().take(NAMES_MAX) {
        match zone.ask(&name, kind).await {
            Ok(found) if found.iter().any(|text| text.parse() == Ok(address)) => {
                return if name.eq_ignore_ascii_case(ehlo) { WayBack::Whole } else { WayBack::OtherName(name) };
            }
            Ok(_) => {}
            Err(why) => trouble = Some(why),
        }
    }
    trouble.map_or(WayBack::NoReturn(first), WayBack::Unknown)
}

pub(super) async fn examine(zone: &impl Zone, egress: &Egress) -> Finding {
    let Egress { address, ehlo, .. } = egress;
    let remedy = format!("have whoever owns the address set its PTR record to {ehlo}, and add {address} to {ehlo}");
    match way_back(zone, *address, ehlo).await {
        WayBack::Whole => PTR.pass(format!("{address} is called {ehlo}, and back")),
        WayBack::OtherName(name) => {
            let what = format!("{address} is called {name}, and back, but the EHLO name is {ehlo}");
            egress.unless_guessed(PTR.warn(what, remedy))
        }
        WayBack::NoReturn(name) => {
            let what = format!("{address} is called {name}, which does not have that address");
            egress.unless_guessed(PTR.fail(what, remedy))
        }
        WayBack::NoName => egress.unless_guessed(PTR.fail(format!("{address} has no PTR record"), remedy)),
        WayBack::Unknown(why) => PTR.unknown(format!("the name of {address} cannot be found out: {why}"), "try again"),
    }
}

/// The addresses from which what takes `pool` leaves: of a source without addresses those that the host takes for the way to
/// the world (`chosen`), as far as they are known, and those of our name (`named`), which are a guess.
pub fn egress(config: &Config, pool: &Pool, chosen: &[IpAddr], named: &[IpAddr]) -> Vec<Egress> {
    let mut egress = Vec::new();
    for member in &pool.members {
        let source = &member.source;
        let ehlo = source.ehlo.as_ref().unwrap_or(&config.hostname);
        let (certain, guessed) =
            if source.addresses.is_empty() { (chosen, named) } else { (&*source.addresses, &[][..]) };
        let guessed = guessed.iter().filter(|address| !certain.contains(address)).map(|address| (*address, true));
        let all = certain.iter().map(|address| (*address, false)).chain(guessed);
        let seen = all.filter(|(address, _)| is_public(*address));
        egress.extend(seen.map(|(address, is_guessed)| Egress { address, ehlo: ehlo.clone(), is_guessed }));
    }
    egress
}

/// Whether the world can see an address.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_private() && !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unique_local() && !address.is_unicast_link_local(),
    }
}

/// The name under which the PTR records of an address stand (RFC 1035 §3.5, RFC 3596 §2.5).
fn arpa(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let nibbles = (0..32).map(|n| format!("{:x}.", address.to_bits() >> (4 * n) & 15)).collect::<String>();
            format!("{nibbles}ip6.arpa")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_looked_at() {
        let public = |address: &str| is_public(address.parse().expect("an address"));
        assert!(public("198.51.100.7") && public("2a01::1"));
        assert!(!public("10.0.0.1") && !public("127.0.0.1") && !public("fe80::1") && !public("fd00::1"));
    }

    #[test]
    fn addresses_are_certain_that_a_source_names_or_the_host_takes() {
        let text = "[server]\nhostname = 'mta.test'\ndata_dir = 'data'\n[[listener]]\nkind = 'relay'\n\
                    address = '127.0.0.1:2525'\ntls = 'off'\nnetworks = ['127.0.0.0/8']\n\
                    [[source]]\nname = 'one'\naddresses = ['192.0.2.1']\n";
        let config = Config::parse(text, std::path::Path::new("/nowhere")).expect("good");
        let [chosen, named] = ["192.0.2.7", "192.0.2.9"].map(|text| text.parse::<IpAddr>().expect("an address"));
        let of = |source: Option<&str>, taken: &[IpAddr]| {
            let found = egress(&config, &config.pool_for(source, ""), taken, &[chosen, named]);
            found.iter().map(|egress| (egress.address, egress.is_guessed)).collect::<Vec<_>>()
        };
        assert_eq!(of(Some("one"), &[chosen]), [("192.0.2.1".parse().expect("an address"), false)]);
        assert_eq!(of(None, &[chosen]), [(chosen, false), (named, true)]);
        assert_eq!(of(None, &[]), [(chosen, true), (named, true)]);
    }

    #[test]
    fn the_way_back_has_its_name() {
        assert_eq!(arpa("192.0.2.7".parse().expect("an address")), "7.2.0.192.in-addr.arpa");
        let name = arpa("2001:db8::1".parse().expect("an address"));
        assert!(name.starts_with("1.0.0.0.") && name.ends_with(".8.b.d.0.1.0.0.2.ip6.arpa"), "{name}");
    }
}
