//! Which hosts and addresses are tried, and in which order after some were of no use.

use super::*;
use crate::config::Source;

#[test]
fn an_address_at_which_nobody_answered_comes_last_for_a_while() {
    let names = [("a.next.test", at(&["127.0.0.1"])), ("b.next.test", at(&["127.0.0.2"]))];
    story("messages_per_connection_max = 1", &names, async |mut world| {
        let second = Peer::start_at(&world.reactor, (ip("127.0.0.2"), 0).into(), |_| Act::Usual);
        let port = second.address.port();
        let site = site(&["a.next.test", "b.next.test"], port);
        assert_eq!(shapes(&world.deliver(&site, 1).await), ["delivered 2.0.0 Dot"]);
        // The first one is back, and nobody knows yet.
        let first = Peer::start_at(&world.reactor, (ip("127.0.0.1"), port).into(), |_| Act::Usual);
        assert_eq!(shapes(&world.deliver(&site, 1).await), ["delivered 2.0.0 Dot"]);
        assert_eq!((first.record.connections.get(), second.record.connections.get()), (0, 2));
        // It still is tried where the others are of no use.
        let alone = super::site(&["a.next.test"], port);
        assert_eq!(shapes(&world.deliver(&alone, 1).await), ["delivered 2.0.0 Dot"]);
        assert_eq!(first.record.connections.get(), 1);
    });
}

#[test]
fn a_host_at_which_no_session_comes_about_comes_last_for_a_while() {
    for (beginning, act) in [
        ("", Act::Silence),
        ("", Act::Reset),
        ("", Act::SayAndClose("554 5.3.2 no mail here")),
        ("EHLO", Act::Silence),
        ("EHLO", Act::SayAndClose("554 5.3.2 no mail here")),
    ] {
        let names = [("a.next.test", at(&["127.0.0.1"])), ("b.next.test", at(&["127.0.0.2"]))];
        story("messages_per_connection_max = 1", &names, async move |mut world| {
            let first = world.peer(except(beginning, act));
            let second = Peer::start_at(&world.reactor, (ip("127.0.0.2"), first.address.port()).into(), |_| Act::Usual);
            let site = site(&["a.next.test", "b.next.test"], first.address.port());
            for _ in 0..3 {
                assert_eq!(shapes(&world.deliver(&site, 1).await), ["delivered 2.0.0 Dot"], "{act:?}");
            }
            let connections = (first.record.connections.get(), second.record.connections.get());
            assert_eq!(connections, (1, 3), "{beginning:?} {act:?} is met once");
            // It may be of the one source that it happened to.
            let another = Source { name: "another".into(), ..Source::default() };
            world.pool.take(3, Task { source: Arc::new(another), ..task(&site, 99, 1) });
            assert_eq!(shapes(&world.done().await), ["delivered 2.0.0 Dot"], "{act:?}");
            assert_eq!(first.record.connections.get(), 2, "{beginning:?} {act:?}");
        });
    }
}

#[test]
fn a_host_that_says_not_now_is_asked_again() {
    let names = [("a.next.test", at(&["127.0.0.1"])), ("b.next.test", at(&["127.0.0.2"]))];
    story("messages_per_connection_max = 1", &names, async move |mut world| {
        let first = world.peer(except("", Act::SayAndClose("421 4.3.2 too many connections")));
        let second = Peer::start_at(&world.reactor, (ip("127.0.0.2"), first.address.port()).into(), |_| Act::Usual);
        let site = site(&["a.next.test", "b.next.test"], first.address.port());
        for _ in 0..3 {
            assert_eq!(shapes(&world.deliver(&site, 1).await), ["delivered 2.0.0 Dot"]);
        }
        assert_eq!((first.record.connections.get(), second.record.connections.get()), (3, 3));
    });
}
