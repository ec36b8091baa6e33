//! Who comes in, who does not, who is asked to leave.

use super::*;

#[test]
fn a_message_is_queued_with_our_trace_before_it_is_answered() {
    story(
        |_| (),
        |world| async move {
            let mut client = world.greeted(RELAY).await;
            client.begins("a@sender.test", "b@next.test").await;
            let accepted = client.says("Subject: hello\r\n\r\n..\r\n.", "250 2.6.0 <").await;
            let id = accepted.trim_end().rsplit(' ').next().expect("an id").to_owned();
            assert!(accepted.contains("@mta.test> queued as "), "{accepted}");
            let content = world.queued().await;
            assert!(content.starts_with("Received: from client.test ([10.0.0.2])\r\n\tby mta.test with ESMTP id "));
            assert!(content.contains(&id) && content.contains("\r\nMessage-ID: <") && content.contains("\r\nDate: "));
            assert!(content.ends_with("\r\nSubject: hello\r\n\r\n.\r\n"), "{content}");
            client.says("QUIT", "221").await;
            client.hears_no_more().await;
            world.emptied().await;
            let counts = world.inbound.counts();
            assert_eq!((counts.connections, counts.messages, counts.bytes), (1, 1, content.len() as u64));
            let log = world.logged();
            assert!(log.contains("event=accepted") && log.contains(&id), "{log}");
        },
    );
}

#[test]
fn bdat_and_the_next_transaction_on_the_same_connection() {
    story(
        |_| (),
        |world| async move {
            let mut client = world.greeted(RELAY).await;
            for _ in 0..3 {
                client.sends(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nBDAT 14 LAST\r\nSubject: x\r\n\r\n").await;
                client.hears("250 2.1.0").await;
                client.hears("250 2.1.5").await;
                client.hears("250 2.6.0").await;
            }
            assert_eq!(world.inbound.counts().messages, 3);
        },
    );
}

#[test]
fn a_stranger_cannot_relay() {
    story(
        |config| config.listeners[0].networks.clear(),
        |world| async move {
            let mut client = world.connect(RELAY).await;
            client.hears("554 5.7.1 Your address may not relay").await;
            client.hears_no_more().await;
            assert_eq!(world.inbound.counts().connections_refused, 1);
            assert!(world.logged().contains("event=refused"));
        },
    );
}

#[test]
fn an_address_has_only_so_many_connections() {
    story(
        |_| (),
        |world| async move {
            let mut clients = Vec::new();
            for _ in 0..4 {
                clients.push(world.greeted(RELAY).await);
            }
            world.connect(RELAY).await.hears("421 4.7.0 Too many connections").await;
            world.connect(SUBMISSIONS).await.hears("421 4.7.0 Too many connections").await;
            assert_eq!(world.inbound.counts().open, 4);
            clients.clear();
            world.emptied().await;
            world.greeted(RELAY).await;
        },
    );
}

#[test]
fn the_silent_are_let_go() {
    story(
        |_| (),
        |world| async move {
            let mut client = world.connect(RELAY).await;
            client.hears("220").await;
            let began = world.reactor.now();
            client.hears("421 4.4.2").await;
            client.hears_no_more().await;
            assert_roughly(world.reactor.now().since(began), FIRST_COMMAND_PATIENCE);

            let mut client = world.greeted(RELAY).await;
            let began = world.reactor.now();
            client.hears("421 4.4.2").await;
            assert_roughly(world.reactor.now().since(began), Duration::from_secs(300));
        },
    );
}

#[test]
fn single_bytes_buy_no_time() {
    story(
        |_| (),
        |world| async move {
            let mut client = world.greeted(RELAY).await;
            client.begins("a@x.test", "b@y.test").await;
            let began = world.reactor.now();
            let mut sent = 0;
            while world.reactor.now().since(began) < Duration::from_secs(290) {
                client.sends(b"x").await;
                sent += 1;
                world.reactor.sleep(Duration::from_secs(10)).await;
            }
            assert!(sent > 20);
            client.hears("421 4.4.2").await;
            assert_roughly(world.reactor.now().since(began), Duration::from_secs(300));
        },
    );
}

fn assert_roughly(took: Duration, expected: Duration) {
    assert!(took >= expected - Duration::from_secs(1) && took <= expected + Duration::from_secs(2), "{took:?}");
}

#[test]
fn idle_clients_are_told_when_the_server_stops() {
    story(
        |_| (),
        |world| async move {
            let mut idle = world.greeted(RELAY).await;
            let mut busy = world.greeted(RELAY).await;
            busy.begins("a@x.test", "b@y.test").await;
            let drained = drain(&world, Duration::from_secs(60));
            idle.hears("421 4.3.2").await;
            idle.hears_no_more().await;
            assert_eq!(world.inbound.counts().open, 1);
            busy.sends(b"Subject: in transit\r\n").await;
            world.reactor.sleep(Duration::from_secs(1)).await;
            busy.says("\r\nx\r\n.", "250 2.6.0").await;
            busy.hears("421 4.3.2").await;
            assert!(drained.await < Duration::from_secs(10));
            assert!(world.queued().await.contains("in transit"));
        },
    );
}

#[test]
fn a_conversation_costs_little() {
    story(
        |_| (),
        |world| async move {
            let stream = world.stream(RELAY).await;
            let door = world.inbound.0.current.borrow().doors[0].clone();
            let session = Session::new(door.settings.clone(), false);
            let conversation = Conversation::new(world.inbound.clone(), session, stream.peer(), None, None);
            let bytes = size_of_val(&conversation);
            assert!(bytes <= 640, "{bytes}");
            let bytes = size_of_val(&Box::new(conversation).run(stream, false));
            assert!(bytes <= 1152, "{bytes}");
        },
    );
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    story(
        |_| (),
        |world| async move {
            let mut busy = world.greeted(RELAY).await;
            busy.begins("a@x.test", "b@y.test").await;
            assert_roughly(drain(&world, Duration::from_secs(30)).await, Duration::from_secs(30));
            assert_eq!(world.inbound.counts().open, 1);
        },
    );
}

/// Drains the server; how long it took.
fn drain(world: &World, patience: Duration) -> shards::Task<Duration> {
    let (inbound, reactor) = (world.inbound.clone(), world.reactor.clone());
    world.reactor.spawn(async move {
        let began: Instant = reactor.now();
        inbound.drain(patience).await;
        reactor.now().since(began)
    })
}
