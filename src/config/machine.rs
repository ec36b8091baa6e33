//! What the configuration takes from the machine: its name, and the credentials of its service manager.

use std::io::{Error, ErrorKind};
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
    let keys = base_dir.join("keys");
    move |value| {
        let path = super::validate::path(base_dir)(value)?;
        let Some(credentials) = &credentials else { return Ok(path) };
        text(|written| match credential(credentials, written) {
            Some(found) => Ok(found),
            None if is_denied(&path) => Err(not_handed_over(written, &keys)),
            None => Ok(path.clone()),
        })(value)
    }
}

fn credential(credentials: &Path, written: &str) -> Option<PathBuf> {
    let path = credentials.join(written.trim_start_matches("./").replace('/', "_"));
    (!written.starts_with('/') && path.is_file()).then_some(path)
}

/// Whether a file, or the way to it, is for others only: where that is so, one that is missing looks the same.
fn is_denied(path: &Path) -> bool {
    std::fs::File::open(path).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

/// What a service is told of a secret that it needs and does not get.
fn not_handed_over(written: &str, keys: &Path) -> String {
    let name = Path::new(written).file_name().unwrap_or_default().display();
    format!(
        "`{written}` may not be read by the service's user, and systemd has not handed it over: it hands over what lies in \
         {keys} when the service starts. Put the file there, name it \"keys/{name}\" here, and restart the service",
        keys = keys.display()
    )
}

/// Why a secret's file cannot be read: for people, with what to do.
pub fn unreadable(error: &Error) -> String {
    let remedy = match error.kind() {
        ErrorKind::PermissionDenied => {
            ": the user that runs this may not read it. Run the command as root; a service is handed what lies in keys/ beside its \
             configuration, by the name \"keys/FILE\""
        }
        ErrorKind::NotFound => ": put it there, or name the file that is to be read",
        _ => "",
    };
    format!("{error}{remedy}")
}

/// The same of a file that is no secret.
pub fn unreadable_public(file: &Path, error: &Error) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            let file = file.display();
            format!("{error}: the user that runs this may not read it, and it is no secret: chmod a+r {file}")
        }
        _ => unreadable(error),
    }
}

/// The same of the configuration itself.
pub(super) fn unreadable_configuration(file: &Path, error: &Error) -> String {
    if error.kind() != ErrorKind::PermissionDenied {
        return error.to_string();
    }
    let file = file.display();
    format!(
        "{error}: the user that runs this may not read it. Run the command as root; a service's user reads it by its group: \
         chgrp ringpost {file} && chmod 640 {file}"
    )
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

    #[test]
    fn what_the_service_is_not_given_is_told_with_the_way_to_it() {
        let told = not_handed_over("keys/tls.key", Path::new("/etc/ringpost/keys"));
        assert!(
            told.starts_with("`keys/tls.key` may not be read") && told.contains("in /etc/ringpost/keys when"),
            "{told}"
        );
        let told = not_handed_over("/etc/letsencrypt/live/mta/privkey.pem", Path::new("/etc/ringpost/keys"));
        assert!(told.contains("name it \"keys/privkey.pem\" here, and restart"), "{told}");
        assert!(unreadable(&ErrorKind::PermissionDenied.into()).contains("Run the command as root"));
        assert!(
            unreadable(&ErrorKind::NotFound.into()).ends_with(": put it there, or name the file that is to be read")
        );
        let public = |kind: ErrorKind| unreadable_public(Path::new("/etc/ca.pem"), &kind.into());
        assert!(public(ErrorKind::PermissionDenied).ends_with(": chmod a+r /etc/ca.pem"));
        assert_eq!(public(ErrorKind::NotFound), unreadable(&ErrorKind::NotFound.into()));
        assert!(!is_denied(Path::new("/nowhere/at/all")), "it is missing, which can be said as it is");
    }

    #[test]
    fn a_configuration_that_may_not_be_read_is_no_key() {
        let told = unreadable_configuration(Path::new("/etc/two.toml"), &ErrorKind::PermissionDenied.into());
        assert!(told.ends_with("chgrp ringpost /etc/two.toml && chmod 640 /etc/two.toml"), "{told}");
        assert!(!told.contains("keys/"), "{told}");
    }
}
