//! Messages that wait for the time that they are scheduled for.

use shards::Timestamp;

use super::*;
use crate::queue::orders::{Order, Report, Selection};
use crate::queue::row::{seconds, timestamp};
use crate::spool::record::Tagged;

/// Longer than any of these takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Accepts a message that is scheduled for the second that begins within two seconds from now, or `later`.
async fn accept_scheduled(reactor: &Reactor, queue: &Queue, to: &[&str], later: Duration) -> (MessageId, Timestamp) {
    let time = timestamp(seconds(reactor.wall()) + 2) + later;
    let mut scheduled = message(reactor, queue, "a@sender.test", to);
    scheduled.tagged = Tagged { scheduled: Some(time), ..Tagged::default() };
    (queue.accept(scheduled, "<1@test>").await.expect("it is accepted").id(), time)
}

async fn show(queue: &Queue, id: MessageId) -> serde_json::Value {
    match queue.order(Order::Show(id)).await {
        Report::Message(Some(message)) => message,
        other => panic!("{other:?}"),
    }
}

async fn count(queue: &Queue, order: Order) -> u64 {
    match queue.order(order).await {
        Report::Count(count) => count,
        other => panic!("{other:?}"),
    }
}

fn only(id: MessageId) -> Selection {
    Selection { id: Some(id), ..Selection::default() }
}

#[test]
fn it_is_due_then_and_not_before_while_others_go_at_once() {
    World::new().run(|reactor, queue| async move {
        let (id, time) = accept_scheduled(&reactor, &queue, &["x@one.test"], Duration::ZERO).await;
        assert_eq!(queue.core.state.borrow().contents.bytes(), 0, "it takes no memory from what goes at once");
        let other = accept(&reactor, &queue, "a@sender.test", &["y@one.test"]).await;
        let first = lease(&queue).await;
        assert_eq!(first.message, other);
        assert!(reactor.wall() < time);
        settle(&queue, &first, &delivered()).await;
        let second = reactor.timeout(PATIENCE, lease(&queue)).await.expect("its time comes");
        assert_eq!(second.message, id);
        assert!(reactor.wall() >= time);
        assert_eq!(*queue.content(&second).await.expect("its content"), content());
    });
}

#[test]
fn it_waits_on_after_a_crash_with_and_without_a_checkpoint() {
    for checkpointed in [false, true] {
        let world = World::new();
        world.run(move |reactor, queue| async move {
            accept_scheduled(&reactor, &queue, &["x@one.test"], DAY).await;
            let (_, soon) = accept_scheduled(&reactor, &queue, &["y@two.test"], Duration::ZERO).await;
            if checkpointed {
                checkpoint(&queue).await;
            }
            assert!(soon > reactor.wall(), "the crash comes before its time");
        });
        world.run(|reactor, queue| async move {
            assert_eq!(counts(&queue), (2, 0));
            let soon = reactor.timeout(PATIENCE, lease(&queue)).await.expect("its time comes");
            assert_eq!(&*soon.domain, "two.test");
            let Report::Messages(messages) =
                queue.order(Order::List { selection: Selection::default(), after: None, limit: 10 }).await
            else {
                panic!("no list")
            };
            let times = messages.iter().map(|message| message["scheduled"].as_str().expect("a time").to_owned());
            let [late, soon_time] = &times.collect::<Vec<_>>()[..] else { panic!("{messages:?}") };
            assert!(late > soon_time && crate::message::date::rfc3339(reactor.wall()) >= *soon_time);
            assert_eq!(messages[0]["recipients"][0]["state"], "scheduled");
            assert_eq!(messages[0]["recipients"][0]["next"], late.as_str());
            assert_eq!(messages[1]["recipients"][0]["state"], "due");
            assert!(nothing_is_ready(&reactor, &queue).await);
        });
    }
}

/// Expiry looks at the oldest first, and a scheduled message may be older than what has to end before it.
#[test]
fn its_age_counts_from_its_time_and_others_end_before_it() {
    let mut world = World::new();
    world.config.retry.lifetime = Duration::from_secs(1);
    senders_hear_from_its_time(&world, "Status: 5.4.7", (0, 0));
}

#[test]
fn its_delay_counts_from_its_time_and_others_are_told_before_it() {
    let mut world = World::new();
    world.config.retry.delay_notice_after = Duration::from_secs(1);
    senders_hear_from_its_time(&world, "Action: delayed", (2, 0));
}

/// A scheduled message and a later one wait: a notice with `words` comes about the later one first, and about the other a
/// second after its time. `left` are the recipients then queued and held.
fn senders_hear_from_its_time(world: &World, words: &'static str, left: (u64, u64)) {
    world.run(move |reactor, queue| async move {
        let (_, time) = accept_scheduled(&reactor, &queue, &["late@parked.test"], Duration::ZERO).await;
        accept(&reactor, &queue, "a@sender.test", &["old@parked.test"]).await;
        queue.park("parked.test", DAY, &"parked".into(), &"".into());
        for address in ["old@parked.test", "late@parked.test"] {
            let notice = reactor.timeout(PATIENCE, lease(&queue)).await.expect("a notice in time");
            let text = queue.content(&notice).await.expect("its content");
            for wanted in [address, words] {
                assert!(memchr::memmem::find(&text, wanted.as_bytes()).is_some(), "{}", String::from_utf8_lossy(&text));
            }
            settle(&queue, &notice, &delivered()).await;
            assert_eq!(reactor.wall() >= time + Duration::from_secs(1), address.starts_with("late"), "{address}");
        }
        assert_eq!(counts(&queue), left);
    });
}

#[test]
fn operators_send_it_at_once_hold_it_and_bounce_it() {
    World::new().run(|reactor, queue| async move {
        let (id, _) = accept_scheduled(&reactor, &queue, &["x@one.test"], DAY).await;
        assert_eq!(count(&queue, Order::Retry(Selection::default())).await, 0, "an order about all leaves it alone");

        assert_eq!(count(&queue, Order::Hold(only(id))).await, 1);
        assert_eq!(show(&queue, id).await["recipients"][0]["state"], "held");
        assert_eq!(count(&queue, Order::Release(only(id))).await, 1);
        assert_eq!(show(&queue, id).await["recipients"][0]["state"], "scheduled");
        assert!(nothing_is_ready(&reactor, &queue).await);

        assert_eq!(count(&queue, Order::Retry(only(id))).await, 1);
        let lease = reactor.timeout(PATIENCE, lease(&queue)).await.expect("it goes at once");
        assert_eq!(lease.message, id);
        settle(&queue, &lease, &delivered()).await;

        let (id, _) = accept_scheduled(&reactor, &queue, &["x@one.test"], DAY).await;
        assert_eq!(count(&queue, Order::Bounce(only(id))).await, 1);
        assert_eq!(counts(&queue), (1, 0), "its notice");
    });
}
