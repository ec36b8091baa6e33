//! SMTPUTF8 (RFC 6531): many programs say it of every message. A Postfix that does not know it takes what is of ASCII, and
//! what really needs it comes back.

use crate::harness::mailbox::Mailbox;
use crate::harness::peers::Peers;
use crate::harness::postfix::Postfix;
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::{Client, queue_id};
use crate::harness::{PATIENCE, wait_for};

/// A message from a client that says SMTPUTF8, as it is offered; its ID.
fn submit(server: &Server, recipients: &[&str], content: &str) -> String {
    let mut client = Client::greet(server.relay);
    client.expect("MAIL FROM:<a@sender.test> BODY=8BITMIME SMTPUTF8", "250");
    for recipient in recipients {
        client.expect(&format!("RCPT TO:<{recipient}>"), "250");
    }
    client.expect("DATA", "354");
    client.send(content.as_bytes());
    queue_id(&client.say("."))
}

#[test]
fn only_what_really_needs_smtputf8_comes_back() {
    let peers = Peers::new();
    let postfix = Postfix::with_tls(&peers.self_signed("postfix.test"), "smtputf8_enable = no\n");
    assert!(!Client::greet(postfix.address).say("EHLO me.test").contains("SMTPUTF8"));
    let sender = Mailbox::open();
    sender.offer(&["8BITMIME"]);
    let server = Server::start(&Setup {
        routes: vec![
            ("postfix.test".into(), postfix.address.to_string()),
            ("sender.test".into(), sender.address.to_string()),
        ],
        ..Setup::default()
    });
    let mime = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n";

    let ascii = format!("Subject: hi\r\nMessage-ID: <ascii@sender.test>\r\n{mime}\r\nGr\u{fc}\u{df}e\r\n");
    let id = submit(&server, &["b@postfix.test", "\u{fc}@postfix.test"], &ascii);
    server.wait_log(&["event=delivered", &id, "b@postfix.test"]);
    wait_for("Postfix to have it", PATIENCE, || postfix.log().contains("message-id=<ascii@sender.test>").then_some(()));
    let notice = sender.wait(1).remove(0).text();
    assert!(notice.contains("Status: 5.6.7\r\n") && notice.contains("utf-8; \u{fc}@postfix.test\r\n"), "{notice}");
    assert!(!notice.contains("b@postfix.test"), "the other recipient has it: {notice}");

    let subject = format!("Subject: Gr\u{fc}\u{df}e\r\nMessage-ID: <header@sender.test>\r\n{mime}\r\nbody\r\n");
    let id = submit(&server, &["b@postfix.test"], &subject);
    server.wait_log(&["event=failed", &id, "5.6.7"]);
    let notice = sender.wait(2).remove(1).text();
    assert!(notice.contains("Action: failed\r\n") && notice.contains("Status: 5.6.7\r\n"), "{notice}");
    assert!(notice.contains("rfc822; b@postfix.test\r\n") && notice.contains("SMTPUTF8"), "{notice}");
    server.wait_empty(PATIENCE);
    assert!(!postfix.log().contains("<header@sender.test>"));
}
