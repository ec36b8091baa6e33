//! The server under test: every shard of it, as in production, on one node of the simulation.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::{mpsc, oneshot};
use ringpost::authentication::{Key, Signer, Signers};
use ringpost::config::{Config, Uncertain};
use ringpost::crossing::{Certificate, Crossing, Quotas};
use ringpost::events::log::{Channel, Style};
use ringpost::queue::orders::{Order, Report, Selection};
use ringpost::queue::rehome;
use ringpost::shard::{self, Start};
use shards::Timestamp;
use shards::mesh::{Inlet, mesh};
use shards::sim::{Node, Simulation};

use crate::limits;
use crate::resolver::Resolver;

/// Of each pair of shards, few so that they run out; and of the way from the control thread.
const CREDITS: usize = 8;
const INLET_SLOTS: usize = 64;
const QUERIES: usize = 16;

const PORT: u16 = 2525;

/// Of our name; always the same, so that a seed is a run.
const KEY: &[u8] = b"-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIPyDOLkqda5M2Jrq1zYTNWtZpyADIP35w3iQy2hDu6jw
-----END PRIVATE KEY-----
";

/// What signs notices.
pub fn signers() -> Arc<Signers> {
    let key = Key::from_pem(KEY).expect("a key");
    Arc::new(Signers::new([(Signer::new("mta.ringpost.test", "s1", key), false)]))
}

/// The server, running or not.
pub struct Server {
    node: Node,
    config: RefCell<Arc<Config>>,
    certificate: Option<Arc<Certificate>>,
    credits: usize,
    resolver: Resolver,
    log: Arc<Channel>,
    inlet: RefCell<Option<Inlet<Crossing>>>,
    /// The fewest shards that it ever had: what waits for webhooks keeps its share until more comes.
    fewest: Cell<usize>,
    /// Shards that have opened their doors since the last start.
    ready: Rc<Cell<usize>>,
    /// A shard has ended since the last start, because its storage failed.
    has_failed: Rc<Cell<bool>>,
    /// What shards were asked and have not answered yet.
    asked: RefCell<Vec<oneshot::Receiver<Report>>>,
}

impl Server {
    /// A server of `shards` shards on `node`, not yet started, with all limits; a source warms up from `today` on.
    pub fn new(node: Node, resolver: Resolver, shards: usize, uncertain: Uncertain, today: Timestamp) -> Server {
        let uncertain = match uncertain {
            Uncertain::Retry => "retry",
            Uncertain::Hold => "hold",
        };
        let text = format!(
            r#"
            routing_headers = true
            [[pool]]
            name = "both"
            sources = [{{ source = "a", weight = 2 }}, {{ source = "b" }}]
            {}
            pool = "both"
            uncertain = "{uncertain}"
            [retry]
            schedule = ["10s", "30s", "2m", "5m"]
            lifetime = "1d"
            delay_notice_after = "1h"
            [retention]
            content = "2m"
            placeholder = "10m"
            "#,
            limits::configuration(today)
        );
        Server::configured(node, resolver, shards, &text)
    }

    /// A server of `shards` shards with `more` in its configuration.
    pub fn configured(node: Node, resolver: Resolver, shards: usize, more: &str) -> Server {
        let address = node.address();
        let text = format!(
            r#"
            [server]
            hostname = "mta.ringpost.test"
            data_dir = "data"
            shards = {shards}
            [[listener]]
            kind = "relay"
            address = "{address}:{PORT}"
            tls = "off"
            networks = ["10.0.0.0/8"]
            {more}
            "#
        );
        let mut config = Config::parse(&text, Path::new("/")).expect("the configuration is valid");
        config.webhooks.iter_mut().for_each(|webhook| webhook.waiting_bytes_max = limits::WAITING_BYTES_MAX);
        Server {
            node,
            fewest: Cell::new(config.shards),
            config: RefCell::new(Arc::new(config)),
            certificate: None,
            credits: CREDITS,
            resolver,
            log: Channel::new(Style::Logfmt),
            inlet: RefCell::default(),
            ready: Rc::default(),
            has_failed: Rc::default(),
            asked: RefCell::default(),
        }
    }

    /// The same with so many credits of each pair of shards.
    pub fn with_credits(self, credits: usize) -> Server {
        Server { credits, ..self }
    }

    /// The same with a certificate.
    pub fn with_certificate(self, certificate: Arc<Certificate>) -> Server {
        Server { certificate: Some(certificate), ..self }
    }

    /// Its node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Where it accepts mail.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.node.address(), PORT)
    }

    /// Its log.
    pub fn log(&self) -> Arc<Channel> {
        self.log.clone()
    }

    /// Starts every shard.
    pub fn start(&self) {
        let config = self.config.borrow().clone();
        let (ports, inlet) = mesh(config.shards, self.credits, INLET_SLOTS);
        self.inlet.replace(Some(inlet));
        self.ready.set(0);
        self.has_failed.set(false);

        let quotas = Quotas::new(&config);
        let (dns, queries) = mpsc::channel(QUERIES);
        self.node.spawn(|reactor| self.resolver.clone().run(reactor, queries));
        for port in ports {
            let start = Start {
                config: config.clone(),
                certificate: self.certificate.clone(),
                signers: signers(),
                trust: Arc::default(),
                return_path: None,
                quotas: quotas.clone(),
                port,
                dns: dns.clone(),
                log: self.log.clone(),
                passed: Arc::default(),
                suppressed: Arc::default(),
                suspended: false,
            };
            let (ready, has_failed) = (self.ready.clone(), self.has_failed.clone());
            self.node.spawn(|reactor| async move {
                let ended = shard::run(reactor, start, || ready.set(ready.get() + 1)).await;
                assert!(ended.is_err(), "nobody told the shard to stop");
                has_failed.set(true);
            });
        }
    }

    /// Starts it, which was stopped before, with that number of shards.
    pub fn start_with(&self, simulation: &Simulation, shards: usize) {
        let before = Config::clone(&self.config.borrow());
        let (directory, partitions, moved) =
            (before.data_dir.clone(), (0..before.shards).collect(), Rc::new(Cell::new(false)));
        self.config.replace(Arc::new(Config { shards, ..before }));
        self.fewest.set(self.fewest.get().min(shards));
        let is_moved = moved.clone();
        self.node.spawn(|reactor| async move {
            rehome(&reactor, &directory, partitions, shards).await.expect("the disk is fine");
            moved.set(true);
        });
        let waited = simulation.run_until("what was learned moves", Duration::from_secs(60), || is_moved.get());
        waited.unwrap_or_else(|unmet| panic!("{unmet:?}"));
        self.start();
    }

    /// Whether all its shards serve.
    pub fn has_started(&self) -> bool {
        self.ready.get() == self.config.borrow().shards
    }

    /// Whether a shard has ended because its storage failed: the process is to be started anew.
    pub fn has_failed(&self) -> bool {
        self.has_failed.get()
    }

    /// Shows what each shard has in memory and waiting, as far as they have answered, and asks them again.
    pub fn look(&self, mut show: impl FnMut(usize, &Report)) {
        let mut asked = self.asked.borrow_mut();
        asked.retain_mut(|answered| match answered.try_recv() {
            Ok(None) => true,
            Ok(Some(report)) => {
                show(self.fewest.get(), &report);
                false
            }
            Err(oneshot::Canceled) => false,
        });
        let Some(inlet) = self.inlet.borrow().clone().filter(|_| asked.is_empty() && self.has_started()) else {
            return;
        };
        let orders = |shard| [(shard, Order::Metrics), (shard, Order::Webhooks), (shard, Order::Adjusted(None))];
        for (shard, order) in (0..inlet.shards()).flat_map(orders) {
            let (answer, answered) = oneshot::channel();
            if inlet.send(shard, Crossing::Order(Box::new(order), answer)).is_ok() {
                asked.push(answered);
            }
        }
    }

    /// Its power fails.
    pub fn crash(&self) {
        self.node.crash();
    }

    /// Its process is killed.
    pub fn kill(&self) {
        self.node.kill();
    }

    /// How many recipients are queued, on all shards.
    pub fn queued(&self, simulation: &Simulation) -> u64 {
        self.order(simulation, &Order::Count(Selection::default()))
    }

    /// Lets go of every recipient that is held.
    pub fn release(&self, simulation: &Simulation) {
        self.order(simulation, &Order::Release(Selection::default()));
    }

    /// Gives an order to all shards; the sum of what they count.
    fn order(&self, simulation: &Simulation, order: &Order) -> u64 {
        let inlet = self.inlet.borrow().clone().expect("it was started");
        let mut sum = 0;
        for shard in 0..inlet.shards() {
            let (answer, mut answered) = oneshot::channel();
            let crossing = Crossing::Order(Box::new(order.clone()), answer);
            assert!(inlet.send(shard, crossing).is_ok(), "the inlet has room for one order");
            let mut report = None;
            let heard = simulation.run_until("a shard answers", Duration::from_secs(60), || {
                report = report.take().or_else(|| answered.try_recv().ok().flatten());
                report.is_some()
            });
            match (heard, report) {
                (Ok(()), Some(Report::Count(count))) => sum += count,
                other => panic!("{order:?} is not obeyed: {other:?}"),
            }
        }
        sum
    }
}
