//! What a destination takes from one source is never exceeded: connections at a time, messages of a connection, and how many
//! new connections and messages there are in any stretch of time; with two shards that both have mail for it, and over a kill
//! in the midst of it. A provider counts, which knows nothing of the server.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::harness::provider::{converse, verb};
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::Client;
use crate::harness::wait_for;

const STRETCH: Duration = Duration::from_secs(10);
const MESSAGES: usize = 40;
const SLOW: usize = 6;

const LIMITS: &str = "[[limit]]\nconnections_max = 3\nmessages_per_connection_max = 4\nconnection_rate = \"10/10s\"\n\
                      message_rate = \"20/10s\"\n[[limit]]\ndomains = [\"slow.test\"]\nmessage_rate = \"5/10s\"\n";

/// What the provider has counted.
#[derive(Default)]
struct Counts {
    open: usize,
    open_most: usize,
    on_one_connection_most: usize,
    connections: Vec<Instant>,
    messages: Vec<Instant>,
    slow: Vec<Instant>,
    arrived: BTreeSet<String>,
}

/// A provider that takes everything and counts.
struct Provider {
    address: SocketAddr,
    counts: Arc<Mutex<Counts>>,
}

impl Provider {
    fn open() -> Provider {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let counts: Arc<Mutex<Counts>> = Arc::default();
        let counting = counts.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut state = counting.lock().expect("not poisoned");
                state.connections.push(Instant::now());
                state.open += 1;
                state.open_most = state.open_most.max(state.open);
                let counts = counting.clone();
                std::thread::spawn(move || {
                    // A connection that the kill ends is the story's own doing.
                    let _ = visit(&stream, &counts);
                    counts.lock().expect("not poisoned").open -= 1;
                });
            }
        });
        Provider { address, counts }
    }

    /// Whether nobody is connected.
    fn is_left(&self) -> bool {
        self.counts.lock().expect("not poisoned").open == 0
    }

    fn arrived(&self) -> usize {
        self.counts.lock().expect("not poisoned").arrived.len()
    }
}

fn visit(mut stream: &TcpStream, counts: &Mutex<Counts>) -> std::io::Result<()> {
    stream.write_all(b"220 provider.test ESMTP\r\n")?;
    let mut transactions = 0;
    let say = |command: &str| {
        let mut counts = counts.lock().expect("not poisoned");
        match verb(command) {
            "MAIL" => {
                transactions += 1;
                counts.messages.push(Instant::now());
                counts.on_one_connection_most = counts.on_one_connection_most.max(transactions);
            }
            "RCPT" if command.contains("@slow.test") => counts.slow.push(Instant::now()),
            _ => {}
        }
        Ok(None)
    };
    converse(stream, say, |recipient| {
        counts.lock().expect("not poisoned").arrived.insert(recipient.into());
    })
}

/// The most in any stretch.
fn most(times: &[Instant]) -> usize {
    let from = |first: usize| {
        let begin = times[first];
        times[first..].iter().take_while(|time| time.duration_since(begin) < STRETCH).count()
    };
    (0..times.len()).map(from).max().unwrap_or_default()
}

#[test]
fn by_two_shards_and_over_a_kill() {
    let provider = Provider::open();
    let mut server = Server::start(&Setup { more: LIMITS.into(), ..Setup::relay_to(provider.address) });
    // An address always meets the same shard: these two meet both.
    let from = |n: usize| Client::greet_from(Ipv4Addr::new(127, 0, 0, 1 + (n % 2) as u8).into(), server.relay);
    for n in 0..MESSAGES {
        from(n).submit("a@sender.test", &[&format!("{n}@fast.test")], "Subject: x\r\n\r\nx\r\n");
    }
    for n in 0..SLOW {
        from(n).submit("a@sender.test", &[&format!("{n}@slow.test")], "Subject: x\r\n\r\nx\r\n");
    }
    for accepted in ["event=accepted shard=0 ", "event=accepted shard=1 "] {
        server.wait_log(&[accepted]);
    }
    let patience = Duration::from_secs(120);
    wait_for("a good part of it", patience, || (provider.arrived() >= MESSAGES / 3).then_some(()));
    server.kill();
    // The next process is not to blame for connections whose end the provider has yet to see.
    wait_for("the connections of the dead one to end", patience, || provider.is_left().then_some(()));
    server.launch();
    wait_for("all of it", patience, || (provider.arrived() == MESSAGES + SLOW).then_some(()));
    let counts = provider.counts.lock().expect("not poisoned");
    let found = (counts.open_most, counts.on_one_connection_most, most(&counts.connections), most(&counts.messages));
    assert!(found.0 <= 3 && found.1 <= 4 && found.2 <= 10 && found.3 <= 20, "{found:?}");
    assert!(most(&counts.slow) <= 5, "{} to slow.test", most(&counts.slow));
    assert!(found.0 >= 2 && found.3 >= 15, "what is permitted is used: {found:?}");
}
