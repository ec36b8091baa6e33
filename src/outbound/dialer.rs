//! Opens a connection to a site: host after host, address after address, until one takes a session.
//!
//! A host that breaks its TLS handshake is spoken to once more in plain text, and for a while from then on: mail that is
//! not encrypted beats mail that is not delivered, as long as nobody asked for more. What is asked for the site says, or
//! the host's TLSA records do; where those cannot be looked up the host is passed over (RFC 7672 §2.1.1).

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use shards::net::exhausted;
use shards::tls::Connection;
use shards::{Instant, Reactor};

use super::budget::{Budgets, WAIT_MAX};
use super::conversation::{Conversation, Pause, why};
use super::metrics::{Metrics, count};
use super::obstacle::{Obstacle, Tried};
use super::protection::{Protection, Protections};
use super::proxy;
use super::remembered::Remembered;
use super::reporting::With;
use super::timing::Timing;
use crate::assurance::dane::Tlsa;
use crate::assurance::{Assurance, Security, Trust};
use crate::config::{Config, Source};
use crate::dns::{self, Answer, Question};
use crate::route::{ADDRESSES_MAX, Host, Site, hosts_in_order, interleaved};
use crate::smtp::client::{Failure, Phase, Session, Settings, Tls};
use crate::smtp::reply::EnhancedCode;

/// How long a host is spoken to in plain text after a handshake with it has failed.
const PLAIN_MEMORY: Duration = Duration::from_secs(3600);

/// How long an address at which no session came about is tried after all others.
const UNUSABLE_MEMORY: Duration = Duration::from_secs(300);

/// The status of a host that does not offer the TLS that is demanded.
const NOT_OFFERED: EnhancedCode = EnhancedCode(4, 7, 4);

/// The status of a host that offers it and fails.
const NOT_SECURE: EnhancedCode = EnhancedCode(4, 7, 5);
/// RFC 8689 §4.2.1: no session under TLS with an authenticated host; a host without REQUIRETLS.
const ENCRYPTION_NEEDED: EnhancedCode = EnhancedCode(5, 7, 10);
const REQUIRETLS_NEEDED: EnhancedCode = EnhancedCode(5, 7, 30);

/// What it takes to open connections.
pub(super) struct Dialer {
    reactor: Reactor,
    dns: dns::Cache,
    timing: Cell<Timing>,
    metrics: Rc<Metrics>,
    protections: RefCell<Protections>,
    dane: Cell<bool>,
    hostname: RefCell<Box<str>>,
    /// Hosts whose handshake fails, and plain text works: why it fails.
    plain_hosts: Remembered<Box<str>, Arc<str>>,
    /// Addresses at which a source got no session.
    unusable: Remembered<(Box<str>, SocketAddr)>,
}

/// A connection that is wanted.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// From where.
    pub source: &'a Source,
    /// Where to.
    pub site: &'a Site,
    /// The limits that hold.
    pub budgets: &'a Budgets,
    /// The domain for which the session counts in reports.
    pub domain: Option<&'a str>,
}

/// How long after it was given a leave to connect is good: what the margin of rates covers. Looking up addresses may take
/// longer, and whoever then connects at the same time as those who got their leave later would exceed the rate with them.
const LEAVE_LASTS: Duration = Duration::from_millis(10);

/// A search for a connection.
struct Search<'a> {
    source: &'a Source,
    site: &'a Site,
    budgets: &'a Budgets,
    /// The domain for which the session counts in reports.
    domain: Option<&'a str>,
    /// When the first connection got its leave, until it is begun.
    leave: Option<Instant>,
    deadline: Instant,
    addresses_left: usize,
    tried: Tried,
}

impl<'a> Search<'a> {
    fn new(to: &Wanted<'a>, now: Instant, deadline: Instant) -> Self {
        let Wanted { source, site, budgets, domain } = *to;
        let (addresses_left, tried) = (ADDRESSES_MAX, Tried::new());
        Self { source, site, budgets, domain, leave: Some(now), deadline, addresses_left, tried }
    }

    /// Waits until it may connect to one more address; `false`: not before its deadline.
    async fn has_leave(&mut self, reactor: &Reactor) -> bool {
        let now = reactor.now();
        if self.leave.is_some_and(|given| now.since(given) <= LEAVE_LASTS) {
            self.leave = None;
            return true;
        }
        self.give_leave_back();
        self.budgets.leave_to_connect_again(reactor, self.deadline.since(now)).await
    }

    /// The search ends before an address of `host`: what the other hosts say is not all that there is to say.
    fn pass_over(&mut self, host: &Host) {
        if self.tried.last().is_none_or(|(last, obstacle)| (last, obstacle) != (&host.name, &Obstacle::Untried)) {
            self.tried.push((host.name.clone(), Obstacle::Untried));
        }
    }

    /// The first connection is not begun with the leave that it was given.
    fn give_leave_back(&mut self) {
        if let Some(given) = self.leave.take() {
            self.budgets.give_connection_back(given);
        }
    }
}

impl Dialer {
    /// A dialer that says EHLO as `config` has it where a source has no name of its own, and trusts whom `trust` names.
    pub fn new(
        reactor: Reactor,
        dns: dns::Cache,
        timing: Timing,
        metrics: Rc<Metrics>,
        config: &Config,
        trust: &Trust,
    ) -> Self {
        Self {
            reactor,
            dns,
            timing: Cell::new(timing),
            metrics,
            protections: RefCell::new(Protections::new(trust)),
            dane: Cell::new(config.delivery.tls.dane),
            hostname: RefCell::new(config.hostname.clone()),
            plain_hosts: Remembered::new(PLAIN_MEMORY),
            unusable: Remembered::new(UNUSABLE_MEMORY),
        }
    }

    /// Uses the name, the waits and the trust of these for the connections that it opens from now on.
    pub fn configure(&self, config: &Config, trust: &Trust) {
        self.timing.set(self.timing.get().with(&config.delivery));
        self.hostname.replace(config.hostname.clone());
        self.protections.replace(Protections::new(trust));
        self.dane.set(config.delivery.tls.dane);
    }

    /// The timing of the connections it opens.
    pub fn timing(&self) -> Timing {
        self.timing.get()
    }

    /// A session that is ready for its first transaction, or what was tried and why it did not come about.
    /// Addresses at which none came about lately come last: while the first host is down, or takes connections and then
    /// stands still, the second one's connections do not wait for it. The caller has the budgets' leave to connect once.
    pub async fn open(&self, wanted: &Wanted<'_>) -> Result<Conversation, Tried> {
        let mut search = Search::new(wanted, self.reactor.now(), self.reactor.now() + self.timing().open);
        let mut unusable = Vec::new();
        for host in hosts_in_order(&wanted.site.hosts, self.reactor.random()) {
            let candidates = match self.candidates(wanted, host).await {
                Ok(candidates) => candidates,
                Err(obstacle) => {
                    search.tried.push((host.name.clone(), obstacle));
                    continue;
                }
            };
            for candidate in candidates {
                if self.unusable.of(&candidate.key(wanted.source), self.reactor.now()).is_some() {
                    unusable.push(candidate);
                } else if let Some(conversation) = self.attempt(&mut search, &candidate).await {
                    return Ok(conversation);
                }
            }
        }
        for candidate in unusable {
            if let Some(conversation) = self.attempt(&mut search, &candidate).await {
                return Ok(conversation);
            }
        }
        search.give_leave_back();
        Err(search.tried)
    }

    /// One address, while the search may go on.
    async fn attempt(&self, search: &mut Search<'_>, candidate: &Candidate<'_>) -> Option<Conversation> {
        let Candidate { host, address, from, ref tlsa } = *candidate;
        if search.addresses_left == 0 || self.reactor.now() >= search.deadline {
            search.pass_over(host);
            return None;
        }
        if !search.has_leave(&self.reactor).await {
            search.addresses_left = 0;
            search.pass_over(host);
            return None;
        }
        search.addresses_left -= 1;
        let remote: Box<str> = format!("{}[{}]:{}", host.name, address.ip(), address.port()).into();
        let tlsa = tlsa.as_ref();
        let protection = self.protections.borrow().of(&search.site.assurance, &host.name, address.ip(), tlsa);
        let (assurance, domain) = (&search.site.assurance, search.domain);
        let to = Remote { host, address, from, name: &remote, budgets: search.budgets, assurance, tlsa, domain };
        let obstacle = match self.open_one(search.source, &to, &protection).await {
            Ok(conversation) => {
                self.unusable.forget(&candidate.key(search.source));
                return Some(conversation);
            }
            Err(obstacle) => obstacle,
        };
        match &obstacle {
            // "Not now" may be over at the next connection, and a handshake has a memory of its own.
            Obstacle::Refused(_, reply) if !reply.is_permanent() => {}
            Obstacle::Lost(Phase::StartTls, _) => {}
            Obstacle::Lost(..) | Obstacle::Refused(..) => {
                self.unusable.remember(candidate.key(search.source), (), self.reactor.now());
            }
            // With a source of no use no address is.
            Obstacle::Source(_) => search.addresses_left = 0,
            _ => {}
        }
        search.tried.push((remote, obstacle));
        None
    }

    /// The addresses of a host that the source can connect to, at least one, in the order in which they are tried.
    async fn candidates<'a>(&self, wanted: &Wanted<'a>, host: &'a Host) -> Result<Vec<Candidate<'a>>, Obstacle> {
        let Wanted { source, site, .. } = *wanted;
        let (addresses, tlsa) = self.look_up(wanted, host).await?;
        let mut lacking = "";
        let candidate = |address: IpAddr| {
            let from = source.address_for(address).inspect_err(|family| lacking = family).ok()?;
            Some(Candidate { host, address: SocketAddr::new(address, site.port), from, tlsa: tlsa.clone() })
        };
        let candidates: Vec<Candidate<'_>> = addresses.into_iter().filter_map(candidate).collect();
        if candidates.is_empty() {
            let why = format!("the source {} has no {lacking} address", source.name);
            return Err(Obstacle::Lost(Phase::Connect, why.into()));
        }
        Ok(candidates)
    }

    /// The addresses of a host, and its TLSA records where they have a say.
    async fn look_up(&self, wanted: &Wanted<'_>, host: &Host) -> Result<(Vec<IpAddr>, Option<Tlsa>), Obstacle> {
        let site = wanted.site;
        let addresses = self.addresses(&host.name).await?;
        let is_named = host.name.parse::<IpAddr>().is_err();
        if !self.dane.get() || !is_named || !site.assurance.heeds_dane() {
            return Ok((addresses, None));
        }
        match &*self.dns.ask(Question::Tlsa(host.name.clone(), site.port)).await {
            Answer::Tlsa(tlsa, _) => Ok((addresses, Some(tlsa.clone()))),
            Answer::Trouble(why) => {
                if let Some(domain) = wanted.domain {
                    let with = With { domain, host: &host.name, address: None, assurance: &site.assurance, tlsa: None };
                    self.metrics.reporting.note_dnssec(&with, why);
                }
                Err(Obstacle::Dns(format!("TLSA look-up: {why}").into()))
            }
            _ => Ok((addresses, None)),
        }
    }

    /// The addresses of a host, in the order in which they are tried.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Obstacle> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        match &*self.dns.ask(Question::Addresses(host.into())).await {
            Answer::Addresses(list, _) if !list.is_empty() => Ok(interleaved(list)),
            Answer::Trouble(why) => Err(Obstacle::Dns(format!("address look-up: {why}").into())),
            _ => Err(Obstacle::NoAddress),
        }
    }

    /// One address: as it is protected, and where nobody demands that, once more without if the handshake fails.
    async fn open_one(
        &self,
        source: &Source,
        to: &Remote<'_>,
        protection: &Protection,
    ) -> Result<Conversation, Obstacle> {
        let host = &to.host.name;
        let may_fall_back = protection.config.is_some() && !protection.demanded;
        let known = if may_fall_back { self.plain_hosts.of(&**host, self.reactor.now()) } else { None };
        if let Some(why) = known {
            return self.greet_and_count(source, to, &protection.given_up(why)).await;
        }
        match self.greet_and_count(source, to, protection).await {
            Err(Obstacle::Lost(Phase::StartTls, why)) if may_fall_back => {
                if !to.budgets.leave_to_connect_again(&self.reactor, WAIT_MAX).await {
                    return Err(Obstacle::Lost(Phase::StartTls, why));
                }
                let why: Arc<str> = why.into();
                let conversation = self.greet(source, to, &protection.given_up(why.clone())).await?;
                self.plain_hosts.remember(host.clone(), why, self.reactor.now());
                count(&self.metrics.tls_fallbacks);
                Ok(conversation)
            }
            Err(obstacle) => {
                if matches!(obstacle, Obstacle::Insecure(..)) {
                    count(&self.metrics.tls_refusals);
                }
                Err(obstacle)
            }
            Ok(conversation) => Ok(conversation),
        }
    }

    /// [`Dialer::greet`], which counts in reports.
    async fn greet_and_count(
        &self,
        source: &Source,
        to: &Remote<'_>,
        protection: &Protection,
    ) -> Result<Conversation, Obstacle> {
        let result = self.greet(source, to, protection).await;
        if let Some(domain) = to.domain {
            let (host, address) = (&*to.host.name, Some(to.address.ip()));
            let with = With { domain, host, address, assurance: to.assurance, tlsa: to.tlsa };
            self.metrics.reporting.note(&with, protection, &result);
        }
        result
    }

    /// A connection from `source`, and its address where a proxy makes the connection from that.
    async fn connect(&self, source: &Source, to: &Remote<'_>) -> Result<(Connection, Option<IpAddr>), Obstacle> {
        let patience = self.timing().connect;
        let (Some(proxy), Some(address)) = (source.proxy, to.from) else {
            let stream = self.reactor.connect(to.address, to.from, patience).await;
            let stream = stream.map_err(|error| obstacle_of(&error, source, to.from))?;
            return Ok((Connection::plain(stream), None));
        };
        let unusable = |error: io::Error| {
            Obstacle::Source(format!("the source {}: its proxy {proxy}: {}", source.name, why(&error)).into())
        };
        let mut stream = self.reactor.connect(proxy, None, patience).await.map_err(unusable)?;
        stream.send(&mut proxy::header(address, to.address), patience).await.map_err(unusable)?;
        Ok((Connection::plain(stream), Some(address)))
    }

    fn settings(&self, source: &Source, protection: &Protection) -> Arc<Settings> {
        let tls = match protection {
            Protection { config: None, .. } => Tls::Off,
            Protection { demanded: false, .. } => Tls::Opportunistic,
            Protection { demanded: true, .. } => Tls::Required,
        };
        Arc::new(Settings {
            hostname: source.ehlo.clone().unwrap_or_else(|| self.hostname.borrow().clone()),
            tls,
            credentials: None,
            pipelining: true,
            chunking: true,
            patience: self.timing().session,
        })
    }

    /// Connects, and goes through the greeting, EHLO and STARTTLS.
    async fn greet(&self, source: &Source, to: &Remote<'_>, protection: &Protection) -> Result<Conversation, Obstacle> {
        let timing = self.timing();
        let (connection, proxied) = self.connect(source, to).await?;
        let session = Session::new(self.settings(source, protection), false);
        let mut conversation = Conversation::new(self.reactor.clone(), timing, connection, session, to.name.into());
        if let Some(address) = proxied {
            conversation = conversation.proxied_from(address);
        }
        loop {
            match conversation.greet().await {
                Pause::Ready if to.assurance.requires_tls() && !conversation.takes_requiretls() => {
                    conversation.quit().await;
                    let why = "the message requires TLS (REQUIRETLS), which this host does not offer to keep".into();
                    // Its records may be content with it: it is the message that asks for more.
                    return Err(Obstacle::Insecure(REQUIRETLS_NEEDED, why, Arc::new(Security::refused(to.assurance))));
                }
                Pause::Ready => return Ok(conversation.protected_by(protection)),
                Pause::StartTls => {
                    let handshake = conversation.start_tls(protection).await;
                    conversation = handshake.map_err(|error| to.broke_off(&error, protection))?;
                }
                Pause::Failed(Phase::StartTls, failure) if protection.demanded => {
                    return Err(to.did_not_start(&failure, conversation.offers_starttls(), protection));
                }
                Pause::Failed(phase, failure) => return Err(Obstacle::of_failure(phase, failure)),
                Pause::Done(_) | Pause::Closed => {
                    return Err(Obstacle::Lost(Phase::Greeting, "the session ended at once".into()));
                }
            }
        }
    }
}

/// One address of a host that may be tried.
struct Candidate<'a> {
    host: &'a Host,
    address: SocketAddr,
    /// The source's address of the same family; `None`: the host's own.
    from: Option<IpAddr>,
    tlsa: Option<Tlsa>,
}

impl Candidate<'_> {
    /// What is remembered of it holds for one source: what a host refuses one it may take from another.
    fn key(&self, source: &Source) -> (Box<str>, SocketAddr) {
        (source.name.clone(), self.address)
    }
}

/// One address of a host, as it is tried.
struct Remote<'a> {
    host: &'a Host,
    address: SocketAddr,
    from: Option<IpAddr>,
    /// What it is called in answers.
    name: &'a str,
    budgets: &'a Budgets,
    assurance: &'a Assurance,
    tlsa: Option<&'a Tlsa>,
    /// For which the session counts in reports.
    domain: Option<&'a str>,
}

impl Remote<'_> {
    /// A handshake that failed. What TLS itself finds wrong is so the next time, too; a connection that was lost in it, or
    /// stood still, tells nothing about the host.
    fn broke_off(&self, error: &io::Error, protection: &Protection) -> Obstacle {
        let text = why(error).into();
        if !protection.demanded {
            return Obstacle::Lost(Phase::StartTls, text);
        }
        self.insecure(NOT_SECURE, error.kind() == ErrorKind::InvalidData, text, protection)
    }

    /// STARTTLS that led to no handshake: not offered, refused, or the connection was lost.
    fn did_not_start(&self, failure: &Failure, is_offered: bool, protection: &Protection) -> Obstacle {
        let is_refused = matches!(failure, Failure::Reply(reply) if reply.is_permanent());
        self.insecure(NOT_OFFERED, is_refused || !is_offered, failure.to_string().into(), protection)
    }

    /// It gives less than is demanded: for good, where it `is_lasting` and the message requires it (RFC 8689 §4.2.1).
    fn insecure(&self, status: EnhancedCode, is_lasting: bool, why: Box<str>, protection: &Protection) -> Obstacle {
        let is_final = is_lasting && self.assurance.requires_tls();
        let (status, security) = match is_final {
            true => (ENCRYPTION_NEEDED, Security::refused(self.assurance)),
            false => (status, protection.refused()),
        };
        Obstacle::Insecure(status, why, Arc::new(security))
    }
}

/// Why a connection did not come about: an address that is not ours or all ports of which are in use, or the lack of
/// sockets, is our own trouble.
fn obstacle_of(error: &io::Error, source: &Source, address: Option<IpAddr>) -> Obstacle {
    if let Some(remedy) = exhausted(error) {
        return Obstacle::Source(format!("there is no socket for a connection: {error}: {remedy}").into());
    }
    match (address, error.kind()) {
        (Some(address), ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse) => Obstacle::Source(
            format!("the source {}: its address {address} cannot be used: {}", source.name, why(error)).into(),
        ),
        _ => Obstacle::Lost(Phase::Connect, why(error).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lack_of_sockets_is_our_own_trouble_and_tells_the_remedy() {
        let of = |errno| obstacle_of(&io::Error::from_raw_os_error(errno), &Source::default(), None);
        let Obstacle::Source(why) = of(libc::EMFILE) else { panic!("it is laid at the destination's door") };
        assert!(why.contains("Too many open files") && why.contains("LimitNOFILE"), "{why}");
        assert!(matches!(of(libc::ECONNREFUSED), Obstacle::Lost(Phase::Connect, _)));
    }
}
