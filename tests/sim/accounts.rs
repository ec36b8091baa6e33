//! What accounts and client addresses may do, as invariants: counted by the clients, on all shards together, at every step,
//! however often the server dies.
//!
//! | limit | invariant | counted by the clients |
//! |---|---|---|
//! | `daily_limit` of an account | recipients that were promised on a day (UTC), before and after deaths | at each 250 after the content |
//! | `connections_per_account_max` | connections that are logged in, from all addresses | at login and before the end |
//! | `connections_per_address_max` | connections that are logged in, to all accounts | likewise |
//! | `auth_failures_per_address_max`, `auth_failures_per_account_max` | 535 in ten minutes of one life of the server | at each 535 |
//!
//! What TLS says is not drawn from the seed, so a failing one need not fail again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::{PasswordHasher, SaltString};
use ringpost::crossing::Certificate;
use ringpost::smtp::client::{
    Credentials, Failure, Patience, Phase, Result, Session, Settings, Step, Tls, Transaction,
};
use ringpost::smtp::envelope::{Body, Notify, Recipient, Sender};
use ringpost::smtp::path::{Mailbox, ReversePath};
use rustls::ClientConfig;
use shards::sim::{Simulation, Wire};
use shards::tls::{Connection, client_config_unverified};
use shards::{Instant, Reactor};

use crate::limits::exceeds;
use crate::resolver::Resolver;
use crate::seeds;
use crate::server::Server;

/// Runs: each makes hundreds of TLS sessions.
const RUNS_MAX: u64 = 1;

const ACCOUNTS: [&str; 3] = ["one@accept.test", "two@accept.test", "guessed@accept.test"];
const PASSWORD: &str = "correct horse";
const PORT: u16 = 465;

const DAILY_LIMIT: usize = 30;
const PER_ACCOUNT_MAX: usize = 3;
const PER_ADDRESS_MAX: usize = 2;
const FAILURES_PER_ADDRESS_MAX: usize = 3;
const FAILURES_PER_ACCOUNT_MAX: usize = 8;
const FAILURES_COUNT_S: u64 = 600;

/// Machines, and clients on each: one guesses, and more than may at a time log in.
const MACHINES: usize = 3;
const CLIENTS: usize = PER_ADDRESS_MAX + 2;

const PATIENCE: Duration = Duration::from_secs(60);
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What all clients have counted.
#[derive(Default)]
struct Counts {
    promised: BTreeMap<(usize, u64), usize>,
    inside_of_account: BTreeMap<usize, usize>,
    inside_of_address: BTreeMap<IpAddr, usize>,
    failures_of_account: BTreeMap<usize, Vec<Instant>>,
    failures_of_address: BTreeMap<IpAddr, Vec<Instant>>,
    /// How often the server has died: what was before is over, whether or not a client has heard of it.
    deaths: u32,
    broken: Vec<String>,
}

impl Counts {
    fn died(&mut self) {
        let (promised, broken) = (std::mem::take(&mut self.promised), std::mem::take(&mut self.broken));
        *self = Counts { promised, broken, deaths: self.deaths + 1, ..Counts::default() };
    }

    fn check(&self) -> std::result::Result<(), String> {
        if self.broken.is_empty() { Ok(()) } else { Err(self.broken.join("\n")) }
    }

    fn at_most(&mut self, most: usize, counted: usize, what: &str) {
        if counted > most {
            self.broken.push(format!("{counted} {what}, at most {most}"));
        }
    }

    fn promised(&mut self, account: usize, day: u64, recipients: usize) {
        let today = self.promised.entry((account, day)).or_default();
        *today += recipients;
        let today = *today;
        self.at_most(DAILY_LIMIT, today, "recipients of an account on a day");
    }

    fn failed(&mut self, account: usize, address: IpAddr, now: Instant) {
        let of_account = self.failures_of_account.entry(account).or_default();
        let of_address = self.failures_of_address.entry(address).or_default();
        let are_too_many = exceeds(of_account, now, (FAILURES_PER_ACCOUNT_MAX, FAILURES_COUNT_S))
            || exceeds(of_address, now, (FAILURES_PER_ADDRESS_MAX, FAILURES_COUNT_S));
        if are_too_many {
            self.broken.push(format!("too many wrong passwords of {address} or about {}", ACCOUNTS[account]));
        }
    }
}

/// A place among those who are logged in.
struct Place {
    counts: Rc<RefCell<Counts>>,
    account: usize,
    address: IpAddr,
    deaths: u32,
}

impl Place {
    fn enter(counts: &Rc<RefCell<Counts>>, account: usize, address: IpAddr) -> Place {
        let mut state = counts.borrow_mut();
        let of_account = state.inside_of_account.entry(account).or_default();
        *of_account += 1;
        let of_account = *of_account;
        let of_address = state.inside_of_address.entry(address).or_default();
        *of_address += 1;
        let of_address = *of_address;
        state.at_most(PER_ACCOUNT_MAX, of_account, "connections of an account");
        state.at_most(PER_ADDRESS_MAX, of_address, "connections of an address");
        Place { counts: counts.clone(), account, address, deaths: state.deaths }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let state = &mut *self.counts.borrow_mut();
        if state.deaths == self.deaths {
            state.inside_of_account.entry(self.account).and_modify(|inside| *inside -= 1);
            state.inside_of_address.entry(self.address).and_modify(|inside| *inside -= 1);
        }
    }
}

/// A client of one account, on a machine of its own or with others.
#[derive(Clone)]
struct Client {
    reactor: Reactor,
    wire: Wire,
    tls: Arc<ClientConfig>,
    server: SocketAddr,
    address: IpAddr,
    account: usize,
    password: &'static str,
    counts: Rc<RefCell<Counts>>,
    submitted: Rc<Cell<u32>>,
}

impl Client {
    /// Comes again and again.
    async fn run(self) {
        loop {
            self.reactor.sleep(Duration::from_millis(self.reactor.random() % 20_000)).await;
            let Ok(stream) = self.reactor.connect(self.server, None, PATIENCE).await else { continue };
            let name = "mta.ringpost.test".try_into().expect("a name");
            let connected =
                Connection::plain(stream).connect_tls(&self.reactor, self.tls.clone(), name, PATIENCE).await;
            if let Ok(connection) = connected {
                self.converse(connection).await;
            }
        }
    }

    async fn converse(&self, mut connection: Connection) {
        let mut session = Session::new(Arc::new(self.settings()), true);
        let mut place = None;
        let mut left = 1 + self.reactor.random() % 3;
        let mut begun_on = 0;
        loop {
            match session.next() {
                Step::Send => {
                    if let Err(error) = connection.send(session.output(), PATIENCE).await {
                        session.lost(&error.to_string());
                    }
                }
                Step::Read(_) => match connection.receive(PATIENCE).await {
                    Ok(chunk) => session.receive(&chunk),
                    Err(error) => session.lost(&error.to_string()),
                },
                Step::Ready if left > 0 => {
                    place.get_or_insert_with(|| Place::enter(&self.counts, self.account, self.address));
                    self.reactor.sleep(Duration::from_millis(self.reactor.random() % 3_000)).await;
                    left -= 1;
                    begun_on = self.day();
                    session.transact(self.message());
                }
                Step::Ready => {
                    drop(place.take());
                    session.quit();
                }
                Step::Done(results) => {
                    let accepted = results.iter().filter(|result| matches!(result, Result::Accepted(_))).count();
                    if begun_on == self.day() {
                        self.counts.borrow_mut().promised(self.account, begun_on, accepted);
                    }
                    if !session.can_transact() {
                        return;
                    }
                }
                Step::Failed(Phase::Auth, Failure::Reply(reply)) if reply.code == 535 => {
                    self.counts.borrow_mut().failed(self.account, self.address, self.reactor.now());
                    return;
                }
                Step::Failed(..) | Step::Closed => return,
                Step::StartTls => unreachable!("TLS is there already"),
            }
        }
    }

    fn day(&self) -> u64 {
        self.wire.wall_at(self.reactor.now()).as_millis() / DAY_MS
    }

    fn settings(&self) -> Settings {
        let (user, password) = (ACCOUNTS[self.account].into(), self.password.into());
        Settings {
            hostname: "client.test".into(),
            tls: Tls::Off,
            credentials: Some(Credentials { user, password }),
            pipelining: true,
            chunking: true,
            patience: Patience::default(),
        }
    }

    fn message(&self) -> Transaction {
        let number = self.submitted.get();
        self.submitted.set(number + 1);
        let mailbox = |text: &str| Mailbox::parse(text, false).expect("an address");
        let recipient = |to: u64| Recipient {
            path: mailbox(&format!("r{number}-{to}@waits.test")),
            notify: Notify::default(),
            orcpt: None,
        };
        let from = ACCOUNTS[self.account];
        let path = ReversePath::Mailbox(mailbox(from));
        Transaction {
            sender: Sender {
                path,
                body: Body::SevenBit,
                smtputf8: false,
                size: None,
                ret: None,
                envid: None,
                requiretls: false,
            },
            recipients: (0..1 + self.reactor.random() % 4).map(recipient).collect(),
            content: Arc::new(format!("From: <{from}>\r\nSubject: {number}\r\n\r\nhello\r\n").into_bytes()),
        }
    }
}

/// A hash that costs a test nothing.
fn hash() -> String {
    let cost = argon2::Params::new(8, 1, 1, None).expect("parameters");
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, cost);
    let salt = SaltString::from_b64("c2FsdHNhbHRzYWx0").expect("a salt");
    argon2.hash_password(PASSWORD.as_bytes(), &salt).expect("a hash").to_string()
}

fn configuration(server: IpAddr) -> String {
    let account = |name: &&str| {
        format!(
            "[[account]]\nname = \"{name}\"\npassword = \"{}\"\nsenders = [\"{name}\"]\ndaily_limit = {DAILY_LIMIT}\n",
            hash()
        )
    };
    let accounts: String = ACCOUNTS.iter().map(account).collect();
    format!(
        "[tls]\ncertificate = \"x\"\nprivate_key = \"x\"\n\
         [[listener]]\nkind = \"submission\"\naddress = \"{server}:{PORT}\"\ntls = \"implicit\"\n{accounts}\
         [limits]\nconnections_per_account_max = {PER_ACCOUNT_MAX}\nconnections_per_address_max = {PER_ADDRESS_MAX}\n\
         auth_failures_per_address_max = {FAILURES_PER_ADDRESS_MAX}\n\
         auth_failures_per_account_max = {FAILURES_PER_ACCOUNT_MAX}\n"
    )
}

fn certificate() -> Arc<Certificate> {
    let names = vec!["mta.ringpost.test".to_owned()];
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).expect("a certificate");
    Arc::new(Certificate { chain_pem: cert.pem().into_bytes(), key_pem: signing_key.serialize_pem().into_bytes() })
}

fn run(seed: u64) {
    let simulation = Simulation::new(seed);
    let node = simulation.node("ringpost");
    // Nothing is delivered: DNS is out of order.
    let resolver = Resolver { domains: Rc::default(), servfail_percent: Rc::new(Cell::new(100)) };
    let shards = 2 + simulation.dice().below(2);
    let more = configuration(node.address());
    let server = Server::configured(node, resolver, shards, &more).with_certificate(certificate());
    simulation.node("console").spawn(|_| seeds::show(server.log()));
    let counts: Rc<RefCell<Counts>> = Rc::default();
    let checked = counts.clone();
    simulation.at_every_tick(move || checked.borrow().check());
    server.start();
    let (submitted, tls) = (Rc::default(), client_config_unverified());
    for machine in 0..MACHINES {
        let node = simulation.node(&format!("machine {machine}"));
        for number in 0..CLIENTS {
            let account = if number == 0 { 2 } else { (machine + number) % 2 };
            node.spawn(|reactor| {
                let client = Client {
                    reactor,
                    wire: simulation.wire(),
                    tls: tls.clone(),
                    server: SocketAddr::new(server.node().address(), PORT),
                    address: node.address(),
                    account,
                    password: if account == 2 { "wrong" } else { PASSWORD },
                    counts: counts.clone(),
                    submitted: Rc::clone(&submitted),
                };
                client.run()
            });
        }
    }
    for _ in 0..simulation.dice().below(4) {
        simulation.run_for(Duration::from_millis(simulation.dice().below(60_000) as u64));
        counts.borrow_mut().died();
        match simulation.dice().below(2) {
            0 => server.kill(),
            _ => server.crash(),
        }
        server.start();
    }
    simulation.run_for(Duration::from_secs(180));
    let promised = counts.borrow().promised.clone();
    assert!(promised.values().all(|promised| *promised > DAILY_LIMIT / 2) && promised.len() >= 2, "{promised:?}");
    assert!(!counts.borrow().failures_of_account.is_empty());
}

#[test]
fn accounts_and_addresses_keep_to_their_limits_on_all_shards_and_through_restarts() {
    seeds::some(RUNS_MAX, &[], run);
}
