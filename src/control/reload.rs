//! Reloading: a new configuration with its keys in place of the old one, or the old one with every reason why.

use std::path::Path;
use std::sync::Arc;

use super::named::{self, Named};
use super::return_path;
use super::trust::Trusted;
use super::webhook::{self, Endpoint};
use crate::authentication::Signers;
use crate::bounce::return_path::ReturnPath;
use crate::config::{Config, Http, Mistake};

/// A configuration with what it names, all of it read and checked.
pub struct Reload {
    /// The configuration.
    pub config: Arc<Config>,
    /// The keys that sign.
    pub signers: Arc<Signers>,
    /// Whom certificates and DNS are trusted by.
    pub trusted: Trusted,
    /// What makes and checks our reverse-paths.
    pub return_path: Option<Arc<ReturnPath>>,
    /// Who is told what becomes of messages.
    pub endpoints: Vec<Endpoint>,
}

/// Reads `file` again, and what it names. The errors are for people, one line each; where there are any, nothing changes.
pub fn prepare(file: &Path, running: &Config) -> Result<Reload, Vec<String>> {
    let in_file = |mistakes: Vec<Mistake>| mistakes.iter().map(|mistake| mistake.in_file(file)).collect::<Vec<_>>();
    let config = Config::load(file).map_err(in_file)?;
    let mut refusals = fixed(running, &config);
    let Named { signers, trusted, .. } = match named::by(&config) {
        Ok(named) if refusals.is_empty() => named,
        named => {
            refusals.extend(named.err().map(in_file).unwrap_or_default());
            return Err(refusals);
        }
    };
    let return_path = return_path::of(&config).map_err(|mistake| in_file(vec![mistake]))?;
    let endpoints = webhook::prepare(&config).map_err(in_file)?;
    Ok(Reload { config, signers, trusted, return_path, endpoints })
}

/// What cannot change while the server runs, and has changed.
fn fixed(running: &Config, new: &Config) -> Vec<String> {
    let both = at_start(running).into_iter().zip(at_start(new));
    let changed = both.filter(|((_, old), (_, new))| old != new);
    changed
        .map(|((setting, old), (_, new))| {
            format!(
                "{setting} cannot change from {old} to {new} while ringpost runs: restart it (`systemctl restart ringpost`)"
            )
        })
        .collect()
}

/// The settings that only a start heeds, and what they are.
fn at_start(config: &Config) -> [(&'static str, String); 5] {
    let addresses: Vec<String> = config.listeners.iter().map(|listener| listener.address.to_string()).collect();
    let shown = |http: &Http| format!("{} with the token in {}", http.address, http.token_file.path.display());
    [
        ("the listeners' addresses", addresses.join(", ")),
        ("server.data_dir", config.data_dir.display().to_string()),
        ("server.shards", config.shards.to_string()),
        ("log.to", config.log.to.to_string()),
        ("[http]", config.http.as_ref().map_or_else(|| "absent".into(), shown)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
[server]
hostname = \"mta.example.org\"
data_dir = \"data\"
shards = 1
[[listener]]
kind = \"relay\"
address = \"127.0.0.1:2525\"
tls = \"off\"
networks = [\"127.0.0.0/8\"]
";

    fn reload(text: &str) -> Result<Arc<Config>, Vec<String>> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("ringpost.toml");
        let running = Config::parse(TEXT, folder.path()).expect("good");
        std::fs::write(&file, text).expect("a file");
        prepare(&file, &running).map(|reload| reload.config)
    }

    #[test]
    fn what_may_change_changes() {
        let config = reload(&format!("{TEXT}[retry]\nlifetime = \"2d\"\n")).expect("good");
        assert_eq!(config.retry.lifetime.as_secs(), 2 * 86_400);
    }

    #[test]
    fn what_must_not_change_is_named_all_at_once() {
        let text = TEXT.replace("2525", "2526").replace("\"data\"", "\"other\"").replace("shards = 1", "shards = 2")
            + "[log]\nto = \"stderr\"\n[http]\naddress = \"127.0.0.1:8025\"\ntoken_file = \"token\"\n";
        let refusals = reload(&text).expect_err("five settings");
        assert_eq!(refusals.len(), 5, "{refusals:?}");
        let told = |n: usize, what: &str| assert!(refusals[n].starts_with(what), "{refusals:?}");
        told(
            0,
            "the listeners' addresses cannot change from 127.0.0.1:2525 to 127.0.0.1:2526 while ringpost runs: restart",
        );
        told(2, "server.shards cannot change from 1 to 2 ");
        told(3, "log.to cannot change from auto to stderr ");
        told(4, "[http] cannot change from absent to 127.0.0.1:8025 with the token in /");
    }

    #[test]
    fn mistakes_and_unusable_certificates_keep_the_old_configuration() {
        let refusals = reload(&TEXT.replace("relay", "realy")).expect_err("a mistake");
        assert!(refusals[0].contains("ringpost.toml:6: listener.kind"), "{refusals:?}");
        let refusals = reload(&format!("{TEXT}[tls]\ncertificate = \"c.pem\"\nprivate_key = \"k.pem\"\n"))
            .expect_err("no such certificate");
        assert!(
            refusals[0].contains("ringpost.toml:11: tls.certificate: ") && refusals[0].contains("c.pem"),
            "{refusals:?}"
        );
        let refusals =
            reload(&format!("{TEXT}[[dkim]]\ndomain = \"a.test\"\nselector = \"s\"\nprivate_key = \"d.pem\"\n"))
                .expect_err("no such key");
        assert!(
            refusals[0].contains("ringpost.toml:13: dkim.private_key: ") && refusals[0].contains("d.pem"),
            "{refusals:?}"
        );
    }
}
