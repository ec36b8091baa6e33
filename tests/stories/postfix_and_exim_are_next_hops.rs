//! TLS with the servers that most next hops are: Postfix (OpenSSL) and Exim (GnuTLS), also one that speaks old TLS alone.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::dns::Dns;
use crate::harness::exim::Exim;
use crate::harness::peers::Peers;
use crate::harness::postfix::Postfix;
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::{Client, queue_id};
use crate::harness::{PATIENCE, wait_for};

/// Sends a message to `recipient`; its ID.
fn send(server: &Server, recipient: &str) -> String {
    let mut client = Client::greet(server.relay);
    queue_id(&client.submit("a@sender.test", &[recipient], "Subject: hi\r\n\r\nbody\r\n"))
}

/// `[[route]]` with TLS.
fn route(domain: &str, next_hop: &str, tls: &str) -> String {
    format!("[[route]]\ndomains = [\"{domain}\"]\nnext_hop = \"{next_hop}\"\n{tls}\n")
}

fn server(more: String) -> Server {
    Server::start(&Setup { schedule: r#"["1h"]"#.into(), more, ..Setup::default() })
}

/// What `queue show` has of the last session with the one recipient of a message.
fn session(server: &Server, id: &str) -> Value {
    let message: Value = serde_json::from_str(&server.queue(&["show", id, "--json"])).expect("JSON");
    message["recipients"][0]["tls"].clone()
}

/// Waits until a next hop has logged a line with all of `words`.
fn wait_line(log: impl Fn() -> String, words: &[&str]) {
    wait_for(&format!("a line with {words:?}"), PATIENCE, || {
        log().lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(())
    });
}

#[test]
fn certificates_that_nobody_vouches_for_encrypt() {
    let peers = Peers::new();
    let certificate = peers.self_signed("whoever.test");
    let (postfix, exim) = (Postfix::with_tls(&certificate, ""), Exim::start(&certificate));
    let server = server(
        route("postfix.test", &postfix.address.to_string(), "") + &route("exim.test", &exim.address.to_string(), ""),
    );
    for domain in ["postfix.test", "exim.test"] {
        let id = send(&server, &format!("b@{domain}"));
        let line = server.wait_log(&["event=delivered", &id]);
        assert!(line.contains(" tls=TLSv1.3 ") && line.contains(" verified=no policy=opportunistic "), "{line}");
        let session = session(&server, &id);
        assert_eq!(
            (&session["encrypted"], &session["protocol"], &session["verified"]),
            (&true.into(), &"TLSv1.3".into(), &"no".into())
        );
        assert_eq!((&session["policy"], &session["asked_by"]), (&"opportunistic".into(), &"delivery.tls".into()));
        assert!(line.contains(&format!(" cipher={} ", session["cipher"].as_str().expect("a cipher"))), "{line}");
    }
    wait_line(|| postfix.log(), &["TLS connection established from", "TLSv1.3 with cipher"]);
    wait_line(|| exim.log(), &["<= a@sender.test", " X=TLS1.3:"]);
}

#[test]
fn a_route_that_is_verified_wants_their_names_from_its_authority() {
    let peers = Peers::new();
    let certificate = peers.certificate("right.test");
    let (postfix, exim) = (Postfix::with_tls(&certificate, ""), Exim::start(&certificate));
    let dns = Dns::start("right A 127.0.0.1\nwrong A 127.0.0.1\n");
    let verified = format!("tls = \"verified\"\nca_file = \"{}\"", peers.ca_file().display());
    let mut more = format!("[dns]\nservers = [\"{}\"]\n", dns.address);
    for (domain, at) in [("postfix", postfix.address), ("exim", exim.address)] {
        for name in ["right", "wrong"] {
            more += &route(&format!("{name}.{domain}.test"), &format!("{name}.test:{}", at.port()), &verified);
        }
    }
    let server = server(more);
    for domain in ["postfix", "exim"] {
        let id = send(&server, &format!("b@right.{domain}.test"));
        let line = server.wait_log(&["event=delivered", &id]);
        assert!(line.contains(" verified=authority policy=verified asked_by=route "), "{line}");
        let id = send(&server, &format!("b@wrong.{domain}.test"));
        let line = server.wait_log(&["event=deferred", &id]);
        assert!(
            line.contains(" status=4.7.5 category=tls ") && line.contains(" policy=verified asked_by=route "),
            "{line}"
        );
        assert!(line.contains("wrong.test"), "it says which name was looked for: {line}");
        let session = session(&server, &id);
        assert_eq!((&session["refused"], &session["policy"]), (&true.into(), &"verified".into()));
    }
}

/// Whether OpenSSL's client comes to a session with these words, at a security level of none.
fn openssl_comes_to_a_session(address: SocketAddr, version: &str) -> bool {
    let mut client = Command::new("openssl");
    client.args(["s_client", "-starttls", "smtp", "-connect", &address.to_string(), version]);
    client.args(["-cipher", "ALL:@SECLEVEL=0"]).stdin(Stdio::null()).stderr(Stdio::null());
    let said = client.output().expect("it runs").stdout;
    String::from_utf8_lossy(&said).lines().any(|line| line.starts_with("New, ") && !line.contains("(NONE)"))
}

/// rustls speaks neither versions before 1.2 nor suites without forward secrecy.
#[test]
fn a_postfix_with_old_tls_alone_gets_plain_text_where_nobody_asks_for_more() {
    let peers = Peers::new();
    let certificate = peers.certificate("right.test");
    let old_version =
        "smtpd_tls_protocols = <=TLSv1\nsmtpd_tls_ciphers = medium\ntls_medium_cipherlist = ALL:@SECLEVEL=0\n";
    let old_suites = "smtpd_tls_protocols = <=TLSv1.2\nsmtpd_tls_ciphers = medium\n\
                      tls_medium_cipherlist = AES256-SHA256:AES128-SHA:@SECLEVEL=0\n";
    for (settings, version) in [(old_version, "-tls1"), (old_suites, "-tls1_2")] {
        let postfix = Postfix::with_tls(&certificate, settings);
        assert!(openssl_comes_to_a_session(postfix.address, version), "it speaks TLS to those who are old enough");
        let to = postfix.address.to_string();
        let server = server(
            route("anyhow.test", &to, "")
                + &route("demanding.test", &to, "tls = \"required\"")
                + "[delivery]\nmessages_per_connection_max = 1\n",
        );
        let failures = || postfix.log().lines().filter(|line| line.contains("SSL_accept error")).count();
        for _ in 0..2 {
            let id = send(&server, "b@anyhow.test");
            let line = server.wait_log(&["event=delivered", &id]);
            assert!(line.contains(" plain=fallback plain_why=\"") && line.contains(" policy=opportunistic "), "{line}");
            let session = session(&server, &id);
            assert_eq!((&session["encrypted"], &session["plain"]), (&false.into(), &"fallback".into()));
            assert!(!session["plain_why"].as_str().expect("a reason").is_empty());
        }
        wait_for("Postfix to log the handshake", PATIENCE, || (failures() > 0).then_some(()));
        assert_eq!(failures(), 1, "the second connection did not ask for TLS");
        let id = send(&server, "b@demanding.test");
        let line = server.wait_log(&["event=deferred", &id]);
        assert!(
            line.contains(" status=4.7.5 category=tls ") && line.contains(" policy=required asked_by=route "),
            "{line}"
        );
        let answer = line.split("answer=").nth(1).expect("an answer");
        assert!(answer.contains("received fatal alert") || answer.contains("peer"), "it says what failed: {answer}");
    }
}
