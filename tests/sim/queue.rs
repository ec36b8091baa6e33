//! The queue alone, in lives that end at any moment: it accepts, leases, settles and forgets, on a disk that tears.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringpost::config::Config;
use ringpost::events::Log;
use ringpost::events::log::{Channel, Style};
use ringpost::queue::outcome::{Answer, Hop, Outcome};
use ringpost::queue::{AcceptError, Lease, MessageId, Queue};
use ringpost::smtp::client::Phase;
use ringpost::smtp::envelope::Envelope;
use ringpost::smtp::path::ReversePath;
use ringpost::smtp::reply::EnhancedCode;
use ringpost::spool::Message;
use shards::Reactor;
use shards::sim::{Dice, DiskBehaviour, Simulation};

use crate::mail::{self, Mail, NOBODY, Volume};
use crate::oracle::{Oracle, Shared, Tally};
use crate::seeds;
use crate::server::signers;

/// Seeds that have found something once.
const KEPT: &[u64] = &[];

/// The same of runs with a small disk.
const KEPT_FULL: &[u64] = &[];

const MESSAGES: u32 = 150;
const LIVES: usize = 5;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
/// How long it takes at most until everything has ended once nothing dies any more.
const PEACE: Duration = Duration::from_secs(600);

const CONFIG: &str = r#"
[server]
hostname = "mta.ringpost.test"
data_dir = "data"
shards = 1
[[listener]]
kind = "relay"
address = "10.0.0.1:2525"
tls = "off"
networks = ["10.0.0.0/8"]
[retry]
schedule = ["1s", "5s", "30s"]
lifetime = "1h"
delay_notice_after = "3s"
[retention]
content = "1m"
placeholder = "5m"
"#;

/// What the lives of one run share.
struct Run {
    config: Arc<Config>,
    oracle: Shared,
    log: Arc<Channel>,
    domains: Rc<[String]>,
    volume: Volume,
    next_message: Cell<u32>,
    /// Whose each identity is: none is given twice.
    identities: RefCell<BTreeMap<MessageId, u32>>,
    /// Messages for which there was no room.
    refusals: Cell<u32>,
    /// How often each recipient got its message, and how often the log called it uncertain.
    copies: RefCell<BTreeMap<String, u32>>,
    uncertain: RefCell<BTreeMap<String, u32>>,
}

/// A recipient as the log names it.
fn name_of(message: MessageId, path: &str) -> String {
    format!("id={message} recipient=<{path}>")
}

impl Run {
    fn new(volume: Volume) -> Rc<Run> {
        let config = Config::parse(CONFIG, Path::new("/")).expect("the configuration is valid");
        Rc::new(Run {
            config: Arc::new(config),
            oracle: Rc::new(RefCell::new(Oracle::default())),
            log: Channel::new(Style::Logfmt),
            domains: ["one.test", "two.test", "three.test"].map(str::to_owned).into(),
            volume,
            next_message: Cell::new(0),
            identities: RefCell::default(),
            refusals: Cell::new(0),
            copies: RefCell::default(),
            uncertain: RefCell::default(),
        })
    }

    /// Reads the log, for ever.
    async fn read_log(self: Rc<Run>) {
        loop {
            let lines = self.log.next().await;
            seeds::say(lines.trim_end());
            for line in lines.lines().filter(|line| line.contains("event=uncertain")) {
                let name = line.split_once(" id=").expect("it names a message").1;
                *self.uncertain.borrow_mut().entry(format!("id={name}")).or_default() += 1;
            }
        }
    }

    /// Nobody gets a message twice unless each further copy was announced. How many did.
    fn check_copies(&self) -> u32 {
        let uncertain = self.uncertain.borrow();
        let further = |(name, copies): (&String, &u32)| {
            let announced = uncertain.get(name).copied().unwrap_or(0);
            assert!(copies - 1 <= announced, "{copies} copies, called uncertain {announced} times: {name}");
            copies - 1
        };
        self.copies.borrow().iter().map(further).sum()
    }

    /// One life: everything at once, until it is ended from outside.
    async fn live(self: Rc<Run>, reactor: Reactor) {
        let log = Log::new(&reactor, 0, self.log.clone());
        let queue = Queue::open(&reactor, self.config.clone(), 0, log).await.expect("a crash is not damage");
        queue.sign_with(signers());
        for _ in 0..2 {
            reactor.spawn(self.clone().submit(reactor.clone(), queue.clone())).detach();
        }
        for _ in 0..3 {
            reactor.spawn(self.clone().deliver(reactor.clone(), queue.clone())).detach();
        }
        let why = queue.failure().await;
        panic!("the disk is good: {why}");
    }

    async fn submit(self: Rc<Run>, reactor: Reactor, queue: Queue) {
        while self.next_message.get() < MESSAGES {
            reactor.sleep(Duration::from_millis(reactor.random() % 400)).await;
            let number = self.next_message.get();
            self.next_message.set(number + 1);
            let mail = Mail::draw(&reactor, number, &self.domains, self.volume);
            self.oracle.borrow_mut().submitting(&mail);
            let message = Message {
                id: queue.reserve_id(),
                arrival: reactor.wall(),
                envelope: Envelope { sender: mail::sender(), recipients: mail.envelope_recipients() },
                account: None,
                client: None,
                tagged: ringpost::spool::record::Tagged::default(),
                content: mail.content.to_vec(),
            };
            match queue.accept(message, "<id>").await {
                Ok(durable) => {
                    let before = self.identities.borrow_mut().insert(durable.id(), number);
                    assert_eq!(before, None, "an identity is given once");
                    mail.recipients.iter().for_each(|path| self.oracle.borrow_mut().acknowledged(number, path));
                }
                Err(AcceptError::Full) => self.refusals.set(self.refusals.get() + 1),
                Err(AcceptError::Broken) => panic!("the disk is good"),
            }
        }
    }

    async fn deliver(self: Rc<Run>, reactor: Reactor, queue: Queue) {
        loop {
            let domain = queue.next_ready().await;
            let lease = queue.lease(&domain);
            match reactor.random() % 10 {
                0 => queue.park(&domain, Duration::from_millis(reactor.random() % 3000), &"".into(), &"".into()),
                _ => queue.hand_back(&domain),
            }
            if let Some(lease) = lease {
                self.attempt(&reactor, &queue, &lease).await;
            }
        }
    }

    async fn attempt(&self, reactor: &Reactor, queue: &Queue, lease: &Lease) {
        let content = queue.content(lease).await.expect("the content of a queued message is there");
        assert_eq!(content.len(), lease.content_bytes);
        reactor.sleep(Duration::from_millis(reactor.random() % 500)).await;
        queue.note_uncertain(lease).await.expect("the disk is good");
        let mut outcomes = Vec::new();
        for (index, recipient) in &lease.recipients {
            let path = recipient.path.as_str();
            let outcome = draw_outcome(reactor, path, lease.sender.path == ReversePath::Null);
            if let Some(Outcome::Delivered(..)) = &outcome {
                self.take(reactor, lease, path, &content);
            }
            outcomes.extend(outcome.map(|outcome| (*index, outcome)));
        }
        // The replies are on their way.
        reactor.sleep(Duration::from_millis(reactor.random() % 200)).await;
        queue.settle(lease.number, outcomes).await;
    }

    fn take(&self, reactor: &Reactor, lease: &Lease, path: &str, content: &[u8]) {
        let now = reactor.now();
        *self.copies.borrow_mut().entry(name_of(lease.message, path)).or_default() += 1;
        let mut oracle = self.oracle.borrow_mut();
        if lease.sender.path == ReversePath::Null {
            oracle.notice(now, content);
        } else if let Some(copy) = oracle.arrived(now, now, path, content) {
            oracle.known(now, &copy);
        }
    }
}

/// `None`: the attempt says nothing of this recipient.
fn draw_outcome(reactor: &Reactor, path: &str, is_notice: bool) -> Option<Outcome> {
    let answer = |class, text: &str| Answer {
        phase: Phase::Rcpt,
        status: EnhancedCode(class, 0, 0),
        reason: None,
        reply: None,
        text: text.into(),
        remote: None,
        tls: None,
    };
    let fate = reactor.random() % 20;
    Some(match fate {
        _ if path.starts_with(NOBODY) => Outcome::Failed(answer(5, "no such mailbox")),
        0 if !is_notice => Outcome::Failed(answer(5, "not wanted")),
        0..4 => Outcome::Deferred(answer(4, "not now")),
        4 => Outcome::Untried((reactor.random() % 5) as u32),
        5 => return None,
        _ => Outcome::Delivered(answer(2, "taken"), Hop::WithoutDsn),
    })
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    tally: Tally,
    trace: u64,
    refusals: u32,
    /// Copies that came because a crash had left open whether the first had arrived.
    copies: u32,
}

/// Lives and deaths of one queue, each on a disk that `disk` makes worse; then it is left in peace until it is empty.
fn run(seed: u64, volume: Volume, disk: impl Fn(&Dice) -> DiskBehaviour) -> Ended {
    let simulation = Simulation::new(seed);
    let node = simulation.node("node");
    let run = Run::new(volume);
    let checked = run.oracle.clone();
    simulation.at_every_tick(move || checked.borrow().check());
    simulation.node("console").spawn(|_| run.clone().read_log());
    for _ in 0..LIVES {
        node.set_disk(disk(simulation.dice()));
        node.spawn(|reactor| run.clone().live(reactor));
        simulation.run_for(Duration::from_millis(simulation.dice().below(8_000) as u64));
        run.oracle.borrow_mut().crashed(simulation.now());
        match simulation.dice().below(3) {
            0 => node.kill(),
            _ => node.crash(),
        }
    }
    node.set_disk(DiskBehaviour::default());
    node.spawn(|reactor| run.clone().live(reactor));
    let peace = simulation.now() + PEACE;
    while run.oracle.borrow().check_at_end().is_err() && simulation.now() < peace {
        simulation.run_for(SECOND);
    }
    // What comes late must not come twice.
    simulation.run_for(HOUR);
    let tally = run.oracle.borrow().check_at_end();
    let tally = tally.unwrap_or_else(|lost| panic!("{lost}"));
    Ended { tally, trace: simulation.trace(), refusals: run.refusals.get(), copies: run.check_copies() }
}

fn good_disk(_: &Dice) -> DiskBehaviour {
    DiskBehaviour::default()
}

/// Room for two segments of the journal, or hardly, or not.
fn small_disk(dice: &Dice) -> DiskBehaviour {
    DiskBehaviour { capacity_bytes: (30 + dice.below(30) as u64) << 20, ..DiskBehaviour::default() }
}

fn lying_disk(_: &Dice) -> DiskBehaviour {
    DiskBehaviour { lies_about_flush: true, ..DiskBehaviour::default() }
}

#[test]
fn nothing_accepted_is_lost_whenever_the_queue_dies() {
    let further_copies = Cell::new(0);
    seeds::each(KEPT, |seed| {
        let Ended { tally, copies, .. } = run(seed, Volume::Usual, good_disk);
        further_copies.set(further_copies.get() + copies);
        assert!(tally.delivered > 100 && tally.failed > 5 && tally.delayed > 5, "{tally:?}");
    });
    assert!(further_copies.get() > 0, "no crash came between a delivery and its settlement");
}

#[test]
fn nothing_accepted_is_lost_when_the_disk_is_full_either() {
    let refusals = Cell::new(0);
    seeds::each(KEPT_FULL, |seed| refusals.set(refusals.get() + run(seed, Volume::Heavy, small_disk).refusals));
    assert!(refusals.get() > 0, "the disk was never full");
}

#[test]
fn one_seed_is_one_run_of_the_queue() {
    assert_eq!(run(3, Volume::Usual, good_disk), run(3, Volume::Usual, good_disk));
}

/// What 250 before the flush would be: the flush does nothing. If this test fails, the others prove nothing.
#[test]
fn a_disk_that_lies_about_flushes_is_found_out() {
    let is_found_out = |seed| catch_unwind(|| run(seed, Volume::Usual, lying_disk)).is_err();
    assert!((0..10).any(is_found_out));
}
