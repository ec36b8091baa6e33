//! Very many destinations at once, of which one in twenty is dead: those that live hardly notice. Two thousand of them;
//! ten thousand in the long form (`RINGPOST_FULL=1`).

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use shards::Instant;
use shards::sim::{Link, Simulation};

use crate::mail::submit;
use crate::provider::{self, Provider};
use crate::resolver::Resolver;
use crate::server::Server;

const DESTINATIONS: usize = 2_000;
const DESTINATIONS_FULL: usize = 10_000;
/// One in so many is dead.
const DEAD_SHARE: usize = 20;
const CLIENTS: usize = 40;
/// As many as a real server has.
const CREDITS: usize = 256;
const PATIENCE: Duration = Duration::from_secs(300);

/// The median time from acceptance to delivery at the destinations that live in any case. A dead one does not answer at all.
fn median_latency(destinations: usize, some_are_dead: bool) -> Duration {
    let simulation = Simulation::new(1);
    let node = simulation.node("ringpost");
    let (alive, dead) = (simulation.node("alive"), simulation.node("dead"));
    simulation.set_link(&node, &dead, Link { unanswered: 1.0, ..Link::default() });
    let provider = Provider::new(1e9, 1e9, usize::MAX);
    let (serving, address) = (provider.clone(), SocketAddr::new(alive.address(), 25));
    alive.spawn(|reactor| provider::serve(serving, reactor, address));
    let is_dead = |number: usize| some_are_dead && number.is_multiple_of(DEAD_SHARE);
    let host = |number: usize| {
        let address = if is_dead(number) { dead.address() } else { alive.address() };
        (format!("{number}.test"), vec![(format!("mx.{number}.test"), address)])
    };
    let domains = Rc::new((0..destinations).map(host).collect());
    let server = Server::configured(node, Resolver { domains, servfail_percent: Rc::default() }, 2, "");
    let server = server.with_credits(CREDITS);
    server.start();
    let clients = (0..CLIENTS).map(|client| {
        let recipients = (client..destinations).step_by(CLIENTS).map(|number| format!("r@{number}.test"));
        let (accepted, to): (Rc<RefCell<Vec<Instant>>>, _) = (Rc::default(), server.address());
        let told = accepted.clone();
        let recipients: Vec<String> = recipients.collect();
        simulation.node(&format!("client {client}")).spawn(|reactor| submit(reactor, to, recipients, told));
        accepted
    });
    let accepted: Vec<_> = clients.collect();
    simulation.run_for(PATIENCE);
    let taken: HashMap<String, _> = provider.borrow().taken.iter().cloned().collect();
    let healthy = (0..destinations).filter(|number| !number.is_multiple_of(DEAD_SHARE));
    let latency = |number: usize| {
        let accepted = accepted[number % CLIENTS].borrow()[number / CLIENTS];
        taken.get(&format!("r@{number}.test")).expect("it was delivered in time").since(accepted)
    };
    let mut latencies: Vec<Duration> = healthy.map(latency).collect();
    latencies.sort_unstable();
    latencies[latencies.len() / 2]
}

#[test]
fn one_in_twenty_that_is_dead_does_not_slow_the_others() {
    let is_full = std::env::var_os("RINGPOST_FULL").is_some();
    let destinations = if is_full { DESTINATIONS_FULL } else { DESTINATIONS };
    let (without, with) = (median_latency(destinations, false), median_latency(destinations, true));
    println!("median latency: {without:?} without dead destinations, {with:?} with them");
    assert!(with <= 2 * without, "{with:?} instead of {without:?}");
}
