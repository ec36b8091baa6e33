//! What the demo is made of: a configuration, a certificate authority, a certificate and an account.

use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use argon2::password_hash::rand_core::{OsRng, RngCore};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

use super::{CONSOLE_PORT, Failure, IMPLICIT_PORT, RELAY_PORT, STARTTLS_PORT, failed};
use crate::control::commands::hash_password;

/// The account's name, and the address that it sends from.
pub(super) const ACCOUNT: &str = "you@demo.test";
/// Letters of a password that can be told apart when they are read.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Letters of a password: 5 bits each.
const PASSWORD_LETTERS: usize = 20;

/// The demo's files, and what its user needs to know.
pub(super) struct Setting {
    /// The configuration.
    pub config_file: PathBuf,
    /// The authority that mail software has to trust.
    pub authority_file: PathBuf,
    /// The account's password.
    pub password: String,
}

impl Setting {
    /// Writes everything to `folder`; all mail is routed to `destination`.
    pub fn write(folder: &Path, destination: SocketAddr) -> Result<Setting, Failure> {
        let setting = Setting {
            config_file: folder.join("ringpost.toml"),
            authority_file: folder.join("ca.pem"),
            password: password(),
        };
        let made = certificate().map_err(|error| failed("a certificate", &error))?;
        put(&setting.authority_file, &made.authority)?;
        put(&folder.join("server.pem"), &made.chain)?;
        put(&folder.join("server.key"), &made.key)?;
        put(&setting.config_file, &config(&hash_password(setting.password.as_bytes())?, destination))?;
        Ok(setting)
    }
}

/// Writes a file that only its owner can read.
fn put(path: &Path, text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| failed(&path.display().to_string(), &error))
}

fn password() -> String {
    let mut random = [0; PASSWORD_LETTERS];
    OsRng.fill_bytes(&mut random);
    random.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()
}

struct Made {
    authority: String,
    chain: String,
    key: String,
}

/// An authority whose key is forgotten at once, and a certificate of it for this machine.
fn certificate() -> Result<Made, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Ringpost demo CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

    let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority)?;
    Ok(Made { authority: authority.pem(), chain: certificate.pem() + &authority.pem(), key: key.serialize_pem() })
}

fn config(password: &str, destination: SocketAddr) -> String {
    format!(
        r#"# Made by `ringpost demo`. All mail goes to the destination that is built into the demo.

[server]
hostname = "mta.demo.test"
data_dir = "data"

[tls]
certificate = "server.pem"
private_key = "server.key"

[[listener]]
kind = "submission"
address = "127.0.0.1:{IMPLICIT_PORT}"
tls = "implicit"

[[listener]]
kind = "submission"
address = "127.0.0.1:{STARTTLS_PORT}"
tls = "starttls"

[[listener]]
kind = "relay"
address = "127.0.0.1:{RELAY_PORT}"
tls = "optional"
networks = ["127.0.0.0/8"]

[[account]]
name = "{ACCOUNT}"
password = "{password}"
senders = ["@demo.test"]

[[route]]
domains = ["*"]
next_hop = "{destination}"

[retry]
schedule = ["10s", "30s", "1m", "5m"]
lifetime = "1h"

[http]
address = "127.0.0.1:{CONSOLE_PORT}"
token_file = "http.token"
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::control::certificate;

    #[test]
    fn what_is_written_is_a_good_configuration_with_a_usable_certificate() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let destination = "127.0.0.1:40025".parse().expect("an address");
        let setting = Setting::write(folder.path(), destination).unwrap_or_else(|failure| panic!("{failure:?}"));
        let config = Config::load(&setting.config_file).expect("a good configuration");
        assert_eq!((&*config.routes[0].domains[0], config.routes[0].port), ("*", 40025));
        certificate::load(config.tls.as_ref().expect("[tls]")).expect("a usable certificate");
        assert_eq!(setting.password.len(), PASSWORD_LETTERS);
        assert_ne!(setting.password, password());
    }
}
