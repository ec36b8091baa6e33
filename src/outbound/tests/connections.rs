//! How connections are opened, used again, limited and ended.

use std::cell::RefCell;

use super::*;
use crate::bounce::return_path::{ReturnPath, Token};
use crate::config::limit::Party;
use crate::outbound::Returning;

#[test]
fn an_address_that_refuses_is_passed_over() {
    let names = [("mx.next.test", at(&["127.0.0.9", "127.0.0.1"]))];
    story("", &names, async |mut world| {
        let peer = world.peer(|_| Act::Usual);
        let done = world.deliver(&site(&["mx.next.test"], peer.address.port()), 1).await;
        assert_eq!(shapes(&done), ["delivered 2.0.0 Dot"]);
    });
}

#[test]
fn a_host_that_refuses_the_session_is_passed_over_whatever_its_code() {
    for greeting in ["554 5.7.1 go away", "421 4.3.2 later", "521 no mail here"] {
        let names = [("a.next.test", at(&["127.0.0.1"])), ("b.next.test", at(&["127.0.0.2"]))];
        story("", &names, async move |mut world| {
            let first = world.peer(except("", Act::SayAndClose(greeting)));
            let second = Peer::start_at(&world.reactor, (ip("127.0.0.2"), first.address.port()).into(), |_| Act::Usual);
            let done = world.deliver(&site(&["a.next.test", "b.next.test"], first.address.port()), 1).await;
            assert_eq!(shapes(&done), ["delivered 2.0.0 Dot"], "{greeting}");
            assert_eq!((first.record.connections.get(), second.record.connections.get()), (1, 1));
        });
    }
}

#[test]
fn tls_is_used_where_it_is_offered_whoever_the_certificate_names() {
    story("", &[], async |mut world| {
        let peer = world.peer(|_| Act::Usual);
        world.deliver(&site_of(&peer), 1).await;
        assert!(peer.record.messages.borrow()[0].2, "encrypted");
    });
}

#[test]
fn a_broken_handshake_is_followed_by_plain_text_and_remembered() {
    for broken in [Act::Garbage, Act::Reset] {
        story("messages_per_connection_max = 1", &[], async move |mut world| {
            let peer = world.peer(except("STARTTLS", broken));
            for _ in 0..2 {
                let done = world.deliver(&site_of(&peer), 1).await;
                assert_eq!(shapes(&done), ["delivered 2.0.0 Dot"], "{broken:?}");
            }
            assert!(peer.record.messages.borrow().iter().all(|(.., encrypted)| !encrypted));
            assert_eq!(peer.record.count("STARTTLS"), 1, "the second time it is not tried");
            assert_eq!(peer.record.connections.get(), 3);
            assert_eq!(world.metrics.tls_fallbacks.get(), 1);
        });
    }
}

#[test]
fn a_refused_starttls_means_plain_text_on_the_same_connection() {
    story("", &[], async |mut world| {
        let peer = world.peer(except("STARTTLS", Act::Say("454 4.7.0 not now")));
        let done = world.deliver(&site_of(&peer), 1).await;
        assert_eq!(shapes(&done), ["delivered 2.0.0 Dot"]);
        assert_eq!(peer.record.connections.get(), 1);
    });
}

#[test]
fn a_connection_is_used_again_up_to_its_number_of_messages() {
    story("connections_max = 1\nmessages_per_connection_max = 2", &[], async |mut world| {
        let peer = world.peer(|_| Act::Usual);
        let site = site_of(&peer);
        (0..5).for_each(|_| world.give(&site, 1));
        for _ in 0..5 {
            assert_eq!(shapes(&world.done().await), ["delivered 2.0.0 Dot"]);
        }
        assert_eq!(peer.record.connections.get(), 3);
        assert_eq!(peer.record.connections_most.get(), 1);
        let by_connection = |number| {
            peer.record.lines.borrow().iter().filter(|(n, line)| *n == number && line.starts_with("MAIL")).count()
        };
        assert_eq!([by_connection(1), by_connection(2), by_connection(3)], [2, 2, 1]);
    });
}

#[test]
fn a_peer_that_takes_no_more_on_a_connection_gets_the_rest_on_the_next_whatever_its_code() {
    for words in ["421 4.7.0 Too many messages on this connection", "452 4.3.0 Too many messages per session"] {
        story("connections_max = 1", &[], async move |mut world| {
            let seen = RefCell::new(HashMap::<u32, usize>::new());
            let peer = world.peer(move |moment| {
                let mut seen = seen.borrow_mut();
                let of_connection = seen.entry(moment.connection).or_default();
                *of_connection += usize::from(moment.line.starts_with("MAIL"));
                if moment.line.starts_with("MAIL") && *of_connection > 2 { Act::Say(words) } else { Act::Usual }
            });
            let site = site_of(&peer);
            (0..5).for_each(|_| world.give(&site, 1));
            for _ in 0..5 {
                assert_eq!(shapes(&world.done().await), ["delivered 2.0.0 Dot"], "{words}");
            }
            assert_eq!(peer.record.connections.get(), 3, "{words}");
        });
    }
}

#[test]
fn there_are_never_more_connections_than_allowed_and_as_many_as_useful() {
    story("connections_max = 3", &[], async |mut world| {
        let peer = world.peer(|_| Act::Usual);
        let site = site_of(&peer);
        (0..60).for_each(|_| world.give(&site, 1));
        for _ in 0..60 {
            assert_eq!(shapes(&world.done().await), ["delivered 2.0.0 Dot"]);
        }
        assert_eq!(peer.record.connections_most.get(), 3);
        assert_eq!(peer.record.connections.get(), 3, "and they were used again");
    });
}

#[test]
fn a_connection_that_idles_takes_the_next_task() {
    story("", &[], async |mut world| {
        let peer = world.peer(|_| Act::Usual);
        for _ in 0..6 {
            world.deliver(&site_of(&peer), 1).await;
        }
        assert_eq!(peer.record.connections.get(), 1);
    });
}

#[test]
fn tasks_that_come_at_once_to_an_idle_connection_open_one_more_for_each_it_does_not_cover() {
    story("connections_max = 10", &[], async |mut world| {
        let peer = world.peer(|_| Act::Usual);
        let site = site_of(&peer);
        world.deliver(&site, 1).await;
        // The idle connection is called for the first and has not come for it when the second arrives.
        (0..2).for_each(|_| world.give(&site, 1));
        for _ in 0..2 {
            assert_eq!(shapes(&world.done().await), ["delivered 2.0.0 Dot"]);
        }
        assert!(peer.record.connections.get() <= 2, "{} connections", peer.record.connections.get());
    });
}

#[test]
fn a_connection_that_idles_too_long_says_quit() {
    let of_all = "idle_timeout = \"1s\"";
    let of_some = "idle_timeout = \"5m\"\n[[limit]]\nidle_timeout = \"2m\"\n[[limit]]\ndomains = [\"next.test\"]\n";
    for config in [of_all.to_owned(), format!("{of_some}{of_all}")] {
        story(&config, &[], async |mut world| {
            let peer = world.peer(|_| Act::Usual);
            let site = site_of(&peer);
            let site = Arc::new(Site::clone(&site).shaped(&world.config, "next.test", Party::default()));
            world.deliver(&site, 1).await;
            let since = world.reactor.now();
            world.until(|| peer.record.connections_now.get() == 0).await;
            let idled = world.reactor.now().since(since);
            assert!((900..5000).contains(&idled.as_millis()), "{idled:?}");
            assert_eq!(peer.record.count("QUIT"), 1);
            world.until(|| world.metrics.connections_now.get() == 0).await;
        });
    }
}

#[test]
fn a_peer_that_left_in_the_meantime_costs_nobody_an_attempt() {
    for leaving in [Act::Reset, Act::SayAndClose("421 4.7.0 enough of this connection")] {
        story("connections_max = 1", &[], async move |mut world| {
            let mails = std::cell::Cell::new(0);
            let peer = world.peer(move |moment| {
                if moment.line.starts_with("MAIL") {
                    mails.set(mails.get() + 1);
                    if mails.get() % 2 == 0 && moment.connection == 1 {
                        return leaving;
                    }
                }
                Act::Usual
            });
            let site = site_of(&peer);
            (0..3).for_each(|_| world.give(&site, 1));
            for _ in 0..3 {
                assert_eq!(shapes(&world.done().await), ["delivered 2.0.0 Dot"], "{leaving:?}");
            }
            assert_eq!(peer.record.connections.get(), 2);
        });
    }
}

#[test]
fn a_peer_that_closes_while_the_connection_idles_is_noticed() {
    story("", &[], async |mut world| {
        let peer = world.peer(|moment| match (moment.connection, moment.line) {
            (1, ".") => Act::SayAndClose("250 2.0.0 taken, and good bye"),
            _ => Act::Usual,
        });
        assert_eq!(shapes(&world.deliver(&site_of(&peer), 1).await), ["delivered 2.0.0 Dot"]);
        world.until(|| world.metrics.connections_now.get() == 0).await;
        assert_eq!(shapes(&world.deliver(&site_of(&peer), 1).await), ["delivered 2.0.0 Dot"]);
        assert_eq!(peer.record.connections.get(), 2);
    });
}

#[test]
fn draining_ends_transactions_and_says_quit() {
    story("connections_max = 1", &[], async |mut world| {
        let peer = world.peer(except(".", Act::Wait));
        let site = site_of(&peer);
        (0..3).for_each(|_| world.give(&site, 1));
        world.until(|| peer.record.count("DATA") == 1).await;
        futures::join!(world.pool.drain(), async { peer.record.released.set(true) });
        let mut shapes: Vec<String> = Vec::new();
        for _ in 0..3 {
            shapes.extend(super::shapes(&world.done().await));
        }
        shapes.sort();
        assert_eq!(shapes, ["delivered 2.0.0 Dot", "untried 0", "untried 0"]);
        assert_eq!((peer.record.count("QUIT"), world.metrics.connections_now.get()), (1, 0));
        assert_eq!(super::shapes(&world.deliver(&site, 1).await), ["untried 1"]);
    });
}

#[test]
fn draining_does_not_wait_for_a_connection_that_is_being_opened() {
    let timing = Timing { session: Patience::default(), ..timing() };
    story_with(timing, "", &[], async |mut world| {
        let peer = world.peer(except("", Act::Silence));
        world.give(&site_of(&peer), 1);
        world.until(|| peer.record.connections.get() == 1).await;
        world.reactor.timeout(PATIENT, world.pool.drain()).await.expect("drained at once");
        assert_eq!(shapes(&world.done().await), ["untried 0"]);
    });
}

#[test]
fn every_recipient_of_a_message_with_return_paths_has_a_reverse_path_of_its_own() {
    story("connections_max = 1", &[], async |mut world| {
        let peer = world.peer(|_| Act::Usual);
        let site = site_of(&peer);
        let path = Arc::new(ReturnPath::new("bounces.here.test", &[[7; 32]], 30, &[]));
        let arrival = shards::Timestamp::from_millis(1_795_420_000_000);
        let returning = Returning { path: path.clone(), arrival };
        let task = Task { return_path: Some(returning), ..task(&site, 5, 3) };
        world.pool.take(3, task);
        assert_eq!(shapes(&world.done().await), ["delivered 2.0.0 Dot"; 3]);
        let lines = peer.record.lines.borrow();
        let mails: Vec<&str> =
            lines.iter().map(|(_, line)| line.as_str()).filter(|line| line.starts_with("MAIL")).collect();
        let ours = |index| path.address(Token { message: MessageId(5), index }, arrival).expect("a key");
        assert_eq!(mails.len(), 3, "{mails:?}");
        for (index, mail) in (0..).zip(mails) {
            assert!(mail.starts_with(&format!("MAIL FROM:<{}>", ours(index))), "{mail}");
        }
    });
}

#[test]
fn what_a_peer_leaves_while_its_path_rests_goes_back_to_its_owner() {
    story("connections_max = 2", &[], async |mut world| {
        let mails = [const { std::cell::Cell::new(0) }; 2];
        let peer = world.peer(move |moment| {
            let connection = moment.connection as usize - 1;
            let is_mail = moment.line.starts_with("MAIL");
            mails[connection].set(mails[connection].get() + u32::from(is_mail));
            match (mails[connection].get(), connection) {
                (2, 0) if moment.line.starts_with("RCPT") => Act::SayAndClose("421 4.7.1 message rate limit exceeded"),
                (2, 1) if is_mail => Act::Silence,
                _ if moment.line == "." => Act::Wait,
                _ => Act::Usual,
            }
        });
        let site = site_of(&peer);
        (0..2).for_each(|_| world.give(&site, 1));
        world.until(|| peer.record.count("DATA") == 2).await;
        peer.record.released.set(true);
        for _ in 0..2 {
            assert_eq!(shapes(&world.done().await), ["delivered 2.0.0 Dot"]);
        }
        (0..2).for_each(|_| world.give(&site, 1));
        let (first, second) = (world.done().await, world.done().await);
        assert_eq!(shapes(&first), ["parked 4.7.1 Rcpt"]);
        assert!(matches!(second.outcomes[0].1, Outcome::Untried(pause_s) if pause_s > 1), "{:?}", shapes(&second));
        assert!(second.park.is_some());
    });
}
