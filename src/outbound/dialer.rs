//! Opens a connection to a site: host after host, address after address, until one takes a session.
//!
//! A host that breaks its TLS handshake is spoken to once more in plain text, and for a while from then on: mail that is
//! not encrypted beats mail that is not delivered, as long as nobody asked for more.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use shards::Reactor;
use shards::tls::Connection;

use super::conversation::{Conversation, Pause, why};
use super::metrics::{Metrics, count};
use super::outcome::{Obstacle, Tried};
use super::plain_hosts::PlainHosts;
use super::timing::Timing;
use crate::config::Config;
use crate::dns::{self, Answer, Question};
use crate::route::{ADDRESSES_MAX, Host, Site, hosts_in_order, interleaved};
use crate::smtp::client::{Phase, Session, Settings, Tls};

/// What it takes to open connections.
pub(super) struct Dialer {
    reactor: Reactor,
    dns: dns::Cache,
    timing: Cell<Timing>,
    metrics: Rc<Metrics>,
    tls: Arc<rustls::ClientConfig>,
    settings: RefCell<SessionSettings>,
    plain_hosts: PlainHosts,
}

/// The session's settings with and without STARTTLS.
struct SessionSettings {
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
        Self { opportunistic: settings(Tls::Opportunistic), plain: settings(Tls::Off) }
    }
}

impl Dialer {
    /// A dialer that says EHLO as `hostname`.
    pub fn new(reactor: Reactor, dns: dns::Cache, timing: Timing, metrics: Rc<Metrics>, hostname: &str) -> Self {
        let settings = RefCell::new(SessionSettings::new(hostname, &timing));
        let tls = shards::tls::client_config_unverified();
        let timing = Cell::new(timing);
        Self { reactor, dns, timing, metrics, tls, settings, plain_hosts: PlainHosts::default() }
    }

    /// Uses the name and the waits of `config` for the connections that it opens from now on.
    pub fn configure(&self, config: &Config) {
        let timing = self.timing.get().with(&config.delivery);
        self.timing.set(timing);
        self.settings.replace(SessionSettings::new(&config.hostname, &timing));
    }

    /// The timing of the connections it opens.
    pub fn timing(&self) -> Timing {
        self.timing.get()
    }

    /// A session that is ready for its first transaction, or what was tried and why it did not come about.
    pub async fn open(&self, site: &Site) -> Result<Conversation, Tried> {
        let mut tried = Tried::new();
        let mut addresses_left = ADDRESSES_MAX;
        let deadline = self.reactor.now() + self.timing().open;
        for host in hosts_in_order(&site.hosts, self.reactor.random()) {
            let addresses = match self.addresses(&host.name).await {
                Ok(addresses) => addresses,
                Err(obstacle) => {
                    tried.push((host.name.clone(), obstacle));
                    continue;
                }
            };
            for address in addresses {
                if addresses_left == 0 || self.reactor.now() >= deadline {
                    return Err(tried);
                }
                addresses_left -= 1;
                let remote: Box<str> = format!("{}[{address}]:{}", host.name, site.port).into();
                match self.open_one(host, SocketAddr::new(address, site.port), &remote).await {
                    Ok(conversation) => return Ok(conversation),
                    Err(obstacle) => tried.push((remote, obstacle)),
                }
            }
        }
        Err(tried)
    }

    /// The addresses of a host, in the order in which they are tried.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Obstacle> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        match &*self.dns.ask(Question::Addresses(host.into())).await {
            Answer::Addresses(list, _) if !list.is_empty() => Ok(interleaved(list)),
            Answer::Trouble(why) => Err(Obstacle::Dns(why.clone())),
            Answer::Addresses(..) | Answer::Mx(..) | Answer::NoData(_) | Answer::NoSuchName(_) => {
                Err(Obstacle::NoAddress)
            }
        }
    }

    /// One address: with TLS if it is offered, once more without if the handshake fails.
    async fn open_one(&self, host: &Host, address: SocketAddr, remote: &str) -> Result<Conversation, Obstacle> {
        if self.plain_hosts.contains(&host.name, self.reactor.now()) {
            return self.greet(host, address, remote, Tls::Off).await;
        }
        match self.greet(host, address, remote, Tls::Opportunistic).await {
            Err(Obstacle::Lost(Phase::StartTls, _)) => {
                let conversation = self.greet(host, address, remote, Tls::Off).await?;
                self.plain_hosts.remember(&host.name, self.reactor.now());
                count(&self.metrics.tls_fallbacks);
                Ok(conversation)
            }
            result => result,
        }
    }

    /// Connects, and goes through the greeting, EHLO and STARTTLS.
    async fn greet(&self, host: &Host, address: SocketAddr, remote: &str, tls: Tls) -> Result<Conversation, Obstacle> {
        let timing = self.timing();
        let stream = self.reactor.connect(address, None, timing.connect).await;
        let stream = stream.map_err(|error| Obstacle::Lost(Phase::Connect, why(&error).into()))?;
        let settings = match tls {
            Tls::Off => self.settings.borrow().plain.clone(),
            Tls::Opportunistic | Tls::Required => self.settings.borrow().opportunistic.clone(),
        };
        let connection = Connection::plain(stream);
        let session = Session::new(settings, false);
        let mut conversation = Conversation::new(self.reactor.clone(), timing, connection, session, remote.into());
        loop {
            match conversation.greet().await {
                Pause::Ready => return Ok(conversation),
                Pause::StartTls => {
                    let name = server_name(&host.name, address.ip());
                    let encrypted = conversation.start_tls(self.tls.clone(), name).await;
                    conversation = encrypted.map_err(|error| Obstacle::Lost(Phase::StartTls, why(&error).into()))?;
                }
                Pause::Failed(phase, failure) => return Err(Obstacle::of_failure(phase, failure)),
                Pause::Done(_) | Pause::Closed => {
                    return Err(Obstacle::Lost(Phase::Greeting, "the session ended at once".into()));
                }
            }
        }
    }
}

/// What a host is called in the handshake; its address where its name is none that TLS knows.
fn server_name(host: &str, address: IpAddr) -> ServerName<'static> {
    ServerName::try_from(host.to_owned()).unwrap_or(ServerName::IpAddress(address.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_host_names_fall_back_to_the_address() {
        let address = "192.0.2.1".parse().expect("an address");
        assert_eq!(server_name("mx_1.example.org", address).to_str(), "mx_1.example.org");
        assert_eq!(server_name("192.0.2.9", address).to_str(), "192.0.2.9");
        assert_eq!(server_name("-", address).to_str(), "192.0.2.1");
    }
}
