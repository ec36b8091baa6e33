//! Webhooks: what became of each recipient, signed, at least once, whatever happens to the server and to the endpoint; and
//! whatever the endpoint does, mail goes on.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Command;

use serde_json::Value;

use crate::harness::mailbox::{Effect, Mailbox};
use crate::harness::server::{PASSWORD, Server, Setup, USER, password_hash};
use crate::harness::smtp::{Client, queue_id};
use crate::harness::webhook::Receiver;
use crate::harness::{PATIENCE, output, wait_for};

const OTHER: &str = "other@accept.test";
const CONTENT: &str = "Subject: hi\r\n\r\nthe body\r\n";

/// Submits a message of an account by curl.
fn submit(server: &Server, from: &str, message_id: &str, to: &str) {
    let file = server.folder.path().join("message");
    fs::write(&file, format!("From: {from}\r\nMessage-ID: {message_id}\r\n{CONTENT}")).expect("written");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--insecure", "--ssl-reqd", "--upload-file"]).arg(&file);
    curl.args(["--user", &format!("{from}:{PASSWORD}"), "--mail-from", from, "--mail-rcpt", to]);
    output(curl.arg(format!("smtp://{}/story.test", server.submission)));
}

/// A server whose configuration ends with what `webhooks` makes of its folder.
fn start(setup: Setup, webhooks: impl FnOnce(&Server) -> String) -> Server {
    let server = Server::start(&setup);
    add(&server, &webhooks(&server));
    server
}

/// Adds to the configuration, and has it reloaded.
fn add(server: &Server, more: &str) {
    let before = server.log().matches("event=reloaded").count();
    let text = fs::read_to_string(server.config()).expect("the configuration");
    fs::write(server.config(), text + more).expect("written");
    server.reload();
    wait_for("the reload", PATIENCE, || (server.log().matches("event=reloaded").count() > before).then_some(()));
}

fn of<'a>(events: &'a [Value], kind: &str, to: &str) -> &'a Value {
    let found = events.iter().find(|event| event["type"] == kind && event["recipient"]["address"] == to);
    found.unwrap_or_else(|| panic!("no {kind} of {to} in {events:#?}"))
}

#[test]
fn an_account_is_told_delivered_delayed_and_failed_over_https_and_nothing_of_others() {
    let hop = Mailbox::open();
    let account =
        format!("[[account]]\nname = \"{OTHER}\"\npassword = \"{}\"\nsenders = [\"{OTHER}\"]\n\n", password_hash());
    let setup = Setup {
        delay_notice_after: Some("1s".into()),
        schedule: r#"["3s"]"#.into(),
        more: account,
        ..Setup::relay_to(hop.address)
    };
    let mut receiver = None;
    let server = start(setup, |server| {
        let crm = receiver.insert(Receiver::new(server.folder.path(), "crm", true));
        crm.section(&format!(
            "accounts = [\"{USER}\"]\nevents = [\"delivered\", \"delayed\", \"deferred\", \"failed\"]\n"
        ))
    });
    let mut crm = receiver.expect("it was made");
    crm.listen();
    submit(&server, OTHER, "<0@app.test>", "good@hop.test");
    hop.fault("RCPT TO:<bad@", Effect::Reply("550 5.1.1 no such user here"));
    submit(&server, USER, "<1@app.test>", "bad@hop.test");
    hop.fault("RCPT TO:<late@", Effect::Reply("450 4.3.2 come again"));
    submit(&server, USER, "<2@app.test>", "late@hop.test");
    let events = crm.wait(4);

    let failed = of(&events, "failed", "bad@hop.test");
    for (key, value) in [("message_id", "<1@app.test>"), ("sender", USER), ("account", USER)] {
        assert_eq!(failed[key], value, "{key} in {failed:#}");
    }
    let recipient = &failed["recipient"];
    for (key, value) in [
        ("status", "5.1.1"),
        ("why", "550 5.1.1 no such user here"),
        ("action", "reject"),
        ("category", "recipient-unknown"),
        ("powermta", "bad-mailbox"),
        ("kumomta", "InvalidRecipient"),
        ("state", "failed"),
    ] {
        assert_eq!(recipient[key], value, "{key} in {failed:#}");
    }
    assert_eq!((&recipient["code"], &recipient["attempts"]), (&550.into(), &1.into()));
    assert!(recipient["remote"].as_str().is_some_and(|remote| remote.contains("127.0.0.1")), "{failed:#}");

    let late: Vec<&Value> = events.iter().filter(|event| event["message_id"] == "<2@app.test>").collect();
    let kinds: Vec<_> = late.iter().map(|event| event["type"].as_str().unwrap_or_default()).collect();
    assert_eq!(kinds, ["deferred", "delayed", "delivered"]);
    assert_eq!(events.len(), 4, "nothing of {OTHER}: {events:#?}");
    assert_eq!(crm.requests()[0]["path"], "/hook?key=s3cret");

    // The API and the command line know the same, in the same words.
    let shown = server.queue(&["show", "<2@app.test>", "--json"]);
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["messages"][0]["recipients"][0], late[2]["recipient"]);
    assert_eq!(shown["messages"][0]["id"], late[2]["id"]);
    assert!(!server.log().contains("s3cret"), "what may be a secret is not logged");
}

#[test]
fn an_endpoint_that_was_down_is_told_everything_also_across_kills() {
    let hop = Mailbox::open();
    let mut receiver = None;
    let mut server = start(Setup::relay_to(hop.address), |server| {
        receiver.insert(Receiver::new(server.folder.path(), "crm", false)).section("batch_max = 7\n")
    });
    let mut crm = receiver.expect("it was made");
    let mut ids = Vec::new();
    let mut send = |server: &Server, count: usize| {
        let mut client = Client::greet(server.relay);
        for n in 0..count {
            ids.push(queue_id(&client.submit("a@sender.test", &[&format!("{n}@hop.test")], CONTENT)));
        }
    };
    send(&server, 20);
    server.wait_empty(PATIENCE);
    server.wait_log(&["event=webhook_failing", "webhook=crm", "127.0.0.1"]);
    server.kill();
    server.launch();
    send(&server, 20);
    server.kill();
    server.launch();
    server.wait_empty(PATIENCE);
    crm.listen();
    crm.wait(40);
    send(&server, 10);
    crm.wait(45);
    // Killed while it tells: what is told twice has the same id.
    server.kill();
    crm.stop();
    server.launch();
    server.wait_empty(PATIENCE);
    crm.listen();
    let events = crm.wait(50);
    let mut told: Vec<&str> = events.iter().filter_map(|event| event["id"].as_str()).collect();
    told.sort_unstable();
    ids.sort_unstable();
    assert_eq!(told, ids, "each message once");
    let requests = crm.requests();
    assert!(requests.iter().all(|request| request["events"].as_array().is_some_and(|events| events.len() <= 7)));
    wait_for("nothing to wait any more", PATIENCE, || {
        let metrics = server.metrics();
        let waiting: Vec<&str> = metrics.lines().filter(|line| line.contains("events_waiting{")).collect();
        (waiting.len() == 2 && waiting.iter().all(|line| line.ends_with(" 0"))).then_some(())
    });
    server.stop();
}

#[test]
fn whatever_an_endpoint_does_mail_goes_on() {
    let hop = Mailbox::open();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let elsewhere = TcpListener::bind("127.0.0.1:0").expect("a port");
    let webhook = |name: &str, listener: &TcpListener, more: &str| {
        let address = listener.local_addr().expect("its address");
        format!("[[webhook]]\nname = \"{name}\"\nurl = \"http://{address}\"\nsecret_file = \"{name}.secret\"\n{more}\n")
    };
    let server = start(Setup::relay_to(hop.address), |_| {
        webhook("silent", &silent, "timeout = \"1s\"\n") + &webhook("elsewhere", &elsewhere, "")
    });
    let asked = std::thread::spawn(move || redirect(&elsewhere));
    let mut client = Client::greet(server.relay);
    for n in 0..100 {
        client.submit("a@sender.test", &[&format!("{n}@hop.test")], CONTENT);
    }
    hop.wait(100);
    server.wait_empty(PATIENCE);
    server.wait_log(&["event=webhook_failing", "webhook=silent", "did not answer within 1 s"]);
    server.wait_log(&["event=webhook_failing", "webhook=elsewhere", "302", "redirects are not followed"]);
    let request = asked.join().expect("it was asked");
    assert!(request.starts_with("POST / HTTP/1.1\r\n"), "{request}");
    wait_for("the failures to be counted", PATIENCE, || {
        let metrics = server.metrics();
        let counted = |line: &str| line.starts_with("ringpost_webhook_failures_total{webhook=\"silent\"");
        metrics.lines().any(|line| counted(line) && !line.ends_with(" 0")).then_some(())
    });
}

/// Answers one request with the address of another place; gives the request's head.
fn redirect(listener: &TcpListener) -> String {
    let (stream, _) = listener.accept().expect("a connection");
    let mut head = String::new();
    let mut reader = BufReader::new(&stream);
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).expect("a line") > 0, "it ended after {head}");
    }
    (&stream)
        .write_all(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n")
        .expect("sent");
    head
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_not_trusted() {
    let hop = Mailbox::open();
    let mut receiver = None;
    let server = start(Setup::relay_to(hop.address), |server| {
        let crm = receiver.insert(Receiver::new(server.folder.path(), "crm", true));
        // Of another authority: one that vouches for nothing here.
        let other = rcgen::generate_simple_self_signed(vec!["other.test".into()]).expect("a certificate");
        fs::write(server.folder.path().join("other.pem"), other.cert.pem()).expect("written");
        crm.section("").replace("ca.pem", "other.pem")
    });
    let mut crm = receiver.expect("it was made");
    crm.listen();
    Client::greet(server.relay).submit("a@sender.test", &["b@hop.test"], CONTENT);
    server.wait_log(&["event=webhook_failing", "webhook=crm", "certificate"]);
    assert!(crm.requests().is_empty(), "nothing was said to it");
    let text = fs::read_to_string(server.config()).expect("the configuration").replace("other.pem", "ca.pem");
    fs::write(server.config(), text).expect("written");
    add(&server, "");
    crm.wait(1);
}
