//! Disks: what survives a crash, and what happens when they are full or broken.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use crate::file::{Directory, File};
use crate::sim::{DiskBehaviour, Node, Simulation};
use crate::{Reactor, file};

const DIRECTORY: &str = "data";
const FILE: &str = "file";
const SECTOR_BYTES: usize = 512;

async fn open(reactor: &Reactor) -> Directory {
    Directory::open(reactor, Path::new(DIRECTORY)).await.expect("a directory can always be made")
}

/// A file of `bytes` zeros whose name is durable.
async fn make(reactor: &Reactor, bytes: u64) -> File {
    let directory = open(reactor).await;
    let file = directory.create(FILE, bytes).await.expect("there is room");
    directory.sync().await.expect("the disk is good");
    file
}

fn content(simulation: &Simulation, node: &Node) -> Option<Vec<u8>> {
    simulation.run(node, |reactor| async move {
        let file = open(&reactor).await.open_file(FILE).await.ok()?;
        let bytes = file.bytes().await.expect("it is open");
        Some(file.read(0, bytes as usize).await.expect("it is open"))
    })
}

#[test]
fn what_was_flushed_survives_a_crash_and_reads_back() {
    for seed in 0..50 {
        let simulation = Simulation::new(seed);
        let node = simulation.node("node");
        simulation.run(&node, |reactor| async move {
            let file = make(&reactor, 8192).await;
            let (buffer, written) = file.write_synced(100, vec![1; 3000].into()).await;
            written.expect("the disk is good");
            assert_eq!(buffer.len(), 3000, "the buffer comes back");
        });
        node.crash();
        let content = content(&simulation, &node).expect("its name was synced");
        assert_eq!(content.len(), 8192);
        assert!(content[100..3100].iter().all(|byte| *byte == 1));
        assert!(content[..100].iter().chain(&content[3100..]).all(|byte| *byte == 0));
    }
}

#[test]
fn what_was_not_flushed_is_lost_kept_or_torn_at_sectors() {
    let mut fates = BTreeSet::new();
    for seed in 0..100 {
        let simulation = Simulation::new(seed);
        let node = simulation.node("node");
        let file = simulation.run(&node, |reactor| async move { make(&reactor, 8192).await });
        simulation.run(&node, |reactor| async move {
            let slow = file.write_synced(0, vec![1; 8 * SECTOR_BYTES].into());
            let _ = reactor.timeout(Duration::from_micros(300), slow).await;
        });
        node.crash();
        let content = content(&simulation, &node).expect("its name was synced");
        let sectors: Vec<u8> = content.chunks(SECTOR_BYTES).map(|sector| sector[0]).collect();
        assert!(content.chunks(SECTOR_BYTES).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        let kept = sectors.iter().filter(|first| **first == 1).count();
        fates.insert(match kept {
            0 => "lost",
            8 => "kept",
            _ => "torn",
        });
    }
    assert_eq!(fates.into_iter().collect::<Vec<_>>(), ["kept", "lost", "torn"]);
}

#[test]
fn what_a_killed_process_wrote_is_there_until_the_power_is_cut() {
    let mut lost = 0;
    for seed in 0..50 {
        let simulation = Simulation::new(seed);
        let node = simulation.node("node");
        let file = simulation.run(&node, |reactor| async move { make(&reactor, 4096).await });
        node.set_disk(DiskBehaviour { lies_about_flush: true, ..DiskBehaviour::default() });
        simulation.run(&node, |_| async move { file.write_synced(0, vec![1; 10].into()).await.1.expect("so it says") });
        node.kill();
        assert_eq!(content(&simulation, &node).expect("it is there")[0], 1);
        node.crash();
        lost += u32::from(content(&simulation, &node).expect("its name was synced")[0] == 0);
    }
    assert!(lost > 5, "{lost} of 50");
}

#[test]
fn a_name_that_was_not_synced_may_be_gone() {
    let mut found = BTreeSet::new();
    for seed in 0..30 {
        let simulation = Simulation::new(seed);
        let node = simulation.node("node");
        simulation.run(&node, |reactor| async move {
            open(&reactor).await.create(FILE, 4096).await.expect("there is room");
        });
        node.crash();
        found.insert(content(&simulation, &node).is_some());
    }
    assert_eq!(found.len(), 2);
}

#[test]
fn a_removed_file_may_come_back_until_its_directory_is_synced() {
    let mut found = BTreeSet::new();
    for seed in 0..30 {
        let simulation = Simulation::new(seed);
        let node = simulation.node("node");
        simulation.run(&node, |reactor| async move {
            make(&reactor, 4096).await;
            let directory = open(&reactor).await;
            directory.remove(FILE).await.expect("it is there");
            if seed % 2 == 0 {
                directory.sync().await.expect("the disk is good");
            }
        });
        node.crash();
        let is_there = content(&simulation, &node).is_some();
        assert!(!(is_there && seed % 2 == 0), "the removal was synced");
        found.insert(is_there);
    }
    assert_eq!(found.len(), 2);
}

#[test]
fn a_disk_that_lies_about_flushes_loses_what_it_promised() {
    let mut lost = 0;
    for seed in 0..30 {
        let simulation = Simulation::new(seed);
        let node = simulation.node("node");
        let file = simulation.run(&node, |reactor| async move { make(&reactor, 4096).await });
        node.set_disk(DiskBehaviour { lies_about_flush: true, ..DiskBehaviour::default() });
        simulation.run(&node, |_| async move { file.write_synced(0, vec![1; 10].into()).await.1.expect("so it says") });
        node.crash();
        lost += u32::from(content(&simulation, &node).expect("its name was synced")[0] == 0);
    }
    assert!(lost > 5, "{lost} of 30");
}

#[test]
fn a_full_disk_refuses_until_there_is_room_again() {
    let simulation = Simulation::new(1);
    let node = simulation.node("node");
    node.set_disk(DiskBehaviour { capacity_bytes: 64 * 1024, ..DiskBehaviour::default() });
    simulation.run(&node, |reactor| async move {
        let directory = open(&reactor).await;
        let first = directory.create("first", 40 * 1024).await.expect("it fits");
        let full = directory.create("second", 40 * 1024).await.err().map(|error| error.kind());
        assert_eq!(full, Some(ErrorKind::StorageFull));
        assert_eq!(
            directory.list().await.expect("it is open"),
            [file::Entry { name: "first".into(), bytes: 40 * 1024 }]
        );
        first.erase(vec![0..8192, 8192..20 * 1024]).await.expect("the disk is good");
        assert!(directory.create("second", 40 * 1024).await.is_ok(), "erased blocks are free");
        let full = first.write_synced(0, vec![1; 8192].into()).await.1.err().map(|error| error.kind());
        assert_eq!(full, Some(ErrorKind::StorageFull), "the hole has no blocks any more");
        directory.remove("second").await.expect("it is there");
        first.write_synced(0, vec![1; 8192].into()).await.1.expect("there is room again");
    });
}

#[test]
fn a_removed_file_uses_space_until_it_is_closed() {
    let simulation = Simulation::new(2);
    let node = simulation.node("node");
    let file = simulation.run(&node, |reactor| async move {
        let file = make(&reactor, 8192).await;
        open(&reactor).await.remove(FILE).await.expect("it is there");
        file
    });
    assert_eq!(node.disk_bytes(), 8192);
    drop(file);
    assert_eq!(node.disk_bytes(), 0);
}

#[test]
fn a_failing_flush_is_reported() {
    let simulation = Simulation::new(3);
    let node = simulation.node("node");
    let file = simulation.run(&node, |reactor| async move { make(&reactor, 4096).await });
    node.set_disk(DiskBehaviour { flush_fails: 1.0, ..DiskBehaviour::default() });
    let failed = simulation.run(&node, |_| async move { file.write_synced(0, vec![1].into()).await.1 });
    assert!(failed.is_err());
}

#[test]
fn erased_bytes_read_as_zeros_and_stay_so() {
    let simulation = Simulation::new(4);
    let node = simulation.node("node");
    simulation.run(&node, |reactor| async move {
        let file = make(&reactor, 16 * 1024).await;
        file.write_synced(0, vec![1; 16 * 1024].into()).await.1.expect("the disk is good");
        file.erase(vec![1000..9000, 9000..10_000]).await.expect("the disk is good");
    });
    assert_eq!(node.disk_bytes(), 16 * 1024 - 4096);
    node.crash();
    let content = content(&simulation, &node).expect("its name was synced");
    assert!(content.iter().enumerate().all(|(at, byte)| (*byte == 0) == (1000..10_000).contains(&at)));
}

#[test]
fn a_write_goes_on_after_its_caller_gave_up() {
    let simulation = Simulation::new(5);
    let node = simulation.node("node");
    let file = simulation.run(&node, |reactor| async move { make(&reactor, 4096).await });
    simulation.run(&node, |reactor| async move {
        let _gave_up = reactor.timeout(Duration::ZERO, file.write_synced(0, vec![1; 10].into())).await;
        reactor.sleep(Duration::from_secs(1)).await;
    });
    node.crash();
    assert_eq!(content(&simulation, &node).expect("its name was synced")[0], 1);
}

#[test]
fn a_crash_in_the_middle_of_creating_leaves_a_short_file_or_none() {
    let mut lengths = BTreeSet::new();
    for seed in 0..30 {
        let simulation = Simulation::new(seed);
        let node = simulation.node("node");
        let began = Rc::new(Cell::new(false));
        let flag = began.clone();
        node.spawn(|reactor| async move {
            let directory = open(&reactor).await;
            flag.set(true);
            let _never_made = directory.create(FILE, 1 << 20).await;
        });
        simulation.run_until("it begins", Duration::from_secs(1), || began.get()).expect("it begins");
        simulation.run_for(Duration::from_micros(500));
        node.crash();
        lengths.insert(content(&simulation, &node).map(|content| content.len()));
    }
    assert!(lengths.contains(&None) && lengths.len() > 5);
}
