//! Who is told what, and once only.

use std::collections::BTreeSet;

use futures::FutureExt;

use super::*;
use crate::authentication::{Algorithm, Key, Signer, Signers};
use crate::config::{Account, Notices};
use crate::queue::orders::{Order, Selection};
use crate::queue::outcome::Hop;
use crate::queue::row::seconds;
use crate::queue::signing::Line;
use crate::smtp::envelope::Return::Full;
use crate::spool::record::{Return, Said, What};

/// Longer than any of these takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A world in which a delay is told after a second, and nothing is tried twice.
fn world() -> World {
    let mut world = World::new();
    world.config.retry.delay_notice_after = Duration::from_secs(1);
    world.config.retry.schedule = vec![DAY];
    world
}

fn account(notify: Notices) -> Account {
    Account {
        name: "account".into(),
        password: "".into(),
        senders: Vec::new(),
        smtp: true,
        daily_limit: None,
        scheduled_send: false,
        return_path: false,
        notify,
        standard: Default::default(),
    }
}

fn notify(words: &str) -> Notify {
    Notify {
        never: words.contains("NEVER"),
        success: words.contains("SUCCESS"),
        failure: words.contains("FAILURE"),
        delay: words.contains("DELAY"),
    }
}

/// The next notice to the sender, as text; delivers it.
async fn next_notice(reactor: &Reactor, queue: &Queue) -> String {
    let notice = reactor.timeout(PATIENCE, lease(queue)).await.expect("a notice in time");
    assert_eq!(notice.sender.path, ReversePath::Null, "a notice");
    let text = String::from_utf8(queue.content(&notice).await.expect("its content").to_vec()).expect("ASCII");
    settle(queue, &notice, &delivered()).await;
    text
}

/// How many notices were composed.
fn notices(queue: &Queue) -> u64 {
    queue.core.state.borrow().tally.notices
}

async fn rounds_of_housekeeping(queue: &Queue, rounds: usize) {
    for _ in 0..rounds {
        let round = queue.core.kept.round();
        queue.core.work.give();
        queue.core.kept.after(round).await;
    }
}

/// Accepts a message that is older than a delay may be untold.
async fn accept_old(reactor: &Reactor, queue: &Queue, from: &str, to: &[(&str, &str)]) -> MessageId {
    let paths: Vec<&str> = to.iter().map(|(path, _)| *path).collect();
    let mut old = message(reactor, queue, from, &paths);
    old.arrival = old.arrival - Duration::from_secs(2);
    for (recipient, (_, words)) in old.envelope.recipients.iter_mut().zip(to) {
        recipient.notify = notify(words);
    }
    queue.accept(old, "<1@test>").await.expect("it is accepted").id()
}

#[test]
fn a_delay_is_told_once_whatever_the_message_waits_for() {
    world().run(|reactor, queue| async move {
        let to = [("x@one.test", ""), ("y@parked.test", ""), ("z@held.test", ""), ("leased@two.test", "")];
        accept_old(&reactor, &queue, "a@sender.test", &to).await;
        queue.park("parked.test", DAY, &"".into(), &"".into());
        let held = Selection { domain: Some("held.test".into()), ..Selection::default() };
        queue.order(Order::Hold(held)).await;
        let mut leased = 0;
        while leased < 2 {
            let lease = lease(&queue).await;
            match &*lease.domain {
                "one.test" => settle(&queue, &lease, &deferred()).await,
                domain => assert_eq!(domain, "two.test"),
            }
            leased += 1;
        }
        let text = next_notice(&reactor, &queue).await;
        assert_eq!(text.matches("Action: delayed").count(), 4, "{text}");
        for words in ["x@one.test", "y@parked.test", "z@held.test", "leased@two.test", "Will-Retry-Until: "] {
            assert!(text.contains(words), "{words} in {text}");
        }
        assert!(text.contains("Diagnostic-Code: smtp; 450 4.2.1 greylisted"), "{text}");
        assert_eq!(text.matches("Last-Attempt-Date: ").count(), 1, "{text}");
        rounds_of_housekeeping(&queue, 3).await;
        assert_eq!(notices(&queue), 1);
    });
}

#[test]
fn a_delay_is_not_told_again_after_a_crash_or_a_stop() {
    let world = world();
    world.run(|reactor, queue| async move {
        accept_old(&reactor, &queue, "a@sender.test", &[("x@one.test", "")]).await;
        settle(&queue, &lease(&queue).await, &deferred()).await;
        next_notice(&reactor, &queue).await;
        checkpoint(&queue).await;
    });
    for _ in 0..2 {
        world.run(|_, queue| async move {
            rounds_of_housekeeping(&queue, 3).await;
            assert_eq!((notices(&queue), counts(&queue)), (0, (1, 0)));
            queue.close().await.expect("it closes");
        });
    }
}

#[test]
fn a_delay_is_told_to_whom_it_concerns() {
    let mut world = world();
    world.config.accounts = vec![account(Notices { failed: true, delayed: false, delivered: false })];
    world.run(|reactor, queue| async move {
        let to =
            [("a@one.test", "NEVER"), ("b@one.test", "SUCCESS,FAILURE"), ("c@one.test", "DELAY"), ("d@one.test", "")];
        accept_old(&reactor, &queue, "s@sender.test", &to).await;
        accept_old(&reactor, &queue, "", &[("e@one.test", "DELAY")]).await;
        let mut of_account = message(&reactor, &queue, "s@sender.test", &["f@one.test"]);
        of_account.arrival = of_account.arrival - Duration::from_secs(2);
        of_account.account = Some("account".into());
        queue.accept(of_account, "<1@test>").await.expect("it is accepted");
        queue.park("one.test", DAY, &"".into(), &"".into());
        let text = next_notice(&reactor, &queue).await;
        assert!(text.contains("c@one.test") && text.contains("d@one.test"), "{text}");
        rounds_of_housekeeping(&queue, 3).await;
        assert_eq!((text.matches("Final-Recipient").count(), notices(&queue)), (2, 1), "{text}");
    });
}

#[test]
fn a_delay_is_told_when_its_time_comes_and_not_before() {
    world().run(|reactor, queue| async move {
        let accepted = reactor.now();
        accept(&reactor, &queue, "a@sender.test", &["x@one.test"]).await;
        settle(&queue, &lease(&queue).await, &deferred()).await;
        next_notice(&reactor, &queue).await;
        let after = reactor.now().since(accepted);
        assert!(after >= Duration::from_secs(1), "{after:?}");
    });
}

/// The walk passes the places of messages that are accepted later than their ids were given.
#[test]
fn a_message_whose_id_is_older_than_its_acceptance_is_not_forgotten() {
    world().run(|reactor, queue| async move {
        let mut slow = message(&reactor, &queue, "a@sender.test", &["slow@one.test"]);
        accept_old(&reactor, &queue, "a@sender.test", &[("quick@one.test", "")]).await;
        queue.park("one.test", DAY, &"".into(), &"".into());
        assert!(next_notice(&reactor, &queue).await.contains("quick@one.test"));
        slow.arrival = slow.arrival - Duration::from_secs(2);
        queue.accept(slow, "<1@test>").await.expect("it is accepted");
        assert!(next_notice(&reactor, &queue).await.contains("slow@one.test"));
    });
}

#[test]
fn success_is_told_where_no_next_hop_does() {
    let mut world = world();
    world.config.accounts = vec![account(Notices { failed: false, delayed: false, delivered: true })];
    world.run(|reactor, queue| async move {
        for (asked, account, hop, told) in [
            ("SUCCESS", None, Hop::WithoutDsn, Some("relayed")),
            ("SUCCESS", Some("account"), Hop::WithoutDsn, Some("relayed")),
            ("SUCCESS", None, Hop::WithDsn, None),
            ("SUCCESS", Some("account"), Hop::WithDsn, None),
            ("", Some("account"), Hop::WithDsn, Some("delivered")),
            ("", Some("account"), Hop::WithoutDsn, Some("delivered")),
            ("", None, Hop::WithoutDsn, None),
            ("NEVER", Some("account"), Hop::WithoutDsn, None),
            ("FAILURE,DELAY", Some("account"), Hop::WithoutDsn, None),
        ] {
            let mut asking = message(&reactor, &queue, "a@sender.test", &["x@one.test"]);
            asking.envelope.recipients[0].notify = notify(asked);
            asking.account = account.map(Into::into);
            queue.accept(asking, "<1@test>").await.expect("it is accepted");
            let success = Outcome::Delivered(answer(250, EnhancedCode(2, 0, 0), "ok"), hop);
            settle(&queue, &lease(&queue).await, &success).await;
            let Some(told) = told else {
                assert_eq!(counts(&queue), (0, 0), "{asked:?} {account:?} {hop:?}");
                continue;
            };
            let text = next_notice(&reactor, &queue).await;
            assert!(text.contains(&format!("Action: {told}\r\n")) && text.contains("Status: 2.0.0"), "{text}");
            assert!(text.contains("Subject: a test") && !text.contains(MARKER), "{text}");
        }
        let mut null = message(&reactor, &queue, "", &["x@one.test"]);
        null.envelope.recipients[0].notify = notify("SUCCESS");
        queue.accept(null, "<1@test>").await.expect("it is accepted");
        settle(&queue, &lease(&queue).await, &delivered()).await;
        assert_eq!(counts(&queue), (0, 0), "nobody is told about a null reverse-path");
    });
}

#[test]
fn outcomes_that_come_together_are_told_apart() {
    World::new().run(|reactor, queue| async move {
        let mut mixed =
            message(&reactor, &queue, "a@sender.test", &["good@one.test", "bad@one.test", "quiet@one.test"]);
        mixed.envelope.recipients[0].notify = notify("SUCCESS");
        queue.accept(mixed, "<1@test>").await.expect("it is accepted");
        queue.settle(lease(&queue).await.number, vec![(0, delivered()), (1, failed()), (2, delivered())]).await;
        let texts = [next_notice(&reactor, &queue).await, next_notice(&reactor, &queue).await];
        let of = |action: &str| texts.iter().find(|text| text.contains(action)).expect("a notice").clone();
        assert!(of("Action: failed").contains("bad@one.test") && !of("Action: failed").contains("good@one.test"));
        assert!(of("Action: relayed").contains("good@one.test") && !of("Action: relayed").contains("quiet@one.test"));
        assert_eq!(counts(&queue), (0, 0));
    });
}

#[test]
fn the_whole_content_goes_back_where_it_was_asked_for() {
    let mut world = World::new();
    // Nothing is kept in memory: what goes back is read back.
    world.config.limits.content_memory_bytes_max = 0;
    world.run(|reactor, queue| async move {
        for ret in [None, Some(Full)] {
            let mut asking = message(&reactor, &queue, "a@sender.test", &["x@one.test"]);
            asking.envelope.sender.ret = ret;
            asking.content = format!("Subject: a test\r\n\r\n{MARKER}\r\n").into_bytes();
            queue.accept(asking, "<1@test>").await.expect("it is accepted");
            settle(&queue, &lease(&queue).await, &failed()).await;
            let text = next_notice(&reactor, &queue).await;
            assert!(text.contains("Subject: a test"), "{text}");
            assert_eq!(text.contains(MARKER), ret.is_some(), "{text}");
        }
    });
}

/// Keys of `domain`.
fn keys_of(domain: &str) -> Arc<Signers> {
    let signer = Signer::new(domain, "s1", Key::generate(Algorithm::Ed25519).expect("a key").1);
    Arc::new(Signers::new([(signer, false)]))
}

#[test]
fn notices_are_signed_by_the_key_of_our_name() {
    world().run(|reactor, queue| async move {
        for (keys, is_signed) in [(keys_of("mta.test"), true), (keys_of("other.test"), false)] {
            queue.sign_with(keys);
            for outcome in [failed(), deferred()] {
                accept_old(&reactor, &queue, "a@sender.test", &[("x@one.test", "")]).await;
                settle(&queue, &lease(&queue).await, &outcome).await;
                rounds_of_housekeeping(&queue, 2).await;
                let notice = reactor.timeout(PATIENCE, lease(&queue)).await.expect("a notice in time");
                let content = queue.content(&notice).await.expect("its content");
                let text = String::from_utf8_lossy(&content);
                assert_eq!(text.starts_with("DKIM-Signature: "), is_signed, "{text}");
                assert!(text.contains("\r\nFrom: Mail Delivery System <MAILER-DAEMON@mta.test>\r\n"), "{text}");
                assert_eq!(notice.sender.size, Some(content.len() as u64));
                settle(&queue, &notice, &delivered()).await;
            }
        }
        assert_eq!(notices(&queue), 4);
    });
}

#[test]
fn what_changes_while_a_notice_is_signed_is_told_once_and_as_it_is() {
    world().run(|reactor, queue| async move {
        queue.sign_with(keys_of("mta.test"));
        let to = [("x@one.test", ""), ("y@one.test", ""), ("z@two.test", "")];
        accept_old(&reactor, &queue, "a@sender.test", &to).await;
        let of = |domain: &str| Order::Bounce(Selection { domain: Some(domain.into()), ..Selection::default() });
        // Each begins to tell what another one is about to tell as well.
        let all = || queue.order(Order::Bounce(Selection::default()));
        futures::join!(queue.order(of("one.test")), all(), all(), queue.order(of("two.test")));
        let mut told = String::new();
        for _ in 0..notices(&queue) {
            told += &next_notice(&reactor, &queue).await;
        }
        for address in ["x@one.test", "y@one.test", "z@two.test"] {
            assert_eq!(told.matches(&format!("Final-Recipient: rfc822; {address}\r\n")).count(), 1, "{told}");
        }
        assert_eq!(counts(&queue).0, 0, "all have ended");
    });
}

/// Accepts a message whose content goes back whole, and leases it.
async fn lease_of_whole(reactor: &Reactor, queue: &Queue, to: &str, words: &str) -> Lease {
    let mut asking = message(reactor, queue, "a@sender.test", &[to]);
    asking.envelope.sender.ret = Some(Full);
    asking.envelope.recipients[0].notify = notify(words);
    asking.content = format!("Subject: a test\r\n\r\n{MARKER}\r\n").into_bytes();
    queue.accept(asking, "<1@test>").await.expect("it is accepted");
    lease(queue).await
}

#[test]
fn what_waits_for_its_turn_holds_no_content_and_delays_neither_deliveries_nor_deferrals() {
    for (keys, at_once) in [(keys_of("mta.test"), 2), (Arc::default(), 16)] {
        World::new().run(move |reactor, queue| async move {
            let is_signed = at_once == 2;
            queue.sign_with(keys);
            let pens: Vec<_> =
                (0..at_once).map(|_| queue.pen(Line::Others).now_or_never().expect("its turn")).collect();
            assert!(queue.pen(Line::Others).now_or_never().is_none(), "{at_once} at a time");

            let mut leases = Vec::new();
            for _ in 0..3 {
                leases.push(lease_of_whole(&reactor, &queue, "x@one.test", "FAILURE").await);
            }
            let failed = failed();
            let mut settling: Vec<_> = leases.iter().map(|lease| Box::pin(settle(&queue, lease, &failed))).collect();
            for (settling, lease) in settling.iter_mut().zip(&leases) {
                assert!(settling.now_or_never().is_none(), "it waits for its turn");
                let content = queue.core.state.borrow().contents.get(lease.message).expect("it is in memory");
                assert_eq!(Arc::strong_count(&content), 2, "memory has it, and this test");
            }

            for (outcome, told) in [(deferred(), 0), (delivered(), 1)] {
                let lease = lease_of_whole(&reactor, &queue, "y@two.test", "SUCCESS,FAILURE").await;
                reactor.timeout(PATIENCE, settle(&queue, &lease, &outcome)).await.expect("it does not wait");
                assert_eq!(notices(&queue), told);
            }
            assert!(next_notice(&reactor, &queue).await.contains("Action: relayed\r\n"));

            drop(pens);
            reactor.timeout(PATIENCE, futures::future::join_all(settling)).await.expect("they are settled");
            for _ in 0..3 {
                let text = next_notice(&reactor, &queue).await;
                assert!(text.starts_with("DKIM-Signature: ") == is_signed && text.contains(MARKER), "{text}");
            }
            assert_eq!((notices(&queue), counts(&queue).0), (4, 1), "what was deferred is left");
        });
    }
}

#[test]
fn a_delay_is_told_in_the_words_that_hold_once_it_is_signed() {
    world().run(|reactor, queue| async move {
        queue.sign_with(keys_of("mta.test"));
        queue.core.next_delay.set(reactor.wall() + DAY);
        accept_old(&reactor, &queue, "a@sender.test", &[("x@one.test", "")]).await;
        let lease = lease(&queue).await;
        queue.core.next_delay.set(reactor.wall());
        let mut telling = Box::pin(queue.tell_delays());
        assert!((&mut telling).now_or_never().is_none(), "it is being signed");
        settle(&queue, &lease, &deferred()).await;
        telling.await;
        let text = next_notice(&reactor, &queue).await;
        assert!(text.starts_with("DKIM-Signature: ") && text.contains("Action: delayed\r\n"), "{text}");
        assert!(text.contains("\r\nLast-Attempt-Date: ") && !text.contains("not tried yet"), "{text}");
        assert_eq!(notices(&queue), 1);
    });
}

#[test]
fn a_failure_is_told_in_the_words_that_hold_once_it_is_signed() {
    World::new().run(|reactor, queue| async move {
        queue.sign_with(keys_of("mta.test"));
        let mut old = message(&reactor, &queue, "a@sender.test", &["x@one.test"]);
        old.arrival = old.arrival - Duration::from_secs(3600);
        queue.accept(old, "<1@test>").await.expect("it is accepted");
        let lease = lease(&queue).await;
        let live_for = |minutes: u64| {
            let mut config = (*queue.config()).clone();
            config.retry.lifetime = Duration::from_secs(60 * minutes);
            queue.configure(Arc::new(config));
        };
        live_for(2);
        let outcome = Outcome::Untried(0);
        let mut settling = Box::pin(settle(&queue, &lease, &outcome));
        assert!((&mut settling).now_or_never().is_none(), "it is being signed");
        live_for(3);
        settling.await;
        let text = next_notice(&reactor, &queue).await;
        assert!(text.starts_with("DKIM-Signature: ") && text.contains("not delivered within 3 minutes"), "{text}");
        assert_eq!((notices(&queue), counts(&queue).0), (1, 0));
    });
}

/// As much as makes a checkpoint urgent, in memory.
fn fill_memory(queue: &Queue, message: MessageId) {
    let text: Box<str> = "x".repeat(1 << 20).into();
    let said =
        Said { status: EnhancedCode(5, 1, 1), text, remote: None, at_s: 1, replied: false, reason: None, tls: None };
    let position = queue.core.journal.tail();
    for index in 0..17 {
        let came = Return { message, index, what: What::Bounced, said: said.clone() };
        queue.core.state.borrow_mut().came_back(&came, position).expect("it is taken");
    }
    assert!(queue.checkpoint_is_urgent());
}

#[test]
fn a_checkpoint_that_is_urgent_comes_between_two_delays() {
    for scheduled in [false, true] {
        world().run(move |reactor, queue| async move {
            queue.core.next_delay.set(reactor.wall() + DAY);
            let mut ids = BTreeSet::new();
            for _ in 0..3 {
                ids.insert(accept_old(&reactor, &queue, "a@sender.test", &[("x@one.test", "")]).await);
            }
            if scheduled {
                // As if the walk had passed them over.
                let begin_s = seconds(reactor.wall() - Duration::from_secs(2));
                queue.core.scheduled.borrow_mut().extend(ids.iter().map(|id| (begin_s, *id)));
                queue.core.looked_at_for_delay.set(ids.last().copied());
            }
            fill_memory(&queue, *ids.first().expect("three"));
            queue.core.next_delay.set(reactor.wall());
            assert!(queue.tell_delays().await, "there are more, after a checkpoint");
            assert_eq!(notices(&queue), 1, "scheduled: {scheduled}");
            until(&reactor, &queue, "all delays", || notices(&queue) == 3).await;
        });
    }
}
