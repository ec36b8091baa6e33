//! What an outcome means to a recipient: how it stands afterwards, and when it is tried again. Pure.

use std::time::Duration;

use shards::Timestamp;

use super::outcome::{Answer, Outcome};
use super::row::{Entry, Row, seconds};
use super::schedule;
use crate::bounce::classify::{Category, Reason};
use crate::config::Retry;
use crate::smtp::client::Phase;
use crate::smtp::reply::EnhancedCode;
use crate::spool::record::{Said, Standing, State as At};

/// The rule that gives a recipient up for its age.
pub(super) const LIFETIME_RULE: &str = "lifetime";
/// Delivery time expired (RFC 3463 §3.5).
const EXPIRED: EnhancedCode = EnhancedCode(5, 4, 7);

/// What an outcome means to a recipient.
pub(super) enum Judged {
    /// Nothing has changed; it may be tried from then on.
    Same { from_s: u32 },
    /// It was noted as uncertain, and is not; otherwise nothing has changed.
    Unnoted(Standing),
    /// It stands differently because of this answer.
    Changed(Standing, Answer),
}

/// What `outcome` means to a recipient. What is still queued at its end of life fails.
pub(super) fn judge(
    row: &Row,
    entry: &Entry,
    outcome: &Outcome,
    retry: &Retry,
    now: Timestamp,
    random: u64,
    is_attempt: bool,
) -> Judged {
    let now_s = seconds(now);
    let too_old = schedule::end_of_life(retry, row.begin()) <= now;
    let attempts = entry.standing.attempts.saturating_add(u16::from(is_attempt && !is_suppression(outcome)));
    let changed = |state: At, attempts: u16, answer: &Answer| {
        Judged::Changed(Standing { state, attempts, last: Some(Said::new(answer, now_s)) }, answer.clone())
    };
    match outcome {
        Outcome::Delivered(answer, _) => changed(At::Delivered { at_s: now_s }, attempts, answer),
        Outcome::Failed(answer) => changed(At::Failed { at_s: now_s }, attempts, answer),
        Outcome::Deferred(answer) if too_old => {
            changed(At::Failed { at_s: now_s }, attempts, &expired(retry, Some(answer), entry))
        }
        Outcome::Parked(answer, _) if too_old => {
            changed(At::Failed { at_s: now_s }, entry.standing.attempts, &expired(retry, Some(answer), entry))
        }
        Outcome::Untried(_) if too_old => {
            changed(At::Failed { at_s: now_s }, entry.standing.attempts, &expired(retry, None, entry))
        }
        Outcome::Deferred(answer) if entry.standing.state == At::Held => changed(At::Held, attempts, answer),
        Outcome::Deferred(answer) => {
            let category = answer.reason.as_ref().map(|reason| reason.category);
            let next = schedule::next(retry, category, attempts, row.begin(), now, random);
            changed(due_at(next), attempts, answer)
        }
        Outcome::Parked(answer, _) if entry.standing.state == At::Held => {
            changed(At::Held, entry.standing.attempts, answer)
        }
        Outcome::Parked(answer, delay_s) => {
            let next = now + Duration::from_secs(u64::from(*delay_s));
            changed(due_at(next.min(schedule::end_of_life(retry, row.begin()))), entry.standing.attempts, answer)
        }
        Outcome::Untried(delay_s) => {
            let from_s = now_s.saturating_add(*delay_s);
            let state = if entry.standing.state == At::Held { At::Held } else { At::Due { at_s: from_s } };
            if entry.noted {
                Judged::Unnoted(Standing { state, ..entry.standing.clone() })
            } else {
                Judged::Same { from_s }
            }
        }
    }
}

/// Whether nothing was tried, because nothing is to be sent to the recipient.
fn is_suppression(outcome: &Outcome) -> bool {
    let category = |answer: &Answer| answer.reason.as_ref().map(|reason| reason.category);
    matches!(outcome, Outcome::Failed(answer) if category(answer) == Some(Category::Suppressed))
}

/// Due at a time. Rounded up: what is due at the end of its life must not come back before it, again and again.
fn due_at(next: Timestamp) -> At {
    At::Due { at_s: seconds(next + Duration::from_millis(999)) }
}

/// The answer to a recipient that is given up for its age.
fn expired(retry: &Retry, answer: Option<&Answer>, entry: &Entry) -> Answer {
    let last = answer.map(|answer| &*answer.text).or(entry.standing.last.as_ref().map(|said| &*said.text));
    let said = entry.standing.last.as_ref();
    let remote = answer.and_then(|answer| answer.remote.clone());
    let reply = answer.map(|answer| answer.reply.clone()).unwrap_or_else(|| said.and_then(Said::reply));
    let text = match last {
        Some(last) => format!("not delivered within {}; last: {last}", in_words(retry.lifetime)),
        None => format!("not delivered within {}; never tried", in_words(retry.lifetime)),
    };
    Answer {
        phase: answer.map_or(Phase::Idle, |answer| answer.phase),
        status: EXPIRED,
        reason: Some(Reason::by(LIFETIME_RULE, Category::Expired)),
        reply,
        text: text.into(),
        remote: remote.or_else(|| said.and_then(|said| said.remote.clone())),
        tls: answer.and_then(|answer| answer.tls.clone()),
    }
}

/// A duration in its largest whole unit.
fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "days"), (3600, "hours"), (60, "minutes")];
    match units.iter().find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{} {name}", seconds / unit),
        None => format!("{seconds} seconds"),
    }
}
