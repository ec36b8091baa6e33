//! The command line of `ringload sink`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use ringpost::smtp::server::Settings;

use super::script::PROFILES;
use crate::{TlsOption, units};

/// Receives messages, counts them, and plays the faults of a script.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Example:\n  ringload sink --listen 127.0.0.1:2526 --ids received.ids --script faults.toml\n\n\
                        A script (loadtest/README.md has all keys):\n  [[fault]]\n  \
                        at = \"rcpt\"            # connect ehlo starttls handshake mail rcpt data content dot, or any\n  \
                        recipient = \"full*@*\" # rcpt and dot only; * stands for anything\n  \
                        share = 0.1            # or every = 10, or over = 100 with within = \"10s\", or greylist = \"1m\"\n  \
                        connections_over = 20  # also messages_over = 100, times = 5\n  \
                        reply = \"452 4.2.2 Mailbox full\"  # or reset, drop, silent = true; or delay = \"50ms-200ms\"\n  \
                        # at \"dot\" with reset, drop or silent: accept = true takes the message all the same")]
pub struct Options {
    /// Where to listen; may be given several times
    #[arg(long, value_name = "HOST:PORT", required = true)]
    pub listen: Vec<SocketAddr>,
    /// Faults to play (TOML)
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,
    /// Behave like this destination of the world
    #[arg(long, value_name = "NAME", conflicts_with = "script",
          value_parser = PossibleValuesParser::new(PROFILES.iter().map(|(name, _)| *name)))]
    pub profile: Option<String>,
    /// Encrypt, with a certificate made for localhost and 127.0.0.1
    #[arg(long, value_enum, value_name = "HOW")]
    pub tls: Option<TlsOption>,
    /// Write that certificate (PEM), for clients to trust
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub certificate: Option<PathBuf>,
    /// Require AUTH; any name and password will do
    #[arg(long, requires = "tls")]
    pub auth: bool,
    /// Write the id of each message that was received
    #[arg(long, value_name = "FILE")]
    pub ids: Option<PathBuf>,
    /// In --ids, write one line per recipient: id and address
    #[arg(long, requires = "ids")]
    pub per_recipient: bool,
    /// Write the course (CSV): messages, recipients, open connections
    #[arg(long, value_name = "FILE")]
    pub series: Option<PathBuf>,
    /// End after this many messages
    #[arg(long, value_name = "N")]
    pub messages: Option<u64>,
    /// The largest message that is taken
    #[arg(long, value_name = "SIZE", default_value = "100MiB", value_parser = units::size)]
    pub size_max: u64,
    /// The most recipients of a message
    #[arg(long, value_name = "N", default_value = "1000")]
    pub recipients_max: usize,
    /// The name in the greeting
    #[arg(long, value_name = "NAME", default_value = "sink.ringload.test")]
    pub hostname: String,
    /// Threads, each on a core of its own; a source address always meets the same one
    #[arg(long, value_name = "N", default_value = "1", value_parser = threads)]
    pub threads: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Bad commands of a session before it ends.
const ERRORS_MAX: u32 = 20;

impl Options {
    /// From words as on the command line.
    ///
    /// # Errors
    /// What is wrong with them, in one line.
    pub fn of_words<'a>(words: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        units::options(words)
    }

    /// What the sessions offer.
    pub(super) fn settings(&self) -> Settings {
        Settings {
            hostname: self.hostname.as_str().into(),
            starttls: self.tls == Some(TlsOption::Starttls),
            tls_required: false,
            auth_required: self.auth,
            message_bytes_max: self.size_max,
            recipients_max: self.recipients_max,
            messages_max: 0,
            errors_max: ERRORS_MAX,
        }
    }
}

fn threads(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(threads) if (1..=256).contains(&threads) => Ok(threads),
        _ => Err("a number of threads is between 1 and 256".into()),
    }
}
