//! The instruments without what they measure: clients and destinations that speak to each other directly.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringpost::smtp::server::Settings;
use shards::sim::{Link, Simulation};

use crate::client::Client;
use crate::destination::{Destination, Trouble, settings};
use crate::limits::SUBMITTED_BYTES_MAX;
use crate::mail::Volume;
use crate::oracle::{Oracle, Shared, Tally};

const MESSAGES: u32 = 60;

/// Two clients submit everything to one destination; what the oracle makes of it.
fn run(seed: u64, trouble: Trouble, link: Link) -> (Tally, u64) {
    let simulation = Simulation::new(seed);
    simulation.set_links(link);
    let oracle: Shared = Rc::new(RefCell::new(Oracle::default()));
    let node = simulation.node("destination");
    let address = SocketAddr::new(node.address(), 25);
    let trouble = Rc::new(Cell::new(trouble));
    let settings = (*settings("mx.one.test")).clone();
    let settings = Arc::new(Settings { message_bytes_max: SUBMITTED_BYTES_MAX as u64, ..settings });
    let destination = Destination { oracle: oracle.clone(), trouble, settings, ledger: None };
    node.spawn(|reactor| destination.serve(reactor, address));
    let next_message = Rc::new(Cell::new(0));
    for name in ["client 1", "client 2"] {
        simulation.node(name).spawn(|reactor| {
            let client = Client {
                reactor,
                server: address,
                oracle: oracle.clone(),
                domains: ["one.test".to_owned()].into(),
                next_message: next_message.clone(),
                messages_max: MESSAGES,
                volume: Volume::Usual,
            };
            client.run()
        });
    }
    let checked = oracle.clone();
    simulation.at_every_tick(move || checked.borrow().check());
    simulation
        .run_until("all are submitted", Duration::from_secs(24 * 3600), || next_message.get() == MESSAGES)
        .expect("clients do not give up");
    simulation.run_for(Duration::from_secs(3600));
    let tally = oracle.borrow().check_at_end().expect("a destination keeps what it took");
    (tally, simulation.trace())
}

#[test]
fn without_trouble_everything_is_taken_once() {
    let (tally, _) = run(1, Trouble::default(), Link::default());
    assert!(tally.acknowledged > MESSAGES as usize, "{tally:?}");
    assert_eq!(tally, Tally { delivered: tally.acknowledged, ..tally.clone() });
}

#[test]
fn with_trouble_what_was_promised_was_taken() {
    for seed in 0..10 {
        let link = Link { reset: 0.01, stall: 0.01, unanswered: 0.05, ..Link::default() };
        let (tally, _) = run(seed, Trouble::LIVELY, link);
        assert!(tally.acknowledged > MESSAGES as usize / 2, "{tally:?}");
    }
}

#[test]
fn one_seed_is_one_run() {
    let traced = |seed| run(seed, Trouble::LIVELY, Link::default());
    assert_eq!(traced(5), traced(5));
    assert_ne!(traced(5).1, traced(6).1);
}
