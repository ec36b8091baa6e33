//! A destination misbehaves in every way that destinations do; each recipient ends as the states say, with exactly the
//! copies that the fault implies.

use crate::harness::mailbox::{Effect, Mailbox};
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::Client;
use crate::harness::{PATIENCE, free_address, wait_for};

const CONTENT: &str = "Subject: hi\r\n\r\nbody\r\n";

/// Waits that end within a story, and are still long enough for a destination on a busy machine.
const IMPATIENT: &str = "[delivery]\nreply_timeout = \"4s\"\nfinal_dot_timeout = \"4s\"\n";

fn setup(mailbox: &Mailbox) -> (Server, Client) {
    let server = Server::start(&Setup::relay_to(mailbox.address));
    let client = Client::greet(server.relay);
    (server, client)
}

/// After a fault of this kind the message is delivered later, with this many copies.
fn ends_delivered(on: &'static str, effect: Effect, copies: usize) {
    let mailbox = Mailbox::open();
    mailbox.fault(on, effect);
    let (server, mut client) = setup(&mailbox);
    client.submit("a@sender.test", &["b@sink.test"], CONTENT);
    server.wait_empty(PATIENCE);
    assert_eq!(mailbox.faults_left(), 0, "the fault at {on} happened");
    assert_eq!(mailbox.received().len(), copies, "copies after a fault at {on}");
    server.wait_log(&["event=delivered"]);
}

#[test]
fn it_refuses_connections_for_a_while() {
    let address = free_address();
    let server = Server::start(&Setup::relay_to(address));
    Client::greet(server.relay).submit("a@sender.test", &["b@sink.test"], CONTENT);
    server.wait_log(&["event=deferred", "status=4.4.1"]);
    let mailbox = Mailbox::open_at(address);
    server.wait_empty(PATIENCE);
    assert_eq!(mailbox.received().len(), 1);
}

#[test]
fn it_resets_at_each_phase() {
    for on in ["connect", "EHLO", "MAIL", "RCPT", "DATA", "."] {
        ends_delivered(on, Effect::Reset, 1);
    }
}

#[test]
fn it_says_421_at_each_phase() {
    for on in ["connect", "EHLO", "MAIL", "RCPT", "DATA", "."] {
        ends_delivered(on, Effect::Reply("421 4.3.2 come back later"), 1);
    }
}

#[test]
fn it_says_450_at_each_phase() {
    for on in ["MAIL", "RCPT", "DATA", "."] {
        ends_delivered(on, Effect::Reply("450 4.2.0 greylisted"), 1);
    }
}

#[test]
fn it_takes_the_message_and_drops_the_line() {
    // Its 250 never came: nobody can know, so there is a second copy (RFC 1047).
    ends_delivered(".", Effect::TakeAndReset, 2);
}

/// After this silence the message is deferred and then delivered, with this many copies.
fn outwaits_silence(on: &'static str, effect: Effect, reason: &str, copies: usize) {
    let mailbox = Mailbox::open();
    mailbox.fault(on, effect);
    let server = Server::start(&Setup { more: IMPATIENT.into(), ..Setup::relay_to(mailbox.address) });
    Client::greet(server.relay).submit("a@sender.test", &["b@sink.test"], CONTENT);
    server.wait_log(&["event=deferred", reason, "timed out"]);
    server.wait_log(&["event=delivered"]);
    server.wait_empty(PATIENCE);
    assert_eq!(server.log().matches("event=deferred").count(), 1, "at {on}");
    assert_eq!(mailbox.received().len(), copies, "copies after silence at {on}");
    assert_eq!(mailbox.connections(), 2, "at {on}");
}

#[test]
fn it_is_silent_before_it_has_the_message() {
    for (on, reason) in [
        ("connect", "the greeting"),
        ("EHLO", "EHLO"),
        ("MAIL", "during MAIL"),
        ("RCPT", "during RCPT"),
        ("DATA", "during DATA"),
    ] {
        outwaits_silence(on, Effect::Silence, reason, 1);
    }
}

#[test]
fn it_is_silent_after_the_final_dot() {
    const MAY_HAVE_IT: &str = "the next hop may have it";
    outwaits_silence(".", Effect::Silence, MAY_HAVE_IT, 1);
    outwaits_silence(".", Effect::TakeAndSilence, MAY_HAVE_IT, 2);
}

#[test]
fn a_reload_changes_how_long_silence_is_borne() {
    let mailbox = Mailbox::open();
    let (server, mut client) = setup(&mailbox);
    let toml = std::fs::read_to_string(server.config()).expect("read");
    std::fs::write(server.config(), toml + IMPATIENT).expect("written");
    server.reload();
    server.wait_log(&["event=reloaded"]);
    mailbox.fault("MAIL", Effect::Silence);
    client.submit("a@sender.test", &["b@sink.test"], CONTENT);
    server.wait_log(&["event=deferred", "during MAIL", "timed out"]);
    server.wait_empty(PATIENCE);
    assert_eq!(mailbox.received().len(), 1);
}

#[test]
fn it_says_550_and_the_sender_learns_it() {
    for on in ["MAIL", "RCPT", "DATA", "."] {
        let mailbox = Mailbox::open();
        mailbox.fault(on, Effect::Reply("550 5.1.1 no such user here"));
        let (server, mut client) = setup(&mailbox);
        client.submit("a@sender.test", &["b@sink.test"], CONTENT);
        server.wait_empty(PATIENCE);
        let received = mailbox.wait(1);
        assert_eq!(received.len(), 1, "only the notice arrives");
        assert!(received[0].mail.starts_with("MAIL FROM:<>"), "{}", received[0].mail);
        assert_eq!(received[0].rcpt.len(), 1);
        assert!(received[0].rcpt[0].starts_with("RCPT TO:<a@sender.test>"), "{:?}", received[0].rcpt);
        let text = received[0].text();
        for words in [
            "multipart/report",
            "Action: failed",
            "Status: 5.1.1",
            "rfc822;b@sink.test",
            "no such user here",
            "Auto-Submitted: auto-",
        ] {
            assert!(text.to_lowercase().replace("; ", ";").contains(&words.to_lowercase()), "{words} in\n{text}");
        }
    }
}

#[test]
fn it_refuses_some_recipients_only() {
    let mailbox = Mailbox::open();
    mailbox.fault("RCPT TO:<bad@", Effect::Reply("550 5.1.1 unknown"));
    mailbox.fault("RCPT TO:<later@", Effect::Reply("452 4.2.2 mailbox full"));
    let (server, mut client) = setup(&mailbox);
    client.submit("", &["good@sink.test", "bad@sink.test", "later@sink.test"], CONTENT);
    server.wait_empty(PATIENCE);
    let mut rcpt: Vec<_> = mailbox.received().iter().flat_map(|message| message.rcpt.clone()).collect();
    rcpt.sort();
    assert_eq!(rcpt.len(), 2, "{rcpt:?}");
    assert!(rcpt[0].contains("good@") && rcpt[1].contains("later@"));
    server.wait_log(&["event=failed", "bad@sink.test"]);
    assert_eq!(
        mailbox.received().iter().filter(|message| message.mail.starts_with("MAIL FROM:<>")).count(),
        2,
        "no notice about a null reverse-path"
    );
}

#[test]
fn a_failed_notice_is_the_end() {
    let mailbox = Mailbox::open();
    mailbox.fault("RCPT", Effect::Reply("550 5.1.1 unknown"));
    mailbox.fault("RCPT", Effect::Reply("550 5.1.1 unknown too"));
    let (server, mut client) = setup(&mailbox);
    client.submit("a@sender.test", &["b@sink.test"], CONTENT);
    server.wait_log(&["event=failed", "a@sender.test"]);
    server.wait_empty(PATIENCE);
    assert!(mailbox.received().is_empty());
}

#[test]
fn too_old_is_failed_with_its_notice() {
    let mailbox = Mailbox::open();
    for _ in 0..40 {
        mailbox.fault("RCPT TO:<b@sink.test>", Effect::Reply("450 4.2.1 not now"));
    }
    let setup = Setup { lifetime: "10s".into(), more: String::new(), ..Setup::relay_to(mailbox.address) };
    let server = Server::start(&setup);
    Client::greet(server.relay).submit("a@sender.test", &["b@sink.test"], CONTENT);
    let notice = &mailbox.wait(1)[0];
    assert!(notice.mail.starts_with("MAIL FROM:<>"), "{}", server.log());
    assert!(
        notice.text().contains("Status: 5.4.7") && notice.text().contains("450 4.2.1 not now"),
        "{}",
        notice.text()
    );
    server.wait_empty(PATIENCE);
}

#[test]
fn a_dead_host_does_not_hold_the_others_up() {
    let alive = Mailbox::open();
    let dead = free_address();
    let setup = Setup {
        routes: vec![("dead.test".into(), dead.to_string()), ("*".into(), alive.address.to_string())],
        ..Setup::default()
    };
    let server = Server::start(&setup);
    let mut client = Client::greet(server.relay);
    for n in 0..200 {
        client.submit("a@sender.test", &[&format!("x{n}@dead.test")], CONTENT);
    }
    client.submit("a@sender.test", &["b@sink.test"], CONTENT);
    assert_eq!(alive.wait(1).len(), 1);
    assert_eq!(server.queued(), 200);
}

#[test]
fn a_stop_waits_for_a_silent_destination_no_longer_than_it_says() {
    let mailbox = Mailbox::open();
    mailbox.fault(".", Effect::Silence);
    let (mut server, mut client) = setup(&mailbox);
    client.submit("a@sender.test", &["b@sink.test"], CONTENT);
    wait_for("the final dot", PATIENCE, || (mailbox.faults_left() == 0).then_some(()));
    // In order and within a minute, while systemd waits for a minute and a half.
    server.stop();
    assert!(server.log().contains("event=draining"), "{}", server.log());
    server.launch();
    server.wait_empty(PATIENCE);
    assert_eq!(mailbox.received().len(), 1, "nothing is lost by it");
}
