//! What large receivers ask of bulk mail is looked at before a message is taken, by what a real DNS server says.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::harness::dkim_key;
use crate::harness::dns::Dns;
use crate::harness::server::{PASSWORD, Server, Setup, USER, password_hash};
use crate::harness::smtp::{Client, queue_id};

/// An account whose mail is not looked at.
const QUIET: &str = "quiet@accept.test";
/// An address that is nobody's (RFC 5737).
const ADDRESS: &str = "198.51.100.7";
const NEWS: &str = "From: News <user@accept.test>\r\nSubject: news\r\nList-Unsubscribe: <https://accept.test/u?1>\r\n\
                    List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\r\nHello\r\n";

/// A DNS server that says of accept.test what receivers want, and that a mailbox at mail.test is Gmail's; and a server
/// that refuses what breaks their rules. Its key is in the folder.
fn world() -> (Dns, Server, TempDir) {
    let keys = tempfile::tempdir().expect("a folder");
    let record = dkim_key(keys.path(), "accept.test", "s1", "ed25519");
    let zone = format!(
        "out A {ADDRESS}\naccept TXT \"v=spf1 ip4:{ADDRESS} -all\"\n_dmarc.accept TXT \"v=DMARC1; p=none\"\n{record}\n\
         mail MX 10 gmail-smtp-in.l.google.com.\n"
    );
    let dns = Dns::start_with_reverse(&zone, "100.51.198.in-addr.arpa", "7 PTR out.test.\n");
    let more = format!(
        "[[account]]\nname = \"{QUIET}\"\npassword = \"{}\"\nsenders = [\"{QUIET}\"]\npreflight = \"off\"\n\
         [[source]]\nname = \"one\"\naddresses = [\"{ADDRESS}\"]\nehlo = \"out.test\"\n[delivery]\npool = \"one\"\n\
         [[dkim]]\ndomain = \"accept.test\"\nselector = \"s1\"\nprivate_key = \"{}\"\n\
         [preflight]\nat_submission = \"refuse\"\n",
        password_hash(),
        keys.path().join("s1.accept.test.pem").display(),
    );
    let server = Server::start(&Setup {
        dns: Some(dns.address),
        more,
        schedule: "[\"1h\"]".into(),
        shards: 1,
        ..Setup::default()
    });
    (dns, server, keys)
}

/// What swaks hears when `account` submits `content` for a mailbox at Gmail.
fn swaks(server: &Server, account: &str, content: &str) -> String {
    let output = Command::new("swaks")
        .args(["--server", "127.0.0.1", "--port", &server.submission.port().to_string(), "--tls"])
        .args(["--auth", "PLAIN", "--auth-user", account, "--auth-password", PASSWORD])
        .args(["--from", account, "--to", "c@mail.test", "--data", content])
        .output()
        .expect("swaks runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn or_hears_what_to_change_before_it_is_taken() {
    let (_dns, server, _keys) = world();
    let said = swaks(&server, USER, NEWS);
    assert!(said.contains("250 2.6.0"), "{said}");
    let accepted = server.wait_log(&["event=accepted", "preflight=pass"]);
    let id = accepted.split(" id=").nth(1).and_then(|rest| rest.split(' ').next()).expect("an id");
    assert!(server.queue(&["show", id]).lines().any(|line| line.starts_with("preflight:") && line.ends_with("pass")));

    let without = NEWS.replace("List-Unsubscribe-Post", "X-Post");
    let said = swaks(&server, USER, &without);
    assert!(said.contains("550-5.7.1 The message breaks rules of Gmail for bulk mail:"), "{said}");
    assert!(
        said.contains("550 5.7.1 one-click: List-Unsubscribe stands there without List-Unsubscribe-Post; "),
        "{said}"
    );
    let said = swaks(&server, QUIET, &without.replace("user@", "quiet@"));
    assert!(said.contains("250 2.6.0"), "the account has it off: {said}");

    let mut client = Client::greet(server.relay);
    let mut submit = |author: &str| {
        client.submit(author, &["c@mail.test"], &NEWS.replace("user@accept.test", author).replace("Subject", "X-A"))
    };
    let said = submit("a@other.test");
    for broken in [
        "spf: other.test, of the reverse-path, has no SPF record; add the TXT record `v=spf1 ip4:198.51.100.7 -all`",
        "dmarc: other.test has no DMARC record",
        "alignment: neither SPF nor DKIM is aligned with other.test",
    ] {
        assert!(said.contains(&format!("5.7.1 {broken}")), "it does not say `{broken}`: {said}");
    }
    // The DNS server knows nothing outside of test, and says so: that is no answer.
    let said = submit("a@example.org");
    assert!(said.starts_with("550") && said.contains("5.7.1 signed: ") && !said.contains("spf: "), "{said}");

    let text = fs::read_to_string(server.config()).expect("read");
    fs::write(server.config(), text.replace("\"refuse\"", "\"warn\"")).expect("written");
    server.reload();
    server.wait_log(&["event=reloaded"]);
    let id = queue_id(&submit("a@other.test"));
    let verdict = "fail: signed one-click-signed spf dmarc alignment";
    server.wait_log(&["event=preflight", &id, verdict, "receivers=Gmail", "has no SPF record; add"]);
    server.wait_log(&["event=accepted", &id, verdict]);
}
