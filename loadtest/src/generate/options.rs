//! The command line of `ringload generate`.

use std::path::PathBuf;
use std::time::Duration;

use super::expect::Expected;
use super::size::Sizes;
use crate::message::BodyKind;
use crate::{TlsOption, units};

/// Sends messages to an SMTP server and measures how it takes them.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Example:\n  ringload generate --to 127.0.0.1:2525 --messages 10000 --connections 20 \
                        --size 10KiB --rcpt-domain sink.test")]
pub struct Options {
    /// The server
    #[arg(long, value_name = "HOST:PORT")]
    pub to: String,
    /// Messages to send in all
    #[arg(long, value_name = "N", required_unless_present_any = ["duration", "idle"])]
    pub messages: Option<u64>,
    /// No message falls due after this long (30s, 5m)
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub duration: Option<Duration>,
    /// Send nothing: open all connections, keep them this long, close them
    #[arg(long, value_name = "TIME", value_parser = units::duration, conflicts_with_all = ["messages", "duration"])]
    pub idle: Option<Duration>,
    /// Connections at a time
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub connections: u32,
    /// Connections of a thread that are on their way from TCP to EHLO's reply at a time [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub opening: Option<u32>,
    /// Messages of one connection; 0: keep it
    #[arg(long, value_name = "N", default_value = "0")]
    pub messages_per_connection: u32,
    /// Octets of a message: 10KiB, uniform:1KiB-100KiB, or mix:1KiB=70,50KiB=25,1MiB=5 (shares)
    #[arg(long, value_name = "SIZE", default_value = "10KiB")]
    pub size: Sizes,
    /// What the bodies are made of
    #[arg(long, value_enum, value_name = "KIND", default_value = "text")]
    pub body: BodyKind,
    /// Recipients of a message
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub recipients: u32,
    /// Messages per second that fall due, however slow the server is; absent: as fast as it takes them
    #[arg(long, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,
    /// Use PIPELINING where offered
    #[arg(long)]
    pub pipelining: bool,
    /// Use BDAT where CHUNKING is offered
    #[arg(long, alias = "chunking")]
    pub bdat: bool,
    /// Encrypt; without --ca the certificate is not verified, which is allowed on loopback only
    #[arg(long, value_enum, value_name = "HOW")]
    pub tls: Option<TlsOption>,
    /// Certificates to trust (PEM)
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub ca: Option<PathBuf>,
    /// Make a whole TLS handshake for every connection
    #[arg(long, requires = "tls")]
    pub no_resumption: bool,
    /// AUTH PLAIN as this user
    #[arg(long, value_name = "NAME", requires = "password_file", requires = "tls")]
    pub user: Option<String>,
    /// The password's file
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// The reverse-path and the From field
    #[arg(long, value_name = "ADDRESS", default_value = "sender@ringload.test")]
    pub from: String,
    /// The recipients' domain; several take turns
    #[arg(long, value_name = "DOMAIN", default_value = "sink.test", value_delimiter = ',')]
    pub rcpt_domain: Vec<String>,
    /// The name in EHLO
    #[arg(long, value_name = "NAME", default_value = "ringload.test")]
    pub hostname: String,
    /// Write the id of each message that got 250
    #[arg(long, value_name = "FILE")]
    pub ids: Option<PathBuf>,
    /// In --ids, write one line per accepted recipient: id and address
    #[arg(long, requires = "ids")]
    pub per_recipient: bool,
    /// Write the course of the load (CSV): accepted, failed, open connections
    #[arg(long, value_name = "FILE")]
    pub series: Option<PathBuf>,
    /// What may happen without being a failure: reply codes (450), classes (4xx), `lost`
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub expect: Vec<Expected>,
    /// Connect from this many addresses (127.0.0.1 and up); a server steers each source to one of its shards
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u8).range(1..=250))]
    pub sources: u8,
    /// How long to wait for any one thing
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = units::duration)]
    pub patience: Duration,
    /// Threads, each on a core of its own
    #[arg(long, value_name = "N", default_value = "1", value_parser = threads)]
    pub threads: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl Options {
    /// From words as on the command line.
    ///
    /// # Errors
    /// What is wrong with them, in one line.
    pub fn of_words<'a>(words: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        crate::units::options(words)
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=1e7).contains(&rate) => Ok(rate),
        _ => Err("a rate is a number of messages per second, from 0.001 to 10000000".into()),
    }
}

fn threads(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(threads) if (1..=usize::from(u8::MAX)).contains(&threads) => Ok(threads),
        _ => Err("a number of threads is between 1 and 255".into()),
    }
}
