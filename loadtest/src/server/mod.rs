//! Servers under test: how each is set up, started, looked at and stopped.
//!
//! Owns: the list of servers ([`Kind`]) and what an experiment may ask of one ([`Server`]).
//! Never: measures (`run` does, from outside); installs a server.
//! Each instance lives in a folder of its own, listens on loopback ports of its own, and ends with its owner.

mod exim;
mod foreign;
pub mod group;
mod haraka;
mod opensmtpd;
mod postfix;
pub(crate) mod process;
mod ringpost;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Failure;
use foreign::Foreign;
use group::Group;

/// How long a server may take to accept connections: one that reads a full queue first needs its time.
pub const START_PATIENCE: Duration = Duration::from_secs(300);
/// How long it may take to stop.
pub const STOP_PATIENCE: Duration = Duration::from_secs(120);

/// The servers that can be tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// Ringpost, `ringpost serve`
    Ringpost,
    /// Postfix, of Debian
    Postfix,
    /// Exim, of Debian
    Exim,
    /// OpenSMTPD, of Debian
    #[value(name = "opensmtpd")]
    OpenSmtpd,
    /// Haraka, of npm
    Haraka,
}

/// All servers.
pub const KINDS: [Kind; 5] = [Kind::Ringpost, Kind::Postfix, Kind::Exim, Kind::OpenSmtpd, Kind::Haraka];

/// What an experiment wants of the server.
#[derive(Clone, Debug)]
pub struct Setting {
    /// A folder that exists, for its configuration, its queue and its logs.
    pub folder: PathBuf,
    /// The server's program, where it is not where it is looked for by default.
    pub program: Option<PathBuf>,
    /// Where mail goes; the first route whose domains hold the recipient's counts.
    pub routes: Vec<Route>,
    /// Accept, and deliver nothing before [`Server::release`].
    pub hold: bool,
    /// The waits between attempts in seconds; the last repeats.
    pub retry_s: Vec<u32>,
    /// Connections to one destination.
    pub connections_max: u32,
    /// Connections that one client may have.
    pub clients_max: u32,
    /// A certificate chain for `localhost` and `127.0.0.1`, and its key (PEM).
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
    /// Shards, threads or processes, where the server has such a number; absent: the server's default.
    pub shards: Option<usize>,
}

/// Domains and where their mail goes.
#[derive(Clone, Debug)]
pub struct Route {
    /// Exact names.
    pub domains: Vec<String>,
    /// The next hop.
    pub next_hop: SocketAddr,
}

/// Where a client comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Plain text, and STARTTLS for who wants it.
    Plain,
    /// TLS from the first byte.
    Tls,
}

/// A server under test. Dropping it ends its processes.
pub trait Server {
    /// Its name and version, for the record.
    fn version(&self) -> Result<String, Failure>;

    /// Starts it (again) and waits until it greets.
    fn start(&mut self) -> Result<(), Failure>;

    /// Stops it as an administrator would, and waits for its end.
    fn stop(&mut self) -> Result<(), Failure>;

    /// Ends it with SIGKILL, as a crash would.
    fn kill(&mut self);

    /// Where it listens.
    fn address(&self, door: Door) -> SocketAddr;

    /// All its processes at this moment; none when it does not run.
    fn pids(&self) -> Vec<u32>;

    /// What holds its processes together, and knows their CPU time.
    fn group(&self) -> &Group;

    /// The folder with its queue, whose disk is watched.
    fn data(&self) -> &Path;

    /// Lets it deliver what it was told to hold.
    fn release(&mut self) -> Result<(), Failure>;

    /// Recipients that it has neither delivered nor given up; messages, where a server's queue tells no more.
    fn queued(&self) -> Result<u64, Failure>;

    /// What it counts itself; empty where it counts nothing. An experiment knows [`FLUSHES`] and [`FAILED`].
    fn counters(&self) -> Result<BTreeMap<String, u64>, Failure>;
}

/// The counter of flushes to disk.
pub const FLUSHES: &str = "flushes";
/// The counter of recipients that were given up, with a notice.
pub const FAILED: &str = "failed";

impl Kind {
    /// As in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ringpost => "ringpost",
            Kind::Postfix => "postfix",
            Kind::Exim => "exim",
            Kind::OpenSmtpd => "opensmtpd",
            Kind::Haraka => "haraka",
        }
    }

    /// What a reader of its figures must know; nothing where its 250 waits for the disk.
    pub fn caveat(self) -> Option<&'static str> {
        match self {
            Kind::Ringpost | Kind::Postfix | Kind::Exim => None,
            Kind::OpenSmtpd => Some(
                "answers 250 without waiting for the disk, and has no setting for it; its listen backlog of 5 is spared \
                 crowds of new connections",
            ),
            Kind::Haraka => Some("flushes the message before 250, but not the folder that holds its name"),
        }
    }

    /// Connections that it can take at a time, if a crowd is lost: what does not fit into a listener's backlog, Linux
    /// drops, and a client whose connection seems open waits for a greeting that never comes.
    pub fn opening_max(self) -> Option<u32> {
        // The backlog of 5 is built in.
        (self == Kind::OpenSmtpd).then_some(4)
    }

    /// The server of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        KINDS.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it is there to be started.
    ///
    /// # Errors
    /// [`Failure::Usage`] with the way to install it, where it is not.
    pub fn check_installed(self) -> Result<(), Failure> {
        let program = match self {
            Kind::Ringpost => return Ok(()),
            Kind::Postfix => postfix::Postfix::find().program(),
            Kind::Exim => exim::Exim::find().program(),
            Kind::OpenSmtpd => opensmtpd::OpenSmtpd::find().program(),
            Kind::Haraka => haraka::Haraka::find().program(),
        };
        if program.exists() {
            return Ok(());
        }
        Err(Failure::Usage(format!(
            "{} is not installed ({} is missing): run loadtest/servers/install as root on Debian, or leave it out with \
             --servers",
            self.name(),
            program.display()
        )))
    }

    /// Writes its configuration; it does not run yet.
    ///
    /// # Errors
    /// [`Failure`] where it is not installed, or cannot be set up.
    pub fn prepare(self, setting: &Setting) -> Result<Box<dyn Server>, Failure> {
        self.check_installed()?;
        Ok(match self {
            Kind::Ringpost => Box::new(ringpost::Ringpost::prepare(setting)?),
            Kind::Postfix => Box::new(Foreign::prepare(postfix::Postfix::find(), setting)?),
            Kind::Exim => Box::new(Foreign::prepare(exim::Exim::find(), setting)?),
            Kind::OpenSmtpd => Box::new(Foreign::prepare(opensmtpd::OpenSmtpd::find(), setting)?),
            Kind::Haraka => Box::new(Foreign::prepare(haraka::Haraka::find(), setting)?),
        })
    }
}
