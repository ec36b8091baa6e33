//! What the answer to a domain's MX question means (RFC 5321 §5.1, RFC 7505).

use std::collections::HashSet;

use super::{HOSTS_MAX, Host, Shape, Site, Unroutable, key_of};
use crate::assurance::Assurance;
use crate::smtp::reply::EnhancedCode;

/// Why there is no list of mail exchangers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing<'a> {
    /// The domain exists and has no MX record.
    NoData,
    /// The domain does not exist.
    NoSuchName,
    /// Nobody could tell; what went wrong.
    Trouble(&'a str),
}

/// The site that `domain` (lower case) resolves to. `exchangers` are preference and host name, lower case, without the
/// final dot; the root is "". `hostname` is our own name.
///
/// # Errors
/// * 5.1.10: the domain takes no mail (null MX, RFC 7505 §3).
/// * 5.1.2: the domain does not exist.
/// * 5.4.6: we are the domain's best mail exchanger, so its mail would come back to us.
/// * 4.4.3: DNS trouble; try again.
pub fn site_of_exchangers(
    domain: &str,
    exchangers: Result<&[(u16, Box<str>)], Missing<'_>>,
    hostname: &str,
    port: u16,
) -> Result<Site, Unroutable> {
    match exchangers {
        Ok(list) => site_of_list(domain, list, hostname, port),
        // RFC 5321 §5.1, "implicit MX": the domain itself, with preference 0.
        Err(Missing::NoData) => site_of_list(domain, &[(0, domain.into())], hostname, port),
        Err(Missing::NoSuchName) => {
            Err(Unroutable::new(EnhancedCode(5, 1, 2), format!("the domain {domain} does not exist")))
        }
        Err(Missing::Trouble(why)) => Err(Unroutable::new(
            EnhancedCode(4, 4, 3),
            format!("the mail exchangers of {domain} could not be looked up: {why}"),
        )),
    }
}

fn site_of_list(domain: &str, list: &[(u16, Box<str>)], hostname: &str, port: u16) -> Result<Site, Unroutable> {
    let mut hosts: Vec<Host> = list
        .iter()
        .filter(|(_, name)| !name.is_empty())
        .map(|(preference, name)| Host { name: name.clone(), preference: *preference })
        .collect();
    if hosts.is_empty() {
        return Err(Unroutable::new(EnhancedCode(5, 1, 10), format!("the domain {domain} accepts no mail (null MX)")));
    }
    hosts.sort_by(|a, b| a.preference.cmp(&b.preference).then_with(|| a.name.cmp(&b.name)));
    // A host listed twice counts once, at its best preference.
    let mut seen = HashSet::new();
    hosts.retain(|host| seen.insert(host.name.clone()));
    if let Some(ours) = hosts.iter().find(|host| host.name.eq_ignore_ascii_case(hostname)).map(|host| host.preference) {
        hosts.retain(|host| host.preference < ours);
    }
    if hosts.is_empty() {
        return Err(Unroutable::new(
            EnhancedCode(5, 4, 6),
            format!("mail for {domain} loops back: {hostname} is its best mail exchanger"),
        ));
    }
    hosts.truncate(HOSTS_MAX);
    Ok(Site { key: key_of(&hosts), hosts, port, assurance: Assurance::default(), shape: Shape::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: &str = "mta.ringpost.test";

    fn site(list: &[(u16, &str)]) -> Result<Site, Unroutable> {
        let list: Vec<(u16, Box<str>)> = list.iter().map(|&(p, n)| (p, n.into())).collect();
        site_of_exchangers("example.org", Ok(&list), US, 25)
    }

    fn names(site: &Site) -> Vec<(u16, &str)> {
        site.hosts.iter().map(|host| (host.preference, &*host.name)).collect()
    }

    #[test]
    fn hosts_come_by_preference_and_the_key_by_name() {
        let site = site(&[(20, "a.mx"), (10, "z.mx"), (10, "m.mx"), (30, "z.mx")]).expect("routable");
        assert_eq!(names(&site), [(10, "m.mx"), (10, "z.mx"), (20, "a.mx")]);
        assert_eq!(&*site.key, "a.mx,m.mx,z.mx");
        assert_eq!(site.port, 25);
    }

    #[test]
    fn the_key_is_the_same_for_every_domain_of_a_provider() {
        let one = site(&[(10, "a.mx"), (20, "b.mx")]).expect("routable");
        let other = site(&[(5, "b.mx"), (1, "a.mx")]).expect("routable");
        assert_eq!(one.key, other.key);
    }

    #[test]
    fn the_null_mx_means_no_mail_unless_it_is_not_alone() {
        let refused = site(&[(0, "")]).expect_err("null MX");
        assert_eq!(refused.status, EnhancedCode(5, 1, 10));
        // RFC 7505 §3 forbids others beside it; a domain that lists some wants mail.
        assert_eq!(names(&site(&[(0, ""), (10, "a.mx")]).expect("routable")), [(10, "a.mx")]);
    }

    #[test]
    fn without_mx_the_domain_itself_is_the_host() {
        let site = site_of_exchangers("example.org", Err(Missing::NoData), US, 2525).expect("routable");
        assert_eq!(names(&site), [(0, "example.org")]);
        assert_eq!((&*site.key, site.port), ("example.org", 2525));
    }

    #[test]
    fn a_domain_that_does_not_exist_fails_and_trouble_defers() {
        let gone = site_of_exchangers("nope.test", Err(Missing::NoSuchName), US, 25).expect_err("NXDOMAIN");
        assert_eq!((gone.status, gone.is_transient()), (EnhancedCode(5, 1, 2), false));
        let trouble = site_of_exchangers("slow.test", Err(Missing::Trouble("SERVFAIL")), US, 25).expect_err("trouble");
        assert_eq!((trouble.status, trouble.is_transient()), (EnhancedCode(4, 4, 3), true));
        assert!(trouble.text.contains("SERVFAIL"), "{trouble}");
    }

    #[test]
    fn we_and_whatever_is_not_better_than_us_are_dropped() {
        let left = site(&[(5, "best.mx"), (10, "MTA.ringpost.test"), (10, "equal.mx"), (20, "worse.mx")]);
        assert_eq!(names(&left.expect("routable")), [(5, "best.mx")]);
        let looped = site(&[(10, US), (10, "equal.mx"), (20, "worse.mx")]).expect_err("loop");
        assert_eq!(looped.status, EnhancedCode(5, 4, 6));
        let implicit = site_of_exchangers(US, Err(Missing::NoData), US, 25).expect_err("loop");
        assert_eq!(implicit.status, EnhancedCode(5, 4, 6));
    }

    #[test]
    fn a_long_list_is_cut_at_its_worst_preferences() {
        let list: Vec<(u16, Box<str>)> = (0..100u16).rev().map(|n| (n, format!("h{n:02}.mx").into())).collect();
        let site = site_of_exchangers("example.org", Ok(&list), US, 25).expect("routable");
        assert_eq!(site.hosts.len(), HOSTS_MAX);
        assert_eq!(&*site.hosts[HOSTS_MAX - 1].name, "h19.mx");
    }
}
