//! What a destination takes is shared: a tenant, or a campaign of one, that has little leaves at its share beside one that
//! has much and came first, however little the destination takes and however the mail lies among domains and shards.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use shards::Instant;
use shards::sim::Simulation;

use crate::mail::submit_as;
use crate::provider::{self, Provider};
use crate::resolver::Resolver;
use crate::seeds;
use crate::server::Server;

/// Seeds of each case in a normal run.
const RUNS: u64 = 2;
/// When the little comes: most of the rest waits by then.
const LATER: Duration = Duration::from_secs(180);
const LITTLE: usize = 24;
/// As many as a real server has.
const CREDITS: usize = 256;

/// Who has much, and who little.
#[derive(Clone, Copy, Debug)]
enum Between {
    Tenants,
    Campaigns,
    /// Mail that is nobody's in particular is much.
    NobodyAndTenant,
}

impl Between {
    fn fields(self) -> (&'static str, &'static str) {
        match self {
            Between::Tenants => ("X-Tenant: much\r\n", "X-Tenant: little\r\n"),
            Between::Campaigns => {
                ("X-Tenant: acme\r\nX-Campaign: much\r\n", "X-Tenant: acme\r\nX-Campaign: little\r\n")
            }
            Between::NobodyAndTenant => ("", "X-Tenant: little\r\n"),
        }
    }
}

const ALL: [Between; 3] = [Between::Tenants, Between::Campaigns, Between::NobodyAndTenant];

/// What is sent, and what holds.
#[derive(Clone, Copy)]
struct Case<'a> {
    name: &'static str,
    between: Between,
    /// Messages of who has much, and among how many domains they are spread.
    much: usize,
    domains: usize,
    limits: &'a str,
    patience: Duration,
}

/// The share that who has little had of what was taken, from when it was accepted until all of it was taken.
fn share(case: &Case<'_>, seed: u64) -> f64 {
    let simulation = Simulation::new(seed);
    let (node, host) = (simulation.node("ringpost"), simulation.node("provider"));
    let provider = Provider::new(1e9, 1e9, usize::MAX);
    let (serving, address) = (provider.clone(), SocketAddr::new(host.address(), 25));
    host.spawn(|reactor| provider::serve(serving, reactor, address));
    let domain = |number: usize| (format!("{number}.test"), vec![("mx.test".to_owned(), host.address())]);
    let domains = Rc::new((0..=case.domains).map(domain).collect());
    let resolver = Resolver { domains, servfail_percent: Rc::default() };
    let shards = 1 + simulation.dice().below(3);
    let more = format!("routing_headers = true\n{}", case.limits);
    let server = Server::configured(node, resolver, shards, &more).with_credits(CREDITS);
    simulation.node("console").spawn(|_| seeds::show(server.log()));
    server.start();
    let (much, little) = case.between.fields();
    let to = server.address();
    // Several clients: each shard has some of it.
    for client in 0..4 {
        let recipients =
            (client..case.much).step_by(4).map(|number| format!("much{number}@{}.test", number % case.domains));
        let recipients: Vec<String> = recipients.collect();
        let node = simulation.node(&format!("much {client}"));
        node.spawn(move |reactor| submit_as(reactor, to, much, recipients, Rc::default()));
    }
    let accepted: Rc<RefCell<Vec<Instant>>> = Rc::default();
    let told = accepted.clone();
    let recipients: Vec<String> = (0..LITTLE).map(|number| format!("little{number}@{}.test", case.domains)).collect();
    simulation.node("little").spawn(move |reactor| async move {
        reactor.sleep(LATER).await;
        submit_as(reactor, to, little, recipients, told).await;
    });
    let is_little = |taken: &&(String, Instant)| taken.0.starts_with("little");
    let all = || provider.borrow().taken.iter().filter(is_little).count() == LITTLE;
    let done = simulation.run_until("the little is taken", case.patience, all);
    let taken = &provider.borrow().taken;
    let begin = *accepted.borrow().first().expect("it was accepted");
    let end = taken.iter().filter(is_little).map(|(_, at)| *at).next_back().unwrap_or(begin);
    let meanwhile = taken.iter().filter(|(_, at)| (begin..=end).contains(at)).count();
    let of_little = taken.iter().filter(is_little).count();
    let share = of_little as f64 / meanwhile.max(1) as f64;
    println!(
        "{}, seed {seed}, {shards} shards: {of_little} of {LITTLE} in {:?}, {share:.2} of {meanwhile}, {} before",
        case.name,
        end.since(begin),
        taken.iter().filter(|(_, at)| *at < begin).count()
    );
    if done.is_err() { 0.0 } else { share }
}

fn is_shared(case: &Case<'_>, share_min: f64) {
    let too_little = RefCell::new(Vec::new());
    for between in ALL {
        seeds::usually(RUNS, |seed| {
            let share = share(&Case { between, ..*case }, seed);
            if share < share_min {
                too_little.borrow_mut().push(format!("{} between {between:?}, seed {seed}: {share:.2}", case.name));
            }
        });
    }
    assert!(too_little.borrow().is_empty(), "{:#?}", too_little.borrow());
}

const USUAL: Case<'static> = Case {
    name: "usual",
    between: Between::Tenants,
    much: 1500,
    domains: 1,
    limits: "",
    patience: Duration::from_secs(3 * 3600),
};

#[test]
fn where_a_message_goes_now_and_then() {
    let limits = "[[limit]]\nmessage_rate = \"4/1m\"\n";
    is_shared(&Case { name: "now and then", much: 300, limits, ..USUAL }, 0.4);
}

#[test]
fn where_a_few_messages_go_a_second() {
    let limits = "[[limit]]\nmessage_rate = \"60/1m\"\n";
    is_shared(&Case { name: "a few a second", limits, ..USUAL }, 0.35);
}

#[test]
fn where_the_much_is_for_many_domains_of_one_destination() {
    let limits = "[[limit]]\nmessage_rate = \"12/1m\"\n";
    is_shared(&Case { name: "many domains", much: 1000, domains: 500, limits, ..USUAL }, 0.3);
}

#[test]
fn where_one_has_a_limit_of_its_own_besides() {
    for per_minute in [12, 60] {
        let limits = format!(
            "[[limit]]\nmessage_rate = \"{per_minute}/1m\"\n[[limit]]\ntenant = \"little\"\nmessage_rate = \"1000/1m\"\n\
             [[limit]]\ncampaign = \"little\"\nmessage_rate = \"1000/1m\"\n"
        );
        let (name, much, limits) = ("a limit besides", per_minute * 40, &*limits);
        // Its path is one of its own, which meets the other's only where both wait for the whole: no even share, but never
        // behind all of the much, which would be a twentieth and less.
        is_shared(&Case { name, much, limits, ..USUAL }, 0.1);
    }
}
