//! A destination that has us on a block list is left alone for a while: nothing is bounced, nothing else is tried there, and
//! other destinations do not notice.

use crate::harness::PATIENCE;
use crate::harness::mailbox::{Effect, Mailbox};
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::Client;

const CONTENT: &str = "Subject: hi\r\n\r\nbody\r\n";
const LISTED: &str = "554 5.7.1 Service unavailable; Client host [127.0.0.1] blocked using bl.test";

/// One destination blocks, another does not.
fn setup(blocking: &Mailbox, other: &Mailbox, pause: &str) -> Server {
    Server::start(&Setup {
        routes: vec![("block.test".into(), blocking.address.to_string()), ("*".into(), other.address.to_string())],
        more: format!("block_pause = \"{pause}\"\nrate_pause = [\"{pause}\"]\n"),
        ..Setup::default()
    })
}

#[test]
fn what_is_blocked_waits_and_the_rest_goes_on() {
    let (blocking, other) = (Mailbox::open(), Mailbox::open());
    blocking.fault("MAIL", Effect::Reply(LISTED));
    let server = setup(&blocking, &other, "1h");
    let mut client = Client::greet(server.relay);
    client.submit("a@sender.test", &["b@block.test"], CONTENT);
    let deferred = server.wait_log(&["event=deferred", "b@block.test", "category=blocklist"]);
    assert!(deferred.contains("attempt=0 ") && deferred.contains("status=4.7.1"), "{deferred}");
    for n in 0..20 {
        client.submit("a@sender.test", &[&format!("x{n}@block.test")], CONTENT);
    }
    client.submit("a@sender.test", &["c@free.test"], CONTENT);
    assert_eq!(other.wait(1).len(), 1, "only the message: no notice");
    assert_eq!((blocking.connections(), server.queued()), (1, 21), "nothing more is tried at the destination");
    assert!(!server.log().contains("event=failed"), "{}", server.log());
}

#[test]
fn a_block_of_one_recipient_or_message_leaves_the_others_flowing() {
    let (blocking, other) = (Mailbox::open(), Mailbox::open());
    for (on, reply) in [
        ("RCPT TO:<picky@", "550 5.7.1 blocked"),
        (".", "554 5.7.1 Message rejected, sender domain is on our blocklist"),
    ] {
        let before = blocking.received().len();
        blocking.fault(on, Effect::Reply(reply));
        let routes = vec![("block.test".into(), blocking.address.to_string()), ("*".into(), other.address.to_string())];
        let server = Server::start(&Setup { routes, schedule: r#"["1h"]"#.into(), ..Setup::default() });
        let mut client = Client::greet(server.relay);
        client.submit("a@sender.test", &["picky@block.test"], CONTENT);
        let deferred = server.wait_log(&["event=deferred", "picky@block.test", "category=blocklist"]);
        assert!(deferred.contains("attempt=1 "), "an attempt as any other: {deferred}");
        for n in 0..5 {
            client.submit("a@sender.test", &[&format!("x{n}@block.test")], CONTENT);
        }
        blocking.wait(before + 5);
        (0..5).for_each(|n| _ = server.wait_log(&["event=delivered", &format!("x{n}@block.test")]));
        assert_eq!(server.queued(), 1, "only the one that was refused waits");
        assert!(!server.log().contains("event=failed"), "{}", server.log());
    }
}

#[test]
fn a_block_at_one_recipient_that_names_our_address_is_of_us() {
    let (blocking, other) = (Mailbox::open(), Mailbox::open());
    blocking.fault("RCPT", Effect::Reply(LISTED));
    let server = setup(&blocking, &other, "1h");
    let mut client = Client::greet(server.relay);
    client.submit("a@sender.test", &["b@block.test"], CONTENT);
    server.wait_log(&["event=deferred", "b@block.test", "category=blocklist", "attempt=0 "]);
    for n in 0..5 {
        client.submit("a@sender.test", &[&format!("x{n}@block.test")], CONTENT);
    }
    client.submit("a@sender.test", &["c@free.test"], CONTENT);
    other.wait(1);
    assert_eq!((blocking.connections(), server.queued()), (1, 6), "nothing more is tried at the destination");
}

#[test]
fn after_the_pause_everything_is_delivered() {
    let (blocking, other) = (Mailbox::open(), Mailbox::open());
    for on in ["connect", "MAIL", "RCPT", "."] {
        let before = blocking.received().len();
        blocking.fault(on, Effect::Reply(LISTED));
        let server = setup(&blocking, &other, "2s");
        let mut client = Client::greet(server.relay);
        for n in 0..5 {
            client.submit("a@sender.test", &[&format!("x{n}@block.test")], CONTENT);
        }
        server.wait_log(&["event=deferred", "category=blocklist", "attempt=0 "]);
        server.wait_empty(PATIENCE);
        assert_eq!(blocking.received().len() - before, 5, "after a block at {on}");
        assert!(other.received().is_empty(), "no notice");
    }
}

#[test]
fn what_is_too_much_waits_too_and_costs_no_attempt() {
    let (limiting, other) = (Mailbox::open(), Mailbox::open());
    for reply in
        ["450 4.7.1 Too many messages, slow down", "550 5.7.1 Sending rate limit exceeded", "421 4.7.28 Rate limited"]
    {
        let before = limiting.received().len();
        limiting.fault("RCPT", Effect::Reply(reply));
        let server = setup(&limiting, &other, "2s");
        Client::greet(server.relay).submit("a@sender.test", &["b@block.test"], CONTENT);
        server.wait_log(&["event=deferred", "category=rate", "attempt=0 "]);
        server.wait_log(&["event=delivered", "attempt=1 "]);
        assert_eq!(limiting.received().len() - before, 1);
    }
}

#[test]
fn the_lifetime_ends_it_all_the_same() {
    let (blocking, other) = (Mailbox::open(), Mailbox::open());
    blocking.fault("MAIL", Effect::Reply(LISTED));
    let server = Server::start(&Setup {
        routes: vec![("block.test".into(), blocking.address.to_string()), ("*".into(), other.address.to_string())],
        lifetime: "10s".into(),
        ..Setup::default()
    });
    let mut client = Client::greet(server.relay);
    client.submit("a@sender.test", &["b@block.test"], CONTENT);
    server.wait_log(&["event=deferred", "b@block.test"]);
    client.submit("a@sender.test", &["c@block.test"], CONTENT);
    let notices = other.wait(2);
    assert!(notices.iter().all(|notice| notice.text().contains("Status: 5.4.7")), "{notices:?}");
    server.wait_empty(PATIENCE);
}
