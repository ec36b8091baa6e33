//! An account's limit is one for all: its sessions from several addresses meet several shards, the server is killed
//! under them and started again, and yet nobody gets a recipient too many, or a message too few.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::mailbox::Mailbox;
use crate::harness::server::{PASSWORD, Server, Setup, USER};
use crate::harness::{PATIENCE, Process, wait_for};

/// Far above [`BEFORE_KILL`]: the kill must come before it is used up.
const LIMIT: u64 = 600;
const SESSIONS: u64 = 8;
const RECIPIENTS: u64 = 2;
/// Recipients after which the server is killed.
const BEFORE_KILL: u64 = 60;
/// Messages of a session: more than the limit.
const MESSAGES_MAX: u64 = 2 * LIMIT;

#[test]
fn across_shards_sessions_kills_and_reloads() {
    let mailbox = Mailbox::open();
    let mut server = Server::start(&Setup {
        // So that nothing but the count is left of what was delivered.
        more: "[retention]\ncontent = \"0s\"\nplaceholder = \"0s\"\n".into(),
        ..Setup::relay_to(mailbox.address)
    });
    let toml = fs::read_to_string(server.config()).expect("read");
    server.kill();
    fs::write(server.config(), toml.replace("senders =", &format!("daily_limit = {LIMIT}\nsenders =")))
        .expect("written");
    server.launch();

    let sessions = submit(&server, SESSIONS, RECIPIENTS);
    wait_for("the load", PATIENCE, || (accepted(&server).len() as u64 * RECIPIENTS >= BEFORE_KILL).then_some(()));
    server.kill();
    let mut acceptances = accepted(&server);
    let first = report(sessions);
    assert_eq!(first["cut_off"], SESSIONS, "the kill came in between: {first}");
    server.launch();
    server.wait_empty(PATIENCE);
    // Once more, when no trace of the first messages is left.
    server.kill();
    server.launch();

    let second = report(submit(&server, SESSIONS, RECIPIENTS));
    says_why(&second, SESSIONS);
    acceptances.extend(accepted(&server));
    let shards: BTreeSet<&str> = acceptances.iter().map(|id| &id[..3]).collect();
    assert_eq!(shards.len(), 2, "both shards accepted: {shards:?}");
    // What sessions reserved and gave back when they were refused.
    let third = report(submit(&server, 1, 1));
    says_why(&third, 1);
    println!("limit {LIMIT}: {first}, {second}, {third}");
    let sum: u64 = [&first, &second, &third].map(|report| report["accepted"].as_u64().expect("a number")).iter().sum();
    // What was accepted but could not be told any more counts, too: at most one message of each session.
    assert!((LIMIT - SESSIONS * RECIPIENTS..=LIMIT).contains(&sum), "{sum}");

    server.reload();
    server.wait_log(&["event=reloaded"]);
    for restart in [Server::stop, Server::kill] {
        let more = report(submit(&server, SESSIONS, 1));
        says_why(&more, SESSIONS);
        assert_eq!(more["accepted"], 0);
        restart(&mut server);
        server.launch();
    }
    assert_eq!(report(submit(&server, SESSIONS, 1))["accepted"], 0);
    server.wait_empty(PATIENCE);
    server.stop();
    server.change("shards = 2\n", "shards = 1\n");
    server.launch();
    assert_eq!(report(submit(&server, SESSIONS, 1))["accepted"], 0, "what the shard counted that is gone");
}

/// Every session was refused in the end, with the limit and when it starts anew.
fn says_why(report: &Value, sessions: u64) {
    let refusals = report["refusals"].as_array().expect("a list");
    assert_eq!(refusals.len() as u64, sessions, "{report}");
    for refusal in refusals {
        let refusal = refusal.as_str().expect("text");
        let why = format!("452 4.7.1 The account may send to {LIMIT} recipients a day");
        assert!(refusal.starts_with(&why) && refusal.contains("00:00 UTC"), "{refusal}");
    }
}

/// Sessions side by side.
fn submit(server: &Server, sessions: u64, recipients: u64) -> Process {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/submit_side_by_side.py");
    let mut command = Command::new("python3");
    command.arg(script).args([&server.submissions.port().to_string(), USER, PASSWORD]);
    command.args([sessions, MESSAGES_MAX, recipients].map(|number| number.to_string()));
    Process::start(command.stdin(Stdio::null()).stdout(Stdio::piped()))
}

/// What they say in the end.
fn report(mut sessions: Process) -> Value {
    let report = serde_json::from_reader(sessions.0.stdout.take().expect("its output")).expect("JSON");
    assert!(sessions.0.wait().expect("its status").success());
    report
}

/// The ids of what the running process has accepted.
fn accepted(server: &Server) -> Vec<String> {
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains("event=accepted"));
    lines.filter_map(|line| line.split(" id=").nth(1)?.split(' ').next().map(str::to_owned)).collect()
}
