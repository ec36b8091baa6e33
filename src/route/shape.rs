//! Whose limits hold at a site: its provider's, and those of the configuration for all or a part of what goes there.
//!
//! Limits are counted for each source in groups: the sites of one provider are one, and so is every set of hosts that is no
//! provider's, whatever their sessions must prove. What a `[[limit]]` says of a tenant, a campaign or of domains counts besides,
//! for these alone; so mail that such a limit is about has connections of its own.

use super::{Host, Site};
use crate::config::limit::{Limits, Party, Rate};
use crate::config::{Config, Limit, Provider};

/// Whose limits hold at a site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shape {
    /// The provider that the site is one of.
    pub provider: Option<Box<str>>,
    /// The limits of the configuration that are about this part of what goes there, by their conditions.
    pub parts: Vec<Box<str>>,
}

/// A limit, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said<T> {
    /// The limit.
    pub value: T,
    /// Who, for people.
    pub by: Box<str>,
}

/// The limits of one group, or of a part of it, for one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The group, and its part if it is one.
    pub name: Box<str>,
    /// Connections at a time.
    pub connections_max: Option<Said<u32>>,
    /// Transactions of one connection.
    pub messages_per_connection_max: Option<Said<u32>>,
    /// New connections.
    pub connection_rate: Option<Said<Rate>>,
    /// Transactions.
    pub message_rate: Option<Said<Rate>>,
}

impl Site {
    /// The site for mail of `party` to `domain`, as `config` shapes it.
    #[must_use]
    pub fn shaped(mut self, config: &Config, domain: &str, party: Party<'_>) -> Site {
        let provider = self.hosts.first().and_then(|best| provider_of(config, best));
        self.shape.provider = provider.map(|provider| provider.name.clone());
        let named = self.shape.provider.as_deref();
        let parts = config
            .path_limits
            .iter()
            .filter(|limit| limit.scope.is_partial() && limit.scope.covers(named, domain, party));
        self.shape.parts = parts.map(|limit| limit.scope.to_string().into()).collect();
        if !self.shape.parts.is_empty() {
            self.key = format!("{} ({})", self.key, self.shape.parts.join("; ")).into();
        }
        self
    }

    /// The group of sites whose limits are counted together.
    pub fn group(&self) -> Box<str> {
        match &self.shape.provider {
            Some(provider) => provider.clone(),
            None => format!("{}:{}", super::key_of(&self.hosts), self.port).into(),
        }
    }
}

fn provider_of<'a>(config: &'a Config, host: &Host) -> Option<&'a Provider> {
    config.providers.iter().find(|provider| provider.has(&host.name))
}

/// The limits that hold from the source of that name to `site`: those of its group, then those of its parts.
pub fn effective(config: &Config, source: &str, site: &Site) -> Vec<Effective> {
    let group = site.group();
    let provider = site.shape.provider.as_deref();
    let of_source = || config.path_limits.iter().filter(|limit| limit.scope.covers_source(source));
    let said = |limit: &Limit| (format!("[[limit]] for {}", limit.scope), limit.limits);
    let of_group = of_source()
        .filter(|limit| !limit.scope.is_partial() && limit.scope.covers(provider, "", Party::default()))
        .map(said);
    let of_provider = provider.and_then(|name| config.provider(name));
    let of_provider = of_provider.map(|provider| (format!("[[provider]] {}", provider.name), provider.limits));
    let delivery = Limits {
        connections_max: Some(config.delivery.connections_max),
        messages_per_connection_max: Some(config.delivery.messages_per_connection_max),
        ..Limits::default()
    };
    let whole = of_group.chain(of_provider).chain([("[delivery]".to_owned(), delivery)]);
    let mut all = vec![first_of(group.clone(), whole)];
    for part in &site.shape.parts {
        let found = of_source().filter(|limit| limit.scope.is_partial() && limit.scope.to_string() == **part).map(said);
        all.push(first_of(format!("{group} ({part})").into(), found));
    }
    all
}

/// Of everything what is said first.
fn first_of(name: Box<str>, sayings: impl Iterator<Item = (String, Limits)>) -> Effective {
    let mut all = Effective {
        name,
        connections_max: None,
        messages_per_connection_max: None,
        connection_rate: None,
        message_rate: None,
    };
    for (by, limits) in sayings {
        take(&mut all.connections_max, limits.connections_max, &by);
        take(&mut all.messages_per_connection_max, limits.messages_per_connection_max, &by);
        take(&mut all.connection_rate, limits.connection_rate, &by);
        take(&mut all.message_rate, limits.message_rate, &by);
    }
    all
}

fn take<T>(place: &mut Option<Said<T>>, value: Option<T>, by: &str) {
    if place.is_none() {
        *place = value.map(|value| Said { value, by: by.into() });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::site_of_exchangers;
    use super::*;

    const CONFIG: &str = "[server]\nhostname = \"mta.example.org\"\ndata_dir = \"data\"\n[[listener]]\nkind = \"relay\"\n\
        address = \"127.0.0.1:2525\"\ntls = \"off\"\nnetworks = [\"::1\"]\n[[source]]\nname = \"s1\"\n\
        addresses = [\"192.0.2.1\"]\n[[limit]]\nprovider = \"gmail\"\nsource = \"s1\"\nconnections_max = 3\n\
        [[limit]]\nprovider = \"gmail\"\nconnections_max = 7\nmessage_rate = \"5/1s\"\n\
        [[limit]]\ntenant = \"acme\"\nmessage_rate = \"10/1h\"\n[[limit]]\ndomains = [\"*.slow.test\"]\nconnections_max = 1\n";

    fn config() -> Config {
        Config::parse(CONFIG, Path::new("/nowhere")).expect("good")
    }

    fn site(domain: &str, hosts: &[&str], tenant: &str) -> Site {
        let hosts: Vec<(u16, Box<str>)> = hosts.iter().map(|host| (10, (*host).into())).collect();
        let site = site_of_exchangers(domain, Ok(&hosts), "mta.example.org", 25).expect("routable");
        site.shaped(&config(), domain, Party { tenant, campaign: "" })
    }

    #[test]
    fn the_domains_of_a_provider_are_one_group_whatever_their_hosts() {
        let own = site("gmail.com", &["gmail-smtp-in.l.google.com", "alt1.gmail-smtp-in.l.google.com"], "");
        let hosted = site("example.org", &["aspmx.l.google.com"], "");
        assert!(own.key != hosted.key && own.group() == hosted.group());
        assert!(own.shape.parts.is_empty());
        let elsewhere = site("one.test", &["mx.one.test"], "");
        assert_eq!((elsewhere.shape.provider.as_deref(), &*elsewhere.group()), (None, "mx.one.test:25"));
    }

    #[test]
    fn of_each_limit_what_is_said_first_counts() {
        let (config, gmail) = (config(), site("gmail.com", &["aspmx.l.google.com"], ""));
        let from = |source: &str| effective(&config, source, &gmail).swap_remove(0);
        let said = |limit: Option<Said<u32>>| limit.map(|said| (said.value, said.by.into_string()));
        let by = |text: &str| text.to_owned();
        assert_eq!(said(from("s1").connections_max), Some((3, by("[[limit]] for provider gmail, source s1"))));
        assert_eq!(said(from("").connections_max), Some((7, by("[[limit]] for provider gmail"))));
        assert_eq!(said(from("").messages_per_connection_max), Some((50, by("[[provider]] gmail"))));
        assert_eq!(from("").message_rate.map(|said| said.value.number), Some(5));
        let usual = effective(&config, "", &site("one.test", &["mx.one.test"], "")).swap_remove(0);
        assert_eq!(said(usual.connections_max), Some((20, by("[delivery]"))));
        assert_eq!((usual.connection_rate, usual.message_rate), (None, None));
    }

    #[test]
    fn a_part_is_limited_besides_the_whole() {
        let part = site("a.slow.test", &["aspmx.l.google.com"], "acme");
        assert_eq!(part.shape.parts.len(), 2);
        let limits = effective(&config(), "", &part);
        assert_eq!(limits.len(), 3);
        assert_eq!(limits[1].message_rate.as_ref().map(|said| said.value.number), Some(10));
        assert_eq!(limits[1].connections_max, None);
        assert_eq!(limits[2].connections_max.as_ref().map(|said| said.value), Some(1));
        assert_eq!(part.group(), site("gmail.com", &["aspmx.l.google.com"], "").group());
    }

    #[test]
    fn a_campaign_is_a_tenants_where_its_limit_names_one_and_else_any_of_that_name() {
        let limits = "[[limit]]\ntenant = \"acme\"\ncampaign = \"spring\"\nconnections_max = 2\n\
                      [[limit]]\ncampaign = \"spring\"\nmessage_rate = \"1/1m\"\n";
        let config = Config::parse(&format!("{CONFIG}{limits}"), Path::new("/nowhere")).expect("good");
        let names = |tenant, campaign| {
            let site = site_of_exchangers("one.test", Ok(&[(10, "mx.one.test".into())]), "mta.example.org", 25);
            let site = site.expect("routable").shaped(&config, "one.test", Party { tenant, campaign });
            effective(&config, "", &site)
                .split_off(1)
                .into_iter()
                .map(|part| part.name.into_string())
                .collect::<Vec<_>>()
        };
        let group = |part: &str| format!("mx.one.test:25 ({part})");
        let of_all = group("campaign spring");
        let of_acme = ["tenant acme", "tenant acme, campaign spring"].map(group);
        assert_eq!(names("acme", "spring"), [of_acme.to_vec(), vec![of_all.clone()]].concat());
        assert_eq!(names("other", "spring"), [&*of_all], "counted together with those of acme's");
        assert_eq!(names("", "spring"), [of_all]);
        assert_eq!(names("acme", "autumn"), of_acme[..1]);
        assert!(names("other", "autumn").is_empty());
    }
}
