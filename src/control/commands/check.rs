//! `ringpost check`.

use std::path::Path;

use super::{Failure, load};
use crate::config::{Config, PASSWORD_UNSET};

pub(super) fn run(file: &Path) -> Result<(), Failure> {
    let config = load(file)?;
    for warning in warnings(&config) {
        eprintln!("{}: warning: {warning}", file.display());
    }
    println!("{}: OK ({})", file.display(), summary(&config));
    Ok(())
}

/// What is not wrong, but will not work as it stands.
fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let files = config.tls.iter().flat_map(|tls| [&tls.certificate, &tls.private_key]);
    for path in files {
        if let Err(error) = std::fs::File::open(path) {
            warnings.push(format!("{}: {error}", path.display()));
        }
    }
    for account in config.accounts.iter().filter(|account| &*account.password == PASSWORD_UNSET) {
        warnings
            .push(format!("account `{}` has no password yet: set what `ringpost account hash` prints", account.name));
    }
    warnings
}

fn summary(config: &Config) -> String {
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let parts = [
        count(config.shards, "shard"),
        count(config.listeners.len(), "listener"),
        count(config.accounts.len(), "account"),
        count(config.routes.len(), "route"),
    ];
    parts.join(", ")
}
