//! Connections on the real machine, over loopback.

use std::future::Future;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use shards::net::Stream;
use shards::{Reactor, launch};

/// Long enough that only a defect runs into it.
const PATIENT: Duration = Duration::from_secs(30);
/// Short enough to wait for.
const IMPATIENT: Duration = Duration::from_millis(50);

fn on_a_shard<F: Future<Output = ()> + 'static>(story: impl FnOnce(Reactor) -> F) {
    launch::run(story).expect("the ring starts");
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Two ends of one connection: the one that connected, the one that was accepted.
async fn pair(reactor: &Reactor) -> (Stream, Stream) {
    let listener = reactor.listen(loopback()).expect("listens");
    let client = reactor.connect(listener.address(), None, PATIENT).await.expect("connects");
    let server = listener.accept().await.expect("accepts");
    assert_eq!(client.local(), server.peer());
    assert_eq!(client.peer(), server.local());
    (client, server)
}

async fn receive_all(stream: &mut Stream) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let chunk = stream.receive(PATIENT).await.expect("receives");
        if chunk.is_empty() {
            return all;
        }
        all.extend_from_slice(&chunk);
    }
}

#[test]
fn what_is_sent_comes_back() {
    on_a_shard(|reactor| async move {
        let (mut client, mut server) = pair(&reactor).await;
        for round in 0..100u32 {
            let mut bytes = round.to_be_bytes().to_vec();
            client.send(&mut bytes, PATIENT).await.expect("sends");
            assert!(bytes.is_empty());
            let mut echo = server.receive(PATIENT).await.expect("receives").to_vec();
            server.send(&mut echo, PATIENT).await.expect("sends");
            assert_eq!(*client.receive(PATIENT).await.expect("receives"), round.to_be_bytes());
        }
    });
}

#[test]
fn patience_runs_out_and_the_connection_lives_on() {
    on_a_shard(|reactor| async move {
        let (mut client, mut server) = pair(&reactor).await;
        let began = reactor.now();
        let error = server.receive(IMPATIENT).await.err().expect("nothing was sent");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(reactor.now().since(began) >= IMPATIENT);
        client.send(&mut b"late".to_vec(), PATIENT).await.expect("sends");
        assert_eq!(*server.receive(PATIENT).await.expect("receives"), *b"late");
    });
}

#[test]
fn a_dropped_stream_says_everything_before_it_closes() {
    on_a_shard(|reactor| async move {
        let (mut client, mut server) = pair(&reactor).await;
        let said: Vec<u8> = (0..100_000u32).flat_map(u32::to_be_bytes).collect();
        let mut bytes = said.clone();
        let speaker = reactor.spawn(async move { client.send(&mut bytes, PATIENT).await });
        let heard = receive_all(&mut server).await;
        speaker.await.expect("sends");
        assert!(heard == said);
    });
}
