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

impl Answer {
    /// The text, and who said it, if anybody did.
    pub fn attributed(&self) -> String {
        let is_reply = self.reply.as_ref().is_some_and(|reply| *reply.to_string() == *self.text);
        attributed(self.remote.as_deref(), &self.text, is_reply)
    }
}

/// A reply with who said it; what happened instead with where it did, unless it names that itself.
pub fn attributed(remote: Option<&str>, text: &str, is_reply: bool) -> String {
    match remote {
        Some(remote) if is_reply => format!("{remote} said: {text}"),
        Some(remote) if !text.contains(remote) => format!("at {remote}: {text}"),
        _ => text.into(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_peer_said_is_called_said() {
        let reply = Reply { code: 450, enhanced: None, text: "busy".into() };
        let answer = |reply: Option<&Reply>, text: &str| Answer {
            phase: Phase::Connect,
            status: EnhancedCode(4, 4, 1),
            reason: None,
            reply: reply.cloned(),
            text: text.into(),
            remote: Some("mx[192.0.2.1]:25".into()),
            tls: None,
        };
        for (answer, told) in [
            (answer(Some(&reply), "450 busy"), "mx[192.0.2.1]:25 said: 450 busy"),
            (answer(None, "the connection was lost"), "at mx[192.0.2.1]:25: the connection was lost"),
            (answer(None, "no host: mx[192.0.2.1]:25: refused"), "no host: mx[192.0.2.1]:25: refused"),
            (answer(Some(&reply), "no host: mx[192.0.2.1]:25: 450 busy"), "no host: mx[192.0.2.1]:25: 450 busy"),
            (Answer { remote: None, ..answer(None, "no answer") }, "no answer"),
        ] {
            assert_eq!(answer.attributed(), told);
        }
    }
}
