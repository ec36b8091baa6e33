//! What outcomes tell of a path that rests, for people and for owners.

use std::cell::RefCell;
use std::time::Duration;

use super::Rest;
use super::path::Path;
use crate::queue::outcome::Outcome;

/// What is said of a path whose connections end before they are of use.
pub(super) const USELESS: &str = "its connections end before anything is delivered";

/// Gives all that waits for a path back to its owners, for as long as the path rests.
pub(super) fn give_back(path: &RefCell<Path>, rest: &Rest) {
    let waiting = path.borrow_mut().take_waiting();
    waiting.into_iter().for_each(|waiting| waiting.answer_all(&untried(rest.pause), Some(rest.clone())));
}

/// Nothing was tried, and is not to be before `rest` is over.
pub(super) fn untried(rest: Duration) -> Outcome {
    Outcome::Untried(whole_seconds(rest))
}

/// What was told with an outcome, for people.
pub(super) fn told(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Delivered(answer, _)
        | Outcome::Deferred(answer)
        | Outcome::Parked(answer, _)
        | Outcome::Failed(answer) => Some(&answer.text),
        Outcome::Untried(_) => None,
    }
}

/// The same, and who said it, if anybody did.
pub(super) fn said(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Deferred(answer) => Some(answer.attributed()),
        _ => told(outcome).map(Into::into),
    }
}

/// As outcomes have pauses.
pub(super) fn whole_seconds(pause: Duration) -> u32 {
    u32::try_from(pause.as_secs()).unwrap_or(u32::MAX).max(1)
}
