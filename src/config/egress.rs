//! `[[source]]` and `[[pool]]`: from where mail goes out, and who chooses.
//!
//! Which pool a message takes: the one that it asks for itself (a header, or its account or listener), else its
//! recipient's route's, else `[delivery] pool`, else the host as it is. A pool that is no longer configured counts as
//! none.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::preflight::{AT_SUBMISSION, AtSubmission};
use super::read::{Placed, Reading, Section, number, text, truth, unknown, word};
use super::{Config, WarmUp, shaping, units};

/// Sources of one configuration: more addresses than a host has.
const SOURCES_MAX: usize = 1024;
/// Sources of one pool.
const MEMBERS_MAX: usize = 256;
/// The largest weight.
const WEIGHT_MAX: u64 = 10_000;
/// Octets of the name of a source, a pool, a tenant or a campaign.
pub const NAME_BYTES_MAX: usize = 64;

/// A `[[source]]`: a local address with its EHLO name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// `name`; empty: the host as it is.
    pub name: Box<str>,
    /// `addresses`, at most one of each family; empty: the kernel chooses.
    pub addresses: Vec<IpAddr>,
    /// `ehlo`; absent: `[server] hostname`.
    pub ehlo: Option<Box<str>>,
    /// `proxy`: connections go through this HAProxy, which is told the address by its PROXY protocol, version 2.
    pub proxy: Option<SocketAddr>,
    /// `warm_up_from` and `warm_up_plan`.
    pub warm_up: Option<WarmUp>,
}

impl Source {
    /// The address from which `remote` is reached. `Err`: the source has addresses, and none of that family.
    ///
    /// # Errors
    /// The family that it lacks, for people.
    pub fn address_for(&self, remote: IpAddr) -> Result<Option<IpAddr>, &'static str> {
        if self.addresses.is_empty() {
            return Ok(None);
        }
        let found = self.addresses.iter().find(|address| address.is_ipv4() == remote.is_ipv4());
        found.copied().map(Some).ok_or(if remote.is_ipv4() { "IPv4" } else { "IPv6" })
    }
}

/// A source of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The source.
    pub source: Arc<Source>,
    /// Its share of the messages, as against the others' weights; at least 1.
    pub weight: u32,
}

/// A `[[pool]]`, or one source that is used as a pool of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// `name`; empty: the host as it is.
    pub name: Box<str>,
    /// `sources`, at least one.
    pub members: Vec<Member>,
}

impl Pool {
    /// The host as it is.
    pub fn host() -> Pool {
        Pool { name: "".into(), members: vec![Member { source: Arc::default(), weight: 1 }] }
    }

    /// The member that message `number` of a shard prefers among those that are `open`: always the same one, and over a run
    /// of messages each member as often as its weight says, without bunches. `None`: none is open.
    pub fn prefers(&self, number: u64, is_open: impl Fn(usize) -> bool) -> Option<usize> {
        // Multiples of the golden ratio spread evenly, whatever stretch of them is looked at.
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        let open = || self.members.iter().enumerate().filter(|(member, _)| is_open(*member));
        let total: u64 = open().map(|(_, member)| u64::from(member.weight)).sum();
        let place = (u128::from(number.wrapping_mul(GOLDEN)) * u128::from(total)) >> 64;
        let mut passed = 0;
        open().map(|(member, of)| (member, u128::from(of.weight))).find_map(|(member, weight)| {
            passed += weight;
            (place < passed).then_some(member)
        })
    }
}

/// What holds for the messages of an account or a relay listener: their way out, how much of what they say of it themselves
/// is believed, and whether they are looked at before they leave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standard {
    /// `pool`.
    pub pool: Option<Box<str>>,
    /// `tenant`.
    pub tenant: Option<Box<str>>,
    /// `routing_headers`: X-Virtual-MTA, X-Tenant and X-Campaign count.
    pub headers: bool,
    /// `preflight`; absent: as `[preflight]` has it.
    pub preflight: Option<AtSubmission>,
}

impl Config {
    /// The pool or single source of that name.
    pub fn pool(&self, name: &str) -> Option<&Arc<Pool>> {
        self.pools.iter().find(|pool| &*pool.name == name)
    }

    /// The pool of mail for `domain` (lower case) that asks for `asked`.
    pub fn pool_for(&self, asked: Option<&str>, domain: &str) -> Arc<Pool> {
        let of_route = || self.routes.iter().find(|route| route.covers(domain))?.pool.as_deref();
        let found = asked.and_then(|name| self.pool(name)).or_else(|| self.pool(of_route()?));
        found.or_else(|| self.pool(self.delivery.pool.as_deref()?)).unwrap_or(&self.host_pool).clone()
    }
}

/// The name of a source, a pool, a tenant or a campaign.
///
/// # Errors
/// What it must be instead.
pub fn name(text: &str) -> Result<Box<str>, String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "-_.@:+/".contains(c);
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.chars().all(is_good) {
        return Err(format!(
            "`{text}` is not a name: write 1 to {NAME_BYTES_MAX} letters, digits and any of - _ . @ : + /"
        ));
    }
    Ok(text.into())
}

/// Reads `[[source]]` and `[[pool]]`: every pool, then every source as a pool of its own.
pub(super) fn pools(document: &mut Section<'_>, reading: &mut Reading) -> Vec<Arc<Pool>> {
    let mut lines: HashMap<Box<str>, usize> = HashMap::new();
    let mut sources: Vec<Arc<Source>> = Vec::new();
    for section in document.sections("source", reading) {
        let Some(Placed { value: source, line }) = source(section, reading) else { continue };
        is_new("source", &source.name, line, &mut lines, reading);
        if sources.len() == SOURCES_MAX {
            reading.mistake(line, format!("at most {SOURCES_MAX} sources"));
        }
        sources.push(Arc::new(source));
    }
    let mut pools = Vec::new();
    for section in document.sections("pool", reading) {
        let Some(Placed { value: pool, line }) = pool(section, &sources, reading) else { continue };
        is_new("pool", &pool.name, line, &mut lines, reading);
        pools.push(Arc::new(pool));
    }
    let alone = |source: Arc<Source>| Pool { name: source.name.clone(), members: vec![Member { source, weight: 1 }] };
    pools.extend(sources.into_iter().map(|source| Arc::new(alone(source))));
    pools
}

/// X-Virtual-MTA names either, so a source and a pool share their names.
fn is_new(key: &str, name: &str, line: usize, lines: &mut HashMap<Box<str>, usize>, reading: &mut Reading) {
    if let Some(before) = lines.insert(name.into(), line) {
        reading.mistake(line, format!("{key}.name: `{name}` is a source or a pool already, in line {before}"));
    }
}

/// One `[[source]]`; its line is that of its name.
fn source(mut section: Section<'_>, reading: &mut Reading) -> Option<Placed<Source>> {
    let name = section.required("name", reading, text(name));
    let addresses = section.required_list("addresses", reading, text(address));
    let ehlo = section.optional("ehlo", reading, text(units::hostname));
    let proxy = section.optional("proxy", reading, text(units::socket_address));
    let warm_up = shaping::warm_up(&mut section, reading);
    section.end(reading);
    let addresses = addresses?;
    for (n, address) in addresses.iter().enumerate() {
        if addresses[..n].iter().any(|other| other.value.is_ipv4() == address.value.is_ipv4()) {
            let text = "source.addresses: one IPv4 and one IPv6 address at most: further ones are further sources";
            reading.mistake(address.line, text);
        }
    }
    let name = name?;
    let value = Source {
        name: name.value,
        addresses: addresses.into_iter().map(|address| address.value).collect(),
        ehlo: ehlo.map(|ehlo| ehlo.value),
        proxy: proxy.map(|proxy| proxy.value),
        warm_up,
    };
    Some(Placed { value, line: name.line })
}

fn address(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(address) if !address.is_unspecified() && !address.is_multicast() => Ok(address.to_canonical()),
        _ => Err(format!("`{text}` is not an address of one host: write it like \"192.0.2.10\" or \"2001:db8::10\"")),
    }
}

/// One `[[pool]]`; its line is that of its name.
fn pool(mut section: Section<'_>, sources: &[Arc<Source>], reading: &mut Reading) -> Option<Placed<Pool>> {
    let line = section.line;
    let name = section.required("name", reading, text(name));
    let mut members: Vec<Member> = Vec::new();
    for mut member in section.sections("sources", reading) {
        let source = member.required("source", reading, text(self::name));
        let weight = member.optional("weight", reading, |value| {
            number(1..=WEIGHT_MAX)(value)
                .map_err(|why| format!("{why}; a source without a share is left out of the list"))
        });
        member.end(reading);
        let Some(Placed { value: wanted, line }) = source else { continue };
        match sources.iter().find(|source| source.name == wanted) {
            None => {
                let known: Vec<&str> = sources.iter().map(|source| &*source.name).collect();
                reading.mistake(line, format!("pool.sources: {}", unknown("[[source]]", &wanted, &known)));
            }
            Some(source) if members.iter().any(|member| member.source == *source) => {
                reading.mistake(line, format!("pool.sources: `{wanted}` stands there twice: use weight"));
            }
            Some(source) => {
                let weight = weight.and_then(|weight| u32::try_from(weight.value).ok()).unwrap_or(1);
                members.push(Member { source: source.clone(), weight });
            }
        }
    }
    section.end(reading);
    if members.is_empty() {
        reading.missing(line, "pool.sources is missing: write sources = [{ source = \"NAME\", weight = 1 }]");
    } else if members.len() > MEMBERS_MAX {
        reading.mistake(line, format!("pool.sources: at most {MEMBERS_MAX}"));
    }
    let name = name?;
    Some(Placed { value: Pool { name: name.value, members }, line: name.line })
}

/// `pool`, `tenant`, `routing_headers` and `preflight` of an account or a listener, and the line of the first of them.
pub(super) fn standard(
    section: &mut Section<'_>,
    pools: &[Arc<Pool>],
    reading: &mut Reading,
) -> (Standard, Option<usize>) {
    let pool = section.optional("pool", reading, one_of(pools));
    let tenant = section.optional("tenant", reading, text(name));
    let headers = section.optional("routing_headers", reading, truth);
    let preflight = section.optional("preflight", reading, word(AT_SUBMISSION));
    let names = [pool.as_ref().map(|pool| pool.line), tenant.as_ref().map(|tenant| tenant.line)];
    let choices = [headers.as_ref().map(|headers| headers.line), preflight.as_ref().map(|preflight| preflight.line)];
    let line = names.into_iter().chain(choices).flatten().min();
    let standard = Standard {
        pool: pool.map(|pool| pool.value),
        tenant: tenant.map(|tenant| tenant.value),
        headers: headers.is_some_and(|headers| headers.value),
        preflight: preflight.map(|preflight| preflight.value),
    };
    (standard, line)
}

/// The name of one of `pools`.
pub(super) fn one_of(
    pools: &[Arc<Pool>],
) -> impl for<'a, 't> Fn(&'a toml::de::DeValue<'t>) -> Result<Box<str>, String> {
    let names: Vec<Box<str>> = pools.iter().map(|pool| pool.name.clone()).collect();
    text(move |written| {
        let found = names.iter().find(|name| &***name == written);
        found.cloned().ok_or_else(|| {
            let known: Vec<&str> = names.iter().map(|name| &**name).collect();
            unknown("[[pool]] or [[source]]", written, &known)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(weights: &[u32]) -> Pool {
        let member = |(number, weight): (usize, &u32)| Member {
            source: Arc::new(Source { name: number.to_string().into(), ..Source::default() }),
            weight: *weight,
        };
        Pool { name: "pool".into(), members: weights.iter().enumerate().map(member).collect() }
    }

    #[test]
    fn every_stretch_of_messages_is_shared_by_weight() {
        let pool = pool(&[1, 3, 6]);
        for start in [1, 1_000, 77_777] {
            let mut counts = [0_u32; 3];
            (start..start + 100).for_each(|number| counts[pool.prefers(number, |_| true).expect("one")] += 1);
            for (count, share) in counts.iter().zip([10, 30, 60]) {
                assert!(count.abs_diff(share) <= 2, "{counts:?} from {start}");
            }
        }
    }

    #[test]
    fn a_message_keeps_its_source_and_others_share_those_of_a_closed_one() {
        let pool = pool(&[1, 1, 2]);
        assert!((0..50).all(|number| pool.prefers(number, |_| true) == pool.prefers(number, |_| true)));
        let mut counts = [0_u32; 3];
        (0..300).for_each(|number| counts[pool.prefers(number, |member| member != 2).expect("one")] += 1);
        assert!(counts[0].abs_diff(150) <= 2 && counts[2] == 0, "{counts:?}");
        assert_eq!(pool.prefers(7, |_| false), None);
        assert_eq!(Pool::host().prefers(7, |_| true), Some(0));
    }

    #[test]
    fn a_source_reaches_its_own_families_only() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let source = Source { addresses: vec![ip("192.0.2.1")], ..Source::default() };
        assert_eq!(source.address_for(ip("198.51.100.1")), Ok(Some(ip("192.0.2.1"))));
        assert_eq!(source.address_for(ip("2001:db8::1")), Err("IPv6"));
        assert_eq!(Source::default().address_for(ip("2001:db8::1")), Ok(None));
    }

    #[test]
    fn names_are_words() {
        assert!(name("eu-1/bulk").is_ok());
        for bad in ["", "a b", "ü", "a\u{1f}b", &"x".repeat(65)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
