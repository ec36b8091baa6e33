//! What sessions come to, for TLS reports (RFC 8460): a shard's counts, which the control plane takes.
//!
//! A session counts once, when it is opened, for the domain of the task that it is opened for. What carries a report itself
//! counts nowhere, so no report causes another one.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;

use super::Task;
use super::conversation::Conversation;
use super::obstacle::Obstacle;
use super::protection::Protection;
use crate::assurance::dane::Tlsa;
use crate::assurance::report::{Counts, Failure, Policy, is_report};
use crate::assurance::sts::{self, Announced, Mode};
use crate::assurance::{self, Assurance, Channel, Plain};
use crate::smtp::client::Phase;
use crate::smtp::path::ReversePath;
use crate::smtp::reply::EnhancedCode;

/// Result types (§4.3).
const NOT_OFFERED: &str = "starttls-not-supported";
const INVALID: &str = "validation-failure";
const DNSSEC: &str = "dnssec-invalid";

/// The counts; nothing is counted where nobody reports.
#[derive(Debug, Default)]
pub struct Reporting {
    wanted: Cell<bool>,
    counts: RefCell<Counts>,
}

/// With whom a session was tried.
pub(super) struct With<'a> {
    /// The recipients' domain.
    pub domain: &'a str,
    pub host: &'a str,
    pub address: Option<IpAddr>,
    pub assurance: &'a Assurance,
    pub tlsa: Option<&'a Tlsa>,
}

impl Reporting {
    /// Counts from now on, or no longer.
    pub fn want(&self, wanted: bool) {
        self.wanted.set(wanted);
    }

    /// Whether sessions are counted.
    pub fn is_wanted(&self) -> bool {
        self.wanted.get()
    }

    /// Hands over what was counted since the last time.
    pub fn take(&self) -> Counts {
        self.counts.take()
    }

    /// The domain for which a session that is opened for `task` counts.
    pub(super) fn domain_of(&self, task: &Task) -> Option<Box<str>> {
        let is_ours = || task.sender.path == ReversePath::Null && is_report(&task.content);
        // Nothing was looked up of the domain's policies for a message that waives them.
        let is_waived = task.site.assurance.policy == assurance::Policy::Waived;
        // A host that a route or an address literal names is not the domain's own.
        let is_named = task.site.key.starts_with('[');
        (self.wanted.get() && !is_waived && !is_named && !is_ours()).then(|| as_dns_has_it(task.domain()))
    }

    /// A host was tried: counted if it got as far as TLS.
    pub(super) fn note(&self, with: &With<'_>, protection: &Protection, result: &Result<Conversation, Obstacle>) {
        let Some(failed) = came_to(protection, result) else { return };
        let ours = result.as_ref().ok().and_then(Conversation::ours);
        let policy_kind = protection.policy();
        let failed = match (failed, &with.assurance.sts) {
            (None, Some(Announced::Policy(policy))) if policy.mode == Mode::Testing && !policy.permits(with.host) => {
                Some((INVALID, not_permitted()))
            }
            // With TLSA records nobody needs the policy.
            (None, Some(Announced::Missing(missing))) if policy_kind != assurance::Policy::Dane => {
                Some((missing.name(), String::new()))
            }
            (failed, _) => failed,
        };
        let failure = failed.map(|(result, why)| failure(result, ours, with, &why));
        self.counts.borrow_mut().add(policy(with, policy_kind), failure);
    }

    /// The TLSA records of a host cannot be looked up, or DNSSEC disputes them.
    pub(super) fn note_dnssec(&self, with: &With<'_>, why: &str) {
        self.counts
            .borrow_mut()
            .add(Policy::tlsa(with.domain, with.host, None), Some(failure(DNSSEC, None, with, why)));
    }

    /// A domain's policy permits none of its hosts.
    pub(super) fn note_none_permitted(&self, domain: &str, policy: &sts::Policy, host: &str) {
        let assurance = Assurance::enforced();
        let with = With { domain, host, address: None, assurance: &assurance, tlsa: None };
        let failure = failure(INVALID, None, &with, &not_permitted());
        self.counts.borrow_mut().add(Policy::sts(domain, policy), Some(failure));
    }
}

fn as_dns_has_it(domain: &str) -> Box<str> {
    idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_ascii_lowercase()).into()
}

fn not_permitted() -> String {
    "the policy does not permit the host".into()
}

fn policy(with: &With<'_>, asked: assurance::Policy) -> Policy {
    match (asked, &with.assurance.sts) {
        (assurance::Policy::Dane, _) => Policy::tlsa(with.domain, with.host, with.tlsa),
        (_, Some(Announced::Policy(policy))) => Policy::sts(with.domain, policy),
        (_, Some(Announced::Missing(_))) => Policy::sts_missing(with.domain),
        (_, None) => Policy::none(with.domain),
    }
}

fn failure(result: &str, ours: Option<IpAddr>, with: &With<'_>, why: &str) -> Failure {
    let why = &why[..why.floor_char_boundary(assurance::report::TEXT_BYTES_MAX)];
    Failure { result: result.into(), ours, host: with.host.into(), address: with.address, why: why.into() }
}

/// How TLS failed, `Some(None)` if it did not; `None` where it was not tried.
fn came_to(protection: &Protection, result: &Result<Conversation, Obstacle>) -> Option<Option<(&'static str, String)>> {
    match result {
        Ok(conversation) => match conversation.channel()? {
            Channel::Encrypted { .. } => Some(protection.observed().map(|why| (kind(&why), why))),
            Channel::Plain(Plain::NotOffered) => Some(Some((NOT_OFFERED, String::new()))),
            Channel::Plain(Plain::Fallback(why)) => Some(Some((kind(why), why.to_string()))),
            Channel::Plain(Plain::Off) | Channel::Refused => None,
        },
        Err(Obstacle::Insecure(EnhancedCode(4, 7, 4), why, _)) => Some(Some((NOT_OFFERED, why.to_string()))),
        Err(Obstacle::Insecure(EnhancedCode(5, 7, 10), why, _)) if why.contains("does not offer STARTTLS") => {
            Some(Some((NOT_OFFERED, why.to_string())))
        }
        // TLS it has: what it lacks is REQUIRETLS.
        Err(Obstacle::Insecure(EnhancedCode(5, 7, 30), ..)) => Some(None),
        Err(Obstacle::Insecure(_, why, _) | Obstacle::Lost(Phase::StartTls, why)) => {
            Some(Some((kind(why), why.to_string())))
        }
        Err(_) => None,
    }
}

/// The result type of a handshake that failed with these words, which are rustls' and our verifiers'.
fn kind(why: &str) -> &'static str {
    let kinds = [
        ("certificate expired", "certificate-expired"),
        ("certificate not valid for name", "certificate-host-mismatch"),
        ("NotValidForName", "certificate-host-mismatch"),
        ("UnknownIssuer", "certificate-not-trusted"),
        ("CaUsedAsEndEntity", "certificate-not-trusted"),
        ("none that the host's TLSA records name", "tlsa-invalid"),
    ];
    kinds.iter().find(|(words, _)| why.contains(words)).map_or(INVALID, |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{CertificateError, Error};

    use super::*;

    #[test]
    fn the_words_of_failures_tell_their_result_types() {
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1));
        let expected = ServerName::try_from("mx.test").expect("a name");
        let cases = [
            (CertificateError::ExpiredContext { time, not_after: time }, "certificate-expired"),
            (CertificateError::NotValidForName, "certificate-host-mismatch"),
            (CertificateError::NotValidForNameContext { expected, presented: Vec::new() }, "certificate-host-mismatch"),
            (CertificateError::UnknownIssuer, "certificate-not-trusted"),
            (CertificateError::BadEncoding, "validation-failure"),
        ];
        for (error, result) in cases {
            assert_eq!(kind(&Error::InvalidCertificate(error).to_string()), result);
        }
        assert_eq!(kind("received fatal alert: ProtocolVersion"), "validation-failure");
    }
}
