//! What waits because a destination takes only so much costs no CPU, however much it is.

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::harness::server::{Server, Setup};
use crate::harness::{Process, free_address, full, output, wait_listening};

/// What is queued, and how long the CPU time is watched.
fn scale() -> (usize, Duration) {
    if full() { (50_000, Duration::from_secs(30)) } else { (2_000, Duration::from_secs(10)) }
}

/// A server that has to make its first checkpoint, or one after much was queued, is at rest after this.
const SETTLED: Duration = Duration::from_secs(5);
/// Of a core, in percent: what idling costs, and this besides.
const PERCENT_MAX: f64 = 2.0;
/// Clock ticks of `/proc/PID/stat` (USER_HZ, which is 100 on every Linux that there is).
const TICKS_PER_S: f64 = 100.0;

/// The share of a core that the server uses for a while, in percent.
fn cpu_percent(server: &Server, watched: Duration) -> f64 {
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).expect("its status");
        let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        let number = |at: usize| fields[at].parse::<f64>().expect("a number");
        // User and kernel time are fields 14 and 15; the first one here is the third.
        number(11) + number(12)
    };
    let before = ticks();
    sleep(watched);
    (ticks() - before) / TICKS_PER_S / watched.as_secs_f64() * 100.0
}

#[test]
fn with_a_message_a_second_going_out() {
    let (messages, watched) = scale();
    let address = free_address();
    let mut sink = Command::new("smtp-sink");
    let _sink = Process::start(sink.args(["-u", "root", &format!("inet:{address}"), "100"]).stdin(Stdio::null()));
    wait_listening("smtp-sink", address);
    let limit = "[[limit]]\nmessage_rate = \"1/1s\"\n";
    let server = Server::start(&Setup { more: limit.into(), ..Setup::relay_to(address) });
    sleep(SETTLED);
    let idle = cpu_percent(&server, watched);
    let (count, to) = (messages.to_string(), format!("inet:{}", server.relay));
    output(Command::new("smtp-source").args(["-d", "-s", "20", "-l", "2048", "-m", &count, "-t", "u@sink.test", &to]));
    sleep(SETTLED);
    let queued = server.queued();
    let throttled = cpu_percent(&server, watched);
    let sent = queued - server.queued();
    println!("{queued} queued, {sent} sent in {watched:?}: {throttled:.2} % of a core; idle {idle:.2} %");
    assert!(sent > 0, "it goes on");
    assert!(throttled <= idle + PERCENT_MAX, "{throttled:.2} % of a core, idle {idle:.2} %");
}
