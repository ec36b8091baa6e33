//! The open loop: messages fall due whatever the server does.

use super::*;

#[test]
fn two_hundred_a_second_hold() {
    let sink = start("--listen=127.0.0.1:0", &[]);
    let load = generate(&sink, "--duration 2s --rate 200 --connections 4 --pipelining", &[]);
    assert_eq!((load.sent, load.accepted), (400, 400), "{load}");
    assert!(load.seconds > 1.9, "none before it was due: {load}");
}

#[test]
fn a_slow_server_cannot_hide_its_latency() {
    let folder = Folder::new();
    let script = folder.write("faults.toml", "[[fault]]\nat = \"dot\"\ndelay = \"50ms\"\n");
    let sink = start("--listen=127.0.0.1:0", &[&option("--script", &script)]);
    // Due every 10 ms on one connection that takes 50 ms for each: the last waits for all those before it.
    let load = generate(&sink, "--messages 20 --rate 100", &[]);
    assert_eq!(load.accepted, 20);
    assert!(load.due_us.max >= 20 * 50_000 - 20 * 10_000, "{load}");
    assert!(load.dot_us.p50 < load.due_us.p50, "{load}");
}
