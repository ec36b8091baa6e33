//! The journal on a disk that is cut off again and again: what it promised is there, and nothing that it did not get.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use crate::Reactor;
use crate::journal::{Class, Commit, Error, Journal, Options, Position};
use crate::sim::{DiskBehaviour, Node, Simulation};

const SEEDS: u64 = 200;
const CRASHES: u64 = 6;
const OPTIONS: Options = Options { segment_bytes: 16 * 1024, reserve_bytes: 4096, pending_bytes_max: 32 * 1024 };

/// Few sizes, so that a frame of one life fits exactly where one of an earlier life was torn; one larger than a segment.
const PAYLOAD_BYTES: [usize; 6] = [0, 1, 100, 488, 3000, 20_000];

/// What was appended, and how much of it is promised.
#[derive(Default)]
struct Oracle {
    frames: Vec<(Position, Vec<u8>)>,
    durable_count: usize,
    life: u64,
}

impl Oracle {
    /// What a replay found: everything that was promised and perhaps more, but nothing else.
    fn check(&mut self, replayed: Vec<(Position, Vec<u8>)>) {
        assert!(replayed.len() >= self.durable_count, "lost: {} of {}", replayed.len(), self.durable_count);
        assert!(replayed.len() <= self.frames.len(), "invented: {:?}", replayed.last().map(|frame| frame.0));
        for (at, (found, appended)) in replayed.iter().zip(&self.frames).enumerate() {
            assert_eq!(found.0, appended.0, "frame {at} is elsewhere");
            assert!(found.1 == appended.1, "frame {at} is not what was appended");
        }
        self.durable_count = replayed.len();
        self.frames = replayed;
        self.life += 1;
    }
}

async fn open(reactor: &Reactor) -> (Result<Journal, Error>, Vec<(Position, Vec<u8>)>) {
    let mut replayed = Vec::new();
    let mut replay = |position, payload: &[u8]| replayed.push((position, payload.to_vec()));
    let opened = Journal::open(reactor, Path::new("journal"), OPTIONS, Position::default(), &mut replay).await;
    (opened, replayed)
}

/// Opens the journal, checks what is there and appends until it is stopped.
async fn live(reactor: Reactor, oracle: Rc<RefCell<Oracle>>) {
    let (journal, replayed) = open(&reactor).await;
    let journal = journal.expect("a crash is not damage");
    oracle.borrow_mut().check(replayed);
    loop {
        let bytes = PAYLOAD_BYTES[reactor.random() as usize % PAYLOAD_BYTES.len()];
        if journal.room(bytes, Class::Ordinary).await.is_err() {
            reactor.sleep(Duration::from_millis(10)).await;
            continue;
        }
        append(&reactor, &journal, &oracle, bytes);
        match reactor.random() % 8 {
            0 => reactor.sleep(Duration::from_micros(reactor.random() % 5000)).await,
            1 => read_one_back(&reactor, &journal, &oracle).await,
            _ => {}
        }
    }
}

fn append(reactor: &Reactor, journal: &Journal, oracle: &Rc<RefCell<Oracle>>, bytes: usize) {
    let number = oracle.borrow().frames.len();
    // The life tells a frame from what an earlier life wrote, and lost, in its place.
    let mut payload = vec![oracle.borrow().life as u8 ^ (number as u8).rotate_left(4); bytes];
    payload.iter_mut().zip(reactor.random().to_le_bytes()).for_each(|(byte, random)| *byte = random);
    let (head, tail) = payload.split_at(bytes / 3);
    match journal.append(&[head, tail], Class::Ordinary) {
        Ok((position, commit)) => {
            oracle.borrow_mut().frames.push((position, payload));
            reactor.spawn(note_durable(commit, number, oracle.clone())).detach();
        }
        Err(full) => panic!("there was room: {full}"),
    }
}

async fn note_durable(commit: Commit, number: usize, oracle: Rc<RefCell<Oracle>>) {
    commit.durable().await.expect("the disk is good");
    let durable_count = &mut oracle.borrow_mut().durable_count;
    *durable_count = (*durable_count).max(number + 1);
}

async fn read_one_back(reactor: &Reactor, journal: &Journal, oracle: &Rc<RefCell<Oracle>>) {
    let (position, payload) = {
        let oracle = oracle.borrow();
        oracle.frames[reactor.random() as usize % oracle.frames.len()].clone()
    };
    let skip = payload.len() / 2;
    let read = journal.read(position, skip as u32, (payload.len() - skip) as u32).await.expect("the disk is good");
    assert!(read == payload[skip..], "what was appended reads back");
}

/// Several lives of one node, each ended by a power cut or a kill; how many frames were promised in all.
fn lives(seed: u64, behaviour: DiskBehaviour) -> usize {
    let simulation = Simulation::new(seed);
    let node = simulation.node("node");
    node.set_disk(behaviour);
    let oracle = Rc::new(RefCell::new(Oracle::default()));
    for _ in 0..CRASHES {
        node.spawn(|reactor| live(reactor, oracle.clone()));
        simulation.run_for(Duration::from_micros(simulation.dice().below(60_000) as u64));
        match simulation.dice().below(3) {
            // What a killed process had not flushed is there at the next start, and lost if the power goes then.
            0 => node.kill(),
            _ => node.crash(),
        }
    }
    check_at_rest(&simulation, &node, &oracle)
}

/// A last opening, without any trouble.
fn check_at_rest(simulation: &Simulation, node: &Node, oracle: &Rc<RefCell<Oracle>>) -> usize {
    let (journal, replayed) = simulation.run(node, |reactor| async move {
        let (journal, replayed) = open(&reactor).await;
        (journal.map(drop), replayed)
    });
    journal.expect("a crash is not damage");
    oracle.borrow_mut().check(replayed);
    oracle.borrow().durable_count
}

#[test]
fn no_durable_frame_is_lost_and_none_is_invented() {
    let durable_count: usize = (0..SEEDS).map(|seed| lives(seed, DiskBehaviour::default())).sum();
    assert!(durable_count > 50 * SEEDS as usize, "the test does something: {durable_count} frames");
}

#[test]
fn a_disk_that_fills_up_loses_nothing_either() {
    let small = DiskBehaviour { capacity_bytes: 150 * 1024, ..DiskBehaviour::default() };
    let durable_count: usize = (1000..1000 + SEEDS / 4).map(|seed| lives(seed, small.clone())).sum();
    assert!(durable_count > 10 * (SEEDS / 4) as usize, "the test does something: {durable_count} frames");
}

#[test]
fn one_seed_is_one_run_of_the_journal_too() {
    let trace = || {
        let simulation = Simulation::new(77);
        let node = simulation.node("node");
        let oracle = Rc::new(RefCell::new(Oracle::default()));
        node.spawn(|reactor| live(reactor, oracle.clone()));
        simulation.run_for(Duration::from_millis(50));
        simulation.trace()
    };
    assert_eq!(trace(), trace());
}

#[test]
#[should_panic(expected = "lost:")]
fn the_oracle_notices_a_disk_that_lies() {
    for seed in 0..SEEDS {
        let simulation = Simulation::new(seed);
        let node = simulation.node("node");
        let oracle = Rc::new(RefCell::new(Oracle::default()));
        node.spawn(|reactor| live(reactor, oracle.clone()));
        simulation.run_for(Duration::from_millis(20));
        node.set_disk(DiskBehaviour { lies_about_flush: true, ..DiskBehaviour::default() });
        simulation.run_for(Duration::from_millis(5));
        node.crash();
        node.set_disk(DiskBehaviour::default());
        check_at_rest(&simulation, &node, &oracle);
    }
}

/// How long after a batch of `crowd` frames one more frame is durable, of `announced` that are under way and never come.
fn time_to_flush(crowd: u32, announced: usize, all_come: bool) -> Duration {
    let simulation = Simulation::new(1);
    let node = simulation.node("shard");
    simulation.run(&node, async move |reactor| {
        let (journal, _) = open(&reactor).await;
        let journal = journal.expect("a new journal");
        let append = |payload: &[u8]| journal.append(&[payload], Class::Ordinary).expect("room").1;
        let crowd: Vec<Commit> = (0..crowd).map(|n| append(&n.to_le_bytes())).collect();
        let mut expected: Vec<_> = (0..announced).map(|_| journal.expect()).collect();
        for commit in crowd {
            commit.durable().await.expect("a flush");
        }
        let begun = reactor.now();
        let one_more = append(b"one more");
        if all_come {
            expected.clear();
        }
        one_more.durable().await.expect("a flush");
        reactor.now().since(begun)
    })
}

#[test]
fn a_crowd_waits_for_what_is_announced_but_not_for_long() {
    let at_once = time_to_flush(16, 0, true);
    assert_eq!(time_to_flush(15, 1, false), at_once, "few do not wait for others");
    assert_eq!(time_to_flush(16, 9, true), at_once, "nobody is left to wait for");
    let waited = time_to_flush(16, 1, false);
    assert!(waited > at_once && waited <= at_once + Duration::from_millis(6), "{waited:?}, at once {at_once:?}");
}
