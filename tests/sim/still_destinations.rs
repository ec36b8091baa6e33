//! Destinations that stand still, with much mail queued for each: the others hardly notice.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ringpost::smtp::server::{Acceptance, Answer, Question, Session, Step};
use shards::net::Stream;
use shards::sim::Simulation;
use shards::{Instant, Reactor};

use crate::destination::settings;
use crate::mail::{submit, submit_sized};
use crate::provider::{self, Provider};
use crate::resolver::Resolver;
use crate::seeds;
use crate::server::Server;

/// Runs that take long.
const RUNS_MAX: u64 = 2;
/// As many as a real server has.
const CREDITS: usize = 256;

const STILL: usize = 12;
const STILL_MESSAGES: usize = 200;
/// One in so many of these is large.
const LARGE_SHARE: usize = 20;
const LARGE_BYTES: usize = 1 << 20;
/// Little, so that it takes few large messages to use it up.
const MEMORY: &str = "[limits]\nmessage_bytes_max = \"2MiB\"\ncontent_memory_bytes_max = \"16MiB\"\n";

const HEALTHY: usize = 40;
/// When mail for the healthy ones comes, in seconds: while all stand still for the first time, and after the patience with
/// greetings and the one with final dots is over.
const WAVES_S: [u64; 3] = [60, 400, 800];
/// Longer than any patience of the server, and than a run.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// Until when a destination does as it should.
#[derive(Clone, Copy)]
enum Until {
    Greeting,
    Recipient,
    /// The final dot of the message after so many.
    Dot(usize),
}

const KINDS: [Until; 4] = [Until::Greeting, Until::Recipient, Until::Dot(0), Until::Dot(50)];

struct Taken;

impl Acceptance for Taken {
    fn text(&self) -> String {
        "taken".to_owned()
    }
}

/// Serves on `address`, and then no more, without a word.
async fn serve(until: Until, reactor: Reactor, address: SocketAddr) {
    let listener = reactor.listen(address).expect("every destination has its own address");
    let taken = Rc::new(Cell::new(0));
    while let Ok(stream) = listener.accept().await {
        reactor.spawn(visit(until, taken.clone(), reactor.clone(), stream)).detach();
    }
}

async fn visit(until: Until, taken: Rc<Cell<usize>>, reactor: Reactor, mut stream: Stream) {
    let mut session = Session::new(settings("mx.still.test"), false);
    loop {
        let stands_still = match session.next() {
            Step::Send if matches!(until, Until::Greeting) => true,
            Step::Send => match stream.send(session.output(), FOR_EVER).await {
                Ok(()) => false,
                Err(_) => return,
            },
            Step::Read(_) => match stream.receive(FOR_EVER).await {
                Ok(chunk) => {
                    session.receive(&chunk);
                    false
                }
                Err(_) => return,
            },
            Step::Ask(Question::Recipient(_)) if matches!(until, Until::Recipient) => true,
            Step::Ask(Question::Message(..)) => match until {
                Until::Dot(messages) if taken.get() < messages => {
                    taken.set(taken.get() + 1);
                    session.accepted(&Taken);
                    false
                }
                _ => true,
            },
            Step::Ask(_) => {
                session.answer(Answer::Accept);
                false
            }
            Step::Close => return,
            Step::StartTls => unreachable!("STARTTLS is not offered"),
        };
        if stands_still {
            reactor.sleep(FOR_EVER).await;
        }
    }
}

/// The median time from acceptance to delivery at the healthy destinations, beside so many that stand still.
fn median_latency(seed: u64, still: usize) -> Duration {
    let simulation = Simulation::new(seed);
    let (node, healthy) = (simulation.node("ringpost"), simulation.node("healthy"));
    let provider = Provider::new(1e9, 1e9, usize::MAX);
    let (serving, address) = (provider.clone(), SocketAddr::new(healthy.address(), 25));
    healthy.spawn(|reactor| provider::serve(serving, reactor, address));
    let hosts = |name: String, address| (format!("{name}.test"), vec![(format!("mx.{name}.test"), address)]);
    let mut domains: Vec<_> = (0..HEALTHY).map(|number| hosts(format!("healthy{number}"), healthy.address())).collect();
    for number in 0..still {
        let host = simulation.node(&format!("still {number}"));
        let (until, address) = (KINDS[number % KINDS.len()], SocketAddr::new(host.address(), 25));
        host.spawn(|reactor| serve(until, reactor, address));
        domains.push(hosts(format!("still{number}"), host.address()));
    }
    let resolver = Resolver { domains: Rc::new(domains.into_iter().collect()), servfail_percent: Rc::default() };
    let server = Server::configured(node, resolver, 1, MEMORY).with_credits(CREDITS);
    simulation.node("console").spawn(|_| seeds::show(server.log()));
    server.start();
    let to = server.address();
    for number in 0..still {
        let recipients = (0..STILL_MESSAGES).map(|message| format!("r{message}@still{number}.test")).collect();
        let bytes = |message: usize| if message.is_multiple_of(LARGE_SHARE) { LARGE_BYTES } else { 0 };
        let client = simulation.node(&format!("client {number}"));
        client.spawn(|reactor| submit_sized(reactor, to, recipients, bytes, Rc::default()));
    }
    let waves = WAVES_S.map(|begin_s| {
        let recipients: Vec<String> = (0..HEALTHY).map(|number| format!("r{begin_s}@healthy{number}.test")).collect();
        let accepted: Rc<RefCell<Vec<Instant>>> = Rc::default();
        let (sent, told) = (recipients.clone(), accepted.clone());
        simulation.node(&format!("client at {begin_s}")).spawn(move |reactor| async move {
            reactor.sleep(Duration::from_secs(begin_s)).await;
            submit(reactor, to, sent, told).await;
        });
        (recipients, accepted)
    });
    simulation.run_for(Duration::from_secs(WAVES_S[2] + 60));
    let taken: HashMap<String, Instant> = provider.borrow().taken.iter().cloned().collect();
    let mut latencies = Vec::new();
    for (recipients, accepted) in waves {
        assert_eq!(accepted.borrow().len(), HEALTHY, "the server takes mail all the time");
        for (recipient, accepted) in recipients.iter().zip(&*accepted.borrow()) {
            let taken = taken.get(recipient).unwrap_or_else(|| panic!("{recipient} was not delivered in time"));
            latencies.push(taken.since(*accepted));
        }
    }
    latencies.sort_unstable();
    latencies[latencies.len() / 2]
}

#[test]
fn destinations_that_stand_still_do_not_slow_the_others() {
    seeds::some(RUNS_MAX, &[], |seed| {
        let (without, with) = (median_latency(seed, 0), median_latency(seed, STILL));
        println!("seed {seed}: median latency {without:?} without destinations that stand still, {with:?} with them");
        assert!(with <= 2 * without, "seed {seed}: {with:?} instead of {without:?}");
    });
}
