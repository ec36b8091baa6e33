//! From a domain to its site: what its routes, its mail exchangers and its policy come to, as far as they can be looked up,
//! and what the messages ask themselves.

use super::reporting::Reporting;
use crate::assurance::sts::{Announced, Mode};
use crate::assurance::{Assurance, Demand};
use crate::config::{Config, TlsLevel};
use crate::dns::{self, Answer, Question};
use crate::route::{Missing, NextHop, Site, Unroutable, next_hop, site_of_exchangers};

/// The site of a domain for messages that ask for `demand`; `reporting` hears of a policy that permits none of its hosts.
///
/// # Errors
/// The domain leads nowhere, for now or for good; or nobody vouches for its hosts (5.7.10), and that is required.
pub(super) async fn resolve(
    dns: &dns::Cache,
    reporting: &Reporting,
    config: &Config,
    domain: &str,
    demand: Demand,
) -> Result<Site, Unroutable> {
    let (port, tls) = (config.delivery.port, &config.delivery.tls);
    let usual = Assurance::usual(tls.level);
    let domain = match next_hop(&config.routes, domain, port, &usual)? {
        // Whoever named the host in a route or an address has vouched for it.
        NextHop::Site(site) => return Ok(site.demanded(demand, &usual)),
        NextHop::AskExchangers(domain) => domain,
    };
    let answer = dns.ask(Question::Mx(domain.clone())).await;
    let mut site = site_of(&answer, config, &domain)?;
    let is_heeded = match demand {
        Demand::Waived => false,
        Demand::Required => true,
        Demand::Usual | Demand::Encrypted => tls.level != TlsLevel::Off,
    };
    let announced = if is_heeded && tls.mta_sts { announced(dns, &domain).await } else { None };
    let is_enforced = matches!(&announced, Some(Announced::Policy(policy)) if policy.mode == Mode::Enforce);
    // Without MX records the host's certificate is for the domain itself.
    if demand == Demand::Required && !is_enforced && matches!(&*answer, Answer::Mx(..)) {
        let secure = if tls.dane {
            dns.ask(Question::SecureMx(domain.clone())).await
        } else {
            Answer::NoData(dns::TTL_MIN).into()
        };
        site = match &*secure {
            Answer::Mx(..) | Answer::Trouble(_) => site_of(&secure, config, &domain)?,
            _ => return Err(Unroutable::not_authenticated(&domain)),
        };
    }
    let site = under(site, announced, &usual, &domain, reporting)?;
    Ok(site.demanded(demand, &usual))
}

/// The site that the answer to the question for mail exchangers is.
fn site_of(answer: &Answer, config: &Config, domain: &str) -> Result<Site, Unroutable> {
    let exchangers = match answer {
        Answer::Mx(list, _) => Ok(list.as_slice()),
        Answer::NoSuchName(_) => Err(Missing::NoSuchName),
        Answer::Trouble(why) => Err(Missing::Trouble(why)),
        _ => Err(Missing::NoData),
    };
    site_of_exchangers(domain, exchangers, &config.hostname, config.delivery.port)
}

async fn announced(dns: &dns::Cache, domain: &str) -> Option<Announced> {
    match &*dns.ask(Question::Policy(domain.into())).await {
        Answer::Policy(policy, _) => Some(Announced::Policy(policy.clone())),
        Answer::NoPolicy(missing, _) => Some(Announced::Missing(*missing)),
        _ => None,
    }
}

/// The site under the policy that its domain announces, if it does.
fn under(
    site: Site,
    announced: Option<Announced>,
    usual: &Assurance,
    domain: &str,
    reporting: &Reporting,
) -> Result<Site, Unroutable> {
    let reported = announced.clone().filter(|_| reporting.is_wanted());
    let Some(Announced::Policy(policy)) = announced else {
        return Ok(site.assured(Assurance { sts: reported, ..usual.clone() }, usual));
    };
    let first = site.hosts.first().map(|host| host.name.clone()).unwrap_or_default();
    let is_reported = reported.is_some();
    site.under(&policy, domain, usual, reported).inspect_err(|_| {
        if is_reported {
            reporting.note_none_permitted(domain, &policy, &first);
        }
    })
}
