//! Messages that require TLS (RFC 8689) are returned for what lasts, and wait for what may pass.

use super::*;
use crate::assurance::{Assurance, Demand};
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
