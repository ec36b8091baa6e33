//! MTA-STS: the record that announces a policy, and the policy (RFC 8461 §3 and §4.1).

use std::sync::Arc;
use std::time::Duration;

/// Octets of a policy, at most: a hundred times what one needs.
pub const POLICY_BYTES_MAX: usize = 64 * 1024;

/// Patterns of a policy that are looked at.
const PATTERNS_MAX: usize = 200;

/// The longest time that a policy may be kept (§3.2): a year.
const MAX_AGE_MAX: Duration = Duration::from_secs(31_557_600);

/// Characters of a record's id (§3.1).
const ID_CHARACTERS_MAX: usize = 32;

/// What a policy asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// No mail where it does not hold.
    Enforce,
    /// Failures are reported only.
    Testing,
    /// Nothing: the domain has taken its policy back.
    None,
}

/// Why a domain announces a policy, and there is none (RFC 8460 §4.3.2.2 has a name for each).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Missing {
    /// It cannot be fetched.
    Unfetched,
    /// The certificate of its host is not a trusted one for its name.
    Untrusted,
    /// What was fetched is no policy.
    Invalid,
}

impl Missing {
    /// What reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Missing::Unfetched => "sts-policy-fetch-error",
            Missing::Untrusted => "sts-webpki-invalid",
            Missing::Invalid => "sts-policy-invalid",
        }
    }
}

/// What became of the policy that a domain announces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Announced {
    /// It is known.
    Policy(Arc<Policy>),
    /// It is not.
    Missing(Missing),
}

/// A domain's policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// What it asks for.
    pub mode: Mode,
    /// The hosts that it permits, in lower case; `*.` stands for one label.
    pub patterns: Vec<Box<str>>,
    /// For how long it holds after it was fetched.
    pub max_age: Duration,
}

/// A policy that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPolicy {
    /// Not UTF-8.
    #[error("the policy is not text")]
    NotText,
    /// Something is missing.
    #[error("the policy has no `{0}`, or not one that can be read")]
    Without(&'static str),
}

/// The id in the answers to `_mta-sts.DOMAIN`'s TXT question; `None` where the domain announces no policy, which is also
/// so where it announces two (§3.1).
pub fn id(records: &[Box<str>]) -> Option<Box<str>> {
    let mut announced = records.iter().filter(|record| {
        let mut fields = record.split(';');
        fields.next().is_some_and(|version| version.trim_end() == "v=STSv1") && fields.next().is_some()
    });
    let record = announced.next()?;
    if announced.next().is_some() {
        return None;
    }
    let id = record.split(';').find_map(|field| field.trim().strip_prefix("id="))?;
    let good = (1..=ID_CHARACTERS_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    good.then(|| id.into())
}

impl Policy {
    /// Reads a policy file. Keys that nobody knows are passed over, as are second values of keys that have one.
    ///
    /// # Errors
    /// It is no text, or lacks a version, mode, age, or (unless it asks for nothing) hosts.
    pub fn parse(file: &[u8]) -> Result<Policy, BadPolicy> {
        let text = std::str::from_utf8(file).map_err(|_| BadPolicy::NotText)?;
        let fields =
            || text.lines().filter_map(|line| line.split_once(':')).map(|(key, value)| (key.trim(), value.trim()));
        let first = |wanted: &str| fields().find(|(key, _)| *key == wanted).map(|(_, value)| value);
        first("version").filter(|version| *version == "STSv1").ok_or(BadPolicy::Without("version: STSv1"))?;
        let mode = match first("mode") {
            Some("enforce") => Mode::Enforce,
            Some("testing") => Mode::Testing,
            Some("none") => Mode::None,
            _ => return Err(BadPolicy::Without("mode")),
        };
        let max_age_s: u64 = first("max_age").and_then(|age| age.parse().ok()).ok_or(BadPolicy::Without("max_age"))?;
        let patterns = fields().filter(|(key, _)| *key == "mx").take(PATTERNS_MAX);
        let patterns: Vec<Box<str>> = patterns.map(|(_, pattern)| pattern.to_ascii_lowercase().into()).collect();
        if patterns.is_empty() && mode != Mode::None {
            return Err(BadPolicy::Without("mx"));
        }
        Ok(Policy { mode, patterns, max_age: Duration::from_secs(max_age_s).min(MAX_AGE_MAX) })
    }

    /// Whether it permits a host (lower case, without the final dot) (§4.1).
    pub fn permits(&self, host: &str) -> bool {
        self.patterns.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(parent) => host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
            None => **pattern == *host,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(records: &[&str]) -> Option<String> {
        let records: Vec<Box<str>> = records.iter().map(|record| (*record).into()).collect();
        id(&records).map(String::from)
    }

    #[test]
    fn the_example_of_rfc_8461_is_understood() {
        assert_eq!(id_of(&["v=STSv1; id=20160831085700Z;"]).as_deref(), Some("20160831085700Z"));
        let file = b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\n\
                     mx: backupmx.example.com\r\nmax_age: 604800\r\n";
        let policy = Policy::parse(file).expect("a policy");
        assert_eq!((policy.mode, policy.max_age.as_secs(), policy.patterns.len()), (Mode::Enforce, 604_800, 3));
        for host in ["mail.example.com", "mx1.example.net", "backupmx.example.com"] {
            assert!(policy.permits(host), "{host}");
        }
        for host in ["example.net", "a.b.example.net", ".example.net", "mail.example.com.evil.test", "x.example.com"] {
            assert!(!policy.permits(host), "{host}");
        }
    }

    #[test]
    fn a_record_announces_a_policy_only_if_it_is_the_only_one() {
        assert_eq!(id_of(&["v=spf1 -all", "v=STSv1;id=a1"]).as_deref(), Some("a1"));
        for records in [
            &[][..],
            &["v=spf1 -all"],
            &["v=STSv1; id=1;", "v=STSv1; id=2;"],
            &["v=STSv1;"],
            &["v=STSv1; id=;"],
            &["v=STSv1; id=not/good;"],
            &["v=STSv1; id=123456789012345678901234567890123;"],
            &["v=STSv10; id=1;"],
            &["id=1; v=STSv1;"],
        ] {
            assert_eq!(id_of(records), None, "{records:?}");
        }
    }

    #[test]
    fn a_policy_that_lacks_something_is_none() {
        let whole = "version: STSv1\nmode: testing\nmx: a.test\nmax_age: 86400\n";
        assert!(Policy::parse(whole.as_bytes()).is_ok());
        for line in whole.lines() {
            let cut = whole.replace(line, "x: y");
            assert!(Policy::parse(cut.as_bytes()).is_err(), "without {line}");
        }
        for (from, to) in [("STSv1", "STSv2"), ("testing", "maybe"), ("86400", "-1"), ("86400", "soon")] {
            assert!(Policy::parse(whole.replace(from, to).as_bytes()).is_err(), "{to}");
        }
        assert_eq!(Policy::parse(b"\xff"), Err(BadPolicy::NotText));
        let taken_back = Policy::parse(b"version: STSv1\nmode: none\nmax_age: 99999999999\n").expect("a policy");
        assert_eq!((taken_back.mode, taken_back.max_age), (Mode::None, MAX_AGE_MAX));
    }

    #[test]
    fn the_first_value_of_a_key_counts_and_unknown_keys_do_not() {
        let policy = Policy::parse(b"version: STSv1\nnew: x\nmode: enforce\nmode: none\nmx: A.Test\nmax_age: 1\n");
        let policy = policy.expect("a policy");
        assert_eq!((policy.mode, policy.permits("a.test")), (Mode::Enforce, true));
    }
}
