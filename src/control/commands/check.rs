//! `ringpost check`.

use std::net::IpAddr;
use std::path::Path;

use super::{Failure, load};
use crate::config::{Config, Mistake, PASSWORD_UNSET};
use crate::control::certificate::{self, CertificateError};
use crate::control::signing;

pub(super) fn run(file: &Path) -> Result<(), Failure> {
    let config = load(file)?;
    usable_keys(&config, file)?;
    for warning in warnings(&config) {
        eprintln!("{}: warning: {warning}", file.display());
    }
    println!("{}: OK ({})", file.display(), summary(&config));
    Ok(())
}

/// What `serve` would refuse of the certificate, its key and the keys that sign.
fn usable_keys(config: &Config, file: &Path) -> Result<(), Failure> {
    let mut mistakes = signing::of(config).err().unwrap_or_default();
    if let Some(files) = &config.tls {
        let refused = |error: CertificateError| Mistake { line: error.line(files), text: error.to_string() };
        mistakes.extend(certificate::load(files).map_err(refused).err());
    }
    mistakes.sort_by_key(|mistake| mistake.line);
    if mistakes.is_empty() {
        return Ok(());
    }
    Err(Failure::Wrong(mistakes.iter().map(|mistake| mistake.in_file(file)).collect()))
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
