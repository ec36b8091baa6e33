//! Owner and home together: from a real queue over the mesh to scripted peers.

use shards::mesh::{Port, mesh};

use super::*;
use crate::crossing::Crossing;
use crate::outbound::Dispatcher;
use crate::queue::Queue;
use crate::smtp::envelope::Envelope;
use crate::spool::Message;
use crate::suppression::Gate;

/// Two shards on one executor; only shard 0 has mail.
struct Mesh {
    reactor: Reactor,
    queue: Queue,
    dispatcher: Dispatcher,
    pools: Vec<Pool>,
    metrics: Rc<Metrics>,
    _directory: tempfile::TempDir,
}

/// How a mesh is made.
struct Plan<'a> {
    /// Lines below `[delivery]`, and further sections.
    config: String,
    /// What the DNS knows.
    names: &'a [(Question, Answer)],
    /// Credits of each pair of shards.
    credits: usize,
}

impl Mesh {
    async fn start(reactor: &Reactor, plan: Plan<'_>) -> Mesh {
        let directory = tempfile::tempdir().expect("a folder");
        let text = format!("{CONFIG}[delivery]\n{}", plan.config);
        let config = Arc::new(Config::parse(&text, directory.path()).expect("a good configuration"));
        let log = Log::new(reactor, 0, Channel::new(Style::Logfmt));
        let queue = Queue::open(reactor, config.clone(), 0, log.clone()).await.expect("the queue opens");
        let dns = resolver(reactor, plan.names.iter().cloned().collect());
        let (ports, _) = mesh::<Crossing>(2, plan.credits, 1);
        let ports: Vec<Rc<Port<Crossing>>> = ports.into_iter().map(Rc::new).collect();
        let metrics = Rc::new(Metrics::default());
        let tools = Tools { reactor: reactor.clone(), dns, metrics: metrics.clone(), log };
        let pool = |port: &Rc<Port<Crossing>>| {
            let home = port.clone();
            let reply = move |shard, done| home.reply(shard, Crossing::Outcome(Box::new(done)));
            // Nobody is silent here: a busy machine must not look like it.
            let timing = Timing { session: Patience::default(), ..timing() };
            Pool::new(tools.clone(), config.clone(), &Trust::default(), timing, None, reply)
        };
        let pools: Vec<Pool> = ports.iter().map(pool).collect();
        let owner = ports[0].clone();
        let gate = Gate::new(&config, Arc::default());
        let dispatcher = Dispatcher::new(tools.clone(), config, None, queue.clone(), gate, owner);
        for (port, pool) in ports.into_iter().zip(&pools) {
            let (pool, dispatcher) = (pool.clone(), dispatcher.clone());
            let turn = async move {
                loop {
                    match port.receive().await {
                        (Some(from), Crossing::Attempt(task)) => pool.take(from, *task),
                        (_, Crossing::Outcome(done)) => dispatcher.take(*done),
                        _ => panic!("nobody sent this"),
                    }
                }
            };
            reactor.spawn(turn).detach();
        }
        let running = dispatcher.clone();
        reactor.spawn(async move { running.run().await }).detach();
        Mesh { reactor: reactor.clone(), queue, dispatcher, pools, metrics, _directory: directory }
    }

    async fn accept(&self, to: &[&str]) {
        let mailbox = |text: &str| Mailbox::parse(text, false).expect("a mailbox");
        let recipient = |to: &&str| Recipient { path: mailbox(to), notify: Notify::default(), orcpt: None };
        let sender = Sender {
            path: ReversePath::Null,
            body: Body::SevenBit,
            smtputf8: false,
            size: None,
            ret: None,
            envid: None,
            requiretls: false,
        };
        let message = Message {
            id: self.queue.reserve_id(),
            arrival: self.reactor.wall(),
            envelope: Envelope { sender, recipients: to.iter().map(recipient).collect() },
            account: None,
            client: None,
            tagged: crate::spool::record::Tagged::default(),
            content: CONTENT.as_bytes().to_vec(),
        };
        self.queue.accept(message, "<m@here.test>").await.expect("accepted");
    }

    /// Waits until so many recipients are delivered or failed.
    async fn ended(&self, recipients: u64) {
        self.until(|| self.metrics.delivered.get() + self.metrics.failed.get() >= recipients).await;
        assert_eq!(self.metrics.delivered.get() + self.metrics.failed.get(), recipients);
    }

    async fn until(&self, holds: impl Fn() -> bool) {
        let wait = async {
            while !holds() {
                self.reactor.sleep(Duration::from_millis(1)).await;
            }
        };
        self.reactor.timeout(PATIENT, wait).await.expect("it comes to hold");
    }
}

fn on_a_shard(tell: impl AsyncFnOnce(Reactor) + 'static) {
    shards::launch::run(async move |reactor: Reactor| tell(reactor).await).expect("a shard");
}

fn mx(domain: &str, hosts: &[&str]) -> (Question, Answer) {
    let list = hosts.iter().zip(1..).map(|(host, preference)| (preference, (*host).into())).collect();
    (Question::Mx(domain.into()), Answer::Mx(list, PATIENT))
}

fn host(name: &str, address: &str) -> (Question, Answer) {
    (Question::Addresses(name.into()), at(&[address]))
}

fn route(peer: &Peer) -> String {
    format!("[[route]]\ndomains = [\"*\"]\nnext_hop = \"{}\"\n", peer.address)
}

#[test]
fn what_is_accepted_goes_out_by_route() {
    on_a_shard(async |reactor| {
        let peer = Peer::start(&reactor, |_| Act::Usual);
        let config = format!("connections_max = 2\n{}", route(&peer));
        let mesh = Mesh::start(&reactor, Plan { config, names: &[], credits: 8 }).await;
        for _ in 0..40 {
            mesh.accept(&["a@one.test", "b@one.test", "c@two.test"]).await;
        }
        mesh.ended(120).await;
        let sizes: Vec<usize> = peer.record.messages.borrow().iter().map(|(rcpts, ..)| rcpts.len()).collect();
        assert_eq!((sizes.len(), sizes.iter().sum::<usize>()), (80, 120), "a message once for each domain");
        assert!(peer.record.connections_most.get() <= 2);
    });
}

#[test]
fn what_is_accepted_goes_out_by_mx_and_a_provider_is_one_site() {
    on_a_shard(async |reactor| {
        let peer = Peer::start(&reactor, |_| Act::Usual);
        let names = [
            mx("one.test", &["mx.provider.test"]),
            mx("two.test", &["mx.provider.test"]),
            (Question::Mx("bare.test".into()), Answer::NoData(PATIENT)),
            host("mx.provider.test", "127.0.0.1"),
            host("bare.test", "127.0.0.1"),
        ];
        let config = format!("connections_max = 1\nport = {}\n", peer.address.port());
        let mesh = Mesh::start(&reactor, Plan { config, names: &names, credits: 8 }).await;
        for to in ["a@one.test", "b@two.test", "c@bare.test", "d@One.TEST"] {
            mesh.accept(&[to]).await;
        }
        mesh.ended(4).await;
        assert_eq!(peer.record.messages.borrow().len(), 4);
        assert!(peer.record.connections_most.get() <= 2, "one for each site");
    });
}

#[test]
fn one_credit_is_enough_for_everything_in_turn() {
    on_a_shard(async |reactor| {
        let peer = Peer::start(&reactor, |_| Act::Usual);
        let mesh = Mesh::start(&reactor, Plan { config: route(&peer), names: &[], credits: 1 }).await;
        for number in 0..30 {
            mesh.accept(&[&format!("a@d{number}.test")]).await;
        }
        mesh.ended(30).await;
        assert_eq!(peer.record.messages.borrow().len(), 30);
    });
}

#[test]
fn domains_that_lead_nowhere_fail_and_trouble_defers_once_a_pause() {
    on_a_shard(async |reactor| {
        let names = [
            (Question::Mx("null.test".into()), Answer::Mx(vec![(0, "".into())], PATIENT)),
            (Question::Mx("slow.test".into()), Answer::Trouble("SERVFAIL".into())),
        ];
        let mesh = Mesh::start(&reactor, Plan { config: String::new(), names: &names, credits: 8 }).await;
        for _ in 0..3 {
            mesh.accept(&["d@slow.test"]).await;
        }
        mesh.accept(&["a@null.test", "b@gone.test"]).await;
        mesh.ended(2).await;
        mesh.until(|| mesh.metrics.deferred.get() > 0).await;
        // What comes later waits for the end of the pause.
        mesh.accept(&["d@slow.test"]).await;
        mesh.accept(&["b@gone.test"]).await;
        mesh.ended(3).await;
        assert_eq!((mesh.metrics.failed.get(), mesh.metrics.deferred.get()), (3, 1));
    });
}

#[test]
fn a_dead_destination_costs_one_connection_however_much_is_queued() {
    on_a_shard(async |reactor| {
        let peer = Peer::start(&reactor, except("", Act::SayAndClose("554 5.3.2 nobody here")));
        let route = format!("[[route]]\ndomains = [\"dead.test\"]\nnext_hop = \"{}\"\n", peer.address);
        let config = format!("connections_max = 2\n{route}");
        let mesh = Mesh::start(&reactor, Plan { config, names: &[], credits: 64 }).await;
        for _ in 0..100 {
            mesh.accept(&["a@dead.test"]).await;
        }
        mesh.until(|| mesh.metrics.deferred.get() > 0).await;
        // More comes while the path is left alone: it stays in the queue.
        for _ in 0..10 {
            mesh.accept(&["a@dead.test"]).await;
        }
        mesh.accept(&["b@gone.test"]).await;
        mesh.ended(1).await;
        assert_eq!(peer.record.connections.get(), 1);
        assert!(mesh.metrics.deferred.get() <= 8, "no more than were waiting for the connection");
    });
}

#[test]
fn draining_settles_what_is_out_and_leases_nothing_more() {
    on_a_shard(async |reactor| {
        let peer = Peer::start(&reactor, except(".", Act::Wait));
        let config = format!("connections_max = 1\n{}", route(&peer));
        let mesh = Mesh::start(&reactor, Plan { config, names: &[], credits: 64 }).await;
        for _ in 0..20 {
            mesh.accept(&["a@one.test"]).await;
        }
        mesh.until(|| peer.record.count("DATA") == 1).await;
        let release = async { peer.record.released.set(true) };
        let drain =
            async { futures::join!(mesh.dispatcher.drain(), mesh.pools[0].drain(), mesh.pools[1].drain(), release) };
        reactor.timeout(PATIENT, drain).await.expect("it drains");
        assert_eq!((peer.record.messages.borrow().len(), mesh.metrics.delivered.get()), (1, 1));
        mesh.queue.close().await.expect("nothing is leased");
    });
}

#[test]
fn with_hold_what_is_under_way_is_noted_before_it_leaves() {
    on_a_shard(async |reactor| {
        let peer = Peer::start(&reactor, |_| Act::Usual);
        let config = format!("uncertain = \"hold\"\n{}", route(&peer));
        let mesh = Mesh::start(&reactor, Plan { config, names: &[], credits: 8 }).await;
        mesh.accept(&["a@one.test"]).await;
        mesh.ended(1).await;
        assert_eq!(peer.record.messages.borrow().len(), 1);
    });
}
