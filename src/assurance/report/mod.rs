//! TLS reports (RFC 8460): what sessions with the hosts of domains came to in a day, and what those domains are told. Pure.
//!
//! Owns: the counts and their bound, their form in JSON (which is also how they are kept), what a `_smtp._tls` record says,
//! and the message that carries a report.
//! Never: asks DNS, sends or posts (the control plane does), or looks at a handshake (`outbound` does).
//! Limits: [`POLICIES_MAX`] policies of a day, [`DOMAIN_POLICIES_MAX`] of a domain, [`DETAILS_MAX`] failures of each,
//! and [`COUNTS_BYTES_MAX`] of all of them; [`TEXT_BYTES_MAX`] of a reason. What is beyond is counted, and reports tell
//! how many.
//!
//! | result (§4.3) | what happened |
//! |---|---|
//! | `starttls-not-supported` | the host does not offer STARTTLS |
//! | `certificate-host-mismatch`, `certificate-expired`, `certificate-not-trusted` | what they say |
//! | `validation-failure` | the handshake failed in another way, or the policy does not permit the host |
//! | `tlsa-invalid` | the certificate is none that the TLSA records name |
//! | `dnssec-invalid` | the TLSA records cannot be looked up, or DNSSEC disputes them |

mod letter;
mod policy;
mod record;

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};

use crate::message::scan;

pub use letter::{Letter, gzip};
pub use policy::{Failure, Policy};
pub use record::{Target, targets};

/// Policies of a day that are counted, at most.
pub const POLICIES_MAX: usize = 10_000;

/// Failures of a policy that are told apart, at most.
pub const DETAILS_MAX: usize = 100;

/// Octets that the policies and failures of a day take, at most.
pub const COUNTS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Policies of a day and domain that are counted: a domain whose records change with every look has no more.
pub const DOMAIN_POLICIES_MAX: usize = 100;

/// What stands for the failures of a policy that are not told apart.
const FURTHER: &str = "further failures, not told apart";

/// Octets of a reason.
pub const TEXT_BYTES_MAX: usize = 256;

/// Sessions under one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sessions {
    successful: u64,
    failed: u64,
    failures: BTreeMap<Failure, u64>,
}

impl Sessions {
    fn bytes(&self) -> usize {
        self.failures.keys().map(Failure::bytes).sum()
    }

    fn take_away(&mut self, gone: &Sessions) {
        self.successful = self.successful.saturating_sub(gone.successful);
        self.failed = self.failed.saturating_sub(gone.failed);
        for (failure, count) in &gone.failures {
            if let Some(left) = self.failures.get_mut(failure) {
                *left = left.saturating_sub(*count);
            }
        }
        self.failures.retain(|_, left| *left > 0);
    }

    fn json(&self, policy: &Policy) -> Value {
        let mut object = json!({
            "policy": policy.json(),
            "summary": {
                "total-successful-session-count": self.successful,
                "total-failure-session-count": self.failed,
            },
        });
        let details = self.details();
        if !details.is_empty() {
            object["failure-details"] = details.into();
        }
        object
    }

    /// The failures, and how many there are beyond.
    fn details(&self) -> Vec<Value> {
        let mut details: Vec<Value> = self.failures.iter().map(|(failure, count)| failure.json(*count)).collect();
        let further = self.failed.saturating_sub(self.failures.values().sum());
        if further > 0 {
            details.push(Failure::further().json(further));
        }
        details
    }
}

/// What sessions came to, by policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    policies: BTreeMap<Policy, Sessions>,
    /// What they take.
    bytes: usize,
    /// Sessions that are not counted, as there are too many policies.
    pub overflow: u64,
}

impl Counts {
    /// One more session.
    pub fn add(&mut self, policy: Policy, failure: Option<Failure>) {
        let (successful, failed) = if failure.is_some() { (0, 1) } else { (1, 0) };
        let failures = failure.into_iter().map(|failure| (failure, 1)).collect();
        self.merge_one(policy, Sessions { successful, failed, failures });
    }

    fn merge_one(&mut self, policy: Policy, more: Sessions) {
        if !self.policies.contains_key(&policy) {
            let bytes = self.bytes + policy.bytes();
            let of_domain = self.of_domain(&policy.domain).count();
            if self.policies.len() >= POLICIES_MAX || of_domain >= DOMAIN_POLICIES_MAX || bytes > COUNTS_BYTES_MAX {
                self.overflow += more.successful + more.failed;
                return;
            }
            self.bytes = bytes;
        }
        let sessions = self.policies.entry(policy).or_default();
        sessions.successful += more.successful;
        sessions.failed += more.failed;
        for (failure, count) in more.failures {
            if !sessions.failures.contains_key(&failure) {
                let bytes = self.bytes + failure.bytes();
                if sessions.failures.len() >= DETAILS_MAX || bytes > COUNTS_BYTES_MAX {
                    // It is in `failed` alone.
                    continue;
                }
                self.bytes = bytes;
            }
            *sessions.failures.entry(failure).or_default() += count;
        }
    }

    fn of_domain(&self, domain: &str) -> impl Iterator<Item = (&Policy, &Sessions)> {
        self.policies.range(Policy::first_of(domain)..).take_while(move |(policy, _)| *policy.domain == *domain)
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: Counts) {
        self.overflow += other.overflow;
        other.policies.into_iter().for_each(|(policy, sessions)| self.merge_one(policy, sessions));
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.overflow == 0
    }

    /// The domains of which something was counted, each once.
    pub fn domains(&self) -> Vec<Box<str>> {
        let mut domains: Vec<Box<str>> = self.policies.keys().map(|policy| policy.domain.clone()).collect();
        domains.dedup();
        domains
    }

    /// What was counted of a domain.
    pub fn of(&self, domain: &str) -> Counts {
        let wanted = self.of_domain(domain).map(|(policy, sessions)| (policy.clone(), sessions.clone()));
        let policies: BTreeMap<_, _> = wanted.collect();
        let bytes = policies.iter().map(|(policy, sessions)| policy.bytes() + sessions.bytes()).sum();
        Counts { policies, bytes, overflow: 0 }
    }

    /// Takes away what was told: what was counted since stays.
    pub fn take_away(&mut self, told: &Counts) {
        for (policy, gone) in &told.policies {
            let Some(sessions) = self.policies.get_mut(policy) else { continue };
            self.bytes -= sessions.bytes();
            sessions.take_away(gone);
            if sessions.successful + sessions.failed == 0 {
                self.policies.remove(policy);
                self.bytes -= policy.bytes();
            } else {
                self.bytes += sessions.bytes();
            }
        }
    }

    /// The `policies` of a report (§4.4) to a domain.
    pub fn policies(&self, domain: &str) -> Value {
        self.of_domain(domain).map(|(policy, sessions)| sessions.json(policy)).collect()
    }

    /// Writes them as those of `day` are kept, one policy after another: `{ "day": …, "policies": […],
    /// "sessions-not-counted": n }`, each policy as reports have it with the domain that is told, `recipient-domain`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_to(&self, day: &str, out: &mut impl Write) -> io::Result<()> {
        write!(out, "{{\"day\":{},\"policies\":[", json!(day))?;
        for (at, (policy, sessions)) in self.policies.iter().enumerate() {
            if at > 0 {
                out.write_all(b",")?;
            }
            let mut object = sessions.json(policy);
            object["recipient-domain"] = (*policy.domain).into();
            serde_json::to_writer(&mut *out, &object)?;
        }
        write!(out, "],\"sessions-not-counted\":{}}}", self.overflow)
    }

    /// Reads what [`Counts::write_to`] wrote; what cannot be understood is passed over.
    pub fn of_json(value: &Value) -> Counts {
        let mut counts =
            Counts { overflow: value["sessions-not-counted"].as_u64().unwrap_or_default(), ..Counts::default() };
        for entry in value["policies"].as_array().into_iter().flatten() {
            // Without it: a policy of the domain that is told.
            let domain = entry["recipient-domain"].as_str();
            let Some(policy) = Policy::of_json(domain, &entry["policy"]) else { continue };
            let number = |key: &str| entry["summary"][key].as_u64().unwrap_or_default();
            let details = entry["failure-details"].as_array().into_iter().flatten();
            let sessions = Sessions {
                successful: number("total-successful-session-count"),
                failed: number("total-failure-session-count"),
                // The further ones follow from the number of all.
                failures: details
                    .filter_map(Failure::of_json)
                    .filter(|(failure, _)| *failure.why != *FURTHER)
                    .collect(),
            };
            counts.merge_one(policy, sessions);
        }
        counts
    }
}

/// Whether a message carries a report of somebody's (§5.3).
pub fn is_report(content: &[u8]) -> bool {
    scan::fields(header_of(content)).any(|field| field.is("TLS-Report-Domain"))
}

/// The header of a message, with its last line end.
pub fn header_of(content: &[u8]) -> &[u8] {
    let end = content.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(content.len(), |at| at + 2);
    &content[..end]
}

#[cfg(test)]
mod tests {
    use super::super::dane::Tlsa;
    use super::super::sts;
    use super::*;

    fn failure(n: usize) -> Failure {
        let (ours, address) = ("192.0.2.1".parse().ok(), "192.0.2.25".parse().ok());
        Failure {
            result: "certificate-expired".into(),
            ours,
            host: format!("mx{n}.test").into(),
            address,
            why: "old".into(),
        }
    }

    fn written(counts: &Counts) -> Value {
        let mut text = Vec::new();
        counts.write_to("2026-11-26", &mut text).expect("memory takes all");
        serde_json::from_slice(&text).expect("JSON")
    }

    #[test]
    fn counts_are_kept_as_they_are_and_add_up() {
        let policy = sts::Policy::parse(b"version: STSv1\nmode: testing\nmx: *.a.test\nmax_age: 86400\n").expect("one");
        let mut counts = Counts::default();
        counts.add(Policy::sts("a.test", &policy), None);
        counts.add(Policy::sts("a.test", &policy), Some(failure(1)));
        counts.add(Policy::none("b.test"), Some(failure(2)));
        let tlsa = Tlsa { base: "mx.hoster.test".into(), records: Vec::new() };
        counts.add(Policy::tlsa("a.test", "mx.a.test", Some(&tlsa)), None);
        let read = Counts::of_json(&written(&counts));
        assert_eq!(read, counts);
        let mut twice = read;
        twice.merge(counts.clone());
        let report = twice.policies("a.test");
        assert_eq!(
            report,
            json!([{
                "policy": { "policy-type": "sts", "policy-domain": "a.test", "mx-host": ["*.a.test"],
                            "policy-string": ["version: STSv1", "mode: testing", "mx: *.a.test", "max_age: 86400"] },
                "summary": { "total-successful-session-count": 2, "total-failure-session-count": 2 },
                "failure-details": [{
                    "result-type": "certificate-expired", "sending-mta-ip": "192.0.2.1", "receiving-ip": "192.0.2.25",
                    "receiving-mx-hostname": "mx1.test", "failed-session-count": 2, "failure-reason-code": "old",
                }],
            }, {
                "policy": { "policy-type": "tlsa", "policy-domain": "mx.hoster.test" },
                "summary": { "total-successful-session-count": 2, "total-failure-session-count": 0 },
            }])
        );
        assert_eq!(twice.domains(), ["a.test".into(), "b.test".into()] as [Box<str>; 2]);
        let told = twice.of("a.test");
        twice.merge(counts.of("a.test"));
        twice.take_away(&told);
        assert_eq!(twice.of("a.test"), counts.of("a.test"), "what came since is there");
        twice.take_away(&counts.of("a.test"));
        assert_eq!(twice.domains(), ["b.test".into()] as [Box<str>; 1]);
    }

    #[test]
    fn a_policy_of_tlsa_records_is_that_of_a_host_and_told_to_the_domain_of_its_recipients() {
        // Where they cannot be looked up nobody knows their base domain: it is the host that was asked for.
        let mut counts = Counts::default();
        counts.add(Policy::tlsa("a.test", "mx.a.test", None), Some(failure(1)));
        assert_eq!(counts.policies("a.test")[0]["policy"]["policy-domain"], "mx.a.test");
        assert_eq!((counts.domains(), counts.policies("mx.a.test")), (vec!["a.test".into()], json!([])));
        // What an older version kept says no more than the policy's domain.
        let old = json!({ "policies": [{
            "policy": { "policy-type": "tlsa", "policy-domain": "a.test" },
            "summary": { "total-successful-session-count": 3, "total-failure-session-count": 0 },
        }] });
        assert_eq!(Counts::of_json(&old).policies("a.test")[0]["summary"]["total-successful-session-count"], 3);
    }

    #[test]
    fn policies_and_failures_are_bounded_and_nothing_is_lost_silently() {
        let mut counts = Counts::default();
        (0..=POLICIES_MAX).for_each(|n| counts.add(Policy::none(&format!("d{n}.test")), None));
        assert_eq!((counts.policies.len(), counts.overflow), (POLICIES_MAX, 1));
        let mut counts = Counts::default();
        let host = |n| format!("mx{n}.test");
        (0..=DOMAIN_POLICIES_MAX).for_each(|n| counts.add(Policy::tlsa("a.test", &host(n), None), None));
        counts.add(Policy::none("b.test"), None);
        assert_eq!((counts.policies.len(), counts.overflow), (DOMAIN_POLICIES_MAX + 1, 1));
        let mut counts = Counts::default();
        (0..2 * DETAILS_MAX).for_each(|n| counts.add(Policy::none("a.test"), Some(failure(n))));
        let report = counts.policies("a.test");
        assert_eq!(report[0]["summary"]["total-failure-session-count"], 2 * DETAILS_MAX);
        let details = report[0]["failure-details"].as_array().expect("details");
        let further = json!({ "result-type": "validation-failure", "failed-session-count": DETAILS_MAX,
                              "failure-reason-code": FURTHER });
        assert_eq!((details.len(), &details[DETAILS_MAX]), (DETAILS_MAX + 1, &further));
        assert_eq!(Counts::of_json(&written(&counts)), counts);
    }

    #[test]
    fn all_failures_of_all_policies_together_are_bounded() {
        let mut counts = Counts::default();
        let why: Box<str> = "w".repeat(TEXT_BYTES_MAX).into();
        let sessions = 40_000;
        for n in 0..sessions {
            counts.add(Policy::none(&format!("d{}.test", n / 20)), Some(Failure { why: why.clone(), ..failure(n) }));
        }
        assert!(counts.bytes <= COUNTS_BYTES_MAX && counts.bytes > COUNTS_BYTES_MAX - 1024, "{}", counts.bytes);
        let failed = counts.policies.values().map(|sessions| sessions.failed).sum::<u64>();
        assert_eq!(failed + counts.overflow, sessions as u64, "each is counted");
        let before = counts.bytes;
        counts.take_away(&counts.of("d0.test"));
        assert!(counts.bytes < before && counts.bytes > 0);
        counts.take_away(&counts.clone());
        assert_eq!((counts.bytes, counts.policies.len()), (0, 0));
    }
}
