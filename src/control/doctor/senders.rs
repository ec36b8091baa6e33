//! What DNS says of the domains that mail is from: which addresses may send for them (SPF), what receivers are to do with
//! what does not prove its origin (DMARC), and whether what comes back finds the `bounce` listener (MX).

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Finding, error, fine, warning};
use crate::config::Config;
use crate::control::lookup::World;
use crate::preflight::spf::{self, Outcome};
use crate::preflight::{Kind, Verdict, Zone, dmarc};

/// Sender domains that are looked at.
const DOMAINS_MAX: usize = 20;

/// Looks at the domains of accounts' senders, and that of the return path; mail leaves from `addresses`.
pub(super) async fn examine(zone: &World, config: &Config, addresses: &[IpAddr]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let domains = domains(config);
    let return_path = config.return_path.as_ref().map(|section| &*section.domain);
    for domain in domains.iter().map(String::as_str).chain(return_path.filter(|domain| !domains.contains(*domain))) {
        findings.extend(sender_policy(zone, domain, addresses).await);
    }
    for domain in &domains {
        findings.push(receivers_policy(zone, domain).await);
    }
    if let Some(domain) = return_path {
        findings.push(way_of_bounces(zone, domain, &config.hostname, addresses).await);
    }
    findings
}

/// The domains of accounts' senders, as far as they are looked at.
pub(super) fn domains(config: &Config) -> BTreeSet<String> {
    let senders = config.accounts.iter().flat_map(|account| &account.senders);
    let domains = senders.filter_map(|sender| sender.rsplit_once('@')).map(|(_, domain)| domain.to_owned());
    domains.collect::<BTreeSet<_>>().into_iter().take(DOMAINS_MAX).collect()
}

/// Whether the one SPF record of `domain` names all `addresses`. What several of them lack is one remedy: a domain with two
/// records has none (RFC 7208 §4.5).
async fn sender_policy(zone: &impl Zone, domain: &str, addresses: &[IpAddr]) -> Vec<Finding> {
    let (mut named, mut unnamed) = (Vec::new(), Vec::new());
    for address in addresses {
        match spf::evaluate(zone, domain, *address).await {
            Outcome::Pass => named.push(*address),
            Outcome::Fail | Outcome::SoftFail | Outcome::Neutral => unnamed.push(*address),
            Outcome::None => {
                let what = format!("{domain} has no SPF record: large receivers want one");
                return vec![warning(what, spf::how_to_begin(domain, addresses))];
            }
            Outcome::PermError(why) => {
                let what = format!("the SPF record of {domain} is wrong: {why}");
                return vec![error(what, "mend it: receivers take it for none")];
            }
            Outcome::Unknown(why) => {
                let what = format!("whether the SPF record of {domain} names {address} cannot be told: {why}");
                return vec![warning(what, spf::how_to_name(domain, addresses))];
            }
        }
    }
    let good = (!named.is_empty()).then(|| fine(format!("the SPF record of {domain} names {}", list(&named))));
    let bad = (!unnamed.is_empty()).then(|| {
        error(
            format!("the SPF record of {domain} does not name {}", list(&unnamed)),
            spf::how_to_name(domain, &unnamed),
        )
    });
    good.into_iter().chain(bad).collect()
}

fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

async fn receivers_policy(zone: &impl Zone, domain: &str) -> Finding {
    let found = dmarc::policy(zone, domain).await;
    match found.verdict {
        Verdict::Pass => fine(found.what),
        _ => warning(format!("{}: large receivers want one of bulk senders", found.what), found.remedy),
    }
}

/// Whether what comes back to `domain` gets to this host, by its name or by one of its addresses.
async fn way_of_bounces(zone: &World, domain: &str, hostname: &str, addresses: &[IpAddr]) -> Finding {
    let remedy = format!("publish the MX record `10 {hostname}.` for {domain}, the domain of [return_path]");
    let exchangers = match zone.ask(domain, Kind::Mx).await {
        Ok(exchangers) => exchangers,
        Err(why) => return warning(format!("the MX record of {domain} cannot be read: {why}"), remedy),
    };
    let mut hosts: Vec<&str> = exchangers.iter().map(|host| host.trim_end_matches('.')).collect();
    if hosts.iter().any(|host| host.eq_ignore_ascii_case(hostname)) {
        return fine(format!("the MX record of {domain} leads here, so bounces come back"));
    }
    // Without an MX record its addresses count (RFC 5321 §5.1).
    let no_mx = hosts.is_empty();
    if no_mx {
        hosts.push(domain);
    }
    for host in &hosts {
        let found = zone.addresses(host).await.unwrap_or_default();
        if found.iter().any(|address| addresses.contains(address)) {
            return fine(format!("mail to {domain} gets here by the addresses of {host}, so bounces come back"));
        }
    }
    match no_mx {
        true => error(format!("{domain} has no MX record: no bounce or complaint comes back"), remedy),
        // A host before this one may hand them on.
        false => {
            let what =
                format!("the MX record of {domain} leads to {}, not here: do bounces come back?", hosts.join(", "));
            warning(what, remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A world in which one name has TXT records.
    struct Texts(&'static [&'static str]);

    impl Zone for Texts {
        async fn ask(&self, _: &str, kind: Kind) -> Result<Vec<String>, String> {
            Ok(if kind == Kind::Txt { self.0.iter().map(|text| (*text).to_owned()).collect() } else { Vec::new() })
        }
    }

    fn told(records: &'static [&'static str]) -> Vec<String> {
        let addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::1"].map(|text| text.parse().expect("an address"));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let found = runtime.block_on(sender_policy(&Texts(records), "a.test", &addresses));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn one_record_is_told_for_all_addresses() {
        let none = told(&["something else"]);
        assert_eq!(none.len(), 1);
        let whole = "add the TXT record `v=spf1 ip4:192.0.2.1 ip4:192.0.2.2 ip6:2001:db8::1 -all` to a.test";
        assert!(none[0].contains(whole), "{none:?}");
        let part = told(&["v=spf1 ip4:192.0.2.1 -all"]);
        assert_eq!(part[0], "ok       the SPF record of a.test names 192.0.2.1");
        assert!(
            part[1].starts_with("error    the SPF record of a.test does not name 192.0.2.2, 2001:db8::1"),
            "{part:?}"
        );
        assert!(
            part[1]
                .ends_with("-> add ip4:192.0.2.2 ip6:2001:db8::1 to the TXT record of a.test that begins with v=spf1")
        );
        assert_eq!(told(&["v=spf1 +all"]).len(), 1);
        assert!(told(&["v=spf1 nonsense:x"])[0].starts_with("error    the SPF record of a.test is wrong"));
    }
}
