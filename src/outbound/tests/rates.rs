//! Rates where time is all that matters: in simulated time.

use std::cell::RefCell;
use std::net::SocketAddr;

use shards::Instant;
use shards::sim::Simulation;

use super::*;
use crate::bounce::classify::Context;
use crate::config::Source;
use crate::config::limit::Rate;
use crate::outbound::budget::{Budget, Budgets, Leave};
use crate::outbound::dialer::{Dialer, Wanted};
use crate::outbound::obstacle::of_no_connection;
use crate::outbound::told::told;
use crate::route::{Effective, Said};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn after_a_restart_a_rate_begins_as_if_it_were_used_up() {
    let simulation = Simulation::new(1);
    simulation.run_for(3600 * SECOND);
    simulation.run(&simulation.node("mta"), |reactor| async move {
        let dns = resolver(&reactor, HashMap::new());
        let limit = "[[limit]]\nmessage_rate = \"10/3600s\"\n";
        let mut world = World::new(reactor, timing(), config(limit), dns);
        assert_eq!(
            shapes(&world.deliver(&site(&["127.0.0.1"], 25), 1).await),
            ["untried 374"],
            "one token comes every 374.4 s"
        );
    });
}

/// A resolver that knows that every host is `at`, and takes `look_up` to find that out of `slow.test`.
fn slow_resolver(reactor: &Reactor, at: IpAddr, look_up: Duration) -> dns::Cache {
    let (queries, mut asked) = mpsc::channel::<dns::Query>(4);
    let spawner = reactor.clone();
    let answers = async move {
        while let Some(dns::Query { question, reply }) = asked.next().await {
            let clock = spawner.clone();
            let answer = async move {
                if question == Question::Addresses("slow.test".into()) {
                    clock.sleep(look_up).await;
                }
                let _ = reply.send(Answer::Addresses(vec![at], PATIENT));
            };
            spawner.spawn(answer).detach();
        }
    };
    reactor.spawn(answers).detach();
    dns::Cache::new(reactor.clone(), queries)
}

fn one_connection_a_second() -> Budgets {
    let rate = Said { value: Rate { number: 1, per: SECOND }, by: "a test".into() };
    let limits = Effective {
        name: "group".into(),
        connections_max: None,
        messages_per_connection_max: None,
        connection_rate: Some(rate),
        message_rate: None,
        idle_timeout: None,
    };
    Budgets(vec![Rc::new(RefCell::new(Budget::new(&limits, Instant::default())))])
}

/// Connects to `host` as soon as there is leave to.
async fn connect(reactor: &Reactor, dialer: &Dialer, budgets: &Budgets, host: &str) {
    while let Leave::After(wait) = budgets.leave_to_connect(reactor.now()) {
        reactor.sleep(wait).await;
    }
    let _place = budgets.begin_connection(reactor.now());
    let (source, site) = (Source::default(), site(&[host], 25));
    // Nobody greets it.
    let opened = dialer.open(&Wanted { source: &source, site: &site, budgets, domain: None }).await;
    assert!(opened.is_err());
}

/// When two connections are begun, to a host whose address is found in `look_up` and after it to one that is known at once.
fn begun(look_up: Duration) -> Vec<Instant> {
    let simulation = Simulation::new(1);
    let (mta, host) = (simulation.node("mta"), simulation.node("host"));
    let (wire, address) = (simulation.wire(), SocketAddr::new(host.address(), 25));
    let begun: Rc<RefCell<Vec<Instant>>> = Rc::default();
    let seen = begun.clone();
    host.spawn(|reactor| async move {
        let listener = reactor.listen(address).expect("listens");
        while let Ok(stream) = listener.accept().await {
            seen.borrow_mut().extend(wire.begun(stream.peer(), address));
        }
    });
    simulation.run_for(60 * SECOND);
    simulation.run(&mta, |reactor| async move {
        let dns = slow_resolver(&reactor, address.ip(), look_up);
        let (metrics, trust) = (Rc::default(), Trust::default());
        let dialer = Dialer::new(reactor.clone(), dns, timing(), metrics, &config(""), &trust);
        let budgets = one_connection_a_second();
        let slow = connect(&reactor, &dialer, &budgets, "slow.test");
        futures::join!(slow, connect(&reactor, &dialer, &budgets, "fast.test"));
    });
    let mut begun = begun.take();
    begun.sort();
    begun
}

#[test]
fn however_long_a_look_up_takes_connections_keep_to_their_rate() {
    // The second one has its leave after 1040 ms.
    for look_up_ms in [0, 5, 500, 1000, 1039, 1040, 1041, 1500, 2500] {
        let begun = begun(Duration::from_millis(look_up_ms));
        assert_eq!(begun.len(), 2, "{look_up_ms} ms");
        let apart = begun[1].since(begun[0]);
        assert!(apart >= SECOND, "{apart:?} apart where a look-up takes {look_up_ms} ms");
        assert!(apart <= 2 * SECOND, "no leave is lost for long: {apart:?} with {look_up_ms} ms");
    }
}

#[test]
fn a_source_of_one_family_spends_nothing_on_addresses_of_the_other() {
    let simulation = Simulation::new(1);
    let (mta, host) = (simulation.node("mta"), simulation.node("host"));
    let address = SocketAddr::new(host.address(), 25);
    host.spawn(|reactor| async move {
        let listener = reactor.listen(address).expect("listens");
        let mut visits = Vec::new();
        while let Ok(stream) = listener.accept().await {
            visits.push(stream);
        }
    });
    simulation.run_for(60 * SECOND);
    let source = Source { name: "four".into(), addresses: vec![mta.address()], ..Source::default() };
    simulation.run(&mta, |reactor| async move {
        let both = Answer::Addresses(vec![ip("2001:db8::1"), address.ip()], PATIENT);
        let names = [("both.test", both), ("six.test", at(&["2001:db8::1"]))];
        let names = names.map(|(name, answer)| (Question::Addresses(name.into()), answer));
        let dns = resolver(&reactor, HashMap::from(names));
        let dialer = Dialer::new(reactor.clone(), dns, timing(), Rc::default(), &config(""), &Trust::default());
        let (budgets, site) = (one_connection_a_second(), site(&["six.test", "both.test"], 25));
        let begun = reactor.now();
        let _place = budgets.begin_connection(begun);
        let opened = dialer.open(&Wanted { source: &source, site: &site, budgets: &budgets, domain: None }).await;
        let tried = opened.err().expect("nobody greets");
        let outcome = of_no_connection(&tried, Context::default());
        let expected = format!(
            "no host took a connection: six.test: the source four has no IPv6 address; both.test[{}]:25: the greeting: \
             timed out",
            address.ip()
        );
        assert_eq!(told(&outcome), Some(&*expected));
        assert!(reactor.now().since(begun) < SECOND, "the leave was for the address that can be used");
    });
}
