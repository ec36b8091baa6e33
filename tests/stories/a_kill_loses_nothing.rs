//! SIGKILL under load, again and again: nothing that was answered 250 is lost or damaged, hardly anything is delivered
//! twice, and the server accepts again at once.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::server::{Server, Setup};
use crate::harness::{PATIENCE, Process, binary, free_address, full, output, wait_for, wait_listening};

/// From start to accepting again.
const RESTART_MAX: Duration = Duration::from_millis(1500);
/// The same with 1,000,000 queued recipients.
const RESTART_WITH_A_MILLION_MAX: Duration = Duration::from_secs(5);
/// Deliveries that may be in flight at a kill: 20 connections, and those whose outcome is on its way to disk.
const IN_FLIGHT_MAX: u64 = 80;
const DRAIN_PATIENCE: Duration = Duration::from_secs(300);

fn kills() -> u32 {
    if full() { 50 } else { 5 }
}

fn sink(address: SocketAddr, ids: &Path) -> Process {
    let mut command = Command::new(binary("ringload"));
    command.args(["sink", "--json", "--listen", &address.to_string(), "--ids"]).arg(ids);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let process = Process::start(&mut command);
    wait_listening("the sink", address);
    process
}

/// A load that keeps running into the kill.
fn load(server: &Server, ids: &Path) -> Process {
    let mut command = Command::new(binary("ringload"));
    command.args([
        "generate",
        "--to",
        &server.relay.to_string(),
        "--duration",
        "2s",
        "--connections",
        "20",
        "--size",
        "10KiB",
    ]);
    command.args(["--sources", "2", "--expect", "lost,4xx", "--patience", "10s", "--json", "--ids"]).arg(ids);
    Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
}

fn join(parts: &[PathBuf], whole: &Path) {
    let lines: String = parts.iter().map(|part| fs::read_to_string(part).expect("ids")).collect();
    fs::write(whole, lines).expect("written");
}

#[test]
fn killed_again_and_again_under_load() {
    let folder = tempfile::tempdir().expect("a folder");
    let (sent, received) = (folder.path().join("sent"), folder.path().join("received"));
    let address = free_address();
    let mut sink = sink(address, &received);
    let mut server = Server::start(&Setup::relay_to(address));
    let mut parts = Vec::new();
    let mut slowest = Duration::ZERO;
    for round in 0..kills() {
        let part = folder.path().join(format!("sent.{round}"));
        let mut load = load(&server, &part);
        // Somewhere in the load, elsewhere each time.
        std::thread::sleep(Duration::from_millis(200 + u64::from(round * 379 % 1400)));
        server.kill();
        slowest = slowest.max(server.launch());
        wait_for("the load to end", PATIENCE, || load.0.try_wait().expect("its status"));
        parts.push(part);
    }
    server.wait_empty(DRAIN_PATIENCE);
    sink.signal("-TERM");
    let report = std::io::read_to_string(sink.0.stdout.take().expect("its output")).expect("read");
    let report: Value = serde_json::from_str(&report).unwrap_or_else(|error| panic!("{error}: {report}"));

    join(&parts, &sent);
    let verified = output(
        Command::new(binary("ringload"))
            .args(["verify", "--json", "--sent"])
            .arg(&sent)
            .arg("--received")
            .arg(&received),
    );
    let account: Value = serde_json::from_str(&verified).expect("JSON");
    println!("{} kills, slowest restart {slowest:?}: {account}", kills());
    assert!(account["sent"].as_u64() > Some(100), "there was a load");
    assert_eq!(account["lost"], 0);
    assert_eq!(report["damaged"], 0, "{report}");
    assert!(account["duplicated"].as_u64() <= Some(u64::from(kills()) * IN_FLIGHT_MAX), "{account}");
    assert!(slowest <= RESTART_MAX, "accepting again took {slowest:?}");
}

#[test]
fn killed_with_a_long_queue_it_is_back_soon() {
    let messages = if full() { 10_000 } else { 500 };
    let server_setup = Setup { arguments: vec!["--hold".into()], ..Setup::relay_to(free_address()) };
    let mut server = Server::start(&server_setup);
    let domains: Vec<String> = (0..100).map(|n| format!("d{n}.test")).collect();
    let (to, count) = (server.relay.to_string(), messages.to_string());
    output(Command::new(binary("ringload")).args([
        "generate",
        "--to",
        &to,
        "--messages",
        &count,
        "--connections",
        "20",
        "--size",
        "1KiB",
        "--sources",
        "2",
        "--recipients",
        "100",
        "--rcpt-domain",
        &domains.join(","),
    ]));
    let queued = messages * 100;
    assert_eq!(server.queued(), queued);
    server.kill();
    let took = server.launch();
    let memory_kib = server.memory_kib("VmRSS");
    println!("{queued} recipients queued: accepting after {took:?}, {memory_kib} KiB resident");
    assert!(took <= RESTART_WITH_A_MILLION_MAX, "{took:?}");
    assert_eq!(server.queued(), queued);
    let begin = std::time::Instant::now();
    let page = server.queue(&["list", "--json", "--limit", "100"]);
    assert_eq!(serde_json::from_str::<Value>(&page).expect("JSON")["messages"].as_array().map(Vec::len), Some(100));
    println!("a page of 100 took {:?}", begin.elapsed());
}
