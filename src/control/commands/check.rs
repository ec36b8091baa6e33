//! `ringpost check`.

use std::net::IpAddr;
use std::path::Path;

use super::{Failure, load};
use crate::config::{Config, Mistake, PASSWORD_UNSET};
use crate::control::certificate::{self, CertificateError};

pub(super) fn run(file: &Path) -> Result<(), Failure> {
    let config = load(file)?;
    usable_certificate(&config, file)?;
    for warning in warnings(&config) {
        eprintln!("{}: warning: {warning}", file.display());
    }
    println!("{}: OK ({})", file.display(), summary(&config));
    Ok(())
}

/// What `serve` would refuse of the certificate and its key.
fn usable_certificate(config: &Config, file: &Path) -> Result<(), Failure> {
    let Some(files) = &config.tls else { return Ok(()) };
    let refused = |error: CertificateError| {
        let mistake = Mistake { line: error.line(files), text: error.to_string() };
        Failure::Wrong(vec![mistake.in_file(file)])
    };
    certificate::load(files).map(drop).map_err(refused)
}

/// What is not wrong, but will not work as it stands.
fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    for account in config.accounts.iter().filter(|account| &*account.password == PASSWORD_UNSET) {
        warnings
            .push(format!("account `{}` has no password yet: set what `ringpost account hash` prints", account.name));
    }
    for webhook in config.webhooks.iter().filter(|webhook| !webhook.url.tls && !is_here(&webhook.url.host)) {
        warnings.push(format!(
            "webhook `{}` goes unencrypted to {}: who listens on the way reads it; write https where it can",
            webhook.name, webhook.url.host
        ));
    }
    warnings
}

/// Whether a host is this machine.
fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn summary(config: &Config) -> String {
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let mut parts = vec![
        count(config.shards, "shard"),
        count(config.listeners.len(), "listener"),
        count(config.accounts.len(), "account"),
        count(config.routes.len(), "route"),
    ];
    if !config.webhooks.is_empty() {
        parts.push(count(config.webhooks.len(), "webhook"));
    }
    parts.join(", ")
}
