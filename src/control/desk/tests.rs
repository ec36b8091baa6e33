//! The desk with shards that answer as a queue would, or do not.

use std::collections::BTreeSet;

use shards::mesh::{Port, mesh};

use super::*;

/// Shards with `messages` each, numbered from 1, whose orders are answered as a queue would.
async fn answer_orders(port: Port<Crossing>, messages: u64) {
    loop {
        let (_, Crossing::Order(order, answer)) = port.receive().await else { continue };
        let id = |number| MessageId::new(port.shard(), number);
        let report = match *order {
            Order::List { after, limit, .. } => {
                let first = after.map_or(1, |after| after.number() + 1);
                let page = (first..=messages).take(limit).map(|n| Value::from(id(n).to_string()));
                Report::Messages(page.collect())
            }
            Order::Show(asked) => Report::Message((asked.number() <= messages).then(|| Value::from(asked.to_string()))),
            Order::Bounce(_) if port.shard() == 1 => Report::Failed("the disk is full".into()),
            Order::Metrics => Report::Metrics(vec![("queued", messages)]),
            Order::Domains { after, limit, .. } => {
                // Every shard has one domain that all have, and others.
                let own = (0..messages).map(|n| format!("{n}.shard{}.test", port.shard()));
                let mut names: Vec<String> = own.chain(["0.all.test".to_owned()]).collect();
                names.sort();
                names.retain(|name| after.as_deref().is_none_or(|after| **name > *after));
                Report::Domains(names.into_iter().take(limit).map(|name| waiting(&name)).collect())
            }
            _ => Report::Count(messages),
        };
        let _ = answer.send(report);
    }
}

fn waiting(domain: &str) -> Waiting {
    Waiting { domain: domain.into(), recipients: 2, due: 1, rest: None, lanes: BTreeSet::new(), waits_for: None }
}

fn with_shards(shards: usize, messages: u64, test: impl AsyncFnOnce(Desk)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let (ports, inlet) = mesh(shards, 1, 2);
    let local = tokio::task::LocalSet::new();
    for port in ports {
        local.spawn_local(answer_orders(port, messages));
    }
    runtime.block_on(local.run_until(test(Desk::new(inlet))));
}

#[test]
fn pages_follow_each_other_across_shards() {
    with_shards(3, 4, async |desk| {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let page = desk.list(&Selection::default(), after, 5).await.expect("a page");
            let last = page.messages.last().and_then(Value::as_str).map(|id| id.parse().expect("an id"));
            all.extend(page.messages);
            if !page.more {
                break;
            }
            after = last;
        }
        let ids: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
        assert_eq!(ids.len(), 12);
        assert!(ids.is_sorted(), "{ids:?}");
    });
}

#[test]
fn domains_of_all_shards_come_by_name_and_what_they_have_in_common_is_added() {
    with_shards(3, 4, async |desk| {
        for limit in [1, 2, 5, 13, 20] {
            let (mut all, mut after) = (Vec::new(), None);
            loop {
                let page = desk.domains(&Domains::default(), after.as_deref(), limit).await.expect("a page");
                after = page.domains.last().map(|waiting| waiting.domain.to_string());
                all.extend(page.domains);
                if !page.more {
                    break;
                }
            }
            assert_eq!(all.len(), 13, "pages of {limit}");
            assert!(all.is_sorted_by(|a, b| a.domain < b.domain), "{all:?}");
            assert_eq!((&*all[0].domain, all[0].recipients, all[0].due), ("0.all.test", 6, 3));
            assert_eq!(all[1], waiting("0.shard0.test"));
        }
    });
}

#[test]
fn shards_that_do_not_take_what_they_are_told_are_named() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let (ports, inlet) = mesh(3, 1, 1);
    let desk = Desk::new(inlet);
    runtime.block_on(async {
        let drain = || Crossing::Drain(Duration::ZERO);
        assert!(desk.tell(vec![1], drain).await.is_empty());
        // Shard 1 has no room for a second one before it has taken the first.
        assert_eq!(desk.tell(vec![0, 1, 2], drain).await, [1]);
        assert!(matches!(ports[1].receive().await, (None, Crossing::Drain(_))));
        assert!(desk.tell(vec![1], drain).await.is_empty());
    });
}

#[test]
fn only_the_shard_of_an_id_is_asked_for_it() {
    with_shards(3, 4, async |desk| {
        assert!(desk.show(MessageId::new(2, 4)).await.expect("an answer").is_some());
        assert_eq!(desk.show(MessageId::new(2, 5)).await, Ok(None));
        assert_eq!(desk.show(MessageId::new(3, 1)).await, Ok(None));
        let one = Selection { id: Some(MessageId::new(1, 1)), ..Selection::default() };
        assert_eq!(desk.count(&one).await, Ok(4));
        let none = Selection { id: Some(MessageId::new(7, 1)), ..Selection::default() };
        assert_eq!(desk.count(&none).await, Ok(0));
        assert_eq!(desk.list(&none, None, 10).await.map(|page| page.messages.len()), Ok(0));
    });
}

#[test]
fn counts_of_all_shards_are_added_and_a_failure_names_its_shard() {
    with_shards(3, 4, async |desk| {
        let all = Selection::default();
        assert_eq!(desk.count(&all).await, Ok(12));
        assert_eq!(desk.change(Change::Hold, &all).await, Ok(12));
        let failed = desk.change(Change::Bounce, &all).await.expect_err("shard 1 fails");
        assert_eq!(failed.to_string(), "shard 1: the disk is full");
        assert_eq!(desk.metrics().await.map(|all| all.len()), Ok(3));
    });
}

#[test]
fn the_counters_are_seen_while_all_turns_are_taken() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let (ports, inlet) = mesh(2 * ORDERS_MAX, 1, 2);
    let desk = Desk::new(inlet);
    // Every shard is busy with a change for ever, and still gives its counters.
    let busy = |port: Port<Crossing>| async move {
        let mut changes = Vec::new();
        loop {
            let (_, Crossing::Order(order, answer)) = port.receive().await else { continue };
            match *order {
                Order::Metrics => drop(answer.send(Report::Metrics(vec![("queued", 1)]))),
                _ => changes.push(answer),
            }
        }
    };
    let local = tokio::task::LocalSet::new();
    for port in ports {
        local.spawn_local(busy(port));
    }
    let looking = async {
        for _ in 0..2 * ORDERS_MAX {
            let desk = desk.clone();
            tokio::task::spawn_local(async move { desk.change(Change::Bounce, &Selection::default()).await });
        }
        while desk.turns.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(desk.metrics().await.map(|all| all.len()), Ok(2 * ORDERS_MAX));
    };
    runtime.block_on(local.run_until(looking));
}

#[test]
fn a_shard_that_has_ended_is_told_apart() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let (ports, inlet) = mesh(1, 1, 2);
    let desk = Desk::new(inlet);
    let end_with_the_order = async {
        let received = ports[0].receive().await;
        drop(received);
    };
    let everything = Selection::default();
    let (answer, ()) = runtime.block_on(futures::future::join(desk.count(&everything), end_with_the_order));
    assert_eq!(answer, Err(Trouble::Stopping));
}
