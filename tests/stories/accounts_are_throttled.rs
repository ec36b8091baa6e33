//! What an account may have at a time, and how often its password may be guessed, is counted on all shards together: its
//! sessions come from several addresses, and so meet several shards.

use std::path::Path;
use std::process::Command;

use crate::harness::server::{PASSWORD, Server, Setup, USER};
use crate::harness::{PATIENCE, wait_for};

const SESSIONS: usize = 12;
const MAX: usize = 5;
/// A guess that each other shard is about to verify when the limit is reached is still answered.
const SHARDS: usize = 2;

#[test]
fn so_many_connections_on_all_shards_together() {
    let server = server("connections_per_account_max");
    let answers = log_in(&server, PASSWORD);
    assert_eq!(let_in(&answers), MAX, "{answers:#?}");
    // The server notices a moment later that they have all gone.
    wait_for("all places to come back", PATIENCE, || {
        let answers = log_in(&server, PASSWORD);
        assert!(let_in(&answers) <= MAX, "{answers:#?}");
        (let_in(&answers) == MAX).then_some(())
    });
}

/// How many were; the others were told why not.
fn let_in(answers: &[String]) -> usize {
    let (right, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.starts_with("235 2.7.0"));
    let why = format!("421 4.7.0 The account has {MAX} connections open");
    assert!(refused.iter().all(|answer| answer.starts_with(&why)), "{answers:#?}");
    right.len()
}

#[test]
fn so_many_wrong_passwords_on_all_shards_together() {
    let server = server("auth_failures_per_account_max");
    let answers = log_in(&server, "a-guess");
    let (told, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.starts_with("535 5.7.8"));
    assert!((MAX..MAX + SHARDS).contains(&told.len()), "{answers:#?}");
    assert!(refused.iter().all(|answer| answer.starts_with("421 4.7.0 Too many failed")), "{answers:#?}");
    let late = log_in(&server, PASSWORD);
    assert!(late.iter().all(|answer| answer.starts_with("421 4.7.0 Too many failed")), "{late:#?}");
}

fn server(limit: &str) -> Server {
    let more = format!("[limits]\n{limit} = {MAX}\n");
    Server::start(&Setup { more, shards: SHARDS, ..Setup::default() })
}

/// The answers to sessions that log in side by side, from addresses of their own.
fn log_in(server: &Server, password: &str) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/log_in_side_by_side.py");
    let mut command = Command::new("python3");
    command.arg(script).args([&server.submissions.port().to_string(), USER, password, &SESSIONS.to_string()]);
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), SESSIONS);
    answers
}
