//! The home side against scripted peers on loopback.

mod connections;
mod dispatching;
mod hosts;
mod meanings;
mod offers;
mod outcomes;
mod own_rules;
mod peer;
mod rates;
mod reporting;
mod requiring;
mod trouble;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc;
use shards::Reactor;

use super::{Done, Metrics, Pool, Task, Timing, Tools};
use crate::assurance::Trust;
use crate::config::Config;
use crate::dns::{self, Answer, Question};
use crate::events::Log;
use crate::events::log::{Channel, Style};
use crate::queue::MessageId;
use crate::queue::outcome::Outcome;
use crate::route::{Host, Site};
use crate::smtp::client::Patience;
use crate::smtp::envelope::{Body, Notify, Recipient, Sender};
use crate::smtp::path::{Mailbox, ReversePath};
use peer::{Act, Moment, Peer};

/// What only a defect takes longer than.
const PATIENT: Duration = Duration::from_secs(20);

const CONTENT: &str = "Subject: hello\r\n\r\n.a line\r\n";

const CONFIG: &str = r#"
[server]
hostname = "mta.ringpost.test"
data_dir = "data"
[[listener]]
kind = "relay"
address = "127.0.0.1:2525"
tls = "off"
networks = ["127.0.0.0/8"]
[retry]
schedule = ["40s", "10m"]
"#;

/// A pool with what is around it.
struct World {
    reactor: Reactor,
    config: Arc<Config>,
    pool: Pool,
    metrics: Rc<Metrics>,
    dones: mpsc::UnboundedReceiver<(usize, Done)>,
    leases: u64,
}

/// Runs a story on a shard of its own. `names` are what the DNS knows of hosts.
fn story(delivery: &str, names: &[(&str, Answer)], tell: impl AsyncFnOnce(World) + 'static) {
    story_with(timing(), delivery, names, tell);
}

fn story_with(timing: Timing, delivery: &str, names: &[(&str, Answer)], tell: impl AsyncFnOnce(World) + 'static) {
    let config = config(delivery);
    let names: HashMap<Question, Answer> =
        names.iter().map(|(host, answer)| (Question::Addresses((*host).into()), answer.clone())).collect();
    shards::launch::run(async move |reactor: Reactor| {
        let dns = resolver(&reactor, names);
        tell(World::new(reactor, timing, config, dns)).await;
    })
    .expect("a shard");
}

fn config(delivery: &str) -> Config {
    // As for what a test waits for: unless it says so, connections stay.
    let idle = if delivery.contains("idle_timeout") { "" } else { "idle_timeout = \"1m\"\n" };
    Config::parse(&format!("{CONFIG}[delivery]\n{idle}{delivery}"), Path::new("/nowhere")).expect("good")
}

/// A resolver that knows `names`, and that everything else does not exist.
fn resolver(reactor: &Reactor, names: HashMap<Question, Answer>) -> dns::Cache {
    let (queries, mut asked) = mpsc::channel::<dns::Query>(4);
    let answers = async move {
        while let Some(query) = asked.next().await {
            let answer = names.get(&query.question).cloned().unwrap_or(Answer::NoSuchName(PATIENT));
            let _ = query.reply.send(answer);
        }
    };
    reactor.spawn(answers).detach();
    dns::Cache::new(reactor.clone(), queries)
}

/// Patient where a test must not depend on the machine's speed, impatient where it waits for the end of a patience.
fn timing() -> Timing {
    let impatient = Duration::from_millis(300);
    let session = Patience { greeting: impatient, command: impatient, data: impatient, block: PATIENT, dot: impatient };
    Timing { connect: PATIENT, handshake: PATIENT, session, ..Timing::default() }
}

/// The answer to a host's address question.
fn at(addresses: &[&str]) -> Answer {
    Answer::Addresses(addresses.iter().map(|address| ip(address)).collect(), PATIENT)
}

fn ip(address: &str) -> IpAddr {
    address.parse().expect("an address")
}

/// A site with these hosts, the first one preferred.
fn site(hosts: &[&str], port: u16) -> Arc<Site> {
    let hosts = hosts.iter().zip(1..).map(|(name, preference)| Host { name: (*name).into(), preference }).collect();
    Arc::new(Site { key: "site".into(), hosts, port, assurance: Default::default(), shape: Default::default() })
}

/// The site that is a peer's address.
fn site_of(peer: &Peer) -> Arc<Site> {
    site(&[&peer.address.ip().to_string()], peer.address.port())
}

/// What is usual, except when a line begins so.
fn except(beginning: &'static str, act: Act) -> impl Fn(Moment<'_>) -> Act {
    move |moment| match moment.line.strip_prefix(beginning) {
        Some(rest) if !beginning.is_empty() || rest.is_empty() => act,
        _ => Act::Usual,
    }
}

/// A task to `recipients` recipients r0@, r1@ …
pub(super) fn task(site: &Arc<Site>, lease: u64, recipients: u16) -> Task {
    let mailbox = |text: String| Mailbox::parse(&text, false).expect("a mailbox");
    let recipient =
        |index: u16| Recipient { path: mailbox(format!("r{index}@next.test")), notify: Notify::default(), orcpt: None };
    Task {
        lease,
        message: MessageId(lease),
        source: Arc::default(),
        site: site.clone(),
        sender: Sender {
            path: ReversePath::Mailbox(mailbox("sender@here.test".into())),
            body: Body::SevenBit,
            smtputf8: false,
            size: None,
            ret: None,
            envid: None,
            requiretls: false,
        },
        recipients: (0..recipients).map(|index| (index, recipient(index))).collect(),
        content: Arc::new(CONTENT.as_bytes().to_vec()),
        return_path: None,
        insists: false,
        replies: None,
        tenant: Box::default(),
        campaign: Box::default(),
    }
}

impl World {
    fn new(reactor: Reactor, timing: Timing, config: Config, dns: dns::Cache) -> World {
        let metrics = Rc::new(Metrics::default());
        let (done, dones) = mpsc::unbounded();
        // Answers that come when the story is over have no one to hear them.
        let reply = move |shard, outcome| _ = done.unbounded_send((shard, outcome));
        let log = Log::new(&reactor, 0, Channel::new(Style::Logfmt));
        let (config, trust) = (Arc::new(config), Trust::default());
        let tools = Tools { reactor: reactor.clone(), dns, metrics: metrics.clone(), log };
        let pool = Pool::new(tools, config.clone(), &trust, timing, None, reply);
        World { reactor, config, pool, metrics, dones, leases: 0 }
    }

    fn peer(&self, script: impl Fn(Moment<'_>) -> Act + 'static) -> Peer {
        Peer::start(&self.reactor, script)
    }

    /// Hands in a task to `recipients` recipients; shard 3 wants to know.
    fn give(&mut self, site: &Arc<Site>, recipients: u16) {
        self.leases += 1;
        self.pool.take(3, task(site, self.leases, recipients));
    }

    /// The next task's end.
    async fn done(&mut self) -> Done {
        let next = self.reactor.timeout(PATIENT, self.dones.next()).await;
        let (shard, done) = next.expect("an answer in time").expect("the pool lives");
        assert_eq!(shard, 3, "the answer goes to who asked");
        done
    }

    /// Hands in one task and gives its end.
    async fn deliver(&mut self, site: &Arc<Site>, recipients: u16) -> Done {
        self.give(site, recipients);
        let done = self.done().await;
        let indexes: Vec<u16> = done.outcomes.iter().map(|(index, _)| *index).collect();
        assert_eq!((done.lease, indexes.len()), (self.leases, usize::from(recipients)));
        done
    }

    /// Waits until `holds`, for things that no event of ours announces.
    async fn until(&self, holds: impl Fn() -> bool) {
        let wait = async {
            while !holds() {
                self.reactor.sleep(Duration::from_millis(1)).await;
            }
        };
        self.reactor.timeout(PATIENT, wait).await.expect("it comes to hold");
    }
}

/// `delivered 2.0.0`, `deferred 4.4.1 Connect`, … of every recipient in order of index.
fn shapes(done: &Done) -> Vec<String> {
    let mut outcomes: Vec<_> = done.outcomes.iter().collect();
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.iter().map(|(_, outcome)| shape(outcome)).collect()
}

fn shape(outcome: &Outcome) -> String {
    let (word, answer) = match outcome {
        Outcome::Delivered(answer, _) => ("delivered", answer),
        Outcome::Deferred(answer) => ("deferred", answer),
        Outcome::Parked(answer, _) => ("parked", answer),
        Outcome::Failed(answer) => ("failed", answer),
        Outcome::Untried(seconds) => return format!("untried {seconds}"),
    };
    format!("{word} {} {:?}", answer.status, answer.phase)
}

/// What the first recipient's outcome says.
fn text(done: &Done) -> String {
    match &done.outcomes[0].1 {
        Outcome::Delivered(answer, _)
        | Outcome::Deferred(answer)
        | Outcome::Parked(answer, _)
        | Outcome::Failed(answer) => answer.text.to_string(),
        Outcome::Untried(_) => panic!("untried"),
    }
}
