//! After a crash. A handle that is dropped without a checkpoint is a crash: what was not appended is forgotten.

use std::cell::Cell;
use std::rc::Rc;

use futures::FutureExt;

use super::*;
use crate::config::Uncertain;
use crate::queue::Claim;
use crate::queue::orders::{Order, Report, Selection, StateWanted};

/// After a crash every lease is due again.
#[test]
fn after_a_crash_every_lease_is_due_again() {
    for checkpointed in [false, true] {
        let world = World::new();
        world.run(move |reactor, queue| async move {
            accept(&reactor, &queue, "a@sender.test", &["x@one.test"]).await;
            if checkpointed {
                checkpoint(&queue).await;
            }
            lease(&queue).await;
        });
        world.run(|_, queue| async move {
            assert_eq!(counts(&queue), (1, 0));
            let again = lease(&queue).await;
            assert_eq!(*queue.content(&again).await.expect("read back"), content());
            settle(&queue, &again, &delivered()).await;
            assert_eq!(counts(&queue), (0, 0));
        });
    }
}

/// Also of messages of which retention has left nothing, and of those that were accepted after the last checkpoint.
#[test]
fn what_an_account_submitted_today_outlives_crashes() {
    let world = World::new();
    for life in 0..3 {
        world.run(move |reactor, queue| async move {
            assert_eq!((queue.submitted_today("account"), queue.submitted_today("other")), (life * 5, 0));
            for (to, checkpointed) in [
                (&["x@one.test", "y@one.test"][..], true),
                (&["z@one.test"], true),
                (&["x@one.test", "y@one.test"], false),
            ] {
                let mut message = message(&reactor, &queue, "a@sender.test", to);
                message.account = Some("account".into());
                queue.accept(message, "<1@test>").await.expect("it is accepted");
                let lease = lease(&queue).await;
                settle(&queue, &lease, &delivered()).await;
                if checkpointed {
                    checkpoint(&queue).await;
                }
            }
            flush(&queue).await;
            assert_eq!((queue.submitted_today("account"), counts(&queue)), (life * 5 + 5, (0, 0)));
        });
    }
}

/// Each arrow is one batch.
#[test]
fn every_state_outlives_a_crash_with_and_without_a_checkpoint() {
    for checkpointed in [false, true] {
        let world = World::new();
        world.run(move |reactor, queue| async move {
            let to = ["due@a.test", "deferred@b.test", "held@c.test", "delivered@d.test", "failed@e.test"];
            accept(&reactor, &queue, "a@sender.test", &to).await;
            if checkpointed {
                checkpoint(&queue).await;
            }
            for _ in 0..5 {
                let lease = lease(&queue).await;
                let outcome = match &*lease.domain {
                    "b.test" => deferred(),
                    "d.test" => delivered(),
                    "e.test" => failed(),
                    _ => continue,
                };
                settle(&queue, &lease, &outcome).await;
            }
            let held = Selection { domain: Some("c.test".into()), ..Selection::default() };
            queue.order(Order::Hold(held)).await;
            flush(&queue).await;
        });
        world.run(|reactor, queue| async move {
            assert_eq!(counts(&queue), (4, 1), "due, deferred, held and the notice");
            let leases = lease_all(&reactor, &queue).await;
            let mut domains: Vec<&str> = leases.iter().map(|lease| &*lease.domain).collect();
            domains.sort_unstable();
            assert_eq!(domains, ["a.test", "sender.test"]);
            let page = queue.core.state.borrow().rows.page(None, 10).expect("the index");
            let attempts: Vec<u16> = page.rows[0].1.recipients.iter().map(|entry| entry.standing.attempts).collect();
            assert_eq!(attempts, [0, 1, 0, 1, 1]);
        });
    }
}

/// Waits until all that was appended is on disk.
async fn flush(queue: &Queue) {
    queue.core.journal.durable_until(queue.core.journal.tail()).await.expect("the journal");
}

#[test]
fn what_ended_before_a_crash_does_not_come_back() {
    for checkpointed in [false, true] {
        let world = World::new();
        world.run(move |reactor, queue| async move {
            accept(&reactor, &queue, "a@sender.test", &["x@one.test"]).await;
            if checkpointed {
                checkpoint(&queue).await;
            }
            settle(&queue, &lease(&queue).await, &delivered()).await;
            flush(&queue).await;
        });
        world.run(|reactor, queue| async move {
            assert_eq!(counts(&queue), (0, 0));
            assert!(nothing_is_ready(&reactor, &queue).await);
        });
    }
}

/// A DSN is committed in the batch that fails its recipient: either both are there after a crash, or neither.
#[test]
fn a_failure_and_its_notice_are_one() {
    for flushed in [false, true] {
        let world = World::new();
        world.run(move |reactor, queue| async move {
            accept(&reactor, &queue, "a@sender.test", &["x@one.test"]).await;
            settle(&queue, &lease(&queue).await, &failed()).await;
            if flushed {
                flush(&queue).await;
            }
        });
        world.run(move |_, queue| async move {
            assert_eq!(counts(&queue), (1, 0));
            let domain = lease(&queue).await.domain;
            assert!(&*domain == "sender.test" || (!flushed && &*domain == "one.test"), "{domain}");
        });
    }
}

/// uncertain: after a crash, policy decides: retry or hold; counted.
#[test]
fn an_interrupted_delivery_is_retried_or_held() {
    for (policy, checkpointed) in
        [(Uncertain::Retry, false), (Uncertain::Retry, true), (Uncertain::Hold, false), (Uncertain::Hold, true)]
    {
        let mut world = World::new();
        world.config.delivery.uncertain = policy;
        world.run(move |reactor, queue| async move {
            accept(&reactor, &queue, "a@sender.test", &["x@one.test", "y@two.test"]).await;
            let lease = lease(&queue).await;
            queue.note_uncertain(&lease).await.expect("a note");
            if checkpointed {
                checkpoint(&queue).await;
            }
            flush(&queue).await;
        });
        let held = u64::from(policy == Uncertain::Hold);
        for restart in 0..2 {
            world.run(move |reactor, queue| async move {
                assert_eq!(counts(&queue), (2, held));
                assert_eq!(queue.core.state.borrow().tally.uncertain, u64::from(restart == 0), "it is counted once");
                assert_eq!(shown_uncertain(&queue).await, 1);
                assert_eq!(lease_all(&reactor, &queue).await.len() as u64, 2 - held);
                checkpoint_or_not(&queue, restart == 0).await;
            });
        }
    }
}

/// How many recipients the queue shows as uncertain, listed by that alone.
async fn shown_uncertain(queue: &Queue) -> usize {
    let selection = Selection { state: StateWanted::named("uncertain"), ..Selection::default() };
    let Report::Count(counted) = queue.order(Order::Count(selection.clone())).await else { panic!("no count") };
    let order = Order::List { selection, after: None, limit: 100 };
    let Report::Messages(messages) = queue.order(order).await else { panic!("no page") };
    let recipients = messages.iter().flat_map(|message| message["recipients"].as_array().expect("recipients"));
    let listed: Vec<_> = recipients.collect();
    assert!(listed.iter().all(|recipient| recipient["uncertain"] == true), "{listed:?}");
    assert_eq!(listed.len() as u64, counted);
    listed.len()
}

/// The record of a message that is tried at once is the note of that attempt: no flush is added, and none is missing.
#[test]
fn a_first_attempt_needs_no_note_of_its_own() {
    for (leased, clean) in [(false, false), (false, true), (true, false)] {
        let world = World::new();
        world.run(move |reactor, queue| async move {
            accept(&reactor, &queue, "a@sender.test", &["x@one.test", "y@one.test"]).await;
            let frames = queue.core.journal.statistics().frames;
            if leased {
                let lease = lease(&queue).await;
                queue.note_uncertain(&lease).now_or_never().expect("at once").expect("a note");
            }
            assert_eq!(queue.core.journal.statistics().frames, frames);
            if clean {
                queue.close().await.expect("closed");
            }
        });
        world.run(move |reactor, queue| async move {
            let uncertain = if clean { 0 } else { 2 };
            assert_eq!(queue.core.state.borrow().tally.uncertain, uncertain);
            assert_eq!(lease_all(&reactor, &queue).await.len(), 1);
        });
    }
}

/// What waits behind others, or for more than one destination, is not called uncertain before it is under way.
#[test]
fn only_so_many_are_noted_before_they_are_tried() {
    let world = World::new();
    world.run(|reactor, queue| async move {
        for _ in 0..300 {
            accept(&reactor, &queue, "a@sender.test", &["x@one.test"]).await;
        }
        accept(&reactor, &queue, "a@sender.test", &["x@two.test", "y@three.test"]).await;
    });
    world.run(|_, queue| async move {
        assert_eq!(counts(&queue), (302, 0));
        assert_eq!(queue.core.state.borrow().tally.uncertain, 256);
    });
}

async fn checkpoint_or_not(queue: &Queue, wanted: bool) {
    if wanted {
        checkpoint(queue).await;
    }
}

#[test]
fn a_client_that_leaves_early_leaves_a_whole_message() {
    World::new().run(|reactor, queue| async move {
        let message = message(&reactor, &queue, "a@sender.test", &["x@one.test"]);
        assert!(queue.accept(message, "<1@test>").now_or_never().is_none(), "it waits for the flush");
        settle(&queue, &lease(&queue).await, &delivered()).await;
        assert_eq!(counts(&queue), (0, 0));
    });
}

#[test]
fn ids_only_grow() {
    let world = World::new();
    let last = Rc::new(Cell::new(MessageId(0)));
    for closed in [true, false, true] {
        let last = last.clone();
        world.run(move |reactor, queue| async move {
            for _ in 0..2 {
                let id = accept(&reactor, &queue, "a@sender.test", &["x@one.test"]).await;
                assert!(id > last.get(), "{id} after {}", last.get());
                last.set(id);
                settle(&queue, &lease(&queue).await, &delivered()).await;
            }
            if closed {
                queue.close().await.expect("it closes");
            }
        });
    }
}

#[test]
fn a_closed_queue_opens_without_replay_and_takes_nothing_while_closed() {
    let world = World::new();
    world.run(|reactor, queue| async move {
        accept(&reactor, &queue, "a@sender.test", &["x@one.test"]).await;
        queue.close().await.expect("it closes");
        let late = message(&reactor, &queue, "a@sender.test", &["x@one.test"]);
        assert!(queue.accept(late, "<1@test>").await.is_err());
        assert!(queue.lease("one.test").is_none());
    });
    world.run(|_, queue| async move {
        assert_eq!(counts(&queue), (1, 0));
        assert!(!queue.core.state.borrow().rows.is_dirty(), "nothing was replayed");
    });
}

#[test]
fn a_data_directory_has_one_owner() {
    let world = World::new();
    let config = Arc::new(world.config.clone());
    let format = || std::fs::read_to_string(config.data_dir.join("format")).ok();
    let claim = Claim::new(&config).expect("the first");
    assert!(matches!(Claim::new(&config), Err(Error::Locked(_))));
    assert_eq!(format(), None, "a start that something else refuses leaves the way back to an earlier version");
    claim.begin().expect("it begins");
    assert_eq!(format().as_deref(), Some(&*format!("{}\n", crate::queue::format::FORMAT)));
    drop(claim);
    Claim::new(&config).expect("it is free again");
}

/// What `shard` has learned of paths to `path0`, `path1`…; they are all of which it is the home, and nothing else.
fn learned_at_home(world: &World, shard: usize, shards: usize) -> Vec<(String, Vec<u8>)> {
    let learned = world.run_shard(shard, |_, queue| async move {
        let learned = queue.all_learned(usize::MAX, |_| true);
        queue.close().await.expect("it closes");
        learned
    });
    assert!(learned.iter().all(|(path, _)| crate::queue::home(path, shards) == shard), "{learned:?}");
    learned.into_iter().map(|(path, value)| (path.into(), value.into())).collect()
}

#[test]
fn what_was_learned_follows_its_paths_through_every_number_of_shards() {
    const PATHS: usize = 100;
    let mut world = World::new();
    let all: Vec<(String, Vec<u8>)> = (0..PATHS).map(|n| (format!("s1 path{n:03}"), vec![n as u8])).collect();
    for shard in 0..2 {
        let mine: Vec<_> = all.iter().filter(|(path, _)| crate::queue::home(path, 2) == shard).cloned().collect();
        world.run_shard(shard, |_, queue| async move {
            for (path, value) in mine {
                assert!(queue.learn(&path, Some(&value)));
            }
            queue.close().await.expect("it closes");
        });
    }
    for shards in [2, 3, 1, 3] {
        world.config.shards = shards;
        let claim = Claim::new(&Arc::new(world.config.clone())).expect("a claim");
        claim.begin().expect("it begins");
        let mut found: Vec<_> = (0..shards).flat_map(|shard| learned_at_home(&world, shard, shards)).collect();
        found.sort();
        assert_eq!(found, all, "with {shards} shards");
    }
    let gone = learned_at_home(&world, 0, 3).into_iter().next().expect("some");
    world.run_shard(0, |_, queue| async move {
        assert!(queue.learn_for_good(&gone.0, None).await);
        queue.close().await.expect("it closes");
    });
    world.config.shards = 1;
    Claim::new(&Arc::new(world.config.clone())).expect("a claim").begin().expect("it begins");
    assert_eq!(learned_at_home(&world, 0, 1).len(), PATHS - 1, "nothing that was forgotten comes back");
}

#[test]
fn what_accounts_submitted_to_shards_that_are_gone_counts_today() {
    let mut world = World::new();
    world.config.shards = 1;
    for (shard, recipients) in [(1, 2), (2, 3)] {
        world.run_shard(shard, move |reactor, queue| async move {
            for _ in 0..recipients {
                let mut message = message(&reactor, &queue, "a@sender.test", &["x@one.test"]);
                message.account = Some("user@example.org".into());
                queue.accept(message, "<1@test>").await.expect("it is accepted");
                settle(&queue, &lease(&queue).await, &delivered()).await;
            }
            queue.close().await.expect("it closes");
        });
    }
    for _ in 0..2 {
        let elsewhere = Claim::new(&Arc::new(world.config.clone())).expect("a claim").elsewhere();
        assert_eq!(elsewhere.recipients.get("user@example.org"), Some(&5));
    }
}

#[test]
fn fewer_shards_are_refused_while_the_others_have_mail() {
    let mut world = World::new();
    world.config.shards = 2;
    let config = Arc::new(world.config.clone());
    world.run_shard(2, |reactor, queue| async move {
        accept(&reactor, &queue, "a@sender.test", &["x@one.test"]).await;
        queue.close().await.expect("it closes");
    });
    let refused = Claim::new(&config).expect_err("shard 2 has mail");
    assert!(refused.to_string().ends_with("set `[server] shards` to 3 or more"), "{refused}");
    world.run_shard(2, |_, queue| async move {
        settle(&queue, &lease(&queue).await, &delivered()).await;
        queue.close().await.expect("it closes");
    });
    Claim::new(&config).expect("nothing would be lost");
}
