//! What a transaction's results, or the lack of a connection, mean for recipients. Pure, and the one place that decides.
//!
//! | what happened | outcome | status where the peer gave none |
//! |---|---|---|
//! | 2xx after the content | delivered | 2.0.0 |
//! | any other reply to MAIL, RCPT, DATA or the content | what [`classify`] says: failed, deferred | 5.0.0, 4.0.0 |
//! | the connection was lost | deferred | 4.4.2 |
//! | the peer lacks what the message needs | failed | that of the reply that we make |
//! | every host refused at its greeting or EHLO, also with 5xx (RFC 5321 §3.8, RFC 7504) | deferred | 4.3.2 |
//! | no host could be reached | deferred | 4.4.1 |
//! | no connection can be made from the source: our own trouble, which costs no attempt | parked | 4.3.5 |
//! | no host's address could be looked up | deferred | 4.4.3 |
//! | no host has an address | failed | 5.4.4 |
//! | it was suppressed since it was accepted, or is only to be reported | failed | 5.7.1 |
//! | TLS is demanded of a host, which does not offer it | deferred | 4.7.4 |
//! | … and its handshake fails, or its certificate is not the right one | deferred | 4.7.5 |
//! | the message requires TLS, and no host gives it | failed | 5.7.10 |
//! | … and keeps it (REQUIRETLS) | failed | 5.7.30 |

use std::net::IpAddr;
use std::sync::Arc;

use super::throttle::Signal;
use super::told::told;
use crate::assurance::{Assurance, Demand, Security};
use crate::bounce::classify::{Action, Category, Context, InForce, PathSignal, Reason, classify, names_address};
use crate::queue::outcome::{Answer, Hop, Outcome};
use crate::route::Unroutable;
use crate::smtp::client::{Failure, Phase, Result};
use crate::smtp::reply::{EnhancedCode, Reply};

/// The rule of what is the source's trouble.
const SOURCE_RULE: &str = "source";

/// Bytes of the list of hosts that were tried, for people; what is beyond is left out.
const TRIED_BYTES_MAX: usize = 1024;

/// One recipient's outcome of a transaction with `remote`, which sees us as `ours` and is to notices what `hop` says; what
/// it says means what our `own` rules say first.
pub(super) fn of_result(
    result: Result,
    remote: &str,
    ours: Option<IpAddr>,
    hop: Hop,
    own: Option<&InForce>,
) -> Outcome {
    match result {
        Result::Accepted(reply) => Outcome::Delivered(said(Phase::Dot, reply, remote), hop),
        Result::Refused(phase, reply) => refused(phase, reply, remote, ours, own),
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
fn refused(phase: Phase, reply: Reply, remote: &str, ours: Option<IpAddr>, own: Option<&InForce>) -> Outcome {
    let verdict = classify(&reply, &Context { mx: Some(host_of(remote)), address: ours, own });
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
fn host_of(remote: &str) -> &str {
    remote.split('[').next().unwrap_or(remote)
}

/// Why a whole path is left alone, and not one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Parking {
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
            PathSignal::Rate | PathSignal::Connections => Some(Parking::Rate),
            PathSignal::Reputation | PathSignal::None => None,
        }
    }
}

/// What an outcome at a peer that sees us as `ours` says about how much we send it, and in which words.
pub(super) fn heard(outcome: &Outcome, ours: Option<IpAddr>) -> Option<(Signal, &str)> {
    signal_of(outcome, ours).zip(told(outcome))
}

fn signal_of(outcome: &Outcome, ours: Option<IpAddr>) -> Option<Signal> {
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
fn name(phase: Phase) -> &'static str {
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
/// what is said means what our `own` rules say first.
pub(super) fn of_no_connection(tried: &Tried, own: Option<&InForce>) -> Outcome {
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
            classify(reply, &Context { mx: Some(host_of(remote)), address: None, own }).reason()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16, enhanced: Option<(u8, u16, u16)>) -> Reply {
        Reply { code, enhanced: enhanced.map(|(a, b, c)| EnhancedCode(a, b, c)), text: "words".into() }
    }

    #[test]
    fn a_message_that_requires_tls_is_returned_only_if_every_host_was_asked() {
        let insecure =
            |status| Obstacle::Insecure(status, "no".into(), Arc::new(Security::refused(&Assurance::default())));
        let needed = EnhancedCode(5, 7, 30);
        let shape_of = |obstacles: &[Obstacle]| {
            shape(&of_no_connection(
                &obstacles.iter().map(|obstacle| ("mx.test".into(), obstacle.clone())).collect(),
                None,
            ))
        };
        assert_eq!(shape_of(&[insecure(needed), Obstacle::NoAddress]), ('f', "5.7.30".into()));
        let lost = Obstacle::Lost(Phase::Connect, "refused".into());
        assert_eq!(shape_of(&[lost, insecure(needed)]), ('r', "4.7.30".into()));
        assert_eq!(shape_of(&[insecure(EnhancedCode(4, 7, 5))]), ('r', "4.7.5".into()));
        assert_eq!(shape_of(&[insecure(EnhancedCode(4, 7, 5)), insecure(needed)]), ('r', "4.7.30".into()));
        assert_eq!(shape_of(&[insecure(needed), insecure(EnhancedCode(4, 7, 5))]), ('r', "4.7.5".into()));
        assert_eq!(shape_of(&[insecure(needed), Obstacle::Untried]), ('r', "4.7.30".into()));
        assert_eq!(shape_of(&[Obstacle::NoAddress, Obstacle::Untried]), ('r', "4.4.1".into()));
    }

    /// d, f or r, and the status.
    fn shape(outcome: &Outcome) -> (char, String) {
        match outcome {
            Outcome::Delivered(answer, _) => ('d', answer.status.to_string()),
            Outcome::Failed(answer) => ('f', answer.status.to_string()),
            Outcome::Deferred(answer) => ('r', answer.status.to_string()),
            Outcome::Parked(..) | Outcome::Untried(_) => panic!("untried"),
        }
    }

    #[test]
    fn a_reply_decides_and_its_own_status_stays() {
        let cases = [
            (Result::Accepted(reply(250, None)), ('d', "2.0.0")),
            (Result::Accepted(reply(250, Some((2, 6, 0)))), ('d', "2.6.0")),
            (Result::Refused(Phase::Rcpt, reply(550, Some((5, 1, 1)))), ('f', "5.1.1")),
            (Result::Refused(Phase::Mail, reply(553, None)), ('f', "5.0.0")),
            (Result::Refused(Phase::Rcpt, reply(450, Some((4, 2, 0)))), ('r', "4.2.0")),
            (Result::Refused(Phase::Mail, reply(421, None)), ('r', "4.0.0")),
            (Result::Refused(Phase::Data, reply(354, None)), ('r', "4.0.0")),
            (Result::Lost(Phase::Data, "reset".into()), ('r', "4.4.2")),
            (Result::Impossible(reply(550, Some((5, 6, 7)))), ('f', "5.6.7")),
        ];
        for (result, expected) in cases {
            let outcome = of_result(result.clone(), "mx.test[192.0.2.1]:25", None, Hop::WithDsn, None);
            assert_eq!(shape(&outcome), (expected.0, expected.1.to_string()), "{result:?}");
        }
    }

    #[test]
    fn words_decide_against_the_codes_class_and_the_status_follows() {
        let refused = |code, enhanced: Option<(u8, u16, u16)>, text: &str| {
            let reply = Reply { text: text.into(), ..reply(code, enhanced) };
            of_result(
                Result::Refused(Phase::Rcpt, reply),
                "mx.icloud.com[192.0.2.9]:25",
                "192.0.2.1".parse().ok(),
                Hop::WithDsn,
                None,
            )
        };
        let cases = [
            (refused(552, Some((5, 2, 2)), "Mailbox full"), ('r', "4.2.2"), "mailbox-full", None),
            (refused(451, Some((4, 7, 1)), "Message identified as spam"), ('f', "5.7.1"), "spam-message", None),
            (refused(554, None, "192.0.2.1 is listed at bl.test"), ('r', "4.0.0"), "listed", Some(Parking::Block)),
            (refused(554, None, "[HM08] policy [192.0.2.1]"), ('r', "4.0.0"), "apple-address", Some(Parking::Block)),
            (refused(554, None, "[HM08] policy"), ('f', "5.0.0"), "apple-content", None),
            (refused(450, None, "Too many connections"), ('r', "4.0.0"), "rate", Some(Parking::Rate)),
        ];
        for (outcome, expected, rule, parking) in cases {
            assert_eq!(shape(&outcome), (expected.0, expected.1.to_string()), "{outcome:?}");
            let ours = "192.0.2.1".parse().ok();
            assert_eq!(Parking::of(&outcome, ours), parking, "{outcome:?}");
            assert_eq!(matches!(parked(outcome.clone(), ours, 60), Outcome::Parked(_, 60)), parking.is_some());
            let (Outcome::Deferred(answer) | Outcome::Failed(answer)) = outcome else { panic!("{outcome:?}") };
            assert_eq!(answer.reason.expect("a reason").rule, rule);
        }
    }

    #[test]
    fn replies_are_signals_of_what_they_are_about() {
        let ours = "192.0.2.1".parse().ok();
        let cases = [
            (Phase::Greeting, 421, (4, 3, 2), "too many concurrent connections", Some(Signal::Connections)),
            (Phase::Mail, 450, (4, 7, 1), "connection rate limit exceeded", Some(Signal::Rate)),
            (Phase::Rcpt, 451, (4, 7, 1), "too many messages, slow down", Some(Signal::Rate)),
            (Phase::Mail, 554, (5, 7, 1), "192.0.2.1 is listed at bl.test", Some(Signal::Reputation)),
            (Phase::Mail, 421, (4, 7, 0), "the reputation of your address is low", Some(Signal::Reputation)),
            (Phase::Dot, 550, (5, 7, 1), "the sender domain has a low reputation", None),
            (Phase::Rcpt, 452, (4, 2, 2), "mailbox full", None),
            (Phase::Rcpt, 450, (4, 2, 0), "greylisted, try again later", None),
        ];
        for (phase, code, status, text, signal) in cases {
            let refused = Result::Refused(phase, Reply { text: text.into(), ..reply(code, Some(status)) });
            let outcome = of_result(refused, "mx.test[192.0.2.9]:25", ours, Hop::WithDsn, None);
            assert_eq!(signal_of(&outcome, ours), signal, "{text}: {outcome:?}");
        }
    }

    #[test]
    fn a_block_at_one_recipient_or_message_is_about_us_only_where_it_names_our_address() {
        let ours = "192.0.2.1".parse().ok();
        let cases = [
            (Phase::Mail, "blocked using bl.test", true),
            (Phase::Rcpt, "blocked using bl.test", false),
            (Phase::Dot, "blocked using bl.test", false),
            (Phase::Rcpt, "192.0.2.1 blocked using bl.test", true),
            (Phase::Dot, "Client host [192.0.2.1] blocked using bl.test", true),
            (Phase::Dot, "link to 192.0.2.77 blocked using bl.test", false),
        ];
        for (phase, text, parks) in cases {
            let refused = Result::Refused(phase, Reply { text: text.into(), ..reply(550, Some((5, 7, 1))) });
            let outcome = of_result(refused, "mx.test[192.0.2.9]:25", ours, Hop::WithDsn, None);
            assert_eq!(shape(&outcome), ('r', "4.7.1".into()), "a block is tried again: {text}");
            assert_eq!(Parking::of(&outcome, ours), parks.then_some(Parking::Block), "{phase:?} {text}");
        }
    }

    #[test]
    fn the_peers_words_are_kept_and_ours_are_not_taken_for_its() {
        let Outcome::Failed(theirs) =
            of_result(Result::Refused(Phase::Rcpt, reply(550, Some((5, 1, 1)))), "mx", None, Hop::WithDsn, None)
        else {
            panic!("not failed")
        };
        assert_eq!((theirs.reply, &*theirs.text), (Some(reply(550, Some((5, 1, 1)))), "550 5.1.1 words"));
        let Outcome::Failed(ours) =
            of_result(Result::Impossible(reply(552, Some((5, 3, 4)))), "mx", None, Hop::WithDsn, None)
        else {
            panic!("not failed")
        };
        assert_eq!((ours.reply, &*ours.text), (None, "552 5.3.4 words"));
    }

    #[test]
    fn a_loss_after_the_dot_says_that_the_peer_may_have_it() {
        let Outcome::Deferred(answer) =
            of_result(Result::Lost(Phase::Dot, "timed out".into()), "mx", None, Hop::WithDsn, None)
        else {
            panic!("not deferred")
        };
        assert_eq!((answer.phase, answer.status), (Phase::Dot, EnhancedCode(4, 4, 2)));
        assert!(answer.text.contains("may have it"), "{}", answer.text);
    }

    #[test]
    fn no_connection_is_answered_with_what_tells_most() {
        let connect = |why: &str| Obstacle::Lost(Phase::Connect, why.into());
        let security = Arc::new(Security::refused(&Assurance::enforced()));
        let insecure = Obstacle::Insecure(EnhancedCode(4, 7, 5), "the certificate has expired".into(), security);
        let cases: [(Vec<Obstacle>, (char, &str)); 6] = [
            (vec![connect("refused"), Obstacle::Refused(Phase::Greeting, reply(554, None))], ('r', "4.3.2")),
            (vec![Obstacle::Refused(Phase::Ehlo, reply(550, Some((5, 7, 1)))), connect("refused")], ('r', "4.7.1")),
            (vec![Obstacle::Dns("SERVFAIL".into()), connect("refused"), Obstacle::NoAddress], ('r', "4.4.1")),
            (vec![Obstacle::NoAddress, Obstacle::Dns("SERVFAIL".into())], ('r', "4.4.3")),
            (vec![Obstacle::NoAddress, Obstacle::NoAddress], ('f', "5.4.4")),
            (vec![insecure, Obstacle::Refused(Phase::Greeting, reply(554, None))], ('r', "4.7.5")),
        ];
        for (obstacles, expected) in cases {
            let tried: Tried = obstacles.into_iter().map(|obstacle| ("mx.test".into(), obstacle)).collect();
            assert_eq!(shape(&of_no_connection(&tried, None)), (expected.0, expected.1.to_string()), "{tried:?}");
        }
    }

    #[test]
    fn a_source_that_cannot_be_used_is_no_fault_of_the_message() {
        let why: Box<str> = "the source a: its address 192.0.2.1 cannot be used".into();
        let tried: Tried = vec![("mx.test".into(), Obstacle::Source(why.clone()))];
        assert_eq!(trouble_of_source(&tried), Some(&*why));
        let outcome = parked(of_no_connection(&tried, None), None, 60);
        let Outcome::Parked(answer, 60) = outcome else { panic!("an attempt is counted: {outcome:?}") };
        assert_eq!((answer.status, answer.remote), (EnhancedCode(4, 3, 5), None));
        assert!(answer.text.contains(&*why), "{}", answer.text);
    }

    #[test]
    fn the_list_of_what_was_tried_is_readable_and_bounded() {
        let tried: Tried = vec![
            ("a[192.0.2.1]:25".into(), Obstacle::Lost(Phase::Connect, "connection refused".into())),
            ("b[192.0.2.2]:25".into(), Obstacle::Refused(Phase::Greeting, reply(421, None))),
        ];
        let Outcome::Deferred(answer) = of_no_connection(&tried, None) else { panic!("not deferred") };
        assert_eq!(
            &*answer.text,
            "no host took a connection: a[192.0.2.1]:25: connection refused; b[192.0.2.2]:25: 421 words"
        );
        assert_eq!(answer.remote.as_deref(), Some("b[192.0.2.2]:25"));
        let endless: Tried = (0..1000).map(|_| tried[0].clone()).collect();
        let Outcome::Deferred(answer) = of_no_connection(&endless, None) else { panic!("not deferred") };
        assert!(answer.text.len() < 2 * TRIED_BYTES_MAX, "{}", answer.text.len());
    }
}
