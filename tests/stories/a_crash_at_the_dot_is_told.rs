//! A crash between the final dot and its reply leaves open whether the next hop has the message: the recipient is called
//! uncertain, then tried again or held, as configured. Never is there a silent second copy.

use serde_json::Value;

use crate::harness::PATIENCE;
use crate::harness::mailbox::{Effect, Mailbox};
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::{Client, queue_id};

const CONTENT: &str = "Message-ID: <1@crash.test>\r\nSubject: hi\r\n\r\nbody\r\n";

/// A server that was killed when its only message was taken and not yet answered for; the message's id.
fn killed_at_the_dot(mailbox: &Mailbox, more: &str) -> (Server, String) {
    mailbox.fault(".", Effect::TakeAndSilence);
    let setup = Setup { more: more.into(), ..Setup::relay_to(mailbox.address) };
    let mut server = Server::start(&setup);
    let id = queue_id(&Client::greet(server.relay).submit("a@sender.test", &["b@sink.test"], CONTENT));
    assert_eq!(mailbox.wait(1).len(), 1, "it was taken");
    server.kill();
    server.launch();
    (server, id)
}

fn shown(server: &Server, id: &str) -> Value {
    serde_json::from_str(&server.queue(&["show", id, "--json"])).expect("JSON")
}

#[test]
fn and_the_message_is_sent_again() {
    let mailbox = Mailbox::open();
    let (server, id) = killed_at_the_dot(&mailbox, "");
    server.wait_log(&["event=uncertain", &format!("id={id}"), "recipient=<b@sink.test>"]);
    let received = mailbox.wait(2);
    assert!(received.iter().all(|copy| copy.text().contains("Message-ID: <1@crash.test>")), "{received:?}");
    server.wait_empty(PATIENCE);
    assert_eq!(shown(&server, &id)["recipients"][0]["state"], "delivered");
}

#[test]
fn or_it_is_held_and_the_queue_says_why() {
    let mailbox = Mailbox::open();
    let (server, id) = killed_at_the_dot(&mailbox, "[delivery]\nuncertain = \"hold\"\n");
    server.wait_log(&["event=uncertain", &format!("id={id}")]);
    let message = shown(&server, &id);
    let recipient = &message["recipients"][0];
    assert_eq!((&recipient["state"], &recipient["uncertain"]), (&"held".into(), &true.into()), "{message}");
    assert!(server.queue(&["show", &id]).contains("it may have the message already"));
    server.queue(&["release", "--id", &id]);
    assert_eq!(mailbox.wait(2).len(), 2);
    server.wait_empty(PATIENCE);
}

#[test]
fn and_what_was_answered_for_is_not_called_uncertain() {
    let mailbox = Mailbox::open();
    let mut server = Server::start(&Setup::relay_to(mailbox.address));
    let mut client = Client::greet(server.relay);
    for _ in 0..20 {
        client.submit("a@sender.test", &["b@sink.test"], CONTENT);
    }
    mailbox.wait(20);
    server.wait_empty(PATIENCE);
    server.stop();
    server.launch();
    assert!(!server.log().contains("event=uncertain"), "{}", server.log());
    assert_eq!(mailbox.received().len(), 20);
}
