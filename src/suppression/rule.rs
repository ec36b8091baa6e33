//! What a failure or a complaint makes of its recipient.

use super::{Change, Entry, FOR_EVER, Key, Lists, Pending, Scope};
use crate::config::Suppression;
use crate::config::suppression::{Cause, Reach, Rule};
use crate::config::webhook::Kind;
use crate::queue::webhook::{Event, SUPPRESSING};

/// What an event changes, where some rule is about it; `pending` is what the events before it have changed.
/// An event that is told twice changes nothing the second time.
pub fn change(event: &Event, settings: &Suppression, lists: &Lists, pending: &Pending) -> Option<Change> {
    let cause = cause(event)?;
    let rule = settings.rules.iter().find(|rule| rule.on.contains(&cause))?;
    let scope = match (settings.scope, &event.account) {
        (Reach::Everyone, _) => Scope::Everyone,
        (Reach::Account, Some(name)) => Scope::account(name),
        (Reach::Account, None) => Scope::Relayed,
    };
    let key = Key::of(&event.recipient.path);
    let before = pending.get(&scope, key.as_str()).unwrap_or_else(|| lists.of(&scope).get(key.as_str()));
    let entry = applied(rule, cause, event.at_s, before)?;
    Some(Change { scope, address: key.into(), entry: Some(entry) })
}

fn cause(event: &Event) -> Option<Cause> {
    if event.kind == Kind::Complaint {
        return Some(Cause::Complaint);
    }
    let reason = event.standing.last.as_ref()?.reason.as_ref()?;
    SUPPRESSING.contains(&event.kind).then(|| Cause::named(reason.category.name()))?
}

/// The entry after another failure; `None`: it stays as it is.
fn applied(rule: &Rule, cause: Cause, at_s: u32, before: Option<Entry>) -> Option<Entry> {
    let before = before.filter(|entry| entry.is_current(at_s));
    let strikes = match before {
        // A complaint outlives a bounce; otherwise what suppresses already stays as it is.
        Some(entry) if entry.strikes == 0 => {
            let outlives = cause == Cause::Complaint && entry.cause != Cause::Complaint;
            if !outlives || entry.until_s == FOR_EVER {
                return None;
            }
            rule.after
        }
        Some(entry) if at_s <= entry.since_s => return None,
        Some(entry) => entry.strikes.saturating_add(1),
        None => 1,
    };
    let is_enough = strikes >= rule.after;
    let lasts = if is_enough { rule.ttl } else { Some(rule.within) };
    let until_s = lasts.map_or(FOR_EVER, |lasts| {
        let seconds = u32::try_from(lasts.as_secs()).unwrap_or(FOR_EVER);
        at_s.saturating_add(seconds)
    });
    Some(Entry { cause, since_s: at_s, until_s, strikes: if is_enough { 0 } else { strikes } })
}
