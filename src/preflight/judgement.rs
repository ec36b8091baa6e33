//! What comes of all findings about a message, for the receivers that it goes to. Pure.

use std::fmt;

use super::{Finding, Receiver, Verdict};

/// The worst that is found of a message, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The worst verdict.
    pub verdict: Verdict,
    /// The findings that say so, each of a rule of its own.
    pub because: Vec<Finding>,
    /// Whose rules they are about, in the order of [`Receiver::ALL`].
    pub receivers: Vec<Receiver>,
}

impl Judgement {
    /// Of the findings about a message that goes to `receivers`; each was asked for by one of them.
    pub fn of(findings: Vec<Finding>, receivers: &[Receiver]) -> Judgement {
        let verdict = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Pass);
        let mut because: Vec<Finding> = Vec::new();
        for finding in findings {
            if finding.verdict == verdict && because.iter().all(|other| other.rule.id != finding.rule.id) {
                because.push(finding);
            }
        }
        let asks = |receiver: &&Receiver| {
            receivers.contains(*receiver) && because.iter().any(|finding| finding.rule.matters_to(&[**receiver]))
        };
        let receivers = Receiver::ALL.iter().filter(asks).copied().collect();
        Judgement { verdict, because, receivers }
    }
}

impl fmt::Display for Judgement {
    /// `pass`, or the verdict with the rules that led to it: `fail: dkim spf`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verdict.name())?;
        if self.verdict == Verdict::Pass {
            return Ok(());
        }
        f.write_str(":")?;
        self.because.iter().try_for_each(|finding| write!(f, " {}", finding.rule.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::Rule;

    #[test]
    fn the_worst_counts_and_names_its_rules_and_receivers() {
        let rule = |id, asked_by| Rule { id, source: "RFC", asked_by };
        let all = rule("spf", Receiver::ALL);
        let some = rule("one-click", &[Receiver::Gmail, Receiver::Yahoo]);
        let of = |findings: &[Finding]| Judgement::of(findings.to_vec(), &[Receiver::Outlook, Receiver::Gmail]);
        assert_eq!(of(&[]).to_string(), "pass");
        assert_eq!(of(&[all.pass("")]).to_string(), "pass");
        assert_eq!(of(&[all.pass(""), some.warn("", "")]).to_string(), "warn: one-click");
        assert_eq!(of(&[all.unknown("", ""), some.warn("", "")]).to_string(), "unknown: spf");
        let failed = of(&[all.unknown("", ""), some.fail("", ""), some.fail("", "")]);
        assert_eq!((failed.to_string().as_str(), &failed.receivers[..]), ("fail: one-click", &[Receiver::Gmail][..]));
        let failed = of(&[some.fail("", ""), all.fail("", "")]);
        assert_eq!(failed.to_string(), "fail: one-click spf");
        assert_eq!(failed.receivers, [Receiver::Gmail, Receiver::Outlook]);
    }
}
