//! The binary: exit codes, files, signals.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

use super::*;

fn ringload(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringload")).args(words).output().expect("ringload runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn wrong_usage_is_exit_code_2_and_says_what_to_change() {
    let folder = Folder::new();
    let script =
        folder.write("faults.toml", "[[fault]]\nat = \"mail\"\n\n[[fault]]\nat = \"dot\"\nreply = \"250 ok\"\n");
    let script = script.display().to_string();
    let cases: &[(&[&str], &str)] = &[
        (&["generate", "--to", "127.0.0.1:1"], "--messages"),
        (&["generate", "--to", "127.0.0.1:1", "--messages", "1", "--rate", "0"], "rate"),
        (&["generate", "--to", "nowhere", "--messages", "1"], "--to nowhere"),
        (&["generate", "--to", "127.0.0.1:1", "--messages", "1", "--from", "x"], "--from x"),
        (&["generate", "--to", "192.0.2.1:1", "--messages", "1", "--tls", "implicit"], "--ca"),
        (&["sink", "--listen", "127.0.0.1:0", "--script", &script], "faults.toml:1: say what happens"),
        (&["sink", "--listen", "127.0.0.1:0", "--script", &script], "faults.toml:4: `250 ok` is not a refusal"),
        (&["verify", "--sent", "/nowhere", "--received", "/nowhere"], "/nowhere"),
    ];
    for (words, what) in cases {
        let output = ringload(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(what), "{words:?}: {}", text(&output.stderr));
    }
}

#[test]
fn every_help_is_there_with_an_example() {
    for command in ["generate", "sink", "verify", "run", "report"] {
        let output = ringload(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains(&format!("Example:\n  ringload {command} ")), "{command}");
    }
}

#[test]
fn a_server_that_is_not_there_is_exit_code_1() {
    let output = ringload(&["generate", "--to", "127.0.0.1:1", "--messages", "1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("1 recipients at connect"), "{}", text(&output.stdout));
}

#[test]
fn a_lost_message_is_exit_code_1() {
    let folder = Folder::new();
    let sent = folder.write("sent", "a\nb\n").display().to_string();
    let received = folder.write("received", "a\n").display().to_string();
    let output = ringload(&["verify", "--sent", &sent, "--received", &received]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("lost b"), "{}", text(&output.stdout));
    assert_eq!(ringload(&["verify", "--sent", &received, "--received", &sent]).status.code(), Some(0));
}

#[test]
fn a_signal_ends_the_load_with_its_summary() {
    let sink = start("--listen=127.0.0.1:0", &[]);
    let address = sink.addresses()[0].to_string();
    let load = Command::new(env!("CARGO_BIN_EXE_ringload"))
        .args(["generate", "--to", &address, "--duration", "1h", "--rate", "100", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("ringload runs");
    while sink.messages() == 0 {
        std::thread::yield_now();
    }
    signal(&load, libc::SIGINT);
    let output = load.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(summary["accepted"], sink.stop().expect("the sink ends").messages);
}

fn signal(child: &Child, signal: libc::c_int) {
    let pid = libc::pid_t::try_from(child.id()).expect("a process id");
    // SAFETY: a signal to our own child, which is not yet waited for.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

#[test]
fn a_signal_ends_the_sink_with_its_summary() {
    for number in [libc::SIGTERM, libc::SIGINT] {
        let mut sink = Command::new(env!("CARGO_BIN_EXE_ringload"))
            .args(["sink", "--listen", "127.0.0.1:0", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ringload runs");
        let mut line = String::new();
        BufReader::new(sink.stderr.take().expect("piped")).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().strip_prefix("listening on ").expect("it says where it listens").to_owned();
        let load = ringload(&["generate", "--to", &address, "--messages", "5", "--json"]);
        assert_eq!(load.status.code(), Some(0), "{}", text(&load.stderr));
        signal(&sink, number);
        let mut summary = String::new();
        sink.stdout.take().expect("piped").read_to_string(&mut summary).expect("reads");
        assert_eq!(sink.wait().expect("it ends").code(), Some(0));
        let summary: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
        assert_eq!(summary["messages"], 5);
    }
}
