//! Suppression: who does not exist, or has complained, is written to no more: by whom it happened to, for as long as configured,
//! across kills; and nobody else can bring an address onto a list.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use crate::harness::mailbox::{Effect, Mailbox};
use crate::harness::server::{PASSWORD, Server, Setup, USER, password_hash};
use crate::harness::smtp::{Client, queue_id};
use crate::harness::{PATIENCE, binary, free_address, output, wait_for};

const OTHER: &str = "other@other.test";
/// An account whose mail has return paths, in this domain.
const NEWS: &str = "news@news.test";
const RETURN_DOMAIN: &str = "bounces.story.test";

const BOUNCE: &str = "From: mailer-daemon@isp.test\r\nSubject: failed\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/report; report-type=delivery-status; boundary=f\r\n\r\n--f\r\n\r\nno\r\n--f\r\n\
    Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; isp.test\r\n\r\n\
    Final-Recipient: rfc822; jo@sink.test\r\nAction: failed\r\nStatus: 5.1.1\r\n\
    Diagnostic-Code: smtp; 550 5.1.1 unknown\r\n\r\n--f--\r\n";

/// A server whose mail goes to `next_hop`, with a second account and `[suppression]` with these keys.
fn setup(next_hop: SocketAddr, keys: &str) -> Setup {
    let hash = password_hash();
    let more = format!(
        "[[account]]\nname = \"{OTHER}\"\npassword = \"{hash}\"\nsenders = [\"{OTHER}\"]\n\n[suppression]\n{keys}\n"
    );
    Setup { more, ..Setup::relay_to(next_hop) }
}

/// The account [`NEWS`], and the listener to which its bounces come back.
fn return_path(bounces: SocketAddr) -> String {
    format!(
        "[[account]]\nname = \"{NEWS}\"\npassword = \"{}\"\nsenders = [\"{NEWS}\"]\nreturn_path = true\n\
         [[listener]]\nkind = \"bounce\"\naddress = \"{bounces}\"\ntls = \"off\"\n\
         [return_path]\ndomain = \"{RETURN_DOMAIN}\"\nfeedback = [\"fbl\"]\n",
        password_hash()
    )
}

/// Where the first message that arrived says that bounces go.
fn reverse_path(hop: &Mailbox) -> String {
    let mail = hop.wait(1).remove(0).mail;
    mail.split_once('<').and_then(|(_, rest)| rest.split_once('>')).expect("an address").0.to_owned()
}

/// Submits a message by curl; gives what the server said.
fn submit(server: &Server, account: &str, to: &str) -> Output {
    let file = server.folder.path().join("message");
    fs::write(&file, format!("From: {account}\r\nSubject: news\r\n\r\nbody\r\n")).expect("written");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--verbose", "--insecure", "--ssl-reqd", "--upload-file"]).arg(&file);
    curl.args(["--user", &format!("{account}:{PASSWORD}"), "--mail-from", account, "--mail-rcpt", to]);
    curl.arg(format!("smtp://{}/story.test", server.submission)).output().expect("curl")
}

fn is_taken(server: &Server, account: &str, to: &str) {
    let said = submit(server, account, to);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

fn is_refused(server: &Server, account: &str, to: &str, why: &str) {
    let said = submit(server, account, to);
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    let reply = format!("550 5.7.1 <{to}> is suppressed ({why} since ");
    assert!(!said.status.success() && text.contains(&reply), "{text}");
}

/// `ringpost suppression …` against a server.
fn suppression(server: &Server, arguments: &[&str]) -> String {
    output(Command::new(binary("ringpost")).arg("suppression").args(arguments).arg("-c").arg(server.config()))
}

#[test]
fn an_address_that_does_not_exist_is_refused_next_time_to_its_account_alone_until_it_is_taken_off() {
    let hop = Mailbox::open();
    hop.fault("RCPT TO:<gone@", Effect::Reply("550 5.1.1 no such user"));
    let mut server = Server::start(&setup(hop.address, ""));
    is_taken(&server, USER, "gone@sink.test");
    server.wait_log(&["event=recipient_suppressed", "recipient=<gone@sink.test>", "cause=recipient-unknown"]);
    is_refused(&server, USER, "Gone@SINK.test", "recipient-unknown");
    is_taken(&server, OTHER, "gone@sink.test");
    let relayed = Client::greet(server.relay).submit("a@a.test", &["gone@sink.test"], "Subject: hi\r\n\r\nhi\r\n");
    queue_id(&relayed);

    server.kill();
    server.launch();
    is_refused(&server, USER, "gone@sink.test", "recipient-unknown");
    let listed: Value = serde_json::from_str(&suppression(&server, &["list", "--json"])).expect("JSON");
    let entry = &listed["suppressions"][0];
    assert_eq!(entry["list"], format!("account:{USER}"), "{listed:#}");
    assert!(entry["until"].is_string() && listed["suppressions"][1].is_null(), "{listed:#}");
    let table = suppression(&server, &["list", "gone@sink.test", "--account", USER]);
    assert!(table.contains("recipient-unknown"), "{table}");

    assert_eq!(suppression(&server, &["remove", "GONE@sink.test"]), "1 entry removed\n");
    is_taken(&server, USER, "gone@sink.test");
}

#[test]
fn it_ends_when_its_time_is_over() {
    let hop = Mailbox::open();
    hop.fault("RCPT TO:<gone@", Effect::Reply("550 5.1.1 no such user"));
    let rules = "rules = [{ on = [\"recipient-unknown\"], ttl = \"1h\" }]";
    let mut server = Server::start(&setup(hop.address, rules));
    is_taken(&server, USER, "gone@sink.test");
    server.wait_log(&["event=recipient_suppressed", "recipient=<gone@sink.test>"]);
    for (ahead_s, still) in [(1_800, true), (3_700, false)] {
        server.kill();
        server.set_ahead(Duration::from_secs(ahead_s));
        server.launch();
        match still {
            true => is_refused(&server, USER, "gone@sink.test", "recipient-unknown"),
            false => is_taken(&server, USER, "gone@sink.test"),
        }
    }
}

#[test]
fn where_it_is_to_be_reported_the_sender_gets_a_notice_and_nothing_is_sent() {
    let (hop, dead) = (Mailbox::open(), free_address());
    let mut setup = setup(hop.address, "answer = \"report\"");
    setup.routes.insert(0, ("late.test".into(), dead.to_string()));
    let server = Server::start(&setup);
    suppression(&server, &["add", "no@sink.test", "--cause", "complaint"]);
    let message = "From: a@sender.test\r\nSubject: hi\r\n\r\nhi\r\n";
    let mut client = Client::greet(server.relay);
    let id = queue_id(&client.submit("a@sender.test", &["no@sink.test", "yes@sink.test"], message));
    let none = "attempt=0";
    server.wait_log(&["event=failed", &id, "recipient=<no@sink.test>", none, "status=5.7.1", "category=suppressed"]);
    let received = hop.wait(2);
    let to: Vec<&str> = received.iter().flat_map(|mail| &mail.rcpt).map(String::as_str).collect();
    assert!(to.iter().any(|to| to.contains("yes@sink.test")) && !to.iter().any(|to| to.contains("no@sink")), "{to:?}");
    let notice = received.iter().find(|mail| mail.rcpt[0].contains("a@sender.test")).expect("a notice").text();
    for words in ["no@sink.test", "Status: 5.7.1", "complaint since"] {
        assert!(notice.contains(words), "{words} is not in {notice}");
    }
    assert!(!notice.contains("Last-Attempt-Date"), "there was none: {notice}");
    // Whoever is suppressed while the message waits fails at its next attempt.
    queue_id(&client.submit("a@sender.test", &["jo@late.test"], message));
    server.wait_log(&["event=deferred", "recipient=<jo@late.test>"]);
    suppression(&server, &["add", "jo@late.test", "--relay"]);
    server.queue(&["retry", "--domain", "late.test"]);
    server.wait_log(&["event=failed", "recipient=<jo@late.test>", "attempt=1", "category=suppressed"]);
    server.wait_empty(PATIENCE);
    assert_eq!(hop.wait(3).len(), 3, "its sender is told, too");
}

#[test]
fn a_complaint_suppresses_and_what_is_forged_does_not() {
    let (hop, bounces) = (Mailbox::open(), free_address());
    let mut setup = setup(hop.address, "");
    setup.more += &return_path(bounces);
    let server = Server::start(&setup);
    is_taken(&server, NEWS, "jo@sink.test");
    let path = reverse_path(&hop);
    server.wait_empty(PATIENCE);

    let complaint = |path: &str| {
        format!(
            "From: feedback@isp.test\r\nSubject: complaint\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=feedback-report; boundary=f\r\n\r\n--f\r\n\r\nabuse\r\n--f\r\n\
             Content-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nUser-Agent: isp/1\r\nVersion: 1\r\n\r\n\
             --f\r\nContent-Type: message/rfc822\r\n\r\nReturn-Path: <{path}>\r\nSubject: news\r\n\r\nbody\r\n--f--\r\n"
        )
    };
    let mut forged = path.clone().into_bytes();
    forged[10] = if forged[10] == b'a' { b'b' } else { b'a' };
    let forged = String::from_utf8(forged).expect("ASCII");
    let mut stranger = Client::greet(bounces);
    stranger.expect("MAIL FROM:<>", "250");
    stranger.expect(&format!("RCPT TO:<{forged}>"), "550 5.1.1");
    stranger.expect("RSET", "250");
    for forged in [complaint(&forged), BOUNCE.to_owned()] {
        assert!(stranger.submit("", &[&format!("fbl@{RETURN_DOMAIN}")], &forged).starts_with("250 "));
    }
    wait_for("both to be ignored", PATIENCE, || {
        (server.log().matches("event=return_ignored").count() == 2).then_some(())
    });
    is_taken(&server, NEWS, "jo@sink.test");
    assert!(!server.log().contains("event=recipient_suppressed"));

    assert!(stranger.submit("", &[&format!("fbl@{RETURN_DOMAIN}")], &complaint(&path)).starts_with("250 "));
    server.wait_log(&["event=recipient_suppressed", "recipient=<jo@sink.test>", "cause=complaint"]);
    is_refused(&server, NEWS, "jo@sink.test", "complaint");
    is_taken(&server, USER, "jo@sink.test");
}

/// What was taken and comes back later counts like what is refused at once: for its account, or for all where that is
/// configured.
#[test]
fn what_bounces_later_suppresses_its_recipient_for_its_account_or_for_all() {
    for (keys, reaches_all) in [("", false), ("scope = \"global\"", true)] {
        let (hop, bounces) = (Mailbox::open(), free_address());
        let mut setup = setup(hop.address, keys);
        setup.more += &return_path(bounces);
        let server = Server::start(&setup);
        is_taken(&server, NEWS, "jo@sink.test");
        let path = reverse_path(&hop);
        server.wait_log(&["event=delivered", "recipient=<jo@sink.test>"]);
        assert!(!server.log().contains("event=recipient_suppressed"));

        assert!(Client::greet(bounces).submit("", &[&path], BOUNCE).starts_with("250 "));
        server.wait_log(&["event=bounced", "recipient=<jo@sink.test>", "status=5.1.1"]);
        server.wait_log(&["event=recipient_suppressed", "recipient=<jo@sink.test>", "cause=recipient-unknown"]);
        is_refused(&server, NEWS, "jo@sink.test", "recipient-unknown");
        for account in [USER, OTHER] {
            match reaches_all {
                true => is_refused(&server, account, "jo@sink.test", "recipient-unknown"),
                false => is_taken(&server, account, "jo@sink.test"),
            }
        }
        let listed: Value = serde_json::from_str(&suppression(&server, &["list", "--json"])).expect("JSON");
        let list = if reaches_all { "global".to_owned() } else { format!("account:{NEWS}") };
        assert_eq!(listed["suppressions"][0]["list"], list, "{listed:#}");
        assert!(listed["suppressions"][1].is_null(), "{listed:#}");
    }
}

#[test]
fn lists_are_exported_and_imported_whole() {
    let hop = Mailbox::open();
    let server = Server::start(&setup(hop.address, "entries_max = 1000000"));
    let file = server.folder.path().join("addresses.txt");
    let count = if crate::harness::full() { 1_000_000 } else { 100_000 };
    let addresses: String = (0..count).map(|n| format!("user{n:07}@list.test\n")).collect();
    fs::write(&file, addresses).expect("written");
    let name = file.to_str().expect("a name");
    assert_eq!(suppression(&server, &["import", name, "--account", USER]), format!("{count} entries imported\n"));
    suppression(&server, &["add", "jo@list.test", "--until", "2099-12-31"]);
    is_refused(&server, USER, "user0012345@list.test", "operator");
    is_taken(&server, OTHER, "user0012345@list.test");
    is_refused(&server, OTHER, "jo@list.test", "operator");

    let exported = suppression(&server, &["export"]);
    assert_eq!(exported.lines().count(), 1 + 1 + count);
    assert!(
        exported.starts_with("address,list,cause,since,until\r\njo@list.test,global,operator,"),
        "{}",
        &exported[..200]
    );
    let removed = suppression(&server, &["remove", "--all", "--account", USER]);
    assert_eq!(removed, format!("{count} entries removed\n"));
    is_taken(&server, USER, "user0012345@list.test");
    fs::write(&file, &exported).expect("written");
    suppression(&server, &["import", name]);
    assert_eq!(suppression(&server, &["export"]), exported);
    let usage = Command::new(binary("ringpost"))
        .args(["suppression", "remove", "--all", "-c"])
        .arg(server.config())
        .output()
        .expect("it runs");
    assert_eq!(usage.status.code(), Some(2));
}
