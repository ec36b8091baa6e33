//! The server under test: every shard of it, as in production, on one node of the simulation.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::{mpsc, oneshot};
use ringpost::config::Config;
use ringpost::crossing::Crossing;
use ringpost::events::log::{Channel, Style};
use ringpost::queue::orders::{Order, Report, Selection};
use ringpost::shard::{self, Start};
use shards::mesh::{Inlet, mesh};
use shards::sim::{Node, Simulation};

use crate::resolver::Resolver;

/// Of each pair of shards, and of the way from the control thread.
const CREDITS: usize = 8;
const INLET_SLOTS: usize = 64;
const QUERIES: usize = 16;

const PORT: u16 = 2525;

/// The server, running or not.
pub struct Server {
    node: Node,
    config: Arc<Config>,
    resolver: Resolver,
    log: Arc<Channel>,
    inlet: RefCell<Option<Inlet<Crossing>>>,
    /// Shards that have opened their doors since the last start.
    ready: Rc<Cell<usize>>,
}

impl Server {
    /// A server of `shards` shards on `node`, not yet started.
    pub fn new(node: Node, resolver: Resolver, shards: usize) -> Server {
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
            [retry]
            schedule = ["10s", "30s", "2m", "5m"]
            lifetime = "1d"
            delay_notice_after = "1h"
            [retention]
            content = "2m"
            placeholder = "10m"
            "#
        );
        let config = Config::parse(&text, Path::new("/")).expect("the configuration is valid");
        Server {
            node,
            config: Arc::new(config),
            resolver,
            log: Channel::new(Style::Logfmt),
            inlet: RefCell::default(),
            ready: Rc::default(),
        }
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
        let (ports, inlet) = mesh(self.config.shards, CREDITS, INLET_SLOTS);
        self.inlet.replace(Some(inlet));
        self.ready.set(0);

        let (dns, queries) = mpsc::channel(QUERIES);
        self.node.spawn(|reactor| self.resolver.clone().run(reactor, queries));
        for port in ports {
            let start = Start {
                config: self.config.clone(),
                certificate: None,
                port,
                dns: dns.clone(),
                log: self.log.clone(),
                suspended: false,
            };
            let ready = self.ready.clone();
            self.node.spawn(|reactor| async move {
                let ended = shard::run(reactor, start, || ready.set(ready.get() + 1)).await;
                panic!("a shard runs until its node dies: {ended:?}");
            });
        }
    }

    /// Whether all its shards serve.
    pub fn has_started(&self) -> bool {
        self.ready.get() == self.config.shards
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
        let inlet = self.inlet.borrow().clone().expect("it was started");
        let mut answers = Vec::new();
        for shard in 0..inlet.shards() {
            let (answer, answered) = oneshot::channel();
            let order = Crossing::Order(Box::new(Order::Count(Selection::default())), answer);
            assert!(inlet.send(shard, order).is_ok(), "the inlet has room for one order");
            answers.push(answered);
        }
        let mut queued = 0;
        for mut answered in answers {
            let mut counted = None;
            let heard = simulation.run_until("a shard answers", Duration::from_secs(60), || {
                counted = counted.take().or_else(|| answered.try_recv().ok().flatten());
                counted.is_some()
            });
            match (heard, counted) {
                (Ok(()), Some(Report::Count(count))) => queued += count,
                other => panic!("a shard does not count: {other:?}"),
            }
        }
        queued
    }
}
