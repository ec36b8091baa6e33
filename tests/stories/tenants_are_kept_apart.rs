//! Tenants and campaigns: told by the message where it may, seen in queue, log and events, held and suspended by name.

use serde_json::Value;

use crate::harness::mailbox::Mailbox;
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::Client;
use crate::harness::{PATIENCE, free_address};

fn content(tenant: &str, campaign: &str) -> String {
    format!("X-Tenant: {tenant}\r\nX-Campaign: {campaign}\r\nSubject: hi\r\n\r\nbody\r\n")
}

/// A server whose returned listener believes what messages say of themselves.
fn start(mailbox: &Mailbox, arguments: &[&str]) -> (Server, std::net::SocketAddr) {
    let trusting = free_address();
    let more = format!(
        "[[listener]]\nkind = \"relay\"\naddress = \"{trusting}\"\ntls = \"off\"\nnetworks = [\"127.0.0.0/8\"]\n\
         tenant = \"house\"\nrouting_headers = true\n"
    );
    let arguments = arguments.iter().map(|argument| (*argument).into()).collect();
    (Server::start(&Setup { more, arguments, ..Setup::relay_to(mailbox.address) }), trusting)
}

fn recipients(mailbox: &Mailbox, count: usize) -> Vec<String> {
    mailbox
        .wait(count)
        .iter()
        .map(|message| message.rcpt[0]["RCPT TO:<".len()..].split('@').next().expect("one").into())
        .collect()
}

#[test]
fn the_queue_shows_and_holds_them_by_name() {
    let mailbox = Mailbox::open();
    let (server, trusting) = start(&mailbox, &["--hold"]);
    let mut client = Client::greet(trusting);
    client.submit("a@sender.test", &["one@sink.test"], &content("acme", "spring"));
    client.submit("a@sender.test", &["two@sink.test"], &content("acme", "autumn"));
    client.submit("a@sender.test", &["three@sink.test"], "Subject: hi\r\n\r\nbody\r\n");
    Client::greet(server.relay).submit("a@sender.test", &["four@sink.test"], &content("acme", "spring"));
    let list = |arguments: &[&str]| -> Vec<Value> {
        let text = server.queue(&[&["list", "--json"], arguments].concat());
        let page: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        page["messages"].as_array().expect("a list").clone()
    };
    assert_eq!((list(&["--tenant", "acme"]).len(), list(&["--campaign", "spring"]).len()), (2, 1), "only where it may");
    assert_eq!(list(&["--tenant", "house"])[0]["recipients"][0]["address"], "three@sink.test");
    let spring = &list(&["--campaign", "spring"])[0];
    assert_eq!((&spring["tenant"], &spring["campaign"]), (&"acme".into(), &"spring".into()));
    assert_eq!(server.queue(&["list", "--count", "--domain", "sink.test"]).trim(), "4");
    assert_eq!(server.queue(&["list", "--count", "--tenant", "acme", "--campaign", "autumn"]).trim(), "1");
    let domains: Value = serde_json::from_str(&server.queue(&["domains", "--json"])).expect("JSON");
    assert_eq!(domains["domains"].as_array().map(Vec::len), Some(1), "{domains}");
    assert_eq!(domains["domains"][0]["recipients"], 4);

    assert_eq!(server.queue(&["hold", "--tenant", "acme"]), "2 recipients held\n");
    server.queue(&["release", "--domain", "nowhere.test"]);
    server.queue(&["resume", "--all"]);
    let mut first = recipients(&mailbox, 2);
    first.sort();
    assert_eq!(first, ["four", "three"]);
    server.queue(&["release", "--campaign", "spring"]);
    assert_eq!(recipients(&mailbox, 3)[2], "one");
    server.wait_log(&["event=delivered", "one@sink.test", "tenant=acme", "campaign=spring"]);
    assert!(mailbox.received().iter().all(|message| !message.text().contains("X-Tenant")), "never passed on");
    assert_eq!(server.queued(), 1);
}

#[test]
fn what_is_suspended_waits_also_when_it_comes_later() {
    let mailbox = Mailbox::open();
    let (server, trusting) = start(&mailbox, &[]);
    server.queue(&["suspend", "--tenant", "acme"]);
    server.queue(&["suspend", "--campaign", "spring"]);
    let mut client = Client::greet(trusting);
    client.submit("a@sender.test", &["one@sink.test"], &content("acme", "autumn"));
    client.submit("a@sender.test", &["two@sink.test"], &content("other", "spring"));
    client.submit("a@sender.test", &["three@sink.test"], &content("other", "autumn"));
    assert_eq!(recipients(&mailbox, 1), ["three"]);
    server.queue(&["resume", "--campaign", "spring"]);
    assert_eq!(recipients(&mailbox, 2)[1], "two");
    assert_eq!(server.queued(), 1);
    server.queue(&["resume", "--tenant", "acme"]);
    assert_eq!(recipients(&mailbox, 3)[2], "one");
    server.wait_empty(PATIENCE);
    assert_eq!(server.try_queue(&["suspend"]), None, "nothing is said of what");
}
