//! SPF (RFC 7208): what a domain says of an address that sends for it. Pure.
//!
//! Limits: [`LOOKUPS_MAX`] terms that ask DNS, [`VOIDS_MAX`] of them without an answer, [`HOSTS_MAX`] hosts of an `mx`
//! (RFC 7208 §4.6.4). `ptr`, `exists` and macros depend on what only a receiver knows: where one of them decides, the
//! outcome is unknown.

use std::net::IpAddr;
use std::pin::Pin;

use super::{Egress, Finding, Kind, Receiver, Rule, Zone};
use crate::config::Network;

const SPF: Rule = Rule { id: "spf", source: "RFC 7208 §4", asked_by: Receiver::ALL };
/// Terms of an evaluation that ask DNS.
pub const LOOKUPS_MAX: usize = 10;
/// Answers to them that hold nothing.
pub const VOIDS_MAX: usize = 2;
/// Hosts of an `mx`.
pub const HOSTS_MAX: usize = 10;

/// The outcome of an evaluation (RFC 7208 §2.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The address may send for the domain.
    Pass,
    /// It may not.
    Fail,
    /// It probably may not.
    SoftFail,
    /// The domain says nothing of it.
    Neutral,
    /// The domain has no record.
    None,
    /// It cannot be told; why.
    Unknown(String),
    /// The records are wrong; why.
    PermError(String),
}

/// What `domain` says of `address`.
pub async fn evaluate(zone: &impl Zone, domain: &str, address: IpAddr) -> Outcome {
    Evaluation { zone, address, lookups: 0, voids: 0 }.domain(domain.to_owned()).await.unwrap_or_else(|stopped| stopped)
}

pub(super) async fn examine(zone: &impl Zone, domain: &str, egress: &Egress) -> Finding {
    let address = egress.address;
    let remedy = how_to_name(domain, &[address]);
    match evaluate(zone, domain, address).await {
        Outcome::Pass => SPF.pass(format!("the SPF record of {domain} names {address}")),
        Outcome::Fail | Outcome::SoftFail | Outcome::Neutral => {
            egress.unless_guessed(SPF.fail(format!("the SPF record of {domain} does not name {address}"), remedy))
        }
        Outcome::None if egress.is_guessed => SPF.fail(
            format!("{domain}, of the reverse-path, has no SPF record"),
            "add one, which names the address from which it leaves",
        ),
        Outcome::None => {
            SPF.fail(format!("{domain}, of the reverse-path, has no SPF record"), how_to_begin(domain, &[address]))
        }
        Outcome::Unknown(why) => SPF.unknown(format!("SPF of {domain} for {address} cannot be told: {why}"), remedy),
        Outcome::PermError(why) => {
            SPF.fail(format!("the SPF record of {domain} is wrong: {why}"), "mend it: receivers take it for none")
        }
    }
}

/// What to do about a record of `domain` that does not name `addresses`.
pub fn how_to_name(domain: &str, addresses: &[IpAddr]) -> String {
    format!("add {} to the TXT record of {domain} that begins with v=spf1", blocks(addresses))
}

/// What to do where `domain` has no record: one for all `addresses`, as two count as none (RFC 7208 §4.5).
pub fn how_to_begin(domain: &str, addresses: &[IpAddr]) -> String {
    format!("add the TXT record `v=spf1 {} -all` to {domain}", blocks(addresses))
}

/// As a record names them.
fn blocks(addresses: &[IpAddr]) -> String {
    let block = |address: &IpAddr| format!("{}:{address}", if address.is_ipv4() { "ip4" } else { "ip6" });
    addresses.iter().map(block).collect::<Vec<_>>().join(" ")
}

/// Whether a TXT record is SPF's (RFC 7208 §4.5).
fn is_record(text: &str) -> bool {
    text.split(' ').next().is_some_and(|version| version.eq_ignore_ascii_case("v=spf1"))
}

/// A mechanism with what it is worth where it matches.
#[derive(Debug)]
struct Directive {
    worth: Outcome,
    mechanism: Mechanism,
}

#[derive(Debug)]
enum Mechanism {
    All,
    Block(Network),
    /// A host's addresses, each with the prefixes of both families.
    A(String, Prefixes),
    Mx(String, Prefixes),
    Include(String),
    /// What only a receiver can evaluate.
    Dark(String),
}

/// Leading bits that count, of IPv4 and of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Prefixes(u8, u8);

/// A record, every term understood.
#[derive(Debug, Default)]
struct Record {
    directives: Vec<Directive>,
    redirect: Option<String>,
}

impl Record {
    /// The record `text` of `domain`. An error is one of syntax, wherever it stands (RFC 7208 §4.6).
    fn parse(text: &str, domain: &str) -> Result<Record, String> {
        let mut record = Record::default();
        for term in text.split_ascii_whitespace().skip(1) {
            match term.split_once('=').filter(|(name, _)| !name.contains([':', '/'])) {
                Some((name, value)) if name.eq_ignore_ascii_case("redirect") => {
                    if value.is_empty() || record.redirect.replace(value.to_owned()).is_some() {
                        return Err(format!("`{term}` may stand there once, with a domain"));
                    }
                }
                Some(_) => {}
                None => record.directives.push(directive(term, domain)?),
            }
        }
        Ok(record)
    }
}

fn directive(term: &str, domain: &str) -> Result<Directive, String> {
    let (worth, rest) = match term.split_at_checked(1) {
        Some(("+", rest)) => (Outcome::Pass, rest),
        Some(("-", rest)) => (Outcome::Fail, rest),
        Some(("~", rest)) => (Outcome::SoftFail, rest),
        Some(("?", rest)) => (Outcome::Neutral, rest),
        _ => (Outcome::Pass, term),
    };
    let wrong = || format!("`{term}` cannot be understood");
    let (name, argument) = rest.split_at(rest.find([':', '/']).unwrap_or(rest.len()));
    let target = argument.strip_prefix(':');
    let mechanism = match (name.to_ascii_lowercase().as_str(), target) {
        ("all", None) if argument.is_empty() => Mechanism::All,
        (family @ ("ip4" | "ip6"), Some(text)) => {
            let network = block(text).filter(|block| block.address.is_ipv4() == (family == "ip4"));
            Mechanism::Block(network.ok_or_else(wrong)?)
        }
        (kind @ ("a" | "mx"), _) => {
            let (host, prefixes) = host_and_prefixes(argument, domain).ok_or_else(wrong)?;
            if host.contains('%') {
                Mechanism::Dark(term.to_owned())
            } else if kind == "a" {
                Mechanism::A(host, prefixes)
            } else {
                Mechanism::Mx(host, prefixes)
            }
        }
        ("include" | "exists", Some(target)) if target.contains('%') => Mechanism::Dark(term.to_owned()),
        ("include", Some(target)) if !target.is_empty() => Mechanism::Include(target.to_owned()),
        ("exists", Some(target)) if !target.is_empty() => Mechanism::Dark(term.to_owned()),
        ("ptr", _) if !argument.starts_with('/') => Mechanism::Dark(term.to_owned()),
        _ => return Err(wrong()),
    };
    Ok(Directive { worth, mechanism })
}

fn block(text: &str) -> Option<Network> {
    let (first, prefix) = text.split_once('/').map_or((text, None), |(first, prefix)| (first, Some(prefix)));
    let address: IpAddr = first.parse().ok()?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.map_or(Some(bits), |prefix| prefix.parse().ok())?;
    (prefix <= bits).then_some(Network { address, prefix })
}

/// `[:HOST][/4][//6]` (RFC 7208 §5.3).
fn host_and_prefixes(argument: &str, domain: &str) -> Option<(String, Prefixes)> {
    let (host, prefixes) = argument.split_at(argument.find('/').unwrap_or(argument.len()));
    let host = match host.strip_prefix(':') {
        Some("") => return None,
        Some(host) => host,
        None => domain,
    };
    let (four, six) = match prefixes.split_once("//") {
        Some((four, six)) => (four, six),
        None => (prefixes, "128"),
    };
    let four = four.strip_prefix('/').unwrap_or(if four.is_empty() { "32" } else { four });
    let prefixes = Prefixes(four.parse().ok()?, six.parse().ok()?);
    (prefixes.0 <= 32 && prefixes.1 <= 128).then(|| (host.to_owned(), prefixes))
}

/// One `check_host()` (RFC 7208 §4) with all that it includes.
struct Evaluation<'a, Z> {
    zone: &'a Z,
    address: IpAddr,
    lookups: usize,
    voids: usize,
}

/// `Err`: the whole evaluation ends so.
type Evaluated<'a> = Pin<Box<dyn Future<Output = Result<Outcome, Outcome>> + 'a>>;

impl<Z: Zone> Evaluation<'_, Z> {
    /// What `domain` says. It comes back here for every `include` and `redirect`, which [`LOOKUPS_MAX`] bounds.
    fn domain(&mut self, domain: String) -> Evaluated<'_> {
        Box::pin(async move {
            let texts = self.zone.ask(&domain, Kind::Txt).await.map_err(Outcome::Unknown)?;
            let mut records = texts.iter().filter(|text| is_record(text));
            let Some(text) = records.next() else { return Ok(Outcome::None) };
            if records.next().is_some() {
                return Err(Outcome::PermError(format!("{domain} has several SPF records")));
            }
            let record = Record::parse(text, &domain).map_err(Outcome::PermError)?;
            for directive in &record.directives {
                if self.matches(&directive.mechanism).await? {
                    return Ok(directive.worth.clone());
                }
            }
            match record.redirect {
                None => Ok(Outcome::Neutral),
                Some(target) if target.contains('%') => Err(Outcome::Unknown(format!("it redirects to {target}"))),
                Some(target) => {
                    self.count_lookup()?;
                    self.referred(target).await
                }
            }
        })
    }

    /// What another domain says to which a record refers, and which must have one (RFC 7208 §5.2, §6.1).
    async fn referred(&mut self, domain: String) -> Result<Outcome, Outcome> {
        match self.domain(domain.clone()).await? {
            Outcome::None => Err(Outcome::PermError(format!("{domain}, to which it refers, has no SPF record"))),
            outcome => Ok(outcome),
        }
    }

    async fn matches(&mut self, mechanism: &Mechanism) -> Result<bool, Outcome> {
        match mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Block(network) => Ok(network.contains(self.address)),
            Mechanism::Dark(term) => {
                Err(Outcome::Unknown(format!("`{term}` decides, which only a receiver can evaluate")))
            }
            Mechanism::Include(domain) => {
                self.count_lookup()?;
                Ok(self.referred(domain.clone()).await? == Outcome::Pass)
            }
            Mechanism::A(host, prefixes) => {
                self.count_lookup()?;
                self.has_address(host, *prefixes).await
            }
            Mechanism::Mx(domain, prefixes) => {
                self.count_lookup()?;
                let hosts = self.answers(domain, Kind::Mx).await?;
                if hosts.len() > HOSTS_MAX {
                    return Err(Outcome::PermError(format!("{domain} has more than {HOSTS_MAX} MX records")));
                }
                for host in hosts {
                    if self.has_address(&host, *prefixes).await? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    async fn has_address(&mut self, host: &str, prefixes: Prefixes) -> Result<bool, Outcome> {
        let (kind, prefix) = if self.address.is_ipv4() { (Kind::A, prefixes.0) } else { (Kind::Aaaa, prefixes.1) };
        let found = self.answers(host, kind).await?;
        let mut blocks = found.iter().filter_map(|text| Some(Network { address: text.parse().ok()?, prefix }));
        Ok(blocks.any(|block| block.contains(self.address)))
    }

    async fn answers(&mut self, name: &str, kind: Kind) -> Result<Vec<String>, Outcome> {
        let found = self.zone.ask(name.trim_end_matches('.'), kind).await.map_err(Outcome::Unknown)?;
        if found.is_empty() {
            self.voids += 1;
            if self.voids > VOIDS_MAX {
                return Err(Outcome::PermError(format!("more than {VOIDS_MAX} of its look-ups find nothing")));
            }
        }
        Ok(found)
    }

    fn count_lookup(&mut self) -> Result<(), Outcome> {
        self.lookups += 1;
        if self.lookups > LOOKUPS_MAX {
            return Err(Outcome::PermError(format!("it takes more than {LOOKUPS_MAX} look-ups")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::preflight::tests::World;

    /// What `example.org` says of 192.0.2.7 in a world of these records.
    fn says(records: &[(&str, Kind, &str)]) -> Outcome {
        block_on(evaluate(&World::of(records), "example.org", "192.0.2.7".parse().expect("an address")))
    }

    fn alone(record: &str) -> Outcome {
        says(&[("example.org", Kind::Txt, record)])
    }

    #[test]
    fn mechanisms_are_taken_in_their_order() {
        for (record, expected) in [
            ("v=spf1 ip4:192.0.2.7 -all", Outcome::Pass),
            ("v=spf1 +IP4:192.0.2.0/29 -all", Outcome::Pass),
            ("v=spf1 +all", Outcome::Pass),
            ("v=spf1 ip4:192.0.2.8/32 -all", Outcome::Fail),
            ("v=spf1 -ip4:192.0.2.7 +all", Outcome::Fail),
            ("v=spf1 ip6:2001:db8::/32 ~all", Outcome::SoftFail),
            ("v=spf1 ?all", Outcome::Neutral),
            ("v=spf1", Outcome::Neutral),
            ("V=SPF1 exp=why.example.org x=y -all", Outcome::Fail),
            ("v=spf10 +all", Outcome::None),
        ] {
            assert_eq!(alone(record), expected, "{record}");
        }
        for wrong in
            ["ip4:nonsense", "ip4:192.0.2.0/33", "ip6:192.0.2.1", "a/33", "a:", "all:x", "unknown", "redirect="]
        {
            assert!(matches!(alone(&format!("v=spf1 +all {wrong}")), Outcome::PermError(_)), "{wrong}");
        }
        for dark in ["ptr", "exists:%{i}.example.org", "include:%{d}"] {
            assert!(matches!(alone(&format!("v=spf1 {dark} -all")), Outcome::Unknown(_)), "{dark}");
            assert_eq!(alone(&format!("v=spf1 ip4:192.0.2.7 {dark} -all")), Outcome::Pass, "{dark} does not decide");
        }
    }

    #[test]
    fn hosts_and_other_records_are_followed() {
        let world = [
            ("example.org", Kind::A, "192.0.2.1"),
            ("example.org", Kind::Mx, "mx.example.org."),
            ("mx.example.org", Kind::A, "192.0.2.7"),
            ("_a.example.org", Kind::Txt, "v=spf1 ip4:192.0.2.7 -all"),
            ("_b.example.org", Kind::Txt, "v=spf1 ip4:192.0.2.9 -all"),
        ];
        for (record, expected) in [
            ("v=spf1 a -all", Outcome::Fail),
            ("v=spf1 a/29 -all", Outcome::Pass),
            ("v=spf1 a/29//64 -all", Outcome::Pass),
            ("v=spf1 a:mx.example.org -all", Outcome::Pass),
            ("v=spf1 mx -all", Outcome::Pass),
            ("v=spf1 include:_a.example.org -all", Outcome::Pass),
            ("v=spf1 include:_b.example.org ~all", Outcome::SoftFail),
            ("v=spf1 -include:_a.example.org +all", Outcome::Fail),
            ("v=spf1 redirect=_a.example.org", Outcome::Pass),
            ("v=spf1 redirect=_b.example.org", Outcome::Fail),
            ("v=spf1 ~all redirect=_a.example.org", Outcome::SoftFail),
        ] {
            let records: Vec<_> = world.iter().copied().chain([("example.org", Kind::Txt, record)]).collect();
            assert_eq!(says(&records), expected, "{record}");
        }
        for record in ["v=spf1 include:none.test +all", "v=spf1 redirect=none.test"] {
            assert!(matches!(alone(record), Outcome::PermError(_)), "{record}");
        }
        let several = [("example.org", Kind::Txt, "v=spf1 +all"), ("example.org", Kind::Txt, "v=spf1 -all")];
        assert!(matches!(says(&several), Outcome::PermError(_)));
    }

    #[test]
    fn lookups_are_bounded_and_trouble_is_unknown() {
        let many = |count: usize| format!("v=spf1 {}+all", "a:mx.example.org ".repeat(count));
        let of = |record: &str| says(&[("example.org", Kind::Txt, record), ("mx.example.org", Kind::A, "192.0.2.1")]);
        assert_eq!(of(&many(LOOKUPS_MAX)), Outcome::Pass);
        assert!(matches!(of(&many(LOOKUPS_MAX + 1)), Outcome::PermError(why) if why.contains("10 look-ups")));
        assert_eq!(alone("v=spf1 a a:x.test +all"), Outcome::Pass, "two may find nothing");
        assert!(matches!(alone("v=spf1 a a:x.test mx +all"), Outcome::PermError(why) if why.contains("find nothing")));
        assert!(matches!(alone("v=spf1 include:example.org +all"), Outcome::PermError(_)), "a circle ends");
        assert!(matches!(alone("v=spf1 a:trouble.test -all"), Outcome::Unknown(_)));
        assert!(matches!(alone("v=spf1 include:trouble.test -all"), Outcome::Unknown(_)));
        assert_eq!(alone("v=spf1 ip4:192.0.2.7 a:trouble.test -all"), Outcome::Pass);
        let mut crowd = vec![("example.org", Kind::Txt, "v=spf1 mx +all")];
        crowd.extend(vec![("example.org", Kind::Mx, "mx.example.org"); HOSTS_MAX + 1]);
        assert!(matches!(says(&crowd), Outcome::PermError(_)));
    }
}
