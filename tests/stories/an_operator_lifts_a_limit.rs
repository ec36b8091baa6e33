//! An operator ends a rest: what keeps mail from a destination is lifted once, mail flows at once, and a kill does not bring it
//! back. What is configured holds as before. The answer says what was lifted, and that is in the log with who asked.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use crate::harness::mailbox::{Effect, Mailbox};
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::Client;
use crate::harness::{PATIENCE, binary, output, wait_for};

const CONTENT: &str = "Subject: hi\r\n\r\nbody\r\n";
const LISTED: &str = "554 5.7.1 Service unavailable; Client host [127.0.0.1] blocked using bl.test";
const SOURCES: &str = "[[source]]\nname = \"s2\"\naddresses = [\"127.0.0.2\"]\n[[source]]\nname = \"s3\"\n\
                       addresses = [\"127.0.0.3\"]\n[delivery]\npool = \"s2\"\n";

fn lift(server: &Server, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary("ringpost"));
    command.arg("lift").args(arguments).arg("-c").arg(server.config()).env("SUDO_USER", "nora");
    command.output().expect("it runs")
}

fn lifted(server: &Server, arguments: &[&str]) -> String {
    let output = lift(server, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn explain(server: &Server) -> String {
    output(Command::new(binary("ringpost")).args(["explain", "sink.test", "-c"]).arg(server.config()))
}

/// Submits so many messages, each over a connection of its own, so that both shards have some.
fn submit(server: &Server, name: &str, messages: usize) {
    for n in 0..messages {
        Client::greet(server.relay).submit("a@sender.test", &[&format!("{name}{n}@sink.test")], CONTENT);
    }
}

/// The recipients of whatever waits for a destination that rests.
fn resting(server: &Server) -> u64 {
    let page: Value = serde_json::from_str(&server.queue(&["domains", "--resting", "--json"])).expect("JSON");
    page["domains"].as_array().into_iter().flatten().filter_map(|domain| domain["recipients"].as_u64()).sum()
}

fn wait_resting(server: &Server, recipients: u64) {
    wait_for("mail that waits", PATIENCE, || (resting(server) == recipients).then_some(()));
}

#[test]
fn a_path_that_is_blocked_is_tried_at_once_and_a_kill_brings_nothing_back() {
    let mailbox = Mailbox::open();
    mailbox.fault("MAIL", Effect::Reply(LISTED));
    let more = format!("block_pause = \"1h\"\n{SOURCES}");
    let mut server = Server::start(&Setup { more, ..Setup::relay_to(mailbox.address) });
    assert!(lifted(&server, &["sink.test"]).starts_with("nothing was in the way to 127.0.0.1"), "nothing yet");
    Client::greet(server.relay).submit("a@sender.test", &["first@sink.test"], CONTENT);
    server.wait_log(&["event=deferred", "category=blocklist", "attempt=0 "]);
    submit(&server, "x", 20);
    wait_resting(&server, 21);
    assert!(explain(&server).contains("now: message_rate"), "{}", explain(&server));

    let misspelt = lift(&server, &["sink.test", "--source", "s4"]);
    let why = String::from_utf8_lossy(&misspelt.stderr).into_owned();
    assert_eq!(misspelt.status.code(), Some(2), "{why}");
    assert!(why.contains("named `s4`; there are: s2, s3"), "{why}");
    assert!(
        lifted(&server, &["sink.test", "--source", "s3"]).contains("nothing was in the way"),
        "it is another's block"
    );
    assert_eq!((mailbox.connections(), resting(&server)), (1, 21), "nothing of that touched what rests");

    let answer = lifted(&server, &["b@SINK.test", "--source", "s2"]);
    for what in ["rest (", "block (", "message_rate (", "connections_max (", "blocked using bl.test"] {
        assert!(answer.contains("from s2 to 127.0.0.1") && answer.contains(what), "{what}: {answer}");
    }
    assert!(answer.ends_with("21 recipients that waited are due now\n"), "{answer}");
    server.wait_empty(PATIENCE);
    assert_eq!(mailbox.wait(21).len(), 21);
    server.wait_log(&[
        "event=limit_lifted",
        "source=s2",
        "asked_by=nora",
        "lifted=\"block connections_max message_rate rest\"",
    ]);
    assert!(!explain(&server).contains("now:"), "{}", explain(&server));
    server.kill();
    server.launch();
    assert!(!explain(&server).contains("now:"), "after a kill: {}", explain(&server));
    submit(&server, "y", 3);
    server.wait_empty(PATIENCE);
}

#[test]
fn what_is_used_up_is_there_once_more_and_no_oftener() {
    let mailbox = Mailbox::open();
    let more = format!("{SOURCES}[[limit]]\nmessage_rate = \"3/1h\"\n");
    let server = Server::start(&Setup { more, ..Setup::relay_to(mailbox.address) });
    // A process that starts does not know what the one before has sent.
    submit(&server, "x", 7);
    wait_resting(&server, 7);
    for (arrived, left) in [(3, 4), (6, 1)] {
        let answer = lifted(&server, &["sink.test"]);
        assert!(answer.contains("message_rate_used_up (3/1h as [[limit]]"), "{answer}");
        assert_eq!(mailbox.wait(arrived).len(), arrived);
        wait_resting(&server, left);
        assert_eq!(mailbox.received().len(), arrived, "then it is used up again");
    }
    assert!(explain(&server).contains("3/1h"), "what is configured stays: {}", explain(&server));
}

#[test]
fn a_day_of_a_warm_up_is_there_once_more_over_a_kill() {
    let mailbox = Mailbox::open();
    let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let plan = format!("warm_up_from = \"{today}\"\nwarm_up_plan = [3, 3]\n");
    let more = SOURCES.replacen("addresses = [\"127.0.0.2\"]\n", &format!("addresses = [\"127.0.0.2\"]\n{plan}"), 1);
    let mut server = Server::start(&Setup { more, ..Setup::relay_to(mailbox.address) });
    submit(&server, "x", 8);
    assert_eq!(mailbox.wait(3).len(), 3);
    wait_resting(&server, 5);
    let answer = lifted(&server, &["sink.test"]);
    assert!(answer.contains("warm_up (the warm-up of s2 allows"), "{answer}");
    assert_eq!(mailbox.wait(6).len(), 6);
    wait_resting(&server, 2);
    assert!(explain(&server).contains("warm-up: 6 of 6 messages of today"), "{}", explain(&server));
    server.wait_empty_but(2);
    server.kill();
    server.launch();
    // What waited before the kill is not asked for again before its time; the new one says that there is nothing left today.
    submit(&server, "y", 1);
    wait_for("the new one to wait", PATIENCE, || (resting(&server) > 0).then_some(()));
    assert_eq!((mailbox.received().len(), server.queued()), (6, 3), "a kill gives no third one");
    server.kill();
    server.change("shards = 2\n", "shards = 3\n");
    server.launch();
    let json: Value = serde_json::from_str(&lifted(&server, &["sink.test", "--json"])).expect("JSON");
    assert_eq!(
        (&json["recipients"], &json["paths"][0]["lifted"][0]["what"]),
        (&3.into(), &"warm_up".into()),
        "{json:#}"
    );
    server.wait_empty(PATIENCE + Duration::from_secs(5));
}
