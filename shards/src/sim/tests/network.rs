//! Connections between nodes, in good and in bad order.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use super::log;
use crate::Reactor;
use crate::net::Stream;
use crate::sim::{Link, Node, Simulation};

const PATIENCE: Duration = Duration::from_secs(30);

/// A server that sends back what it gets, until its peer closes.
fn echo(node: &Node, port: u16) -> SocketAddr {
    let address = SocketAddr::new(node.address(), port);
    node.spawn(|reactor| async move {
        let listener = reactor.listen(address).expect("the address is free");
        while let Ok(stream) = listener.accept().await {
            reactor.spawn(echo_one(stream)).detach();
        }
    });
    address
}

async fn echo_one(mut stream: Stream) {
    while let Ok(chunk) = stream.receive(PATIENCE).await {
        let mut bytes = chunk.to_vec();
        if bytes.is_empty() || stream.send(&mut bytes, PATIENCE).await.is_err() {
            return;
        }
    }
}

async fn connect(reactor: &Reactor, address: SocketAddr) -> Stream {
    reactor.connect(address, None, PATIENCE).await.expect("somebody listens")
}

/// Sends `bytes` to an echo from one task and reads them back; how many pieces they came in.
async fn round_trip(reactor: &Reactor, address: SocketAddr, bytes: &[u8]) -> usize {
    let mut stream = connect(reactor, address).await;
    let mut received = Vec::new();
    let mut pieces = 0;
    for block in bytes.chunks(1000) {
        stream.send(&mut block.to_vec(), PATIENCE).await.expect("the link is good");
        let target = received.len() + block.len();
        while received.len() < target {
            let chunk = stream.receive(PATIENCE).await.expect("the link is good");
            assert!(!chunk.is_empty());
            received.extend_from_slice(&chunk);
            pieces += 1;
        }
    }
    assert_eq!(received, bytes);
    pieces
}

#[test]
fn bytes_arrive_in_order_in_pieces_and_reproducibly() {
    let run = |seed| {
        let simulation = Simulation::new(seed);
        let (server, client) = (simulation.node("server"), simulation.node("client"));
        let address = echo(&server, 25);
        let bytes: Vec<u8> = (0..20_000u32).map(|at| (at % 251) as u8).collect();
        let pieces = simulation.run(&client, |reactor| async move {
            reactor.sleep(Duration::from_secs(1)).await;
            round_trip(&reactor, address, &bytes).await
        });
        (pieces, simulation.trace())
    };
    assert!(run(1).0 > 20, "some reads must be partial");
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).1, run(2).1);
}

#[test]
fn a_closed_side_is_seen_after_everything_it_sent() {
    for seed in 0..20 {
        let simulation = Simulation::new(seed);
        let (server, client) = (simulation.node("server"), simulation.node("client"));
        let address = SocketAddr::new(server.address(), 25);
        server.spawn(|reactor| async move {
            let listener = reactor.listen(address).expect("the address is free");
            let mut stream = listener.accept().await.expect("one connects");
            stream.send(&mut vec![7; 1500], PATIENCE).await.expect("the link is good");
        });
        let received = simulation.run(&client, |reactor| async move {
            reactor.sleep(Duration::from_secs(1)).await;
            let mut stream = connect(&reactor, address).await;
            let mut received = Vec::new();
            loop {
                let chunk = stream.receive(PATIENCE).await.expect("the link is good");
                if chunk.is_empty() {
                    return received;
                }
                received.extend_from_slice(&chunk);
            }
        });
        assert_eq!(received, vec![7; 1500]);
    }
}

#[test]
fn nobody_listening_is_refused_and_an_unanswered_connection_times_out() {
    let simulation = Simulation::new(2);
    let (server, client) = (simulation.node("server"), simulation.node("client"));
    let address = SocketAddr::new(server.address(), 25);
    let try_once = |simulation: &Simulation| {
        simulation.run(&client, |reactor| async move { reactor.connect(address, None, PATIENCE).await.err() })
    };
    assert_eq!(try_once(&simulation).expect("refused").kind(), ErrorKind::ConnectionRefused);
    simulation.set_link(&server, &client, Link { unanswered: 1.0, ..Link::default() });
    let before = simulation.now();
    assert_eq!(try_once(&simulation).expect("unanswered").kind(), ErrorKind::TimedOut);
    assert!(simulation.now().since(before) >= PATIENCE);
}

#[test]
fn who_sends_to_a_peer_that_does_not_read_waits_until_its_patience_ends() {
    let simulation = Simulation::new(3);
    let (server, client) = (simulation.node("server"), simulation.node("client"));
    let address = SocketAddr::new(server.address(), 25);
    server.spawn(|reactor| async move {
        let listener = reactor.listen(address).expect("the address is free");
        let _unread = listener.accept().await;
        reactor.sleep(Duration::from_secs(3600)).await;
    });
    let error = simulation.run(&client, |reactor| async move {
        reactor.sleep(Duration::from_secs(1)).await;
        let mut stream = connect(&reactor, address).await;
        stream.send(&mut vec![0; 1 << 20], PATIENCE).await
    });
    assert_eq!(error.expect_err("the buffers are bounded").kind(), ErrorKind::TimedOut);
}

#[test]
fn a_receive_ends_with_its_patience() {
    let simulation = Simulation::new(4);
    let (server, client) = (simulation.node("server"), simulation.node("client"));
    let address = echo(&server, 25);
    let error = simulation.run(&client, |reactor| async move {
        reactor.sleep(Duration::from_secs(1)).await;
        connect(&reactor, address).await.receive(PATIENCE).await.err()
    });
    assert_eq!(error.expect("silence").kind(), ErrorKind::TimedOut);
}

#[test]
fn a_link_that_resets_breaks_connections_for_both_sides() {
    let simulation = Simulation::new(5);
    let (server, client) = (simulation.node("server"), simulation.node("client"));
    let address = echo(&server, 25);
    simulation.set_links(Link { reset: 0.2, ..Link::default() });
    let broken = simulation.run(&client, |reactor| async move {
        reactor.sleep(Duration::from_secs(1)).await;
        let mut broken = 0;
        for _ in 0..50 {
            let mut stream = connect(&reactor, address).await;
            let sent = stream.send(&mut b"hello".to_vec(), PATIENCE).await;
            let received = stream.receive(PATIENCE).await;
            broken += u32::from(sent.is_err() || received.is_err());
        }
        broken
    });
    assert!((5..45).contains(&broken), "{broken} of 50");
    simulation.run_for(2 * PATIENCE);
    assert_eq!(simulation.connection_count(), 0);
}

#[test]
fn a_reset_on_purpose_is_seen_as_one() {
    let simulation = Simulation::new(6);
    let (server, client) = (simulation.node("server"), simulation.node("client"));
    let address = SocketAddr::new(server.address(), 25);
    server.spawn(|reactor| async move {
        let listener = reactor.listen(address).expect("the address is free");
        listener.accept().await.expect("one connects").reset();
    });
    let error = simulation.run(&client, |reactor| async move {
        reactor.sleep(Duration::from_secs(1)).await;
        connect(&reactor, address).await.receive(PATIENCE).await.err()
    });
    assert_eq!(error.expect("a reset").kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_crash_resets_or_silences_the_peers_and_the_address_can_be_used_again() {
    let mut seen = BTreeSet::new();
    for seed in 0..20 {
        let simulation = Simulation::new(seed);
        let (server, client) = (simulation.node("server"), simulation.node("client"));
        let address = echo(&server, 25);
        let doomed = server.clone();
        let kind = simulation.run(&client, |reactor| async move {
            reactor.sleep(Duration::from_secs(1)).await;
            let mut stream = connect(&reactor, address).await;
            doomed.crash();
            stream.receive(PATIENCE).await.err().map(|error| error.kind())
        });
        seen.insert(format!("{kind:?}"));
        echo(&server, 25);
        simulation.run(&client, |reactor| async move {
            reactor.sleep(Duration::from_secs(1)).await;
            round_trip(&reactor, address, b"hello").await
        });
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["Some(ConnectionReset)", "Some(TimedOut)"]);
}

#[test]
fn shards_share_an_address_and_a_source_always_meets_the_same_one() {
    let simulation = Simulation::new(7);
    let server = simulation.node("server");
    let address = SocketAddr::new(server.address(), 25);
    let accepted = log();
    for shard in 0..3 {
        let accepted = accepted.clone();
        server.spawn(|reactor| async move {
            let listener = reactor.listen(address).expect("shards share it");
            while let Ok(stream) = listener.accept().await {
                accepted.borrow_mut().push((stream.peer().ip(), shard));
            }
        });
    }
    for round in 0..2 {
        for name in 0..20 {
            let client = simulation.node(&format!("client {round} {name}"));
            client.spawn(|reactor| async move {
                reactor.sleep(Duration::from_secs(1)).await;
                for _ in 0..3 {
                    connect(&reactor, address).await;
                }
            });
        }
        simulation.run_for(Duration::from_secs(5));
    }
    let pairs: BTreeSet<_> = accepted.borrow().iter().copied().collect();
    assert_eq!(accepted.borrow().len(), 120);
    assert_eq!(pairs.len(), 40, "one shard per source");
    assert_eq!(pairs.iter().map(|(_, shard)| shard).collect::<BTreeSet<_>>().len(), 3);
}
