//! What a server's reply means: what to do, why, and what other systems call it. Pure.
//!
//! Owns: the rules, which are data (`rules.toml`, beside this file; a sender's own are `[[reply]]` of the configuration),
//! and how they are applied.
//! Never: decides about anything but the one reply: schedules and pauses are the queue's and the pool's matter.
//!
//! The first of these that applies decides:
//!
//! 0. a sender's own rule, where one is in force for the mail that was answered (one without a category only tells of the
//!    path, and what follows decides the rest);
//! 1. a provider's override: what certain words or codes mean at the hosts of a domain, also by whether they name our
//!    address;
//! 2. a rule of our own: words that mean the same everywhere;
//! 3. the enhanced code (RFC 3463), unless its class contradicts the basic code's;
//! 4. the basic code (RFC 5321 §4.2).
//!
//! The category then decides the action, or leaves it to the class of the code: see [`Category`]. So a full mailbox, a
//! block list and a missing name of ours are tried again even after a 5xx, and a verdict on the content is final even
//! after a 4xx. A text without any code (no server's reply, but a report) is final where it tells of something lasting; one
//! that tells of no reply at all is not judged.
//!
//! Limits: the first [`diagnostic::TEXT_BYTES_MAX`] bytes of a text count; one pass finds all phrases, so the time is
//! linear in them. Accepted mail never gets this far.

mod category;
mod diagnostic;
mod own;
mod rules;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::IpAddr;

pub use category::{Action, Category, PathSignal};
use diagnostic::Said;
pub use diagnostic::names_address;
pub use own::{InForce, PATTERNS_MAX, Patterns, check_phrases, check_status};
pub use rules::{Pattern, PatternAction};
use rules::{Rule, Verdict};

use crate::smtp::reply::{EnhancedCode, Reply};

/// What is known about the conversation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// The host that spoke, as its MX record names it.
    pub mx: Option<&'a str>,
    /// The provider whose host that is, as the configuration has it.
    pub provider: Option<&'a str>,
    /// The address that it saw us come from. Without it, any address in a text is taken for ours.
    pub address: Option<IpAddr>,
    /// The sender's own rules for what was answered.
    pub own: Option<&'a InForce>,
}

/// What a reply means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classification {
    /// What to do.
    pub action: Action,
    /// What it is about.
    pub category: Category,
    /// The basic code, where there is one.
    pub code: Option<u16>,
    /// The enhanced code: the server's, else that of the basic code's class.
    pub status: Option<EnhancedCode>,
    /// What it says of the path, where a rule says so; `None`: what its category does.
    pub signal: Option<PathSignal>,
    /// Which rule says that, where it is another one than `rule`.
    pub signal_rule: Option<Box<str>>,
    /// Which rule decided: `reply:NAME` of the configuration, an `id` in `rules.toml`, `enhanced:…`, `basic:…` or `class`.
    pub rule: Cow<'static, str>,
}

/// What an answer is about, and which rule says so: what is kept of a [`Classification`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What it is about.
    pub category: Category,
    /// Which rule decided.
    pub rule: Cow<'static, str>,
    /// As of a [`Classification`]; it is heeded at once and not kept on disk.
    pub signal: Option<PathSignal>,
}

impl Reason {
    /// Of something about which `rule` says what it is.
    pub fn by(rule: impl Into<Cow<'static, str>>, category: Category) -> Reason {
        Reason { category, rule: rule.into(), signal: None }
    }

    /// Of something that happened without any reply.
    pub fn without_reply(category: Category) -> Reason {
        Reason::by("no-reply", category)
    }
}

impl Classification {
    /// What is kept of it.
    pub fn reason(&self) -> Reason {
        Reason { category: self.category, rule: self.rule.clone(), signal: self.signal }
    }

    /// The same in PowerMTA's vocabulary.
    pub fn powermta(&self) -> &'static str {
        self.category.powermta()
    }

    /// The same in KumoMTA's vocabulary.
    pub fn kumomta(&self) -> &'static str {
        self.category.kumomta_after(self.action)
    }
}

/// What a server's reply means.
pub fn classify(reply: &Reply, context: &Context<'_>) -> Classification {
    judge(&Said::of_reply(reply), context)
}

/// What a text means that tells of a reply: the reply itself, a Diagnostic-Code, a relay's words. `None`: it is none of
/// these, for it has no code, is of no kind that a report names (`smtp;`), and has no words that any rule knows.
pub fn classify_text(text: &str, context: &Context<'_>) -> Option<Classification> {
    let said = Said::of_text(text);
    let verdict = judge(&said, context);
    let is_known = said.code.is_some() || said.status.is_some() || verdict.rule != UNKNOWN.rule;
    (is_known || diagnostic::names_its_kind(text)).then_some(verdict)
}

/// The rules that come along for `host`, which is the provider's of that name: their names, and what they are about.
pub fn known_of(host: &str, provider: Option<&str>) -> impl Iterator<Item = (&'static str, Category)> {
    let of_host = rules::rules().of_host(host, provider);
    of_host.filter_map(Rule::verdict).map(|verdict| (verdict.rule, verdict.category))
}

/// Where no rule and no code tells anything.
const UNKNOWN: Verdict<'static> = Verdict { category: Category::Other, action: None, signal: None, rule: "class" };

fn judge(said: &Said<'_>, context: &Context<'_>) -> Classification {
    let class = said.code.map(|code| (code / 100) as u8).or(said.status.map(|status| status.0));
    let by_class = match class {
        Some(2) => Some(Action::Deliver),
        Some(5) => Some(Action::Reject),
        Some(_) => Some(Action::Defer),
        None => None,
    };
    let status = said.status.or(class.filter(|class| [2, 4, 5].contains(class)).map(|class| EnhancedCode(class, 0, 0)));
    let accepted = Verdict { category: Category::Accepted, action: by_class, ..UNKNOWN };
    let is_accepted = by_class == Some(Action::Deliver);
    let own = context.own.filter(|_| !is_accepted).map(|own| own.judge(said, context)).unwrap_or_default();
    let (verdict, rule) = match own.verdict {
        Some(verdict) => (verdict, Cow::Owned(verdict.rule.to_owned())),
        None if is_accepted => (accepted, accepted.rule.into()),
        None => {
            let verdict = rules::rules().judge(said, context).unwrap_or(UNKNOWN);
            (verdict, verdict.rule.into())
        }
    };
    let category = verdict.category;
    let signal = own.signal.map(|(signal, _)| signal).or(verdict.signal);
    let signal_rule = own.signal.map(|(_, by)| by).filter(|by| **by != *rule).map(Box::from);
    let action = verdict.action.or(by_class).unwrap_or_else(|| {
        // A report without any code tells of a failure, unless it tells nothing.
        if category.lasts() && diagnostic::tells_anything(said) { Action::Reject } else { Action::Defer }
    });
    Classification { action, category, code: said.code, status, signal, signal_rule, rule }
}
