//! A source whose address another host has sends through an HAProxy there, set up as the manual shows it: the next hop sees the
//! source's address. Without that HAProxy its mail waits, with the reason; nothing fails for it.

use std::net::{IpAddr, SocketAddr};

use crate::harness::haproxy::HaProxy;
use crate::harness::mailbox::Mailbox;
use crate::harness::peers::Peers;
use crate::harness::postfix::Postfix;
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::Client;
use crate::harness::{PATIENCE, free_address, wait_for};

const CONTENT: &str = "Subject: hi\r\n\r\nbody\r\n";

/// A server that sends all from a source behind a proxy.
fn start(routes: &[(&str, SocketAddr)], addresses: &str, proxy: SocketAddr) -> Server {
    let routes = routes.iter().map(|(domain, hop)| ((*domain).to_owned(), hop.to_string())).collect();
    let source = format!(
        "[[source]]\nname = \"far\"\naddresses = [{addresses}]\nehlo = \"far.test\"\nproxy = \"{proxy}\"\n\
         [delivery]\npool = \"far\"\n"
    );
    Server::start(&Setup { routes, more: source, ..Setup::default() })
}

#[test]
fn from_the_sources_address_of_either_family() {
    let (four, six) = (Mailbox::open(), Mailbox::open_at("[::1]:0".parse().expect("an address")));
    let proxy = free_address();
    let haproxy = HaProxy::start(proxy, "");
    let server = start(&[("four.test", four.address), ("six.test", six.address)], "\"127.0.0.9\", \"::1\"", proxy);
    let mut client = Client::greet(server.relay);
    client.submit("a@sender.test", &["b@four.test"], CONTENT);
    client.submit("a@sender.test", &["b@six.test"], CONTENT);
    for (mailbox, address) in [(&four, "127.0.0.9"), (&six, "::1")] {
        let address: IpAddr = address.parse().expect("an address");
        assert_eq!(mailbox.wait(1)[0].client, (address, "far.test".into()));
    }
    server.wait_empty(PATIENCE);
    drop(server);
    wait_for("HAProxy to tell", PATIENCE, || {
        let log = haproxy.log();
        ["127.0.0.9", "::1"].iter().all(|ours| log.contains(&format!("made from {ours} for {ours}, "))).then_some(())
    });
}

#[test]
fn and_a_next_hop_that_speaks_its_protocol_sees_an_address_that_this_host_has_not() {
    let peers = Peers::new();
    let settings = "smtpd_upstream_proxy_protocol = haproxy\nmynetworks = 192.0.2.0/24\n";
    let postfix = Postfix::with_tls(&peers.certificate("mx.sink.test"), settings);
    let proxy = free_address();
    let _haproxy = HaProxy::start(proxy, "    server destination 0.0.0.0:0 send-proxy-v2");
    let server = start(&[("sink.test", postfix.address)], "\"192.0.2.7\"", proxy);
    Client::greet(server.relay).submit("a@sender.test", &["b@sink.test"], CONTENT);
    server.wait_log(&["event=delivered", "b@sink.test", "source=far"]);
    wait_for("Postfix to tell", PATIENCE, || postfix.log().contains("client=unknown[192.0.2.7]").then_some(()));
    server.wait_empty(PATIENCE);
}

#[test]
fn while_it_is_down_mail_waits_and_says_why() {
    let mailbox = Mailbox::open();
    let proxy = free_address();
    let server = start(&[("sink.test", mailbox.address)], "\"127.0.0.9\"", proxy);
    Client::greet(server.relay).submit("a@sender.test", &["b@sink.test"], CONTENT);
    // Our own trouble: it costs no attempt.
    let deferred = server.wait_log(&["event=deferred", "b@sink.test", "status=4.3.5", "attempt=0 "]);
    let why = format!("the source far: its proxy {proxy}: connection refused");
    assert!(deferred.contains(&why), "{deferred}");
    server.wait_log(&["level=error", "event=source_failed", "source=far", &proxy.to_string()]);
    let haproxy = HaProxy::start(proxy, "");
    // As an operator does who has repaired it.
    server.queue(&["retry", "--domain", "sink.test"]);
    assert_eq!(mailbox.wait(1)[0].client.0, "127.0.0.9".parse::<IpAddr>().expect("an address"));
    server.wait_empty(PATIENCE);
    assert!(!server.log().contains("event=failed"), "{}", server.log());

    // An HAProxy that cannot reach the next hop takes the connection, and closes it: the next hop's trouble.
    let dead = free_address();
    drop((server, haproxy));
    let _haproxy = HaProxy::start(proxy, "");
    let server = start(&[("dead.test", dead)], "\"127.0.0.9\"", proxy);
    Client::greet(server.relay).submit("a@sender.test", &["b@dead.test"], CONTENT);
    let deferred = server.wait_log(&["event=deferred", "b@dead.test", "attempt=1 ", "status=4.4.1"]);
    assert!(deferred.contains(&format!(":{}: the greeting: the peer closed", dead.port())), "{deferred}");
    assert_eq!(server.queued(), 1);
}
