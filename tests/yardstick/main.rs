//! Against Debian's Postfix, in one run on one machine: messages per CPU-second of the server, accepting and relaying.
//!
//! Both servers flush before 250, take 10 KiB messages over 20 kept-alive sessions from the same generator, and relay to
//! the same kind of sink over up to 20 connections. Ringpost is warm: what it keeps of contents in memory has been filled
//! once (Postfix, which keeps nothing, gains nothing by a warm-up). The order alternates, and the ratio of the medians counts; absolute
//! figures are this machine's.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "runs outside the shards, on real time")]
#![allow(missing_docs, reason = "the tests' names and bodies are the documentation")]

#[path = "../stories/harness/mod.rs"]
#[allow(dead_code, reason = "shared with the stories, which use all of it")]
mod harness;
mod postfix;

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::server::{Server, Setup};
use harness::{Process, free_address, full, output, wait_for, wait_listening};
use postfix::{Mode, Postfix};

/// What the ratio must be at least.
const RATIO_MIN: f64 = 5.0;
/// More than Ringpost's memory for contents holds, of all shards.
const WARM_UP: usize = 14_000;
const DRAIN_PATIENCE: Duration = Duration::from_secs(300);

fn messages() -> usize {
    if full() { 20_000 } else { 2_000 }
}

fn rounds() -> usize {
    if full() { 5 } else { 3 }
}

/// CPU seconds, user and system, of these processes and of their children that have ended.
pub fn cpu_seconds(pids: &[u32]) -> f64 {
    let ticks: u64 = pids
        .iter()
        .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok())
        .map(|stat| {
            let after_name = stat.rsplit(") ").next().expect("a stat line").to_owned();
            after_name.split(' ').skip(11).take(4).map(|field| field.parse::<u64>().expect("a number")).sum::<u64>()
        })
        .sum();
    ticks as f64 / 100.0
}

fn send(messages: usize, to: SocketAddr) {
    let count = messages.to_string();
    let to = format!("inet:{to}");
    output(Command::new("smtp-source").args([
        "-d",
        "-s",
        "20",
        "-l",
        "10240",
        "-m",
        &count,
        "-f",
        "a@sender.test",
        "-t",
        "b@sink.test",
        &to,
    ]));
}

fn sink() -> (Process, SocketAddr) {
    let address = free_address();
    let mut command = Command::new("smtp-sink");
    command.args(["-u", "root", &format!("inet:{address}"), "1000"]).stdin(Stdio::null());
    let process = Process::start(&mut command);
    wait_listening("smtp-sink", address);
    (process, address)
}

fn ringpost(mode: Mode) -> f64 {
    let (_sink, next_hop) = sink();
    let mut setup = Setup::relay_to(next_hop);
    if mode == Mode::Accept {
        setup.arguments.push("--hold".into());
    }
    let server = Server::start(&setup);
    send(WARM_UP, server.relay);
    if mode == Mode::Relay {
        server.wait_empty(DRAIN_PATIENCE);
    }
    let before = cpu_seconds(&[server.pid()]);
    send(messages(), server.relay);
    if mode == Mode::Relay {
        server.wait_empty(DRAIN_PATIENCE);
    }
    messages() as f64 / (cpu_seconds(&[server.pid()]) - before)
}

fn postfix(mode: Mode) -> f64 {
    let (_sink, next_hop) = sink();
    let server = Postfix::start(mode, next_hop);
    let before = cpu_seconds(&server.pids());
    send(messages(), server.address);
    if mode == Mode::Relay {
        wait_for("Postfix's queue to be empty", DRAIN_PATIENCE, || server.is_empty().then_some(()));
    }
    messages() as f64 / (cpu_seconds(&server.pids()) - before)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn messages_per_cpu_second_against_postfix() {
    for mode in [Mode::Accept, Mode::Relay] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds() {
            ours.push(ringpost(mode));
            theirs.push(postfix(mode));
        }
        let (ours, theirs) = (median(ours), median(theirs));
        println!(
            "{mode:?}: ringpost {ours:.0}, postfix {theirs:.0} messages per CPU-second: {:.1} times",
            ours / theirs
        );
        assert!(ours / theirs >= RATIO_MIN, "{mode:?}: {:.1} times", ours / theirs);
    }
}
