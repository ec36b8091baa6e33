//! Each server that Ringpost is compared with does the whole of an experiment: it holds, delivers, and loses nothing.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use loadtest::run::Run;

use super::*;

/// What is held is counted in the queue, then delivered; then messages pass through.
const SCENARIO: &str = "title = \"A story\"\nabout = \"A\"\nhold = true\n\n\
    [[step]]\nname = \"hold\"\nload = \"--messages 200 --connections 10\"\n\n\
    [[step]]\nname = \"release\"\nrelease = true\npatience = \"2m\"\n\n\
    [[step]]\nname = \"pass\"\nload = \"--messages 100 --connections 5 --messages-per-connection 1 --pipelining\"\n\
    until = \"delivered\"\npatience = \"2m\"\n\n\
    ";

/// Then some over TLS.
const TLS_STEP: &str =
    "[[step]]\nname = \"tls\"\nload = \"--messages 20 --tls implicit\"\nuntil = \"delivered\"\npatience = \"2m\"\n";

fn everything_arrives_once(server: &str, tls_step: &str) {
    let folder = Folder::new();
    // Mail servers run as users of their own, which must reach their folders.
    std::fs::set_permissions(folder.path(""), PermissionsExt::from_mode(0o755)).expect("its mode");
    let (scenario, out) = (folder.write("story.toml", &format!("{SCENARIO}{tls_step}")), folder.path("run"));
    let output = Command::new(env!("CARGO_BIN_EXE_ringload"))
        .arg("run")
        .arg(&scenario)
        .args(["--server", server, "--repeat", "1"])
        .arg(option("--out", &out))
        .output()
        .expect("ringload runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stdout));

    let run = Run::load(&out).expect("its record");
    let result = &run.servers[0];
    let account = &result.repetitions[0].account;
    let expected = if tls_step.is_empty() { 300 } else { 320 };
    assert_eq!((account.accepted, account.received, account.lost), (expected, expected, 0), "{account:?}");
    assert_eq!((account.duplicated, account.unacknowledged, account.damaged), (0, 0, 0), "{account:?}");
    let figure = |step: &str, name: &str| result.spread(step, name).map(|spread| spread.median);
    assert_eq!(figure("hold", "queued"), Some(200.0), "what is held is in the queue");
    assert_eq!(figure("pass", "queued"), Some(0.0));
    assert!(figure("hold", "cpu_us_per_message") > Some(0.0), "its processes are seen");
    assert!(figure("hold", "memory_bytes") > Some(0.0));
    assert!(!result.version.is_empty() && !result.version.contains('?'), "{}", result.version);
}

#[test]
fn postfix_delivers_everything_once() {
    everything_arrives_once("postfix", TLS_STEP);
}

#[test]
fn exim_delivers_everything_once() {
    everything_arrives_once("exim", TLS_STEP);
}

/// Debian's build cannot use the certificate's P-256 key.
#[test]
fn opensmtpd_delivers_everything_once() {
    everything_arrives_once("opensmtpd", "");
}

#[test]
fn haraka_delivers_everything_once() {
    everything_arrives_once("haraka", TLS_STEP);
}
