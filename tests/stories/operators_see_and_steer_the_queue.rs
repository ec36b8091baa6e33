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
    let list = server.queue(&["list", "--state", "new"]);
    assert_eq!(list.matches("all, until `ringpost queue resume --all`").count(), 5, "it says what keeps it: {list}");
    assert_eq!(list.matches(" suspended ").count(), 5, "and shows it: {list}");
    assert_eq!(server.queue(&["list", "--state", "deferred"]), "Nothing is queued that fits.\n");
    assert_eq!(server.try_queue(&["bounce", "--all"]), None, "without --yes a script gives up nothing");
    server.queue(&["bounce", "--recipient", "user4@sink.test"]);
    server.wait_log(&["event=ordered", "order=bounce", "selection=\"recipient user4@sink.test\"", "recipients=1"]);
    assert_eq!(server.queued(), 5, "its notice has taken its place");
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
    assert_eq!(server.queue(&["retry", &ids[1]]), "0 recipients to be tried now\n");
    for change in ["hold", "release", "retry", "bounce"] {
        assert_eq!(server.try_queue(&[change, "00000000ffffffff"]), None, "{change} of no message");
    }

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
fn by_domain_with_what_rests_until_when_by_whose_words_and_how_much_waits() {
    let (blocking, other) = (Mailbox::open(), Mailbox::open());
    blocking.fault("MAIL", Effect::Reply("554 5.7.1 Client host [127.0.0.1] blocked using bl.test"));
    let domains = |names: &[&str]| names.iter().map(|name| format!("{name}.block.test")).collect::<Vec<_>>();
    let server = Server::start(&Setup {
        routes: vec![("*.block.test".into(), blocking.address.to_string()), ("*".into(), other.address.to_string())],
        ..Setup::default()
    });
    let destination = format!("127.0.0.1:{}", blocking.address.port());
    let mut client = Client::greet(server.relay);
    client.submit("a@sender.test", &["first@a.block.test"], CONTENT);
    server.wait_log(&["event=deferred", "first@a.block.test", "category=blocklist"]);
    for name in domains(&["a", "b", "c"]) {
        for n in 0..4 {
            client.submit("a@sender.test", &[&format!("{n}@{name}")], CONTENT);
        }
    }
    let look = |arguments: &[&str]| -> Value {
        let text = server.queue(&[&["domains", "--json"], arguments].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    let resting = wait_for("all three domains to rest", PATIENCE, || {
        let resting = look(&["--resting"])["domains"].as_array().expect("a list").clone();
        (resting.len() == 3).then_some(resting)
    });
    for (entry, (name, recipients)) in resting.iter().zip(domains(&["a", "b", "c"]).iter().zip([5, 4, 4])) {
        assert_eq!((&entry["domain"], &entry["recipients"]), (&name.as_str().into(), &recipients.into()), "{entry}");
        assert_eq!(entry["destination"], destination.as_str());
        let why = entry["why"].as_str().expect("a text");
        let words = format!("127.0.0.1[127.0.0.1]:{} said: 554 5.7.1 Client host", blocking.address.port());
        assert!(why.starts_with(&words), "{why}");
        assert!(entry["rests_until"].as_str().is_some_and(|until| until.ends_with('Z')), "{entry}");
    }
    let page = look(&["--limit", "2"]);
    assert_eq!((page["domains"].as_array().map(Vec::len), &page["next"]), (Some(2), &"b.block.test".into()));
    assert_eq!(look(&["--limit", "2", "--after", "b.block.test"])["domains"][0]["domain"], "c.block.test");
    let person = server.queue(&["domains", "--destination", &destination]);
    assert!(person.starts_with("DOMAIN") && person.matches("  for 59m  ").count() == 3, "{person}");
    assert_eq!(server.queue(&["list", "--count", "--destination", &destination]).trim(), "13");

    // The block is over. A retry of one domain says whom else it does not reach, and how to.
    let retried: Value =
        serde_json::from_str(&server.queue(&["retry", "--domain", "a.block.test", "--json"])).expect("JSON");
    assert_eq!(retried["recipients"], 5);
    assert_eq!(retried["waiting_still"]["destination"], destination.as_str());
    assert_eq!(retried["waiting_still"]["recipients"], 8);
    blocking.wait(5);
    server.queue(&["retry", "--destination", &destination]);
    blocking.wait(13);
    server.wait_empty(PATIENCE);
    assert_eq!(look(&[])["domains"], Value::Array(Vec::new()));
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
