//! DMARC (RFC 7489): whether a policy is published, and whether SPF or DKIM speaks for the domain of From. Pure.
//!
//! Where an organization's domain ends is known from DNS alone: at the topmost name above From's, of two labels or more, that
//! publishes a policy; where none does, at From's own. So nobody is taken for aligned because of a list that has grown old.

use super::{Finding, Kind, Receiver, Rule, Verdict, Zone};

const DMARC: Rule = Rule { id: "dmarc", source: "RFC 7489 §6.3", asked_by: Receiver::ALL };
const ALIGNMENT: Rule = Rule { id: "alignment", source: "RFC 7489 §3.1", asked_by: Receiver::ALL };
/// Names of a domain, from itself upwards, that are asked for a policy.
pub const NAMES_MAX: usize = 8;

/// Whether SPF or a signature holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does.
    Holds,
    /// It does not.
    Not,
    /// It cannot be told.
    Unknown,
}

impl State {
    /// That of a verdict; of no verdict: it holds.
    pub(super) fn of(verdict: Option<Verdict>) -> State {
        match verdict {
            None | Some(Verdict::Pass) => State::Holds,
            Some(Verdict::Unknown) => State::Unknown,
            Some(Verdict::Warn | Verdict::Fail) => State::Not,
        }
    }

    /// Whether both hold.
    pub(super) fn and(self, other: State) -> State {
        match (self, other) {
            (State::Not, _) | (_, State::Not) => State::Not,
            (State::Unknown, _) | (_, State::Unknown) => State::Unknown,
            _ => State::Holds,
        }
    }
}

/// What DNS publishes for a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    /// The name at which the record that counts stands: the domain itself or one above it.
    at: String,
    /// The topmost name with a record.
    organization: String,
    record: String,
}

/// The policy for `domain`: its own, or that of the topmost name above it. `Err`: DNS trouble, or records that count for nothing.
pub(super) async fn find(zone: &impl Zone, domain: &str) -> Result<Option<Policy>, String> {
    let mut found: Option<Policy> = None;
    let names = std::iter::successors(Some(domain), |name| name.split_once('.').map(|(_, parent)| parent));
    for name in names.filter(|name| name.contains('.')).take(NAMES_MAX) {
        let texts = zone.ask(&format!("_dmarc.{name}"), Kind::Txt).await?;
        let mut records = texts.into_iter().filter(|text| is_record(text));
        // Several records count as none (RFC 7489 §6.6.3).
        let (Some(record), None) = (records.next(), records.next()) else { continue };
        let own = found.take().filter(|policy| policy.at == domain);
        let (at, record) = own.map_or((name.to_owned(), record), |policy| (policy.at, policy.record));
        found = Some(Policy { at, organization: name.to_owned(), record });
    }
    Ok(found)
}

/// Whether a TXT record is DMARC's: `v=DMARC1` is its first tag (RFC 7489 §6.4).
fn is_record(text: &str) -> bool {
    let first = text.split(';').next().and_then(|tag| tag.split_once('='));
    first.is_some_and(|(name, value)| name.trim() == "v" && value.trim() == "DMARC1")
}

fn tag<'a>(record: &'a str, name: &str) -> Option<&'a str> {
    let mut tags = record.split(';').filter_map(|tag| tag.split_once('='));
    tags.find(|(found, _)| found.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// What receivers that ask for a policy of `domain` find.
pub async fn policy(zone: &impl Zone, domain: &str) -> Finding {
    published(domain, &find(zone, domain).await)
}

pub(super) fn published(author: &str, policy: &Result<Option<Policy>, String>) -> Finding {
    let remedy = format!("publish the TXT record `v=DMARC1; p=none; rua=mailto:...` at _dmarc.{author}");
    match policy {
        Err(why) => DMARC.unknown(format!("the DMARC record of {author} cannot be read: {why}"), "try again"),
        Ok(None) => DMARC.fail(format!("{author} has no DMARC record, or several"), remedy),
        Ok(Some(Policy { at, record, .. })) => match tag(record, "p").map(str::to_ascii_lowercase).as_deref() {
            Some(policy @ ("none" | "quarantine" | "reject")) => {
                DMARC.pass(format!("_dmarc.{at} publishes the policy {policy}"))
            }
            _ => DMARC.fail(format!("the DMARC record at _dmarc.{at} has no valid p="), remedy),
        },
    }
}

/// Whether SPF of the reverse-path's domain or one of the signatures speaks for `author`.
pub(super) fn aligned(
    author: &str,
    policy: &Result<Option<Policy>, String>,
    spf: (&str, State),
    signed: &[(&str, State)],
) -> Finding {
    let known = policy.as_ref().ok().and_then(Option::as_ref);
    let organization = known.map_or(author, |policy| &policy.organization);
    let is_strict = |name: &str| known.and_then(|policy| tag(&policy.record, name)).is_some_and(|value| value == "s");
    let judge = |domain: &str, strict: &str| match same_organization(author, domain, organization) {
        _ if author.eq_ignore_ascii_case(domain) => State::Holds,
        is_same if policy.is_ok() => {
            if is_same && !is_strict(strict) {
                State::Holds
            } else {
                State::Not
            }
        }
        _ => State::Unknown,
    };
    let candidates = signed.iter().map(|signer| (signer, "adkim", "DKIM")).chain([(&spf, "aspf", "SPF")]);
    let mut state = State::Not;
    for ((domain, holds), strict, method) in candidates {
        match judge(domain, strict).and(*holds) {
            State::Holds => {
                return ALIGNMENT.pass(format!("{method} of {domain} is aligned with {author} in From"));
            }
            State::Unknown => state = State::Unknown,
            State::Not => {}
        }
    }
    if state == State::Unknown {
        return ALIGNMENT.unknown(format!("whether SPF or DKIM is aligned with {author} cannot be told"), "try again");
    }
    ALIGNMENT.fail(
        format!("neither SPF nor DKIM is aligned with {author} in From: DMARC fails"),
        format!("sign with a [[dkim]] key of {author}, or send from a reverse-path in that domain that passes SPF"),
    )
}

/// Whether both domains are of one organization (relaxed alignment): one is above the other, or both are below `organization`.
fn same_organization(author: &str, domain: &str, organization: &str) -> bool {
    let is_below = |name: &str, above: &str| {
        let name = name.to_ascii_lowercase();
        let rest = name.strip_suffix(&above.to_ascii_lowercase());
        above.contains('.') && rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    is_below(author, domain)
        || is_below(domain, author)
        || (is_below(author, organization) && is_below(domain, organization))
}
