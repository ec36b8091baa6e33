//! TLS over loopback connections.

use std::net::{Ipv4Addr, SocketAddr};

use futures::future::{Either, select};
use rcgen::CertifiedKey;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ServerConfig};

use super::*;
use crate::launch;
use crate::net::Listener;

const PATIENCE: Duration = Duration::from_secs(10);

struct Identity {
    certificate: String,
    key: String,
}

fn identity() -> Identity {
    let names = vec!["server.test".to_string()];
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).expect("a certificate");
    Identity { certificate: cert.pem(), key: signing_key.serialize_pem() }
}

fn server() -> Arc<ServerConfig> {
    let identity = identity();
    server_config(identity.certificate.as_bytes(), identity.key.as_bytes()).expect("a configuration")
}

fn name() -> ServerName<'static> {
    ServerName::try_from("server.test").expect("a name")
}

/// Runs both ends of a conversation over one plain connection each.
fn converse<S, C>(
    server: impl AsyncFnOnce(Reactor, Connection) -> S + 'static,
    client: impl AsyncFnOnce(Reactor, Connection) -> C + 'static,
) -> (S, C)
where
    S: 'static,
    C: 'static,
{
    launch::run(async move |reactor: Reactor| {
        let listener = listen(&reactor);
        let (accepted, connected) = pair(&reactor, &listener).await;
        futures::join!(server(reactor.clone(), accepted), client(reactor.clone(), connected))
    })
    .expect("an executor")
}

fn listen(reactor: &Reactor) -> Listener {
    reactor.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a listener")
}

async fn pair(reactor: &Reactor, listener: &Listener) -> (Connection, Connection) {
    let connect = reactor.connect(listener.address(), None, PATIENCE);
    let (accepted, connected) = futures::join!(listener.accept(), connect);
    (Connection::plain(accepted.expect("a connection")), Connection::plain(connected.expect("a connection")))
}

/// The kind of the error that was expected.
fn error_kind<T>(outcome: io::Result<T>) -> Option<io::ErrorKind> {
    outcome.err().map(|error| error.kind())
}

/// Receives until `bytes` bytes are there.
async fn receive_all(connection: &mut Connection, bytes: usize) -> Vec<u8> {
    let mut received = Vec::new();
    while received.len() < bytes {
        let chunk = connection.receive(PATIENCE).await.expect("bytes");
        assert!(!chunk.is_empty(), "closed after {} bytes", received.len());
        received.extend_from_slice(&chunk);
    }
    received
}

/// One handshake and one word each way; gives the client's facts.
async fn exchange(
    reactor: &Reactor,
    listener: &Listener,
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
) -> (TlsFacts, TlsFacts) {
    let (accepted, connected) = pair(reactor, listener).await;
    let serve = async {
        let mut connection = accepted.accept_tls(reactor, server.clone(), PATIENCE).await.expect("a handshake");
        assert_eq!(receive_all(&mut connection, 4).await, b"ping");
        connection.send(&mut b"pong".to_vec(), PATIENCE).await.expect("sent");
        assert!(connection.receive(PATIENCE).await.expect("close_notify").is_empty());
        connection.tls().expect("facts")
    };
    let ask = async {
        let mut connection =
            connected.connect_tls(reactor, client.clone(), name(), PATIENCE).await.expect("a handshake");
        connection.send(&mut b"ping".to_vec(), PATIENCE).await.expect("sent");
        assert_eq!(receive_all(&mut connection, 4).await, b"pong");
        let facts = connection.tls().expect("facts");
        connection.close().await;
        facts
    };
    futures::join!(serve, ask)
}

#[test]
fn a_second_session_is_resumed() {
    launch::run(async move |reactor: Reactor| {
        let (listener, server, client) = (listen(&reactor), server(), client_config_unverified());
        for resumed in [false, true, true] {
            let (ours, theirs) = exchange(&reactor, &listener, &server, &client).await;
            assert_eq!(ours, theirs);
            assert_eq!((ours.protocol, ours.resumed), ("TLSv1.3", resumed));
            assert!(ours.cipher.starts_with("TLS_"), "{}", ours.cipher);
        }
    })
    .expect("an executor");
}

#[test]
fn tls_1_2_is_spoken_and_resumed() {
    launch::run(async move |reactor: Reactor| {
        let listener = listen(&reactor);
        let identity = identity();
        let server = server_config(identity.certificate.as_bytes(), identity.key.as_bytes()).expect("a configuration");
        let mut roots = rustls::RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).expect("a certificate");
        roots.add(certificate).expect("an authority");
        let client = ClientConfig::builder_with_provider(server.crypto_provider().clone())
            .with_protocol_versions(&[&rustls::version::TLS12])
            .expect("a version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Arc::new(client);
        for resumed in [false, true] {
            let (ours, theirs) = exchange(&reactor, &listener, &server, &client).await;
            assert_eq!(ours, theirs);
            assert_eq!((ours.protocol, ours.resumed), ("TLSv1.2", resumed));
        }
    })
    .expect("an executor");
}

#[test]
fn a_client_that_trusts_an_authority_refuses_others() {
    let (ours, others) = (identity(), identity());
    let server = server_config(ours.certificate.as_bytes(), ours.key.as_bytes()).expect("a configuration");
    launch::run(async move |reactor: Reactor| {
        let listener = listen(&reactor);
        let client = client_config_trusting(ours.certificate.as_bytes()).expect("a configuration");
        exchange(&reactor, &listener, &server, &client).await;
        let client = client_config_trusting(others.certificate.as_bytes()).expect("a configuration");
        let (accepted, connected) = pair(&reactor, &listener).await;
        let (accepted, connected) = futures::join!(
            accepted.accept_tls(&reactor, server.clone(), PATIENCE),
            connected.connect_tls(&reactor, client, name(), PATIENCE)
        );
        assert_eq!(error_kind(connected), Some(io::ErrorKind::InvalidData));
        assert!(accepted.is_err(), "the alert must arrive");
    })
    .expect("an executor");
}

#[test]
fn large_transfers_go_both_ways() {
    const BYTES: usize = 3_000_000;
    let pattern = |seed: usize| (0..BYTES).map(|n| (n * 31 + n / 251 + seed) as u8).collect::<Vec<_>>();
    let config = server();
    let (to_server, to_client) = converse(
        async move |reactor, connection| {
            let mut connection = connection.accept_tls(&reactor, config, PATIENCE).await.expect("a handshake");
            let received = receive_all(&mut connection, BYTES).await;
            connection.send(&mut pattern(7), PATIENCE).await.expect("sent");
            received
        },
        async move |reactor, connection| {
            let config = client_config_unverified();
            let mut connection = connection.connect_tls(&reactor, config, name(), PATIENCE).await.expect("a handshake");
            let mut bytes = pattern(1);
            connection.send(&mut bytes, PATIENCE).await.expect("sent");
            assert!(bytes.is_empty());
            receive_all(&mut connection, BYTES).await
        },
    );
    assert!(to_server == pattern(1) && to_client == pattern(7));
}

#[test]
fn garbage_is_no_handshake() {
    let config = server();
    for (begin, why) in [
        (&b"EHLO client.test\r\n"[..], "plain text where TLS was to begin"),
        (b"\x80\x2e\x01\x00\x02", "received corrupt message"),
    ] {
        let config = config.clone();
        let (outcome, answer) = converse(
            async move |reactor, connection| connection.accept_tls(&reactor, config, PATIENCE).await.err(),
            async move |_, mut connection| {
                connection.send(&mut begin.to_vec(), PATIENCE).await.expect("sent");
                connection.receive(PATIENCE).await.expect("an alert").to_vec()
            },
        );
        let outcome = outcome.expect("no handshake");
        assert_eq!(outcome.kind(), io::ErrorKind::InvalidData);
        assert!(outcome.to_string().contains(why), "{outcome}");
        assert_eq!(answer.first(), Some(&21), "the record type of an alert");
    }
}

#[test]
fn who_closes_before_the_handshake_is_told_apart() {
    let config = server();
    let (outcome, ()) = converse(
        async move |reactor, connection| connection.accept_tls(&reactor, config, PATIENCE).await.err(),
        async |_, connection| drop(connection),
    );
    assert_eq!(outcome.expect("no handshake").to_string(), "closed before the TLS handshake");
}

#[test]
fn a_tls_1_1_client_hello_is_refused() {
    // A ClientHello that offers TLS 1.1 at most, with one suite of its time and one signature algorithm.
    let mut hello = vec![0x03, 0x02];
    hello.extend_from_slice(&[0x5A; 32]);
    hello.extend_from_slice(&[0, 0, 2, 0xC0, 0x13, 1, 0, 0, 8, 0, 13, 0, 4, 0, 2, 4, 3]);
    let mut record = vec![22, 3, 1, 0, hello.len() as u8 + 4, 1, 0, 0, hello.len() as u8];
    record.extend_from_slice(&hello);
    let config = server();
    let (outcome, answer) = converse(
        async move |reactor, connection| error_kind(connection.accept_tls(&reactor, config, PATIENCE).await),
        async move |_, mut connection| {
            connection.send(&mut record, PATIENCE).await.expect("sent");
            connection.receive(PATIENCE).await.expect("an alert").to_vec()
        },
    );
    assert_eq!(outcome, Some(io::ErrorKind::InvalidData));
    assert_eq!((answer.first(), answer.last()), (Some(&21), Some(&70)), "alert protocol_version");
}

#[test]
fn the_patience_of_a_handshake_is_total() {
    const SHORT: Duration = Duration::from_millis(200);
    let config = server();
    converse(
        async move |reactor, connection| {
            let began = reactor.now();
            let outcome = connection.accept_tls(&reactor, config, SHORT).await;
            assert_eq!(error_kind(outcome), Some(io::ErrorKind::TimedOut));
            assert!(reactor.now().since(began) >= SHORT);
        },
        async |reactor, mut connection| {
            // The beginning of a record of 16 KiB, byte by byte, until the server has had enough.
            let mut drip = [22, 3, 1, 0x40, 0, 1, 0, 0x3F, 0xFC].into_iter().chain(std::iter::repeat(0));
            loop {
                let mut byte = drip.by_ref().take(1).collect();
                if connection.send(&mut byte, PATIENCE).await.is_err() {
                    break;
                }
                reactor.sleep(Duration::from_millis(5)).await;
            }
        },
    );
}

#[test]
fn closing_without_close_notify_is_closing() {
    let config = server();
    let (received, ()) = converse(
        async move |reactor, connection| {
            let mut connection = connection.accept_tls(&reactor, config, PATIENCE).await.expect("a handshake");
            let received = receive_all(&mut connection, 3).await;
            assert!(connection.receive(PATIENCE).await.expect("the end").is_empty());
            assert!(connection.receive(PATIENCE).await.expect("still the end").is_empty());
            received
        },
        async |reactor, connection| {
            let config = client_config_unverified();
            let mut connection = connection.connect_tls(&reactor, config, name(), PATIENCE).await.expect("a handshake");
            connection.send(&mut b"bye".to_vec(), PATIENCE).await.expect("sent");
        },
    );
    assert_eq!(received, b"bye");
}

#[test]
fn waiting_for_bytes_ends_with_the_patience() {
    let config = server();
    converse(
        async move |reactor, connection| {
            let mut connection = connection.accept_tls(&reactor, config, PATIENCE).await.expect("a handshake");
            let outcome = connection.receive(Duration::from_millis(50)).await;
            assert_eq!(error_kind(outcome), Some(io::ErrorKind::TimedOut));
            connection.send(&mut b"late".to_vec(), PATIENCE).await.expect("sent");
        },
        async |reactor, connection| {
            let config = client_config_unverified();
            let mut connection = connection.connect_tls(&reactor, config, name(), PATIENCE).await.expect("a handshake");
            assert_eq!(receive_all(&mut connection, 4).await, b"late");
        },
    );
}

#[test]
fn a_receive_that_is_dropped_loses_nothing() {
    let config = server();
    converse(
        async move |reactor, connection| {
            let mut connection = connection.accept_tls(&reactor, config, PATIENCE).await.expect("a handshake");
            let (receive, pause) = (Box::pin(connection.receive(PATIENCE)), Box::pin(reactor.yield_now()));
            assert!(matches!(select(receive, pause).await, Either::Right(_)), "nothing was sent yet");
            connection.send(&mut b"go".to_vec(), PATIENCE).await.expect("sent");
            assert_eq!(receive_all(&mut connection, 5).await, b"whole");
        },
        async |reactor, connection| {
            let config = client_config_unverified();
            let mut connection = connection.connect_tls(&reactor, config, name(), PATIENCE).await.expect("a handshake");
            assert_eq!(receive_all(&mut connection, 2).await, b"go");
            connection.send(&mut b"whole".to_vec(), PATIENCE).await.expect("sent");
        },
    );
}

#[test]
fn a_plain_connection_has_no_facts_and_is_encrypted_once() {
    let config = server();
    converse(
        async move |reactor, connection| {
            assert_eq!(connection.tls(), None);
            let connection = connection.accept_tls(&reactor, config.clone(), PATIENCE).await.expect("a handshake");
            let again = connection.accept_tls(&reactor, config, PATIENCE).await;
            assert_eq!(error_kind(again), Some(io::ErrorKind::InvalidInput));
        },
        async |reactor, connection| {
            connection.connect_tls(&reactor, client_config_unverified(), name(), PATIENCE).await.expect("a handshake");
        },
    );
}

#[test]
fn wrong_pem_is_told_apart() {
    let (ours, others) = (identity(), identity());
    let (certificate, key) = (ours.certificate.as_bytes(), ours.key.as_bytes());
    let refused = |certificate: &[u8], key: &[u8]| server_config(certificate, key).expect_err("an error");
    assert!(matches!(refused(key, key), TlsError::NoCertificate));
    assert!(matches!(refused(b"", key), TlsError::NoCertificate));
    assert!(matches!(refused(certificate, certificate), TlsError::NoKey));
    assert!(matches!(refused(&certificate[..certificate.len() / 2], key), TlsError::CertificatePem(_)));
    assert!(matches!(refused(certificate, &key[..key.len() / 2]), TlsError::KeyPem(_)));
    assert!(matches!(refused(certificate, others.key.as_bytes()), TlsError::KeyOfAnother));
    assert!(client_config_trusting(key).is_err());
    let text = refused(certificate, others.key.as_bytes()).to_string();
    assert!(text.contains("private key") && text.contains("certificate"), "{text}");
}
