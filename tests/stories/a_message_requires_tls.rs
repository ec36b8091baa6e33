//! A message that requires TLS (REQUIRETLS, RFC 8689) goes to authenticated hosts that keep that, and to no others; one
//! that waives it (`TLS-Required: No`) goes where a domain's policy would stop it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::harness::dns::Dns;
use crate::harness::peers::Peers;
use crate::harness::server::Server;
use crate::harness::smtp::{Client, queue_id};
use crate::harness::{binary, output};
use crate::next_hops_prove_who_they_are::{domain, policy, server, with_policy};

/// Hands a message in over STARTTLS; its ID.
fn hand_in(server: &Server, recipient: &str, parameters: &[&str], fields: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/send_over_tls.py");
    let mut python = Command::new("python3");
    python.arg(script).arg(server.relay.ip().to_string()).arg(server.relay.port().to_string());
    python.args(["s@notices.test", recipient]).args(parameters).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = python.spawn().expect("it runs");
    let content = format!("Subject: hi\r\n{fields}\r\nbody words\r\n");
    python.stdin.take().expect("its input").write_all(content.as_bytes()).expect("written");
    let output = python.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{recipient}");
    let said = String::from_utf8(output.stdout).expect("text");
    let (offered, reply) = said.trim_end().split_once('\n').expect("two lines");
    assert_eq!(offered, "REQUIRETLS: before TLS False, inside True");
    queue_id(reply)
}

/// What `ringpost explain` says of a message, a domain or an address.
fn explain(server: &Server, what: &str) -> String {
    output(Command::new(binary("ringpost")).args(["explain", what, "-c"]).arg(server.config()))
}

#[test]
fn a_policy_that_enforces_vouches_for_hosts_and_one_that_does_not_may_later() {
    let peers = Peers::new();
    let certificate = peers.certificate("mx.keeps.test");
    let keeps = peers.destination(1, "requiretls", &certificate);
    let _hosts = [("keeps", 20, "enforce"), ("tests", 21, "testing")].map(|(name, last, mode)| {
        peers.policy_host(last, &peers.certificate(&format!("mta-sts.{name}.test")), &policy(mode, "mx.keeps.test"))
    });
    let at_keeps = |name: &str, last: u8| {
        format!("{name} MX 10 mx.keeps\n_mta-sts.{name} TXT \"v=STSv1; id=1;\"\nmta-sts.{name} A 127.0.7.{last}\n")
    };
    // Its record announces a policy, and nobody is where that should be.
    let records = with_policy("keeps", &keeps, peers.port, "", 20)
        + &at_keeps("tests", 21)
        + &at_keeps("later", 22)
        + "none MX 10 mx.keeps\nnotices MX 10 mx.keeps\n";
    let dns = Dns::start_signed(&records, "");
    let server = server(&peers, &dns, "");

    let id = hand_in(&server, "b@keeps.test", &["REQUIRETLS"], "");
    let line = server.wait_log(&["event=delivered", &id]);
    assert!(line.contains(" verified=authority policy=requiretls asked_by=message "), "{line}");
    assert!(keeps.wait(1)[0]["mail"].as_str().expect("MAIL").ends_with(" REQUIRETLS"));
    for name in ["tests", "none"] {
        let id = hand_in(&server, &format!("b@{name}.test"), &["REQUIRETLS"], "");
        let line = server.wait_log(&["event=failed", &id]);
        assert!(line.contains(" status=5.7.10 ") && line.contains("nor an MTA-STS policy that enforces"), "{line}");
    }
    // What may vouch for them later lets it wait, and an operator sees why.
    let id = hand_in(&server, "b@later.test", &["REQUIRETLS"], "");
    assert!(server.wait_log(&["event=deferred", &id]).contains(" status=4.7.10 "));
    let stopped = format!("\nREQUIRETLS stands in the way of {id} to b@later.test (due): ");
    for what in [&*id, "later.test", "b@later.test"] {
        let explained = explain(&server, what);
        assert!(explained.contains(&stopped), "{what}: {explained}");
    }
    assert!(!explain(&server, "c@later.test").contains("REQUIRETLS"));
}

#[test]
fn it_goes_to_authenticated_hosts_that_keep_it_and_to_no_others() {
    let peers = Peers::new();
    let certificate = peers.certificate("mx.keeps.test");
    let keeps = peers.destination(1, "requiretls", &certificate);
    let lacks = peers.destination(2, "modern", &certificate);
    let bare = peers.destination(3, "none", &certificate);
    let records = domain("keeps", &keeps, peers.port, "")
        + "notices MX 10 mx.keeps\nopen NS ns\n"
        + &domain("lacks", &lacks, peers.port, &certificate.tlsa(3, 1))
        + &domain("bare", &bare, peers.port, "")
        + &domain("wrong", &lacks, peers.port, &peers.certificate("other.test").tlsa(3, 1));
    let dns = Dns::start_signed(&records, "unsigned MX 10 mx.keeps.test.\n");
    let second = server(&peers, &dns, "dane = true\n");
    let route = format!(
        "dane = true\n[[route]]\ndomains = [\"keeps.test\"]\nnext_hop = \"localhost:{}\"\ntls = \"verified\"\nca_file = \"{}\"\n",
        second.relay.port(),
        second.folder.path().join("ca.pem").display()
    );
    let first = server(&peers, &dns, &route);

    // Through two servers, each of which authenticates the next one: by its route, by DNSSEC and an authority.
    let id = hand_in(&first, "b@keeps.test", &["REQUIRETLS", "RET=FULL"], "TLS-Required: No\r\n");
    assert!(first.wait_log(&["event=delivered", &id]).contains(" verified=authority policy=requiretls "));
    assert!(second.wait_log(&["event=delivered"]).contains(" verified=authority policy=requiretls "));
    let mail = keeps.wait(1)[0]["mail"].as_str().expect("MAIL").to_owned();
    assert!(mail.ends_with(" RET=HDRS REQUIRETLS"), "{mail}");
    assert!(first.wait_log(&["event=accepted", &id]).contains(" tls_asked=required"));
    assert!(first.wait_log(&["event=delivered", &id]).contains(" tls_asked=required "));
    assert!(first.queue(&["show", &id, "--json"]).contains("\"tls_asked\": \"required\""));
    let explained = explain(&first, &id);
    assert!(explained.starts_with("keeps.test: hosts ") && !explained.contains("REQUIRETLS"), "{explained}");

    for (recipient, status, why) in [
        ("b@lacks.test", "5.7.30", "does not offer to keep"),
        ("b@bare.test", "5.7.10", "STARTTLS"),
        ("b@unsigned.open.test", "5.7.10", "neither DNSSEC nor an MTA-STS policy"),
        ("b@wrong.test", "5.7.10", "TLSA records"),
    ] {
        let id = hand_in(&first, recipient, &["REQUIRETLS", "RET=FULL"], "TLS-Required: No\r\n");
        let line = first.wait_log(&["event=failed", &id]);
        assert!(line.contains(&format!(" status={status} ")) && line.contains(why), "{line}");
        assert!(
            line.contains(" tls_asked=required ") && line.contains(" policy=requiretls asked_by=message "),
            "{line}"
        );
        let stopped = format!("\nREQUIRETLS stands in the way of {id} to {recipient} (failed): ");
        let explained = explain(&first, &id);
        assert!(explained.contains(&stopped) && explained.contains(why), "{explained}");
    }
    assert_eq!((lacks.messages().len(), bare.messages().len()), (0, 0));
    // What tells of them is protected as they were, and repeats their header alone.
    for notice in &keeps.wait(5)[1..] {
        assert!(notice["mail"].as_str().expect("MAIL").starts_with("MAIL FROM:<>"), "{notice}");
        assert!(notice["mail"].as_str().expect("MAIL").ends_with(" REQUIRETLS"), "{notice}");
        let content = notice["message"].as_str().expect("its content");
        assert!(content.contains("Subject: hi") && !content.contains("body words"), "{content}");
    }

    // The same host, of which a policy wants another certificate: the sender's word that it does not matter counts.
    let id = hand_in(&first, "b@wrong.test", &[], "");
    assert!(first.wait_log(&["event=deferred", &id]).contains(" status=4.7.5 "));
    let id = hand_in(&first, "b@wrong.test", &[], "TLS-Required: No\r\n");
    let line = first.wait_log(&["event=delivered", &id]);
    assert!(line.contains(" tls_asked=waived ") && line.contains(" policy=waived asked_by=message "), "{line}");
    let mail = lacks.wait(1)[0]["mail"].as_str().expect("MAIL").to_owned();
    assert!(!mail.contains("REQUIRETLS"), "{mail}");
    let reply = Client::greet(first.relay).say("MAIL FROM:<a@sender.test> REQUIRETLS");
    assert!(reply.starts_with("530 5.7.10 "), "{reply}");
}
