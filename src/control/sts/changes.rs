//! Tests: policies and records that change while the process runs, by a clock that is given, with a policy host on TLS and a
//! DNS server that say what they are told to.

use std::net::{Ipv4Addr, SocketAddr};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio_rustls::TlsAcceptor;

use super::*;

const DOMAIN: &str = "sink.test";
const MAX_AGE_S: u64 = 86_400;
const START_S: u64 = 1_000_000;

/// What is published.
#[derive(Default)]
struct Published {
    id: Option<&'static str>,
    /// The host that the policy permits; `None`: the policy host has trouble.
    permits: Option<&'static str>,
    fetches: usize,
}

struct World {
    store: Store,
    access: Access,
    dns: SocketAddr,
    published: Arc<Mutex<Published>>,
    _data: TempDir,
}

impl World {
    async fn open() -> World {
        let published: Arc<Mutex<Published>> = Arc::default();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
        let dns = socket.local_addr().expect("an address");
        tokio::spawn(answer(socket, published.clone()));

        let own = rcgen::generate_simple_self_signed([format!("mta-sts.{DOMAIN}")]).expect("a certificate");
        let (pem, key) = (own.cert.pem(), own.signing_key.serialize_pem());
        let tls = shards::tls::server_config(pem.as_bytes(), key.as_bytes()).expect("a configuration");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(serve(listener, TlsAcceptor::from(tls), published.clone()));

        let mut roots = rustls::RootCertStore::empty();
        roots.add(own.cert.der().clone()).expect("a certificate");
        let access = Access::new(&Trust { usual: Arc::new(roots), ..Trust::default() }, port);
        let data = tempfile::tempdir().expect("a folder");
        let store = Store::open(data.path()).expect("a store");
        World { store, access, dns, published, _data: data }
    }

    fn published(&self) -> MutexGuard<'_, Published> {
        self.published.lock().expect("not poisoned")
    }

    fn publish(&self, id: Option<&'static str>, permits: Option<&'static str>) {
        let mut published = self.published();
        (published.id, published.permits) = (id, permits);
    }

    /// What is said of the domain so many seconds after the start. A resolver of its own remembers nothing.
    async fn asked(&self, after_s: u64) -> Answer {
        let resolver = resolver::build(&[self.dns], Duration::from_secs(5)).expect("built");
        self.store.policy_at(START_S + after_s, &resolver, &self.access, DOMAIN).await
    }

    /// The host that the policy permits which holds then, for how long it is said to hold, and the fetches so far.
    async fn holds(&self, after_s: u64) -> (String, u64, usize) {
        let answer = self.asked(after_s).await;
        let Answer::Policy(policy, ttl) = answer else { panic!("no policy after {after_s} s: {answer:?}") };
        assert_eq!((policy.mode, policy.patterns.len()), (sts::Mode::Enforce, 1));
        (policy.patterns[0].to_string(), ttl.as_secs(), self.published().fetches)
    }
}

/// A DNS server for the record of the domain and the address of its policy host.
async fn answer(socket: UdpSocket, published: Arc<Mutex<Published>>) {
    const TXT: u8 = 16;
    const A: u8 = 1;
    const TTL_S: u8 = 60;
    let mut question = [0; 512];
    while let Ok((_, client)) = socket.recv_from(&mut question).await {
        let labels = question[12..].iter().position(|byte| *byte == 0).expect("a name");
        let end = 12 + labels + 5;
        let kind = question[end - 3];
        let id = published.lock().expect("not poisoned").id;
        let data = match (kind, id) {
            (TXT, Some(id)) => {
                let text = format!("v=STSv1; id={id};");
                [&[text.len() as u8], text.as_bytes()].concat()
            }
            (A, _) => Ipv4Addr::LOCALHOST.octets().to_vec(),
            _ => Vec::new(),
        };
        let answers = u8::from(!data.is_empty());
        // A reply without trouble, that recursion is there for, with one question.
        let mut reply = [&question[..2], &[0x81, 0x80, 0, 1, 0, answers, 0, 0, 0, 0], &question[12..end]].concat();
        if answers > 0 {
            reply.extend([0xC0, 12, 0, kind, 0, 1, 0, 0, 0, TTL_S, 0, data.len() as u8]);
            reply.extend(data);
        }
        socket.send_to(&reply, client).await.expect("sent");
    }
}

/// A policy host.
async fn serve(listener: TcpListener, tls: TlsAcceptor, published: Arc<Mutex<Published>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let mut stream = tls.accept(stream).await.expect("a handshake");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.expect("a request"));
        }
        let permits = {
            let mut published = published.lock().expect("not poisoned");
            published.fetches += 1;
            published.permits
        };
        let (status, body) = match permits {
            Some(host) => ("200 OK", format!("version: STSv1\nmode: enforce\nmx: {host}\nmax_age: {MAX_AGE_S}\n")),
            None => ("503 Service Unavailable", String::new()),
        };
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await.expect("written");
        // Whoever has read it all may be gone already.
        let _ = stream.shutdown().await;
    }
}

fn run(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(story);
}

#[test]
fn a_new_id_is_fetched_and_where_that_fails_the_policy_before_holds() {
    run(async {
        let pause_s = FAILURE_PAUSE.as_secs();
        let world = World::open().await;
        world.publish(Some("a1"), Some("one.test"));
        assert_eq!(world.holds(0).await, ("one.test".into(), 60, 1));
        world.publish(Some("a1"), Some("two.test"));
        assert_eq!(world.holds(1).await, ("one.test".into(), 60, 1), "the same id is the same policy");
        world.publish(Some("a2"), Some("two.test"));
        assert_eq!(world.holds(2).await, ("two.test".into(), 60, 2));
        world.publish(Some("a3"), None);
        assert_eq!(world.holds(3).await, ("two.test".into(), pause_s, 3));
        world.publish(Some("a3"), Some("three.test"));
        assert_eq!(world.holds(2 + pause_s).await, ("two.test".into(), pause_s, 3), "it is left alone for a while");
        assert_eq!(world.holds(3 + pause_s).await, ("three.test".into(), 60, 4));
        let kept = fs::read(world.store.folder.join(DOMAIN)).ok().and_then(|file| read(&file)).expect("a file");
        assert_eq!((&*kept.id, kept.policy.permits("three.test")), ("a3", true), "it is the one that is kept on disk");
    });
}

#[test]
fn without_its_record_a_policy_holds_until_its_time_is_over_and_no_longer() {
    run(async {
        let world = World::open().await;
        world.publish(Some("a1"), Some("one.test"));
        world.holds(0).await;
        world.publish(None, Some("one.test"));
        for after_s in [1, MAX_AGE_S / 2 + 1, MAX_AGE_S - 10] {
            let (permits, ttl_s, fetches) = world.holds(after_s).await;
            assert_eq!((&*permits, fetches), ("one.test", 1));
            assert!(after_s + ttl_s <= MAX_AGE_S, "nobody remembers it beyond its time: {ttl_s} s after {after_s} s");
        }
        let answer = world.asked(MAX_AGE_S).await;
        assert!(matches!(answer, Answer::NoData(_)), "{answer:?}");
        world.publish(Some("a2"), Some("two.test"));
        assert_eq!(world.holds(MAX_AGE_S + 1).await.0, "two.test");
    });
}

#[test]
fn a_policy_that_cannot_be_renewed_ends_with_its_time() {
    run(async {
        let world = World::open().await;
        world.publish(Some("a1"), Some("one.test"));
        world.holds(0).await;
        world.publish(Some("a1"), None);
        assert_eq!(world.holds(MAX_AGE_S / 2 + 1).await.2, 2, "in its second half it is fetched again");
        let (permits, ttl_s, fetches) = world.holds(MAX_AGE_S - 1).await;
        assert_eq!((&*permits, ttl_s, fetches), ("one.test", 1, 3));
        let answer = world.asked(MAX_AGE_S).await;
        assert!(matches!(answer, Answer::NoPolicy(Missing::Unfetched, _)), "{answer:?}");
    });
}
