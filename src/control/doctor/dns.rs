//! What DNS says of this host: its name, the way back from its address, the SPF records of its senders, the keys that sign
//! for them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{RData, RecordType};

use super::spf::Says;
use super::{Finding, dkim, error, fine, spf, warning};
use crate::config::{Config, Dkim};
use crate::control::{resolver, signing};

/// How long one try of a question may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// Sender domains that are looked at.
const DOMAINS_MAX: usize = 20;
/// Addresses for documentation (RFC 5737, 3849): the way to them is the way to the world, and nothing is sent.
const AFAR: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 25),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), 25),
];

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let looked = runtime.map_err(|why| why.to_string()).and_then(|runtime| {
        let resolver = {
            let _inside = runtime.enter();
            resolver::build(&config.dns_servers, PATIENCE)?
        };
        Ok(runtime.block_on(look(&resolver, config)))
    });
    looked.unwrap_or_else(|why| vec![error(why, "set [dns] servers, or mend /etc/resolv.conf")])
}

async fn look(resolver: &TokioResolver, config: &Config) -> Vec<Finding> {
    let name = &*config.hostname;
    let own = match addresses(resolver, name).await {
        Ok(own) => own,
        Err(why) => {
            let remedy = "set [dns] servers to resolvers that answer; without DNS nothing is delivered by MX";
            return vec![error(format!("DNS does not answer: {why}"), remedy)];
        }
    };
    let mut findings = Vec::new();
    if !name.contains('.') {
        let remedy = "set [server] hostname to one like mta.example.org, or give this machine a full name";
        findings.push(error(format!("the EHLO name {name} is not a full name: many receivers refuse it"), remedy));
    } else if own.is_empty() {
        let remedy = "add an A record for it, or set [server] hostname to a name that has one";
        findings.push(error(format!("the EHLO name {name} has no address: many receivers refuse it"), remedy));
    }
    let egress = egress(&own);
    if egress.is_empty() {
        findings.push(warning(
            "no public address of this host is known",
            "check PTR and SPF for the address that you send from",
        ));
    }
    for address in &egress {
        findings.push(way_back(resolver, *address, name, &own).await);
    }
    for domain in sender_domains(config) {
        for address in &egress {
            findings.push(sender(resolver, &domain, *address).await);
        }
    }
    for section in &config.dkim {
        findings.push(key(resolver, section).await);
    }
    findings
}

/// The addresses that the world sees: this host's, and (behind NAT these alone) those of its name.
fn egress(own: &[IpAddr]) -> Vec<IpAddr> {
    let way = |afar: &SocketAddr| {
        let any: IpAddr = if afar.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect(afar).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    let seen: BTreeSet<IpAddr> = AFAR.iter().filter_map(way).chain(own.iter().copied()).collect();
    seen.into_iter().filter(|address| is_public(*address)).collect()
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_private() && !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unique_local() && !address.is_unicast_link_local(),
    }
}

/// Receivers go from the address to its name (PTR) and from there back to the address.
async fn way_back(resolver: &TokioResolver, address: IpAddr, name: &str, own: &[IpAddr]) -> Finding {
    let names = texts(resolver, &arpa(address), RecordType::PTR).await.unwrap_or_default();
    let is_name = |found: &String| found.trim_end_matches('.').eq_ignore_ascii_case(name);
    let remedy = format!("have whoever owns the address set its PTR record to {name}, and add {address} to {name}");
    match names.first() {
        None => error(format!("{address} has no PTR record: large receivers refuse its mail"), remedy),
        Some(other) if !names.iter().any(is_name) => {
            warning(format!("the PTR record of {address} is {other}, and the EHLO name {name}"), remedy)
        }
        Some(_) if !own.contains(&address) => {
            warning(format!("{address} is called {name}, which does not have that address"), remedy)
        }
        Some(_) => fine(format!("{address} is called {name}, and back")),
    }
}

/// The name under which the PTR records of an address stand (RFC 1035 §3.5, RFC 3596 §2.5).
fn arpa(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
        }
        IpAddr::V6(address) => {
            let nibbles = (0..32).map(|n| format!("{:x}.", address.to_bits() >> (4 * n) & 15)).collect::<String>();
            format!("{nibbles}ip6.arpa.")
        }
    }
}

async fn sender(resolver: &TokioResolver, domain: &str, address: IpAddr) -> Finding {
    let block = if address.is_ipv4() { "ip4" } else { "ip6" };
    let remedy = format!("add {block}:{address} to the TXT record of {domain} that begins with v=spf1");
    let texts = match texts(resolver, &format!("{domain}."), RecordType::TXT).await {
        Ok(texts) => texts,
        Err(why) => return warning(format!("the SPF record of {domain} cannot be read: {why}"), remedy),
    };
    let records: Vec<&String> = texts.iter().filter(|text| spf::is_record(text)).collect();
    match records[..] {
        [] => warning(
            format!("{domain} has no SPF record: large receivers want one"),
            format!("add the TXT record `v=spf1 {block}:{address} -all` to {domain}"),
        ),
        [record] => match spf::says(record, address) {
            Says::Names => fine(format!("the SPF record of {domain} names {address}")),
            Says::NamesNot => error(format!("the SPF record of {domain} does not name {address}"), remedy),
            Says::Refers => warning(
                format!("the SPF record of {domain} refers to others: {record}"),
                format!("make sure that one of them names {address}"),
            ),
        },
        _ => error(format!("{domain} has several SPF records, which is an error (RFC 7208 §3.2)"), "leave one"),
    }
}

/// Whether DNS publishes a key that signs.
async fn key(resolver: &TokioResolver, section: &Dkim) -> Finding {
    let file = section.private_key.display();
    let record = signing::load(section).and_then(|signer| signer.record().map_err(|why| why.to_string()));
    let (name, wanted) = match record {
        Ok(record) => record,
        Err(why) => return error(format!("{file}: {why}"), "name a key that `ringpost dkim generate` made"),
    };
    let remedy = format!("publish this TXT record at {name}: {wanted}");
    let records = match texts(resolver, &format!("{name}."), RecordType::TXT).await {
        Ok(records) => records,
        Err(why) => return warning(format!("the DKIM record {name} cannot be read: {why}"), remedy),
    };
    let says: Vec<dkim::Says> = records.iter().map(|record| dkim::says(record, &wanted)).collect();
    match says[..] {
        [] => error(format!("DNS has no DKIM record {name}: receivers cannot verify what is signed"), remedy),
        [dkim::Says::Publishes] => fine(format!("the DKIM record {name} publishes the key in {file}")),
        [dkim::Says::Tests] => {
            warning(format!("the DKIM record {name} is for tests (t=y): it counts for nothing"), remedy)
        }
        [dkim::Says::Another] => {
            error(format!("the DKIM record {name} publishes another key than that in {file}"), remedy)
        }
        [dkim::Says::Revoked] => error(format!("the DKIM record {name} publishes no key: the key is revoked"), remedy),
        _ => error(format!("{name} has several TXT records: receivers may take any of them"), remedy),
    }
}

fn sender_domains(config: &Config) -> Vec<String> {
    let senders = config.accounts.iter().flat_map(|account| &account.senders);
    let domains = senders.filter_map(|sender| sender.rsplit_once('@')).map(|(_, domain)| domain.to_owned());
    domains.collect::<BTreeSet<_>>().into_iter().take(DOMAINS_MAX).collect()
}

async fn addresses(resolver: &TokioResolver, name: &str) -> Result<Vec<IpAddr>, String> {
    let mut found = Vec::new();
    for kind in [RecordType::A, RecordType::AAAA] {
        found.extend(
            texts(resolver, &format!("{name}."), kind).await?.iter().filter_map(|text| text.parse::<IpAddr>().ok()),
        );
    }
    Ok(found)
}

/// The records of one kind as text; none where there are none. The error is for people.
async fn texts(resolver: &TokioResolver, name: &str, kind: RecordType) -> Result<Vec<String>, String> {
    match resolver.lookup(name, kind).await {
        Ok(found) => Ok(found
            .answers()
            .iter()
            .filter(|record| record.record_type() == kind)
            .map(|record| text(&record.data))
            .collect()),
        Err(why) if why.is_no_records_found() => Ok(Vec::new()),
        Err(why) => Err(why.to_string()),
    }
}

fn text(data: &RData) -> String {
    match data {
        RData::TXT(parts) => parts.txt_data.iter().map(|part| String::from_utf8_lossy(part)).collect(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_has_its_name() {
        assert_eq!(arpa("192.0.2.7".parse().expect("an address")), "7.2.0.192.in-addr.arpa.");
        let name = arpa("2001:db8::1".parse().expect("an address"));
        assert!(name.starts_with("1.0.0.0.") && name.ends_with(".8.b.d.0.1.0.0.2.ip6.arpa."), "{name}");
    }

    #[test]
    fn only_public_addresses_are_looked_at() {
        let public = |address: &str| is_public(address.parse().expect("an address"));
        assert!(public("198.51.100.7") && public("2a01::1"));
        assert!(!public("10.0.0.1") && !public("127.0.0.1") && !public("fe80::1") && !public("fd00::1"));
    }
}
