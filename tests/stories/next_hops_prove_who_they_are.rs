//! TLS to next hops: encrypted where it can be, plain where nobody asks for more, and not sent at all where somebody does
//! and the next hop cannot: the administrator, the host's TLSA records, the recipient domain's MTA-STS policy.

use std::path::Path;

use crate::harness::dns::Dns;
use crate::harness::peers::{Certificate, Destination, Peers};
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::{Client, queue_id};

/// Sends a message to `recipient`; its ID.
pub fn send(server: &Server, recipient: &str) -> String {
    let mut client = Client::greet(server.relay);
    queue_id(&client.submit("a@sender.test", &[recipient], "Subject: hi\r\n\r\nbody\r\n"))
}

/// A server that looks names up in `dns`, and delivers to the port of `peers`. `tls` is more of `[delivery.tls]`.
pub fn server(peers: &Peers, dns: &Dns, tls: &str) -> Server {
    let anchor = dns.trust_anchor();
    Server::start(&Setup {
        more: format!(
            "[dns]\nservers = [\"{}\"]\ntrust_anchor = \"{}\"\n[delivery]\nport = {}\n[delivery.tls]\nca_file = \"{}\"\n\
             mta_sts_port = {}\n{tls}",
            dns.address,
            anchor.display(),
            peers.port,
            peers.ca_file().display(),
            peers.policy_port,
        ),
        schedule: r#"["1h"]"#.into(),
        ..Setup::default()
    })
}

/// `[[route]]` with TLS.
fn route(domain: &str, to: &Destination, port: u16, tls: &str) -> String {
    format!("[[route]]\ndomains = [\"{domain}\"]\nnext_hop = \"{}:{port}\"\n{tls}\n", to.address)
}

/// A setup of routes that gives up for an hour what it defers.
fn routes(more: String) -> Setup {
    Setup { schedule: r#"["1h"]"#.into(), more, ..Setup::default() }
}

#[test]
fn without_a_policy_any_certificate_encrypts() {
    let peers = Peers::new();
    let destination = peers.destination(1, "modern", &peers.certificate("whatever.test"));
    let server = Server::start(&routes(route("*", &destination, peers.port, "")));
    let id = send(&server, "b@sink.test");
    assert_eq!(destination.wait(1)[0]["tls"][0], "TLSv1.3");
    let line = server.wait_log(&["event=delivered", &id]);
    assert!(
        line.contains(" tls=TLSv1.3 cipher=TLS_AES_") && line.contains(" verified=no policy=opportunistic "),
        "{line}"
    );
    assert_eq!(destination.failures(), 0);
}

/// rustls speaks neither versions before 1.2 nor suites without forward secrecy: servers that speak nothing else get
/// their mail in plain text, and are not asked for TLS with each connection.
#[test]
fn a_server_with_legacy_tls_alone_gets_plain_text_and_is_remembered() {
    let peers = Peers::new();
    let certificate = peers.certificate("old.test");
    for (last, mode) in [(1, "tls1"), (2, "static-rsa")] {
        let destination = peers.destination(last, mode, &certificate);
        let one_each = "[delivery]\nmessages_per_connection_max = 1\n";
        let server = Server::start(&routes(route("*", &destination, peers.port, "") + one_each));
        for count in 1..=2 {
            let id = send(&server, "b@sink.test");
            assert!(destination.wait(count)[count - 1]["tls"].is_null());
            let line = server.wait_log(&["event=delivered", &id]);
            assert!(!line.contains(" tls="), "{mode}: {line}");
        }
        assert_eq!(destination.failures(), 1, "{mode}: the second connection did not try again");
    }
}

#[test]
fn a_route_that_demands_tls_sends_nothing_without_it() {
    let peers = Peers::new();
    let (good, other) = (peers.certificate("mx.test"), peers.certificate("other.test"));
    let plain = peers.destination(1, "none", &good);
    let legacy = peers.destination(2, "tls1", &good);
    let misnamed = peers.destination(3, "modern", &other);
    let ca = format!("tls = \"verified\"\nca_file = \"{}\"", peers.ca_file().display());
    let server = Server::start(&routes(
        route("plain.test", &plain, peers.port, "tls = \"required\"")
            + &route("legacy.test", &legacy, peers.port, "tls = \"required\"")
            + &route("misnamed.test", &misnamed, peers.port, &ca)
            + &route("enough.test", &misnamed, peers.port, "tls = \"required\"")
            + &route("off.test", &misnamed, peers.port, "tls = \"off\""),
    ));
    for (domain, status) in [("plain.test", "4.7.4"), ("legacy.test", "4.7.5"), ("misnamed.test", "4.7.5")] {
        let id = send(&server, &format!("b@{domain}"));
        let line = server.wait_log(&["event=deferred", &id]);
        assert!(line.contains(&format!(" status={status} category=tls ")), "{line}");
    }
    let id = send(&server, "b@enough.test");
    assert!(server.wait_log(&["event=delivered", &id]).contains(" verified=no policy=required "));
    let id = send(&server, "b@off.test");
    assert!(!server.wait_log(&["event=delivered", &id]).contains(" tls="));
    assert_eq!([plain.messages().len(), legacy.messages().len(), misnamed.messages().len()], [0, 0, 2]);
}

#[test]
fn a_route_that_is_verified_wants_the_host_s_name_from_its_authority() {
    let peers = Peers::new();
    let destination = peers.destination(1, "modern", &peers.certificate("mx.sink.test"));
    let stranger = Peers::new();
    let dns = Dns::start_signed(&format!("mx.sink A {}\n", destination.address), "");
    let route = |ca: &Path| {
        format!(
            "[dns]\nservers = [\"{}\"]\n[[route]]\ndomains = [\"*\"]\nnext_hop = \"mx.sink.test:{}\"\ntls = \"verified\"\n\
             ca_file = \"{}\"\n",
            dns.address,
            peers.port,
            ca.display()
        )
    };
    let good = Server::start(&routes(route(&peers.ca_file())));
    let id = send(&good, "b@sink.test");
    assert!(good.wait_log(&["event=delivered", &id]).contains(" verified=authority policy=verified "));
    let distrustful = Server::start(&routes(route(&stranger.ca_file())));
    let id = send(&distrustful, "b@sink.test");
    assert!(distrustful.wait_log(&["event=deferred", &id]).contains(" status=4.7.5 "));
    assert_eq!(destination.messages().len(), 1);
}

/// Records of a domain with one mail exchanger at `destination`, and what `_PORT._tcp` of it holds.
pub fn domain(name: &str, destination: &Destination, port: u16, tlsa: &str) -> String {
    let records = format!("{name} MX 10 mx.{name}\nmx.{name} A {}\n", destination.address);
    if tlsa.is_empty() { records } else { records + &format!("_{port}._tcp.mx.{name} {tlsa}\n") }
}

#[test]
fn a_host_with_tlsa_records_gets_mail_only_with_the_certificate_that_they_name() {
    let peers = Peers::new();
    let (good, other) = (peers.certificate("mx.ta.test"), peers.certificate("elsewhere.test"));
    let right = peers.destination(1, "modern", &good);
    let wrong = peers.destination(2, "modern", &other);
    let plain = peers.destination(3, "none", &good);
    let one = |name: &str, at: &Destination, tlsa: &str| domain(name, at, peers.port, tlsa);
    let records = one("ee", &right, &good.tlsa(3, 1))
        + &one("ta", &right, &good.tlsa(2, 0))
        + &one("mismatch", &wrong, &good.tlsa(3, 1))
        + &one("misnamed", &wrong, &other.tlsa(2, 0))
        + &one("stripped", &plain, &good.tlsa(3, 1))
        + &one("useless", &right, "TLSA 0 0 1 00")
        + &one("without", &plain, "")
        + "second MX 10 mx.mismatch\nsecond MX 20 mx.ee\nopen NS ns\n";
    let dns = Dns::start_signed(&records, &one("in", &plain, &good.tlsa(3, 1)));
    let server = server(&peers, &dns, "dane = true\n");

    for name in ["ee", "ta", "second"] {
        let id = send(&server, &format!("b@{name}.test"));
        let line = server.wait_log(&["event=delivered", &id]);
        assert!(line.contains(" verified=dane policy=dane "), "{name}: {line}");
    }
    for (name, status) in [("mismatch", "4.7.5"), ("misnamed", "4.7.5"), ("stripped", "4.7.4")] {
        let id = send(&server, &format!("b@{name}.test"));
        let line = server.wait_log(&["event=deferred", &id]);
        assert!(line.contains(&format!(" status={status} category=tls ")), "{name}: {line}");
    }
    let id = send(&server, "b@useless.test");
    assert!(server.wait_log(&["event=delivered", &id]).contains(" verified=no policy=dane "));
    // Neither a host without records nor one whose zone is not signed owes us anything.
    for recipient in ["b@without.test", "b@in.open.test"] {
        let id = send(&server, recipient);
        assert!(!server.wait_log(&["event=delivered", &id]).contains(" tls="));
    }
    assert_eq!((right.messages().len(), wrong.messages().len(), plain.messages().len()), (4, 0, 2));
}

/// RFC 7672 §2.1.1: who suppresses the answer must not get the mail.
#[test]
fn tlsa_records_that_cannot_be_looked_up_are_not_absent() {
    let peers = Peers::new();
    let plain = peers.destination(1, "none", &peers.certificate("mx.sink.test"));
    let dns = Dns::start_signed(&domain("sink", &plain, peers.port, ""), "");
    let stranger = Dns::start_signed("", "");
    // The zone is signed, and not with the key that is trusted.
    let server = Server::start(&Setup {
        more: format!(
            "[dns]\nservers = [\"{}\"]\ntrust_anchor = \"{}\"\n[delivery]\nport = {}\n[delivery.tls]\ndane = true\n",
            dns.address,
            stranger.trust_anchor().display(),
            peers.port
        ),
        schedule: r#"["1h"]"#.into(),
        ..Setup::default()
    });
    let id = send(&server, "b@sink.test");
    let line = server.wait_log(&["event=deferred", &id]);
    assert!(line.contains(" status=4.4.3 category=dns ") && line.contains("TLSA look-up"), "{line}");
    assert!(plain.messages().is_empty());
}

/// The policy of a domain whose mail exchanger is `mx`.
pub fn policy(mode: &str, mx: &str) -> String {
    format!("version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: 86400\r\n")
}

/// Records of a domain with a policy, whose host is at `127.0.7.LAST`.
pub fn with_policy(name: &str, destination: &Destination, port: u16, tlsa: &str, last: u8) -> String {
    domain(name, destination, port, tlsa)
        + &format!("_mta-sts.{name} TXT \"v=STSv1; id=1;\"\nmta-sts.{name} A 127.0.7.{last}\n")
}

struct Published {
    peers: Peers,
    good: Certificate,
    right: Destination,
    plain: Destination,
}

fn published() -> Published {
    let peers = Peers::new();
    let good = peers.certificate("mx.good.test");
    let right = peers.destination(1, "modern", &good);
    let plain = peers.destination(2, "none", &good);
    Published { peers, good, right, plain }
}

#[test]
fn a_domain_s_policy_is_fetched_and_holds() {
    let Published { peers, good, right, plain } = published();
    let one = |name: &str, at: &Destination, tlsa: &str, last| with_policy(name, at, peers.port, tlsa, last);
    let host = |name: &str, last, text: &str| {
        peers.policy_host(last, &peers.certificate(&format!("mta-sts.{name}.test")), text)
    };
    let (stranger, misplaced) = (Peers::new(), "https://mta-sts.good.test/");
    let hosts = [
        host("good", 20, &policy("enforce", "*.good.test")),
        host("stripped", 21, &policy("enforce", "mx.stripped.test")),
        host("misnamed", 22, &policy("enforce", "mx.misnamed.test")),
        host("elsewhere", 23, &policy("enforce", "mx.somewhere.test")),
        host("testing", 24, &policy("testing", "mx.somewhere.test")),
        host("dane", 25, &policy("enforce", "mx.dane.test")),
        host("redirected", 26, misplaced),
        peers.policy_host(27, &stranger.certificate("mta-sts.untrusted.test"), &policy("enforce", "mx.untrusted.test")),
    ];
    let records = one("good", &right, "", 20)
        + &one("stripped", &plain, "", 21)
        + &one("misnamed", &right, "", 22)
        + &one("elsewhere", &right, "", 23)
        + &one("testing", &plain, "", 24)
        + &one("dane", &right, &good.tlsa(3, 1), 25)
        + &one("redirected", &plain, "", 26)
        + &one("untrusted", &plain, "", 27);
    let dns = Dns::start_signed(&records, "");
    let server = server(&peers, &dns, "dane = true\n");

    let id = send(&server, "b@good.test");
    assert!(server.wait_log(&["event=delivered", &id]).contains(" verified=authority policy=mta-sts "));
    for (name, status) in [("stripped", "4.7.4"), ("misnamed", "4.7.5"), ("elsewhere", "4.7.5")] {
        let id = send(&server, &format!("b@{name}.test"));
        let line = server.wait_log(&["event=deferred", &id]);
        assert!(line.contains(&format!(" status={status} category=tls ")), "{name}: {line}");
    }
    // Its certificate is for another name, and its TLSA records name it all the same.
    let id = send(&server, "b@dane.test");
    assert!(server.wait_log(&["event=delivered", &id]).contains(" verified=dane policy=dane "));
    // A policy that was never had, or asks for nothing, is in nobody's way.
    for name in ["testing", "redirected", "untrusted"] {
        let id = send(&server, &format!("b@{name}.test"));
        server.wait_log(&["event=delivered", &id]);
    }
    assert_eq!((right.messages().len(), plain.messages().len()), (2, 3));
    let asked: Vec<usize> = hosts.iter().map(|host| host.asked().len()).collect();
    assert_eq!(asked, [1, 1, 1, 1, 1, 1, 1, 0]);
}

#[test]
fn a_policy_holds_over_a_restart_while_its_host_is_gone() {
    let Published { peers, plain, .. } = published();
    let host = peers.policy_host(20, &peers.certificate("mta-sts.sink.test"), &policy("enforce", "mx.sink.test"));
    let dns = Dns::start_signed(&with_policy("sink", &plain, peers.port, "", 20), "");
    let mut server = server(&peers, &dns, "");
    let id = send(&server, "b@sink.test");
    server.wait_log(&["event=deferred", &id, " status=4.7.4 "]);
    assert_eq!(host.asked(), [format!("mta-sts.sink.test:{}", peers.policy_port)]);
    server.stop();
    drop(host);
    server.launch();
    let id = send(&server, "c@sink.test");
    server.wait_log(&["event=deferred", &id, " status=4.7.4 "]);
    assert!(plain.messages().is_empty());
}
