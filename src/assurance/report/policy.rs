//! What sessions are counted by: the policy that was found, and how they failed (RFC 8460 §4.2 to §4.4).

use std::net::IpAddr;

use serde_json::{Value, json};

use super::super::dane::Tlsa;
use super::super::sts;
use super::{FURTHER, TEXT_BYTES_MAX};

/// What an entry takes beyond its texts, about: its place in a map, the lengths of its texts.
const ENTRY_BYTES: usize = 256;

/// What was found for a domain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Policy {
    /// The recipients' domain, which is told.
    pub domain: Box<str>,
    /// The policy domain (§1.1): against which the policy is defined. With TLSA records this is the TLSA base domain of a
    /// host (RFC 7672 §2.2.3), otherwise `domain`.
    pub about: Box<str>,
    /// `tlsa`, `sts` or `no-policy-found`.
    pub kind: Box<str>,
    /// The policy itself: TLSA records, or the lines of the file.
    pub strings: Vec<Box<str>>,
    /// The hosts that an MTA-STS policy permits.
    pub hosts: Vec<Box<str>>,
}

impl Policy {
    /// Nothing was found for `domain`.
    pub fn none(domain: &str) -> Policy {
        let kind = "no-policy-found".into();
        Policy { domain: domain.into(), about: domain.into(), kind, strings: Vec::new(), hosts: Vec::new() }
    }

    /// The records of `host`, which is one of its hosts; `None`: they cannot be looked up.
    pub fn tlsa(domain: &str, host: &str, tlsa: Option<&Tlsa>) -> Policy {
        let records = tlsa.iter().flat_map(|tlsa| &tlsa.records);
        let about = tlsa.map_or(host, |tlsa| &tlsa.base);
        let hex = |data: &[u8]| data.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
        let strings = records.map(|record| {
            let (usage, selector, matching) = (record.usage, record.selector, record.matching);
            let data = &record.data[..record.data.len().min(TEXT_BYTES_MAX)];
            format!("{usage} {selector} {matching} {}", hex(data)).into()
        });
        Policy { about: about.into(), kind: "tlsa".into(), strings: strings.collect(), ..Policy::none(domain) }
    }

    /// Its MTA-STS policy.
    pub fn sts(domain: &str, policy: &sts::Policy) -> Policy {
        let mode = match policy.mode {
            sts::Mode::Enforce => "enforce",
            sts::Mode::Testing => "testing",
            sts::Mode::None => "none",
        };
        let mut strings: Vec<Box<str>> = vec!["version: STSv1".into(), format!("mode: {mode}").into()];
        strings.extend(policy.patterns.iter().map(|pattern| format!("mx: {pattern}").into()));
        strings.push(format!("max_age: {}", policy.max_age.as_secs()).into());
        Policy { kind: "sts".into(), strings, hosts: policy.patterns.clone(), ..Policy::none(domain) }
    }

    /// One that it announces, and that is not to be had.
    pub fn sts_missing(domain: &str) -> Policy {
        Policy { kind: "sts".into(), ..Policy::none(domain) }
    }

    /// Before all others of `domain`, in their order.
    pub(super) fn first_of(domain: &str) -> Policy {
        Policy { about: "".into(), kind: "".into(), ..Policy::none(domain) }
    }

    pub(super) fn bytes(&self) -> usize {
        let texts = self.strings.iter().chain(&self.hosts).map(|text| text.len() + size_of::<Box<str>>());
        ENTRY_BYTES + self.domain.len() + self.about.len() + texts.sum::<usize>()
    }

    pub(super) fn json(&self) -> Value {
        let mut object = json!({ "policy-type": self.kind, "policy-domain": self.about });
        for (key, list) in [("policy-string", &self.strings), ("mx-host", &self.hosts)] {
            if !list.is_empty() {
                object[key] = list.iter().map(|text| Value::from(&**text)).collect();
            }
        }
        object
    }

    /// What [`Policy::json`] gave of a policy that was found for `domain`; `None`: for its own.
    pub(super) fn of_json(domain: Option<&str>, value: &Value) -> Option<Policy> {
        let list = |key: &str| {
            let list = value[key].as_array().into_iter().flatten();
            list.filter_map(Value::as_str).map(Into::into).collect()
        };
        let (about, kind) = (value["policy-domain"].as_str()?, value["policy-type"].as_str()?.into());
        let domain = domain.unwrap_or(about).into();
        Some(Policy { domain, about: about.into(), kind, strings: list("policy-string"), hosts: list("mx-host") })
    }
}

/// How a session failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Failure {
    /// The result type.
    pub result: Box<str>,
    /// Our address, where it is known.
    pub ours: Option<IpAddr>,
    /// The host.
    pub host: Box<str>,
    /// Its address.
    pub address: Option<IpAddr>,
    /// For people.
    pub why: Box<str>,
}

impl Failure {
    /// Those of a policy that are not told apart.
    pub(super) fn further() -> Failure {
        Failure { result: "validation-failure".into(), ours: None, host: "".into(), address: None, why: FURTHER.into() }
    }

    pub(super) fn bytes(&self) -> usize {
        ENTRY_BYTES + self.host.len() + self.why.len()
    }

    pub(super) fn json(&self, sessions: u64) -> Value {
        let mut object = json!({ "result-type": self.result, "failed-session-count": sessions });
        if !self.host.is_empty() {
            object["receiving-mx-hostname"] = (*self.host).into();
        }
        for (key, address) in [("sending-mta-ip", self.ours), ("receiving-ip", self.address)] {
            if let Some(address) = address {
                object[key] = address.to_string().into();
            }
        }
        if !self.why.is_empty() {
            object["failure-reason-code"] = (*self.why).into();
        }
        object
    }

    pub(super) fn of_json(value: &Value) -> Option<(Failure, u64)> {
        let address = |key: &str| value[key].as_str().and_then(|text| text.parse().ok());
        let failure = Failure {
            result: value["result-type"].as_str()?.into(),
            ours: address("sending-mta-ip"),
            host: value["receiving-mx-hostname"].as_str().unwrap_or_default().into(),
            address: address("receiving-ip"),
            why: value["failure-reason-code"].as_str().unwrap_or_default().into(),
        };
        Some((failure, value["failed-session-count"].as_u64()?))
    }
}
