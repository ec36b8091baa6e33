//! From a forward-path's domain to the hosts to try (RFC 5321 §5). Pure: DNS answers come in, next hops go out.
//!
//! Owns: which configured route a domain takes, what a list of mail exchangers means, and in which order hosts and
//! addresses are tried.
//! Never: asks for a record (`dns` does), connects (`outbound` does), or remembers what went wrong with a host.
//! RFC: 5321 §5.1 (preferences, implicit MX, ourselves in the list), 7505 (null MX), 8461 §5, 3463 (status codes).
//! Limits: at most [`HOSTS_MAX`] hosts a site, at most [`ADDRESSES_MAX`] addresses for one connection.
//!
//! | a domain | goes to |
//! |---|---|
//! | named by a route | the route's host; no MX is asked for |
//! | an address literal | that address |
//! | with MX records | its hosts, best preference first, without us and whatever is not better than us |
//! | without MX records | the domain itself, if it has an address |
//! | with the null MX | nowhere: failed, 5.1.10 |
//! | that does not exist | nowhere: failed, 5.1.2 |
//! | whose DNS is in trouble | nowhere yet: deferred, 4.4.3 |
//! | whose MTA-STS policy enforces | only the hosts that it permits |

mod exchangers;
mod next_hop;
mod order;
mod shape;

pub use exchangers::{Missing, site_of_exchangers};
pub use next_hop::{NextHop, next_hop};
pub use order::{hosts_in_order, interleaved};
pub use shape::{Effective, Said, Shape, effective};

use crate::assurance::{Assurance, Demand, Policy, sts};
use crate::smtp::reply::EnhancedCode;

/// Hosts of a site, at most; the worst preferences beyond are dropped.
pub const HOSTS_MAX: usize = 20;

/// Addresses that are tried for one connection, over all hosts of the site, at most.
pub const ADDRESSES_MAX: usize = 20;

/// Where mail for a domain goes: one destination for limits, back-off and connection reuse.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    /// Its name: `[host]:port` of a route or an address literal, or the sorted MX host names joined by `,`.
    pub key: Box<str>,
    /// Hosts by preference; equal ones share a rank and are shuffled for every connection.
    pub hosts: Vec<Host>,
    /// The port.
    pub port: u16,
    /// What sessions with its hosts must prove.
    pub assurance: Assurance,
    /// Whose limits hold there.
    pub shape: Shape,
}

/// One host of a site.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// A name to resolve, or an address.
    pub name: Box<str>,
    /// MX preference; 0 for a route.
    pub preference: u16,
}

impl Site {
    /// The site that is one configured or literal host.
    fn of_one_host(host: &str, port: u16) -> Site {
        let name = host.to_lowercase();
        let key = format!("[{name}]:{port}").into();
        let hosts = vec![Host { name: name.into(), preference: 0 }];
        Site { key, hosts, port, assurance: Assurance::default(), shape: Shape::default() }
    }

    /// The same hosts, of which sessions must prove this. It is a destination of its own where that is not usual: its
    /// connections serve no one who asks for more.
    #[must_use]
    pub fn assured(mut self, assurance: Assurance, usual: &Assurance) -> Site {
        if !assurance.asks_the_same_as(usual) {
            let policy = assurance.policy.name();
            self.key = match &assurance.ca_file {
                Some(file) => format!("{} ({policy} by {})", self.key, file.display()).into(),
                None => format!("{} ({policy})", self.key).into(),
            };
            // Whose sessions are reported shares them with those of the same policy alone.
            if let Some(sts) = &assurance.sts {
                self.key = format!("{} of {:08x}", self.key, crc32fast::hash(format!("{sts:?}").as_bytes())).into();
            }
        }
        self.assurance = assurance;
        self
    }

    /// The same hosts, of which a message asks this, too.
    #[must_use]
    pub fn demanded(self, demand: Demand, usual: &Assurance) -> Site {
        if demand == Demand::Usual {
            return self;
        }
        let assurance = self.assurance.demanded(demand);
        if assurance == self.assurance { self } else { self.assured(assurance, usual) }
    }

    /// The site with the hosts that an MTA-STS policy permits, if it enforces (RFC 8461 §5). `sts` is what the
    /// domain may be told of it.
    ///
    /// # Errors
    /// 4.7.5: it permits none of them.
    pub fn under(
        mut self,
        policy: &sts::Policy,
        domain: &str,
        usual: &Assurance,
        sts: Option<sts::Announced>,
    ) -> Result<Site, Unroutable> {
        if policy.mode != sts::Mode::Enforce {
            return Ok(self.assured(Assurance { sts, ..usual.clone() }, usual));
        }
        self.hosts.retain(|host| policy.permits(&host.name));
        if self.hosts.is_empty() {
            let text = format!("the MTA-STS policy of {domain} permits none of its mail exchangers");
            return Err(Unroutable::new(EnhancedCode(4, 7, 5), text));
        }
        self.key = key_of(&self.hosts);
        if usual.policy == Policy::Verified {
            return Ok(self.assured(Assurance { sts, ..usual.clone() }, usual));
        }
        Ok(self.assured(Assurance { sts, ..Assurance::enforced() }, usual))
    }
}

/// The name of a site: its hosts' names, sorted.
fn key_of(hosts: &[Host]) -> Box<str> {
    let mut names: Vec<&str> = hosts.iter().map(|host| &*host.name).collect();
    names.sort_unstable();
    names.join(",").into()
}

/// Why there is nowhere to deliver to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status} {text}")]
pub struct Unroutable {
    /// For the recipient's DSN. Class 4: try again later; class 5: never.
    pub status: EnhancedCode,
    /// For people: one sentence.
    pub text: Box<str>,
}

impl Unroutable {
    /// REQUIRETLS cannot be kept at `domain`: nobody vouches for its mail exchangers (RFC 8689 §4.2.1).
    pub fn not_authenticated(domain: &str) -> Self {
        let text = format!(
            "the message requires TLS (REQUIRETLS), and neither DNSSEC nor an MTA-STS policy that enforces vouches for the \
             mail exchangers of {domain}"
        );
        Self::new(EnhancedCode(5, 7, 10), text)
    }

    /// Whether it can be kept there cannot be told now.
    pub fn perhaps_not_authenticated(domain: &str, why: &str) -> Self {
        let text = format!(
            "the message requires TLS (REQUIRETLS), and DNSSEC does not vouch for the mail exchangers of {domain}; whether \
             its MTA-STS policy does cannot be told now: {why}"
        );
        Self::new(EnhancedCode(4, 7, 10), text)
    }

    fn new(status: EnhancedCode, text: impl Into<Box<str>>) -> Self {
        Self { status, text: text.into() }
    }

    /// Whether trying again later can help.
    pub fn is_transient(&self) -> bool {
        self.status.0 == 4
    }
}
