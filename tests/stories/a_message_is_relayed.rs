//! A trusted injector hands in a message; it arrives with our trace, and with what RFC 6409 wants added.

use std::time::Duration;

use crate::harness::PATIENCE;
use crate::harness::dns::Dns;
use crate::harness::mailbox::Mailbox;
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::{Client, queue_id};

#[test]
fn through_a_route_with_its_trace() {
    let mailbox = Mailbox::open();
    let server = Server::start(&Setup::relay_to(mailbox.address));
    let mut client = Client::greet(server.relay);
    let reply = client.submit("a@sender.test", &["b@sink.test"], "Subject: hi\r\n\r\n.dots\r\n..\r\n");
    let id = queue_id(&reply);

    let received = &mailbox.wait(1)[0];
    let text = received.text();
    assert!(received.mail.starts_with("MAIL FROM:<a@sender.test>"), "{}", received.mail);
    assert_eq!(received.rcpt.len(), 1);
    assert!(
        text.starts_with("Received: from story.test ([127.0.0.1])\r\n\tby mta.ringpost.test with ESMTP id "),
        "{text}"
    );
    assert!(text.contains(&id) && text.contains("\r\nDate: ") && text.contains("\r\nMessage-ID: <"), "{text}");
    assert!(text.ends_with("Subject: hi\r\n\r\n.dots\r\n..\r\n"), "{text}");
    server.wait_empty(PATIENCE);
    server.wait_log(&["event=delivered", &id, "b@sink.test"]);
}

#[test]
fn through_the_mail_exchangers_of_its_domain() {
    let mailbox = Mailbox::open();
    let dns = Dns::start(
        "sink MX 10 mx1.sink\nsink MX 20 mx2.sink\nmx1.sink A 127.0.0.9\nmx2.sink A 127.0.0.1\n\
         implicit A 127.0.0.1\nnullmx MX 0 .\n",
    );
    let setup = Setup {
        dns: Some(dns.address),
        more: format!("[delivery]\nport = {}\n", mailbox.address.port()),
        ..Setup::default()
    };
    let server = Server::start(&setup);
    let mut client = Client::greet(server.relay);
    for recipient in ["b@sink.test", "b@implicit.test"] {
        client.submit("a@sender.test", &[recipient], "Subject: hi\r\n\r\nbody\r\n");
    }
    assert_eq!(mailbox.wait(2).len(), 2);

    for (recipient, status) in [("b@nullmx.test", "5.1.10"), ("b@nowhere.test", "5.1.2")] {
        client.submit("", &[recipient], "Subject: hi\r\n\r\nbody\r\n");
        server.wait_log(&["event=failed", recipient, &format!("status={status}")]);
    }
    server.wait_empty(PATIENCE);
}

#[test]
fn over_connections_that_stand_already() {
    let mailbox = Mailbox::open();
    let server = Server::start(&Setup::relay_to(mailbox.address));
    let mut client = Client::greet(server.relay);
    for n in 1..=5 {
        client.submit("a@sender.test", &["b@sink.test"], "Subject: hi\r\n\r\nbody\r\n");
        mailbox.wait(n);
        server.wait_empty(PATIENCE);
    }
    assert_eq!(mailbox.connections(), 1);
}

#[test]
fn when_dns_is_in_trouble_it_waits() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let setup = Setup { dns: Some(silent.local_addr().expect("its address")), ..Setup::default() };
    let server = Server::start(&setup);
    Client::greet(server.relay).submit("a@sender.test", &["b@sink.test"], "Subject: hi\r\n\r\nbody\r\n");
    server.wait_log(&["event=deferred", "b@sink.test", "status=4.4.3"]);
    assert_eq!(server.queued(), 1);
}

#[test]
fn to_many_recipients_at_several_places() {
    let (one, two) = (Mailbox::open(), Mailbox::open());
    let setup = Setup {
        routes: vec![
            ("one.test".into(), one.address.to_string()),
            ("*.one.test".into(), one.address.to_string()),
            ("two.test".into(), two.address.to_string()),
        ],
        ..Setup::default()
    };
    let server = Server::start(&setup);
    let recipients: Vec<String> =
        (0..60).map(|n| format!("user{n}@one.test")).chain((0..60).map(|n| format!("user{n}@two.test"))).collect();
    let mut all: Vec<&str> = recipients.iter().map(String::as_str).collect();
    all.push("deep@sub.one.test");
    Client::greet(server.relay).submit("a@sender.test", &all, "Subject: hi\r\n\r\nbody\r\n");
    server.wait_empty(PATIENCE);
    let count = |mailbox: &Mailbox| mailbox.received().iter().map(|message| message.rcpt.len()).sum::<usize>();
    assert_eq!((count(&one), count(&two)), (61, 60));
}

#[test]
fn a_restart_forgets_nothing() {
    let address = crate::harness::free_address();
    let mut server = Server::start(&Setup::relay_to(address));
    let mut client = Client::greet(server.relay);
    for n in 0..20 {
        client.submit("a@sender.test", &["b@sink.test"], &format!("Subject: {n}\r\n\r\nbody\r\n"));
    }
    server.stop();
    server.launch();
    assert_eq!(server.queued(), 20);
    let mailbox = Mailbox::open_at(address);
    assert_eq!(mailbox.wait(20).len(), 20);
    server.wait_empty(Duration::from_secs(30));
}
