//! Lanes: what is queued for a domain, apart by whose it is and from where it goes out. Each takes its turn on its own, is
//! left alone on its own, and can be suspended on its own. Pure.
//!
//! A lane's name is its domain, for the mail of nobody in particular; otherwise domain, pool, tenant, campaign
//! and what is asked of TLS, with a character between them that none of them has.

use std::borrow::Cow;
use std::fmt;

use crate::config::limit::Party;
use crate::message::{Demand, Origin};

const SEPARATOR: char = '\u{1f}';

/// The parts of a lane's name; empty: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lane<'a> {
    /// The recipients' domain, lower case.
    pub domain: &'a str,
    /// The pool that the messages ask for.
    pub pool: &'a str,
    /// Whose they are.
    pub party: Party<'a>,
    /// What the messages ask of their way.
    pub demand: Demand,
}

impl<'a> Lane<'a> {
    /// The parts of a name that [`name`] gave.
    pub fn of(name: &'a str) -> Lane<'a> {
        let mut parts = name.split(SEPARATOR);
        let mut part = || parts.next().unwrap_or_default();
        let (domain, pool, tenant, campaign) = (part(), part(), part(), part());
        let party = Party { tenant, campaign };
        Lane { domain, pool, party, demand: Demand::named(part()).unwrap_or_default() }
    }
}

/// The name of the lane of messages to `domain`.
pub fn name<'a>(domain: Cow<'a, str>, origin: &Origin) -> Cow<'a, str> {
    let Origin { pool, tenant, campaign, demand } = origin;
    if pool.is_none() && tenant.is_none() && campaign.is_none() && *demand == Demand::Usual {
        return domain;
    }
    let part = |part: &Option<Box<str>>| part.as_deref().unwrap_or_default().to_owned();
    let parts = [domain.into_owned(), part(pool), part(tenant), part(campaign), demand.name().to_owned()];
    // A lane whose messages ask for nothing is named without that.
    let parts = if *demand == Demand::Usual { &parts[..4] } else { &parts };
    parts.join(&SEPARATOR.to_string()).into()
}

/// What an operator has suspended, or wants to: everything, a tenant, or a campaign. Displayed as conditions are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All delivery.
    All,
    /// That of a tenant.
    Tenant(Box<str>),
    /// That of a campaign.
    Campaign(Box<str>),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::All => f.write_str("all"),
            Scope::Tenant(tenant) => write!(f, "tenant {tenant}"),
            Scope::Campaign(campaign) => write!(f, "campaign {campaign}"),
        }
    }
}

impl Scope {
    /// The command that resumes it.
    pub fn resumed_by(&self) -> String {
        let option = match self {
            Scope::All => "--all".to_owned(),
            Scope::Tenant(tenant) => format!("--tenant {}", quoted(tenant)),
            Scope::Campaign(campaign) => format!("--campaign {}", quoted(campaign)),
        };
        format!("ringpost queue resume {option}")
    }

    /// Whether the lane of that name is in it.
    pub fn covers(&self, lane: &str) -> bool {
        match self {
            Scope::All => true,
            Scope::Tenant(tenant) => *Lane::of(lane).party.tenant == **tenant,
            Scope::Campaign(campaign) => *Lane::of(lane).party.campaign == **campaign,
        }
    }
}

/// A name as a shell takes it for one word.
fn quoted(name: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@/:+=".contains(c);
    if !name.is_empty() && name.chars().all(is_plain) {
        return name.into();
    }
    format!("'{}'", name.replace('\'', "'\\''")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(pool: &str, tenant: &str, campaign: &str) -> Origin {
        let part = |part: &str| (!part.is_empty()).then(|| part.into());
        Origin { pool: part(pool), tenant: part(tenant), campaign: part(campaign), demand: Demand::Usual }
    }

    #[test]
    fn a_name_tells_its_parts_again() {
        for (pool, tenant, campaign) in [("", "", ""), ("bulk", "", ""), ("", "acme", "spring"), ("a", "b", "c")] {
            let name = name("one.test".into(), &origin(pool, tenant, campaign));
            let party = Party { tenant, campaign };
            assert_eq!(Lane::of(&name), Lane { domain: "one.test", pool, party, demand: Demand::Usual });
        }
        assert!(matches!(name("one.test".into(), &Origin::default()), Cow::Borrowed("one.test")), "it costs nothing");
        let asking = name("one.test".into(), &Origin { demand: Demand::Required, ..Origin::default() });
        assert_eq!((Lane::of(&asking).demand, Lane::of(&asking).domain), (Demand::Required, "one.test"));
    }

    #[test]
    fn a_scope_covers_its_own() {
        let lane = name("one.test".into(), &origin("", "acme", "spring"));
        assert!(Scope::Tenant("acme".into()).covers(&lane) && Scope::Campaign("spring".into()).covers(&lane));
        assert!(!Scope::Tenant("spring".into()).covers(&lane) && !Scope::Tenant("acme".into()).covers("one.test"));
        assert!(Scope::All.covers("one.test"));
    }

    #[test]
    fn what_resumes_a_scope_can_be_pasted_into_a_shell() {
        let resumed_by = |tenant: &str| Scope::Tenant(tenant.into()).resumed_by();
        assert_eq!(resumed_by("acme"), "ringpost queue resume --tenant acme");
        assert_eq!(resumed_by("Jo's $HOME"), "ringpost queue resume --tenant 'Jo'\\''s $HOME'");
        assert_eq!(Scope::All.resumed_by(), "ringpost queue resume --all");
    }
}
