//! What a transaction's results mean for recipients. Pure, and the one place that decides, with [`super::obstacle`] for want of a
//! connection and [`super::parking`] for the path.
//!
//! | what happened | outcome | status where the peer gave none |
//! |---|---|---|
//! | 2xx after the content | delivered | 2.0.0 |
//! | any other reply to MAIL, RCPT, DATA or the content | what [`classify`] says: failed, deferred | 5.0.0, 4.0.0 |
//! | the connection was lost | deferred | 4.4.2 |
//! | the peer lacks what the message needs | failed | that of the reply that we make |
//! | it was suppressed since it was accepted, or is only to be reported | failed | 5.7.1 |

use std::net::IpAddr;
use std::sync::Arc;

use crate::assurance::{Assurance, Demand, Security};
use crate::bounce::classify::{Action, Category, Context, Reason, classify};
use crate::queue::outcome::{Answer, Hop, Outcome};
use crate::route::Unroutable;
use crate::smtp::client::{Phase, Result};
use crate::smtp::reply::{EnhancedCode, Reply};

/// One recipient's outcome of a transaction with `remote`, which sees us as `ours` and is to notices what `hop` says; what
/// it says is judged as its provider's and by our own rules, which `known` has.
pub(super) fn of_result(result: Result, remote: &str, ours: Option<IpAddr>, hop: Hop, known: Context<'_>) -> Outcome {
    match result {
        Result::Accepted(reply) => Outcome::Delivered(said(Phase::Dot, reply, remote), hop),
        Result::Refused(phase, reply) => refused(phase, reply, remote, ours, known),
        Result::Lost(phase, why) => Outcome::Deferred(lost(phase, &why, remote)),
        Result::Impossible(reply) => {
            let permanent = reply.is_permanent();
            let reason = Some(classify(&reply, &Context::default()).reason());
            let answer = Answer { reply: None, reason, ..said(Phase::Mail, reply, remote) };
            if permanent { Outcome::Failed(answer) } else { Outcome::Deferred(answer) }
        }
    }
}

/// What a refusal means is the classifier's matter; the status tells the same as the outcome.
fn refused(phase: Phase, reply: Reply, remote: &str, ours: Option<IpAddr>, known: Context<'_>) -> Outcome {
    let verdict = classify(&reply, &Context { mx: Some(host_of(remote)), address: ours, ..known });
    let mut answer = Answer { reason: Some(verdict.reason()), ..said(phase, reply, remote) };
    if verdict.action == Action::Reject {
        answer.status.0 = 5;
        Outcome::Failed(answer)
    } else {
        answer.status.0 = 4;
        Outcome::Deferred(answer)
    }
}

/// The host in `host[address]:port`.
pub(super) fn host_of(remote: &str) -> &str {
    remote.split('[').next().unwrap_or(remote)
}

/// For recipients whose domain leads nowhere.
pub(super) fn of_unroutable(unroutable: &Unroutable) -> Outcome {
    // A host that is not in the domain's policy, and hosts that nobody vouches for, are the reasons of this kind.
    let asked = match unroutable.status {
        EnhancedCode(_, 7, 10) => Some(Assurance::default().demanded(Demand::Required)),
        EnhancedCode(4, 7, _) => Some(Assurance::enforced()),
        _ => None,
    };
    let answer = Answer {
        phase: Phase::Connect,
        status: unroutable.status,
        reason: Some(Reason::without_reply(match unroutable.status {
            _ if asked.is_some() => Category::Tls,
            EnhancedCode(4, ..) => Category::Dns,
            _ => Category::DomainUnknown,
        })),
        reply: None,
        text: unroutable.text.clone(),
        remote: None,
        tls: asked.map(|asked| Arc::new(Security::refused(&asked))),
    };
    if unroutable.is_transient() { Outcome::Deferred(answer) } else { Outcome::Failed(answer) }
}

/// For a recipient to whom nothing is to be sent any more.
pub(super) fn of_suppressed(why: Box<str>) -> Outcome {
    Outcome::Failed(Answer {
        phase: Phase::Idle,
        status: EnhancedCode(5, 7, 1),
        reason: Some(Reason::by("suppression", Category::Suppressed)),
        reply: None,
        text: why,
        remote: None,
        tls: None,
    })
}

fn said(phase: Phase, reply: Reply, remote: &str) -> Answer {
    let class = if reply.is_positive() || reply.is_permanent() { (reply.code / 100) as u8 } else { 4 };
    Answer {
        phase,
        status: reply.enhanced.unwrap_or(EnhancedCode(class, 0, 0)),
        text: reply.to_string().into(),
        reason: None,
        reply: Some(reply),
        remote: Some(remote.into()),
        tls: None,
    }
}

fn lost(phase: Phase, why: &str, remote: &str) -> Answer {
    let text = match phase {
        // RFC 5321 §4.5.3.2.6 and RFC 1047: it may have the message, and will get it again.
        Phase::Dot => format!("the connection was lost after the final dot, so the next hop may have it: {why}"),
        _ => format!("the connection was lost during {}: {why}", name(phase)),
    };
    let reason = Some(Reason::without_reply(Category::Network));
    let remote = Some(remote.into());
    Answer { phase, status: EnhancedCode(4, 4, 2), reason, reply: None, text: text.into(), remote, tls: None }
}

/// A phase, for people.
pub(super) fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Connect => "connect",
        Phase::Greeting => "the greeting",
        Phase::Ehlo => "EHLO",
        Phase::StartTls => "STARTTLS",
        Phase::Auth => "AUTH",
        Phase::Mail => "MAIL",
        Phase::Rcpt => "RCPT",
        Phase::Data => "DATA",
        Phase::Content => "the content",
        Phase::Dot => "the final reply",
        Phase::Idle => "idling",
    }
}
