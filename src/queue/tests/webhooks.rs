//! What webhooks are told of: every outcome, in order, at least once, whatever happens between.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use super::*;
use crate::config::webhook::{Kind, Url};
use crate::config::{NamedFile, Webhook};
use crate::queue::orders::{Order, Report, Selection};
use crate::queue::webhook::{Counts, Event, EventId};
use crate::spool::Client;

const ALL: [Kind; 5] = [Kind::Delivered, Kind::Delayed, Kind::Deferred, Kind::Failed, Kind::Expired];

fn webhook(name: &str) -> Webhook {
    Webhook {
        name: name.into(),
        url: Url { tls: false, host: "127.0.0.1".into(), port: 80, target: "/".into() },
        secret_file: NamedFile { line: 1, path: Path::new("secret").into() },
        events: ALL.to_vec(),
        accounts: None,
        ca_file: None,
        timeout: Duration::from_secs(1),
        batch_max: 100,
        waiting_bytes_max: 1 << 20,
    }
}

fn world(webhooks: Vec<Webhook>) -> World {
    let mut world = World::new();
    world.config.webhooks = webhooks;
    world
}

/// Accepts a message of `account` from a client.
async fn submit(reactor: &Reactor, queue: &Queue, account: Option<&str>, to: &[&str]) -> MessageId {
    let mut message = message(reactor, queue, "a@sender.test", to);
    message.account = account.map(Into::into);
    message.client = Some(Client { address: [127, 0, 0, 1].into(), name: "client".into() });
    queue.accept(message, "<1@test>").await.expect("it is accepted").id()
}

/// The next hand-over.
async fn take(queue: &Queue, webhook: &str, told: Option<EventId>, limit: usize) -> Vec<(EventId, Event)> {
    match queue.order(Order::TakeEvents { webhook: webhook.into(), told, limit }).await {
        Report::Events(events) => {
            let decode = |(id, bytes): (EventId, Box<[u8]>)| (id, Event::decode(&bytes).expect("an event"));
            events.into_iter().map(decode).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn kinds(events: &[(EventId, Event)]) -> Vec<(Kind, &str)> {
    events.iter().map(|(_, event)| (event.kind, event.recipient.path.as_str())).collect()
}

async fn counts_of(queue: &Queue) -> Vec<Counts> {
    match queue.order(Order::Webhooks).await {
        Report::Webhooks(counts) => counts,
        other => panic!("{other:?}"),
    }
}

/// Tells `webhook` of nothing new, only that it was told everything up to `id`.
fn acknowledge(queue: &Queue, webhook: &str, id: EventId) {
    let state = &mut *queue.core.state.borrow_mut();
    state.webhooks.told(webhook, id, state.rows.index()).expect("it is told");
}

async fn write_events(queue: &Queue) {
    while queue.core.state.borrow().webhooks.bytes() > 0 {
        let round = queue.core.kept.round();
        queue.core.work.give();
        queue.core.kept.after(round).await;
    }
}

#[test]
fn an_outcome_is_told_again_until_it_was_told_whatever_crashes_between() {
    let world = world(vec![webhook("crm")]);
    let first: Rc<RefCell<Vec<(EventId, Event)>>> = Rc::default();
    for life in 0..4 {
        let seen = first.clone();
        world.run(move |reactor, queue| async move {
            if life == 0 {
                submit(&reactor, &queue, None, &["x@one.test", "y@one.test"]).await;
                let lease = lease(&queue).await;
                queue.settle(lease.number, vec![(0, delivered()), (1, failed())]).await;
            }
            let events = take(&queue, "crm", None, 10).await;
            assert_eq!(kinds(&events), [(Kind::Delivered, "x@one.test"), (Kind::Failed, "y@one.test")], "{life}");
            let one = &events[0].1;
            assert_eq!((one.message_id.as_deref(), &*one.sender), (Some("<1@test>"), "a@sender.test"));
            match life {
                0 => *seen.borrow_mut() = events,
                _ => assert_eq!(*seen.borrow(), events, "the same ids and the same words"),
            }
            // The crash comes before a checkpoint, after one, and with the events read back from the index.
            if life == 1 {
                write_events(&queue).await;
            }
        });
    }
    world.run(move |_, queue| async move {
        acknowledge(&queue, "crm", first.borrow()[0].0);
        queue.close().await.expect("it closes");
    });
    world.run(|_, queue| async move {
        let events = take(&queue, "crm", None, 10).await;
        assert_eq!(kinds(&events), [(Kind::Failed, "y@one.test")], "what was told stays told");
        acknowledge(&queue, "crm", events[0].0);
        queue.close().await.expect("it closes");
    });
    world.run(|_, queue| async move {
        assert_eq!(counts_of(&queue).await[0].waiting, 0);
        let left = queue.core.state.borrow().rows.index().len(crate::queue::rows::EVENTS);
        assert_eq!(left.expect("a number"), 0, "nothing is left on disk");
    });
}

#[test]
fn each_webhook_is_told_what_it_wants_of_whom_it_wants() {
    let failures = Webhook { events: vec![Kind::Failed], accounts: Some(vec!["one".into()]), ..webhook("failures") };
    world(vec![webhook("all"), failures]).run(|reactor, queue| async move {
        for account in [Some("one"), Some("two"), None] {
            submit(&reactor, &queue, account, &["good@one.test", "bad@one.test"]).await;
            let lease = lease_at(&queue, "one.test").await;
            queue.settle(lease.number, vec![(0, delivered()), (1, failed())]).await;
        }
        assert_eq!(take(&queue, "all", None, 10).await.len(), 6);
        let some = take(&queue, "failures", None, 10).await;
        assert_eq!(kinds(&some), [(Kind::Failed, "bad@one.test")]);
        assert_eq!(some[0].1.account.as_deref(), Some("one"));
        assert_eq!(take(&queue, "all", None, 4).await.len(), 4, "a batch has its limit");
        let notices = lease_all(&reactor, &queue).await;
        assert_eq!(notices.len(), 3);
        for notice in &notices {
            settle(&queue, notice, &delivered()).await;
        }
        assert_eq!(counts_of(&queue).await[0].waiting, 6, "nothing is told about notices");
    });
}

#[test]
fn attempts_delays_and_ages_are_told_and_orders_are_not() {
    let mut world = world(vec![webhook("crm")]);
    world.config.retry.lifetime = Duration::from_secs(3);
    world.config.retry.delay_notice_after = Duration::from_secs(1);
    world.run(|reactor, queue| async move {
        let mut message = message(&reactor, &queue, "", &["x@one.test"]);
        message.client = Some(Client { address: [127, 0, 0, 1].into(), name: "client".into() });
        queue.accept(message, "<1@test>").await.expect("it is accepted");
        settle(&queue, &lease(&queue).await, &deferred()).await;
        queue.order(Order::Hold(Selection::default())).await;
        queue.order(Order::Release(Selection::default())).await;
        let mut told = Vec::new();
        while told.len() < 3 {
            let events = take(&queue, "crm", told.last().map(|(id, _): &(EventId, Event)| *id), 10).await;
            told.extend(events);
        }
        let x = "x@one.test";
        assert_eq!(kinds(&told), [(Kind::Deferred, x), (Kind::Delayed, x), (Kind::Expired, x)]);
        assert_eq!(told[1].1.standing.attempts, 1);
        let shown = crate::queue::describe::event(told[0].0, &told[0].1);
        assert_eq!((&shown["type"], &shown["sender"]), (&"deferred".into(), &"".into()));
        let recipient = &shown["recipient"];
        assert_eq!((&recipient["code"], &recipient["status"]), (&450.into(), &"4.2.1".into()));
        assert_eq!((&recipient["action"], &recipient["attempts"]), (&"defer".into(), &1.into()));
        assert!(recipient["next"].is_string() && shown["event"].as_str().is_some_and(|id| id.starts_with("evt_0")));
    });
}

#[test]
fn a_delay_that_no_sender_wants_to_know_is_told_once_also_across_a_crash() {
    let mut world = world(vec![webhook("crm")]);
    world.config.retry.delay_notice_after = Duration::from_secs(1);
    let delayed = async |queue: &Queue| {
        let events = take(queue, "crm", None, 10).await;
        events.iter().filter(|(_, event)| event.kind == Kind::Delayed).count()
    };
    world.run(move |reactor, queue| async move {
        let mut message = message(&reactor, &queue, "a@sender.test", &["x@one.test"]);
        message.client = Some(Client { address: [127, 0, 0, 1].into(), name: "client".into() });
        message.envelope.recipients[0].notify = Notify { never: true, ..Notify::default() };
        queue.accept(message, "<1@test>").await.expect("it is accepted");
        until(&reactor, &queue, "the delay", || queue.core.state.borrow().webhooks.waiting("crm") > 0).await;
        assert_eq!(delayed(&queue).await, 1);
        assert_eq!(counts(&queue), (1, 0), "no notice");
    });
    world.run(move |reactor, queue| async move {
        reactor.sleep(Duration::from_millis(1500)).await;
        assert_eq!(delayed(&queue).await, 1);
    });
}

#[test]
fn when_too_many_wait_the_oldest_go_and_are_counted() {
    let small = Webhook { waiting_bytes_max: 2_000, ..webhook("small") };
    let world = world(vec![small]);
    world.run(|reactor, queue| async move {
        for n in 0..40 {
            submit(&reactor, &queue, None, &[&format!("{n}@one.test")]).await;
            settle(&queue, &lease(&queue).await, &delivered()).await;
            if n % 5 == 0 {
                write_events(&queue).await;
            }
        }
        write_events(&queue).await;
        let Counts { waiting, dropped, .. } = counts_of(&queue).await.remove(0);
        assert!((5..30).contains(&waiting) && waiting + dropped == 40, "{waiting} wait, {dropped} are gone");
        let events = take(&queue, "small", None, 100).await;
        let last: Vec<String> = (40 - waiting..40).map(|n| format!("{n}@one.test")).collect();
        assert_eq!(kinds(&events).iter().map(|(_, to)| *to).collect::<Vec<_>>(), last);
        queue.close().await.expect("it closes");
    });
    world.run(|_, queue| async move {
        let waiting = counts_of(&queue).await[0].waiting;
        assert_eq!(take(&queue, "small", None, 100).await.len() as u64, waiting);
    });
}

#[test]
fn events_of_a_webhook_that_is_gone_go_with_it() {
    let mut world = world(vec![webhook("old"), webhook("kept")]);
    world.run(|reactor, queue| async move {
        for to in ["x@one.test", "y@one.test"] {
            submit(&reactor, &queue, None, &[to]).await;
            settle(&queue, &lease(&queue).await, &delivered()).await;
            write_events(&queue).await;
        }
        queue.close().await.expect("it closes");
    });
    world.config.webhooks = vec![webhook("kept")];
    world.run(|reactor, queue| async move {
        let events = || queue.core.state.borrow().rows.index().len(crate::queue::rows::EVENTS).expect("a number");
        until(&reactor, &queue, "the old ones to be gone", || events() == 2).await;
        assert_eq!(take(&queue, "kept", None, 10).await.len(), 2);
        assert!(take(&queue, "kept", None, 10).await[0].1.kind == Kind::Delivered);
        // Named again while the server runs, it begins anew.
        let mut config = (*queue.config()).clone();
        config.webhooks.push(webhook("old"));
        queue.configure(Arc::new(config));
        assert_eq!(counts_of(&queue).await.iter().map(|counts| counts.waiting).collect::<Vec<_>>(), [2, 0]);
        submit(&reactor, &queue, None, &["z@one.test"]).await;
        settle(&queue, &lease(&queue).await, &delivered()).await;
        assert_eq!(kinds(&take(&queue, "old", None, 10).await), [(Kind::Delivered, "z@one.test")]);
    });
}

#[test]
fn what_is_told_while_it_is_written_is_gone_from_the_disk_too() {
    world(vec![webhook("crm")]).run(|reactor, queue| async move {
        let mut last = None;
        for n in 0..200 {
            submit(&reactor, &queue, None, &[&format!("{n}@one.test")]).await;
            settle(&queue, &lease(&queue).await, &delivered()).await;
            queue.core.work.give();
            if n % 3 == 0 {
                let events = take(&queue, "crm", last, 2).await;
                last = events.last().map(|(id, _)| *id);
            }
        }
        while counts_of(&queue).await[0].waiting > 0 {
            let events = take(&queue, "crm", last, 7).await;
            last = events.last().map(|(id, _)| *id);
            if let Some(last) = last {
                acknowledge(&queue, "crm", last);
            }
        }
        until(&reactor, &queue, "the disk to be clean", || {
            let state = queue.core.state.borrow();
            let left = state.rows.index().len(crate::queue::rows::EVENTS).expect("a number");
            left == 0 && !state.webhooks.is_dirty()
        })
        .await;
        assert_eq!(counts_of(&queue).await[0].told, 200);
    });
}
