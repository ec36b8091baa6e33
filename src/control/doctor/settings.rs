//! What the configuration says that will not come to what it seems to say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Finding, senders, warning};
use crate::config::Config;
use crate::control::signing;

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = shared_addresses(config);
    findings.extend(unsigned(config));
    findings
}

/// Destinations count by address, limits and warm-ups by source.
fn shared_addresses(config: &Config) -> Vec<Finding> {
    let mut names: BTreeMap<IpAddr, BTreeSet<&str>> = BTreeMap::new();
    for source in config.pools.iter().flat_map(|pool| &pool.members).map(|member| &*member.source) {
        for address in &source.addresses {
            names.entry(*address).or_default().insert(&source.name);
        }
    }
    let shared = names.into_iter().filter(|(_, names)| names.len() > 1);
    let told = shared.map(|(address, names)| {
        let names: Vec<&str> = names.into_iter().collect();
        let what = format!(
            "the sources {} send from the same address {address}: each has limits and a warm-up of its own, a destination \
             sees the sum",
            names.join(", ")
        );
        warning(what, "write one [[source]] for an address; weights, tenants and limits do not need a second one")
    });
    told.collect()
}

/// What goes out under a domain for which no key signs.
fn unsigned(config: &Config) -> Vec<Finding> {
    // A key that cannot be used is told where its record is.
    let Ok(signers) = signing::of(config) else { return Vec::new() };
    let is_unsigned = |domain: &str| signers.of_domain(domain).is_none();
    let generate = |domain: &str| format!("ringpost dkim generate {domain} --selector NAME --out FILE");
    let mut findings: Vec<Finding> = Vec::new();
    for domain in senders::domains(config).iter().filter(|domain| is_unsigned(domain)) {
        findings.push(warning(
            format!("no [[dkim]] key signs mail from {domain}: large receivers want a signature"),
            format!("`{}`, unless it is signed before it comes here", generate(domain)),
        ));
    }
    let reports = config.tls_reports.as_ref().and_then(|section| section.from.rsplit_once('@'));
    if let Some((_, domain)) = reports.filter(|(_, domain)| is_unsigned(domain)) {
        findings.push(warning(
            format!("no [[dkim]] key signs for {domain}, the domain of [tls_reports] from: reports go by HTTPS alone"),
            format!("`{}`, or write a from whose domain has a key (RFC 8460 §3)", generate(domain)),
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const BASE: &str = "[server]\nhostname = 'mta.test'\ndata_dir = 'data'\n[[listener]]\nkind = 'relay'\n\
                        address = '127.0.0.1:2525'\ntls = 'off'\nnetworks = ['127.0.0.0/8']\n";

    fn told(more: &str) -> String {
        let config = Config::parse(&format!("{BASE}{more}"), Path::new("/nowhere")).expect("good");
        examine(&config).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn two_sources_of_one_address_are_told() {
        let sources = |second: &str| {
            format!(
                "[[source]]\nname = 'a'\naddresses = ['192.0.2.1']\n[[source]]\nname = 'b'\naddresses = ['{second}']\n\
                 [[pool]]\nname = 'p'\nsources = [{{ source = 'a' }}, {{ source = 'b' }}]\n"
            )
        };
        let same = told(&sources("192.0.2.1"));
        assert!(same.starts_with("warning  the sources a, b send from the same address 192.0.2.1"), "{same}");
        assert_eq!(told(&sources("192.0.2.2")), "");
    }

    #[test]
    fn reports_that_nothing_signs_are_told() {
        let reports = told("[tls_reports]\norganization = 'Us'\ncontact = 'us'\nfrom = 'tls@a.test'\n");
        assert!(reports.contains("signs for a.test, the domain of [tls_reports] from"), "{reports}");
        assert!(reports.contains("`ringpost dkim generate a.test --selector NAME --out FILE`"), "{reports}");
    }
}
