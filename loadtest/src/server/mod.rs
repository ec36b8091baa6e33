//! Servers under test: how each is set up, started, looked at and stopped.
//!
//! Owns: the list of servers ([`Kind`]) and what an experiment may ask of one ([`Server`]).
//! Never: measures (`run` does, from outside); installs a server.
//! Each instance lives in a folder of its own, listens on loopback ports of its own, and ends with its owner.

pub(crate) mod process;
mod ringpost;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Failure;

/// How long a server may take to accept connections: one that reads a full queue first needs its time.
pub const START_PATIENCE: Duration = Duration::from_secs(300);
/// How long it may take to stop.
pub const STOP_PATIENCE: Duration = Duration::from_secs(120);

/// The servers that can be tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// Ringpost, `ringpost serve`
    Ringpost,
}

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

    /// The folder with its queue, whose disk is watched.
    fn data(&self) -> &Path;

    /// Lets it deliver what it was told to hold.
    fn release(&mut self) -> Result<(), Failure>;

    /// Recipients that it has neither delivered nor given up.
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
        }
    }

    /// Writes its configuration; it does not run yet.
    ///
    /// # Errors
    /// [`Failure`] where it is not installed, or cannot be set up.
    pub fn prepare(self, setting: &Setting) -> Result<Box<dyn Server>, Failure> {
        match self {
            Kind::Ringpost => Ok(Box::new(ringpost::Ringpost::prepare(setting)?)),
        }
    }
}
