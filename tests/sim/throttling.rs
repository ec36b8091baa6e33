//! A provider that allows less than is configured, and says so: nearly all that it allows is sent, it is not asked for much
//! more, and what was learned outlives restarts and blocks. What is configured, and a day's plan, are never exceeded.

mod shapes;

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use shards::Instant;
use shards::sim::Simulation;

use crate::mail::submit;
use crate::provider::{self, Provider};
use crate::resolver::Resolver;
use crate::seeds;
use crate::server::Server;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Runs that take long.
const RUNS_MAX: u64 = 1;
/// Runs in which a plan meets crashes.
const CRASHES_MAX: u64 = 6;

/// Of each pair of shards: enough for all connections.
const CREDITS: usize = 64;

/// What is configured for every destination: much more than the provider allows.
const CONNECTIONS_MAX: usize = 10;
const RATE: (usize, Duration) = (20, Duration::from_secs(10));
const CONNECTION_RATE: usize = 12;

struct World {
    simulation: Simulation,
    server: Server,
    provider: provider::Shared,
    /// Recipients of each message.
    recipients: usize,
    /// Changes of limits that were told and should not have been.
    wrong: Rc<RefCell<Vec<String>>>,
}

impl World {
    /// A server with `more` in its configuration and a provider, whom `messages` are for.
    fn new(seed: u64, provider: provider::Shared, messages: u32, more: &str) -> World {
        World::with_recipients(seed, provider, (messages, 1), more)
    }

    /// The same, each message with so many recipients.
    fn with_recipients(
        seed: u64,
        provider: provider::Shared,
        (messages, recipients): (u32, usize),
        more: &str,
    ) -> World {
        let simulation = Simulation::new(seed);
        let node = simulation.node("ringpost");
        let host = simulation.node("provider");
        let (serving, address) = (provider.clone(), SocketAddr::new(host.address(), 25));
        host.spawn(|reactor| provider::serve(serving, reactor, address));
        let hosts = vec![("mx.provider.test".to_owned(), host.address())];
        let domains = Rc::new([("big.test".to_owned(), hosts)].into());
        let resolver = Resolver { domains, servfail_percent: Rc::default() };
        let shards = 1 + simulation.dice().below(3);
        let (number, per) = (RATE.0, RATE.1.as_secs());
        let more = format!(
            "[[limit]]\nconnections_max = {CONNECTIONS_MAX}\nmessage_rate = \"{number}/{per}s\"\n\
             connection_rate = \"{CONNECTION_RATE}/{per}s\"\n\
             [retry]\ndelay_notice_after = \"5d\"\n[retention]\ncontent = \"0s\"\nplaceholder = \"10m\"\n{more}"
        );
        let server = Server::configured(node, resolver, shards, &more).with_credits(CREDITS);
        let wrong: Rc<RefCell<Vec<String>>> = Rc::default();
        let (log, told) = (server.log(), wrong.clone());
        simulation.node("console").spawn(|_| {
            seeds::read(log, move |lines| told.borrow_mut().extend(lines.lines().filter(is_wrong).map(str::to_owned)))
        });
        let world = World { simulation, server, provider, recipients, wrong };
        world.server.start();
        let address = world.server.address();
        let of_message = |number: u32| {
            let recipient = |to| format!("r{number}-{to}@big.test");
            (0..recipients).map(recipient).collect::<Vec<_>>().join(" ")
        };
        let recipients = (0..messages).map(of_message).collect();
        world.simulation.node("client").spawn(|reactor| submit(reactor, address, recipients, Rc::default()));
        world
    }

    fn now(&self) -> Instant {
        self.simulation.now()
    }

    /// The share that was taken of what the provider allows from then on until now.
    fn share(&self, from: Instant) -> f64 {
        let provider = self.provider.borrow();
        let recipients = provider.recipients_max.min(self.recipients) as f64;
        let allowed = provider.rate() * recipients * self.now().since(from).as_secs_f64();
        let taken = provider.taken.iter().filter(|(_, at)| *at >= from).count();
        let share = taken as f64 / allowed;
        seeds::say(&format!("{share:.3} of what is allowed"));
        share
    }

    fn check_limits(&self) {
        let provider = self.provider.borrow();
        assert!(provider.open_most <= CONNECTIONS_MAX, "{} connections", provider.open_most);
        let most = |times| provider::most(times, RATE.1);
        let (asked, opened) = (most(&provider.asked), most(&provider.opened));
        assert!(asked <= RATE.0, "{asked} messages within {:?}", RATE.1);
        assert!(opened <= CONNECTION_RATE, "{opened} connections within {:?}", RATE.1);
        assert_eq!(*self.wrong.borrow(), [""; 0]);
    }

    /// The server's power fails, or its process is killed, and it is started again.
    fn restart(&self) {
        match self.simulation.dice().below(2) {
            0 => self.server.kill(),
            _ => self.server.crash(),
        }
        self.provider.borrow_mut().died();
        self.server.start();
    }
}

/// Whether a line of the log tells of a limit that leaves its floor or its ceiling, or is not told with its reason.
fn is_wrong(line: &&str) -> bool {
    if !line.contains("event=limit_lowered") && !line.contains("event=limit_raised") {
        return false;
    }
    let field = |name: &str| line.split_once(&format!(" {name}=")).map(|(_, rest)| rest);
    let to = field("to").map(|rest| rest.split(' ').next().unwrap_or_default().parse::<f64>());
    let (floor, ceiling) = match field("limit") {
        Some(limit) if limit.starts_with("connections_max") => (1.0, CONNECTIONS_MAX as f64),
        _ => (1.0 / 60.0, RATE.0 as f64 / RATE.1.as_secs_f64()),
    };
    // As it is told it is rounded.
    let is_within = |to: f64| (floor - 0.01..=ceiling + 0.01).contains(&to);
    field("why").is_none_or(str::is_empty) || to.is_some_and(|to| !to.is_ok_and(is_within))
}

const ONE_SOURCE: &str = "[[source]]\nname = \"a\"\naddresses = [\"10.77.0.1\"]\n[delivery]\npool = \"a\"\n";

#[test]
fn nearly_all_that_a_provider_allows_is_sent_also_after_a_restart_and_a_block() {
    seeds::some(RUNS_MAX, &[], |seed| {
        let provider = Provider::new(0.4, 12.0, 4);
        let world = World::new(seed, provider.clone(), 10_500, ONE_SOURCE);
        world.simulation.run_for(2 * HOUR);
        let converged = world.now();
        world.simulation.run_for(HOUR);
        assert!(world.share(converged) >= 0.9, "after two hours: {}", world.share(converged));
        let refused = |provider: &Provider| provider.asked.len() - provider.taken.len();
        let before = refused(&provider.borrow());
        assert!(before < 200, "{before} were refused: each says once more what is known");

        world.restart();
        let restarted = world.now();
        world.simulation.run_for(HOUR / 2);
        assert!(world.share(restarted) >= 0.8, "after a crash: {}", world.share(restarted));
        let after = refused(&provider.borrow()) - before;
        assert!(after < 15, "{after} were refused after the crash: what was learned is lost");

        provider.borrow_mut().blocks = Some(IpAddr::from([10, 77, 0, 1]));
        world.simulation.run_for(HOUR / 2);
        provider.borrow_mut().blocks = None;
        world.simulation.run_for(2 * HOUR);
        let recovered = world.now();
        world.simulation.run_for(HOUR);
        assert!(world.share(recovered) >= 0.9, "two hours after a block: {}", world.share(recovered));
        world.check_limits();
    });
}

#[test]
fn a_block_is_remembered_over_a_restart() {
    let provider = Provider::new(100.0, 1000.0, 10);
    let blocked = IpAddr::from([10, 77, 0, 1]);
    provider.borrow_mut().blocks = Some(blocked);
    let world = World::new(1, provider.clone(), 50, ONE_SOURCE);
    world.simulation.run_for(MINUTE);
    let asked = provider.borrow().asked.len();
    assert!(asked > 0 && provider.borrow().taken.is_empty());
    world.restart();
    world.simulation.run_for(HOUR / 2);
    assert_eq!(provider.borrow().asked.len(), asked, "it is left alone for the whole pause");
    provider.borrow_mut().blocks = None;
    world.simulation.run_for(HOUR);
    assert_eq!(provider.borrow().taken.len(), 50, "then it is asked again");
}

#[test]
fn a_source_that_warms_up_keeps_to_its_plan_over_crashes_and_the_rest_overflows_to_a_warm_one() {
    seeds::some(CRASHES_MAX, &[], |seed| {
        let provider = Provider::new(1000.0, 1000.0, 100);
        let began = Simulation::new(seed).wall();
        let more = |plan: &str| {
            format!(
                "[[source]]\nname = \"cold\"\naddresses = [\"10.77.0.1\"]\nwarm_up_from = \"{}\"\nwarm_up_plan = {plan}\n\
                 [[source]]\nname = \"warm\"\naddresses = [\"10.77.0.2\"]\n[[pool]]\nname = \"both\"\n\
                 sources = [{{ source = \"cold\", weight = 3 }}, {{ source = \"warm\" }}]\n[delivery]\npool = \"both\"\n",
                day(began)
            )
        };
        let world = World::new(seed, provider.clone(), 300, &more("[20, 40]"));
        for _ in 0..world.simulation.dice().below(4) {
            let millis = world.simulation.dice().below(120_000) as u64;
            world.simulation.run_for(Duration::from_millis(millis));
            world.restart();
        }
        world.simulation.run_for(HOUR);
        world.check_limits();
        let provider = provider.borrow();
        let cold = IpAddr::from([10, 77, 0, 1]);
        let asked = provider.asked.iter().filter(|(client, _)| *client == cold).count();
        assert!((1..=20).contains(&asked), "{asked} from the source that warms up");
        assert!(provider.taken.len() >= 300, "{} of 300", provider.taken.len());
        assert_eq!(world.server.queued(&world.simulation), 0);
    });
}

#[test]
fn without_a_warm_source_what_is_beyond_the_plan_waits_for_the_next_day() {
    let provider = Provider::new(1000.0, 1000.0, 100);
    let began = Simulation::new(1).wall();
    let source = format!(
        "[[source]]\nname = \"cold\"\naddresses = [\"10.77.0.1\"]\nwarm_up_from = \"{}\"\nwarm_up_plan = [20, 40]\n\
         [delivery]\npool = \"cold\"\n",
        day(began)
    );
    let world = World::new(1, provider.clone(), 100, &source);
    let day_left = DAY - Duration::from_millis(began.as_millis() % DAY.as_millis() as u64);
    world.simulation.run_for(day_left - MINUTE);
    assert_eq!(provider.borrow().asked.len(), 20);
    world.simulation.run_for(DAY);
    assert_eq!(provider.borrow().asked.len(), 60);
    world.simulation.run_for(HOUR);
    assert_eq!((provider.borrow().taken.len(), world.server.queued(&world.simulation)), (100, 0), "then it is warm");
}

/// The UTC day, as the configuration has it.
fn day(time: shards::Timestamp) -> String {
    ringpost::message::date::rfc3339(time)[..10].to_owned()
}
