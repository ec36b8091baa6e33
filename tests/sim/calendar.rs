//! The calendar, on the virtual clock: what the queue does after an hour, four days and 23 hours, five days, thirty days
//! and ninety, whenever it is killed in between.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringpost::config::Config;
use ringpost::events::Log;
use ringpost::events::log::{Channel, Style};
use ringpost::queue::orders::{Order, Report};
use ringpost::queue::outcome::{Answer, Hop, Outcome};
use ringpost::queue::{MessageId, Queue};
use ringpost::smtp::client::Phase;
use ringpost::smtp::envelope::{Body, Envelope, Notify, Recipient, Sender};
use ringpost::smtp::path::{Mailbox, ReversePath};
use ringpost::smtp::reply::EnhancedCode;
use ringpost::spool::Message;
use shards::sim::{Node, Simulation};
use shards::{Reactor, Timestamp};

use crate::seeds;

/// Seeds that have found something once.
const KEPT: &[u64] = &[];
/// Runs: each lives through more than two days, second by second.
const RUNS_MAX: u64 = 3;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The housekeeping looks once a second.
const PROMPTLY: Duration = Duration::from_secs(3);

/// All times are the defaults.
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
"#;

/// What happened, and how old the messages were then.
#[derive(Default)]
struct Diary {
    /// Attempts at the domain that never answers.
    attempts: Vec<Duration>,
    /// Notices that came to the sender.
    notices: Vec<(Duration, String)>,
    /// The message to it, and the one that is delivered at once.
    messages: Option<(MessageId, MessageId)>,
    /// What `queue show` says of the latter.
    shown: Option<serde_json::Value>,
}

/// A node with a queue, and what it has seen.
struct World {
    simulation: Simulation,
    node: Node,
    began: Timestamp,
    diary: Rc<RefCell<Diary>>,
}

impl World {
    fn new(seed: u64) -> World {
        let simulation = Simulation::new(seed);
        let node = simulation.node("node");
        let began = simulation.wall();
        World { simulation, node, began, diary: Rc::default() }
    }

    /// Starts the node's next life.
    fn live(&self) {
        self.node.spawn(|reactor| live(reactor, self.began, self.diary.clone()));
    }

    /// The node is alive until the messages are `age` old.
    fn live_until(&self, age: Duration) {
        self.simulation.run_for(age.saturating_sub(self.age()));
    }

    /// The node is down until then.
    fn sleep_until(&self, age: Duration) {
        self.node.kill();
        self.live_until(age);
        self.live();
    }

    /// At a moment that the dice choose, at most `most` from now, the power fails for a moment.
    fn crash_within(&self, most: Duration) {
        let millis = self.simulation.dice().below(most.as_millis() as usize);
        self.simulation.run_for(Duration::from_millis(millis as u64));
        self.node.crash();
        self.live();
    }

    fn age(&self) -> Duration {
        self.simulation.wall().since(self.began)
    }
}

/// One life: it submits what was never submitted, delivers, and looks at what is left.
async fn live(reactor: Reactor, began: Timestamp, diary: Rc<RefCell<Diary>>) {
    let config = Arc::new(Config::parse(CONFIG, Path::new("/")).expect("the configuration is valid"));
    let log = Log::new(&reactor, 0, Channel::new(Style::Logfmt));
    let queue = Queue::open(&reactor, config, 0, log).await.expect("a crash is not damage");
    if diary.borrow().messages.is_none() {
        let waits = submit(&reactor, &queue, "b@never.test").await;
        let goes = submit(&reactor, &queue, "b@good.test").await;
        diary.borrow_mut().messages = Some((waits, goes));
    }
    reactor.spawn(look(reactor.clone(), queue.clone(), diary.clone())).detach();
    loop {
        let domain = queue.next_ready().await;
        let lease = queue.lease(&domain);
        queue.hand_back(&domain);
        let Some(lease) = lease else { continue };
        let age = reactor.wall().since(began);
        let outcome = if &*lease.domain == "never.test" {
            diary.borrow_mut().attempts.push(age);
            Outcome::Deferred(answer(EnhancedCode(4, 4, 1), "no answer"))
        } else {
            if lease.sender.path == ReversePath::Null {
                let content = queue.content(&lease).await.expect("its content");
                diary.borrow_mut().notices.push((age, String::from_utf8_lossy(&content).into_owned()));
            }
            Outcome::Delivered(answer(EnhancedCode(2, 0, 0), "taken"), Hop::WithoutDsn)
        };
        queue.settle(lease.number, vec![(0, outcome)]).await;
    }
}

async fn submit(reactor: &Reactor, queue: &Queue, to: &str) -> MessageId {
    let mailbox = |path| Mailbox::parse(path, false).expect("a mailbox");
    let sender = Sender {
        path: ReversePath::Mailbox(mailbox("a@sender.test")),
        body: Body::SevenBit,
        smtputf8: false,
        size: None,
        ret: None,
        envid: None,
        requiretls: false,
    };
    let recipients = vec![Recipient { path: mailbox(to), notify: Notify::default(), orcpt: None }];
    let message = Message {
        id: queue.reserve_id(),
        arrival: reactor.wall(),
        envelope: Envelope { sender, recipients },
        account: None,
        client: None,
        tagged: ringpost::spool::record::Tagged::default(),
        content: b"Subject: hi\r\n\r\nbody\r\n".to_vec(),
    };
    queue.accept(message, "<1@test>").await.expect("it is accepted").id()
}

/// Looks at the delivered message now and then.
async fn look(reactor: Reactor, queue: Queue, diary: Rc<RefCell<Diary>>) {
    loop {
        reactor.sleep(Duration::from_secs(1)).await;
        let Some((_, goes)) = diary.borrow().messages else { continue };
        let Report::Message(shown) = queue.order(Order::Show(goes)).await else { panic!("the index is good") };
        diary.borrow_mut().shown = shown;
    }
}

fn answer(status: EnhancedCode, text: &str) -> Answer {
    Answer { phase: Phase::Connect, status, reason: None, reply: None, text: text.into(), remote: None, tls: None }
}

#[test]
fn an_hour_five_days_thirty_days_and_ninety() {
    seeds::some(RUNS_MAX, KEPT, |seed| {
        let world = World::new(seed);
        let told = || world.diary.borrow().notices.clone();
        world.live();
        world.crash_within(30 * MINUTE);
        world.live_until(HOUR);
        assert_eq!(told(), [], "not before the hour is over");
        world.live_until(HOUR + PROMPTLY);
        let [(_, delayed)] = &told()[..] else { panic!("{:?}", told()) };
        assert!(delayed.contains("Action: delayed"), "{delayed}");
        world.crash_within(HOUR);
        world.live_until(3 * HOUR);

        world.sleep_until(4 * DAY);
        world.crash_within(6 * HOUR);
        world.live_until(4 * DAY + 23 * HOUR);
        let last = world.diary.borrow().attempts.last().copied();
        assert!(last > Some(4 * DAY + 18 * HOUR), "it is still tried every four hours: {last:?}");
        world.live_until(5 * DAY - PROMPTLY);
        assert_eq!(told().len(), 1, "one delay, one notice");
        world.live_until(5 * DAY + PROMPTLY);
        let [_, (_, failed)] = &told()[..] else { panic!("{:?}", told()) };
        assert!(failed.contains("Action: failed") && failed.contains("Status: 5.4.7"), "{failed}");

        let kept = || world.diary.borrow().shown.as_ref().map(|shown| shown["content_kept"] == true);
        world.sleep_until(30 * DAY - 2 * MINUTE);
        world.live_until(30 * DAY - MINUTE);
        assert_eq!(kept(), Some(true));
        world.live_until(30 * DAY + MINUTE);
        assert_eq!(kept(), Some(false), "the placeholder stays");
        world.sleep_until(90 * DAY - 2 * MINUTE);
        world.live_until(90 * DAY - MINUTE);
        assert_eq!(kept(), Some(false));
        world.live_until(90 * DAY + MINUTE);
        assert_eq!(kept(), None);
        assert_eq!(told().len(), 2);
    });
}
