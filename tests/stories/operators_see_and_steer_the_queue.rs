//! `ringpost queue`: what waits, why, and the operator's hand on it.

use std::process::Command;

use serde_json::Value;

use crate::harness::mailbox::{Effect, Mailbox};
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::{Client, queue_id};
use crate::harness::{PATIENCE, binary, free_address, wait_for};

const CONTENT: &str = "Subject: hi\r\n\r\nbody\r\n";

fn held() -> (Mailbox, Server) {
    let mailbox = Mailbox::open();
    let setup = Setup { arguments: vec!["--hold".into()], ..Setup::relay_to(mailbox.address) };
    let server = Server::start(&setup);
    (mailbox, server)
}

#[test]
fn with_delivery_suspended_until_release() {
    let (mailbox, server) = held();
    let mut client = Client::greet(server.relay);
    for n in 0..5 {
        client.submit("a@sender.test", &[&format!("user{n}@sink.test")], CONTENT);
    }
    assert_eq!(server.queued(), 5);
    assert!(mailbox.received().is_empty());
    server.queue(&["release", "--all"]);
    mailbox.wait(5);
    server.wait_empty(PATIENCE);
}

#[test]
fn page_by_page_and_one_in_full() {
    let (_mailbox, server) = held();
    let mut client = Client::greet(server.relay);
    let ids: Vec<String> = (0..7)
        .map(|n| queue_id(&client.submit("a@sender.test", &[&format!("user{n}@sink.test"), "x@other.test"], CONTENT)))
        .collect();
    let page = |arguments: &[&str]| -> Vec<String> {
        let text = server.queue(&[&["list", "--json"], arguments].concat());
        let page: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        page["messages"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|message| message["id"].as_str().expect("an id").to_owned())
            .collect()
    };
    assert_eq!(page(&["--limit", "4"]), ids[..4]);
    assert_eq!(page(&["--limit", "4", "--after", &ids[3]]), ids[4..]);
    assert_eq!(page(&["--recipient", "user2@sink.test"]), ids[2..3]);
    assert_eq!(page(&["--domain", "other.test"]).len(), 7);
    assert_eq!(server.queued(), 14);

    let shown: Value = serde_json::from_str(&server.queue(&["show", &ids[2], "--json"])).expect("JSON");
    assert_eq!(shown["id"], ids[2].as_str());
    assert_eq!(shown["sender"], "a@sender.test");
    assert_eq!(shown["recipients"].as_array().map(Vec::len), Some(2));
    let person = server.queue(&["show", &ids[2]]);
    assert!(person.contains("user2@sink.test") && person.contains("a@sender.test"), "{person}");
}

#[test]
fn hold_retry_and_bounce() {
    let mailbox = Mailbox::open();
    for _ in 0..3 {
        mailbox.fault("RCPT", Effect::Reply("450 4.2.0 later"));
    }
    let setup = Setup { schedule: r#"["1h"]"#.into(), ..Setup::relay_to(mailbox.address) };
    let server = Server::start(&setup);
    let mut client = Client::greet(server.relay);
    let ids: Vec<String> = ["one", "two", "three"]
        .iter()
        .map(|user| queue_id(&client.submit("a@sender.test", &[&format!("{user}@sink.test")], CONTENT)))
        .collect();
    wait_for("three deferrals", PATIENCE, || (server.log().matches("event=deferred").count() == 3).then_some(()));
    let why = server.queue(&["show", &ids[0]]);
    assert!(why.contains("450 4.2.0 later"), "the queue explains itself: {why}");

    server.queue(&["retry", &ids[0]]);
    assert!(mailbox.wait(1)[0].rcpt[0].contains("one@sink.test"));

    server.queue(&["hold", "--id", &ids[1]]);
    server.queue(&["retry", "--all"]);
    assert!(mailbox.wait(2)[1].rcpt[0].contains("three@sink.test"), "a held one is not tried");
    assert_eq!(server.queued(), 1);

    server.queue(&["bounce", &ids[1]]);
    let notice = &mailbox.wait(3)[2];
    assert!(notice.mail.starts_with("MAIL FROM:<>") && notice.text().contains("two@sink.test"));
    server.wait_empty(PATIENCE);
}

#[test]
fn what_waits_behind_a_dead_destination_says_so_and_a_retry_does_not_wait() {
    let address = free_address();
    let setup = Setup { schedule: r#"["1h"]"#.into(), ..Setup::relay_to(address) };
    let server = Server::start(&setup);
    let mut client = Client::greet(server.relay);
    client.submit("a@sender.test", &["first@sink.test"], CONTENT);
    server.wait_log(&["event=deferred", "first@sink.test"]);
    let behind: Vec<String> =
        (0..5).map(|n| queue_id(&client.submit("a@sender.test", &[&format!("user{n}@sink.test")], CONTENT))).collect();
    for id in &behind {
        let recipient = wait_for("the refusal to be known", PATIENCE, || {
            let shown: Value = serde_json::from_str(&server.queue(&["show", id, "--json"])).expect("JSON");
            let recipient = shown["recipients"][0].clone();
            recipient["why"].is_string().then_some(recipient)
        });
        assert_eq!((&recipient["attempts"], &recipient["state"]), (&0.into(), &"due".into()), "{recipient}");
        let [why, explanation] = ["why", "explanation"].map(|key| recipient[key].as_str().expect("a text"));
        assert!(why.contains("connection refused"), "{why}");
        assert!(explanation.contains("is left alone until") && explanation.contains(why), "{explanation}");
    }
    let person = server.queue(&["list"]);
    assert!(!person.contains("  now  ") && person.matches("connection refused").count() == 6, "{person}");

    let mailbox = Mailbox::open_at(address);
    assert_eq!(server.queue(&["retry", "--all"]).split(' ').next(), Some("6"), "all of them waited");
    mailbox.wait(6);
    server.wait_empty(PATIENCE);
}

#[test]
fn mistakes_are_told_with_their_exit_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("ringpost.toml");
    std::fs::write(&config, "[server]\nhostname = 1\n\n[nonsense]\n").expect("written");
    let check = Command::new(binary("ringpost")).arg("check").arg("-c").arg(&config).output().expect("it runs");
    let text = String::from_utf8_lossy(&check.stderr).into_owned() + &String::from_utf8_lossy(&check.stdout);
    assert_eq!(check.status.code(), Some(2), "{text}");
    assert!(
        text.contains("ringpost.toml:2:") && text.contains("ringpost.toml:4:"),
        "every mistake with its line: {text}"
    );

    let (_mailbox, mut server) = held();
    server.stop();
    let list =
        Command::new(binary("ringpost")).args(["queue", "list", "-c"]).arg(server.config()).output().expect("it runs");
    assert_eq!(list.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&list.stderr).lines().count(), 1, "one clear line");
    let wrong = Command::new(binary("ringpost")).args(["queue", "dance"]).output().expect("it runs");
    assert_eq!(wrong.status.code(), Some(2));
}
