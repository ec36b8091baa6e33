//! Notices as senders get them: of a delay once, of a success where they asked for it and no next hop tells, and none
//! where they want none; what they asked for is handed on to a next hop that can do it.

use std::collections::BTreeSet;

use crate::harness::mailbox::{Effect, Mailbox, Received};
use crate::harness::server::{Server, Setup, password_hash};
use crate::harness::smtp::{Client, queue_id};
use crate::harness::{PATIENCE, free_address};

const CONTENT: &str = "Subject: hi\r\nMessage-ID: <1@sender.test>\r\n\r\nthe body\r\n";

/// Notices in a mailbox: all of them come from the null reverse-path.
fn notices(mailbox: &Mailbox) -> Vec<Received> {
    let received = mailbox.received();
    received.into_iter().filter(|message| message.mail.starts_with("MAIL FROM:<>")).collect()
}

/// A whole transaction with the parameters of RFC 3461; returns the queue's id.
fn submit(client: &mut Client, mail: &str, rcpt: &str) -> String {
    client.expect(&format!("MAIL FROM:{mail}"), "250");
    client.expect(&format!("RCPT TO:{rcpt}"), "250");
    client.expect("DATA", "354");
    client.send(CONTENT.as_bytes());
    queue_id(&client.say("."))
}

#[test]
fn a_delay_is_told_once_also_across_a_kill_and_a_restart() {
    let sender = Mailbox::open();
    let dead = free_address();
    let setup = Setup {
        routes: vec![("dead.test".into(), dead.to_string()), ("*".into(), sender.address.to_string())],
        delay_notice_after: Some("2s".into()),
        ..Setup::default()
    };
    let mut server = Server::start(&setup);
    let mut client = Client::greet(server.relay);
    submit(&mut client, "<a@sender.test> ENVID=QQ+2B1", "<b@dead.test> ORCPT=rfc822;old+2Bb@dead.test");
    let notice = sender.wait(1)[0].text();
    for words in [
        "Action: delayed\r\n",
        "Status: 4.4.1\r\n",
        "Original-Envelope-Id: QQ+1\r\n",
        "Original-Recipient: rfc822; old+b@dead.test\r\n",
        "Final-Recipient: rfc822; b@dead.test\r\n",
        "Will-Retry-Until: ",
        "Last-Attempt-Date: ",
        "Arrival-Date: ",
        "Auto-Submitted: auto-",
        "has not yet been delivered",
        "Content-Type: text/rfc822-headers\r\n",
    ] {
        assert!(notice.contains(words), "{words} in\n{notice}");
    }
    server.kill();
    server.launch();
    server.wait_log(&["event=deferred", "b@dead.test"]);
    server.stop();
    server.launch();
    server.wait_log(&["event=deferred", "b@dead.test"]);
    let later = Mailbox::open_at(dead);
    later.wait(1);
    server.wait_empty(PATIENCE);
    // A kill between a delivery and its flush delivers the same notice again; another notice would have another id.
    let message_id = |notice: &Received| {
        let text = notice.text();
        text.lines().find(|line| line.starts_with("Message-ID:")).expect("a Message-ID").to_owned()
    };
    let told: BTreeSet<String> = notices(&sender).iter().map(message_id).collect();
    assert_eq!(told.len(), 1, "one delay, one notice");
}

#[test]
fn a_next_hop_with_dsn_is_told_what_the_sender_wants() {
    let (sender, hop) = (Mailbox::open(), Mailbox::open());
    hop.offer(&["DSN"]);
    let setup = Setup {
        routes: vec![("hop.test".into(), hop.address.to_string()), ("*".into(), sender.address.to_string())],
        ..Setup::default()
    };
    let server = Server::start(&setup);
    let mut client = Client::greet(server.relay);
    submit(
        &mut client,
        "<a@sender.test> RET=HDRS ENVID=QQ+2B1",
        "<b@hop.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;old+2Bb@hop.test",
    );
    submit(&mut client, "<a@sender.test>", "<b@hop.test> NOTIFY=NEVER");
    server.wait_empty(PATIENCE);
    let received = hop.wait(2);
    let asking = received.iter().find(|message| message.mail.contains("ENVID")).expect("the first");
    assert!(asking.mail.ends_with(" RET=HDRS ENVID=QQ+2B1"), "{}", asking.mail);
    assert!(asking.rcpt[0].ends_with(" NOTIFY=SUCCESS,DELAY ORCPT=rfc822;old+2Bb@hop.test"), "{}", asking.rcpt[0]);
    assert!(received.iter().any(|message| message.rcpt[0].ends_with(" NOTIFY=NEVER")), "{received:?}");
    assert!(sender.received().is_empty(), "success is the next hop's to tell");
}

#[test]
fn a_next_hop_without_dsn_is_the_end_of_what_can_be_told() {
    let (sender, hop) = (Mailbox::open(), Mailbox::open());
    let setup = Setup {
        routes: vec![("hop.test".into(), hop.address.to_string()), ("*".into(), sender.address.to_string())],
        ..Setup::default()
    };
    let server = Server::start(&setup);
    let mut client = Client::greet(server.relay);
    let id = submit(
        &mut client,
        "<a@sender.test> RET=FULL ENVID=QQ+2B1",
        "<b@hop.test> NOTIFY=SUCCESS ORCPT=rfc822;old+2Bb@hop.test",
    );
    for (mail, rcpt) in [
        ("<a@sender.test>", "<c@hop.test>"),
        ("<a@sender.test>", "<d@hop.test> NOTIFY=NEVER"),
        ("<a@sender.test>", "<e@hop.test> NOTIFY=FAILURE,DELAY"),
        ("<>", "<f@hop.test> NOTIFY=SUCCESS"),
    ] {
        submit(&mut client, mail, rcpt);
    }
    server.wait_empty(PATIENCE);
    server.wait_log(&["event=notified", &format!("about={id}"), "action=relayed"]);
    let told = notices(&sender);
    assert_eq!(told.len(), 1, "{}", server.log());
    let notice = told[0].text();
    for words in [
        "Action: relayed\r\n",
        "Status: 2.0.0\r\n",
        "Original-Envelope-Id: QQ+1\r\n",
        "Original-Recipient: rfc822; old+b@hop.test\r\n",
        "Diagnostic-Code: smtp; 250 2.0.0 taken\r\n",
        "Remote-MTA: dns; ",
        "Subject: hi\r\n",
    ] {
        assert!(notice.contains(words), "{words} in\n{notice}");
    }
    assert!(!notice.contains("the body"), "RET=FULL is about failures");
    let hop = hop.received();
    assert!(
        hop.iter().all(|message| !message.mail.contains("ENVID") && !message.rcpt[0].contains("NOTIFY")),
        "{hop:?}"
    );
}

#[test]
fn a_failure_is_not_told_to_whom_it_does_not_concern() {
    let (sender, hop) = (Mailbox::open(), Mailbox::open());
    let setup = Setup {
        routes: vec![("hop.test".into(), hop.address.to_string()), ("*".into(), sender.address.to_string())],
        ..Setup::default()
    };
    let server = Server::start(&setup);
    let mut client = Client::greet(server.relay);
    for (mail, rcpt) in [
        ("<a@sender.test>", "<b@hop.test> NOTIFY=NEVER"),
        ("<a@sender.test>", "<c@hop.test> NOTIFY=SUCCESS,DELAY"),
        ("<>", "<d@hop.test> NOTIFY=FAILURE"),
        ("<a@sender.test> RET=FULL", "<e@hop.test> NOTIFY=FAILURE"),
    ] {
        hop.fault("RCPT", Effect::Reply("550 5.1.1 no such user here"));
        let id = submit(&mut client, mail, rcpt);
        server.wait_log(&["event=failed", &id]);
    }
    server.wait_empty(PATIENCE);
    let told = notices(&sender);
    assert_eq!(told.len(), 1, "{}", server.log());
    let notice = told[0].text();
    assert!(notice.contains("Action: failed\r\n") && notice.contains("rfc822; e@hop.test"), "{notice}");
    assert!(notice.contains("Content-Type: message/rfc822\r\n") && notice.contains("the body"), "{notice}");
}

/// What an account wants when its messages ask for nothing.
#[test]
fn an_account_says_what_it_wants_to_know() {
    let (sender, hop) = (Mailbox::open(), Mailbox::open());
    hop.offer(&["DSN"]);
    let hash = password_hash();
    let account = |name: &str, notify: &str| {
        format!(
            "[[account]]\nname = \"{name}@accept.test\"\npassword = \"{hash}\"\nsenders = [\"{name}@accept.test\"]\n\
             notify = [{notify}]\n\n"
        )
    };
    let setup = Setup {
        routes: vec![("hop.test".into(), hop.address.to_string()), ("*".into(), sender.address.to_string())],
        more: account("curious", "\"failed\", \"delivered\"") + &account("silent", ""),
        ..Setup::default()
    };
    let server = Server::start(&setup);
    for name in ["curious", "silent"] {
        let address = format!("{name}@accept.test");
        for (refused, to) in [(false, "good@hop.test"), (true, "bad@hop.test")] {
            if refused {
                hop.fault("RCPT TO:<bad@", Effect::Reply("550 5.1.1 no such user here"));
            }
            server.submit(&address, &[to], &format!("From: {address}\r\n{CONTENT}"));
            server.wait_empty(PATIENCE);
        }
    }
    let told = notices(&sender);
    let texts: Vec<String> = told.iter().map(Received::text).collect();
    assert_eq!(texts.len(), 2, "{}", server.log());
    assert!(told.iter().all(|notice| notice.rcpt[0].contains("curious@accept.test")), "{told:?}");
    assert!(texts.iter().any(|text| text.contains("Action: delivered") && text.contains("good@hop.test")), "{texts:?}");
    assert!(texts.iter().any(|text| text.contains("Action: failed") && text.contains("bad@hop.test")), "{texts:?}");
}
