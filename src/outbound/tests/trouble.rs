//! Paths in trouble: what waits is answered, and the destination is left alone for a while.

use super::*;

#[test]
fn a_dead_destination_costs_one_search_however_much_waits() {
    story("", &[], async |mut world| {
        let peer = world.peer(except("", Act::SayAndClose("554 5.3.2 nobody here")));
        let site = site_of(&peer);
        (0..50).for_each(|_| world.give(&site, 1));
        for _ in 0..50 {
            let done = world.done().await;
            assert_eq!(shapes(&done), ["deferred 4.3.2 Greeting"]);
            let rest = done.park.as_ref().expect("the path is left alone");
            assert_eq!(rest.pause, Duration::from_secs(40), "the first wait of the schedule");
            assert!(rest.why.contains("554 5.3.2 nobody here"), "{rest:?}");
            assert!(text(&done).contains("554 5.3.2 nobody here"), "{}", text(&done));
        }
        let later = world.deliver(&site, 1).await;
        assert!(matches!(later.outcomes[0].1, Outcome::Untried(1..=40)), "{:?}", later.outcomes);
        let rest = later.park.expect("it is left alone still");
        assert!(rest.pause <= Duration::from_secs(40) && rest.why.contains("554 5.3.2 nobody here"), "{rest:?}");
        assert_eq!(peer.record.connections.get(), 1);
        assert_eq!(world.metrics.connections_failed.get(), 1);
    });
}

#[test]
fn a_refused_connection_defers_with_the_address_that_refused() {
    story("", &[], async |mut world| {
        let gone = world.reactor.listen((ip("127.0.0.1"), 0).into()).expect("listens").address();
        let done = world.deliver(&site(&["127.0.0.1"], gone.port()), 1).await;
        assert_eq!(shapes(&done), ["deferred 4.4.1 Connect"]);
        let expected = format!("no host took a connection: 127.0.0.1[127.0.0.1]:{}: connection refused", gone.port());
        assert_eq!(text(&done), expected);
    });
}

#[test]
fn hosts_without_addresses_fail_and_dns_trouble_defers() {
    let names = [("slow.test", Answer::Trouble("SERVFAIL".into())), ("bare.test", Answer::NoData(PATIENT))];
    story("", &names, async |mut world| {
        let gone = site(&["gone.test", "bare.test"], 25);
        assert_eq!(shapes(&world.deliver(&gone, 1).await), ["failed 5.4.4 Connect"]);
    });
    story("", &names, async |mut world| {
        let slow = site(&["gone.test", "slow.test"], 25);
        let done = world.deliver(&slow, 1).await;
        assert_eq!(shapes(&done), ["deferred 4.4.3 Connect"]);
        assert!(text(&done).contains("SERVFAIL"), "{}", text(&done));
    });
}

#[test]
fn a_peer_that_ends_every_connection_at_once_is_left_alone_and_only_one_task_pays() {
    story("connections_max = 1", &[], async |mut world| {
        let peer = world.peer(except("MAIL", Act::SayAndClose("421 4.7.0 too busy")));
        let site = site_of(&peer);
        (0..20).for_each(|_| world.give(&site, 1));
        assert_eq!(shapes(&world.done().await), ["deferred 4.7.0 Mail"]);
        for _ in 1..20 {
            let done = world.done().await;
            let pause = done.park.as_ref().map(|rest| rest.pause);
            assert_eq!((shapes(&done), pause), (vec!["untried 40".into()], Some(Duration::from_secs(40))));
        }
        assert_eq!(peer.record.connections.get(), 1);
    });
}

#[test]
fn connections_that_stand_go_on_when_the_peer_takes_no_more() {
    story("connections_max = 5", &[], async |mut world| {
        let peer = world.peer(|moment| match (moment.connection, moment.line) {
            (2.., "") => Act::SayAndClose("421 4.7.0 one is enough"),
            _ => Act::Usual,
        });
        let site = site_of(&peer);
        (0..30).for_each(|_| world.give(&site, 1));
        for _ in 0..30 {
            assert_eq!(shapes(&world.done().await), ["delivered 2.0.0 Dot"]);
        }
        assert!(peer.record.connections.get() <= 5, "{} tries", peer.record.connections.get());
    });
}
