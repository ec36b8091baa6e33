//! Postfix's own generator and sink: everything that a bulk sender hands in arrives, once, in bounded memory.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::dns::Dns;
use crate::harness::server::{Server, Setup};
use crate::harness::{Process, free_address, full, output, wait_listening};

const BULK_PATIENCE: Duration = Duration::from_secs(600);

fn messages() -> usize {
    if full() { 100_000 } else { 5_000 }
}

/// smtp-sink, which appends what it gets to one file.
fn sink(address: SocketAddr, dump: &Path) -> Process {
    let mut command = Command::new("smtp-sink");
    command.args(["-u", "root", "-m", "500", "-D", &dump.display().to_string(), &format!("inet:{address}"), "1000"]);
    let process = Process::start(command.stdin(Stdio::null()));
    wait_listening("smtp-sink", address);
    process
}

/// How often each recipient (each is used for one message) stands in the dump.
fn copies(dump: &Path) -> HashMap<String, usize> {
    let reader = BufReader::new(std::fs::File::open(dump).expect("the dump"));
    let mut copies = HashMap::new();
    for line in reader.split(b'\n').map(|line| line.expect("read")) {
        if let Some(recipient) = line.strip_prefix(b"X-Rcpt-Args: ") {
            *copies.entry(String::from_utf8_lossy(recipient).into_owned()).or_insert(0) += 1;
        }
    }
    copies
}

fn send(server: &Server, count: usize) {
    let to = format!("inet:{}", server.relay);
    let count = count.to_string();
    output(Command::new("smtp-source").args([
        "-N",
        "-d",
        "-s",
        "50",
        "-l",
        "10240",
        "-m",
        &count,
        "-f",
        "a@sender.test",
        "-t",
        "user@sink.test",
        &to,
    ]));
}

fn all_arrive_once(setup: &Setup, sink_address: SocketAddr) {
    let folder = tempfile::tempdir().expect("a folder");
    let dump = folder.path().join("dump");
    let _sink = sink(sink_address, &dump);
    let server = Server::start(setup);
    send(&server, messages());
    server.wait_empty(BULK_PATIENCE);
    let copies = copies(&dump);
    assert_eq!(copies.len(), messages(), "recipients that arrived");
    assert_eq!(copies.values().max(), Some(&1), "copies of one message");
    let peak_kib = server.memory_kib("VmHWM");
    println!("{} messages, peak memory {} MiB", messages(), peak_kib / 1024);
    assert!(peak_kib < 512 * 1024, "peak memory {peak_kib} KiB");
}

#[test]
fn through_a_route() {
    let address = free_address();
    all_arrive_once(&Setup::relay_to(address), address);
}

#[test]
fn through_mail_exchangers_from_a_real_dns_server() {
    let address = free_address();
    let dns = Dns::start("sink MX 10 mx.sink\nmx.sink A 127.0.0.1\n");
    let more = format!("[delivery]\nport = {}\n", address.port());
    all_arrive_once(&Setup { dns: Some(dns.address), more, ..Setup::default() }, address);
}
