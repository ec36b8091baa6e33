//! Assurance: what a TLS session with a next hop must prove, and by whose words. Pure.
//!
//! Owns: the levels and where each comes from, what TLSA records and MTA-STS policies mean, and the verification of
//! certificates by TLSA records.
//! Never: asks for a record or a policy (`dns` and the control plane do), connects or falls back (`outbound` does).
//! RFC: 7435 (opportunistic), 6698, 7671 and 7672 (DANE), 8461 (MTA-STS), 8689 (REQUIRETLS).
//! Limits: [`dane::RECORDS_MAX`] records of a host, [`sts::POLICY_BYTES_MAX`] of a policy.
//!
//! Whichever comes first in this table decides:
//!
//! | what is known | what the session must prove | else |
//! |---|---|---|
//! | the message came with REQUIRETLS | the host's name is authenticated; a trusted certificate for it, or one that its TLSA records name; REQUIRETLS | failed, 5.7.10 or 5.7.30 |
//! | the route, or `[delivery.tls]`, says `off` | nothing | |
//! | … `verified` | a certificate for the host's name from a trusted authority | deferred, 4.7.5 |
//! | the host's TLSA records, validated | a certificate that they name | deferred, 4.7.5 |
//! | its TLSA records cannot be looked up | | the host is passed over |
//! | the recipient domain's policy enforces | the host is named there; a trusted certificate for its name | deferred, 4.7.5 |
//! | TLSA records that nobody can use, or `required` | encryption | deferred, 4.7.4 |
//! | nothing | nothing; what is offered is used | plain text |
//!
//! For a message that waives it (`TLS-Required: No`) neither TLSA records nor the domain's policy are known.

pub mod dane;
mod observer;
pub mod report;
mod session;
pub mod sts;
mod verifier;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;

use crate::config::TlsLevel;

pub use crate::message::Demand;
pub use observer::Observer;
pub use session::{Channel, Plain, Security};
pub use verifier::DaneVerifier;

/// What sessions with the hosts of a site must prove.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Assurance {
    /// How much.
    pub level: TlsLevel,
    /// By what kind of policy.
    pub policy: Policy,
    /// Where that stands.
    pub asked_by: AskedBy,
    /// Whom certificates are trusted by; `None`: the usual authorities.
    pub ca_file: Option<Arc<Path>>,
    /// The policy that the domain announces, where its sessions are reported (RFC 8460).
    pub sts: Option<sts::Announced>,
}

impl Assurance {
    /// What `[delivery.tls] mode` says.
    pub fn usual(level: TlsLevel) -> Assurance {
        Assurance { level, policy: Policy::of(level), asked_by: AskedBy::Configuration, ca_file: None, sts: None }
    }

    /// What a route says.
    pub fn of_route(level: TlsLevel, ca_file: Option<Arc<Path>>) -> Assurance {
        Assurance { asked_by: AskedBy::Route, ca_file, ..Assurance::usual(level) }
    }

    /// What a recipient domain's MTA-STS policy enforces.
    pub fn enforced() -> Assurance {
        let (policy, asked_by) = (Policy::MtaSts, AskedBy::Domain);
        Assurance { level: TlsLevel::Verified, policy, asked_by, ca_file: None, sts: None }
    }

    /// What is asked where a message asks this, too (RFC 8689 §4.2).
    #[must_use]
    pub fn demanded(&self, demand: Demand) -> Assurance {
        let (level, policy) = match (demand, self.level) {
            (Demand::Required, _) => (TlsLevel::Verified, Policy::RequireTls),
            (Demand::Encrypted, TlsLevel::Off | TlsLevel::Opportunistic) => (TlsLevel::Required, Policy::Required),
            (Demand::Waived, level @ (TlsLevel::Opportunistic | TlsLevel::Required)) => (level, Policy::Waived),
            _ => return self.clone(),
        };
        Assurance { level, policy, asked_by: AskedBy::Message, ..self.clone() }
    }

    /// Whether only a host that takes REQUIRETLS gets the mail.
    pub fn requires_tls(&self) -> bool {
        self.policy == Policy::RequireTls
    }

    /// Whether a session that serves one serves the other, wherever they stand.
    pub fn asks_the_same_as(&self, other: &Assurance) -> bool {
        (self.level, self.policy, &self.ca_file, &self.sts) == (other.level, other.policy, &other.ca_file, &other.sts)
    }

    /// Whether a host's TLSA records have a say.
    pub fn heeds_dane(&self) -> bool {
        match self.policy {
            Policy::Opportunistic | Policy::Required | Policy::MtaSts => true,
            // Where a route names the authority nobody else's word counts.
            Policy::RequireTls => self.ca_file.is_none(),
            Policy::Off | Policy::Dane | Policy::Verified | Policy::Waived => false,
        }
    }
}

impl Default for Assurance {
    fn default() -> Self {
        Self::usual(TlsLevel::default())
    }
}

/// Who says what a session must prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// The configuration: TLS is not used.
    Off,
    /// Nobody: encryption is better than none.
    Opportunistic,
    /// The configuration: encryption.
    Required,
    /// The configuration: a trusted certificate.
    Verified,
    /// The host's TLSA records.
    Dane,
    /// The recipient domain's MTA-STS policy.
    MtaSts,
    /// The message: all that RFC 8689 wants.
    RequireTls,
    /// The message: that no domain asks for anything.
    Waived,
}

impl Policy {
    fn of(level: TlsLevel) -> Policy {
        match level {
            TlsLevel::Off => Policy::Off,
            TlsLevel::Opportunistic => Policy::Opportunistic,
            TlsLevel::Required => Policy::Required,
            TlsLevel::Verified => Policy::Verified,
        }
    }

    /// Its name in events and in the names of sites.
    pub fn name(self) -> &'static str {
        match self {
            Policy::Off => "off",
            Policy::Opportunistic => "opportunistic",
            Policy::Required => "required",
            Policy::Verified => "verified",
            Policy::Dane => "dane",
            Policy::MtaSts => "mta-sts",
            Policy::RequireTls => "requiretls",
            Policy::Waived => "waived",
        }
    }
}

/// Where it stands what a session must prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AskedBy {
    /// In `[delivery.tls] mode`.
    Configuration,
    /// In a route.
    Route,
    /// In the host's TLSA records.
    Tlsa,
    /// In the recipient domain's MTA-STS policy.
    Domain,
    /// In the message, or its envelope.
    Message,
}

impl AskedBy {
    /// Its name in events.
    pub fn name(self) -> &'static str {
        match self {
            AskedBy::Configuration => "delivery.tls",
            AskedBy::Route => "route",
            AskedBy::Tlsa => "tlsa",
            AskedBy::Domain => "mta-sts",
            AskedBy::Message => "message",
        }
    }
}

/// How a session's peer has shown who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verified {
    /// Not at all.
    No,
    /// Its certificate is the one that its TLSA records name.
    Dane,
    /// A trusted authority says that the certificate is the host's.
    Authority,
}

impl Verified {
    /// Its name in events.
    pub fn name(self) -> &'static str {
        match self {
            Verified::No => "no",
            Verified::Dane => "dane",
            Verified::Authority => "authority",
        }
    }
}

/// The authorities that certificates are verified by.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The usual ones.
    pub usual: Arc<RootCertStore>,
    /// Those of the files that routes name.
    pub by_file: BTreeMap<Arc<Path>, Arc<RootCertStore>>,
}

impl Default for Trust {
    /// Nobody is trusted.
    fn default() -> Self {
        Self { usual: Arc::new(RootCertStore::empty()), by_file: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_message_asks_comes_before_what_is_usual() {
        use TlsLevel::{Off, Opportunistic, Required, Verified};
        for level in [Off, Opportunistic, Required, Verified] {
            let usual = Assurance::usual(level);
            assert_eq!(usual.demanded(Demand::Usual), usual);
            let required = usual.demanded(Demand::Required);
            assert_eq!((required.level, required.policy, required.heeds_dane()), (Verified, Policy::RequireTls, true));
            let encrypted = usual.demanded(Demand::Encrypted);
            assert_eq!(encrypted.level, if level == Verified { Verified } else { Required });
            let waived = usual.demanded(Demand::Waived);
            assert_eq!((waived.level, waived.heeds_dane()), (level, false), "the configuration's word stands");
        }
        let route = Assurance::of_route(Verified, Some(Path::new("ca.pem").into())).demanded(Demand::Required);
        assert!(!route.heeds_dane() && route.ca_file.is_some(), "a route that names an authority trusts no other");
    }
}
