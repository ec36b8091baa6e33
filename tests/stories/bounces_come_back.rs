//! The return path: what a next hop took and could not deliver comes back, as do complaints, and is matched to the message
//! and recipient; nothing else is taken there, and nothing is ever sent in answer.

use std::fs;
use std::net::SocketAddr;

use serde_json::Value;

use crate::harness::mailbox::{Effect, Mailbox};
use crate::harness::postfix::Postfix;
use crate::harness::server::{Server, Setup, password_hash};
use crate::harness::smtp::{Client, queue_id};
use crate::harness::webhook::Receiver;
use crate::harness::{PATIENCE, free_address, wait_for};

const SENDER: &str = "news@return.test";
const DOMAIN: &str = "bounces.return.test";

/// A server to which bounces come back at `bounces`, with an account whose mail has return paths.
fn setup(next_hop: SocketAddr, bounces: SocketAddr) -> Setup {
    let more = format!(
        "[[account]]\nname = \"{SENDER}\"\npassword = \"{}\"\nsenders = [\"{SENDER}\"]\nreturn_path = true\n\n\
         [[listener]]\nkind = \"bounce\"\naddress = \"{bounces}\"\ntls = \"optional\"\n\n\
         [return_path]\ndomain = \"{DOMAIN}\"\nfeedback = [\"fbl\"]\n\n",
        password_hash()
    );
    Setup { more, ..Setup::relay_to(next_hop) }
}

fn submit(server: &Server, message_id: &str, to: &[&str]) {
    let content = format!("From: {SENDER}\r\nMessage-ID: {message_id}\r\nSubject: news\r\n\r\nbody\r\n");
    server.submit(SENDER, to, &content);
}

fn shown(server: &Server, message_id: &str) -> Value {
    let shown: Value = serde_json::from_str(&server.queue(&["show", message_id, "--json"])).expect("JSON");
    shown["messages"][0].clone()
}

/// The addresses in MAIL's arguments, by recipient.
fn reverse_paths(hop: &Mailbox) -> Vec<(String, String)> {
    let address = |argument: &str| {
        let inside = argument.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        inside.map_or_else(String::new, |(address, _)| address.to_owned())
    };
    hop.received().iter().map(|mail| (address(&mail.rcpt[0]), address(&mail.mail))).collect()
}

#[test]
fn a_bounce_of_postfix_is_matched_told_and_survives_a_kill() {
    // Postfix takes both recipients, and learns only behind its back that one of them does not exist.
    let (behind, bounces) = (Mailbox::open(), free_address());
    behind.fault("RCPT TO:<nobody@", Effect::Reply("550 5.1.1 there is no such mailbox"));
    let line = |domain: &str, to: SocketAddr| format!("{domain} smtp:[{}]:{}\n", to.ip(), to.port());
    let postfix = Postfix::start(
        &(line("good.test", behind.address) + &line("bad.test", behind.address) + &line(DOMAIN, bounces)),
    );
    let mut server = Server::start(&setup(postfix.address, bounces));
    let mut crm = Receiver::new(server.folder.path(), "crm", false);
    crm.listen();
    let text = fs::read_to_string(server.config()).expect("the configuration");
    fs::write(server.config(), text + &crm.section("events = [\"bounced\", \"complaint\"]\n")).expect("written");
    server.reload();
    server.wait_log(&["event=reloaded"]);

    submit(&server, "<1@return.test>", &["jo@good.test", "nobody@bad.test"]);
    let events = crm.wait(1);
    let bounced = &events[0];
    for (key, value) in
        [("type", "bounced"), ("message_id", "<1@return.test>"), ("account", SENDER), ("sender", SENDER)]
    {
        assert_eq!(bounced[key], value, "{bounced:#}");
    }
    let recipient = &bounced["recipient"];
    for (key, value) in [
        ("address", "nobody@bad.test"),
        ("state", "delivered"),
        ("action", "reject"),
        ("status", "5.1.1"),
        ("category", "recipient-unknown"),
        ("remote", "127.0.0.1"),
    ] {
        assert_eq!(recipient[key], value, "{bounced:#}");
    }
    server.wait_log(&["event=bounced", "recipient=<nobody@bad.test>", "status=5.1.1"]);
    server.kill();
    server.launch();
    let message = shown(&server, "<1@return.test>");
    let [jo, nobody] = [&message["recipients"][0], &message["recipients"][1]];
    assert!(jo["state"] == "delivered" && jo["bounced"].is_null(), "{message:#}");
    assert_eq!(nobody["bounced"]["status"], "5.1.1", "{message:#}");
    let sheet = server.queue(&["show", "<1@return.test>"]);
    assert!(sheet.contains("bounced") && sheet.contains("there is no such mailbox"), "{sheet}");
    assert_eq!(server.queued(), 0, "nothing is sent in answer");
}

#[test]
fn each_recipient_has_a_reverse_path_and_relayed_mail_keeps_its_own() {
    let (hop, bounces) = (Mailbox::open(), free_address());
    let server = Server::start(&setup(hop.address, bounces));
    submit(&server, "<1@return.test>", &["a@hop.test", "b@hop.test"]);
    wait_for("both", PATIENCE, || (hop.received().len() == 2).then_some(()));
    let mut paths = reverse_paths(&hop);
    paths.sort();
    let [(a, path_a), (b, path_b)] = &paths[..] else { panic!("{paths:?}") };
    assert_eq!((a.as_str(), b.as_str()), ("a@hop.test", "b@hop.test"));
    assert!(path_a != path_b, "{paths:?}");
    for path in [path_a, path_b] {
        let (local, domain) = path.split_once('@').expect("an address");
        assert!(domain == DOMAIN && local.len() <= 64 && local.starts_with("b1"), "{path}");
    }
    let mut client = Client::greet(server.relay);
    queue_id(&client.submit("own@sender.test", &["c@hop.test"], "Subject: hi\r\n\r\nhi\r\n"));
    wait_for("the third", PATIENCE, || (hop.received().len() == 3).then_some(()));
    assert!(reverse_paths(&hop).contains(&("c@hop.test".into(), "own@sender.test".into())));
}

#[test]
fn nothing_but_what_is_about_our_mail_is_taken_and_complaints_are_matched() {
    let (hop, bounces) = (Mailbox::open(), free_address());
    let server = Server::start(&setup(hop.address, bounces));
    submit(&server, "<1@return.test>", &["a@hop.test"]);
    wait_for("the message", PATIENCE, || (hop.received().len() == 1).then_some(()));
    server.wait_empty(PATIENCE);
    let (_, path) = reverse_paths(&hop).remove(0);

    let mut client = Client::greet(bounces);
    client.expect("MAIL FROM:<>", "250");
    for foreign in ["someone@hop.test", SENDER, &format!("x@sub.{DOMAIN}")] {
        client.expect(&format!("RCPT TO:<{foreign}>"), "550 5.7.1");
    }
    let mut forged = path.clone().into_bytes();
    forged[10] = if forged[10] == b'a' { b'b' } else { b'a' };
    let forged = String::from_utf8(forged).expect("ASCII");
    for unknown in [&*forged, &format!("postmaster@{DOMAIN}"), &format!("b1@{DOMAIN}")] {
        client.expect(&format!("RCPT TO:<{unknown}>"), "550 5.1.1");
    }
    client.expect("DATA", "554");
    client.expect("RSET", "250");
    let say = |client: &mut Client, from: &str, to: &str, content: &str| client.submit(from, &[to], content);
    let away = "From: a@hop.test\r\nSubject: Re: news\r\nAuto-Submitted: auto-replied\r\n\r\nI am away\r\n";
    assert!(say(&mut client, "", &path.to_uppercase(), away).starts_with("250 "));
    server.wait_log(&["event=return_ignored", "what=auto-reply"]);
    let looping = format!("{}Subject: failure notice\r\n\r\n550 no\r\n", "Received: from a by b\r\n".repeat(101));
    assert!(say(&mut client, "", &path, &looping).starts_with("554 5.4.6"));
    assert!(shown(&server, "<1@return.test>")["recipients"][0]["bounced"].is_null());

    let complaint = format!(
        "From: feedback@isp.test\r\nSubject: complaint\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=f\r\n\r\n--f\r\n\r\nabuse\r\n--f\r\n\
         Content-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nUser-Agent: isp/1\r\nVersion: 1\r\n\r\n--f\r\n\
         Content-Type: message/rfc822\r\n\r\nReturn-Path: <{path}>\r\nSubject: news\r\n\r\nbody\r\n--f--\r\n"
    );
    assert!(say(&mut client, "feedback@isp.test", &format!("FBL@{DOMAIN}"), &complaint).starts_with("250 "));
    let why = &shown(&server, "<1@return.test>")["recipients"][0]["complaint"]["why"];
    assert_eq!(why, "feedback report of type abuse from isp/1");
    server.wait_log(&["event=complaint", "recipient=<a@hop.test>"]);
    let of_others = complaint.replace(&path, &forged);
    assert!(say(&mut client, "feedback@isp.test", &format!("fbl@{DOMAIN}"), &of_others).starts_with("250 "));
    server.wait_log(&["event=return_ignored", "what=complaint"]);
    assert_eq!((server.queued(), hop.received().len()), (0, 1), "nothing is sent in answer");
}
