//! A whole server in bad weather: links that break, destinations that do anything, DNS that fails, disks that fill, power
//! that goes. Then the weather clears, and everything that was promised must have come true.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::panic::catch_unwind;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringpost::config::Uncertain;
use ringpost::smtp::server::Settings;
use shards::sim::{DiskBehaviour, Link, Node, Simulation};

use crate::client::Client;
use crate::destination::{self, Destination, Trouble};
use crate::limits::{self, Group, Ledger};
use crate::mail::Volume;
use crate::oracle::{Oracle, Shared, Tally};
use crate::resolver::Resolver;
use crate::seeds;
use crate::server::Server;

/// Seeds that have found something once.
const KEPT: &[u64] = &[];

/// The same of runs on a failing disk.
const KEPT_FAILING: &[u64] = &[
    79, // a note before the final dot waited for room in a failed journal without ever letting the shard end
    // The oracle took for known what only a dead process had heard: its words reached the destination after its death.
    // (The draws have shifted since; the oracle's own tests hold the case.)
    959,
];

const MESSAGES: u32 = 200;
const CLIENTS: usize = 4;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Of all messages, those at which a destination complains that it is too much.
const COMPLAINTS: f64 = 0.04;

/// Within this time after the weather has cleared the queue must be empty.
const CALM: Duration = Duration::from_secs(12 * 3600);

/// What may go wrong in a run.
#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    /// Power cuts and kills of the server, at most.
    deaths_max: usize,
    /// Resets, stalls, silence, everywhere.
    links_break: bool,
    /// Destinations refuse, defer, reset, stall.
    destinations_misbehave: bool,
    /// Destinations say that it is too much.
    destinations_complain: bool,
    /// Questions that meet SERVFAIL, in percent.
    servfail_percent: u64,
    /// The server's disk is full now and then.
    disk_fills: bool,
    /// Flushes fail now and then.
    disk_fails: bool,
    /// The server's disk does not flush, and says that it does.
    disk_lies: bool,
}

const FAIR: Weather = Weather {
    deaths_max: 0,
    links_break: false,
    destinations_misbehave: false,
    destinations_complain: false,
    servfail_percent: 0,
    disk_fills: false,
    disk_fails: false,
    disk_lies: false,
};

const STORM: Weather = Weather {
    deaths_max: 4,
    links_break: true,
    destinations_misbehave: true,
    destinations_complain: false,
    servfail_percent: 10,
    disk_fills: true,
    disk_fails: false,
    disk_lies: false,
};

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    tally: Tally,
    trace: u64,
    /// How often the server's storage failed, and the process ended of itself.
    failures: u32,
}

struct World {
    simulation: Simulation,
    oracle: Shared,
    server: Server,
    trouble: Rc<Cell<Trouble>>,
    servfail_percent: Rc<Cell<u64>>,
    next_message: Rc<Cell<u32>>,
    failures: Cell<u32>,
    ledger: limits::Shared,
}

impl World {
    fn new(seed: u64) -> World {
        let simulation = Simulation::new(seed);
        let oracle: Shared = Rc::new(RefCell::new(Oracle::default()));
        let node = simulation.node("ringpost");
        let trouble = Rc::new(Cell::new(Trouble::default()));
        let hosts: Vec<Node> = (1..=4).map(|number| simulation.node(&format!("mx{number}"))).collect();
        let ledger = Ledger::new(simulation.wire(), simulation.wall());
        let settings = |host: &Node, (recipients_max, messages_max, message_bytes_max)| {
            let settings = destination::settings(&host.name());
            Arc::new(Settings { recipients_max, messages_max, message_bytes_max, ..(*settings).clone() })
        };
        // Of each there is one that is below our own limit, and one above.
        let offers = [(100, 20, 1 << 20), (20, 20, 1 << 20), (1000, 5, 250_000), (100, 20, 1 << 20)];
        let groups = [Group::Provider, Group::Provider, Group::Provider, Group::Other];
        for ((host, group), offers) in hosts.iter().zip(groups).zip(offers) {
            let destination = Destination {
                oracle: oracle.clone(),
                trouble: trouble.clone(),
                settings: settings(host, offers),
                ledger: Some((ledger.clone(), group)),
            };
            let address = SocketAddr::new(host.address(), 25);
            host.spawn(|reactor| destination.serve(reactor, address));
        }
        let host = |number: usize| (format!("mx{number}.hosts.test"), hosts[number - 1].address());
        let zone = [
            ("one.test", vec![host(1), host(2)]),
            ("two.test", vec![host(2)]),
            ("three.test", vec![host(3), host(1), host(2)]),
            ("senders.test", vec![host(4)]),
        ];
        let servfail_percent = Rc::new(Cell::new(0));
        let resolver = Resolver {
            domains: Rc::new(zone.map(|(domain, hosts)| (domain.to_owned(), hosts)).into_iter().collect()),
            servfail_percent: servfail_percent.clone(),
        };
        let uncertain = [Uncertain::Retry, Uncertain::Hold][simulation.dice().below(2)];
        oracle.borrow_mut().set_holds_uncertain(uncertain == Uncertain::Hold);
        let server = Server::new(node, resolver, 2 + simulation.dice().below(2), uncertain, simulation.wall());
        let (log, told) = (server.log(), ledger.clone());
        simulation.node("console").spawn(|_| seeds::read(log, move |lines| told.borrow_mut().learned.read(lines)));
        let checked = (oracle.clone(), ledger.clone());
        simulation.at_every_tick(move || checked.0.borrow().check().and_then(|()| checked.1.borrow().check()));
        World {
            simulation,
            oracle,
            server,
            trouble,
            servfail_percent,
            next_message: Rc::default(),
            failures: Cell::new(0),
            ledger,
        }
    }

    /// The server is about to be, or was, torn from its connections.
    fn crashed(&self) {
        self.oracle.borrow_mut().crashed(self.simulation.now());
        self.ledger.borrow_mut().learned.died(self.simulation.wall().as_millis());
    }

    fn start_clients(&self) {
        self.start_clients_for(MESSAGES);
    }

    /// They submit until there were so many messages.
    fn start_clients_for(&self, messages_max: u32) {
        for number in 0..CLIENTS {
            self.simulation.node(&format!("client {number}")).spawn(|reactor| {
                let client = Client {
                    reactor,
                    server: self.server.address(),
                    oracle: self.oracle.clone(),
                    domains: ["one.test", "two.test", "three.test", "gone.test"].map(str::to_owned).into(),
                    next_message: self.next_message.clone(),
                    messages_max,
                    volume: Volume::Usual,
                };
                client.run()
            });
        }
    }

    fn rise(&self, weather: &Weather) {
        if weather.links_break {
            self.simulation.set_links(Link { reset: 0.003, stall: 0.003, unanswered: 0.03, ..Link::default() });
        }
        if weather.destinations_misbehave {
            self.trouble.set(Trouble::LIVELY);
        }
        if weather.destinations_complain {
            self.trouble.set(Trouble { complain: COMPLAINTS, ..self.trouble.get() });
        }
        self.servfail_percent.set(weather.servfail_percent);
    }

    /// Some minutes with whatever may happen, several times over.
    fn blow(&self, weather: &Weather) {
        let dice = self.simulation.dice();
        for _ in 0..dice.below(weather.deaths_max + 1) {
            self.pass_up_to(MINUTE);
            self.set_disk(weather);
            self.pass_up_to(MINUTE);
            self.crashed();
            match dice.below(3) {
                0 => self.server.kill(),
                _ => self.server.crash(),
            }
            self.simulation.run_for(Duration::from_millis(dice.below(20_000) as u64));
            self.server.start();
        }
        self.set_disk(weather);
        self.pass_up_to(10 * MINUTE);
    }

    fn pass_up_to(&self, most: Duration) {
        let millis = self.simulation.dice().below(most.as_millis() as usize);
        self.pass(Duration::from_millis(millis as u64));
    }

    /// Time passes; a server that has ended because its storage failed is started again, as a service is.
    fn pass(&self, duration: Duration) {
        let end = self.simulation.now() + duration;
        while self.simulation.now() < end {
            self.simulation.run_for(SECOND.min(end.since(self.simulation.now())));
            let now = self.simulation.wall();
            self.server.look(|shards, report| self.ledger.borrow_mut().told(shards, report, now));
            if self.server.has_failed() {
                self.failures.set(self.failures.get() + 1);
                self.crashed();
                self.server.kill();
                self.server.start();
            }
        }
    }

    fn set_disk(&self, weather: &Weather) {
        let dice = self.simulation.dice();
        // An empty disk that is full from the first moment is a server that cannot start at all.
        let full = dice.below(2) == 0 && weather.disk_fills && self.server.has_started();
        let room = dice.below(1 << 20) as u64;
        let usual = DiskBehaviour {
            lies_about_flush: weather.disk_lies,
            flush_fails: if weather.disk_fails { 0.001 } else { 0.0 },
            ..DiskBehaviour::default()
        };
        let capacity_bytes = if full { self.server.node().disk_bytes() + room } else { usual.capacity_bytes };
        self.server.node().set_disk(DiskBehaviour { capacity_bytes, ..usual });
    }

    /// Nothing goes wrong any more.
    fn clear(&self) {
        self.simulation.set_links(Link::default());
        self.trouble.set(Trouble::default());
        self.servfail_percent.set(0);
        self.server.node().set_disk(DiskBehaviour::default());
    }

    /// Until everything is submitted and the queue is empty.
    fn settle(&self) {
        let end = self.simulation.now() + CALM;
        self.pass(MINUTE);
        self.oracle.borrow_mut().set_holds_uncertain(false);
        self.server.release(&self.simulation);
        loop {
            self.pass(10 * SECOND);
            let queued = self.server.queued(&self.simulation);
            if self.next_message.get() >= MESSAGES && queued == 0 {
                return;
            }
            let now = self.simulation.now();
            assert!(now < end, "{queued} recipients are still queued after {CALM:?} of calm");
        }
    }
}

fn run(seed: u64, weather: &Weather) -> Ended {
    let world = World::new(seed);
    world.server.start();
    world.start_clients();
    world.rise(weather);
    world.blow(weather);
    world.clear();
    world.settle();
    // Conversations end, and nothing more comes.
    world.pass(20 * MINUTE);
    let tally = world.oracle.borrow().check_at_end();
    let ended = Ended {
        tally: tally.unwrap_or_else(|lost| panic!("{lost}")),
        trace: world.simulation.trace(),
        failures: world.failures.get(),
    };
    seeds::say(&format!("{ended:?}"));
    ended
}

#[test]
fn in_fair_weather_everything_arrives_once() {
    let tally = run(1, &FAIR).tally;
    assert_eq!(tally.duplicates, 0);
    assert!(tally.acknowledged > MESSAGES as usize, "{tally:?}");
    assert_eq!(tally.acknowledged, tally.delivered + tally.failed);
}

#[test]
fn both_sources_of_the_pool_are_used_and_no_other() {
    let world = World::new(3);
    world.server.start();
    world.start_clients();
    world.settle();
    assert!(world.ledger.borrow().messages().iter().all(|messages| *messages > 0));
}

#[test]
fn what_is_in_memory_and_what_waits_come_near_their_bounds() {
    let world = World::new(4);
    world.server.start();
    world.start_clients();
    // What stalls on its way stays in memory for a while.
    world.rise(&Weather { links_break: true, ..FAIR });
    world.pass(10 * MINUTE);
    world.clear();
    world.settle();
    let peaks = world.ledger.borrow().peaks();
    assert!(peaks.arriving > 10_000 && peaks.leaving > 100_000 && peaks.waiting > 7_000, "{peaks:?}");
    assert!(peaks.given_up > 0, "{peaks:?}");
}

#[test]
fn whatever_was_promised_comes_true_after_any_storm() {
    seeds::each(KEPT, |seed| {
        let Ended { tally, failures, .. } = run(seed, &STORM);
        assert!(tally.delivered > MESSAGES as usize / 2 && tally.failed > 5, "{tally:?}");
        assert_eq!(failures, 0, "a full disk is no failure");
    });
}

#[test]
fn limits_hold_on_all_shards_together_and_through_restarts() {
    seeds::each(&[], |seed| {
        let weather = Weather { deaths_max: 4, disk_fills: true, ..FAIR };
        assert!(run(seed, &weather).tally.delivered > MESSAGES as usize / 2);
    });
}

/// Runs of what replies make of the limits.
const LEARNING: u64 = 2;

#[test]
fn what_was_learned_of_limits_holds_through_crashes_and_other_numbers_of_shards() {
    let counted = Cell::new(0);
    seeds::usually(LEARNING, |seed| {
        let world = World::new(seed);
        world.server.start();
        world.start_clients();
        world.rise(&Weather { destinations_complain: true, ..FAIR });
        for shards in [2, 3, 3] {
            world.pass_up_to(6 * MINUTE);
            world.crashed();
            match world.simulation.dice().below(2) {
                0 => world.server.kill(),
                _ => world.server.crash(),
            }
            world.server.start_with(&world.simulation, shards);
        }
        world.pass_up_to(6 * MINUTE);
        world.clear();
        world.settle();
        // Fewer shards are started only when nothing is queued.
        world.crashed();
        world.server.kill();
        world.server.start_with(&world.simulation, 1);
        world.start_clients_for(MESSAGES + MESSAGES / 4);
        world.rise(&Weather { destinations_complain: true, ..FAIR });
        world.pass(6 * MINUTE);
        world.clear();
        world.settle();
        world.pass(20 * MINUTE);
        assert_eq!(world.ledger.borrow().learned.lost(), Vec::<&_>::new());
        world.oracle.borrow().check_at_end().unwrap_or_else(|lost| panic!("{lost}"));
        counted.set(counted.get() + world.ledger.borrow().learned.counted);
    });
    assert!(counted.get() > 100, "{} times something was counted against what was learned", counted.get());
}

#[test]
fn a_disk_that_fails_costs_a_restart_and_no_mail() {
    let failures = Cell::new(0);
    seeds::each(KEPT_FAILING, |seed| {
        let weather = Weather { disk_fails: true, ..STORM };
        failures.set(failures.get() + run(seed, &weather).failures);
    });
    assert!(failures.get() > 0, "the disk never failed");
}

#[test]
fn one_seed_is_one_run_of_the_whole() {
    assert_eq!(run(2, &STORM), run(2, &STORM));
}

/// What 250 before the flush would be: the flush does nothing. If this test fails, the others prove nothing.
#[test]
fn a_disk_that_lies_about_flushes_is_found_out() {
    let weather = Weather { disk_fills: false, disk_lies: true, ..STORM };
    let is_found_out = |seed| catch_unwind(|| run(seed, &weather)).is_err();
    assert!((0..10).any(is_found_out));
}
