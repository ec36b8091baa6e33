//! Many idle connections, on the real machine. Alone in its process, whose memory it measures.

use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use shards::{launch, probe};

const PATIENT: Duration = Duration::from_secs(300);
const CONNECTIONS: usize = 5_000;
/// Of our memory, for each connection that waits: its slot, its alarm, its task.
const BYTES_MAX: usize = 2048;

/// Resident bytes of this process.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages: usize = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("pages");
    pages * 4096
}

#[test]
fn an_idle_connection_costs_its_state_only() {
    let findings = probe::probe(1, 2 * CONNECTIONS);
    assert_eq!(findings, [], "the test needs what the probe asks for");
    let story = launch::run(|reactor| async move {
        let listener = reactor.listen((Ipv4Addr::LOCALHOST, 0).into()).expect("listens");
        let mut peers = Vec::with_capacity(CONNECTIONS);
        let mut waiting = Vec::with_capacity(CONNECTIONS);
        let before = resident();
        for _ in 0..CONNECTIONS {
            peers.push(TcpStream::connect(listener.address()).expect("connects"));
            let mut stream = listener.accept().await.expect("accepts");
            waiting.push(reactor.spawn(async move { stream.receive(PATIENT).await.map(|chunk| chunk.len()) }));
        }
        reactor.sleep(Duration::from_millis(10)).await;
        let bytes = resident().saturating_sub(before) / CONNECTIONS;
        println!("{bytes} bytes of memory for an idle connection");
        assert!(bytes <= BYTES_MAX, "{bytes} bytes for an idle connection");
        // All of them are alive.
        drop(peers);
        for one in waiting {
            assert_eq!(one.await.expect("the peer's end"), 0);
        }
    });
    story.expect("the ring starts");
}
