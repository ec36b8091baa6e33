//! Configuration: read → validate (every mistake at once, with its line) → `Arc<Config>`.
//!
//! Owns: what `ringpost.toml` may say, its defaults, and the words for its mistakes. `read` walks the document and knows
//! lines; `units` reads single values; `validate` knows the keys and what contradicts what.
//! Never: reads the files that the configuration names (start-up does), or changes after it was read: a reload makes a
//! whole new one.
//!
//! Unknown keys, wrong types, bad addresses and contradictions are errors. What is here is valid: nothing above checks
//! it again. Relative paths are relative to the file.

mod assurance;
pub mod dkim;
pub mod egress;
pub mod limit;
mod listener;
pub mod log;
mod machine;
pub mod preflight;
mod read;
pub mod reply;
mod retry;
mod return_path;
pub mod screening;
pub mod shaping;
pub mod suppression;
mod tls_reports;
mod units;
mod validate;
pub mod webhook;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use assurance::{DeliveryTls, NamedFile, TlsLevel};
pub use dkim::Dkim;
pub use egress::{Pool, Source, Standard};
pub use limit::{Limit, Provider};
pub use log::Log;
pub use machine::{unreadable, unreadable_public};
pub use read::nearest;
pub use return_path::ReturnPath;
pub use screening::Screening;
pub use shaping::{Shaping, WarmUp};
pub use suppression::Suppression;
pub use tls_reports::TlsReports;
pub use webhook::Webhook;

/// The reference configuration: every key, with its default and what it means.
pub const REFERENCE: &str = include_str!("reference.toml");

/// Everything that `ringpost serve -c FILE` was told.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server] hostname`: EHLO name, Received, Reporting-MTA.
    pub hostname: Box<str>,
    /// `[server] data_dir`, absolute.
    pub data_dir: PathBuf,
    /// `[server] shards`, resolved.
    pub shards: usize,
    /// `[tls]`.
    pub tls: Option<TlsFiles>,
    /// `[[listener]]`, at least one.
    pub listeners: Vec<Listener>,
    /// `[[account]]`.
    pub accounts: Vec<Account>,
    /// `[dns] servers`; empty: the system's resolvers.
    pub dns_servers: Vec<SocketAddr>,
    /// `[dns] trust_anchor`: DNSKEY records at which DNSSEC validation begins; absent: the root's.
    pub dns_trust_anchor: Option<NamedFile>,
    /// `[[route]]`, first match wins.
    pub routes: Vec<Route>,
    /// `[[pool]]`, and each `[[source]]` as a pool of its own.
    pub pools: Vec<Arc<Pool>>,
    /// The host as it is: the pool of what takes no other.
    pub host_pool: Arc<Pool>,
    /// `[[provider]]`, and those that come along.
    pub providers: Vec<Provider>,
    /// `[[limit]]`; of several that say the same the first one counts.
    pub path_limits: Vec<Limit>,
    /// `[[reply]]`; the first that is in force and applies counts.
    pub replies: reply::Replies,
    /// `[shaping]`.
    pub shaping: Shaping,
    /// `[delivery]`.
    pub delivery: Delivery,
    /// `[retry]`.
    pub retry: Retry,
    /// `[retention]`.
    pub retention: Retention,
    /// `[limits]`.
    pub limits: Limits,
    /// `[screening]`.
    pub screening: Screening,
    /// `[preflight] at_submission`: for whom nothing else is said.
    pub preflight: preflight::AtSubmission,
    /// `[suppression]`; absent: nobody is suppressed.
    pub suppression: Option<Suppression>,
    /// `[[webhook]]`, each with a name of its own.
    pub webhooks: Vec<Webhook>,
    /// `[[dkim]]`.
    pub dkim: Vec<Dkim>,
    /// `[log]`.
    pub log: Log,
    /// `[return_path]`.
    pub return_path: Option<ReturnPath>,
    /// `[tls_reports]`.
    pub tls_reports: Option<TlsReports>,
    /// `[http]`.
    pub http: Option<Http>,
}

/// `[tls]`.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Where the configuration names them: the certificate's line, the key's line. 1-based.
    pub lines: [usize; 2],
    /// PEM chain, absolute path.
    pub certificate: PathBuf,
    /// PEM key, absolute path.
    pub private_key: PathBuf,
}

/// A `[[listener]]`.
#[derive(Clone, Debug)]
pub struct Listener {
    /// `kind`.
    pub kind: ListenerKind,
    /// `address`.
    pub address: SocketAddr,
    /// The line of `address`.
    pub line: usize,
    /// `tls`.
    pub tls: ListenerTls,
    /// `networks`: who may connect (relay; required there).
    pub networks: Vec<Network>,
    /// `return_path`: what comes in here goes out with reverse-paths of ours.
    pub return_path: bool,
    /// `pool`, `tenant`, `routing_headers`, `preflight` (relay only).
    pub standard: Arc<Standard>,
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// AUTH required; From must belong to the account.
    Submission,
    /// No AUTH: trusted injectors only.
    Relay,
    /// What other servers send to the return path's domain.
    Bounce,
}

/// A listener's TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerTls {
    /// From the first byte.
    Implicit,
    /// By STARTTLS, required before AUTH and MAIL.
    StartTls,
    /// STARTTLS offered.
    Optional,
    /// None.
    Off,
}

/// An address block, `ADDRESS/PREFIX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The first address.
    pub address: IpAddr,
    /// Leading bits that count.
    pub prefix: u8,
}

impl Network {
    /// Whether `address` is in the block. An IPv4 address is also found where it is written as IPv6 (`::ffff:a.b.c.d`).
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(block), IpAddr::V4(address)) => {
                let ignored = 32_u32.saturating_sub(self.prefix.into());
                let differing = u32::from(block) ^ u32::from(address);
                differing.checked_shr(ignored).unwrap_or(0) == 0
            }
            (IpAddr::V6(block), IpAddr::V6(address)) => {
                let ignored = 128_u32.saturating_sub(self.prefix.into());
                let differing = u128::from(block) ^ u128::from(address);
                differing.checked_shr(ignored).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// What stands for a password that was not set yet, as in the reference configuration. It matches no password.
pub const PASSWORD_UNSET: &str = "$argon2id$...";

/// An `[[account]]`.
#[derive(Clone, Debug)]
pub struct Account {
    /// The AUTH user name.
    pub name: Box<str>,
    /// An argon2id PHC string, or [`PASSWORD_UNSET`], with which nobody can authenticate.
    pub password: Box<str>,
    /// Addresses, or `@domain`; the domain in lower case.
    pub senders: Vec<Box<str>>,
    /// `smtp`.
    pub smtp: bool,
    /// `daily_limit`, recipients a day.
    pub daily_limit: Option<u64>,
    /// `scheduled_send`: a message with a Date to come waits for it.
    pub scheduled_send: bool,
    /// `notify`: notices wanted when the message asks for nothing.
    pub notify: Notices,
    /// `return_path`: its messages go out with reverse-paths of ours, one for each recipient.
    pub return_path: bool,
    /// `pool`, `tenant`, `routing_headers`, `preflight`.
    pub standard: Standard,
}

/// Which notices are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notices {
    /// failed.
    pub failed: bool,
    /// delayed.
    pub delayed: bool,
    /// delivered.
    pub delivered: bool,
}

/// A `[[route]]`.
#[derive(Clone, Debug)]
pub struct Route {
    /// Lower-case: `example.org`, `*.example.org` (subdomains), `*` (everything).
    pub domains: Vec<Box<str>>,
    /// A host name or address literal; absent: the domain's MX.
    pub host: Option<Box<str>>,
    /// The port (25).
    pub port: u16,
    /// `tls`; absent: as `[delivery.tls]` has it.
    pub tls: Option<TlsLevel>,
    /// `ca_file`: whom `tls = "verified"` trusts; absent: as `[delivery.tls]` has it.
    pub ca_file: Option<NamedFile>,
    /// `pool`.
    pub pool: Option<Box<str>>,
}

impl Route {
    /// Whether it is for `domain` (lower case): by a pattern `example.org`, `*.example.org` for everything below, or `*`.
    pub fn covers(&self, domain: &str) -> bool {
        self.domains.iter().any(|pattern| units::matches(pattern, domain))
    }
}

/// `[delivery]`.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Port of MX delivery.
    pub port: u16,
    /// `pool`: from where mail goes out that nobody chose a pool for.
    pub pool: Option<Box<str>>,
    /// Connections per egress path.
    pub connections_max: u32,
    /// Transactions per connection.
    pub messages_per_connection_max: u32,
    /// How long a connection waits for a message before it ends.
    pub idle_timeout: Duration,
    /// For one TCP connection.
    pub connect_timeout: Duration,
    /// For the greeting and each reply but the one to the final dot.
    pub reply_timeout: Duration,
    /// For the reply to the final dot (RFC 5321 §4.5.3.2.6).
    pub final_dot_timeout: Duration,
    /// What becomes of a recipient whose delivery a crash interrupted after the final dot.
    pub uncertain: Uncertain,
    /// `[delivery.tls]`.
    pub tls: DeliveryTls,
}

/// Policy for uncertain deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncertain {
    /// Try again: perhaps twice, never not at all.
    Retry,
    /// Hold for the operator.
    Hold,
}

/// `[retry]`.
#[derive(Clone, Debug)]
pub struct Retry {
    /// Waits between attempts; the last repeats.
    pub schedule: Vec<Duration>,
    /// Maximum age.
    pub lifetime: Duration,
    /// When the delay notice is due.
    pub delay_notice_after: Duration,
    /// Waits after a greylisting reply, instead of `schedule`.
    pub greylist: Vec<Duration>,
    /// Waits while the mailbox is full, instead of `schedule`.
    pub mailbox_full: Vec<Duration>,
    /// How long a destination that has us on a block list is left alone.
    pub block_pause: Duration,
    /// How long a destination is left alone to which we sent too much: the first time, and each time that follows before
    /// anything was taken (soon, where replies adjust no limits).
    pub rate_pause: Vec<Duration>,
}

impl Default for Retry {
    fn default() -> Self {
        let minutes = |minutes: &[u64]| minutes.iter().map(|minutes| Duration::from_secs(60 * minutes)).collect();
        Self {
            schedule: minutes(&[1, 5, 10, 15, 30, 30, 60, 60, 120, 240]),
            lifetime: Duration::from_secs(5 * 86_400),
            delay_notice_after: Duration::from_secs(3_600),
            greylist: minutes(&[5, 5, 10]),
            mailbox_full: minutes(&[60, 240, 480]),
            block_pause: Duration::from_secs(3_600),
            rate_pause: minutes(&[1, 5, 15]),
        }
    }
}

/// `[retention]`.
#[derive(Clone, Debug)]
pub struct Retention {
    /// Of content, after the last recipient was delivered.
    pub content: Duration,
    /// Of the placeholder.
    pub placeholder: Duration,
}

/// `[limits]`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Octets of content.
    pub message_bytes_max: u64,
    /// Recipients per message.
    pub recipients_max: usize,
    /// Connections per client address (per shard: an address always meets the same shard).
    pub connections_per_address_max: usize,
    /// Connections per account, on all shards together.
    pub connections_per_account_max: usize,
    /// Wrong credentials of a client address in ten minutes, after which it gets 421.
    pub auth_failures_per_address_max: u32,
    /// Wrong credentials about an account in ten minutes, on all shards together, after which nobody new is let in.
    pub auth_failures_per_account_max: u32,
    /// Content in memory, per shard, received or being delivered; at least `message_bytes_max`.
    pub content_memory_bytes_max: usize,
}

/// `[http]`.
#[derive(Clone, Debug)]
pub struct Http {
    /// Where the control plane listens.
    pub address: SocketAddr,
    /// The line that says so.
    pub line: usize,
    /// The bearer token's file; absent: created with a random token, mode 0600.
    pub token_file: NamedFile,
}

/// One mistake: `FILE:LINE: what and how to mend it`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// 1-based; 0: the file as a whole.
    pub line: usize,
    /// What is wrong and what to change.
    pub text: String,
}

impl Mistake {
    /// Shows the mistake as `FILE:LINE: text`, which editors and people can follow.
    pub fn in_file(&self, file: &Path) -> String {
        match self.line {
            0 => format!("{}: {}", file.display(), self.text),
            line => format!("{}:{line}: {}", file.display(), self.text),
        }
    }
}

impl Config {
    /// Reads and validates `file`; every mistake at once, in the order of the lines.
    pub fn load(file: &Path) -> Result<Arc<Config>, Vec<Mistake>> {
        let of_file = |text: String| vec![Mistake { line: 0, text }];
        let text = std::fs::read_to_string(file)
            .map_err(|error| of_file(format!("cannot be read: {}", machine::unreadable_configuration(file, &error))))?;
        let absolute = std::path::absolute(file).map_err(|error| of_file(format!("cannot be found: {error}")))?;
        let base_dir = absolute.parent().unwrap_or(Path::new("/"));
        Config::parse(&text, base_dir).map(Arc::new)
    }

    /// The certificate's files that `file` names, as far as that can be read whatever else is wrong with it.
    pub fn tls_files(file: &Path) -> Option<TlsFiles> {
        let text = std::fs::read_to_string(file).ok()?;
        let absolute = std::path::absolute(file).ok()?;
        validate::only_tls(&text, absolute.parent()?)
    }

    /// Validates `text`; relative paths in it start at `base_dir`. Every mistake at once, in the order of the lines.
    pub fn parse(text: &str, base_dir: &Path) -> Result<Config, Vec<Mistake>> {
        validate::config(text, base_dir)
    }
}

#[cfg(test)]
mod tests;
