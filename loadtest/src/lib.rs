//! `ringload`: a load generator, a sink and their accounting, for any SMTP server.
//!
//! Owns: messages that can be told apart and checked for damage ([`message`]), the load ([`generate`]), the destination
//! with its faults ([`sink`]), the count of what was lost or doubled ([`verify`]), experiments with a server between the
//! two ([`run`], [`server`]), and what is shown of them ([`report`]).
//! Never: speaks SMTP itself; both ends are Ringpost's sessions on `shards`, as in the server.

mod clock;
pub mod generate;
mod idfile;
pub mod message;
pub mod report;
pub mod run;
mod series;
pub mod server;
pub mod sink;
mod units;
mod usage;
pub mod verify;

/// How a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TlsOption {
    /// From the first byte
    Implicit,
    /// After STARTTLS
    Starttls,
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It ran and failed: exit code 1.
    #[error("{0}")]
    Failed(String),
    /// The command line, or a file that it names, is wrong: exit code 2.
    #[error("{0}")]
    Usage(String),
}
