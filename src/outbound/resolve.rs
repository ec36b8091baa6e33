//! From a domain to its site: what its routes, its mail exchangers and its policy come to, as far as they can be looked up.

use super::reporting::Reporting;
use crate::assurance::Assurance;
use crate::assurance::sts::Announced;
use crate::config::{Config, TlsLevel};
use crate::dns::{self, Answer, Question};
use crate::route::{Missing, NextHop, Site, Unroutable, next_hop, site_of_exchangers};

/// The site of a domain; `reporting` hears of a policy that permits none of its hosts.
///
/// # Errors
/// The domain leads nowhere, for now or for good.
pub(super) async fn resolve(
    dns: &dns::Cache,
    reporting: &Reporting,
    config: &Config,
    domain: &str,
) -> Result<Site, Unroutable> {
    let (port, tls) = (config.delivery.port, &config.delivery.tls);
    let usual = Assurance::usual(tls.level);
    let domain = match next_hop(&config.routes, domain, port, &usual)? {
        NextHop::Site(site) => return Ok(site),
        NextHop::AskExchangers(domain) => domain,
    };
    let answer = dns.ask(Question::Mx(domain.clone())).await;
    let exchangers = match &*answer {
        Answer::Mx(list, _) => Ok(list.as_slice()),
        Answer::NoSuchName(_) => Err(Missing::NoSuchName),
        Answer::Trouble(why) => Err(Missing::Trouble(why)),
        _ => Err(Missing::NoData),
    };
    let site = site_of_exchangers(&domain, exchangers, &config.hostname, port)?;
    if !tls.mta_sts || tls.level == TlsLevel::Off {
        return Ok(site.assured(usual.clone(), &usual));
    }
    let announced = match &*dns.ask(Question::Policy(domain.clone())).await {
        Answer::Policy(policy, _) => Some(Announced::Policy(policy.clone())),
        Answer::NoPolicy(missing, _) => Some(Announced::Missing(*missing)),
        _ => None,
    };
    let reported = announced.clone().filter(|_| reporting.is_wanted());
    let Some(Announced::Policy(policy)) = announced else {
        return Ok(site.assured(Assurance { sts: reported, ..usual.clone() }, &usual));
    };
    let first = site.hosts.first().map(|host| host.name.clone()).unwrap_or_default();
    let is_reported = reported.is_some();
    site.under(&policy, &domain, &usual, reported).inspect_err(|_| {
        if is_reported {
            reporting.note_none_permitted(&domain, &policy, &first);
        }
    })
}
