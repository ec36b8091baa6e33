//! Why no host took a connection, and what that means for everyone who waited for one. Pure.
//!
//! | what happened | outcome | status |
//! |---|---|---|
//! | every host refused at its greeting or EHLO, also with 5xx (RFC 5321 §3.8, RFC 7504) | deferred | 4.3.2 |
//! | no host could be reached | deferred | 4.4.1 |
//! | no connection can be made from the source: our own trouble, which costs no attempt | parked | 4.3.5 |
//! | no host's address could be looked up | deferred | 4.4.3 |
//! | no host has an address | failed | 5.4.4 |
//! | TLS is demanded of a host, which does not offer it | deferred | 4.7.4 |
//! | … and its handshake fails, or its certificate is not the right one | deferred | 4.7.5 |
//! | the message requires TLS, and no host gives it | failed | 5.7.10 |
//! | … and keeps it (REQUIRETLS) | failed | 5.7.30 |

use std::sync::Arc;

use super::outcome::{host_of, name};
use crate::assurance::Security;
use crate::bounce::classify::{Category, Context, Reason, classify};
use crate::queue::outcome::{Answer, Outcome};
use crate::smtp::client::{Failure, Phase};
use crate::smtp::reply::{EnhancedCode, Reply};

/// The rule of what is the source's trouble.
pub(super) const SOURCE_RULE: &str = "source";

/// Bytes of the list of hosts that were tried, for people; what is beyond is left out.
pub(super) const TRIED_BYTES_MAX: usize = 1024;

/// Why one host, or one of its addresses, took no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// It has no address.
    NoAddress,
    /// The search ended before it.
    Untried,
    /// Its addresses could not be looked up.
    Dns(Box<str>),
    /// The connection did not come about, or ended before the first transaction.
    Lost(Phase, Box<str>),
    /// The peer refused the session.
    Refused(Phase, Reply),
    /// It does not offer the TLS that is demanded of it, or not well enough: the status, why, and what is
    /// demanded.
    Insecure(EnhancedCode, Box<str>, Arc<Security>),
    /// No connection can be made from the source, whatever the host.
    Source(Box<str>),
}

impl Obstacle {
    /// The obstacle that a failed session is.
    pub(super) fn of_failure(phase: Phase, failure: Failure) -> Obstacle {
        match failure {
            Failure::Reply(reply) => Obstacle::Refused(phase, reply),
            Failure::Lost(why) => Obstacle::Lost(phase, why),
        }
    }

    /// How much it tells about the path; the most telling one becomes the answer.
    fn weight(&self) -> u8 {
        match self {
            Obstacle::NoAddress => 0,
            Obstacle::Untried => 1,
            Obstacle::Dns(_) => 2,
            Obstacle::Lost(..) => 3,
            Obstacle::Refused(..) => 4,
            Obstacle::Insecure(..) => 5,
            Obstacle::Source(_) => 6,
        }
    }

    fn text(&self) -> String {
        match self {
            Obstacle::NoAddress => "no address".into(),
            Obstacle::Untried => "not tried".into(),
            Obstacle::Dns(why) | Obstacle::Insecure(_, why, _) => why.to_string(),
            Obstacle::Lost(Phase::Connect, why) => why.to_string(),
            Obstacle::Lost(phase, why) => format!("{}: {why}", name(*phase)),
            Obstacle::Refused(_, reply) => reply.to_string(),
            Obstacle::Source(why) => why.to_string(),
        }
    }
}

/// Why no connection can be made from the source, if that is so.
pub(super) fn trouble_of_source(tried: &Tried) -> Option<&str> {
    tried.iter().find_map(|(_, obstacle)| match obstacle {
        Obstacle::Source(why) => Some(&**why),
        _ => None,
    })
}

/// What was tried for a connection: host or `host[address]:port`, and what stood in the way.
pub(super) type Tried = Vec<(Box<str>, Obstacle)>;

/// The outcome for everyone who waited for a connection that no host took. Our address there is not known;
/// what is said is judged by what is `known`, as in [`super::outcome::of_result`].
pub(super) fn of_no_connection(tried: &Tried, known: Context<'_>) -> Outcome {
    let mut text = String::from("no host took a connection");
    for (separator, (remote, obstacle)) in [": "].into_iter().chain(std::iter::repeat("; ")).zip(tried) {
        if text.len() > TRIED_BYTES_MAX {
            text.push_str("; …");
            break;
        }
        text.push_str(separator);
        text.push_str(remote);
        text.push_str(": ");
        text.push_str(&obstacle.text());
    }
    let told = tried.iter().max_by_key(|(_, obstacle)| obstacle.weight());
    let (phase, status, reply) = match told.map(|(_, obstacle)| obstacle) {
        Some(Obstacle::Insecure(status, ..)) => (Phase::StartTls, if_all_are_insecure(*status, tried), None),
        Some(Obstacle::Refused(phase, reply)) => (*phase, for_now(reply), Some(reply.clone())),
        Some(Obstacle::Lost(phase, _)) => (*phase, EnhancedCode(4, 4, 1), None),
        Some(Obstacle::Source(_)) => (Phase::Connect, EnhancedCode(4, 3, 5), None),
        Some(Obstacle::Dns(_)) => (Phase::Connect, EnhancedCode(4, 4, 3), None),
        Some(Obstacle::NoAddress) => (Phase::Connect, EnhancedCode(5, 4, 4), None),
        Some(Obstacle::Untried) | None => (Phase::Connect, EnhancedCode(4, 4, 1), None),
    };
    let reason = match told {
        Some((remote, Obstacle::Refused(_, reply))) => {
            classify(reply, &Context { mx: Some(host_of(remote)), address: None, ..known }).reason()
        }
        Some((_, Obstacle::Insecure(..))) => Reason::without_reply(Category::Tls),
        Some((_, Obstacle::Source(_))) => Reason::by(SOURCE_RULE, Category::System),
        Some((_, Obstacle::Dns(_))) => Reason::without_reply(Category::Dns),
        Some((_, Obstacle::NoAddress)) => Reason::without_reply(Category::DomainUnknown),
        Some((_, Obstacle::Lost(..) | Obstacle::Untried)) | None => Reason::without_reply(Category::Network),
    };
    let remote = told
        .filter(|(_, obstacle)| matches!(obstacle, Obstacle::Lost(..) | Obstacle::Refused(..) | Obstacle::Insecure(..)))
        .map(|(remote, _)| remote.clone());
    let tls = match told {
        Some((_, Obstacle::Insecure(.., security))) => Some(security.clone()),
        _ => None,
    };
    let answer = Answer { phase, status, reason: Some(reason), reply, text: text.into(), remote, tls };
    if status.0 == 5 { Outcome::Failed(answer) } else { Outcome::Deferred(answer) }
}

/// That every host is insecure is final where the message requires TLS; while one could not be asked, or is so for now
/// only, it may change.
fn if_all_are_insecure(status: EnhancedCode, tried: &Tried) -> EnhancedCode {
    let is_final =
        |obstacle: &Obstacle| matches!(obstacle, Obstacle::Insecure(EnhancedCode(5, ..), ..) | Obstacle::NoAddress);
    match status {
        EnhancedCode(5, subject, detail) if !tried.iter().all(|(_, obstacle)| is_final(obstacle)) => {
            EnhancedCode(4, subject, detail)
        }
        status => status,
    }
}

/// A refusal of the whole session speaks of the host and of us, not of a mailbox: as a temporary status.
fn for_now(reply: &Reply) -> EnhancedCode {
    match reply.enhanced {
        Some(EnhancedCode(4 | 5, subject, detail)) => EnhancedCode(4, subject, detail),
        _ => EnhancedCode(4, 3, 2),
    }
}
