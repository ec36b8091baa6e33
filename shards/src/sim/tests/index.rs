//! The index on a simulated disk: commits that are there or not, and never half.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use crate::Reactor;
use crate::index::{Batch, Error, Index, Table};
use crate::sim::{DiskBehaviour, Simulation};

const ROWS: Table = Table(0);
const MARKS: Table = Table(1);

async fn open(reactor: &Reactor) -> Index {
    Index::open(reactor, Path::new("index"), &["rows", "marks"]).await.expect("it can be opened")
}

fn put(table: Table, key: u8, value: u8) -> (Table, Vec<u8>, Option<Vec<u8>>) {
    (table, vec![key], Some(vec![value]))
}

/// Commits batch after batch, each of which writes its number in three places of two tables.
async fn commit_for_ever(reactor: Reactor, committed: Rc<Cell<u8>>) {
    let index = open(&reactor).await;
    for number in 1..=u8::MAX {
        let batch = Batch { changes: vec![put(ROWS, 1, number), put(ROWS, 2, number), put(MARKS, 1, number)] };
        index.commit(batch).await.expect("the disk is good");
        committed.set(number);
    }
}

#[test]
fn a_commit_is_whole_or_not_there_and_stays_once_it_returned() {
    let mut was_in_doubt = 0;
    for seed in 0..50 {
        let simulation = Simulation::new(seed);
        let node = simulation.node("node");
        let committed = Rc::new(Cell::new(0));
        node.spawn(|reactor| commit_for_ever(reactor, committed.clone()));
        simulation.run_for(Duration::from_micros(2_000 + simulation.dice().below(50_000) as u64));
        node.crash();
        let values = simulation.run(&node, |reactor| async move {
            let index = open(&reactor).await;
            let value = |table, key| index.get(table, &[key]).expect("the disk is good").map_or(0, |value| value[0]);
            [value(ROWS, 1), value(ROWS, 2), value(MARKS, 1)]
        });
        assert!(values.iter().all(|value| *value == values[0]), "half a commit: {values:?}");
        assert!([committed.get(), committed.get() + 1].contains(&values[0]), "{values:?} after {}", committed.get());
        was_in_doubt += u32::from(values[0] > committed.get());
    }
    assert!((5..45).contains(&was_in_doubt), "{was_in_doubt} of 50");
}

#[test]
fn rows_are_scanned_in_order_and_deleted_ones_are_gone() {
    let simulation = Simulation::new(1);
    let node = simulation.node("node");
    simulation.run(&node, |reactor| async move {
        let index = open(&reactor).await;
        let changes =
            vec![put(ROWS, 5, 50), put(ROWS, 1, 10), put(ROWS, 3, 30), put(ROWS, 4, 40), (ROWS, vec![4], None)];
        index.commit(Batch { changes }).await.expect("the disk is good");
        let mut seen = Vec::new();
        let mut visit = |key: &[u8], _: &[u8]| {
            seen.push(key[0]);
            seen.len() < 2
        };
        index.scan(ROWS, &[2], &mut visit).expect("the disk is good");
        assert_eq!(seen, [3, 5]);
        assert_eq!(index.len(ROWS).expect("the disk is good"), 3);
        assert_eq!(index.len(MARKS).expect("the disk is good"), 0);
    });
}

#[test]
fn a_full_disk_refuses_a_commit_and_changes_nothing() {
    let simulation = Simulation::new(2);
    let node = simulation.node("node");
    let index = simulation.run(&node, |reactor| async move { open(&reactor).await });
    node.set_disk(DiskBehaviour { capacity_bytes: 10, ..DiskBehaviour::default() });
    let full = {
        let index = index.clone();
        simulation.run(&node, |_| async move { index.commit(Batch { changes: vec![put(ROWS, 1, 1)] }).await })
    };
    assert!(matches!(full, Err(Error::Full)));
    node.set_disk(DiskBehaviour::default());
    simulation.run(&node, |_| async move {
        assert_eq!(index.get(ROWS, &[1]).expect("the disk is good"), None);
        index.commit(Batch { changes: vec![put(ROWS, 1, 1)] }).await.expect("there is room again");
        assert_eq!(index.get(ROWS, &[1]).expect("the disk is good"), Some(vec![1]));
    });
}
