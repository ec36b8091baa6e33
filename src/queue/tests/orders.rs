//! The operator's orders.

use std::collections::BTreeSet;
use std::pin::pin;

use futures::{join, poll};
use serde_json::Value;

use super::*;
use crate::queue::alter::CHANGES_PER_FRAME_MAX;
use crate::queue::lane::Scope;
use crate::queue::orders::{Domains, Order, Report, Selection, StateWanted, Suspended, Waiting};

fn at_domain(domain: &str) -> Selection {
    Selection { domain: Some(domain.into()), ..Selection::default() }
}

fn in_state(state: &str) -> Selection {
    Selection { state: StateWanted::named(state), ..Selection::default() }
}

async fn count(queue: &Queue, order: Order) -> u64 {
    match queue.order(order).await {
        Report::Count(count) => count,
        other => panic!("{other:?}"),
    }
}

async fn list(queue: &Queue, selection: Selection, after: Option<MessageId>, limit: usize) -> Vec<Value> {
    match queue.order(Order::List { selection, after, limit }).await {
        Report::Messages(messages) => messages,
        other => panic!("{other:?}"),
    }
}

async fn show(queue: &Queue, id: MessageId) -> Option<Value> {
    match queue.order(Order::Show(id)).await {
        Report::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_list_is_paged_by_id_wherever_the_rows_are() {
    World::new().run(|reactor, queue| async move {
        let mut ids = Vec::new();
        for number in 0..7 {
            let to = if number % 2 == 0 { "x@even.test" } else { "x@odd.test" };
            ids.push(accept(&reactor, &queue, "a@sender.test", &[to, "y@all.test"]).await);
            if number == 3 {
                checkpoint(&queue).await;
            }
        }
        let first = list(&queue, Selection::default(), None, 3).await;
        let second = list(&queue, Selection::default(), Some(ids[2]), 100).await;
        let listed: Vec<&str> = first.iter().chain(&second).filter_map(|message| message["id"].as_str()).collect();
        assert_eq!(listed, ids.iter().map(ToString::to_string).collect::<Vec<_>>());

        let odd = list(&queue, at_domain("odd.test"), None, 2).await;
        assert_eq!(odd.len(), 2);
        assert_eq!(odd[1]["id"], ids[3].to_string());
        assert_eq!(odd[1]["recipients"].as_array().map(Vec::len), Some(1), "those that were selected");
        assert_eq!(list(&queue, Selection { id: Some(ids[6]), ..Selection::default() }, None, 9).await.len(), 1);
    });
}

#[test]
fn counts_agree_with_what_is_queued() {
    World::new().run(|reactor, queue| async move {
        accept(&reactor, &queue, "a@sender.test", &["x@one.test", "y@one.test", "z@two.test"]).await;
        accept(&reactor, &queue, "b@sender.test", &["x@one.test"]).await;
        assert_eq!(
            count(&queue, Order::Hold(Selection { sender: Some("b@sender.test".into()), ..Selection::default() }))
                .await,
            1
        );
        let of = |selection| count(&queue, Order::Count(selection));
        assert_eq!(of(Selection::default()).await, 4);
        assert_eq!(of(at_domain("one.test")).await, 3);
        assert_eq!(of(in_state("held")).await, 1);
        assert_eq!(of(in_state("due")).await, 3);
        assert_eq!(of(Selection { recipient: Some("X@one.test".into()), ..Selection::default() }).await, 2);
        assert_eq!(of(Selection { state: Some(StateWanted::Due), ..at_domain("one.test") }).await, 2);
        assert_eq!(of(at_domain("none.test")).await, 0);
    });
}

#[test]
fn a_message_explains_itself() {
    World::new().run(|reactor, queue| async move {
        let id = accept(&reactor, &queue, "a@sender.test", &["x@one.test"]).await;
        let fresh = show(&queue, id).await.expect("it is queued");
        assert_eq!(fresh["recipients"][0]["explanation"], "waiting for its first attempt");
        settle(&queue, &lease(&queue).await, &deferred()).await;
        let shown = show(&queue, id).await.expect("it is queued");
        assert_eq!((&shown["subject"], &shown["message_id"]), (&"a test".into(), &"<1@test>".into()));
        assert_eq!((&shown["sender"], &shown["content_kept"]), (&"a@sender.test".into(), &true.into()));
        let recipient = &shown["recipients"][0];
        assert_eq!((&recipient["state"], &recipient["attempts"]), (&"due".into(), &1.into()));
        assert_eq!((&recipient["status"], &recipient["why"]), (&"4.2.1".into(), &"450 4.2.1 greylisted".into()));
        let explanation = recipient["explanation"].as_str().expect("a sentence");
        assert!(explanation.starts_with("waiting for attempt 2 at 20"), "{explanation}");
        assert!(
            explanation.ends_with(", because mx.example [192.0.2.1]:25 said: 450 4.2.1 greylisted"),
            "{explanation}"
        );
        assert_eq!(show(&queue, MessageId(1 << 40)).await, None);
    });
}

/// By its Message-ID: while it is queued, after it was delivered, after a crash; and no longer than its placeholder.
#[test]
fn messages_are_found_by_their_message_id_as_long_as_they_are_kept() {
    let mut world = World::new();
    world.config.retention.placeholder = DAY;
    let find = async |queue: &Queue, message_id: &str| match queue.order(Order::Find(message_id.into())).await {
        Report::Messages(found) => {
            let state = |message: &Value| message["recipients"][0]["state"].as_str().map(str::to_owned);
            found.iter().filter_map(state).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    world.run(move |reactor, queue| async move {
        for (message_id, to) in [("<a@b>", "x@one.test"), ("<c@d>", "x@two.test"), ("<a@b>", "y@one.test")] {
            let mut message = message(&reactor, &queue, "a@sender.test", &[to]);
            message.tagged.message_id = Some(message_id.into());
            queue.accept(message, message_id).await.expect("it is accepted");
        }
        assert_eq!(find(&queue, "<a@b>").await, ["due", "due"]);
        let first = lease_at(&queue, "one.test").await;
        settle(&queue, &first, &delivered()).await;
        assert_eq!(find(&queue, "<a@b>").await, ["delivered", "due"]);
        checkpoint(&queue).await;
        assert_eq!(find(&queue, "<a@b>").await, ["delivered", "due"]);
        assert_eq!(find(&queue, "<c@d>").await, ["due"]);
        assert_eq!(find(&queue, "<e@f>").await, [""; 0]);
    });
    world.run(move |_, queue| async move { assert_eq!(find(&queue, "<a@b>").await, ["delivered", "due"]) });
    world.config.retention = crate::config::Retention { content: Duration::ZERO, placeholder: Duration::ZERO };
    world.run(move |reactor, queue| async move {
        let keys = || queue.core.state.borrow().rows.index().len(crate::queue::rows::MESSAGE_IDS).expect("a number");
        for _ in 0..2 {
            settle(&queue, &lease(&queue).await, &delivered()).await;
        }
        until(&reactor, &queue, "the first to be forgotten", || keys() <= 1).await;
        assert_eq!(find(&queue, "<c@d>").await, [""; 0]);
    });
}

/// due: hold → held. held: release → due.
#[test]
fn held_recipients_stay_held_until_they_are_released() {
    let world = World::new();
    world.run(|reactor, queue| async move {
        accept(&reactor, &queue, "a@sender.test", &["x@one.test", "y@two.test"]).await;
        assert_eq!(count(&queue, Order::Hold(at_domain("one.test"))).await, 1);
        assert_eq!(count(&queue, Order::Hold(at_domain("one.test"))).await, 0, "it is held already");
        assert_eq!(counts(&queue), (2, 1));
        settle(&queue, &lease(&queue).await, &delivered()).await;
        assert!(nothing_is_ready(&reactor, &queue).await);
    });
    world.run(|reactor, queue| async move {
        assert_eq!(counts(&queue), (1, 1));
        assert!(nothing_is_ready(&reactor, &queue).await);
        assert_eq!(count(&queue, Order::Release(Selection::default())).await, 1);
        settle(&queue, &lease(&queue).await, &delivered()).await;
        assert_eq!(counts(&queue), (0, 0));
    });
}

#[test]
fn a_recipient_held_during_its_attempt_is_not_tried_again() {
    World::new().run(|reactor, queue| async move {
        accept(&reactor, &queue, "a@sender.test", &["x@one.test", "y@one.test", "z@one.test"]).await;
        let lease = lease(&queue).await;
        assert_eq!(count(&queue, Order::Hold(Selection::default())).await, 3);
        queue.settle(lease.number, vec![(0, delivered()), (1, deferred()), (2, Outcome::Untried(0))]).await;
        assert_eq!(counts(&queue), (2, 2));
        assert!(nothing_is_ready(&reactor, &queue).await);
    });
}

#[test]
fn a_retry_makes_a_deferred_recipient_due_at_once_and_once() {
    World::new().run(|reactor, queue| async move {
        accept(&reactor, &queue, "a@sender.test", &["x@one.test"]).await;
        settle(&queue, &lease(&queue).await, &deferred()).await;
        assert_eq!(count(&queue, Order::Retry(Selection::default())).await, 1);
        assert_eq!(count(&queue, Order::Retry(Selection::default())).await, 0, "it is due already");
        let again = lease(&queue).await;
        assert!(nothing_is_ready(&reactor, &queue).await, "it is leased");
        settle(&queue, &again, &delivered()).await;
        assert_eq!(counts(&queue), (0, 0));
    });
}

#[test]
fn what_waits_for_a_parked_domain_says_why_and_a_retry_offers_it_at_once() {
    World::new().run(|reactor, queue| async move {
        let id = accept(&reactor, &queue, "a@sender.test", &["x@one.test"]).await;
        let domain = queue.next_ready().await;
        let put_off = queue.lease(&domain).expect("it is ready");
        queue.settle(put_off.number, vec![(0, Outcome::Untried(3600))]).await;
        queue.park(&domain, DAY, &"refused".into(), &"".into());
        let recipient = show(&queue, id).await.expect("it is queued")["recipients"][0].clone();
        assert_eq!((&recipient["why"], &recipient["attempts"]), (&"refused".into(), &0.into()), "{recipient}");
        let explanation = recipient["explanation"].as_str().expect("a text");
        let next = recipient["next"].as_str().expect("a time");
        assert!(
            explanation.contains(&format!("left alone until {next} at the earliest, because: refused")),
            "{explanation}"
        );
        assert!(nothing_is_ready(&reactor, &queue).await);

        assert_eq!(count(&queue, Order::Retry(at_domain("two.test"))).await, 0);
        assert_eq!(count(&queue, Order::Retry(at_domain("one.test"))).await, 1);
        let again = lease(&queue).await;
        assert!(queue.takes_insistence("one.test"));
        settle(&queue, &again, &delivered()).await;
        assert_eq!(counts(&queue), (0, 0));
    });
}

#[test]
fn stale_slices_are_made_anew_and_none_is_lost() {
    World::new().run(|reactor, queue| async move {
        for _ in 0..5 {
            accept(&reactor, &queue, "a@sender.test", &["x@one.test"]).await;
        }
        while queue.core.state.borrow().ready.slices() < 5 {
            reactor.yield_now().await;
        }
        let slice = {
            let mut state = queue.core.state.borrow_mut();
            let domain = state.ready.find("one.test").expect("it is queued");
            state.ready.pop(domain).expect("it is ready")
        };
        let now_s = queue.now_s();
        for _ in 0..20_000 {
            queue.core.state.borrow_mut().ready.push(super::super::ready::Slice { due_s: now_s + 900, ..slice }, now_s);
        }
        queue.rebuild_slices_if_stale().await;
        assert_eq!(queue.core.state.borrow().ready.slices(), 5);
        for _ in 0..5 {
            settle(&queue, &lease(&queue).await, &delivered()).await;
        }
        assert_eq!(counts(&queue), (0, 0));
    });
}

/// Rows are ahead of the disk; what is tried is not.
#[test]
fn a_slice_made_anew_waits_for_the_flush_of_its_message() {
    World::new().run(|reactor, queue| async move {
        let message = message(&reactor, &queue, "a@sender.test", &["x@one.test"]);
        let mut accepted = pin!(queue.accept(message, "<1@test>"));
        assert!(poll!(&mut accepted).is_pending(), "it is appended and not yet flushed");
        assert_eq!(counts(&queue), (1, 0));
        let mut rebuilt = pin!(queue.rebuild_slices());
        assert!(poll!(&mut rebuilt).is_pending());
        assert_eq!(queue.core.state.borrow().ready.slices(), 0);

        let (accepted, rebuilt) = join!(accepted, rebuilt);
        let id = accepted.expect("it is accepted").id();
        rebuilt.expect("the disk is good");
        let lease = lease(&queue).await;
        assert_eq!(lease.message, id);
        assert!(nothing_is_ready(&reactor, &queue).await, "it is leased");
    });
}

#[test]
fn a_released_recipient_is_tried_once_its_release_is_flushed() {
    World::new().run(|reactor, queue| async move {
        accept(&reactor, &queue, "a@sender.test", &["x@one.test"]).await;
        assert_eq!(count(&queue, Order::Hold(Selection::default())).await, 1);
        assert!(nothing_is_ready(&reactor, &queue).await);
        let mut released = pin!(count(&queue, Order::Release(Selection::default())));
        assert!(poll!(&mut released).is_ready(), "an order waits for no flush");
        assert_eq!(queue.core.state.borrow().ready.slices(), 0);
        settle(&queue, &lease(&queue).await, &delivered()).await;
        assert_eq!(counts(&queue), (0, 0));
    });
}

/// An order over very many recipients is several frames. Whatever the crash leaves undone, the same order does.
#[test]
fn a_crash_between_an_orders_frames_leaves_everyone_in_one_state() {
    const MESSAGES: usize = 3;
    const EACH: usize = 300;
    const ALL: u64 = (MESSAGES * EACH) as u64;
    const FRAME: u64 = CHANGES_PER_FRAME_MAX as u64;
    let world = World::new();
    world.run(|reactor, queue| async move {
        let to: Vec<String> = (0..EACH).map(|number| format!("x{number}@one.test")).collect();
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        for _ in 0..MESSAGES {
            accept(&reactor, &queue, "a@sender.test", &to).await;
        }
        let mut held = pin!(count(&queue, Order::Hold(Selection::default())));
        assert!(poll!(&mut held).is_pending(), "other work runs between the frames");
        let journal = &queue.core.journal;
        journal.durable_until(journal.tail()).await.expect("the disk is good");
        assert_eq!(counts(&queue), (ALL, FRAME));
    });
    world.run(|reactor, queue| async move {
        assert_eq!(counts(&queue), (ALL, FRAME));
        let frames = || queue.core.journal.statistics().frames;
        let before = frames();
        assert_eq!(count(&queue, Order::Hold(Selection::default())).await, ALL - FRAME);
        assert_eq!(frames() - before, (ALL - FRAME).div_ceil(FRAME));
        assert_eq!(counts(&queue), (ALL, ALL));
        assert_eq!(count(&queue, Order::Release(Selection::default())).await, ALL);
        let mut tried = BTreeSet::new();
        for lease in lease_all(&reactor, &queue).await {
            for (index, _) in &lease.recipients {
                assert!(tried.insert((lease.message, *index)), "nobody is leased twice");
            }
        }
        assert_eq!(tried.len() as u64, ALL);
    });
}

#[test]
fn what_was_put_off_is_told_from_what_is_new() {
    World::new().run(|reactor, queue| async move {
        accept(&reactor, &queue, "a@sender.test", &["x@one.test"]).await;
        settle(&queue, &lease(&queue).await, &deferred()).await;
        accept(&reactor, &queue, "a@sender.test", &["y@two.test", "z@two.test"]).await;
        for (state, recipients) in [("due", 3), ("new", 2), ("deferred", 1), ("held", 0)] {
            assert_eq!(count(&queue, Order::Count(in_state(state))).await, recipients, "{state}");
        }
        assert_eq!(count(&queue, Order::Hold(in_state("deferred"))).await, 1);
        assert_eq!(count(&queue, Order::Count(in_state("held"))).await, 1);
        assert_eq!(count(&queue, Order::Count(in_state("deferred"))).await, 0, "what is held is not due");
    });
}

#[test]
fn a_selection_says_what_was_asked_for() {
    assert_eq!(Selection::default().to_string(), "all");
    let null = Selection { sender: Some("".into()), ..in_state("deferred") };
    assert_eq!(null.to_string(), "sender <>, state deferred");
    assert_eq!(at_domain("one.test").to_string(), "domain one.test");
}

/// due or held: bounce → failed, with its DSN. A leased recipient is left to its attempt.
#[test]
fn a_bounce_returns_what_is_not_leased() {
    World::new().run(|reactor, queue| async move {
        let id = accept(&reactor, &queue, "a@sender.test", &["x@one.test", "y@two.test"]).await;
        let leased = lease(&queue).await;
        assert_eq!(count(&queue, Order::Bounce(Selection::default())).await, 1);
        let Report::Message(Some(shown)) = queue.order(Order::Show(id)).await else { panic!("it is there") };
        let given_up: Vec<_> = shown["recipients"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|recipient| recipient["state"] == "failed")
            .collect();
        assert_eq!(given_up.len(), 1);
        assert_eq!(given_up[0]["attempts"], 0, "nobody has tried");
        let notice = lease(&queue).await;
        let text = queue.content(&notice).await.expect("its content");
        assert!(memchr::memmem::find(&text, b"Status: 5.0.0").is_some(), "{}", String::from_utf8_lossy(&text));
        settle(&queue, &notice, &delivered()).await;
        settle(&queue, &leased, &delivered()).await;
        assert_eq!(counts(&queue), (0, 0));
    });
}

#[test]
fn suspended_delivery_waits_and_resumes() {
    World::new().run(|reactor, queue| async move {
        let id = accept(&reactor, &queue, "a@sender.test", &["x@one.test"]).await;
        let all = Suspended { scopes: vec![Scope::All], recipients: 1 };
        let Report::Suspended(suspended) = queue.order(Order::Suspend(Scope::All, true)).await else {
            panic!("no answer")
        };
        assert_eq!(suspended, all);
        assert!(nothing_is_ready(&reactor, &queue).await);
        assert!(queue.lease("one.test").is_none());
        let shown = list(&queue, Selection::default(), None, 10).await;
        let recipient = &shown[0]["recipients"][0];
        assert_eq!((&recipient["state"], &recipient["suspension"]), (&"suspended".into(), &"all".into()));
        assert_eq!(recipient["resume"], "ringpost queue resume --all");
        assert_eq!(recipient["explanation"], "suspended (all) until `ringpost queue resume --all`");
        assert_eq!(list(&queue, in_state("suspended"), None, 10).await, shown);
        queue.order(Order::Suspend(Scope::All, false)).await;
        let Report::Message(Some(shown)) = queue.order(Order::Show(id)).await else { panic!("it is there") };
        let recipient = &shown["recipients"][0];
        assert_eq!((&recipient["state"], &recipient["suspension"]), (&"due".into(), &Value::Null));
        assert_eq!(count(&queue, Order::Count(in_state("suspended"))).await, 0);
        settle(&queue, &lease(&queue).await, &delivered()).await;
        let Report::Metrics(metrics) = queue.order(Order::Metrics).await else { panic!("no metrics") };
        let metric = |name| metrics.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
        assert_eq!(metric("recipients_delivered_total"), Some(1));
        assert_eq!(metric("queued_recipients"), Some(0));
    });
}

/// An end and the next attempt are kept in whole seconds, an arrival in thousandths.
#[test]
fn nothing_has_ended_or_is_due_before_it_arrived() {
    World::new().run(|reactor, queue| async move {
        let id = accept(&reactor, &queue, "a@sender.test", &["x@one.test", "y@two.test"]).await;
        settle(&queue, &lease(&queue).await, &delivered()).await;
        let Report::Message(Some(shown)) = queue.order(Order::Show(id)).await else { panic!("it is there") };
        let times: Vec<&str> = ["ended", "next"]
            .iter()
            .flat_map(|key| (0..2).filter_map(|index| shown["recipients"][index][*key].as_str()))
            .collect();
        let arrival = shown["arrival"].as_str().expect("a time");
        assert!(times.len() == 2 && times.iter().all(|time| *time >= arrival), "{shown:#}");
    });
}

#[test]
fn a_page_is_bounded_by_its_bytes_too_wherever_the_rows_are() {
    World::new().run(|reactor, queue| async move {
        let to: Vec<String> = (0..1000).map(|number| format!("{number}@one.test")).collect();
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        let mut ids = Vec::new();
        for number in 0..50 {
            ids.push(accept(&reactor, &queue, "a@sender.test", &to).await);
            if number == 20 {
                checkpoint(&queue).await;
            }
        }
        let (mut after, mut found, mut pages) = (None, Vec::new(), 0);
        loop {
            let page = queue.core.state.borrow().rows.page(after, 1000).expect("rows");
            found.extend(page.rows.iter().map(|(id, _)| *id));
            pages += 1;
            if !page.more {
                break;
            }
            after = found.last().copied();
        }
        assert_eq!(found, ids, "all of them, once, in order");
        assert!(pages >= 2, "{pages} pages of 50,000 recipients");
        let mut walk = queue.pages(None, None);
        let mut walked = 0;
        while let Some(page) = walk.next().await.expect("rows") {
            walked += page.len();
        }
        assert_eq!((walked, count(&queue, Order::Count(in_state("due"))).await), (50, 50_000));
    });
}

async fn domains(queue: &Queue, domains: Domains, after: Option<&str>, limit: usize) -> Vec<Waiting> {
    match queue.order(Order::Domains { domains, after: after.map(Into::into), limit }).await {
        Report::Domains(domains) => domains,
        other => panic!("{other:?}"),
    }
}

#[test]
fn domains_show_what_waits_and_why_they_rest() {
    World::new().run(|reactor, queue| async move {
        accept(&reactor, &queue, "a@sender.test", &["x@one.test", "y@one.test", "x@two.test", "x@three.test"]).await;
        accept(&reactor, &queue, "a@sender.test", &["x@one.test", "x@four.test"]).await;
        while queue.core.state.borrow().ready.ready_slices() < 5 {
            reactor.yield_now().await;
        }
        for domain in ["one.test", "two.test"] {
            queue.park(domain, DAY, &"mx.test said: 554 listed".into(), &"mx.test".into());
        }
        queue.park("four.test", DAY, &"SERVFAIL".into(), &"".into());
        let all = domains(&queue, Domains::default(), None, 100).await;
        let shown: Vec<(&str, u64, u64, bool)> =
            all.iter().map(|d| (&*d.domain, d.recipients, d.due, d.rest.is_some())).collect();
        let expected = [
            ("four.test", 1, 1, true),
            ("one.test", 3, 2, true),
            ("three.test", 1, 1, false),
            ("two.test", 1, 1, true),
        ];
        assert_eq!(shown, expected);
        let rest = all[1].rest.as_ref().expect("it rests");
        assert_eq!((&*rest.why, &*rest.destination), ("mx.test said: 554 listed", "mx.test"));
        let left = rest.until.since(reactor.wall());
        assert!(left <= DAY && left > DAY - PATIENCE, "{left:?}");

        let names = async |wanted: Domains, after, limit| {
            let page = domains(&queue, wanted, after, limit).await;
            page.iter().map(|waiting| waiting.domain.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(Domains::default(), None, 2).await, ["four.test", "one.test"]);
        assert_eq!(names(Domains::default(), Some("one.test"), 2).await, ["three.test", "two.test"]);
        let resting = Domains { resting: true, ..Domains::default() };
        assert_eq!(names(resting, None, 9).await, ["four.test", "one.test", "two.test"]);
        let of_one = Domains { destination: Some("mx.test".into()), ..Domains::default() };
        assert_eq!(names(of_one, None, 9).await, ["one.test", "two.test"]);

        let behind = || Selection::behind("mx.test");
        assert_eq!(count(&queue, Order::Count(behind())).await, 4);
        let due = Selection { state: Some(StateWanted::Due), ..behind() };
        assert_eq!(count(&queue, Order::Count(due)).await, 4, "looking at every recipient gives the same");
        assert_eq!(count(&queue, Order::Retry(at_domain("two.test"))).await, 1);
        assert_eq!(count(&queue, Order::Count(behind())).await, 3, "the others still wait");
        assert_eq!(count(&queue, Order::Retry(behind())).await, 3);
        assert_eq!(count(&queue, Order::Count(behind())).await, 0);
    });
}
