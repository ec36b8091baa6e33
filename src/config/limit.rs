//! `[[provider]]` and `[[limit]]`: what a destination takes from one source.
//!
//! The providers that come along stand in `providers.toml`, beside this file, in the form of the configuration.

use std::fmt;
use std::time::Duration;

use super::read::{Placed, Reading, Section, number, text};
use super::units;
use super::validate::{to_u32, values};
use super::{Config, egress};

/// The providers that come along.
const SHIPPED: &str = include_str!("providers.toml");
/// Limits of one configuration: each is looked at for every new path.
const LIMITS_MAX: usize = 1024;
/// Providers of one configuration.
const PROVIDERS_MAX: usize = 256;
/// The largest number of a rate.
const RATE_NUMBER_MAX: u64 = 1_000_000;

/// So many in any stretch of that length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least 1.
    pub number: u32,
    /// In how long.
    pub per: Duration,
}

impl Rate {
    /// The same a second.
    pub fn per_s(self) -> f64 {
        f64::from(self.number) / self.per.as_secs_f64()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}s", self.number, self.per.as_secs())
    }
}

/// What one says: a provider, a limit, or `[delivery]`. What is absent is said elsewhere, or nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `connections_max`: at a time.
    pub connections_max: Option<u32>,
    /// `messages_per_connection_max`: then a new connection.
    pub messages_per_connection_max: Option<u32>,
    /// `connection_rate`.
    pub connection_rate: Option<Rate>,
    /// `message_rate`: transactions.
    pub message_rate: Option<Rate>,
}

/// A `[[provider]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// `name`.
    pub name: Box<str>,
    /// `mx`: names of its MX hosts, lower case, each with everything below it.
    pub mx: Vec<Box<str>>,
    /// What it takes from one source.
    pub limits: Limits,
}

impl Provider {
    /// Whether `host` (lower case) is one of its MX hosts.
    pub fn has(&self, host: &str) -> bool {
        self.mx.iter().any(|name| host.strip_suffix(&**name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
    }
}

/// Whose mail it is: a tenant's, of a campaign; empty: nobody's in particular, of none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Party<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// The campaign, one of the tenant's.
    pub campaign: &'a str,
}

/// A part of what goes out: to a domain, at a provider, from a source, of a party.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The provider that the domain is at, if any.
    pub provider: Option<&'a str>,
    /// The domain, lower case.
    pub domain: &'a str,
    /// The source.
    pub source: &'a str,
    /// Whose.
    pub party: Party<'a>,
}

/// For what a `[[limit]]` or a `[[reply]]` is: what is as it says, all of which must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// `provider`.
    pub provider: Option<Box<str>>,
    /// `source`.
    pub source: Option<Box<str>>,
    /// `domains` of recipients, as of a route; empty: all.
    pub domains: Vec<Box<str>>,
    /// `tenant`.
    pub tenant: Option<Box<str>>,
    /// `campaign`; without `tenant` every tenant's of that name, all of them together.
    pub campaign: Option<Box<str>>,
}

/// A `[[limit]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// For what.
    pub scope: Scope,
    /// What it says.
    pub limits: Limits,
}

impl Scope {
    /// Whether it is about a part of what goes to a destination, and holds beside what is said of the whole.
    pub fn is_partial(&self) -> bool {
        self.tenant.is_some() || self.campaign.is_some() || !self.domains.is_empty()
    }

    /// Whether it covers mail of `party` for `domain` (lower case) at `provider`, from whichever source.
    pub fn covers(&self, provider: Option<&str>, domain: &str, party: Party<'_>) -> bool {
        self.provider.as_deref().is_none_or(|name| provider == Some(name))
            && self.tenant.as_deref().is_none_or(|name| name == party.tenant)
            && self.campaign.as_deref().is_none_or(|name| name == party.campaign)
            && (self.domains.is_empty() || self.domains.iter().any(|pattern| units::matches(pattern, domain)))
    }

    /// Whether it is about mail from the source of that name.
    pub fn covers_source(&self, source: &str) -> bool {
        self.source.as_deref().is_none_or(|name| name == source)
    }
}

impl fmt::Display for Scope {
    /// Its conditions.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let domains = (!self.domains.is_empty()).then(|| self.domains.join(" "));
        let conditions = [
            ("provider", self.provider.as_deref()),
            ("source", self.source.as_deref()),
            ("domains", domains.as_deref()),
            ("tenant", self.tenant.as_deref()),
            ("campaign", self.campaign.as_deref()),
        ];
        let given = conditions.iter().filter_map(|(name, value)| value.map(|value| format!("{name} {value}")));
        let given: Vec<String> = given.collect();
        f.write_str(if given.is_empty() { "everything" } else { "" })?;
        f.write_str(&given.join(", "))
    }
}

impl Config {
    /// The provider of that name.
    pub fn provider(&self, name: &str) -> Option<&Provider> {
        self.providers.iter().find(|provider| &*provider.name == name)
    }
}

/// Reads every `[[provider]]`; those that come along follow where none has their name.
pub(super) fn providers(document: &mut Section<'_>, reading: &mut Reading) -> Vec<Provider> {
    let mut providers = read_providers(document, reading);
    let (mut shipped_reading, mut shipped) = Reading::begin(SHIPPED);
    for provider in read_providers(&mut shipped, &mut shipped_reading) {
        if providers.iter().all(|other| other.name != provider.name) {
            providers.push(provider);
        }
    }
    providers
}

fn read_providers(document: &mut Section<'_>, reading: &mut Reading) -> Vec<Provider> {
    let mut providers: Vec<Provider> = Vec::new();
    for mut section in document.sections("provider", reading) {
        let line = section.line;
        let name = section.required("name", reading, text(egress::name));
        let mx = section.required_list("mx", reading, text(units::domain));
        let limits = limits(&mut section, reading);
        section.end(reading);
        let (Some(name), Some(mx)) = (name, mx) else { continue };
        if providers.iter().any(|other| other.name == name.value) {
            reading.mistake(name.line, format!("provider.name: `{}` is there already", name.value));
        }
        if providers.len() == PROVIDERS_MAX {
            reading.mistake(line, format!("at most {PROVIDERS_MAX} providers"));
        }
        providers.push(Provider { name: name.value, mx: values(mx), limits });
    }
    providers
}

/// Reads every `[[limit]]`.
pub(super) fn all(
    document: &mut Section<'_>,
    providers: &[Provider],
    pools: &[std::sync::Arc<egress::Pool>],
    reading: &mut Reading,
) -> Vec<Limit> {
    let mut limits: Vec<Limit> = Vec::new();
    for section in document.sections("limit", reading) {
        let Placed { value: limit, line } = limit(section, providers, pools, reading);
        let scope = &limit.scope;
        if limit.limits == Limits::default() {
            let keys = "connections_max, messages_per_connection_max, connection_rate, message_rate";
            reading.mistake(line, format!("limit: it limits nothing: write one of {keys}"));
        }
        if limits.iter().any(|other| other.scope.to_string() == scope.to_string()) {
            reading.mistake(line, format!("limit: there is one for `{scope}` already: write both in one"));
        }
        if limits.len() == LIMITS_MAX {
            reading.mistake(line, format!("at most {LIMITS_MAX} limits"));
        }
        limits.push(limit);
    }
    limits
}

fn limit(
    mut section: Section<'_>,
    providers: &[Provider],
    pools: &[std::sync::Arc<egress::Pool>],
    reading: &mut Reading,
) -> Placed<Limit> {
    let line = section.line;
    let scope = scope(&mut section, providers, pools, reading);
    let limits = limits(&mut section, reading);
    section.end(reading);
    Placed { value: Limit { scope, limits }, line }
}

/// `provider`, `source`, `domains`, `tenant` and `campaign`.
pub(super) fn scope(
    section: &mut Section<'_>,
    providers: &[Provider],
    pools: &[std::sync::Arc<egress::Pool>],
    reading: &mut Reading,
) -> Scope {
    let known: Vec<&str> = providers.iter().map(|provider| &*provider.name).collect();
    let provider = section.optional(
        "provider",
        reading,
        text(|written| {
            let found = known.iter().find(|name| **name == written).map(|name| Box::from(*name));
            found.ok_or_else(|| format!("there is no provider `{written}`: known are {}", known.join(", ")))
        }),
    );
    let sources: Vec<&str> = pools.iter().flat_map(|pool| &pool.members).map(|member| &*member.source.name).collect();
    let source = section.optional(
        "source",
        reading,
        text(|written| {
            let found = sources.iter().find(|name| **name == written).map(|name| Box::from(*name));
            found.ok_or_else(|| format!("there is no [[source]] named `{written}`"))
        }),
    );
    let domains = section.list("domains", reading, text(units::pattern));
    let tenant = section.optional("tenant", reading, text(egress::name));
    let campaign = section.optional("campaign", reading, text(egress::name));
    Scope {
        provider: provider.map(|provider| provider.value),
        source: source.map(|source| source.value),
        domains: domains.map(|domains| values(domains.value)).unwrap_or_default(),
        tenant: tenant.map(|tenant| tenant.value),
        campaign: campaign.map(|campaign| campaign.value),
    }
}

fn limits(section: &mut Section<'_>, reading: &mut Reading) -> Limits {
    let connections = section.optional("connections_max", reading, number(1..=100_000));
    let messages = section.optional("messages_per_connection_max", reading, number(1..=1_000_000));
    let connection_rate = section.optional("connection_rate", reading, text(rate));
    let message_rate = section.optional("message_rate", reading, text(rate));
    Limits {
        connections_max: connections.map(to_u32),
        messages_per_connection_max: messages.map(to_u32),
        connection_rate: connection_rate.map(|rate| rate.value),
        message_rate: message_rate.map(|rate| rate.value),
    }
}

/// `100/1s`, `10/1h`.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    let wanted = || {
        format!("`{text}` is not a rate: write how many and in how long, such as \"100/1s\", \"10/1m\" or \"500/1h\"")
    };
    let (number, per) = text.split_once('/').ok_or_else(wanted)?;
    let number: u64 = number.parse().map_err(|_| wanted())?;
    let per = units::duration(per).map_err(|_| wanted())?;
    if number == 0 || number > RATE_NUMBER_MAX || per.is_zero() {
        return Err(format!("`{text}`: a rate is 1 to {RATE_NUMBER_MAX} in at least 1s"));
    }
    Ok(Rate { number: number as u32, per })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const BASE: &str = "[server]\nhostname = \"mta.example.org\"\ndata_dir = \"data\"\n[[listener]]\nkind = \"relay\"\n\
                        address = \"127.0.0.1:2525\"\ntls = \"off\"\nnetworks = [\"::1\"]\n";

    fn parse(more: &str) -> Result<Config, String> {
        let told = |mistakes: Vec<crate::config::Mistake>| {
            mistakes.into_iter().map(|mistake| mistake.text).collect::<String>()
        };
        Config::parse(&format!("{BASE}{more}"), Path::new("/nowhere")).map_err(told)
    }

    #[test]
    fn the_providers_that_come_along_are_sound() {
        let (mut reading, mut document) = Reading::begin(SHIPPED);
        let providers = read_providers(&mut document, &mut reading);
        document.end(&mut reading);
        assert!(reading.end().is_empty());
        for name in ["gmail", "outlook", "yahoo", "icloud", "gmx", "comcast"] {
            let provider = providers.iter().find(|provider| &*provider.name == name).expect(name);
            assert!(provider.limits.connections_max.is_some() && provider.limits.message_rate.is_some(), "{name}");
        }
        let of = |host: &str| providers.iter().find(|provider| provider.has(host)).map(|provider| &*provider.name);
        assert_eq!(of("aspmx.l.google.com"), Some("gmail"));
        assert_eq!(of("hotmail-com.olc.protection.outlook.com"), Some("outlook"));
        assert_eq!(of("example-org.mail.protection.outlook.com"), Some("office365"));
        assert_eq!(of("notgoogle.com"), None);
    }

    #[test]
    fn a_provider_of_the_configuration_takes_the_place_of_one_that_comes_along() {
        let config = parse("[[provider]]\nname = \"gmail\"\nmx = [\"mx.test\"]\nconnections_max = 3\n").expect("good");
        assert_eq!(config.provider("gmail").expect("it is there").limits.connections_max, Some(3));
        assert_eq!(config.providers.iter().filter(|provider| &*provider.name == "gmail").count(), 1);
        assert!(config.provider("yahoo").is_some());
    }

    #[test]
    fn mistakes_are_told_with_what_to_write() {
        let mistake = |more: &str| parse(more).expect_err("a mistake");
        assert!(mistake("[[limit]]\nprovider = \"gmial\"\nconnections_max = 1\n").contains("known are gmail"));
        assert!(mistake("[[limit]]\nsource = \"s1\"\nconnections_max = 1\n").contains("[[source]]"));
        assert!(mistake("[[limit]]\nprovider = \"gmail\"\n").contains("limits nothing"));
        for rate in ["10", "0/1s", "10/0s", "ten/1s", "10/s"] {
            let text = mistake(&format!("[[limit]]\nmessage_rate = \"{rate}\"\n"));
            assert!(text.contains("rate"), "{text}");
        }
        let twice =
            "[[limit]]\ntenant = \"a\"\nconnections_max = 1\n[[limit]]\ntenant = \"a\"\nmessage_rate = \"1/1s\"\n";
        assert!(mistake(twice).contains("already"));
        assert!(mistake("[[limit]]\ncampaign = \"a b\"\nconnections_max = 1\n").contains("campaign"));
        assert!(parse(&twice.replacen("[[limit]]", "[[limit]]\ncampaign = \"spring\"", 1)).is_ok(), "of a part of it");
    }
}
