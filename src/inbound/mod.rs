//! Inbound: accepts connections and drives `smtp::server` on them: TLS, patience, policy, the queue.
//!
//! Owns: a shard's doors (listeners with what they offer), who is inside ([`admit`]), each conversation ([`converse`])
//! with its questions ([`answer`], [`screen`], [`preflight`],
//! [`sign`]), what comes back to the return path
//! ([`returned`]), the memory that arriving content may take ([`budget`]), recently
//! verified credentials ([`credentials`]), wrong ones ([`guesses`]) and what accounts use ([`quota`]).
//! Never: the protocol (`smtp::server`), who may do what (`policy`), what scanners say (`screening`), what is on disk
//! (`queue`).
//! After a crash: whoever had no 250 sends again; credentials are verified anew; quotas are what the queue says.
//! RFC: 5321 §4.5.3.2.7, §4.2.5, 3207, 4954, 6409, 8314.
//! Limits: [`admit::CONNECTIONS_MAX`] connections, `[limits] connections_per_address_max` and
//! `connections_per_account_max`; content memory
//! `[limits] content_memory_bytes_max` / [`budget::SHARE`]; every wait has a patience.
//!
//! A panic in a conversation is caught, logged and counted: a defect costs one peer, not the shard.

mod admit;
mod answer;
mod budget;
mod converse;
mod credentials;
mod guesses;
mod preflight;
mod quota;
mod returned;
mod screen;
mod sign;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{Either, Shared, select};
use shards::net::{Listener, Stream, exhausted};
use shards::passed::Passed;
use shards::{Instant, Reactor, Task};

use crate::authentication::Signers;
use crate::bounce::return_path::ReturnPath;
use crate::config::{self, Config, ListenerKind, ListenerTls};
use crate::dns;
use crate::events::{Event, Log};
use crate::policy::{Accounts, Authorized, network};
use crate::queue::Queue;
use crate::screening::Screening;
use crate::smtp::reply::{self, Fixed, Reply};
use crate::smtp::server::{Session, Settings};
use crate::suppression::Gate;
use admit::{Admissions, Ticket};
use budget::Budget;
use converse::Conversation;
use credentials::Credentials;
use preflight::Preflight;
pub use quota::Quotas;
pub use returned::Returns;
use sign::Signing;

/// Bad commands that end a session.
const ERRORS_MAX: u32 = 20;
/// How often it is said of a listener that there are no sockets for its connections.
const EXHAUSTED_TOLD: Duration = Duration::from_secs(60);

/// One shard's inbound side; a cheap handle.
#[derive(Clone)]
pub struct Inbound(Rc<Inner>);

struct Inner {
    reactor: Reactor,
    queue: Queue,
    log: Log,
    current: RefCell<Current>,
    admissions: Rc<Admissions>,
    budget: Rc<Budget>,
    credentials: Credentials,
    screening: Screening,
    gate: Gate,
    preflight: Preflight,
    signing: Signing,
    returns: Returns,
    counts: Tally,
    /// What accepts at each door.
    serving: RefCell<Vec<Task<()>>>,
    /// Fires when the shard drains.
    stop: RefCell<Option<oneshot::Sender<()>>>,
    stopped: Shared<oneshot::Receiver<()>>,
}

/// What a configuration says; sessions that run keep the one with which they began.
struct Current {
    config: Arc<Config>,
    accounts: Rc<Accounts>,
    signers: Arc<Signers>,
    quotas: Arc<Quotas>,
    return_path: Option<Arc<ReturnPath>>,
    doors: Vec<Rc<Door>>,
}

/// What has happened at the doors since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were let in.
    pub connections: u64,
    /// Connections that were refused at the door.
    pub connections_refused: u64,
    /// Messages that were answered 250.
    pub messages: u64,
    /// Octets of their content, trace included.
    pub bytes: u64,
    /// Messages that were signed.
    pub signed: u64,
    /// Messages that were put off because they could not be.
    pub not_signed: u64,
    /// Handshakes that failed.
    pub tls_failures: u64,
    /// Authentications with wrong credentials.
    pub auth_failures: u64,
    /// Messages to the return path that change nothing.
    pub returns_ignored: u64,
    /// Conversations that a defect of ours ended.
    pub panics: u64,
    /// Connections that are open now.
    pub open: u64,
    /// Octets of content that is arriving, in memory.
    pub content_memory_bytes: u64,
}

#[derive(Default)]
struct Tally(Cell<Counts>);

impl Tally {
    fn note(&self, note: impl FnOnce(&mut Counts)) {
        let mut counts = self.0.get();
        note(&mut counts);
        self.0.set(counts);
    }
}

/// A listener as it was configured, with what its sessions offer. Shared by all of them.
struct Door {
    listener: config::Listener,
    settings: Arc<Settings>,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Inbound {
    /// The inbound side of a shard. `tls` is what the configured certificate makes; without it no listener offers TLS.
    #[expect(clippy::too_many_arguments, reason = "each part of the shard that it joins, once")]
    pub fn new(
        reactor: &Reactor,
        config: Arc<Config>,
        tls: Option<Arc<rustls::ServerConfig>>,
        signers: Arc<Signers>,
        quotas: Arc<Quotas>,
        return_path: Option<Arc<ReturnPath>>,
        queue: Queue,
        screening: Screening,
        dns: dns::Cache,
        gate: Gate,
        returns: Returns,
        log: Log,
    ) -> Inbound {
        let (stop, stopped) = oneshot::channel();
        let credentials = Credentials::new(quotas.guesses());
        credentials.configure(&config.limits);
        quotas.hear(&Quotas::default(), reactor.wall(), |account| queue.submitted_today(account));
        Inbound(Rc::new(Inner {
            reactor: reactor.clone(),
            queue,
            log,
            budget: Budget::new(&config.limits),
            current: RefCell::new(Current::new(config, tls, signers, quotas, return_path)),
            admissions: Admissions::new(),
            credentials,
            screening,
            gate,
            preflight: Preflight::new(reactor, dns),
            signing: Signing::default(),
            returns,
            counts: Tally::default(),
            serving: RefCell::default(),
            stop: RefCell::new(Some(stop)),
            stopped: stopped.shared(),
        }))
    }

    /// Uses `config` and `tls` for sessions that begin from now on, `signers` for the next message. Credentials that were
    /// verified are forgotten.
    pub fn configure(
        &self,
        config: Arc<Config>,
        tls: Option<Arc<rustls::ServerConfig>>,
        signers: Arc<Signers>,
        quotas: Arc<Quotas>,
        return_path: Option<Arc<ReturnPath>>,
    ) {
        let Inner { current, reactor, queue, .. } = &*self.0;
        quotas.hear(&current.borrow().quotas, reactor.wall(), |account| queue.submitted_today(account));
        self.0.budget.configure(&config.limits);
        self.0.screening.configure(&config.screening);
        self.0.credentials.configure(&config.limits);
        self.0.preflight.configure();
        *current.borrow_mut() = Current::new(config, tls, signers, quotas, return_path);
    }

    /// Opens every configured listener and serves it in tasks of their own. One whose address was `passed` on listens
    /// on that socket.
    ///
    /// # Errors
    /// The address that cannot be listened on, and why. Nothing is served then.
    pub fn open(&self, passed: &[Passed]) -> io::Result<Vec<SocketAddr>> {
        let listeners = self.0.current.borrow().config.listeners.clone();
        let mut opened = Vec::with_capacity(listeners.len());
        for listener in listeners {
            let passed = passed.iter().find(|passed| passed.address() == listener.address);
            let listen = |reactor: &Reactor| match passed {
                Some(passed) => reactor.listen_on(passed),
                None => reactor.listen(listener.address),
            };
            let socket = listen(&self.0.reactor).map_err(|error| {
                io::Error::new(error.kind(), format!("cannot listen on {}: {error}", listener.address))
            })?;
            opened.push((socket, listener));
        }
        let addresses = opened.iter().map(|(socket, _)| socket.address()).collect();
        for (socket, listener) in opened {
            self.0.log.emit(&Event::Listening(socket.address()));
            let serving = self.0.reactor.spawn(self.clone().serve(socket, listener.address));
            self.0.serving.borrow_mut().push(serving);
        }
        Ok(addresses)
    }

    /// Stops accepting, says 421 to idle sessions, lets content in transit and first messages come to their end; returns
    /// when all are gone or `patience` is over. Who is left then ends with the shard, and sends again.
    pub async fn drain(&self, patience: Duration) {
        if let Some(stop) = self.0.stop.borrow_mut().take() {
            // Nobody may be listening any more; then there is nobody to stop.
            let _ = stop.send(());
        }
        let serving = self.0.serving.take();
        let all_gone = async {
            futures::future::join_all(serving).await;
            self.0.admissions.emptied().await;
        };
        let _ = self.0.reactor.timeout(patience, all_gone).await;
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        let (open, content_memory_bytes) = (self.0.admissions.inside() as u64, self.0.budget.used() as u64);
        Counts { open, content_memory_bytes, ..self.0.counts.0.get() }
    }

    /// What became of messages that were held against receivers' rules, as metrics.
    pub fn preflight_counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.preflight.counts()
    }

    /// Accepts until the shard drains or the listener ends. Whoever was accepted by then is let in: it came in time.
    async fn serve(self, socket: Listener, configured: SocketAddr) {
        let mut told = None;
        while let Some(stream) = self.accept(&socket, configured, &mut told).await {
            self.admit(stream, configured);
        }
        for stream in socket.stop().await {
            self.admit(stream, configured);
        }
    }

    /// The next connection, while there are to be more. `told` is when it was last said that there are no sockets for them.
    async fn accept(&self, socket: &Listener, configured: SocketAddr, told: &mut Option<Instant>) -> Option<Stream> {
        loop {
            let accept = pin!(socket.accept());
            let error = match select(accept, self.0.stopped.clone()).await {
                Either::Left((Ok(stream), _)) => return Some(stream),
                Either::Left((Err(error), _)) => error,
                Either::Right(_) => return None,
            };
            let Some(remedy) = exhausted(&error) else {
                let why = format!("{configured} takes no more connections: {error}");
                self.0.log.emit(&Event::Trouble(&why));
                return None;
            };
            let now = self.0.reactor.now();
            if told.is_none_or(|told| now.since(told) >= EXHAUSTED_TOLD) {
                *told = Some(now);
                let why = format!("{configured}: whoever connects must wait: {error}: {remedy}");
                self.0.log.emit(&Event::Trouble(&why));
            }
        }
    }

    /// Lets a connection in, or refuses it with a reason. Both in a task of its own.
    fn admit(&self, stream: Stream, configured: SocketAddr) {
        let (door, per_address_max) = {
            let current = self.0.current.borrow();
            (current.door(configured), current.config.limits.connections_per_address_max)
        };
        let Some(door) = door else { return };
        let client = stream.peer().ip();
        let admitted =
            door.rights(client).and_then(|rights| Ok((rights, self.0.admissions.admit(client, per_address_max)?)));
        match admitted {
            Ok((rights, ticket)) => self.converse(stream, &door, rights, ticket),
            Err(refusal) => self.turn_away(stream, &door, refusal.reply()),
        }
    }

    fn converse(&self, stream: Stream, door: &Door, rights: Option<Authorized>, ticket: Ticket) {
        self.0.counts.note(|counts| counts.connections += 1);
        let client = stream.peer();
        let session = Session::new(door.settings.clone(), door.encrypts_at_once());
        let conversation = Conversation::new(self.clone(), session, client, door.tls.clone(), rights);
        let conversation = conversation.with_return_path(door.listener.return_path);
        self.spawn(client, Box::new(conversation).run(stream, door.encrypts_at_once()), ticket);
    }

    /// Tells a client why it cannot come in. Where even that would be too much work, it is told nothing.
    fn turn_away(&self, stream: Stream, door: &Door, reply: Reply) {
        self.0.counts.note(|counts| counts.connections_refused += 1);
        let client = stream.peer();
        let what = "connection";
        let refused = Event::Refused { client, account: None, user: None, what, reply: &reply, screening: None };
        self.0.log.emit(&refused);
        let Some(ticket) = self.0.admissions.turn_away() else { return };
        let session = Session::refusing(door.settings.clone(), reply);
        let conversation = Conversation::new(self.clone(), session, client, door.tls.clone(), None);
        self.spawn(client, Box::new(conversation).run(stream, door.encrypts_at_once()), ticket);
    }

    /// Runs a conversation in a task of its own that survives its panic. The ticket is given back at its end.
    fn spawn(&self, client: SocketAddr, conversation: impl Future<Output = ()> + 'static, ticket: Ticket) {
        let inbound = self.clone();
        // Boxed, or the layers around it would each hold the room for it.
        let conversation = Box::pin(conversation);
        let guarded = async move {
            if let Err(panic) = AssertUnwindSafe(conversation).catch_unwind().await {
                let why = panic
                    .downcast_ref::<&str>()
                    .copied()
                    .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
                    .unwrap_or("no message");
                inbound.0.counts.note(|counts| counts.panics += 1);
                inbound.0.log.emit(&Event::SessionPanicked { client, why });
            }
            drop(ticket);
        };
        self.0.reactor.spawn(guarded).detach();
    }
}

impl Current {
    fn new(
        config: Arc<Config>,
        tls: Option<Arc<rustls::ServerConfig>>,
        signers: Arc<Signers>,
        quotas: Arc<Quotas>,
        return_path: Option<Arc<ReturnPath>>,
    ) -> Current {
        let doors =
            config.listeners.iter().map(|listener| Rc::new(Door::new(listener, &config, tls.clone()))).collect();
        let accounts = Rc::new(Accounts::new(&config.accounts));
        Current { accounts, signers, quotas, return_path, config, doors }
    }

    /// The door at this address; none where a reload took its listener away, whose socket stays open until a restart.
    fn door(&self, address: SocketAddr) -> Option<Rc<Door>> {
        self.doors.iter().find(|door| door.listener.address == address).cloned()
    }
}

impl Door {
    fn new(listener: &config::Listener, config: &Config, tls: Option<Arc<rustls::ServerConfig>>) -> Door {
        let settings = Settings {
            hostname: config.hostname.clone(),
            starttls: matches!(listener.tls, ListenerTls::StartTls | ListenerTls::Optional) && tls.is_some(),
            tls_required: listener.tls == ListenerTls::StartTls,
            auth_required: listener.kind == ListenerKind::Submission,
            message_bytes_max: config.limits.message_bytes_max,
            recipients_max: match listener.kind {
                ListenerKind::Bounce => returned::RECIPIENTS_MAX.min(config.limits.recipients_max),
                ListenerKind::Submission | ListenerKind::Relay => config.limits.recipients_max,
            },
            messages_max: 0,
            errors_max: ERRORS_MAX,
        };
        Door { listener: listener.clone(), settings: Arc::new(settings), tls }
    }

    fn encrypts_at_once(&self) -> bool {
        self.listener.tls == ListenerTls::Implicit
    }

    /// What a client may do before it has said anything: relay from a trusted network, nothing on submission.
    fn rights(&self, client: IpAddr) -> Result<Option<Authorized>, Fixed> {
        match self.listener.kind {
            ListenerKind::Submission => Ok(None),
            ListenerKind::Bounce => Ok(Some(Authorized::to_return())),
            ListenerKind::Relay => network::relay(&self.listener.networks, &self.listener.standard, client)
                .map(Some)
                .ok_or(reply::CLIENT_NOT_PERMITTED),
        }
    }
}
