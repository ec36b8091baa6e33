//! Whom next hops, policy hosts and DNS are trusted by: authorities and trust anchors, read from their files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use hickory_resolver::proto::dnssec::TrustAnchors;
use rustls::RootCertStore;

use crate::assurance::Trust;
use crate::config::{Config, Mistake, NamedFile, TlsLevel, unreadable_public};

/// Authorities and trust anchors of a configuration.
#[derive(Clone, Default)]
pub struct Trusted {
    /// Of certificates.
    pub trust: Arc<Trust>,
    /// Of DNSSEC.
    pub anchors: Arc<TrustAnchors>,
}

/// Reads every file that `config` names; every one that cannot be used is a mistake, on its line.
pub fn of(config: &Config) -> Result<Trusted, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let mut read = |what: &str, file: &NamedFile| {
        authorities_in(&file.path).unwrap_or_else(|why| {
            mistakes.push(Mistake { line: file.line, text: format!("{what}: {}: {why}", file.path.display()) });
            Arc::new(RootCertStore::empty())
        })
    };
    let usual = match &config.delivery.tls.ca_file {
        Some(file) => read("delivery.tls.ca_file", file),
        None if asks_the_system(config) => Arc::new(of_the_system()),
        None => Arc::new(RootCertStore::empty()),
    };
    let files = config.routes.iter().filter_map(|route| route.ca_file.as_ref());
    let by_file: BTreeMap<Arc<Path>, Arc<RootCertStore>> =
        files.map(|file| (file.path.clone(), read("route.ca_file", file))).collect();
    let anchors = config.dns_trust_anchor.as_ref().map_or_else(
        || Arc::new(TrustAnchors::default()),
        |file| {
            anchors_in(&file.path).map(Arc::new).unwrap_or_else(|why| {
                let text = format!("dns.trust_anchor: {}: {why}", file.path.display());
                mistakes.push(Mistake { line: file.line, text });
                Arc::default()
            })
        },
    );
    if mistakes.is_empty() { Ok(Trusted { trust: Arc::new(Trust { usual, by_file }), anchors }) } else { Err(mistakes) }
}

/// Whether anything is to be verified by the system's authorities.
fn asks_the_system(config: &Config) -> bool {
    let tls = &config.delivery.tls;
    let is_verified = |level| level == TlsLevel::Verified;
    let by_route = config.routes.iter().any(|route| route.ca_file.is_none() && route.tls.is_some_and(is_verified));
    is_verified(tls.level) || tls.mta_sts || by_route
}

/// The system's certificate authorities. Some may be too odd for us; the others are trusted all the same.
pub fn of_the_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn authorities_in(file: &Path) -> Result<Arc<RootCertStore>, String> {
    let pem = fs::read(file).map_err(|error| unreadable_public(file, &error))?;
    shards::tls::authorities(&pem).map(Arc::new).map_err(|error| error.to_string())
}

fn anchors_in(file: &Path) -> Result<TrustAnchors, String> {
    let text = fs::read_to_string(file).map_err(|error| unreadable_public(file, &error))?;
    let has_keys = text.lines().any(|line| !line.trim_start().starts_with(';') && line.contains("DNSKEY"));
    match text.parse() {
        Ok(anchors) if has_keys => Ok(anchors),
        _ => Err("it must hold DNSKEY records, one a line, as in a zone file".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_cannot_be_used_are_mistakes_on_their_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("bad.pem"), "nothing").expect("written");
        fs::write(folder.path().join("bad.key"), "; nothing").expect("written");
        let text = "\
[server]
hostname = \"mta.example.org\"
data_dir = \"data\"
[[listener]]
kind = \"relay\"
address = \"127.0.0.1:2525\"
tls = \"off\"
networks = [\"127.0.0.0/8\"]
[dns]
trust_anchor = \"bad.key\"
[delivery.tls]
ca_file = \"bad.pem\"
[[route]]
domains = [\"a.test\"]
next_hop = \"a.test\"
tls = \"verified\"
ca_file = \"none.pem\"
";
        let config = Config::parse(text, folder.path()).expect("good");
        let mistakes = of(&config).err().expect("three mistakes");
        assert_eq!(mistakes.iter().map(|mistake| mistake.line).collect::<Vec<_>>(), [12, 17, 10], "{mistakes:?}");
        assert!(mistakes[1].text.ends_with(": put it there, or name the file that is to be read"), "{mistakes:?}");
        let key = "test. 3600 IN DNSKEY 257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==\n";
        fs::write(folder.path().join("good.key"), key).expect("written");
        assert!(anchors_in(&folder.path().join("good.key")).is_ok());
    }
}
