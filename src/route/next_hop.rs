//! What a domain's mail does before any DNS question: a configured route, an address literal, or the MX look-up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Site, Unroutable};
use crate::assurance::Assurance;
use crate::config::Route;
use crate::smtp::reply::EnhancedCode;

/// The first step of routing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// The destination is known.
    Site(Site),
    /// Ask for the mail exchangers of this domain (lower case), then call
    /// [`site_of_exchangers`](super::site_of_exchangers).
    AskExchangers(Box<str>),
}

/// Where mail for `domain` (as the forward-path wrote it) goes. `port` and `usual` are those of deliveries without a route
/// that says otherwise.
///
/// # Errors
/// An address literal that names no address (RFC 5321 §4.1.3): 5.1.2.
pub fn next_hop(routes: &[Route], domain: &str, port: u16, usual: &Assurance) -> Result<NextHop, Unroutable> {
    let domain = domain.trim_end_matches('.').to_lowercase();
    if let Some(route) = routes.iter().find(|route| route.covers(&domain))
        && let Some(host) = &route.host
    {
        let assurance =
            route.tls.map(|level| Assurance::of_route(level, route.ca_file.as_ref().map(|file| file.path.clone())));
        let site = Site::of_one_host(host, route.port);
        return Ok(NextHop::Site(site.assured(assurance.unwrap_or_else(|| usual.clone()), usual)));
    }
    if let Some(literal) = domain.strip_prefix('[') {
        return match literal.strip_suffix(']').and_then(literal_address) {
            Some(address) => {
                let site = Site::of_one_host(&address.to_string(), port);
                Ok(NextHop::Site(site.assured(usual.clone(), usual)))
            }
            None => Err(Unroutable::new(
                EnhancedCode(5, 1, 2),
                format!("the address literal {domain} names no IPv4 or IPv6 address"),
            )),
        };
    }
    Ok(NextHop::AskExchangers(domain.into()))
}

/// `192.0.2.1` or `IPv6:2001:db8::1`, in lower case (RFC 5321 §4.1.3).
fn literal_address(literal: &str) -> Option<IpAddr> {
    match literal.strip_prefix("ipv6:") {
        Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => literal.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{NamedFile, TlsLevel};

    fn route_to(host: &str) -> Route {
        Route { domains: Vec::new(), host: Some(host.into()), port: 25, tls: None, ca_file: None, pool: None }
    }

    fn routes() -> Vec<Route> {
        let route = |domains: &[&str], host: &str, port| Route {
            domains: domains.iter().map(|&d| d.into()).collect(),
            port,
            ..route_to(host)
        };
        vec![
            route(&["sink.test", "*.sink.test"], "127.0.0.1", 2526),
            route(&["other.test"], "Relay.Example", 25),
            route(&["deep.other.test", "*.other.test"], "later.example", 25),
        ]
    }

    fn hop_of(routes: &[Route], domain: &str, port: u16) -> Result<NextHop, Unroutable> {
        next_hop(routes, domain, port, &Assurance::default())
    }

    fn site_key(domain: &str) -> Box<str> {
        match hop_of(&routes(), domain, 25) {
            Ok(NextHop::Site(site)) => site.key,
            other => panic!("{domain}: {other:?}"),
        }
    }

    #[test]
    fn a_route_matches_exactly_or_below_and_the_first_one_wins() {
        assert_eq!(&*site_key("sink.test"), "[127.0.0.1]:2526");
        assert_eq!(&*site_key("a.b.SINK.test."), "[127.0.0.1]:2526");
        assert_eq!(&*site_key("other.test"), "[relay.example]:25");
        assert_eq!(&*site_key("deep.other.test"), "[later.example]:25");
        for domain in ["notsink.test", "sink.test.example", "test"] {
            assert_eq!(hop_of(&routes(), domain, 25), Ok(NextHop::AskExchangers(domain.into())), "{domain}");
        }
    }

    #[test]
    fn a_star_takes_everything_also_address_literals() {
        let all = [Route { domains: vec!["*".into()], port: 587, ..route_to("smart.example") }];
        for domain in ["x.test", "[192.0.2.1]"] {
            let Ok(NextHop::Site(site)) = hop_of(&all, domain, 25) else { panic!("{domain}") };
            assert_eq!((&*site.key, site.port), ("[smart.example]:587", 587));
        }
    }

    #[test]
    fn address_literals_are_their_own_next_hop() {
        let hop = |domain| {
            hop_of(&[], domain, 2525).map(|hop| match hop {
                NextHop::Site(site) => (site.key.to_string(), site.hosts[0].name.to_string(), site.port),
                NextHop::AskExchangers(domain) => panic!("asks for {domain}"),
            })
        };
        assert_eq!(hop("[192.0.2.1]"), Ok(("[192.0.2.1]:2525".into(), "192.0.2.1".into(), 2525)));
        assert_eq!(hop("[IPv6:2001:DB8::1]"), Ok(("[2001:db8::1]:2525".into(), "2001:db8::1".into(), 2525)));
        for bad in ["[192.0.2]", "[2001:db8::1]", "[IPv6:192.0.2.1]", "[x25:1]", "[192.0.2.1"] {
            let refused = hop(bad).expect_err(bad);
            assert_eq!(refused.status, EnhancedCode(5, 1, 2), "{bad}");
            assert!(!refused.is_transient());
        }
    }

    #[test]
    fn what_a_route_demands_makes_a_destination_of_its_own() {
        let usual = Assurance::default();
        let keys =
            [None, Some(TlsLevel::Opportunistic), Some(TlsLevel::Required), Some(TlsLevel::Verified)].map(|tls| {
                let ca_file =
                    (tls == Some(TlsLevel::Verified)).then(|| NamedFile { line: 1, path: Path::new("/ca").into() });
                let all = [Route { domains: vec!["*".into()], tls, ca_file, ..route_to("mx.test") }];
                let Ok(NextHop::Site(site)) = next_hop(&all, "x.test", 25, &usual) else { panic!("no site") };
                assert_eq!(site.assurance.level, tls.unwrap_or_default());
                site.key.to_string()
            });
        assert_eq!(keys, ["[mx.test]:25", "[mx.test]:25", "[mx.test]:25 (required)", "[mx.test]:25 (verified by /ca)"]);
    }
}
