//! Authentication of what we send: DKIM signatures (RFC 6376) by the key of the domain in From. Pure.
//!
//! Owns: which keys sign a message ([`Signers`]), the canonical form of its header and body ([`canonical`]), the
//! `DKIM-Signature` field ([`signature`]), what is made seven-bit for it, keys with the record that publishes them ([`key`]).
//! Never: reads a key's file (`control::signing`), decides when to sign or on which thread (`inbound::sign`), asks DNS.
//! RFC: 6376, 8301 (RSA of 2048 bits and more, SHA-256), 8463 (Ed25519). Content comes from `smtp::server`: every line
//! ends in CRLF, there is no bare CR or LF.
//! Limits: `[[dkim]]` sections of a domain, in `config::dkim`; [`signature::INSTANCES_MAX`] signed fields of a name.

pub mod canonical;
pub mod key;
pub mod signature;

pub use key::{Algorithm, Key};
pub use signature::{Signer, SigningError, sign, sign_seven_bit};

use std::collections::HashMap;
use std::sync::Arc;

use crate::message::scan::from_mailboxes;

/// The keys of all domains. Immutable, and replaced whole by a reload.
#[derive(Debug, Default)]
pub struct Signers(HashMap<Box<str>, Domain>);

/// Keys that sign together.
pub type Together = Arc<[Signer]>;

/// A domain's keys.
#[derive(Debug)]
struct Domain {
    /// For mail from the domain itself.
    own: Together,
    /// For mail from its subdomains that have no keys.
    of_subdomains: Together,
}

impl Signers {
    /// The keys, each with whether it signs for subdomains, too.
    pub fn new(keys: impl IntoIterator<Item = (Signer, bool)>) -> Signers {
        let mut domains: HashMap<Box<str>, Vec<(Signer, bool)>> = HashMap::new();
        for (signer, subdomains) in keys {
            domains.entry(signer.domain().into()).or_default().push((signer, subdomains));
        }
        let of = |keys: Vec<(Signer, bool)>| Domain {
            of_subdomains: keys
                .iter()
                .filter(|(_, subdomains)| *subdomains)
                .map(|(signer, _)| signer.clone())
                .collect(),
            own: keys.into_iter().map(|(signer, _)| signer).collect(),
        };
        Signers(domains.into_iter().map(|(name, keys)| (name, of(keys))).collect())
    }

    /// The keys for a message with this header: of the domain of the first mailbox in From, or else of the nearest domain
    /// above it that has keys for its subdomains. `None` where From names no domain, or none with keys.
    pub fn of(&self, header: &[u8]) -> Option<Together> {
        if self.0.is_empty() {
            return None;
        }
        let mailboxes = from_mailboxes(header)?;
        let (_, domain) = mailboxes.first()?.rsplit_once('@')?;
        self.of_domain(domain)
    }

    /// The keys for mail from `domain`.
    pub fn of_domain(&self, domain: &str) -> Option<Together> {
        let domain = &*idna::domain_to_ascii(domain).ok()?;
        if let Some(found) = self.0.get(domain) {
            return Some(found.own.clone());
        }
        let parents = std::iter::successors(domain.split_once('.'), |(_, parent)| parent.split_once('.'));
        let mut found = parents.filter_map(|(_, parent)| self.0.get(parent));
        found.find(|domain| !domain.of_subdomains.is_empty()).map(|domain| domain.of_subdomains.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signers(keys: &[(&str, &str, bool)]) -> Signers {
        Signers::new(keys.iter().map(|(domain, selector, subdomains)| {
            let (_, key) = Key::generate(Algorithm::Ed25519).expect("a key");
            (Signer::new(domain, selector, key), *subdomains)
        }))
    }

    /// The selectors of those that sign a message from `from`.
    fn of(signers: &Signers, from: &str) -> Vec<String> {
        let together = signers.of(format!("Subject: x\r\nFrom: {from}\r\n").as_bytes());
        together.iter().flat_map(|together| together.iter()).map(|signer| signer.selector().to_owned()).collect()
    }

    #[test]
    fn the_domain_in_from_signs_with_all_its_keys() {
        let signers =
            signers(&[("example.org", "a", false), ("example.org", "b", true), ("news.example.org", "n", false)]);
        assert_eq!(of(&signers, "x@example.org"), ["a", "b"]);
        assert_eq!(of(&signers, "\"A, B\" <x@Example.ORG>"), ["a", "b"]);
        assert_eq!(of(&signers, "x@news.example.org"), ["n"]);
        assert_eq!(of(&signers, "x@example.com, y@example.org"), [""; 0]);
        assert_eq!(of(&signers, "nobody"), [""; 0]);
    }

    #[test]
    fn a_domain_signs_for_its_subdomains_where_it_may_and_they_cannot() {
        let signers =
            signers(&[("example.org", "a", false), ("example.org", "b", true), ("news.example.org", "n", false)]);
        assert_eq!(of(&signers, "x@shop.example.org"), ["b"]);
        assert_eq!(of(&signers, "x@eu.shop.example.org"), ["b"]);
        assert_eq!(of(&signers, "x@eu.news.example.org"), ["b"], "news has no key for subdomains");
        assert_eq!(of(&signers, "x@badexample.org"), [""; 0]);
        assert_eq!(of(&signers, "x@org"), [""; 0]);
    }

    #[test]
    fn names_beyond_ascii_meet_in_the_form_that_dns_has() {
        let signers = signers(&[("xn--bcher-kva.example", "a", false)]);
        assert_eq!(of(&signers, "x@b\u{fc}cher.example"), ["a"]);
        assert_eq!(of(&signers, "x@xn--bcher-kva.example"), ["a"]);
    }
}
