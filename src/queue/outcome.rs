//! What became of an attempt, per recipient. Data, not an error.

use std::sync::Arc;

use crate::assurance::Security;
use crate::bounce::classify::Reason;
use crate::smtp::client::Phase;
use crate::smtp::reply::{EnhancedCode, Reply};

/// An attempt's end for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The next hop took responsibility.
    Delivered(Answer, Hop),
    /// Try again later.
    Deferred(Answer),
    /// The next hop wants nothing of us for now, whatever the message: due again after the given seconds, no attempt
    /// counted.
    Parked(Answer, u32),
    /// Never.
    Failed(Answer),
    /// Not tried (path busy, draining): due again after the given seconds, no attempt counted.
    Untried(u32),
}

/// What the next hop is to notices of success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// It offers DSN (RFC 3461), and was told with the message what the sender wants to know.
    WithDsn,
    /// It sends none.
    WithoutDsn,
}

/// Who said what, verbatim where a peer said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What was answered.
    pub phase: Phase,
    /// The status of RFC 3463 for the DSN: the peer's where it gave one, else ours.
    pub status: EnhancedCode,
    /// What it is about; `None` where nobody needs to know (a delivery, an operator's order).
    pub reason: Option<Reason>,
    /// The peer's reply; `None` where no peer spoke (refused connection, time-out, DNS).
    pub reply: Option<Reply>,
    /// For people: the reply on one line, or what happened instead.
    pub text: Box<str>,
    /// The next hop's name and address, where one was reached.
    pub remote: Option<Box<str>>,
    /// What protected the session, or why nothing did; `None` where there was none.
    pub tls: Option<Arc<Security>>,
}

impl Outcome {
    /// The same outcome, of a session that this protected.
    #[must_use]
    pub fn over(mut self, tls: Option<Arc<Security>>) -> Outcome {
        match &mut self {
            Outcome::Delivered(answer, _)
            | Outcome::Deferred(answer)
            | Outcome::Parked(answer, _)
            | Outcome::Failed(answer) => answer.tls = tls,
            Outcome::Untried(_) => {}
        }
        self
    }
}
