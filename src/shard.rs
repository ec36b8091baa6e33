//! One core's MTA: what it owns, its turn, and the only `match` on [`Crossing`].
//!
//! Owns: a partition of the queue, the listeners' sessions of the clients that hash here, the connections of the sites
//! that hash here. Never: decides anything; it joins the parts and passes on what crosses.
//! Start: recover the queue → open the listeners → say ready. Stop: take no new connection, let what runs come to its
//! end within the given patience, answer the other shards until they have drained too, flush, write a last checkpoint.

use std::collections::BTreeSet;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::channel::{mpsc, oneshot};
use shards::Reactor;
use shards::mesh::Port;
use shards::passed::Passed;

use crate::assurance::Trust;
use crate::assurance::report::Counts;
use crate::authentication::Signers;
use crate::bounce::return_path::ReturnPath;
use crate::config::Config;
use crate::crossing::{Certificate, Crossing, Quotas, Reload};
use crate::dns::{self, Query};
use crate::events::log::Channel;
use crate::events::{Event, Log};
use crate::inbound::{Inbound, Returns};
use crate::outbound::{Dispatcher, Metrics, Pool, Timing, Tools};
use crate::queue::orders::{Lift, Lifted, Order, Reopen, Report, Scope};
use crate::queue::{self, Queue};
use crate::screening::Screening;
use crate::spool::record::Return;
use crate::suppression::{Gate, Lists};

/// What a shard is started with.
pub struct Start {
    /// The configuration.
    pub config: Arc<Config>,
    /// What TLS listeners show; `None`: none offers TLS.
    pub certificate: Option<Arc<Certificate>>,
    /// The keys that sign what is sent.
    pub signers: Arc<Signers>,
    /// Whom next hops' certificates are trusted by.
    pub trust: Arc<Trust>,
    /// What makes and checks our reverse-paths.
    pub return_path: Option<Arc<ReturnPath>>,
    /// What accounts have used of their day, on all shards.
    pub quotas: Arc<Quotas>,
    /// Its place in the mesh.
    pub port: Port<Crossing>,
    /// The way to the resolver.
    pub dns: mpsc::Sender<Query>,
    /// The way to the log's writer.
    pub log: Arc<Channel>,
    /// Whom nothing is sent to.
    pub suppressed: Arc<Lists>,
    /// Listening sockets that the service manager opened.
    pub passed: Arc<[Passed]>,
    /// All delivery is suspended at first.
    pub suspended: bool,
}

/// Why a shard ended, or did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its queue cannot be opened, or its storage failed.
    #[error(transparent)]
    Queue(#[from] queue::Error),
    /// An address cannot be listened on; the text names it.
    #[error(transparent)]
    Listen(#[from] io::Error),
    /// The certificate or key cannot be used.
    #[error(transparent)]
    Certificate(#[from] shards::tls::TlsError),
}

/// Runs a shard to its end. `ready` is called once it accepts connections. What TLS sessions came to that nobody has asked
/// for yet is given at the end.
///
/// # Errors
/// What kept it from starting, or the failure of its storage: then the process must end, and a new one recovers.
pub async fn run(reactor: Reactor, start: Start, ready: impl FnOnce()) -> Result<Counts, Error> {
    let shard = Shard::open(reactor, start).await?;
    // What led here stands in the log before what follows from it.
    shard.log.flush();
    ready();
    let storage = shard.queue.clone();
    let ended = futures::select_biased! {
        why = storage.failure().fuse() => Err(why.into()),
        () = shard.turn().fuse() => Ok(()),
    };
    if ended.is_ok() {
        shard.queue.close().await?;
    }
    shard.log.close();
    ended.map(|()| shard.metrics.reporting.take())
}

/// What a shard owns.
struct Shard {
    reactor: Reactor,
    port: Rc<Port<Crossing>>,
    queue: Queue,
    inbound: Inbound,
    returns: Returns,
    screening: Screening,
    gate: Gate,
    dispatcher: Dispatcher,
    pool: Pool,
    metrics: Rc<Metrics>,
    log: Log,
}

impl Shard {
    async fn open(reactor: Reactor, start: Start) -> Result<Rc<Shard>, Error> {
        let Start { config, certificate, signers, trust, return_path, quotas, port, dns, log, .. } = start;
        let (passed, suppressed, suspended) = (start.passed, start.suppressed, start.suspended);
        let port = Rc::new(port);
        let log = Log::new(&reactor, port.shard(), log);
        let tls = server_tls(certificate.as_deref())?;
        let queue = Queue::open(&reactor, config.clone(), port.shard(), log.clone()).await?;
        queue.sign_with(signers.clone());
        if suspended {
            queue.order(Order::Suspend(Scope::All, true)).await;
        }
        let gate = Gate::new(&config, suppressed);
        let dns = dns::Cache::new(reactor.clone(), dns);
        let metrics = Rc::new(Metrics::default());
        metrics.reporting.want(config.tls_reports.is_some());
        let tools = Tools { reactor: reactor.clone(), dns: dns.clone(), metrics: metrics.clone(), log: log.clone() };
        let dispatcher = Dispatcher::new(
            tools.clone(),
            config.clone(),
            return_path.clone(),
            queue.clone(),
            gate.clone(),
            port.clone(),
        );
        let home = port.clone();
        let reply = move |owner, done| home.reply(owner, Crossing::Outcome(Box::new(done)));
        let screening = Screening::new(&reactor, &config.screening, dns.clone(), log.clone());
        let timing = Timing::default().with(&config.delivery);
        let pool = Pool::new(tools, config.clone(), &trust, timing, Some(queue.clone()), reply);
        let returns = way_to_owners(&port);
        let inbound = Inbound::new(
            &reactor,
            config,
            tls,
            signers,
            quotas,
            return_path,
            queue.clone(),
            screening.clone(),
            dns,
            gate.clone(),
            returns.clone(),
            log.clone(),
        );
        inbound.open(&passed)?;
        let dispatching = dispatcher.clone();
        reactor.spawn(async move { dispatching.run().await }).detach();
        Ok(Rc::new(Shard { reactor, port, queue, inbound, returns, screening, gate, dispatcher, pool, metrics, log }))
    }

    /// Serves what crosses until every shard has drained: the others wait for answers of this one, drained or not.
    async fn turn(self: &Rc<Self>) {
        let mut is_draining = false;
        let mut all_departed = pin!(self.port.all_departed().fuse());
        loop {
            let (from, crossing) = futures::select_biased! {
                crossed = self.port.receive().fuse() => crossed,
                () = all_departed => return,
            };
            match crossing {
                Crossing::Attempt(task) => self.pool.take(from.expect("only shards send attempts"), *task),
                Crossing::Outcome(done) => self.dispatcher.take(*done),
                Crossing::Order(order, answer) => self.reactor.spawn(self.clone().obey(*order, answer)).detach(),
                Crossing::Return(came, number) => {
                    let from = from.expect("only shards send reports");
                    self.reactor.spawn(self.clone().record(*came, number, from)).detach();
                }
                Crossing::Returned(number, taken) => self.returns.answer(number, taken),
                Crossing::Reload(reload) => self.configure(*reload),
                Crossing::Suppress(lists, answer) => {
                    self.gate.replace(lists);
                    // Whoever asked may have gone away.
                    let _ = answer.send(());
                }
                Crossing::Drain(patience) => {
                    if !std::mem::replace(&mut is_draining, true) {
                        self.reactor.spawn(self.clone().drain(patience)).detach();
                    }
                }
            }
        }
    }

    async fn obey(self: Rc<Self>, order: Order, answer: oneshot::Sender<Report>) {
        if let Order::Adjusted(destination) = &order {
            // Whoever asked may have gone away.
            let _ = answer.send(Report::Adjusted(self.pool.adjusted(destination.as_deref())));
            return;
        }
        if let Order::Behind(lanes) = &order {
            let _ = answer.send(Report::Behind(self.dispatcher.behind(lanes).await));
            return;
        }
        if let Order::Obstacles(ways) = &order {
            let _ = answer.send(Report::Obstacles(self.pool.obstacles(ways)));
            return;
        }
        if let Order::Lift(lift) = &order {
            let _ = answer.send(Report::Lifted(self.lift(lift).await));
            return;
        }
        if let Order::Reopen(reopen) = &order
            && !self.dispatcher.reopen(reopen)
        {
            let _ = answer.send(Report::Count(0));
            return;
        }
        let counts_here = matches!(order, Order::Metrics);
        let mut report = self.queue.order(order).await;
        if let (true, Report::Metrics(metrics)) = (counts_here, &mut report) {
            metrics.extend(self.metrics.list());
            metrics.extend(inbound_metrics(&self.inbound));
            metrics.extend(self.inbound.preflight_counts());
            metrics.extend(self.screening.counts());
            metrics.extend(self.gate.counts());
            metrics.extend(self.log.counts());
        }
        if let Report::TlsSessions(counts) = &mut report {
            **counts = self.metrics.reporting.take();
        }
        // Whoever asked may have gone away.
        let _ = answer.send(report);
    }

    /// Lifts what keeps mail from a destination on the paths whose home this shard is.
    async fn lift(&self, lift: &Lift) -> Lifted {
        let (sources, site) = match self.dispatcher.paths_to(lift).await {
            Ok(found) => found,
            Err(refused) => return refused,
        };
        let mut reopen = Reopen { destinations: BTreeSet::from([site.key.clone(), site.group()]), ..Reopen::default() };
        let mut paths = Vec::new();
        for source in sources {
            if self.dispatcher.home(&source, &site) == self.port.shard() {
                paths.extend(self.pool.lift(&source, &site, &lift.asked_by, &mut reopen.destinations).await);
            }
            reopen.sources.insert(source.name.clone());
        }
        Lifted::Done { destination: site.group(), paths, reopen }
    }

    /// Records what came back about a message of this shard's, and tells the shard that it came to.
    async fn record(self: Rc<Self>, came: Return, number: u64, from: usize) {
        let taken = self.queue.record_return(came).await;
        self.port.reply(from, Crossing::Returned(number, taken));
    }

    fn configure(&self, reload: Reload) {
        let Reload { config, certificate, signers, trust, return_path, quotas } = reload;
        match server_tls(certificate.as_deref()) {
            Ok(tls) => self.inbound.configure(config.clone(), tls, signers.clone(), quotas, return_path.clone()),
            Err(why) => return self.log.emit(&Event::ReloadRefused(&why)),
        }
        self.gate.configure(&config);
        self.metrics.reporting.want(config.tls_reports.is_some());
        self.queue.configure(config.clone());
        self.queue.sign_with(signers);
        self.dispatcher.configure(config.clone(), return_path);
        self.pool.configure(config, &trust);
    }

    /// Ends what runs, inbound and outbound side by side; what does not end within `patience` is on disk.
    async fn drain(self: Rc<Self>, patience: Duration) {
        let outbound = async { futures::join!(self.dispatcher.drain(), self.pool.drain()) };
        let (_, ()) = futures::join!(self.reactor.timeout(patience, outbound), self.inbound.drain(patience));
        self.port.depart();
    }
}

/// How what comes back here reaches the shards that own the messages.
fn way_to_owners(port: &Rc<Port<Crossing>>) -> Returns {
    let way = port.clone();
    Returns::new(port.shards(), move |came, number| {
        let owner = came.message.shard();
        let credit = way.credit(owner)?;
        way.request(owner, &credit, Crossing::Return(Box::new(came), number));
        Some(credit)
    })
}

fn inbound_metrics(inbound: &Inbound) -> [(&'static str, u64); 12] {
    let counts = inbound.counts();
    [
        ("inbound_connections_opened_total", counts.connections),
        ("inbound_connections_refused_total", counts.connections_refused),
        ("inbound_connections", counts.open),
        ("inbound_content_memory_bytes", counts.content_memory_bytes),
        ("inbound_messages_total", counts.messages),
        ("inbound_bytes_total", counts.bytes),
        ("inbound_signatures_total{result=\"signed\"}", counts.signed),
        ("inbound_signatures_total{result=\"failed\"}", counts.not_signed),
        ("inbound_tls_failures_total", counts.tls_failures),
        ("inbound_auth_failures_total", counts.auth_failures),
        ("inbound_returns_ignored_total", counts.returns_ignored),
        ("inbound_panics_total", counts.panics),
    ]
}

/// Each shard has its own TLS configuration: session tickets are its own, and nothing is shared.
fn server_tls(certificate: Option<&Certificate>) -> Result<Option<Arc<rustls::ServerConfig>>, shards::tls::TlsError> {
    certificate.map(|pem| shards::tls::server_config(&pem.chain_pem, &pem.key_pem)).transpose()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};

    use shards::mesh::mesh;

    use super::*;
    use crate::events::log::Style;
    use crate::outbound::Task;
    use crate::queue::MessageId;
    use crate::queue::outcome::Outcome;
    use crate::route::Site;
    use crate::smtp::envelope::{Body, Notify, Recipient, Sender};
    use crate::smtp::path::{Mailbox, ReversePath};

    /// What only a defect takes longer than.
    const PATIENT: Duration = Duration::from_secs(20);

    fn task(port: u16) -> Task {
        let path = Mailbox::parse("b@next.test", false).expect("a mailbox");
        Task {
            lease: 7,
            message: MessageId::new(1, 1),
            source: Arc::default(),
            site: Arc::new(Site {
                key: "site".into(),
                hosts: Vec::new(),
                port,
                assurance: Default::default(),
                shape: Default::default(),
            }),
            sender: Sender {
                path: ReversePath::Null,
                body: Body::SevenBit,
                smtputf8: false,
                size: None,
                ret: None,
                envid: None,
                requiretls: false,
            },
            recipients: vec![(0, Recipient { path, notify: Notify::default(), orcpt: None })],
            content: Arc::new(b"Subject: hi\r\n\r\nbody\r\n".to_vec()),
            return_path: None,
            insists: false,
            replies: None,
            tenant: Box::default(),
            campaign: Box::default(),
        }
    }

    fn start(folder: &std::path::Path, relay: SocketAddr, port: Port<Crossing>) -> Start {
        let text = format!(
            "[server]\nhostname = \"mta.ringpost.test\"\ndata_dir = \"data\"\n[[listener]]\nkind = \"relay\"\n\
             address = \"{relay}\"\ntls = \"off\"\nnetworks = [\"127.0.0.0/8\"]\n"
        );
        let config = Arc::new(Config::parse(&text, folder).expect("a good configuration"));
        let (dns, _) = mpsc::channel(1);
        let quotas = Quotas::new(&config);
        Start {
            config,
            certificate: None,
            signers: Arc::default(),
            trust: Arc::default(),
            return_path: None,
            quotas,
            port,
            dns,
            log: Channel::new(Style::Logfmt),
            passed: Arc::default(),
            suppressed: Arc::default(),
            suspended: false,
        }
    }

    /// Whether nobody accepts connections at `address` any more.
    async fn is_closed(reactor: &Reactor, address: SocketAddr) -> bool {
        reactor.connect(address, None, PATIENT).await.is_err()
    }

    #[test]
    fn a_shard_that_has_drained_answers_until_the_others_have_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let relay = free.local_addr().expect("its address");
        drop(free);
        let (mut ports, inlet) = mesh(2, 1, 1);
        let (other, port) = (ports.pop().expect("two"), ports.pop().expect("two"));
        let start = start(folder.path(), relay, port);
        shards::launch::run(async move |reactor: Reactor| {
            let (ready, started) = oneshot::channel();
            let shard = run(reactor.clone(), start, || ready.send(()).expect("it is waited for"));
            let other_shard = async {
                started.await.expect("the shard starts");
                assert!(inlet.send(0, Crossing::Drain(PATIENT)).is_ok());
                while !is_closed(&reactor, relay).await {
                    reactor.yield_now().await;
                }
                // It has nothing of its own left to wait for, and this one's last task comes only now.
                let credit = other.credit(0).expect("a credit");
                other.request(0, &credit, Crossing::Attempt(Box::new(task(relay.port()))));
                let answer = reactor.timeout(PATIENT, other.receive()).await.expect("an answer in time");
                let (Some(0), Crossing::Outcome(done)) = answer else { panic!("not the answer") };
                assert_eq!(done.lease, 7);
                assert!(matches!(done.outcomes[..], [(0, Outcome::Untried(_))]), "{:?}", done.outcomes);
                other.depart();
            };
            let (ended, ()) = futures::join!(shard, other_shard);
            ended.expect("it ends in good order");
        })
        .expect("a shard");
    }
}
