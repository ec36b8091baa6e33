//! The process from its start to its end: what `ringpost serve` does, and what the demo does inside.
//!
//! Start: probe the host → claim the data directory → read what is needed from disk → bind the control plane → start the
//! shards → wait until each listens. Stop: tell the shards to drain → wait until each has flushed.

mod starting;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc as channel;
use shards::mesh::mesh;
use shards::passed::{self, Passed};
use shards::probe::Finding;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};

use starting::{News, Starting};

use super::commands::Failure;
use super::desk::Desk;
use super::http::{self, Access, Bounded, Token};
use super::journal::Journal;
use super::log::Writer;
use super::named::{self, Named};
use super::notify::Notifier;
use super::signals::{self, Request, Signals};
use super::suppression::{Feeds, Keeper};
use super::trust::Trusted;
use super::webhook::{self, Endpoint, Lanes};
use super::{certificate, clock, ports, reload, resolver, return_path, socket, sts, tls_reports, vital};
use crate::authentication::Signers;
use crate::bounce::return_path::ReturnPath;
use crate::config::{Config, Mistake};
use crate::crossing::{Crossing, Quotas, Reload};
use crate::dns::Query;
use crate::events::log::Channel;
use crate::events::{Event, Style};
use crate::queue::Claim;

/// Requests under way from each shard to each other one.
const CREDITS: usize = 256;
/// Orders on their way to each shard.
const INLET_SLOTS: usize = 64;
/// DNS questions on their way to the resolver, for each shard.
const DNS_QUESTIONS: usize = 1_024;
/// How long sessions and deliveries may go on once we stop.
const DRAIN_PATIENCE: Duration = Duration::from_secs(30);
/// How long a shard may take beyond that, to flush.
const FLUSH_PATIENCE: Duration = Duration::from_secs(30);
/// How often the certificate's files are looked at.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(10);

/// What a server is started with.
pub struct Options {
    /// The configuration.
    pub config: Arc<Config>,
    /// Where it was read from; `None`: there is nothing to reload.
    pub file: Option<PathBuf>,
    /// All delivery is suspended at first.
    pub suspended: bool,
    /// Who reads the log.
    pub style: Style,
    /// Where the log goes.
    pub out: Box<dyn Write + Send>,
}

/// The way to change how questions are answered.
type Resolving = watch::Sender<resolver::Settings>;

/// `ringpost serve`: runs until it is told to stop.
pub fn run(file: &Path, config: Arc<Config>, hold: bool) -> Result<(), Failure> {
    let options = Options {
        config,
        file: Some(file.to_owned()),
        suspended: hold,
        style: Style::Logfmt,
        out: Box::new(std::io::stderr()),
    };
    run_with(options, |_| ())
}

/// Runs a server until it is told to stop. `when_ready` is called once all its shards listen.
pub fn run_with(options: Options, when_ready: impl FnOnce(Option<&Token>)) -> Result<(), Failure> {
    signals::block().map_err(|error| failed("signals", &error))?;
    probe(&options.config)?;
    let wrong = |mistakes: Vec<Mistake>| {
        Failure::Wrong(mistakes.iter().map(|mistake| in_file(mistake, options.file.as_deref())).collect())
    };
    let Named { certificate, signers, trusted } = named::by(&options.config).map_err(wrong)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed("the control thread", &error))?;
    let passed = passed_sockets(&options.config, options.file.as_deref())?;
    let claim = Claim::new(&options.config).map_err(|error| Failure::Failed(error.to_string()))?;
    let policies = sts::Store::open(&options.config.data_dir).map_err(|error| failed("mta-sts", &error))?;
    let return_path = return_path::of(&options.config).map_err(|mistake| wrong(vec![mistake]))?;
    let endpoints = webhook::prepare(&options.config).map_err(wrong)?;
    let plane = Plane::bind(&options.config, options.file.as_deref(), &runtime)?;
    let log = Channel::new(options.style);
    log.set_level(options.config.log.level);
    let journal = match options.style {
        Style::Logfmt => Journal::of(options.config.log.to).map_err(|error| failed("the journal", &error))?,
        Style::Story => None,
    };
    let writer = Writer::start(log.clone(), journal, options.out).map_err(|error| failed("the log", &error))?;
    let (news, telling) = mpsc::unbounded_channel();
    let (dns, questions) = channel::channel(DNS_QUESTIONS);
    let (ports, inlet) = mesh(options.config.shards, CREDITS, INLET_SLOTS);
    let quotas = Quotas::after(claim.elsewhere(), &options.config);
    let keeper = Keeper::open(&options.config, &log).map_err(|error| failed("the suppressions", &error))?;
    complain_of_unused(&passed, &options.config, &log);
    let start = Starting {
        config: options.config.clone(),
        passed,
        certificate,
        signers: signers.clone(),
        trust: trusted.trust.clone(),
        return_path: return_path.clone(),
        quotas: quotas.clone(),
        suppressed: keeper.lists(),
        suspended: options.suspended,
        log: log.clone(),
        dns,
        news,
    };
    claim.begin().map_err(|error| Failure::Failed(error.to_string()))?;
    let running = start.launch(ports)?;

    let Options { config, file, .. } = options;
    let control = Control {
        config,
        signers,
        trusted,
        return_path,
        quotas,
        keeper,
        file,
        log,
        desk: Desk::new(inlet),
        telling,
        untold: Vec::new(),
        notifier: Notifier::from_environment(),
        lanes: Lanes::default(),
        feeds: Feeds::default(),
        reporting: None,
        asking: None,
    };
    let result = runtime.block_on(control.run(plane, (questions, policies), endpoints, when_ready));
    if result.is_ok() {
        running.join().map_err(|error| failed("the shards", &error))?;
    }
    writer.finish();
    drop(claim);
    result
}

/// The demo's configuration is in no file.
fn in_file(mistake: &Mistake, file: Option<&Path>) -> String {
    mistake.in_file(file.unwrap_or(Path::new("the configuration")))
}

fn failed(what: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::Failed(format!("{what}: {why}"))
}

/// The sockets that a service manager passed; the other listeners' addresses are free, and the control plane's too.
fn passed_sockets(config: &Config, file: Option<&Path>) -> Result<Arc<[Passed]>, Failure> {
    let passed = passed::take(config.shards).map_err(|error| Failure::Failed(error.to_string()))?;
    let addresses: Vec<SocketAddr> = passed.iter().map(Passed::address).collect();
    let own = config.listeners.iter().filter(|listener| !addresses.contains(&listener.address));
    let own = own.map(|listener| ("listener.address", listener.address, listener.line));
    for (key, address, line) in own.chain(config.http.iter().map(|http| ("http.address", http.address, http.line))) {
        let mistake = |why: String| Mistake { line, text: format!("{key}: {why}") };
        // What is in the way may be gone at the next start: that is no wrong configuration.
        ports::must_be_free(address, &addresses).map_err(|why| Failure::Failed(in_file(&mistake(why), file)))?;
    }
    Ok(passed.into())
}

/// Whoever connects to a passed socket that no listener names would wait for ever.
fn complain_of_unused(passed: &[Passed], config: &Config, log: &Channel) {
    for passed in passed {
        let address = passed.address();
        if config.listeners.iter().all(|listener| listener.address != address) {
            let why = format!(
                "a socket for {address} was passed by the service manager, and no [[listener]] has that address: \
                 add one, or mask the socket unit"
            );
            log.say(clock::now(), &Event::Trouble(&why));
        }
    }
}

/// Says what the host lacks; goes on unless starting makes no sense.
fn probe(config: &Config) -> Result<(), Failure> {
    let connections = config.delivery.connections_max as usize + config.limits.connections_per_address_max;
    let findings = shards::probe::probe(config.shards, connections * config.shards);
    // A journal takes a line for an entry of its own; people read a remedy better below its problem.
    let between = if std::io::stderr().is_terminal() { "\n         -> " } else { ": " };
    for Finding { fatal, problem, remedy } in &findings {
        let kind = if *fatal { "error" } else { "warning" };
        eprintln!("ringpost: {kind}: {problem}{between}{remedy}");
    }
    if findings.iter().any(|finding| finding.fatal) {
        return Err(Failure::Failed("this host cannot run ringpost as it is: see above".into()));
    }
    Ok(())
}

/// Where the control plane listens.
struct Plane {
    _bound: socket::Bound,
    socket: UnixListener,
    http: Option<(TcpListener, Arc<Token>)>,
}

impl Plane {
    fn bind(config: &Config, file: Option<&Path>, runtime: &Runtime) -> Result<Plane, Failure> {
        let _inside = runtime.enter();
        let path = socket::path(&config.data_dir);
        let (bound, socket) =
            socket::bind(&config.data_dir).map_err(|error| failed(&path.display().to_string(), &error))?;
        let http = match &config.http {
            Some(http) => {
                let wrong = |text| Failure::Wrong(vec![in_file(&Mistake { line: http.token_file.line, text }, file)]);
                let token = Token::read_or_make(&http.token_file.path).map_err(|error| {
                    let text = format!("http.token_file: {error}");
                    // A full disk passes: a service that ends so is started again.
                    if error.is_of_the_file() { wrong(text) } else { Failure::Failed(text) }
                })?;
                let listener = runtime
                    .block_on(TcpListener::bind(http.address))
                    .map_err(|error| failed(&format!("http.address {}", http.address), &error))?;
                Some((listener, Arc::new(token)))
            }
            None => None,
        };
        Ok(Plane { _bound: bound, socket, http })
    }
}

/// The control thread's work.
struct Control {
    config: Arc<Config>,
    signers: Arc<Signers>,
    trusted: Trusted,
    return_path: Option<Arc<ReturnPath>>,
    quotas: Arc<Quotas>,
    keeper: Keeper,
    file: Option<PathBuf>,
    log: Arc<Channel>,
    desk: Desk,
    telling: mpsc::UnboundedReceiver<News>,
    /// Shards that have not taken the configuration yet.
    untold: Vec<usize>,
    notifier: Notifier,
    lanes: Lanes,
    feeds: Feeds,
    /// The way to change how reports are made.
    reporting: Option<watch::Sender<tls_reports::Settings>>,
    /// The way to ask for them.
    asking: Option<http::Asking>,
}

impl Control {
    async fn run(
        mut self,
        plane: Plane,
        (questions, policies): (channel::Receiver<Query>, sts::Store),
        endpoints: Vec<Endpoint>,
        when_ready: impl FnOnce(Option<&Token>),
    ) -> Result<(), Failure> {
        let mut signals = Signals::listen().map_err(|error| failed("signals", &error))?;
        let (resolving, asked) = watch::channel(resolver::Settings::of(&self.config, &self.trusted));
        vital::spawn("the resolver", resolver::answer_queries(questions, asked, policies));
        if !self.wait_until_ready(&mut signals).await? {
            return self.drain(&mut signals).await;
        }
        let asking = self.start_reporter()?;
        let listeners: Arc<[SocketAddr]> = self.config.listeners.iter().map(|listener| listener.address).collect();
        let (desk, keeper, log) = (self.desk.clone(), self.keeper.clone(), self.log.clone());
        let router = move |access| {
            http::router(desk.clone(), keeper.clone(), log.clone(), asking.clone(), listeners.clone(), access)
        };
        let socket = router(Access::Socket);
        vital::spawn("the control socket", async move { axum::serve(Bounded::new(plane.socket), socket).await });
        self.lanes = Lanes::start(endpoints, &self.desk, &self.log);
        self.keeper.start(&self.desk);
        self.feeds = Feeds::start(&self.config, &self.keeper, &self.desk, &self.log);
        let mut token = None;
        if let Some((listener, its_token)) = plane.http {
            let router = router(Access::Bearer(its_token.clone()));
            vital::spawn("the HTTP server", async move { axum::serve(Bounded::new(listener), router).await });
            token = Some(its_token);
        }
        self.say(&Event::Ready { shards: self.config.shards });
        self.notifier.ready();
        vital::spawn("the watchdog's feeder", self.notifier.clone().watch(self.desk.clone()));
        when_ready(token.as_deref());
        self.go_on(&mut signals, &resolving).await
    }

    /// Whether all shards listen; `false`: we are to stop before that.
    async fn wait_until_ready(&mut self, signals: &mut Signals) -> Result<bool, Failure> {
        let mut missing = self.config.shards;
        while missing > 0 {
            tokio::select! {
                news = self.telling.recv() => match news {
                    Some(News::Ready) => missing -= 1,
                    Some(News::Ended(_, Err(error))) => return Err(Failure::Failed(error)),
                    Some(News::Ended(..)) | None => return Err(Failure::Failed("a shard ended while it started".into())),
                },
                request = signals.next() => if request == Request::Stop {
                    return Ok(false);
                },
            }
        }
        Ok(true)
    }

    /// The normal life, until it ends.
    async fn go_on(mut self, signals: &mut Signals, resolving: &Resolving) -> Result<(), Failure> {
        let mut look = tokio::time::interval(CERTIFICATE_LOOK);
        let mut seen = self.config.tls.as_ref().map(certificate::changed);
        loop {
            tokio::select! {
                request = signals.next() => match request {
                    Request::Stop => return self.drain(signals).await,
                    Request::Reload => {
                        self.notifier.reloading();
                        self.reload(resolving).await;
                        self.notifier.ready();
                        seen = self.config.tls.as_ref().map(certificate::changed);
                    }
                },
                news = self.telling.recv() => if let Some(News::Ended(shard, result)) = news {
                    let why = result.err().unwrap_or_else(|| "it ended by itself".into());
                    self.say(&Event::Trouble(&format!("shard {shard}: {why}")));
                    // Its connections are gone and its queue is on disk: a new process recovers it, this one cannot.
                    return Err(Failure::Failed(format!("shard {shard}: {why}")));
                },
                _ = look.tick() => {
                    let now = self.config.tls.as_ref().map(certificate::changed);
                    if now != seen {
                        seen = now;
                        self.tell_config(self.all_shards()).await;
                    } else if !self.untold.is_empty() {
                        self.tell_config(self.untold.clone()).await;
                    }
                }
            }
        }
    }

    async fn reload(&mut self, resolving: &Resolving) {
        let Some(file) = &self.file else { return };
        match reload::prepare(file, &self.config) {
            Ok(reload::Reload { config, signers, trusted, return_path, endpoints }) => {
                (self.config, self.signers) = (config, signers);
                (self.trusted, self.return_path) = (trusted, return_path);
                self.quotas = self.quotas.follow(&self.config);
                self.log.set_level(self.config.log.level);
                let _ = resolving.send(resolver::Settings::of(&self.config, &self.trusted));
                self.keeper.configure(&self.config).await;
                if let Some(reporting) = &self.reporting {
                    let _ = reporting.send(self.report_settings());
                }
                self.tell_config(self.all_shards()).await;
                self.lanes = Lanes::start(endpoints, &self.desk, &self.log);
                self.feeds = Feeds::start(&self.config, &self.keeper, &self.desk, &self.log);
            }
            Err(refusals) => {
                for refusal in refusals {
                    self.say(&Event::ReloadRefused(&refusal));
                }
            }
        }
    }

    /// Starts what adds up and sends TLS reports; the way to ask it.
    fn start_reporter(&mut self) -> Result<http::Asking, Failure> {
        let (asking, asks) = mpsc::channel(tls_reports::ASKS_MAX);
        let (reporting, settings) = watch::channel(self.report_settings());
        let data_dir = &self.config.data_dir;
        let reporter = tls_reports::Reporter::open(data_dir, self.desk.clone(), self.log.clone(), settings)
            .map_err(|error| failed("tls-reports", &error))?;
        vital::spawn("the reporter", reporter.run(asks));
        self.reporting = Some(reporting);
        self.asking = Some(asking.clone());
        Ok(asking)
    }

    fn report_settings(&self) -> tls_reports::Settings {
        tls_reports::Settings::of(&self.config, &self.signers, &self.trusted.trust)
    }

    fn all_shards(&self) -> Vec<usize> {
        (0..self.desk.shards()).collect()
    }

    /// Gives these shards the configuration and the certificate as its files are now; unusable ones change nothing. A shard
    /// that is too busy is told again, until all have the same.
    async fn tell_config(&mut self, shards: Vec<usize>) {
        let certificate = match certificate::of(&self.config) {
            Ok(certificate) => certificate,
            Err(mistake) => return self.say(&Event::ReloadRefused(&in_file(&mistake, self.file.as_deref()))),
        };
        let Control { config, signers, trusted, return_path, quotas, desk, .. } = &*self;
        let reload = Reload {
            config: config.clone(),
            certificate,
            signers: signers.clone(),
            trust: trusted.trust.clone(),
            return_path: return_path.clone(),
            quotas: quotas.clone(),
        };
        let untold = desk.tell(shards, || Crossing::Reload(Box::new(reload.clone()))).await;
        self.untold = untold;
        if self.untold.is_empty() {
            return self.say(&Event::Reloaded);
        }
        let why = format!("shards {:?} are too busy for the new configuration, and are told again", self.untold);
        self.say(&Event::Trouble(&why));
    }

    /// Lets what runs come to its end. A second request to stop ends it at once: what is not done is on disk.
    async fn drain(mut self, signals: &mut Signals) -> Result<(), Failure> {
        self.notifier.stopping();
        self.say(&Event::Draining(DRAIN_PATIENCE.as_secs()));
        let all_end = async {
            let untold = self.desk.tell(self.all_shards(), || Crossing::Drain(DRAIN_PATIENCE)).await;
            if !untold.is_empty() {
                return Err(format!("shards {untold:?} do not answer"));
            }
            let mut counted = Vec::new();
            while counted.len() < self.config.shards {
                if let Some(News::Ended(shard, result)) = self.telling.recv().await {
                    counted.push(result.map_err(|error| format!("shard {shard}: {error}"))?);
                }
            }
            if let Some(asking) = &self.asking {
                let (answer, kept) = oneshot::channel();
                // What it could not keep it has told.
                let _ = asking.send(tls_reports::Ask::Stop(counted, answer)).await;
                let _ = kept.await;
            }
            Ok(())
        };
        let again = async { while signals.next().await != Request::Stop {} };
        let result = tokio::select! {
            result = tokio::time::timeout(DRAIN_PATIENCE + FLUSH_PATIENCE, all_end) => {
                result.unwrap_or_else(|_| Err("the shards did not stop in time".into()))
            }
            () = again => Err("stopped at once, on request; deliveries under way are tried again".into()),
        };
        match result {
            Ok(()) => {
                self.say(&Event::Stopped);
                Ok(())
            }
            Err(why) => Err(Failure::Failed(why)),
        }
    }

    fn say(&self, event: &Event<'_>) {
        self.log.say(clock::now(), event);
    }
}
