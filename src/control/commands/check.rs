//! `ringpost check`.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::Failure;
use crate::config::{Config, Mistake, PASSWORD_UNSET};
use crate::control::ports::{self, Obstacle};
use crate::control::{certificate, clock, named};

pub(super) fn run(file: &Path) -> Result<(), Failure> {
    let checked = Config::load(file);
    let (mut mistakes, mut warned) = (Vec::new(), Vec::new());
    let files = match &checked {
        Ok(config) => {
            mistakes.extend(named::by(config).err().unwrap_or_default());
            warned.extend(warnings(config).into_iter().map(|text| Mistake { line: 0, text }));
            warned.extend(foreign_addresses(config));
            config.tls.clone()
        }
        Err(found) => {
            mistakes.extend(found.iter().cloned());
            Config::tls_files(file)
        }
    };
    // The certificate is looked at whatever else is wrong.
    if let Some(files) = &files {
        match certificate::load(files) {
            Ok(certificate) => {
                let told = certificate::times(&certificate, clock::now()).into_iter();
                warned.extend(
                    told.map(|text| Mistake { line: files.lines[0], text: format!("tls.certificate: {text}") }),
                );
            }
            Err(error) if checked.is_err() => mistakes.push(error.mistake(files)),
            Err(_) => {} // Told among the files of a sound configuration.
        }
    }
    for Mistake { line, text } in warned {
        eprintln!("{}", Mistake { line, text: format!("warning: {text}") }.in_file(file));
    }
    mistakes.sort_by_key(|mistake| mistake.line);
    match checked {
        Ok(config) if mistakes.is_empty() => {
            println!("{}: OK ({})", file.display(), summary(&config));
            Ok(())
        }
        _ => Err(Failure::Wrong(mistakes.iter().map(|mistake| mistake.in_file(file)).collect())),
    }
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

/// Addresses that this host does not have now. A socket unit may still open one, and an interface may come.
fn foreign_addresses(config: &Config) -> Vec<Mistake> {
    let listeners = config.listeners.iter().map(|listener| ("listener.address", listener.address, listener.line));
    let all = listeners.chain(config.http.iter().map(|http| ("http.address", http.address, http.line)));
    let is_foreign = |address: SocketAddr| matches!(ports::look(address, &[]), Err(Obstacle::Foreign));
    all.filter(|(_, address, _)| is_foreign(*address))
        .map(|(key, address, line)| Mistake { line, text: format!("{key}: {}", ports::foreign(address)) })
        .collect()
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
