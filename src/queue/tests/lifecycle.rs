//! The states while nothing crashes.

use super::*;

#[test]
fn what_is_delivered_leaves_nothing() {
    let world = World::new();
    world.run(|reactor, queue| async move {
        let id = accept(&reactor, &queue, "a@sender.test", &["x@one.test", "y@one.test", "z@two.test"]).await;
        assert_eq!(counts(&queue), (3, 0));
        for recipients in [2, 1] {
            let lease = lease(&queue).await;
            assert_eq!((lease.message, lease.recipients.len()), (id, recipients));
            assert_eq!(*queue.content(&lease).await.expect("its content"), content());
            settle(&queue, &lease, &delivered()).await;
        }
        assert_eq!(counts(&queue), (0, 0));
        assert!(nothing_is_ready(&reactor, &queue).await);
        assert!(!queue.core.state.borrow().rows.is_dirty(), "it never touches the index");
        assert_eq!(queue.core.state.borrow().contents.bytes(), 0);
        queue.close().await.expect("it closes");
    });
}

#[test]
fn the_same_settlement_twice_is_harmless() {
    let world = World::new();
    world.run(|reactor, queue| async move {
        accept(&reactor, &queue, "a@sender.test", &["x@one.test"]).await;
        let lease = lease(&queue).await;
        settle(&queue, &lease, &failed()).await;
        settle(&queue, &lease, &failed()).await;
        settle(&queue, &lease, &deferred()).await;
        assert_eq!(counts(&queue), (1, 0), "one notice");
    });
}

#[test]
fn a_deferred_recipient_is_due_later_and_not_before() {
    let world = World::new();
    world.run(|reactor, queue| async move {
        accept(&reactor, &queue, "a@sender.test", &["x@one.test", "y@one.test"]).await;
        let lease = lease(&queue).await;
        queue.settle(lease.number, vec![(0, deferred()), (1, delivered())]).await;
        assert_eq!(counts(&queue), (1, 0));
        assert!(nothing_is_ready(&reactor, &queue).await);
        let next_due_s = || queue.core.state.borrow().ready.next_due_s();
        while next_due_s().is_none() {
            reactor.yield_now().await;
        }
        let due_s = next_due_s().expect("it is queued");
        let wait = due_s - super::super::row::seconds(reactor.wall());
        assert!((54..=67).contains(&wait), "{wait} s");
    });
}

#[test]
fn a_recipient_that_is_deferred_near_its_end_of_life_is_not_due_before_it() {
    let mut world = World::new();
    world.config.retry.lifetime = Duration::from_millis(5_500);
    world.run(|reactor, queue| async move {
        let before = reactor.wall();
        accept(&reactor, &queue, "a@sender.test", &["x@one.test"]).await;
        settle(&queue, &lease(&queue).await, &deferred()).await;
        let next_due_s = || queue.core.state.borrow().ready.next_due_s();
        while next_due_s().is_none() {
            reactor.yield_now().await;
        }
        let due_s = next_due_s().expect("it is queued");
        assert!(super::super::row::timestamp(due_s) >= before + Duration::from_millis(5_500), "{due_s}");
    });
}

#[test]
fn an_untried_recipient_is_due_again_and_no_attempt_is_counted() {
    let world = World::new();
    world.run(|reactor, queue| async move {
        accept(&reactor, &queue, "a@sender.test", &["x@one.test"]).await;
        let first = lease(&queue).await;
        settle(&queue, &first, &Outcome::Untried(0)).await;
        let second = lease(&queue).await;
        queue.note_uncertain(&second).await.expect("a note");
        queue.settle(second.number, Vec::new()).await;
        let third = lease(&queue).await;
        assert_eq!(third.message, first.message);
        let standing = queue.core.state.borrow().rows.read(third.message, |row| row.recipients[0].clone());
        let entry = standing.expect("the index").expect("the row");
        assert_eq!((entry.standing.attempts, entry.noted), (0, false));
        settle(&queue, &third, &delivered()).await;
        assert_eq!(counts(&queue), (0, 0));
    });
}

/// A DSN is committed in the batch that fails its recipient.
#[test]
fn a_failure_makes_a_notice_from_the_null_reverse_path_and_never_one_about_it() {
    let world = World::new();
    world.run(|reactor, queue| async move {
        accept(&reactor, &queue, "a@sender.test", &["x@one.test"]).await;
        settle(&queue, &lease(&queue).await, &failed()).await;
        let notice = lease(&queue).await;
        assert_eq!(notice.sender.path, ReversePath::Null);
        assert_eq!(notice.recipients[0].1.path.as_str(), "a@sender.test");
        let text = queue.content(&notice).await.expect("its content");
        let field = b"Final-Recipient: rfc822; x@one.test";
        assert!(memchr::memmem::find(&text, field).is_some(), "{}", String::from_utf8_lossy(&text));
        settle(&queue, &notice, &failed()).await;
        assert_eq!(counts(&queue), (0, 0));
    });
}

#[test]
fn nobody_is_told_who_asked_not_to_be() {
    let world = World::new();
    world.run(|reactor, queue| async move {
        let mut silent = message(&reactor, &queue, "a@sender.test", &["x@one.test", "y@one.test"]);
        silent.envelope.recipients[0].notify.never = true;
        silent.envelope.recipients[1].notify.success = true;
        queue.accept(silent, "<1@test>").await.expect("it is accepted");
        settle(&queue, &lease(&queue).await, &failed()).await;
        assert_eq!(counts(&queue), (0, 0));
    });
}

#[test]
fn domains_are_parked_and_take_turns() {
    let world = World::new();
    world.run(|reactor, queue| async move {
        accept(&reactor, &queue, "a@sender.test", &["x@one.test"]).await;
        let one = queue.next_ready().await;
        queue.park(&one, Duration::from_millis(80), &"".into(), &"".into());
        accept(&reactor, &queue, "a@sender.test", &["x@two.test"]).await;
        assert_eq!(&*queue.next_ready().await, "two.test");
        assert!(nothing_is_ready(&reactor, &queue).await);
        assert_eq!(&*queue.next_ready().await, "one.test");
    });
}

#[test]
fn a_queue_whose_storage_failed_accepts_nothing() {
    let world = World::new();
    world.run(|_, queue| async move {
        assert!(queue.accepting(1 << 20).is_ok());
        queue.fail(super::super::Error::Damaged("told by a test".into()));
        assert!(matches!(queue.accepting(1), Err(super::super::AcceptError::Broken)));
        assert_eq!(queue.failure().await.to_string(), "queue: told by a test");
    });
}

#[test]
fn so_many_messages_end_for_their_age_in_a_round_and_then_come_the_next() {
    const MESSAGES: u64 = 1200;
    let world = World::new();
    let mut config = world.config.clone();
    world.run(|reactor, queue| async move {
        let accepted = (0..MESSAGES).map(|_| accept(&reactor, &queue, "", &["x@one.test"]));
        futures::future::join_all(accepted).await;
        config.retry.lifetime = Duration::ZERO;
        queue.configure(std::sync::Arc::new(config));
        assert!(queue.expire().await, "there are more");
        // The housekeeping may have done a round of its own beside it.
        let left = counts(&queue).0;
        assert!((MESSAGES - 1000..=MESSAGES - 500).contains(&left), "{left}");
        until(&reactor, &queue, "all end", || counts(&queue).0 == 0).await;
    });
}
