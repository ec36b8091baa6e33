//! Pre-flight: what the rules of large receivers for bulk mail make of a message, before it is sent. Pure.
//!
//! Owns: the rules, each with an id, its source and the words for it: on the header ([`header`]), SPF ([`spf`]), DKIM
//! ([`dkim`]), DMARC and alignment ([`dmarc`]), the way back from the source address ([`host`]).
//! Never: speaks DNS (it asks through [`Zone`], which `control::lookup` is), opens files, sends or changes anything.
//! RFC: 2369, 5322 §3.6, 6376 §3.6.1, 7208, 7489, 8058. The rules for bulk senders are those that Gmail and Yahoo have
//! enforced since February 2024, and Outlook since May 2025.
//! Limits: those of RFC 7208 §4.6.4 in [`spf`]; [`dmarc::NAMES_MAX`] names of a domain; [`host::NAMES_MAX`] names of an address.
//! DNS trouble makes a verdict unknown, and never worse.

pub mod dkim;
pub mod dmarc;
pub mod header;
pub mod host;
pub mod spf;

use std::net::IpAddr;

use crate::authentication::Signer;

/// How a message stands to a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As the rule wants it.
    Pass,
    /// Receivers take it, but not gladly or not all of them.
    Warn,
    /// Receivers refuse it, or file it as spam.
    Fail,
    /// It cannot be told: DNS did not answer, or the world sees what this host does not.
    Unknown,
}

impl Verdict {
    /// As it is shown, and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
            Verdict::Unknown => "unknown",
        }
    }
}

/// A rule, by its id and where it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What programs know it by.
    pub id: &'static str,
    /// The section of an RFC, or whose rule it is.
    pub source: &'static str,
}

/// What a rule makes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// How the message stands to it.
    pub verdict: Verdict,
    /// What was found.
    pub what: String,
    /// What to change; empty where all is as it should be.
    pub remedy: String,
}

impl Rule {
    fn pass(self, what: impl Into<String>) -> Finding {
        Finding { rule: self, verdict: Verdict::Pass, what: what.into(), remedy: String::new() }
    }

    fn warn(self, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { rule: self, verdict: Verdict::Warn, what: what.into(), remedy: remedy.into() }
    }

    fn fail(self, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { rule: self, verdict: Verdict::Fail, what: what.into(), remedy: remedy.into() }
    }

    fn unknown(self, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { rule: self, verdict: Verdict::Unknown, what: what.into(), remedy: remedy.into() }
    }
}

/// What is asked of DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Addresses, IPv4.
    A,
    /// Addresses, IPv6.
    Aaaa,
    /// Mail exchangers; the host names alone.
    Mx,
    /// Names of an address.
    Ptr,
    /// Texts, the strings of a record joined.
    Txt,
}

/// The world's DNS.
pub trait Zone {
    /// The records of `name` (without final dot) as text; none where there is no such record or name.
    ///
    /// # Errors
    /// There was no answer; why, for people.
    fn ask(&self, name: &str, kind: Kind) -> impl Future<Output = Result<Vec<String>, String>>;
}

/// An address from which a message may leave, and the EHLO name there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// As the world sees it.
    pub address: IpAddr,
    /// The EHLO name.
    pub ehlo: Box<str>,
}

/// A message as it would leave.
#[derive(Clone, Copy, Debug)]
pub struct Departure<'a> {
    /// Header and body.
    pub content: &'a [u8],
    /// The domain of the reverse-path; absent: that of From.
    pub reverse_domain: Option<&'a str>,
    /// The keys that sign it.
    pub signers: &'a [Signer],
    /// From where it may leave.
    pub egress: &'a [Egress],
}

const NO_EGRESS: Rule = Rule { id: "source", source: "RFC 7208 §2.4" };

/// What every rule makes of `departure`, in a stable order.
pub async fn examine(zone: &impl Zone, departure: &Departure<'_>) -> Vec<Finding> {
    let mut findings = header::examine(departure.content, departure.signers);
    let Some(author) = header::author_domain(departure.content) else { return findings };
    let reverse = departure.reverse_domain.unwrap_or(&author);
    let mut signed = Vec::with_capacity(departure.signers.len());
    for signer in departure.signers {
        let (finding, state) = dkim::examine(zone, signer).await;
        findings.push(finding);
        signed.push((signer.domain(), state));
    }
    if departure.signers.is_empty() && header::is_signed(departure.content) {
        signed.push((&author, dmarc::State::Unknown));
    }
    if departure.egress.is_empty() {
        let remedy = "name the addresses in a [[source]], or run this on the host that sends";
        findings.push(NO_EGRESS.unknown("no public address is known from which it leaves", remedy));
    }
    let mut spf_state = dmarc::State::of(departure.egress.is_empty().then_some(Verdict::Unknown));
    for egress in departure.egress {
        let finding = spf::examine(zone, reverse, egress.address).await;
        spf_state = spf_state.and(dmarc::State::of(Some(finding.verdict)));
        findings.push(finding);
    }
    let policy = dmarc::find(zone, &author).await;
    findings.push(dmarc::published(&author, &policy));
    findings.push(dmarc::aligned(&author, &policy, (reverse, spf_state), &signed));
    for egress in departure.egress {
        findings.push(host::examine(zone, egress).await);
    }
    findings
}

#[cfg(test)]
mod tests;
