//! What the configuration takes from the machine: its name, and the credentials of its service manager.

use std::path::{Path, PathBuf};

use super::read::text;
use super::units;

/// What stands for the machine's own name.
const AUTO: &str = "auto";

/// A host name, or `auto`: this machine's full name as /etc/hosts has it, or the short one where it has none.
pub(super) fn hostname(written: &str) -> Result<Box<str>, String> {
    if written != AUTO {
        return units::hostname(written);
    }
    let read = |file| std::fs::read_to_string(file).unwrap_or_default();
    let (short, hosts) = (read("/proc/sys/kernel/hostname"), read("/etc/hosts"));
    let name = full_name(short.trim(), &hosts);
    units::hostname(name)
        .map_err(|_| format!("\"auto\": `{name}`, this machine's name, is no host name: write another"))
}

/// hosts(5): the canonical name stands first, aliases such as the short name after it.
fn full_name<'a>(short: &'a str, hosts: &'a str) -> &'a str {
    let of_line = |line: &'a str| {
        let mut names = line.split('#').next().unwrap_or_default().split_whitespace().skip(1);
        let canonical = names.next()?;
        (canonical.contains('.') && names.any(|alias| alias == short)).then_some(canonical)
    };
    if short.contains('.') { short } else { hosts.lines().find_map(of_line).unwrap_or(short) }
}

/// The path of a secret. A relative one is looked for among the credentials that systemd hands to the service alone:
/// `LoadCredential=keys:/etc/ringpost/keys` makes `keys/tls.key` the credential `keys_tls.key`. Everywhere else it is a
/// path like any other.
pub(super) fn secret(base_dir: &Path) -> impl for<'a, 't> Fn(&'a toml::de::DeValue<'t>) -> Result<PathBuf, String> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    move |value| {
        let path = super::validate::path(base_dir)(value)?;
        let found = text(|written| Ok(credentials.as_deref().and_then(|folder| credential(folder, written))))(value)?;
        Ok(found.unwrap_or(path))
    }
}

fn credential(credentials: &Path, written: &str) -> Option<PathBuf> {
    let path = credentials.join(written.trim_start_matches("./").replace('/', "_"));
    (!written.starts_with('/') && path.is_file()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_name_stands_first_in_hosts() {
        let hosts = "127.0.0.1 localhost\n# 10.0.0.1 wrong.example.org mta\n127.0.1.1\tmta.example.org mta # ours\n";
        assert_eq!(full_name("mta", hosts), "mta.example.org");
        assert_eq!(full_name("other", hosts), "other");
        assert_eq!(full_name("localhost", hosts), "localhost");
        assert_eq!(full_name("mx.example.net", hosts), "mx.example.net");
    }

    #[test]
    fn a_machine_has_a_name() {
        assert!(!hostname(AUTO).expect("a name").is_empty());
        assert_eq!(hostname("mta.example.org").as_deref(), Ok("mta.example.org"));
        assert!(hostname("10.0.0.1").is_err());
    }

    #[test]
    fn relative_secrets_are_found_among_the_credentials() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = folder.path().join("keys_tls.key");
        std::fs::write(&key, "").expect("written");
        assert_eq!(credential(folder.path(), "keys/tls.key"), Some(key.clone()));
        assert_eq!(credential(folder.path(), "./keys/tls.key"), Some(key));
        assert_eq!(credential(folder.path(), "keys/other"), None);
        assert_eq!(credential(folder.path(), "/keys/tls.key"), None);
    }
}
