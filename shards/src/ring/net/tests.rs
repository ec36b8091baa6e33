//! What the network promises about its slots and buffers, which no stream can see.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::buffers::BUFFERS;
use super::{LINGER, Network};
use crate::launch;
use crate::net::Stream;
use crate::reactor::{Backend, Reactor};

const PATIENT: Duration = Duration::from_secs(30);
const MOMENT: Duration = Duration::from_millis(50);

fn on_a_shard<F: Future<Output = ()> + 'static>(story: impl FnOnce(Reactor, Network) -> F) {
    let run = launch::run(|reactor| {
        #[cfg_attr(
            not(feature = "sim"),
            expect(irrefutable_let_patterns, reason = "the simulation is another backend")
        )]
        let Backend::Ring(ring) = &reactor.0 else { panic!("launch makes rings") };
        let network = ring.0.network.clone();
        story(reactor, network)
    });
    run.expect("the ring starts");
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// A connection of ours, and its peer: a plain socket that does only what the test says.
async fn accepted(reactor: &Reactor) -> (Stream, TcpStream) {
    let listener = reactor.listen(loopback()).expect("listens");
    let peer = TcpStream::connect(listener.address()).expect("connects");
    (listener.accept().await.expect("accepts"), peer)
}

/// Waits until the network holds no connection and no buffer.
async fn emptied(reactor: &Reactor, network: &Network) {
    while !network.state.borrow().is_empty() || network.state.borrow().buffers.free() < usize::from(BUFFERS) {
        reactor.sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn a_listener_that_stops_gives_what_it_has_accepted() {
    on_a_shard(|reactor, network| async move {
        let listener = reactor.listen(loopback()).expect("listens");
        let address = listener.address();
        let mut peers: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).expect("connects")).collect();
        let fetched = listener.accept().await.expect("accepts");
        while network.state.borrow().acceptors.iter().map(|(_, one)| one.accepted.len()).sum::<usize>() < 2 {
            reactor.yield_now().await;
        }
        let mut rest = listener.stop().await;
        assert_eq!(rest.len(), 2);
        assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
        rest.push(fetched);
        for peer in &mut peers {
            peer.write_all(b"hello").expect("writes");
        }
        for stream in &mut rest {
            assert_eq!(&*stream.receive(PATIENT).await.expect("receives"), b"hello");
        }
        drop((rest, peers));
        emptied(&reactor, &network).await;
    });
}

#[test]
fn a_unix_socket_is_a_stream_like_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    on_a_shard(|reactor, network| async move {
        let nobody = reactor.connect_local(&path, PATIENT).await.err().map(|error| error.kind());
        assert_eq!(nobody, Some(std::io::ErrorKind::NotFound));
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("listens");
        let mut client = reactor.connect_local(&path, PATIENT).await.expect("connects");
        let (mut server, _) = listener.accept().expect("accepts");
        server.write_all(b"hello").expect("writes");
        assert_eq!(&*client.receive(PATIENT).await.expect("receives"), b"hello");
        assert_eq!(client.receive(MOMENT).await.err().map(|error| error.kind()), Some(std::io::ErrorKind::TimedOut));
        client.send(&mut b"you".to_vec(), PATIENT).await.expect("sends");
        drop(client);
        let mut heard = String::new();
        server.read_to_string(&mut heard).expect("reads to the end");
        assert_eq!(heard, "you");
        emptied(&reactor, &network).await;
    });
}

#[test]
fn everything_is_given_back() {
    on_a_shard(|reactor, network| async move {
        for round in 0..20 {
            let listener = reactor.listen(loopback()).expect("listens");
            let mut client = reactor.connect(listener.address(), None, PATIENT).await.expect("connects");
            let mut server = listener.accept().await.expect("accepts");
            client.send(&mut vec![7; 100_000], PATIENT).await.expect("sends");
            let chunk = server.receive(PATIENT).await.expect("receives");
            match round % 4 {
                0 => drop((client, server)),
                1 => server.reset(),
                2 => assert!(server.send(&mut vec![7; 64 << 20], MOMENT).await.is_err()),
                _ => drop(reactor.timeout(MOMENT, server.receive(PATIENT)).await),
            }
            drop(chunk);
        }
        emptied(&reactor, &network).await;
    });
}

#[test]
fn a_task_that_does_not_read_is_paused_and_harms_nobody() {
    on_a_shard(|reactor, network| async move {
        let (mut silent, mut peer) = accepted(&reactor).await;
        peer.write_all(b"x").expect("sends");
        drop(silent.receive(PATIENT).await.expect("receives"));
        let flood = reactor.spawn({
            let reactor = reactor.clone();
            async move { reactor.blocking(move || (peer.write_all(&vec![0; 32 << 20]), peer)).await }
        });
        // It asks once more, and leaves what comes: that is the one buffer that it may hold.
        drop(reactor.timeout(Duration::ZERO, silent.receive(PATIENT)).await);
        while network.state.borrow().buffers.free() == usize::from(BUFFERS) {
            reactor.sleep(Duration::from_millis(1)).await;
        }
        let (mut server, mut client) = accepted(&reactor).await;
        for round in 0..100u8 {
            client.write_all(&[round]).expect("sends");
            assert_eq!(*server.receive(PATIENT).await.expect("receives"), [round]);
            assert_eq!(network.state.borrow().buffers.free(), usize::from(BUFFERS) - 1);
        }
        let mut left = 32 << 20;
        while left > 0 {
            left -= silent.receive(PATIENT).await.expect("receives").len();
        }
        flood.await.0.expect("sends");
        drop((silent, server, client));
        emptied(&reactor, &network).await;
    });
}

#[test]
fn few_connections_use_few_buffers() {
    on_a_shard(|reactor, _| async move {
        let (mut server, mut client) = accepted(&reactor).await;
        let mut places = std::collections::HashSet::new();
        for round in 0..100u8 {
            client.write_all(&[round]).expect("sends");
            places.insert(server.receive(PATIENT).await.expect("receives").as_ptr());
        }
        assert!(places.len() <= 2, "{}", places.len());
    });
}

#[test]
fn an_empty_pool_fills_again() {
    const FLOOD: usize = 48 << 20;
    on_a_shard(|reactor, network| async move {
        let (mut hoarder, mut peer) = accepted(&reactor).await;
        let flood = reactor.spawn({
            let reactor = reactor.clone();
            async move { reactor.blocking(move || (peer.write_all(&vec![9; FLOOD]), peer)).await }
        });
        let mut hoard = Vec::new();
        while network.state.borrow().buffers.free() > 0 {
            hoard.push(hoarder.receive(PATIENT).await.expect("receives"));
        }
        // Nobody can receive now, and whoever tries waits.
        let (mut other, mut client) = accepted(&reactor).await;
        client.write_all(b"me too").expect("sends");
        assert!(other.receive(MOMENT).await.is_err());
        let mut heard: usize = hoard.drain(..).map(|chunk| chunk.len()).sum();
        assert_eq!(*other.receive(PATIENT).await.expect("receives"), *b"me too");
        while heard < FLOOD {
            let chunk = hoarder.receive(PATIENT).await.expect("receives");
            assert!(chunk.iter().all(|byte| *byte == 9));
            heard += chunk.len();
        }
        assert_eq!(heard, FLOOD);
        drop((flood.await, hoarder, other, client));
        emptied(&reactor, &network).await;
    });
}

#[test]
fn a_peer_that_never_closes_is_left_in_time() {
    on_a_shard(|reactor, network| async move {
        let (mut server, mut peer) = accepted(&reactor).await;
        server.send(&mut b"goodbye".to_vec(), PATIENT).await.expect("sends");
        let began = reactor.now();
        drop(server);
        let mut heard = [0; 7];
        peer.read_exact(&mut heard).expect("receives");
        assert_eq!(peer.read(&mut [0]).expect("our end has come"), 0);
        emptied(&reactor, &network).await;
        assert!(reactor.now().since(began) >= LINGER);
        drop(peer);
    });
}
