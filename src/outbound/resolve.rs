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
/// The domain leads nowhere, for now or for good; or nobody vouches for its hosts, and that is required: 5.7.10, or 4.7.10
/// while its policy cannot be had.
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
    let no_data = || Answer::NoData(dns::TTL_MIN).into();
    let policy = if is_heeded && tls.mta_sts { dns.ask(Question::Policy(domain.clone())).await } else { no_data() };
    let is_enforced = matches!(&*policy, Answer::Policy(policy, _) if policy.mode == Mode::Enforce);
    // Without MX records the host's certificate is for the domain itself.
    if demand == Demand::Required && !is_enforced && matches!(&*answer, Answer::Mx(..)) {
        let secure = if tls.dane { dns.ask(Question::SecureMx(domain.clone())).await } else { no_data() };
        site = match &*secure {
            Answer::Mx(..) | Answer::Trouble(_) => site_of(&secure, config, &domain)?,
            _ => return Err(unauthenticated(&policy, &domain)),
        };
    }
    let site = under(site, announced(&policy), &usual, &domain, reporting)?;
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

/// What the answer to the question for a policy comes to. Where it cannot be told whether there is one, there is none
/// (RFC 8461 §5.1).
fn announced(answer: &Answer) -> Option<Announced> {
    match answer {
        Answer::Policy(policy, _) => Some(Announced::Policy(policy.clone())),
        Answer::NoPolicy(missing, _) => Some(Announced::Missing(*missing)),
        _ => None,
    }
}

/// Neither DNSSEC nor a policy that is known vouches for a domain's hosts. What tells of a policy that is to be had later
/// is no reason to return mail.
fn unauthenticated(policy: &Answer, domain: &str) -> Unroutable {
    match policy {
        Answer::NoPolicy(missing, _) => Unroutable::perhaps_not_authenticated(domain, missing.name()),
        Answer::Trouble(why) => Unroutable::perhaps_not_authenticated(domain, why),
        _ => Unroutable::not_authenticated(domain),
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
