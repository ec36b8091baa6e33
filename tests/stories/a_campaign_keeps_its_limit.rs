//! A campaign has limits of its own within its tenant's: counted by the destination they hold, with two shards that both have
//! mail of it and over a kill in the midst of it, while the tenant's other mail and other tenants' goes on. What is held or
//! suspended of it waits, also what comes later.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::mailbox::Mailbox;
use crate::harness::provider::{converse, verb};
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::Client;
use crate::harness::{binary, free_address, output, wait_for};

const STRETCH: Duration = Duration::from_secs(10);
const IN_STRETCH_MAX: usize = 5;
const LIMITED: usize = 14;
const OTHERS: usize = 40;
const PATIENCE: Duration = Duration::from_secs(120);

/// What the destination has counted; messages of the campaign are those of the sender `spring-acme`.
#[derive(Default)]
struct Counts {
    limited_open: usize,
    limited_open_most: usize,
    limited: Vec<Instant>,
    arrived: BTreeSet<String>,
}

type Shared = Arc<Mutex<Counts>>;

/// A destination that takes everything and counts.
fn open() -> (SocketAddr, Shared) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let counts = Shared::default();
    let counting = counts.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let counts = counting.clone();
            std::thread::spawn(move || visit(&stream, &counts));
        }
    });
    (address, counts)
}

fn visit(mut stream: &TcpStream, counts: &Mutex<Counts>) {
    let mut is_limited = false;
    let say = |command: &str| {
        if verb(command) == "MAIL" && command.contains("<spring-acme@") {
            let counts = &mut *counts.lock().expect("not poisoned");
            counts.limited.push(Instant::now());
            counts.limited_open += usize::from(!is_limited);
            counts.limited_open_most = counts.limited_open_most.max(counts.limited_open);
            is_limited = true;
        }
        Ok(None)
    };
    // A connection that the kill ends is the story's own doing.
    let _ = stream.write_all(b"220 sink.test ESMTP\r\n").and_then(|()| {
        converse(stream, say, |recipient| {
            counts.lock().expect("not poisoned").arrived.insert(recipient.into());
        })
    });
    counts.lock().expect("not poisoned").limited_open -= usize::from(is_limited);
}

/// The most in any stretch.
fn most(times: &[Instant]) -> usize {
    let from = |begin: &Instant| times.iter().filter(|at| *at >= begin && at.duration_since(*begin) < STRETCH).count();
    times.iter().map(from).max().unwrap_or_default()
}

/// A server whose returned listener believes what messages say of themselves.
fn start(next_hop: SocketAddr, limits: &str) -> (Server, SocketAddr) {
    let trusting = free_address();
    let more = format!(
        "[[listener]]\nkind = \"relay\"\naddress = \"{trusting}\"\ntls = \"off\"\nnetworks = [\"127.0.0.0/8\"]\n\
         routing_headers = true\n{limits}"
    );
    (Server::start(&Setup { more, ..Setup::relay_to(next_hop) }), trusting)
}

fn content(tenant: &str, campaign: &str) -> String {
    format!("X-Tenant: {tenant}\r\nX-Campaign: {campaign}\r\nSubject: hi\r\n\r\nbody\r\n")
}

fn submit(client: &mut Client, number: usize, tenant: &str, campaign: &str) {
    let sender = format!("{campaign}-{tenant}@sender.test");
    client.submit(&sender, &[&format!("{campaign}-{tenant}-{number}@sink.test")], &content(tenant, campaign));
}

#[test]
fn by_two_shards_and_over_a_kill_while_the_rest_goes_on() {
    let (sink, counts) = open();
    let limits = format!(
        "[[limit]]\ntenant = \"acme\"\ncampaign = \"spring\"\nconnections_max = 1\nmessage_rate = \"{IN_STRETCH_MAX}/10s\"\n"
    );
    let (mut server, trusting) = start(sink, &limits);
    // An address always meets the same shard: these two meet both.
    let from = |n: usize| Client::greet_from(Ipv4Addr::new(127, 0, 0, 1 + (n % 2) as u8).into(), trusting);
    for n in 0..LIMITED {
        submit(&mut from(n), n, "acme", "spring");
    }
    for n in 0..OTHERS {
        let (tenant, campaign) = if n % 4 < 2 { ("acme", "autumn") } else { ("other", "spring") };
        submit(&mut from(n), n, tenant, campaign);
    }
    for accepted in ["event=accepted shard=0 ", "event=accepted shard=1 "] {
        server.wait_log(&[accepted]);
    }
    let arrived = |of: &str| {
        let counts = counts.lock().expect("not poisoned");
        counts.arrived.iter().filter(|recipient| recipient.contains(of)).count()
    };
    wait_for("what is not limited", PATIENCE, || {
        (arrived("autumn-acme") + arrived("spring-other") == OTHERS).then_some(())
    });
    assert!(arrived("spring-acme") < LIMITED, "the campaign waits for its limit, not the others for the campaign");
    wait_for("a good part of the campaign", PATIENCE, || (arrived("spring-acme") >= LIMITED / 3).then_some(()));
    server.kill();
    server.launch();
    wait_for("all of the campaign", PATIENCE, || (arrived("spring-acme") == LIMITED).then_some(()));
    let counts = counts.lock().expect("not poisoned");
    let found = (counts.limited_open_most, most(&counts.limited));
    assert!(found.0 == 1 && found.1 <= IN_STRETCH_MAX, "{found:?}");
}

#[test]
fn which_explain_shows_with_who_says_so() {
    let limits = "[[limit]]\ntenant = \"acme\"\ncampaign = \"spring\"\nmessage_rate = \"5/10s\"\n\
                  [[limit]]\ncampaign = \"spring\"\nconnections_max = 3\n";
    let (server, trusting) = start(free_address(), limits);
    let explain = |arguments: &[&str]| {
        let mut command = Command::new(binary("ringpost"));
        output(command.arg("explain").args(arguments).arg("-c").arg(server.config()))
    };
    let of = |arguments: &[&str]| -> Vec<Value> {
        let text = explain(&[&["sink.test", "--json"], arguments].concat());
        let explained: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        explained["sources"][0]["limits"].as_array().expect("limits")[1..].to_vec()
    };
    let of_acme = of(&["--tenant", "acme", "--campaign", "spring"]);
    let (rate, connections) = (&of_acme[0]["message_rate"], &of_acme[1]["connections_max"]);
    assert_eq!(
        (&rate["value"], &rate["from"]),
        (&"5/10s".into(), &"[[limit]] for tenant acme, campaign spring".into())
    );
    assert_eq!((&connections["value"], &connections["from"]), (&"3".into(), &"[[limit]] for campaign spring".into()));
    assert_eq!(of(&["--campaign", "spring"]), of_acme[1..], "of whichever tenant");
    assert!(of(&["--tenant", "acme"]).is_empty());
    server.queue(&["suspend", "--all"]);
    let id = Client::greet(trusting).submit("a@sender.test", &["b@sink.test"], &content("acme", "spring"));
    let explained = explain(&[&crate::harness::smtp::queue_id(&id)]);
    assert!(explained.contains("(tenant acme, campaign spring)"), "a message brings its campaign along: {explained}");
}

#[test]
fn what_is_held_or_suspended_of_it_waits_also_what_comes_later() {
    let mailbox = Mailbox::open();
    let (mut server, trusting) = start(mailbox.address, "");
    let recipients = |count: usize| -> Vec<String> {
        let of = |rcpt: &str| rcpt["RCPT TO:<".len()..].split('@').next().expect("one").to_owned();
        mailbox.wait(count).iter().map(|message| of(&message.rcpt[0])).collect()
    };
    server.queue(&["suspend", "--campaign", "spring"]);
    submit(&mut Client::greet(trusting), 1, "acme", "spring");
    submit(&mut Client::greet(trusting), 2, "acme", "autumn");
    assert_eq!(recipients(1), ["autumn-acme-2"]);
    assert_eq!(server.queue(&["hold", "--campaign", "spring"]), "1 recipient held\n");
    server.queue(&["resume", "--campaign", "spring"]);
    submit(&mut Client::greet(trusting), 3, "acme", "spring");
    assert_eq!(recipients(2)[1], "spring-acme-3", "what comes after the order is not held");
    // What has arrived is settled on disk before the kill.
    server.wait_empty_but(1);
    server.kill();
    server.launch();
    submit(&mut Client::greet(trusting), 4, "acme", "autumn");
    assert_eq!(recipients(3)[2], "autumn-acme-4");
    assert_eq!(
        server.queue(&["list", "--count", "--campaign", "spring", "--state", "held"]).trim(),
        "1",
        "over a kill"
    );
    server.queue(&["release", "--campaign", "spring"]);
    assert_eq!(recipients(4)[3], "spring-acme-1");
}
