//! TLS reports (RFC 8460): what sessions with the hosts of a domain came to is told to that domain, by mail and by HTTPS.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::dns::Dns;
use crate::harness::peers::{Certificate, Destination, Peers};
use crate::harness::{PATIENCE, dkim_key, wait_for};
use crate::next_hops_prove_who_they_are::{domain, policy, send, server, with_policy};

/// What a message that carries a report says.
fn read(message: &str) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/read_report.py");
    let mut python =
        Command::new("python3").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    python.stdin.take().expect("its input").write_all(message.as_bytes()).expect("written");
    let output = python.wait_with_output().expect("it ends");
    assert!(output.status.success(), "it was not understood:\n{message}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The policies that were counted, each with the domain that is told.
fn counted(shown: &Value) -> Vec<Value> {
    let policies = shown["days"].as_array().into_iter().flatten().flat_map(|day| day["policies"].as_array().cloned());
    policies.flatten().collect()
}

fn of<'a>(policies: &'a [Value], domain: &str) -> &'a Value {
    let found = policies.iter().find(|policy| policy["recipient-domain"] == domain);
    found.unwrap_or_else(|| panic!("nothing about {domain}: {policies:?}"))
}

/// A policy that was counted, as a report has it.
fn reported(policy: &Value) -> Value {
    let mut policy = policy.clone();
    policy.as_object_mut().expect("an object").remove("recipient-domain").expect("the domain that is told");
    policy
}

/// The message carries this policy's report of the day, signed.
fn assert_mailed(message: &Value, day: &Value, policy: &Value) {
    let read = read(message["message"].as_str().expect("its content"));
    assert_eq!((&read["type"], &read["report-type"]), (&json!("multipart/report"), &json!("tlsrpt")), "{read}");
    assert_eq!((&read["domain"], &read["to"]), (&json!("good.test"), &json!("tls@reports.test")));
    assert_eq!((&read["file-type"], &read["defects"]), (&json!("application/tlsrpt+gzip"), &json!([])));
    let signature = read["signature"].as_str().expect("a signature");
    assert!(signature.contains("d=sender.test") && signature.contains("s=s1"), "{signature}");
    let report = &read["report"];
    assert_eq!(report["organization-name"], "Sender Ltd");
    assert_eq!(report["date-range"]["start-datetime"], format!("{}T00:00:00Z", day.as_str().expect("a day")));
    assert_eq!(report["policies"], json!([reported(policy)]));
}

/// Reports, signed with a key.
fn settings(key: &Path) -> String {
    format!(
        "dane = true\n[tls_reports]\norganization = \"Sender Ltd\"\ncontact = \"postmaster@sender.test\"\n\
         from = \"tls-reports@sender.test\"\n[[dkim]]\ndomain = \"sender.test\"\nselector = \"s1\"\n\
         private_key = \"{}\"\n",
        key.display()
    )
}

/// The domains, where they want their reports, and who takes those.
fn records(peers: &Peers, good: &Certificate, right: &Destination, plain: &Destination) -> String {
    with_policy("good", right, peers.port, "", 20)
        + &with_policy("tested", right, peers.port, "", 21)
        + &domain("stripped", plain, peers.port, &good.tlsa(3, 1))
        + &domain("silent", plain, peers.port, "")
        + &with_policy("unfetched", right, peers.port, "", 40)
        // Its own records forbid what it is like, which is what it wants to hear of.
        + &domain("reports", plain, peers.port, &good.tlsa(3, 1))
        + "_smtp._tls.good TXT \"v=TLSRPTv1; rua=mailto:tls@reports.test\"\n"
        + "_smtp._tls.reports TXT \"v=TLSRPTv1; rua=mailto:tls@reports.test\"\n"
        + &format!("_smtp._tls.tested TXT \"v=TLSRPTv1; rua=https://collect.test:{}/tls\"\n", peers.policy_port)
        + &format!("_smtp._tls.stripped TXT \"v=TLSRPTv1;rua=https://collect.test:{}/tls\"\n", peers.policy_port)
        + &format!("_smtp._tls.silent TXT \"v=TLSRPTv1; rua=https://inner.test:{}/tls\"\n", peers.policy_port)
        + &format!("_smtp._tls.unfetched TXT \"v=TLSRPTv1; rua=https://mute.test:{}/tls\"\n", peers.policy_port)
        + "collect A 127.0.7.30\ninner A 127.0.7.31\nmute A 127.0.7.32\n"
}

#[test]
fn sessions_are_counted_by_policy_and_told_by_mail_and_https() {
    let peers = Peers::new();
    let good = peers.certificate("mx.good.test");
    let right = peers.destination(1, "modern", &good);
    let plain = peers.destination(2, "none", &good);
    let hosts = [("good", 20, "enforce", "mx.good.test"), ("tested", 21, "testing", "mx.tested.test")];
    let _policy_hosts = hosts.map(|(name, last, mode, mx)| {
        let certificate = peers.certificate(&format!("mta-sts.{name}.test"));
        peers.policy_host(last, &certificate, &policy(mode, mx))
    });
    let receiver = peers.report_receiver(30, &peers.certificate("collect.test"));
    // A host of our own network whose certificate is for another name, and one that never says a word.
    let stranger = peers.report_receiver(31, &peers.certificate("other.test"));
    let _mute = TcpListener::bind(("127.0.7.32", peers.policy_port)).expect("bound");
    let dns = Dns::start_signed(&records(&peers, &good, &right, &plain), "");
    dkim_key(peers.folder.path(), "sender.test", "s1", "ed25519");
    let key = fs::canonicalize(peers.folder.path().join("s1.sender.test.pem")).expect("the key");
    let mut server = server(&peers, &dns, &settings(&key));
    for name in ["good", "tested", "silent", "unfetched"] {
        let id = send(&server, &format!("b@{name}.test"));
        server.wait_log(&["event=delivered", &id]);
    }
    let id = send(&server, "b@stripped.test");
    server.wait_log(&["event=deferred", &id]);

    // A stop takes no count, also of what nobody has looked at.
    server.stop();
    server.launch();
    let shown = server.tls_report(&["show"]);
    let day = shown["days"][0]["day"].clone();
    // What was looked at is on disk: a crash takes none of it.
    let before = counted(&shown);
    server.kill();
    server.launch();
    let policies = counted(&server.tls_report(&["show"]));
    assert_eq!(policies, before);
    let summary = |name: &str| {
        let policy = of(&policies, &format!("{name}.test"));
        let number = |key: &str| policy["summary"][key].as_u64().expect("a number");
        let details = policy["failure-details"][0]["result-type"].as_str().unwrap_or_default().to_owned();
        let kind = policy["policy"]["policy-type"].as_str().expect("a type").to_owned();
        (kind, number("total-successful-session-count"), number("total-failure-session-count"), details)
    };
    assert_eq!(summary("good"), ("sts".into(), 1, 0, String::new()));
    // It tests its policy: what would have failed is told, and the mail has arrived.
    assert_eq!(summary("tested"), ("sts".into(), 0, 1, "certificate-host-mismatch".into()));
    assert_eq!(summary("stripped"), ("tlsa".into(), 0, 1, "starttls-not-supported".into()));
    // Who has TLSA records is a host, and whose policy they are it says.
    assert_eq!(of(&policies, "stripped.test")["policy"]["policy-domain"], "mx.stripped.test");
    // Nobody is at its policy host: the mail goes as if it had no policy, and it is told why.
    assert_eq!(summary("unfetched"), ("sts".into(), 0, 1, "sts-policy-fetch-error".into()));
    assert_eq!(summary("silent"), ("no-policy-found".into(), 0, 1, "starttls-not-supported".into()));

    let before = plain.messages().len();
    // It waits for all, and one of them never answers; whoever else wants a report has it before.
    let _telling = server.start_tls_report(&["send"]);
    server.wait_log(&["event=tls_report_sent", "domain=good.test", "to=tls@reports.test"]);
    let message = plain.wait(before + 1)[before].clone();
    assert!(message["mail"].as_str().expect("MAIL").starts_with("MAIL FROM:<>"), "{message}");
    assert_mailed(&message, &day, of(&policies, "good.test"));
    let mut posted = wait_for("two reports", PATIENCE, || Some(receiver.reports()).filter(|posted| posted.len() == 2));
    posted.sort_by_key(|posted| posted["report"]["policies"][0]["policy"]["policy-domain"].to_string());
    for (posted, name) in posted.iter().zip(["stripped.test", "tested.test"]) {
        assert_eq!((&posted["path"], &posted["type"]), (&json!("/tls"), &json!("application/tlsrpt+gzip")));
        assert_eq!(posted["report"]["policies"], json!([reported(of(&policies, name))]));
    }
    for name in ["stripped.test", "tested.test"] {
        server.wait_log(&["event=tls_report_sent", &format!("domain={name}")]);
    }
    // A stranger may name any host, also one of ours; but a report goes to none that is not proven to be the one named.
    server.wait_log(&["event=tls_report_failed", "domain=silent.test", "certificate"]);
    assert_eq!(stranger.reports(), [] as [Value; 0]);
    // The report went to a host without TLS, and of that nobody is told: it would never end.
    server.wait_empty_but(1);
    let left = counted(&server.tls_report(&["show"]));
    let left: Vec<&Value> = left.iter().map(|policy| &policy["recipient-domain"]).collect();
    assert_eq!(left, [&json!("silent.test"), &json!("unfetched.test")], "those that could not be told, and no more");
}
