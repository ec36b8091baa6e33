//! Messages that require TLS (RFC 8689) are returned for what lasts, and wait for what may pass.

use super::*;
use crate::assurance::{Assurance, Demand, Policy, sts};
use crate::outbound::outcome::of_unroutable;
use crate::outbound::resolve::resolve;
use crate::route::ADDRESSES_MAX;

/// A site that a message which requires TLS goes to.
fn demanding(hosts: &[&str], port: u16) -> Arc<Site> {
    let site = Site::clone(&site(hosts, port));
    Arc::new(site.demanded(Demand::Required, &Assurance::default()))
}

/// What becomes of a task that meets `act` at `beginning`.
fn met(beginning: &'static str, act: Act, expected: &'static str) {
    let is_stall = matches!(act, Act::SayAndStall(_));
    let handshake = if is_stall { Duration::from_millis(300) } else { PATIENT };
    let timing = Timing { handshake, ..timing() };
    story_with(timing, "", &[], async move |mut world| {
        let peer = world.peer(except(beginning, act));
        let done = world.deliver(&demanding(&["127.0.0.1"], peer.address.port()), 1).await;
        assert_eq!(shapes(&done), [expected], "{act:?}: {}", text(&done));
        assert!(peer.record.messages.borrow().is_empty());
    });
}

#[test]
fn a_host_that_gives_no_tls_for_good_returns_them() {
    met("EHLO", Act::Say("250 peer.test"), "failed 5.7.10 StartTls");
    met("STARTTLS", Act::Say("502 5.5.1 never"), "failed 5.7.10 StartTls");
    met("STARTTLS", Act::Garbage, "failed 5.7.10 StartTls");
    // Its certificate is somebody else's.
    met("nothing", Act::Usual, "failed 5.7.10 StartTls");
}

#[test]
fn a_host_that_gives_none_just_now_lets_them_wait() {
    met("STARTTLS", Act::Say("454 4.7.0 not now"), "deferred 4.7.4 StartTls");
    met("STARTTLS", Act::Reset, "deferred 4.7.4 StartTls");
    // The end in the handshake, and silence there.
    met("STARTTLS", Act::SayAndClose("220 go on"), "deferred 4.7.5 StartTls");
    met("STARTTLS", Act::SayAndStall("220 go on"), "deferred 4.7.5 StartTls");
}

#[test]
fn a_host_that_was_not_tried_lets_them_wait() {
    let names = [("a.test", at(&["127.0.0.1"; ADDRESSES_MAX])), ("b.test", at(&["127.0.0.2", "127.0.0.3"]))];
    story("", &names, async |mut world| {
        let peer = world.peer(|_| Act::Usual);
        let port = peer.address.port();
        let done = world.deliver(&demanding(&["a.test", "b.test"], port), 1).await;
        assert_eq!(shapes(&done), ["deferred 4.7.10 StartTls"]);
        assert_eq!(peer.record.connections.get() as usize, ADDRESSES_MAX);
    });
    story("", &names, async |mut world| {
        let peer = world.peer(|_| Act::Usual);
        let done = world.deliver(&demanding(&["a.test"], peer.address.port()), 1).await;
        assert_eq!(shapes(&done), ["failed 5.7.10 StartTls"], "all of it was tried");
    });
}

/// The status with which a domain's mail exchangers are refused that DNSSEC does not vouch for, and what its policy is.
fn refused(policy: Answer, expected: &'static str) {
    shards::launch::run(async move |reactor: Reactor| {
        let names = HashMap::from([
            (Question::Mx("d.test".into()), Answer::Mx(vec![(1, "mx.d.test".into())], PATIENT)),
            (Question::SecureMx("d.test".into()), Answer::NoData(PATIENT)),
            (Question::Policy("d.test".into()), policy.clone()),
        ]);
        let (dns, metrics) = (resolver(&reactor, names), Metrics::default());
        for dane in ["", "[delivery.tls]\ndane = true\n"] {
            let config = config(dane);
            let resolve = async |demand| resolve(&dns, &metrics.reporting, &config, "d.test", demand).await;
            let unroutable = resolve(Demand::Required).await.expect_err("nobody vouches for it");
            assert_eq!(unroutable.status.to_string(), expected, "{policy:?}: {unroutable}");
            let (Outcome::Deferred(answer) | Outcome::Failed(answer)) = of_unroutable(&unroutable) else {
                panic!("{unroutable}")
            };
            assert_eq!(answer.tls.expect("it is for want of TLS").policy, Policy::RequireTls);
            let usual = resolve(Demand::Usual).await.expect("ordinary mail goes");
            assert_eq!(usual.assurance.level, Assurance::default().level, "{policy:?}");
        }
    })
    .expect("a shard");
}

#[test]
fn a_policy_that_cannot_be_had_now_lets_them_wait() {
    refused(Answer::NoPolicy(sts::Missing::Unfetched, PATIENT), "4.7.10");
    refused(Answer::NoPolicy(sts::Missing::Untrusted, PATIENT), "4.7.10");
    refused(Answer::Trouble("SERVFAIL".into()), "4.7.10");
    refused(Answer::NoData(PATIENT), "5.7.10");
    refused(Answer::NoSuchName(PATIENT), "5.7.10");
}
