//! Stories of clients at the doors, on a simulated machine: real sessions, real queue, virtual time.

mod doors;
mod preflight;
mod screening;
mod signing;
mod submission;
mod trouble;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::SaltString;
use argon2::{Argon2, PasswordHasher};
use shards::net::Stream;
use shards::sim::{Node, Simulation};
use shards::tls::{Connection, client_config_unverified, server_config};
use shards::{Instant, Reactor};

use super::*;
use crate::events::log::{Channel, Style};
use crate::smtp::server::FIRST_COMMAND_PATIENCE;

const PASSWORD: &str = "pa$$ w=rd ü";
const RELAY: u16 = 25;
const SUBMISSION: u16 = 587;
const SUBMISSIONS: u16 = 465;
/// How long a client waits for anything: longer than any patience of ours.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A way that leads to no shard: nothing comes back here.
fn no_returns() -> Returns {
    Returns::new(1, |_, _| None)
}

/// The server and what a test looks at from outside.
#[derive(Clone)]
struct World {
    /// The client's side.
    reactor: Reactor,
    server: Node,
    inbound: Inbound,
    queue: Queue,
    log: Log,
    channel: Arc<Channel>,
    tls: Arc<rustls::ServerConfig>,
}

/// Runs a story: `change` makes its configuration of the usual one.
fn story<F: Future<Output = ()> + 'static>(change: impl FnOnce(&mut Config), tell: impl FnOnce(World) -> F + 'static) {
    story_of_shards(change, |[world]| tell(world));
}

/// As [`story`], with shards that share what accounts use. A client's address does not choose between them here: the
/// test does.
fn story_of_shards<const N: usize, F: Future<Output = ()> + 'static>(
    change: impl FnOnce(&mut Config),
    tell: impl FnOnce([World; N]) -> F + 'static,
) {
    let simulation = Simulation::new(7);
    let servers: [Node; N] = std::array::from_fn(|shard| simulation.node(["mta", "mta-1"][shard]));
    let client = simulation.node("client");
    let mut config = config(servers[0].address());
    change(&mut config);
    let quotas = Quotas::new(&config);
    let tls = certificate();
    let opened: [Rc<RefCell<Option<World>>>; N] = std::array::from_fn(|_| Rc::default());
    for (server, opened) in servers.iter().zip(&opened) {
        let mut config = config.clone();
        config.listeners.iter_mut().for_each(|listener| listener.address.set_ip(server.address()));
        start(server, Arc::new(config), quotas.clone(), tls.clone(), opened.clone());
    }
    let ready = || opened.iter().all(|opened| opened.borrow().is_some());
    simulation.run_until("the doors are open", PATIENCE, ready).expect("the server starts");
    let worlds = opened.map(|opened| opened.borrow_mut().take().expect("it was opened"));
    simulation.run(&client, |reactor| async move {
        tell(worlds.map(|world| World { reactor: reactor.clone(), ..world })).await;
    });
}

fn start(
    node: &Node,
    config: Arc<Config>,
    quotas: Arc<Quotas>,
    tls: Arc<rustls::ServerConfig>,
    opened: Rc<RefCell<Option<World>>>,
) {
    let server = node.clone();
    node.spawn(|reactor| async move {
        let channel = Channel::new(Style::Logfmt);
        let log = Log::new(&reactor, 0, channel.clone());
        let queue = Queue::open(&reactor, config.clone(), 0, log.clone()).await.expect("the queue opens");
        let dns = screening::lists(&reactor);
        let screening = Screening::new(&reactor, &config.screening, dns.clone(), log.clone());
        let gate = Gate::new(&config, Arc::default());
        let inbound = Inbound::new(
            &reactor,
            config,
            Some(tls.clone()),
            Arc::default(),
            quotas,
            None,
            queue.clone(),
            screening,
            dns,
            gate,
            no_returns(),
            log.clone(),
        );
        assert_eq!(inbound.open(&[]).expect("the doors open").len(), 3);
        *opened.borrow_mut() = Some(World { reactor, server, inbound, queue, log, channel, tls });
    });
}

fn config(address: std::net::IpAddr) -> Config {
    let text = format!(
        "[server]\nhostname = 'mta.test'\ndata_dir = '/data'\nshards = 1\n\
         [tls]\ncertificate = 'x'\nprivate_key = 'x'\n\
         [[listener]]\nkind = 'relay'\naddress = '{address}:{RELAY}'\ntls = 'optional'\nnetworks = ['10.0.0.0/8']\n\
         [[listener]]\nkind = 'submission'\naddress = '{address}:{SUBMISSION}'\ntls = 'starttls'\n\
         [[listener]]\nkind = 'submission'\naddress = '{address}:{SUBMISSIONS}'\ntls = 'implicit'\n\
         [[account]]\nname = 'user@accept.test'\npassword = '{hash}'\nsenders = ['user@accept.test']\n\
         [limits]\nmessage_bytes_max = '1MiB'\nrecipients_max = 100\nconnections_per_address_max = 4\n",
        hash = hash(PASSWORD),
    );
    Config::parse(&text, Path::new("/")).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

/// A hash that costs a test nothing.
fn hash(password: &str) -> String {
    hash_of_cost(password, 8, 1)
}

fn hash_of_cost(password: &str, memory_kib: u32, passes: u32) -> String {
    let cost = argon2::Params::new(memory_kib, passes, 1, None).expect("parameters");
    let salt = SaltString::from_b64("c2FsdHNhbHRzYWx0").expect("a salt");
    let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, cost);
    argon2.hash_password(password.as_bytes(), &salt).expect("a hash").to_string()
}

fn certificate() -> Arc<rustls::ServerConfig> {
    let names = vec!["mta.test".to_owned()];
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).expect("a certificate");
    server_config(cert.pem().as_bytes(), signing_key.serialize_pem().as_bytes()).expect("a configuration")
}

impl World {
    async fn stream(&self, port: u16) -> Stream {
        let address = SocketAddr::new(self.server.address(), port);
        self.reactor.connect(address, None, PATIENCE).await.expect("it connects")
    }

    async fn connect(&self, port: u16) -> Client {
        let connection = Connection::plain(self.stream(port).await);
        let client = Client { reactor: self.reactor.clone(), connection: Some(connection), unread: String::new() };
        if port == SUBMISSIONS { client.encrypt().await } else { client }
    }

    /// A client that was greeted and has said EHLO.
    async fn greeted(&self, port: u16) -> Client {
        let mut client = self.connect(port).await;
        client.hears("220 mta.test").await;
        client.says("EHLO client.test", "250").await;
        client
    }

    /// A client inside TLS that has authenticated.
    async fn authenticated(&self) -> Client {
        let mut client = self.greeted(SUBMISSIONS).await;
        let response = crate::smtp::sasl::plain_response("user@accept.test", PASSWORD);
        client.says(&format!("AUTH PLAIN {response}"), "235 2.7.0").await;
        client
    }

    /// The content of the next message in the queue.
    async fn queued(&self) -> String {
        let domain = self.queue.next_ready().await;
        let lease = self.queue.lease(&domain).expect("a lease");
        let content = self.queue.content(&lease).await.expect("its content");
        self.queue.hand_back(&domain);
        String::from_utf8(content.to_vec()).expect("text")
    }

    /// Puts another configuration in force.
    fn reload(&self, config: Config) {
        let quotas = self.inbound.0.current.borrow().quotas.follow(&config);
        self.inbound.configure(Arc::new(config), Some(self.tls.clone()), Arc::default(), quotas, None);
    }

    /// Puts these keys in force.
    fn sign_with(&self, signers: Signers) {
        let (config, quotas) = {
            let current = self.inbound.0.current.borrow();
            (current.config.clone(), current.quotas.clone())
        };
        self.inbound.configure(config, Some(self.tls.clone()), Arc::new(signers), quotas, None);
    }

    /// Waits until the server has noticed that nobody is connected.
    async fn emptied(&self) {
        self.inbound.0.admissions.emptied().await;
    }

    fn logged(&self) -> String {
        self.log.flush();
        std::iter::from_fn(|| self.channel.try_next()).collect()
    }
}

/// An SMTP client that says what it is told to.
struct Client {
    reactor: Reactor,
    connection: Option<Connection>,
    unread: String,
}

impl Client {
    fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("it is connected")
    }

    async fn encrypt(mut self) -> Client {
        let connection = self.connection.take().expect("it is connected");
        let name = "mta.test".try_into().expect("a name");
        let encrypted = connection.connect_tls(&self.reactor, client_config_unverified(), name, PATIENCE).await;
        self.connection = Some(encrypted.expect("a handshake"));
        self
    }

    async fn sends(&mut self, bytes: &[u8]) {
        self.connection().send(&mut bytes.to_vec(), PATIENCE).await.expect("it is sent");
    }

    /// The next reply, all its lines.
    async fn reply(&mut self) -> String {
        loop {
            let is_last = |line: &&str| line.as_bytes().get(3) == Some(&b' ') && line.ends_with("\r\n");
            if let Some(last) = self.unread.split_inclusive('\n').find(is_last) {
                let end = last.as_ptr() as usize - self.unread.as_ptr() as usize + last.len();
                return self.unread.drain(..end).collect();
            }
            let bytes = self.connection().receive(PATIENCE).await.expect("a reply");
            assert!(!bytes.is_empty(), "the connection was closed after {:?}", self.unread);
            self.unread.push_str(std::str::from_utf8(&bytes).expect("a reply"));
        }
    }

    async fn hears(&mut self, expected: &str) -> String {
        let reply = self.reply().await;
        assert!(reply.starts_with(expected), "expected {expected}, heard {reply}");
        reply
    }

    async fn says(&mut self, line: &str, expected: &str) -> String {
        self.sends(format!("{line}\r\n").as_bytes()).await;
        self.hears(expected).await
    }

    /// Whether the server says `yes`; else it must say `no`.
    async fn takes(&mut self, line: &str, yes: &str, no: &str) -> bool {
        self.sends(format!("{line}\r\n").as_bytes()).await;
        let reply = self.reply().await;
        assert!(reply.starts_with(yes) || reply.starts_with(no), "expected {yes} or {no}, heard {reply}");
        reply.starts_with(yes)
    }

    async fn hears_no_more(&mut self) {
        let rest = self.connection().receive(PATIENCE).await;
        assert!(
            self.unread.is_empty() && rest.is_ok_and(|bytes| bytes.is_empty()),
            "something follows {}",
            self.unread
        );
    }

    /// A transaction up to 354.
    async fn begins(&mut self, sender: &str, recipient: &str) {
        self.says(&format!("MAIL FROM:<{sender}>"), "250").await;
        self.says(&format!("RCPT TO:<{recipient}>"), "250").await;
        self.says("DATA", "354").await;
    }
}
