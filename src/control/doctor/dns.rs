//! What DNS says of this host: its name, the way back from its addresses, the keys that sign.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Finding, error, fine, senders, warning};
use crate::config::{Config, Dkim};
use crate::control::lookup::{World, egress};
use crate::control::signing;
use crate::preflight::dkim::{self, Published, Says};
use crate::preflight::host::{self, WayBack, is_public};

/// Addresses that are looked at.
const ADDRESSES_MAX: usize = 40;

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let looked = World::visit(config, async |world| look(world, config).await);
    looked.unwrap_or_else(|why| vec![error(why, "set [dns] servers, or mend /etc/resolv.conf")])
}

async fn look(zone: &World, config: &Config) -> Vec<Finding> {
    let name = &*config.hostname;
    let mut findings: Vec<Finding> = full_name(name).into_iter().collect();
    let own = match zone.addresses(name).await {
        Ok(own) => own,
        Err(why) => {
            let remedy = "set [dns] servers to resolvers that answer; without DNS nothing is delivered by MX";
            findings.push(error(format!("DNS does not answer: {why}"), remedy));
            return findings;
        }
    };
    if findings.is_empty() && own.is_empty() {
        let remedy = "add an A record for it, or set [server] hostname to a name that has one";
        findings.push(error(format!("the EHLO name {name} has no address: many receivers refuse it"), remedy));
    }
    let egress = seen(config, &own);
    if egress.is_empty() {
        findings.push(warning(
            "no public address of this host is known",
            "check PTR and SPF for the address that you send from",
        ));
    }
    for (address, name) in &egress {
        findings.push(way_back(zone, *address, name).await);
    }
    let addresses: Vec<IpAddr> = egress.keys().copied().collect();
    findings.extend(senders::examine(zone, config, &addresses).await);
    for section in &config.dkim {
        findings.push(key(zone, section).await);
    }
    findings
}

/// What is wrong with an EHLO name that is none of the DNS (RFC 5321 §2.3.5).
fn full_name(name: &str) -> Option<Finding> {
    let remedy = "set [server] hostname to one like mta.example.org, or give this machine a full name";
    (!name.contains('.'))
        .then(|| error(format!("the EHLO name {name} is not a full name: many receivers refuse it"), remedy))
}

/// The public addresses that mail comes from, each with its EHLO name: the host's, and those of its sources.
fn seen<'a>(config: &'a Config, own: &[IpAddr]) -> BTreeMap<IpAddr, &'a str> {
    let mut seen: BTreeMap<IpAddr, &str> =
        egress(own).into_iter().map(|address| (address, &*config.hostname)).collect();
    for source in config.pools.iter().flat_map(|pool| &pool.members).map(|member| &member.source) {
        let name = source.ehlo.as_deref().unwrap_or(&config.hostname);
        seen.extend(source.addresses.iter().filter(|address| is_public(**address)).map(|address| (*address, name)));
    }
    seen.into_iter().take(ADDRESSES_MAX).collect()
}

/// Receivers go from the address to its name (PTR) and from there back to the address.
async fn way_back(zone: &World, address: IpAddr, name: &str) -> Finding {
    let remedy = format!("have whoever owns the address set its PTR record to {name}, and add {address} to {name}");
    match host::way_back(zone, address, name).await {
        WayBack::Whole => fine(format!("{address} is called {name}, and back")),
        WayBack::NoName => error(format!("{address} has no PTR record: large receivers refuse its mail"), remedy),
        WayBack::NoReturn(own) if own.eq_ignore_ascii_case(name) => {
            warning(format!("{address} is called {name}, which does not have that address"), remedy)
        }
        WayBack::NoReturn(other) | WayBack::OtherName(other) => {
            warning(format!("the PTR record of {address} is {other}, and the EHLO name {name}"), remedy)
        }
        WayBack::Unknown(why) => warning(format!("the PTR record of {address} cannot be read: {why}"), remedy),
    }
}

/// Whether DNS publishes a key that signs.
async fn key(zone: &World, section: &Dkim) -> Finding {
    let file = section.private_key.display();
    let record = signing::load(section).and_then(|signer| signer.record().map_err(|why| why.to_string()));
    let (name, wanted) = match record {
        Ok(record) => record,
        Err(why) => return error(format!("{file}: {why}"), "name a key that `ringpost dkim generate` made"),
    };
    let remedy = format!("publish this TXT record at {name}: {wanted}");
    match dkim::published(zone, &name, &wanted).await {
        Published::Unknown(why) => warning(format!("the DKIM record {name} cannot be read: {why}"), remedy),
        Published::Nothing => {
            error(format!("DNS has no DKIM record {name}: receivers cannot verify what is signed"), remedy)
        }
        Published::Says(Says::Publishes) => fine(format!("the DKIM record {name} publishes the key in {file}")),
        Published::Says(Says::Tests) => {
            warning(format!("the DKIM record {name} is for tests (t=y): it counts for nothing"), remedy)
        }
        Published::Says(Says::Another) => {
            error(format!("the DKIM record {name} publishes another key than that in {file}"), remedy)
        }
        Published::Says(Says::Revoked) => {
            error(format!("the DKIM record {name} publishes no key: the key is revoked"), remedy)
        }
        Published::Several => error(format!("{name} has several TXT records: receivers may take any of them"), remedy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_dot_is_no_full_name() {
        let Some(Finding::Error(what, remedy)) = full_name("mta") else { panic!("it is told") };
        assert!(
            what.starts_with("the EHLO name mta is not a full name") && remedy.contains("[server] hostname"),
            "{what}"
        );
        assert_eq!(full_name("mta.example.org"), None);
    }
}
