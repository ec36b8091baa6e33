//! What outcomes say of the whole path, and not of one message: whether it is left alone, and whether we send it too much. Pure.

use std::net::IpAddr;

use super::obstacle::SOURCE_RULE;
use super::throttle::Signal;
use super::told::told;
use crate::bounce::classify::{Category, PathSignal, Reason, names_address};
use crate::queue::outcome::{Answer, Outcome};
use crate::smtp::client::Phase;

/// Why a whole path is left alone, and not one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Parking {
    /// We had too many connections: what works besides goes on.
    Connections,
    /// We sent too much.
    Rate,
    /// We are on a block list.
    Block,
}

impl Parking {
    /// What an outcome says about the path to a peer that sees us as `ours`.
    pub fn of(outcome: &Outcome, ours: Option<IpAddr>) -> Option<Parking> {
        let answer = match outcome {
            Outcome::Deferred(answer) => answer,
            // What is refused for good is of the message, unless a rule says otherwise.
            Outcome::Failed(answer) if answer.reason.as_ref().is_some_and(|reason| reason.signal.is_some()) => answer,
            _ => return None,
        };
        match of_path(answer, ours) {
            PathSignal::Block => Some(Parking::Block),
            PathSignal::Rate => Some(Parking::Rate),
            PathSignal::Connections => Some(Parking::Connections),
            PathSignal::Reputation | PathSignal::None => None,
        }
    }
}

/// What an outcome at a peer that sees us as `ours` says about how much we send it, and in which words.
pub(super) fn heard(outcome: &Outcome, ours: Option<IpAddr>) -> Option<(Signal, &str)> {
    signal_of(outcome, ours).zip(told(outcome))
}

pub(super) fn signal_of(outcome: &Outcome, ours: Option<IpAddr>) -> Option<Signal> {
    let (Outcome::Deferred(answer) | Outcome::Failed(answer)) = outcome else { return None };
    match of_path(answer, ours) {
        PathSignal::None => None,
        PathSignal::Connections => Some(Signal::Connections),
        PathSignal::Rate => Some(Signal::Rate),
        PathSignal::Reputation | PathSignal::Block => Some(Signal::Reputation),
    }
}

/// What a refusal at a peer that sees us as `ours` says of the path: what its rule says, else what its category does, where
/// it is about us.
fn of_path(answer: &Answer, ours: Option<IpAddr>) -> PathSignal {
    let Some(reason) = &answer.reason else { return PathSignal::None };
    match (reason.signal, reason.category) {
        (Some(signal), _) => signal,
        (None, Category::Rate) => PathSignal::Rate,
        (None, Category::Blocklist) if is_about_us(answer, ours) => PathSignal::Block,
        (None, Category::Reputation) if is_about_us(answer, ours) => PathSignal::Reputation,
        (None, _) => PathSignal::None,
    }
}

/// Whether a refusal can be of us: from RCPT on it may be of one recipient, of one message, or of a domain in it, unless
/// our address is named.
fn is_about_us(answer: &Answer, ours: Option<IpAddr>) -> bool {
    match answer.phase {
        Phase::Rcpt | Phase::Data | Phase::Content | Phase::Dot => names_address(&answer.text, ours),
        _ => true,
    }
}

/// The same outcome, if it is one that parks the path, or the source's trouble: it costs the message no attempt.
pub(super) fn parked(outcome: Outcome, ours: Option<IpAddr>, pause_s: u32) -> Outcome {
    let is_of_source = |reason: &Reason| *reason.rule == *SOURCE_RULE;
    let parks = Parking::of(&outcome, ours).is_some()
        || matches!(&outcome, Outcome::Deferred(answer) if answer.reason.as_ref().is_some_and(is_of_source));
    match outcome {
        Outcome::Deferred(answer) if parks => Outcome::Parked(answer, pause_s),
        other => other,
    }
}
