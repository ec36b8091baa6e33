//! What is left of a message, and for how long. "Removed" is proven by reading the files.

use super::*;
use crate::queue::orders::{Order, Report};

async fn show(queue: &Queue, id: MessageId) -> Option<serde_json::Value> {
    match queue.order(Order::Show(id)).await {
        Report::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

/// Accepts a message that stays, so that its segment lives.
async fn accept_neighbour(reactor: &Reactor, queue: &Queue) {
    let mut neighbour = message(reactor, queue, "a@sender.test", &["x@later.test"]);
    neighbour.content = b"Subject: stays\r\n\r\n".to_vec();
    queue.accept(neighbour, "<2@test>").await.expect("it is accepted");
}

#[test]
fn content_is_removed_at_once_and_only_when_nothing_names_it() {
    let world = World::new();
    let directory = world.directory.path().to_path_buf();
    world.run(move |reactor, queue| async move {
        accept_neighbour(&reactor, &queue).await;
        let id = accept(&reactor, &queue, "a@sender.test", &["x@one.test", "y@two.test"]).await;
        settle(&queue, &lease_at(&queue, "one.test").await, &delivered()).await;
        checkpoint(&queue).await;
        checkpoint_if_any(&queue).await;
        assert!(content_is_on_disk(&directory), "one recipient still needs it");
        settle(&queue, &lease_at(&queue, "two.test").await, &delivered()).await;
        until(&reactor, &queue, "content removed", || !content_is_on_disk(&directory)).await;
        assert_eq!(show(&queue, id).await, None);
        assert_eq!(counts(&queue), (1, 0), "its neighbour is unharmed");
        let neighbour = lease_at(&queue, "later.test").await;
        assert!(queue.content(&neighbour).await.expect("its content").starts_with(b"Subject: stays"));
    });
}

/// A round of the housekeeping, whether it finds anything to do or not.
async fn checkpoint_if_any(queue: &Queue) {
    let round = queue.core.kept.round();
    queue.core.work.give();
    queue.core.kept.after(round).await;
}

#[test]
fn a_crash_before_content_is_erased_only_delays_it() {
    let world = World::new();
    let directory = world.directory.path().to_path_buf();
    let seen = directory.clone();
    world.run(move |reactor, queue| async move {
        accept_neighbour(&reactor, &queue).await;
        accept(&reactor, &queue, "a@sender.test", &["x@one.test"]).await;
        settle(&queue, &lease_at(&queue, "one.test").await, &delivered()).await;
        checkpoint(&queue).await;
        assert!(content_is_on_disk(&seen), "it is erased a little later");
    });
    world.run(move |reactor, queue| async move {
        until(&reactor, &queue, "content removed", || !content_is_on_disk(&directory)).await;
        assert_eq!(counts(&queue), (1, 0));
    });
}

#[test]
fn the_placeholder_keeps_header_envelope_and_outcome() {
    let mut world = World::new();
    world.config.retention.placeholder = DAY;
    let directory = world.directory.path().to_path_buf();
    for read_back in [false, true] {
        if read_back {
            world.config.limits.content_memory_bytes_max = 0;
        }
        let directory = directory.clone();
        world.run(move |reactor, queue| async move {
            let id = accept(&reactor, &queue, "a@sender.test", &["x@one.test"]).await;
            settle(&queue, &lease(&queue).await, &delivered()).await;
            until(&reactor, &queue, "content removed", || !content_is_on_disk(&directory)).await;
            let shown = show(&queue, id).await.expect("the placeholder");
            assert_eq!((&shown["subject"], &shown["content_kept"]), (&"a test".into(), &false.into()));
            assert_eq!(shown["recipients"][0]["state"], "delivered");
            assert_eq!(shown["recipients"][0]["why"], "250 2.0.0 ok");
        });
    }
}

#[test]
fn content_stays_for_its_retention_and_the_placeholder_for_its_own() {
    let mut world = World::new();
    world.config.retention.content = Duration::from_secs(2);
    world.config.retention.placeholder = Duration::from_secs(4);
    let directory = world.directory.path().to_path_buf();
    world.run(move |reactor, queue| async move {
        let id = accept(&reactor, &queue, "a@sender.test", &["x@one.test"]).await;
        settle(&queue, &lease(&queue).await, &delivered()).await;
        checkpoint(&queue).await;
        assert_eq!(show(&queue, id).await.expect("it is kept")["content_kept"], true);
        until(&reactor, &queue, "content removed", || !content_is_on_disk(&directory)).await;
        let gone = || {
            let state = queue.core.state.borrow();
            state.rows.done(id).expect("the index").is_none()
        };
        until(&reactor, &queue, "placeholder removed", gone).await;
        let round = queue.core.kept.round();
        queue.core.work.give();
        queue.core.kept.after(round).await;
        let state = queue.core.state.borrow();
        for table in [super::super::rows::DONE, super::super::rows::EXPIRY, super::super::rows::QUEUED] {
            assert_eq!(state.rows.index().len(table).expect("the index"), 0, "{table:?}");
        }
    });
}

#[test]
fn segments_that_nothing_needs_are_deleted() {
    World::new().run(|reactor, queue| async move {
        let body = vec![b'x'; 1 << 20];
        for number in 0..40 {
            let mut large = message(&reactor, &queue, "a@sender.test", &["x@one.test"]);
            large.content = body.clone();
            queue.accept(large, "<1@test>").await.expect("it is accepted");
            let outcome = if number == 0 { deferred() } else { delivered() };
            settle(&queue, &lease(&queue).await, &outcome).await;
        }
        checkpoint(&queue).await;
        let segments = queue.core.journal.segments();
        assert_eq!(segments.len(), 2, "the one that a deferred recipient needs, and the current one: {segments:?}");
    });
}

/// Maximum age is enforced in every state.
#[test]
fn what_is_too_old_is_returned_also_when_it_is_held() {
    let mut world = World::new();
    world.config.retry.lifetime = Duration::from_secs(2);
    world.run(|reactor, queue| async move {
        let mut both = message(&reactor, &queue, "a@sender.test", &["x@held.test", "y@parked.test"]);
        both.arrival = both.arrival - Duration::from_secs(1);
        queue.accept(both, "<1@test>").await.expect("it is accepted");
        let held = crate::queue::orders::Selection { domain: Some("held.test".into()), ..Default::default() };
        queue.order(Order::Hold(held)).await;
        queue.park("parked.test", DAY, &"".into(), &"".into());
        let notice = reactor.timeout(PATIENCE, lease(&queue)).await.expect("a notice in time");
        assert_eq!(&*notice.domain, "sender.test");
        let text = queue.content(&notice).await.expect("its content");
        for wanted in ["x@held.test", "y@parked.test", "Status: 5.4.7"] {
            assert!(memchr::memmem::find(&text, wanted.as_bytes()).is_some(), "{}", String::from_utf8_lossy(&text));
        }
        assert_eq!(counts(&queue), (1, 0));
    });
}

#[test]
fn a_deferral_at_the_end_of_life_is_a_failure() {
    let mut world = World::new();
    world.config.retry.lifetime = Duration::from_secs(1);
    world.run(|reactor, queue| async move {
        let id = accept(&reactor, &queue, "", &["x@one.test"]).await;
        let lease = lease(&queue).await;
        reactor.sleep(Duration::from_millis(1100)).await;
        checkpoint_if_any(&queue).await;
        assert_eq!(counts(&queue), (1, 0), "it is leased: {id}");
        settle(&queue, &lease, &deferred()).await;
        assert_eq!(counts(&queue), (0, 0));
    });
}
