//! Opens a connection to a site: host after host, address after address, until one takes a session.
//!
//! A host that breaks its TLS handshake is spoken to once more in plain text, and for a while from then on: mail that is
//! not encrypted beats mail that is not delivered, as long as nobody asked for more. What is asked for the site says, or
//! the host's TLSA records do; where those cannot be looked up the host is passed over (RFC 7672 §2.1.1).

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use shards::tls::Connection;
use shards::{Instant, Reactor};

use super::conversation::{Conversation, Pause, why};
use super::metrics::{Metrics, count};
use super::outcome::{Obstacle, Tried};
use super::protection::{Protection, Protections};
use super::remembered::Remembered;
use super::timing::Timing;
use crate::assurance::Trust;
use crate::assurance::dane::Tlsa;
use crate::config::Config;
use crate::dns::{self, Answer, Question};
use crate::route::{ADDRESSES_MAX, Host, Site, hosts_in_order, interleaved};
use crate::smtp::client::{Phase, Session, Settings, Tls};
use crate::smtp::reply::EnhancedCode;

/// How long a host is spoken to in plain text after a handshake with it has failed.
const PLAIN_MEMORY: Duration = Duration::from_secs(3600);

/// How long an address at which no connection came about is tried after all others.
const SILENT_MEMORY: Duration = Duration::from_secs(300);

/// The status of a host that does not offer the TLS that is demanded.
const NOT_OFFERED: EnhancedCode = EnhancedCode(4, 7, 4);

/// The status of a host that offers it and fails.
const NOT_SECURE: EnhancedCode = EnhancedCode(4, 7, 5);

/// What it takes to open connections.
pub(super) struct Dialer {
    reactor: Reactor,
    dns: dns::Cache,
    timing: Cell<Timing>,
    metrics: Rc<Metrics>,
    protections: RefCell<Protections>,
    dane: Cell<bool>,
    settings: RefCell<SessionSettings>,
    /// Hosts whose handshake fails, and plain text works.
    plain_hosts: Remembered<Box<str>>,
    /// Addresses at which nobody answered.
    silent: Remembered<SocketAddr>,
}

/// A search for a connection.
struct Search<'a> {
    site: &'a Site,
    deadline: Instant,
    addresses_left: usize,
    tried: Tried,
}

impl<'a> Search<'a> {
    fn new(site: &'a Site, deadline: Instant) -> Self {
        Self { site, deadline, addresses_left: ADDRESSES_MAX, tried: Tried::new() }
    }
}

/// The session's settings with, with or without, and without STARTTLS.
struct SessionSettings {
    required: Arc<Settings>,
    opportunistic: Arc<Settings>,
    plain: Arc<Settings>,
}

impl SessionSettings {
    fn new(hostname: &str, timing: &Timing) -> Self {
        let settings = |tls| {
            Arc::new(Settings {
                hostname: hostname.into(),
                tls,
                credentials: None,
                pipelining: true,
                chunking: true,
                patience: timing.session,
            })
        };
        Self {
            required: settings(Tls::Required),
            opportunistic: settings(Tls::Opportunistic),
            plain: settings(Tls::Off),
        }
    }

    fn of(&self, protection: &Protection) -> Arc<Settings> {
        match protection {
            Protection { config: None, .. } => self.plain.clone(),
            Protection { demanded: false, .. } => self.opportunistic.clone(),
            Protection { demanded: true, .. } => self.required.clone(),
        }
    }
}

impl Dialer {
    /// A dialer that says EHLO as `config` has it, and trusts whom `trust` names.
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
            settings: RefCell::new(SessionSettings::new(&config.hostname, &timing)),
            plain_hosts: Remembered::new(PLAIN_MEMORY),
            silent: Remembered::new(SILENT_MEMORY),
        }
    }

    /// Uses the name, the waits and the trust of these for the connections that it opens from now on.
    pub fn configure(&self, config: &Config, trust: &Trust) {
        let timing = self.timing.get().with(&config.delivery);
        self.timing.set(timing);
        self.settings.replace(SessionSettings::new(&config.hostname, &timing));
        self.protections.replace(Protections::new(trust));
        self.dane.set(config.delivery.tls.dane);
    }

    /// The timing of the connections it opens.
    pub fn timing(&self) -> Timing {
        self.timing.get()
    }

    /// A session that is ready for its first transaction, or what was tried and why it did not come about. Addresses at
    /// which nobody answered lately come last: while the first host is down, the second one's connections do not wait for it.
    pub async fn open(&self, site: &Site) -> Result<Conversation, Tried> {
        let mut search = Search::new(site, self.reactor.now() + self.timing().open);
        let mut silent = Vec::new();
        for host in hosts_in_order(&site.hosts, self.reactor.random()) {
            let (addresses, tlsa) = match self.look_up(site, host).await {
                Ok(found) => found,
                Err(obstacle) => {
                    search.tried.push((host.name.clone(), obstacle));
                    continue;
                }
            };
            for address in addresses.into_iter().map(|address| SocketAddr::new(address, site.port)) {
                if self.silent.contains(&address, self.reactor.now()) {
                    silent.push((host, address, tlsa.clone()));
                } else if let Some(conversation) = self.attempt(&mut search, host, address, tlsa.as_ref()).await {
                    return Ok(conversation);
                }
            }
        }
        for (host, address, tlsa) in silent.into_iter().take(ADDRESSES_MAX) {
            if let Some(conversation) = self.attempt(&mut search, host, address, tlsa.as_ref()).await {
                return Ok(conversation);
            }
        }
        Err(search.tried)
    }

    /// One address, while the search may go on.
    async fn attempt(
        &self,
        search: &mut Search<'_>,
        host: &Host,
        address: SocketAddr,
        tlsa: Option<&Tlsa>,
    ) -> Option<Conversation> {
        if search.addresses_left == 0 || self.reactor.now() >= search.deadline {
            return None;
        }
        search.addresses_left -= 1;
        let remote: Box<str> = format!("{}[{}]:{}", host.name, address.ip(), address.port()).into();
        let protection = self.protections.borrow().of(&search.site.assurance, &host.name, address.ip(), tlsa);
        let obstacle = match self.open_one(host, address, &remote, &protection).await {
            Ok(conversation) => {
                self.silent.forget(&address);
                return Some(conversation);
            }
            Err(obstacle) => obstacle,
        };
        if matches!(obstacle, Obstacle::Lost(Phase::Connect, _)) {
            self.silent.remember(address, self.reactor.now());
        }
        search.tried.push((remote, obstacle));
        None
    }

    /// The addresses of a host, and its TLSA records where they have a say.
    async fn look_up(&self, site: &Site, host: &Host) -> Result<(Vec<IpAddr>, Option<Tlsa>), Obstacle> {
        let addresses = self.addresses(&host.name).await?;
        let is_named = host.name.parse::<IpAddr>().is_err();
        if !self.dane.get() || !is_named || !site.assurance.heeds_dane() {
            return Ok((addresses, None));
        }
        match &*self.dns.ask(Question::Tlsa(host.name.clone(), site.port)).await {
            Answer::Tlsa(tlsa, _) => Ok((addresses, Some(tlsa.clone()))),
            Answer::Trouble(why) => Err(Obstacle::Dns(format!("TLSA look-up: {why}").into())),
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
        host: &Host,
        address: SocketAddr,
        remote: &str,
        protection: &Protection,
    ) -> Result<Conversation, Obstacle> {
        let may_fall_back = protection.config.is_some() && !protection.demanded;
        if may_fall_back && self.plain_hosts.contains(&*host.name, self.reactor.now()) {
            return self.greet(address, remote, &protection.given_up()).await;
        }
        match self.greet(address, remote, protection).await {
            Err(Obstacle::Lost(Phase::StartTls, _)) if may_fall_back => {
                let conversation = self.greet(address, remote, &protection.given_up()).await?;
                self.plain_hosts.remember(host.name.clone(), self.reactor.now());
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

    /// Connects, and goes through the greeting, EHLO and STARTTLS.
    async fn greet(
        &self,
        address: SocketAddr,
        remote: &str,
        protection: &Protection,
    ) -> Result<Conversation, Obstacle> {
        let timing = self.timing();
        let stream = self.reactor.connect(address, None, timing.connect).await;
        let stream = stream.map_err(|error| Obstacle::Lost(Phase::Connect, why(&error).into()))?;
        let session = Session::new(self.settings.borrow().of(protection), false);
        let connection = Connection::plain(stream);
        let mut conversation = Conversation::new(self.reactor.clone(), timing, connection, session, remote.into());
        loop {
            match conversation.greet().await {
                Pause::Ready => return Ok(conversation),
                Pause::StartTls => {
                    conversation = conversation.start_tls(protection).await.map_err(|error| {
                        let why = why(&error).into();
                        if protection.demanded {
                            Obstacle::Insecure(NOT_SECURE, why)
                        } else {
                            Obstacle::Lost(Phase::StartTls, why)
                        }
                    })?;
                }
                Pause::Failed(Phase::StartTls, failure) if protection.demanded => {
                    return Err(Obstacle::Insecure(NOT_OFFERED, failure.to_string().into()));
                }
                Pause::Failed(phase, failure) => return Err(Obstacle::of_failure(phase, failure)),
                Pause::Done(_) | Pause::Closed => {
                    return Err(Obstacle::Lost(Phase::Greeting, "the session ended at once".into()));
                }
            }
        }
    }
}
