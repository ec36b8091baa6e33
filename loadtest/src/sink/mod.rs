//! `ringload sink`: a destination that accepts everything, counts it, and plays faults.
//!
//! Owns: listeners, sessions of `smtp::server`, what was received, the script's faults.
//! Never: keeps content; a message is looked at, counted and forgotten.
//! Counting: a duplicate is a second reception of one id for one recipient, so that a message which its server splits
//! by destination is not one. What a fault drops after `accept = true` counts as received.

mod certificate;
mod counts;
mod faults;
mod options;
mod report;
mod script;
mod session;
mod shard;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use ringpost::smtp::server::Settings;
use shards::launch::{self, Running};

use crate::idfile::IdSink;
use crate::usage::EndSignals;
use crate::{Failure, TlsOption, series, usage};
use counts::Counts;
use script::Script;

pub use options::Options;
pub use report::Report;
pub use script::check as check_script;

/// How often signals and the end are looked for, and the progress line is renewed.
const TICK: Duration = Duration::from_millis(50);
/// The columns of `--series`.
const COLUMNS: [&str; 3] = ["messages", "recipients", "connections"];

/// What all shards of a sink share.
pub(crate) struct Shared {
    listen: Vec<SocketAddr>,
    settings: Arc<Settings>,
    /// Where encryption is offered: whether it is from the first byte, and what with.
    tls: Option<(TlsOption, Arc<rustls::ServerConfig>)>,
    script: Script,
    ids: IdSink,
    /// Messages after which the sink ends.
    messages_max: Option<u64>,
    messages: AtomicU64,
    recipients: AtomicU64,
    /// Connections that are open now.
    connections: AtomicU64,
    stop: AtomicBool,
    /// Shards that have not ended.
    running: AtomicUsize,
}

impl Shared {
    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Counts a message, also towards `--messages`.
    fn count(&self, recipients: usize) {
        self.recipients.fetch_add(recipients as u64, Ordering::Relaxed);
        let messages = self.messages.fetch_add(1, Ordering::Relaxed) + 1;
        if self.messages_max.is_some_and(|messages_max| messages >= messages_max) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// A sink that runs on its own threads.
pub struct Sink {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    running: Running,
    counts: mpsc::Receiver<Counts>,
    cpu_before: Duration,
}

impl Sink {
    /// Starts listening.
    ///
    /// # Errors
    /// [`Failure::Usage`] where the options or the script are wrong; [`Failure::Failed`] where it cannot listen.
    pub fn start(options: &Options) -> Result<Self, Failure> {
        let cpu_before = usage::cpu();
        if options.threads > 1 && options.listen.iter().any(|address| address.port() == 0) {
            return Err(Failure::Usage("--threads needs --listen with a port of your choice".into()));
        }
        let script = match (&options.script, &options.profile) {
            (Some(file), _) => Script::read(file)?,
            (None, Some(name)) => Script::profile(name)?,
            (None, None) => Script::default(),
        };
        let certificate = || certificate::make(script.certificate, options.certificate.as_deref());
        let shared = Arc::new(Shared {
            listen: options.listen.clone(),
            settings: Arc::new(options.settings()),
            tls: options.tls.map(|how| certificate().map(|config| (how, config))).transpose()?,
            script,
            ids: IdSink::create(options.ids.as_deref(), options.per_recipient)?,
            messages_max: options.messages,
            messages: AtomicU64::new(0),
            recipients: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            running: AtomicUsize::new(options.threads),
        });
        let (ready, addresses) = mpsc::channel();
        let (results, counts) = mpsc::channel();
        let body = {
            let shared = shared.clone();
            move |reactor, number| shard::run(reactor, number, shared.clone(), ready.clone(), results.clone())
        };
        let failed = |error: std::io::Error| Failure::Failed(error.to_string());
        let running = launch::launch(options.threads, body).map_err(failed)?;
        let mut bound = Vec::new();
        for _ in 0..options.threads {
            let result = addresses.recv().map_err(|_| Failure::Failed("a shard ended at its start".into()))?;
            bound = result.inspect_err(|_| shared.stop.store(true, Ordering::Relaxed)).map_err(failed)?;
        }
        Ok(Self { shared, addresses: bound, running, counts, cpu_before })
    }

    /// Where it listens, in the options' order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Messages received so far.
    pub fn messages(&self) -> u64 {
        self.shared.messages.load(Ordering::Relaxed)
    }

    /// Messages, recipients, open connections.
    fn numbers(&self) -> [u64; 3] {
        let shared = &self.shared;
        [&shared.messages, &shared.recipients, &shared.connections].map(|number| number.load(Ordering::Relaxed))
    }

    /// Whether it has ended by itself (`--messages`).
    pub fn has_ended(&self) -> bool {
        self.shared.running.load(Ordering::Acquire) == 0
    }

    /// Stops it and gives the summary.
    ///
    /// # Errors
    /// [`Failure::Failed`] if a shard ended before its time.
    pub fn stop(self) -> Result<Report, Failure> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.running.join().map_err(|error| Failure::Failed(error.to_string()))?;
        let mut total = Counts::default();
        for counts in self.counts.try_iter() {
            total.add(counts);
        }
        let cpu = usage::cpu().saturating_sub(self.cpu_before);
        Ok(Report::new(&total, &self.shared.script, cpu))
    }
}

/// The command: runs until SIGINT, SIGTERM or `--messages`, then prints the summary on stdout.
///
/// # Errors
/// As [`Sink::start`]; [`Failure::Failed`] too if a message was damaged.
pub fn main(options: &Options) -> Result<(), Failure> {
    let signals = EndSignals::block();
    let mut series = series::Writer::create(options.series.as_deref(), &COLUMNS)?;
    let broken = |error: std::io::Error| Failure::Failed(format!("series: {error}"));
    let sink = Sink::start(options)?;
    for address in sink.addresses() {
        eprintln!("listening on {address}");
    }
    let terminal = std::io::stderr().is_terminal();
    while !signals.wait(TICK) && !sink.has_ended() {
        series.tick(&sink.numbers()).map_err(broken)?;
        if terminal {
            eprint!("\r{} messages\x1b[K", sink.messages());
        }
    }
    if terminal {
        eprint!("\r\x1b[K");
    }
    series.end(&sink.numbers()).map_err(broken)?;
    let report = sink.stop()?;
    if options.json {
        println!("{}", serde_json::to_string(&report).map_err(|error| Failure::Failed(error.to_string()))?);
    } else {
        print!("{report}");
    }
    match report.damaged {
        0 => Ok(()),
        damaged => Err(Failure::Failed(format!("{damaged} messages were damaged"))),
    }
}
