//! `ringpost doctor`: everything that makes a first day fail, each with its remedy.
//!
//! Owns: what is looked at, and the words for it. Never: changes anything, or sends anything but DNS questions and one to the
//! server that runs here; to proxies and scanners it connects, and says nothing.

mod chain;
mod dns;
mod host;
mod scanners;
mod senders;
mod settings;

use std::fmt;
use std::path::Path;

use crate::config::Config;

/// How one thing stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// As it should be.
    Fine(String),
    /// It works, but not well, or not with everybody; then what to do.
    Warning(String, String),
    /// It does not work; then what to do.
    Error(String, String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Fine(what) => write!(f, "ok       {what}"),
            Finding::Warning(what, remedy) => write!(f, "warning  {what}\n         -> {remedy}"),
            Finding::Error(what, remedy) => write!(f, "error    {what}\n         -> {remedy}"),
        }
    }
}

fn fine(what: impl Into<String>) -> Finding {
    Finding::Fine(what.into())
}

fn warning(what: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding::Warning(what.into(), remedy.into())
}

fn error(what: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding::Error(what.into(), remedy.into())
}

/// Looks at everything that `config`, read from `file`, needs.
pub fn examine(file: &Path, config: &Config) -> Vec<Finding> {
    let mut findings = host::examine(file, config);
    findings.extend(settings::examine(config));
    findings.extend(scanners::examine(config));
    findings.extend(dns::examine(config));
    findings
}
