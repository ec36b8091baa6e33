//! A provider that enforces its limits as the large ones do: connections at a time, new connections and messages in any
//! stretch of time, each beyond which is refused with 421 or 450. How many messages it takes it tells nobody: what it says is
//! all that two shards have to go by, also over a kill. Everything arrives once, few attempts are refused, and a good
//! part of what the provider allows is used.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::harness::provider::{converse, verb};
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::Client;
use crate::harness::{PATIENCE, binary, free_address, output, wait_for};

/// What the provider allows: connections at a time; new ones, and messages, in any stretch.
const CONNECTIONS: usize = 2;
const STRETCH: Duration = Duration::from_secs(1);
const NEW_CONNECTIONS: usize = 3;
const MESSAGES: usize = 3;

const SENT: usize = 30;
/// Of all attempts, those that are refused, at most.
const REFUSED_SHARE_MAX: f64 = 0.3;
/// Of what the provider allows from the first message to the last, what is sent, at least.
const USED_SHARE_MIN: f64 = 0.3;

/// What the provider knows.
#[derive(Default)]
struct Counts {
    open: usize,
    connections: VecDeque<Instant>,
    messages: VecDeque<Instant>,
    refused: usize,
    arrived: Vec<String>,
    first: Option<Instant>,
    /// It answers nobody.
    is_silent: bool,
}

/// Whether one more fits into the stretch that ends now; if so it counts.
fn fits(times: &mut VecDeque<Instant>, most: usize) -> bool {
    let now = Instant::now();
    while times.front().is_some_and(|time| now.duration_since(*time) >= STRETCH) {
        times.pop_front();
    }
    let fits = times.len() < most;
    if fits {
        times.push_back(now);
    }
    fits
}

#[derive(Clone)]
struct Provider {
    address: SocketAddr,
    shared: Arc<(Mutex<Counts>, Condvar)>,
}

impl Provider {
    fn open() -> Provider {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let provider = Provider { address: listener.local_addr().expect("its address"), shared: Arc::default() };
        let accepting = provider.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let visited = accepting.clone();
                visited.counts().open += 1;
                std::thread::spawn(move || {
                    // A connection that the kill ends is the story's own doing.
                    let _ = visited.serve(&stream);
                    visited.counts().open -= 1;
                });
            }
        });
        provider
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.shared.0.lock().expect("not poisoned")
    }

    /// From now on nobody is answered who wants to begin something; what has begun goes on.
    fn falls_silent(&self) {
        self.counts().is_silent = true;
    }

    /// It answers again; whoever got no answer is hung up on.
    fn speaks_again(&self) {
        self.counts().is_silent = false;
        self.shared.1.notify_all();
    }

    /// The counts, unless nobody is answered.
    fn awake(&self) -> std::io::Result<MutexGuard<'_, Counts>> {
        let counts = self.counts();
        if !counts.is_silent {
            return Ok(counts);
        }
        drop(self.shared.1.wait_while(counts, |counts| counts.is_silent).expect("not poisoned"));
        Err(std::io::ErrorKind::TimedOut.into())
    }

    fn serve(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let greeting = {
            let mut counts = self.awake()?;
            let refusal = if counts.open > CONNECTIONS {
                Some("421 4.7.0 Too many connections from your address, try again later\r\n")
            } else if !fits(&mut counts.connections, NEW_CONNECTIONS) {
                Some("421 4.7.0 Connection rate limit exceeded, try again later\r\n")
            } else {
                None
            };
            counts.refused += usize::from(refusal.is_some());
            refusal
        };
        stream.write_all(greeting.unwrap_or("220 provider.test ESMTP\r\n").as_bytes())?;
        match greeting {
            Some(_) => Ok(()),
            None => self.converse(stream),
        }
    }

    fn converse(&self, stream: &TcpStream) -> std::io::Result<()> {
        let say = |command: &str| if verb(command) == "MAIL" { self.begin().map(Some) } else { Ok(None) };
        converse(stream, say, |recipient| self.counts().arrived.push(recipient.into()))
    }

    /// The answer to MAIL.
    fn begin(&self) -> std::io::Result<&'static str> {
        let mut counts = self.awake()?;
        if fits(&mut counts.messages, MESSAGES) {
            counts.first.get_or_insert_with(Instant::now);
            return Ok("250 ok");
        }
        counts.refused += 1;
        Ok(match counts.refused % 2 {
            0 => "450 4.7.28 Unusual rate of mail: you are rate limited, slow down",
            _ => "421 4.7.28 Unusual rate of mail: you are rate limited, slow down",
        })
    }
}

fn explain(server: &Server) -> String {
    output(Command::new(binary("ringpost")).args(["explain", "sink.test", "-c"]).arg(server.config()))
}

/// What the metrics of all shards whose names begin so add up to, and how many of them are not 0.
fn metric(server: &Server, http: SocketAddr, name: &str) -> (u64, usize) {
    let token = fs::read_to_string(server.folder.path().join("http.token")).expect("a token");
    let header = format!("Authorization: Bearer {}", token.trim());
    let text = output(Command::new("curl").args(["-sSf", "-H", &header, &format!("http://{http}/metrics")]));
    let lines = text.lines().filter(|line| line.starts_with(name));
    let values: Vec<u64> = lines.map(|line| line.rsplit(' ').next().expect("a value").parse().expect(line)).collect();
    assert!(!values.is_empty(), "{name} is not in {text}");
    (values.iter().sum(), values.iter().filter(|value| **value > 0).count())
}

/// Falls silent, and waits until the server has settled all that was taken: a kill then leaves nothing in doubt.
fn quiet(provider: &Provider, server: &Server) {
    provider.falls_silent();
    wait_for("what was taken to be settled", PATIENCE, || {
        let (taken, queued) = (provider.counts().arrived.len(), server.queued());
        let told = server.log().matches("event=delivered").count();
        (taken + queued as usize == SENT && told == taken).then_some(())
    });
    // The log tells of an outcome before it is flushed.
    server.wait_on_disk();
}

#[test]
fn and_it_gets_what_it_allows_and_hardly_more() {
    let (provider, http) = (Provider::open(), free_address());
    let more = format!(
        "rate_pause = [\"1s\"]\n[shaping]\nrecovery_step = \"1s\"\n\
         [[limit]]\nconnections_max = {CONNECTIONS}\n\
         [http]\naddress = \"{http}\"\ntoken_file = \"http.token\"\n"
    );
    let mut server = Server::start(&Setup { more, ..Setup::relay_to(provider.address) });
    // An address always meets the same shard: with two of them both shards have mail for the provider.
    for n in 0..SENT {
        let from = Ipv4Addr::new(127, 0, 0, 1 + (n % 2) as u8);
        let mut client = Client::greet_from(from.into(), server.relay);
        client.submit("a@sender.test", &[&format!("{n}@sink.test")], "Subject: x\r\n\r\nx\r\n");
    }
    let accepted = metric(&server, http, "ringpost_inbound_messages_total{");
    assert_eq!(accepted, (SENT as u64, 2), "both shards have some");
    wait_for("a third of it", PATIENCE, || (provider.counts().arrived.len() >= SENT / 3).then_some(()));
    quiet(&provider, &server);
    let silent_since = Instant::now();
    let lowered =
        |signal: &str| metric(&server, http, &format!("ringpost_outbound_limits_lowered_total{{signal=\"{signal}\"")).0;
    let told = |server: &Server, event: &str| server.log().matches(&format!("event={event} ")).count() as u64;
    let (rate, connections) = (lowered("rate"), lowered("connections"));
    assert!(rate > 0, "the rate was lowered");
    assert_eq!(
        rate + connections + lowered("reputation"),
        told(&server, "limit_lowered"),
        "each is told of and counted"
    );
    server.kill();
    server.launch();
    // The last step may be younger than the last checkpoint; the lowering is not.
    let learned = explain(&server);
    assert!(learned.contains("now: message_rate") && learned.contains("slow down"), "it outlives the kill: {learned}");
    let silent = silent_since.elapsed();
    provider.speaks_again();
    wait_for("all of it", PATIENCE, || (provider.counts().arrived.len() >= SENT).then_some(()));
    let last = Instant::now();
    server.wait_empty(PATIENCE);

    let raised = metric(&server, http, "ringpost_outbound_limits_raised_total{").0;
    assert!((1..=told(&server, "limit_raised")).contains(&raised), "{raised} times raised");
    let counts = provider.counts();
    assert_eq!(counts.arrived.iter().collect::<BTreeSet<_>>().len(), SENT, "nothing is lost");
    assert_eq!(counts.arrived.len(), SENT, "nothing is doubled");
    let refused = counts.refused as f64 / (counts.refused + SENT) as f64;
    let open_for = last.duration_since(counts.first.expect("there was one")) - silent;
    let allowed = MESSAGES as f64 * (1.0 + open_for.as_secs_f64() / STRETCH.as_secs_f64());
    let used = SENT as f64 / allowed;
    println!("{} refused ({refused:.2} of all), {used:.2} of what is allowed used, in {open_for:?}", counts.refused);
    assert!(refused <= REFUSED_SHARE_MAX, "{refused:.2} of all attempts were refused");
    assert!(used >= USED_SHARE_MIN, "{used:.2} of what is allowed was used");
}
