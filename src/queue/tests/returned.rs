//! What comes back about recipients after their delivery is kept as long as their message, whatever crashes between.

use std::path::Path;

use super::*;
use crate::bounce::classify::{Category, Reason};
use crate::config::webhook::{Kind, Url};
use crate::config::{NamedFile, Webhook};
use crate::queue::orders::{Order, Report};
use crate::queue::returned::Taken;
use crate::queue::webhook::Event;
use crate::spool::Client;
use crate::spool::record::{Return, Said, What};

fn bounce(message: MessageId, index: u16) -> Return {
    let said = Said {
        status: EnhancedCode(5, 1, 1),
        text: "550 5.1.1 no such user".into(),
        remote: Some("mx.next.test".into()),
        at_s: 1_795_420_000,
        replied: true,
        reason: Some(Reason::by("unknown", Category::RecipientUnknown)),
        tls: None,
    };
    Return { message, index, what: What::Bounced, said }
}

fn complaint(message: MessageId, index: u16) -> Return {
    let came = bounce(message, index);
    Return { what: What::Complaint, said: Said { reason: None, text: "feedback".into(), ..came.said }, ..came }
}

async fn shown(queue: &Queue, id: MessageId) -> Option<serde_json::Value> {
    match queue.order(Order::Show(id)).await {
        Report::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

/// Accepts a message to two recipients and delivers both.
async fn delivered(reactor: &Reactor, queue: &Queue) -> MessageId {
    let mut message = message(reactor, queue, "a@sender.test", &["x@next.test", "y@next.test"]);
    message.client = Some(Client { address: [127, 0, 0, 1].into(), name: "client".into() });
    let id = queue.accept(message, "<1@test>").await.expect("it is accepted").id();
    let lease = lease(queue).await;
    let ok = answer(250, EnhancedCode(2, 0, 0), "ok");
    let outcomes = lease.recipients.iter().map(|(index, _)| (*index, Outcome::Delivered(ok.clone(), Hop::WithoutDsn)));
    queue.settle(lease.number, outcomes.collect()).await;
    id
}

async fn checkpoint(queue: &Queue) {
    while queue.core.state.borrow().returned.is_dirty() {
        let round = queue.core.kept.round();
        queue.core.work.give();
        queue.core.kept.after(round).await;
    }
}

/// What is shown of the message that [`delivered`] makes first, after both its recipients sent something back.
async fn assert_shown(queue: &Queue) {
    let message = shown(queue, MessageId::new(0, 1)).await.expect("it is kept");
    let [x, y] = [&message["recipients"][0], &message["recipients"][1]];
    assert_eq!(x["state"], "delivered");
    assert!(x["bounced"].is_null() && x["complaint"].is_null(), "{message:#}");
    for (key, value) in [("status", "5.1.1"), ("category", "recipient-unknown"), ("remote", "mx.next.test")] {
        assert_eq!(y["bounced"][key], value, "{message:#}");
    }
    assert_eq!(y["complaint"]["why"], "feedback", "{message:#}");
}

fn lasting() -> World {
    let mut world = World::new();
    world.config.retention.placeholder = DAY;
    world
}

#[test]
fn what_came_back_is_shown_after_a_crash_and_after_a_checkpoint() {
    let world = lasting();
    world.run(|reactor, queue| async move {
        let id = delivered(&reactor, &queue).await;
        assert_eq!(queue.record_return(bounce(id, 1)).await, Taken::Recorded);
        assert_eq!(queue.record_return(complaint(id, 1)).await, Taken::Recorded);
        assert_shown(&queue).await;
    });
    world.run(|_, queue| async move {
        assert_shown(&queue).await;
        checkpoint(&queue).await;
        assert_shown(&queue).await;
    });
    world.run(|_, queue| async move {
        assert_shown(&queue).await;
        queue.close().await.expect("it closes");
    });
    world.run(|_, queue| async move { assert_shown(&queue).await });
}

#[test]
fn nothing_is_recorded_about_what_nobody_knows() {
    World::new().run(|reactor, queue| async move {
        let gone = delivered(&reactor, &queue).await;
        assert_eq!(queue.record_return(bounce(gone, 0)).await, Taken::Unknown, "its retention is over");
        assert_eq!(queue.record_return(bounce(MessageId::new(0, 99), 0)).await, Taken::Unknown);
        let queued = accept(&reactor, &queue, "a@sender.test", &["x@next.test"]).await;
        assert_eq!(queue.record_return(bounce(queued, 1)).await, Taken::Unknown, "one recipient only");
        assert_eq!(queue.record_return(bounce(queued, 0)).await, Taken::Recorded, "while another copy waits");
        queue.close().await.expect("it closes");
        assert_eq!(queue.record_return(bounce(queued, 0)).await, Taken::Broken);
    });
}

#[test]
fn it_goes_with_its_message() {
    let world = World::new();
    world.run(|reactor, queue| async move {
        let to = ["x@next.test", "y@other.test"];
        let id = accept(&reactor, &queue, "a@sender.test", &to).await;
        assert_eq!(queue.record_return(bounce(id, 0)).await, Taken::Recorded);
        checkpoint(&queue).await;
        for _ in to {
            let lease = lease(&queue).await;
            let outcome = Outcome::Delivered(answer(250, EnhancedCode(2, 0, 0), "ok"), Hop::WithoutDsn);
            queue.settle(lease.number, vec![(lease.recipients[0].0, outcome)]).await;
        }
        assert_eq!(shown(&queue, id).await, None);
        checkpoint(&queue).await;
        let state = queue.core.state.borrow();
        assert!(state.returned.of(id, state.rows.index()).expect("it is read").is_empty());
    });
}

#[test]
fn webhooks_are_told_once_also_after_a_crash() {
    let mut world = lasting();
    world.config.webhooks = vec![Webhook {
        name: "crm".into(),
        url: Url { tls: false, host: "127.0.0.1".into(), port: 80, target: "/".into() },
        secret_file: NamedFile { line: 1, path: Path::new("secret").into() },
        events: vec![Kind::Bounced, Kind::Complaint],
        accounts: None,
        ca_file: None,
        timeout: Duration::from_secs(1),
        batch_max: 100,
        waiting_bytes_max: 1 << 20,
    }];
    async fn told(queue: &Queue) -> Vec<(String, serde_json::Value)> {
        let order = Order::TakeEvents { webhook: "crm".into(), told: None, limit: 10 };
        let Report::Events(events) = queue.order(order).await else { panic!("not events") };
        let event = |(id, bytes): (_, Box<[u8]>)| {
            let event = Event::decode(&bytes).expect("an event");
            (event.name(id).to_string(), crate::queue::describe::event(id, &event))
        };
        events.into_iter().map(event).collect()
    }
    let before = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let first = before.clone();
    world.run(|reactor, queue| async move {
        let id = delivered(&reactor, &queue).await;
        assert_eq!(queue.record_return(bounce(id, 1)).await, Taken::Recorded);
        assert_eq!(queue.record_return(complaint(id, 0)).await, Taken::Recorded);
        assert_eq!(queue.record_return(bounce(id, 1)).await, Taken::Again, "before a checkpoint");
        checkpoint(&queue).await;
        assert_eq!(queue.record_return(bounce(id, 1)).await, Taken::Again, "and after it");
        first.replace(told(&queue).await);
    });
    let again = before.clone();
    world.run(|_, queue| async move {
        let events = told(&queue).await;
        assert_eq!(events, *again.borrow(), "the same, by the same names");
    });
    let events = before.take();
    let [(_, bounced), (_, complained)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((&bounced["type"], &complained["type"]), (&"bounced".into(), &"complaint".into()));
    for (key, value) in [("address", "y@next.test"), ("state", "delivered"), ("action", "reject"), ("status", "5.1.1")]
    {
        assert_eq!(bounced["recipient"][key], value, "{bounced:#}");
    }
    assert_eq!(bounced["recipient"]["powermta"], "bad-mailbox", "{bounced:#}");
    assert_eq!(complained["recipient"]["why"], "feedback", "{complained:#}");
}
