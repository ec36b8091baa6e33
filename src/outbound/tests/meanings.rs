//! What replies, losses and obstacles come to.

use std::sync::Arc;

use crate::assurance::{Assurance, Security};
use crate::bounce::classify::Context;
use crate::outbound::obstacle::{Obstacle, TRIED_BYTES_MAX, Tried, of_no_connection, trouble_of_source};
use crate::outbound::outcome::of_result;
use crate::outbound::parking::{Parking, parked, signal_of};
use crate::outbound::throttle::Signal;
use crate::queue::outcome::{Hop, Outcome};
use crate::smtp::client::{Phase, Result};
use crate::smtp::reply::{EnhancedCode, Reply};

fn reply(code: u16, enhanced: Option<(u8, u16, u16)>) -> Reply {
    Reply { code, enhanced: enhanced.map(|(a, b, c)| EnhancedCode(a, b, c)), text: "words".into() }
}

#[test]
fn a_message_that_requires_tls_is_returned_only_if_every_host_was_asked() {
    let insecure = |status| Obstacle::Insecure(status, "no".into(), Arc::new(Security::refused(&Assurance::default())));
    let needed = EnhancedCode(5, 7, 30);
    let shape_of = |obstacles: &[Obstacle]| {
        shape(&of_no_connection(
            &obstacles.iter().map(|obstacle| ("mx.test".into(), obstacle.clone())).collect(),
            Context::default(),
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
        let outcome = of_result(result.clone(), "mx.test[192.0.2.1]:25", None, Hop::WithDsn, Context::default());
        assert_eq!(shape(&outcome), (expected.0, expected.1.to_string()), "{result:?}");
    }
}

#[test]
fn words_decide_against_the_codes_class_and_the_status_follows() {
    let refused = |code, enhanced: Option<(u8, u16, u16)>, text: &str| {
        let reply = Reply { text: text.into(), ..reply(code, enhanced) };
        of_result(
            Result::Refused(Phase::Rcpt, reply),
            "mx01.mail.icloud.com[192.0.2.9]:25",
            "192.0.2.1".parse().ok(),
            Hop::WithDsn,
            Context::default(),
        )
    };
    let cases = [
        (refused(552, Some((5, 2, 2)), "Mailbox full"), ('r', "4.2.2"), "mailbox-full", None),
        (refused(451, Some((4, 7, 1)), "Message identified as spam"), ('f', "5.7.1"), "spam-message", None),
        (refused(554, None, "192.0.2.1 is listed at bl.test"), ('r', "4.0.0"), "listed", Some(Parking::Block)),
        (refused(554, None, "[HM08] policy [192.0.2.1]"), ('r', "4.0.0"), "apple-address", Some(Parking::Block)),
        (refused(554, None, "[HM08] policy"), ('f', "5.0.0"), "apple-content", None),
        (refused(450, None, "Too many connections"), ('r', "4.0.0"), "rate", Some(Parking::Connections)),
        (refused(450, None, "Too many messages"), ('r', "4.0.0"), "rate", Some(Parking::Rate)),
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
        let outcome = of_result(refused, "mx.test[192.0.2.9]:25", ours, Hop::WithDsn, Context::default());
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
        let outcome = of_result(refused, "mx.test[192.0.2.9]:25", ours, Hop::WithDsn, Context::default());
        assert_eq!(shape(&outcome), ('r', "4.7.1".into()), "a block is tried again: {text}");
        assert_eq!(Parking::of(&outcome, ours), parks.then_some(Parking::Block), "{phase:?} {text}");
    }
}

#[test]
fn the_peers_words_are_kept_and_ours_are_not_taken_for_its() {
    let Outcome::Failed(theirs) = of_result(
        Result::Refused(Phase::Rcpt, reply(550, Some((5, 1, 1)))),
        "mx",
        None,
        Hop::WithDsn,
        Context::default(),
    ) else {
        panic!("not failed")
    };
    assert_eq!((theirs.reply, &*theirs.text), (Some(reply(550, Some((5, 1, 1)))), "550 5.1.1 words"));
    let Outcome::Failed(ours) =
        of_result(Result::Impossible(reply(552, Some((5, 3, 4)))), "mx", None, Hop::WithDsn, Context::default())
    else {
        panic!("not failed")
    };
    assert_eq!((ours.reply, &*ours.text), (None, "552 5.3.4 words"));
}

#[test]
fn a_loss_after_the_dot_says_that_the_peer_may_have_it() {
    let Outcome::Deferred(answer) =
        of_result(Result::Lost(Phase::Dot, "timed out".into()), "mx", None, Hop::WithDsn, Context::default())
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
        assert_eq!(
            shape(&of_no_connection(&tried, Context::default())),
            (expected.0, expected.1.to_string()),
            "{tried:?}"
        );
    }
}

#[test]
fn a_source_that_cannot_be_used_is_no_fault_of_the_message() {
    let why: Box<str> = "the source a: its address 192.0.2.1 cannot be used".into();
    let tried: Tried = vec![("mx.test".into(), Obstacle::Source(why.clone()))];
    assert_eq!(trouble_of_source(&tried), Some(&*why));
    let outcome = parked(of_no_connection(&tried, Context::default()), None, 60);
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
    let Outcome::Deferred(answer) = of_no_connection(&tried, Context::default()) else { panic!("not deferred") };
    assert_eq!(
        &*answer.text,
        "no host took a connection: a[192.0.2.1]:25: connection refused; b[192.0.2.2]:25: 421 words"
    );
    assert_eq!(answer.remote.as_deref(), Some("b[192.0.2.2]:25"));
    let endless: Tried = (0..1000).map(|_| tried[0].clone()).collect();
    let Outcome::Deferred(answer) = of_no_connection(&endless, Context::default()) else { panic!("not deferred") };
    assert!(answer.text.len() < 2 * TRIED_BYTES_MAX, "{}", answer.text.len());
}
