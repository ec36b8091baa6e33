//! The senders' own rules for replies: whose they are, and what of a path they decide.

use super::*;
use crate::bounce::classify::{Category, Context, InForce, PathSignal, Pattern, PatternAction, Patterns};
use crate::outbound::outcome::of_result;
use crate::outbound::parking::Parking;
use crate::queue::outcome::Hop;
use crate::smtp::client::{Phase, Result};
use crate::smtp::reply::Reply;

#[test]
fn a_refusal_of_the_connection_means_for_each_message_what_its_own_rules_say() {
    story("connections_max = 1", &[], async |mut world| {
        let peer = world.peer(except("", Act::SayAndClose("421 4.3.2 the kettle boils")));
        let site = site_of(&peer);
        let own = rule("kettle", "kettle boils", None, None);
        world.pool.take(3, Task { replies: Some(own), ..task(&site, 1, 1) });
        world.pool.take(3, task(&site, 2, 1));
        let mut rules = [world.done().await, world.done().await].map(|done| (done.lease, rule_of(&done)));
        rules.sort();
        assert_eq!(&*rules[0].1, "kettle");
        assert_ne!(&*rules[1].1, "kettle");
    });
}

#[test]
fn a_rule_can_let_the_path_rest_for_what_is_refused_for_good() {
    let refused = |own: Option<&InForce>| {
        let reply = Reply { code: 550, enhanced: None, text: "the kettle boils".into() };
        of_result(
            Result::Refused(Phase::Mail, reply),
            "mx.test[192.0.2.9]:25",
            None,
            Hop::WithDsn,
            Context { own, ..Context::default() },
        )
    };
    let own = rule("kettle", "kettle boils", Some(PatternAction::Reject), Some(PathSignal::Block));
    let outcome = refused(Some(&own));
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    assert_eq!(Parking::of(&outcome, None), Some(Parking::Block));
    assert_eq!(Parking::of(&refused(None), None), None);
}

fn rule_of(done: &Done) -> Box<str> {
    let (Outcome::Deferred(answer) | Outcome::Parked(answer, _)) = &done.outcomes[0].1 else {
        panic!("{}", shape(&done.outcomes[0].1))
    };
    answer.reason.as_ref().expect("a reason").rule.as_ref().into()
}

fn rule(id: &str, words: &str, action: Option<PatternAction>, signal: Option<PathSignal>) -> InForce {
    let pattern = Pattern {
        id: id.into(),
        category: Some(Category::Policy),
        action,
        signal,
        words: vec![words.into()],
        unless: Vec::new(),
        address: None,
        class: None,
        provider: Vec::new(),
        mx: Vec::new(),
        codes: Vec::new(),
        status: Vec::new(),
    };
    let patterns = Arc::new(Patterns::new(vec![pattern]).expect("rules"));
    InForce::of(&patterns, |_| true).expect("one")
}
