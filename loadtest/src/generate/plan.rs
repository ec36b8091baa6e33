//! What the options mean, checked and worked out once for all threads.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ringpost::smtp::client::{Credentials, Patience, Settings, Tls};
use ringpost::smtp::envelope::{Body, Notify, Recipient, Sender};
use ringpost::smtp::path::{Mailbox, ReversePath};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use shards::tls::{client_config_trusting, client_config_unverified};

use super::options::Options;
use super::size::Sizes;
use crate::idfile::IdSink;
use crate::message::BodyKind;
use crate::{Failure, TlsOption};

/// Local parts of recipients, which take turns.
const MAILBOXES: u32 = 1000;

/// A load, ready to run.
pub(super) struct Plan {
    pub(super) threads: usize,
    pub(super) messages: Option<u64>,
    pub(super) duration: Option<Duration>,
    pub(super) rate: Option<f64>,
    pub(super) messages_per_connection: u32,
    pub(super) idle: Option<Duration>,
    pub(super) opening: Option<u32>,
    pub(super) sizes: Sizes,
    pub(super) body: BodyKind,
    pub(super) server: SocketAddr,
    pub(super) tls: Option<TlsPlan>,
    pub(super) settings: Arc<Settings>,
    pub(super) sender: Sender,
    pub(super) ids: IdSink,
    pub(super) progress: Progress,
    /// Begin no more messages.
    pub(super) stop: AtomicBool,
    connections: u32,
    sources: u8,
    recipients: u32,
    /// Every mailbox at every domain.
    mailboxes: Vec<Mailbox>,
}

/// How to encrypt.
#[derive(Clone)]
pub(super) struct TlsPlan {
    pub(super) how: TlsOption,
    pub(super) config: Arc<rustls::ClientConfig>,
    pub(super) name: ServerName<'static>,
}

/// What all threads have done so far, for the progress line.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) accepted: AtomicU64,
    pub(super) failed: AtomicU64,
    /// Connections that are open now.
    pub(super) open: AtomicU64,
}

impl Progress {
    /// Accepted, failed, open.
    pub(super) fn numbers(&self) -> [u64; 3] {
        [&self.accepted, &self.failed, &self.open].map(|number| number.load(Ordering::Relaxed))
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (accepted, failed) = (self.accepted.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed));
        let open = self.open.load(Ordering::Relaxed);
        write!(f, "{accepted} accepted, {failed} refused or lost, {open} connections")
    }
}

fn usage(text: impl fmt::Display) -> Failure {
    Failure::Usage(text.to_string())
}

impl Plan {
    /// Checks the options.
    pub(super) fn new(options: &Options) -> Result<Self, Failure> {
        let server = resolve(&options.to)?;
        if options.sources > 1 && server.ip() != IpAddr::V4(Ipv4Addr::LOCALHOST) {
            return Err(usage("--sources needs a server on 127.0.0.1"));
        }
        let mailboxes = options.rcpt_domain.iter().flat_map(|domain| {
            (0..MAILBOXES).map(move |number| {
                let address = format!("u{number}@{domain}");
                Mailbox::parse(&address, false).map_err(|bad| usage(format!("--rcpt-domain {domain}: {bad}")))
            })
        });
        Ok(Self {
            threads: options.threads,
            messages: options.messages,
            duration: options.duration,
            rate: options.rate,
            messages_per_connection: options.messages_per_connection,
            idle: options.idle,
            opening: options.opening,
            sizes: options.size.clone(),
            body: options.body,
            server,
            tls: tls(options, server)?,
            settings: Arc::new(settings(options)?),
            sender: sender(&options.from, options.body)?,
            ids: IdSink::create(options.ids.as_deref(), options.per_recipient)?,
            progress: Progress::default(),
            stop: AtomicBool::new(false),
            connections: options.connections,
            sources: options.sources,
            recipients: options.recipients,
            mailboxes: mailboxes.collect::<Result<_, _>>()?,
        })
    }

    /// Thread `thread`'s share of the messages; `None`: no limit.
    pub(super) fn messages_of(&self, thread: usize) -> Option<u64> {
        let (threads, thread) = (self.threads as u64, thread as u64);
        self.messages.map(|messages| messages / threads + u64::from(thread < messages % threads))
    }

    /// The numbers of the connections that thread `thread` makes.
    pub(super) fn connections_of(&self, thread: usize) -> impl Iterator<Item = u32> + use<> {
        (0..self.connections).skip(thread).step_by(self.threads)
    }

    /// Where connection `number` comes from; `None`: as the system likes.
    pub(super) fn source(&self, number: u32) -> Option<IpAddr> {
        let sources = u32::from(self.sources);
        (sources > 1).then(|| IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + number % sources)))
    }

    /// The recipients of message `number`: mailboxes and domains in turn.
    pub(super) fn recipients(&self, number: u32) -> Vec<Recipient> {
        let first = u64::from(number) * u64::from(self.recipients);
        let domains = self.mailboxes.len() as u64 / u64::from(MAILBOXES);
        (first..first + u64::from(self.recipients))
            .map(|count| {
                let (domain, mailbox) = (count % domains, count % u64::from(MAILBOXES));
                let path = self.mailboxes[(domain * u64::from(MAILBOXES) + mailbox) as usize].clone();
                Recipient { path, notify: Notify::default(), orcpt: None }
            })
            .collect()
    }
}

fn resolve(to: &str) -> Result<SocketAddr, Failure> {
    let mut addresses = to.to_socket_addrs().map_err(|error| usage(format!("--to {to}: {error}")))?;
    addresses.next().ok_or_else(|| usage(format!("--to {to}: no address")))
}

fn sender(from: &str, kind: BodyKind) -> Result<Sender, Failure> {
    let mailbox = Mailbox::parse(from, false).map_err(|bad| usage(format!("--from {from}: {bad}")))?;
    let path = ReversePath::Mailbox(mailbox);
    let body = if kind == BodyKind::EightBit { Body::EightBitMime } else { Body::SevenBit };
    Ok(Sender { path, body, smtputf8: false, size: None, ret: None, envid: None, requiretls: false })
}

/// The same, but every connection makes a whole handshake.
fn without_resumption(config: &rustls::ClientConfig) -> Arc<rustls::ClientConfig> {
    let mut config = config.clone();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

fn settings(options: &Options) -> Result<Settings, Failure> {
    let credentials = match (&options.user, &options.password_file) {
        (Some(user), Some(file)) => {
            let password =
                std::fs::read_to_string(file).map_err(|error| usage(format!("{}: {error}", file.display())))?;
            Some(Credentials { user: user.as_str().into(), password: password.trim_end_matches(['\r', '\n']).into() })
        }
        _ => None,
    };
    let patience = options.patience;
    Ok(Settings {
        hostname: options.hostname.as_str().into(),
        tls: if options.tls == Some(TlsOption::Starttls) { Tls::Required } else { Tls::Off },
        credentials,
        pipelining: options.pipelining,
        chunking: options.bdat,
        patience: Patience { greeting: patience, command: patience, data: patience, block: patience, dot: patience },
    })
}

fn tls(options: &Options, server: SocketAddr) -> Result<Option<TlsPlan>, Failure> {
    let Some(how) = options.tls else { return Ok(None) };
    let config = match &options.ca {
        Some(file) => {
            let wrong = |error: &dyn fmt::Display| usage(format!("{}: {error}", file.display()));
            let pem = std::fs::read(file).map_err(|error| wrong(&error))?;
            client_config_trusting(&pem).map_err(|error| wrong(&error))?
        }
        None if server.ip().is_loopback() => client_config_unverified(),
        None => return Err(usage("--tls to a server that is not on loopback needs --ca FILE")),
    };
    let config = if options.no_resumption { without_resumption(&config) } else { config };
    let host = options.to.rsplit_once(':').map_or(options.to.as_str(), |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(|error| usage(format!("--to {}: {error}", options.to)))?;
    Ok(Some(TlsPlan { how, config, name }))
}
