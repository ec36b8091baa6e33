//! Pre-flight: what the rules of large receivers for bulk mail make of a message, before it is sent. Pure.
//!
//! Owns: the rules, each with an id, its source and the words for it: on the header ([`header`]), SPF ([`spf`]), DKIM
//! ([`dkim`]), DMARC and alignment ([`dmarc`]), the way back from the source address ([`host`]); whose rules they are
//! ([`receiver`]), and what comes of all ([`judgement`]).
//! Never: speaks DNS (it asks through [`Zone`], which are a shard's `dns::Cache` at submission and `control::lookup` for the
//! command), opens files, sends or changes anything.
//! RFC: 2369, 5322 §3.6, 6376 §3.6.1, 7208, 7489, 8058. The rules for bulk senders are those that Gmail and Yahoo have
//! enforced since February 2024, and Outlook since May 2025.
//! Limits: those of RFC 7208 §4.6.4 in [`spf`]; [`dmarc::NAMES_MAX`] names of a domain; [`host::NAMES_MAX`] names of an address.
//! DNS trouble makes a verdict unknown, and never worse.

pub mod dkim;
pub mod dmarc;
pub mod header;
pub mod host;
pub mod judgement;
pub mod receiver;
pub mod spf;

pub use judgement::Judgement;
pub use receiver::Receiver;

use std::net::IpAddr;

use crate::authentication::Signer;

/// Whose rules those are that Outlook has not.
const GMAIL_AND_YAHOO: &[Receiver] = &[Receiver::Gmail, Receiver::Yahoo];

/// How a message stands to a rule, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As the rule wants it.
    Pass,
    /// Receivers take it, but not gladly or not all of them.
    Warn,
    /// It cannot be told: DNS did not answer, or the world sees what this host does not.
    Unknown,
    /// Receivers refuse it, or file it as spam.
    Fail,
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
    /// The section of an RFC.
    pub source: &'static str,
    /// Who asks bulk senders for it.
    pub asked_by: &'static [Receiver],
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
    /// Where it is written, and whose it is.
    pub fn sources(self) -> String {
        format!("{}; {}: bulk senders", self.source, Receiver::names(self.asked_by))
    }

    /// Whether one of `receivers` asks for it.
    pub fn matters_to(self, receivers: &[Receiver]) -> bool {
        self.asked_by.iter().any(|receiver| receivers.contains(receiver))
    }

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
    /// The source names no address: this one is our name's, and the kernel may choose another.
    pub is_guessed: bool,
}

/// What tells from where it leaves.
const NAME_IT: &str =
    "name the address from which it leaves in `addresses` of a [[source]], and the source in [delivery] pool";

impl Egress {
    /// The finding of a rule that does not hold for the address: where that is a guess, nobody knows whether it does.
    fn unless_guessed(&self, finding: Finding) -> Finding {
        if !self.is_guessed {
            return finding;
        }
        let what = format!("{}; but that it leaves from there is guessed from the addresses of our name", finding.what);
        finding.rule.unknown(what, NAME_IT)
    }
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

/// What DNS is asked about: it is the same for all messages that leave alike.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// The domain of the author.
    pub author: &'a str,
    /// The domain of the reverse-path.
    pub reverse_domain: &'a str,
    /// The keys that sign.
    pub signers: &'a [Signer],
    /// Somebody else has signed, and it is not known whether well.
    pub is_signed: bool,
    /// From where it may leave.
    pub egress: &'a [Egress],
}

const NO_EGRESS: Rule = Rule { id: "source", source: "RFC 7208 §2.4", asked_by: Receiver::ALL };
const IN_TIME: Rule = Rule { id: "dns", source: "RFC 1035", asked_by: Receiver::ALL };

/// What every rule makes of `departure`, in a stable order.
pub async fn examine(zone: &impl Zone, departure: &Departure<'_>) -> Vec<Finding> {
    let Departure { content, reverse_domain, signers, egress } = *departure;
    let mut findings = header::examine(content, signers);
    if let Some(author) = header::author_domain(content) {
        let reverse_domain = reverse_domain.unwrap_or(&author);
        let is_signed = header::is_signed(content);
        let standing = Standing { author: &author, reverse_domain, signers, is_signed, egress };
        findings.extend(examine_standing(zone, &standing).await);
    }
    findings
}

/// What the rules make of what DNS says.
pub async fn examine_standing(zone: &impl Zone, standing: &Standing<'_>) -> Vec<Finding> {
    let Standing { author, reverse_domain, signers, is_signed, egress } = *standing;
    let (mut findings, states) = keys(zone, signers).await;
    let mut signed: Vec<_> = signers.iter().map(Signer::domain).zip(states).collect();
    if signers.is_empty() && is_signed {
        signed.push((author, dmarc::State::Unknown));
    }
    if egress.is_empty() {
        findings.push(NO_EGRESS.unknown("no public address is known from which it leaves", NAME_IT));
    }
    let mut spf_state = dmarc::State::of(egress.is_empty().then_some(Verdict::Unknown));
    for egress in egress {
        let finding = spf::examine(zone, reverse_domain, egress).await;
        spf_state = spf_state.and(dmarc::State::of(Some(finding.verdict)));
        findings.push(finding);
    }
    let policy = dmarc::find(zone, author).await;
    findings.push(dmarc::published(author, &policy));
    findings.push(dmarc::aligned(author, &policy, (reverse_domain, spf_state), &signed));
    for egress in egress {
        findings.push(host::examine(zone, egress).await);
    }
    findings
}

/// What DNS says of every key. Where one holds, receivers overlook those that do not.
async fn keys(zone: &impl Zone, signers: &[Signer]) -> (Vec<Finding>, Vec<dmarc::State>) {
    let (mut findings, mut states) = (Vec::with_capacity(signers.len()), Vec::with_capacity(signers.len()));
    for signer in signers {
        let (finding, state) = dkim::examine(zone, signer).await;
        findings.push(finding);
        states.push(state);
    }
    if states.contains(&dmarc::State::Holds) {
        let failed = findings.iter_mut().filter(|finding| finding.verdict == Verdict::Fail);
        failed.for_each(|finding| finding.verdict = Verdict::Warn);
    }
    (findings, states)
}

/// The finding about a message for which DNS did not say in time what the rules ask.
pub fn not_in_time() -> Finding {
    IN_TIME.unknown("DNS did not answer in time", "try again")
}

/// The finding about a message of which nobody knows whose rules count: DNS does not say where mail for `domain` goes.
pub fn receiver_unknown(domain: &str) -> Finding {
    IN_TIME.unknown(format!("the mail exchangers of {domain} cannot be looked up"), "try again")
}

#[cfg(test)]
mod tests;
