//! Connections on the real machine, over loopback.

use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use shards::net::{RECEIVE_BYTES_MAX, Stream};
use shards::{Reactor, launch};
use socket2::{Domain, Socket, Type};

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

#[test]
fn a_half_closed_peer_still_hears_the_answer() {
    on_a_shard(|reactor| async move {
        let listener = reactor.listen(loopback()).expect("listens");
        let mut client = TcpStream::connect(listener.address()).expect("connects");
        let mut server = listener.accept().await.expect("accepts");
        client.write_all(b"the question").expect("sends");
        client.shutdown(Shutdown::Write).expect("closes its side");
        assert_eq!(receive_all(&mut server).await, b"the question");
        assert!(server.receive(PATIENT).await.expect("the end stays the end").is_empty());
        server.send(&mut b"the answer".to_vec(), PATIENT).await.expect("sends");
        drop(server);
        let heard = reactor.blocking(move || {
            let mut heard = String::new();
            client.read_to_string(&mut heard).map(|_| heard)
        });
        assert_eq!(heard.await.expect("receives"), "the answer");
    });
}

#[test]
fn a_reset_is_an_error_for_the_peer() {
    on_a_shard(|reactor| async move {
        let (client, mut server) = pair(&reactor).await;
        client.reset();
        let error = server.receive(PATIENT).await.err().expect("a reset is no end of data");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let error = server.send(&mut b"too late".to_vec(), PATIENT).await.expect_err("nobody listens");
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset));
    });
}

#[test]
fn a_large_send_waits_for_a_slow_reader() {
    const BYTES: usize = 32 << 20;
    on_a_shard(|reactor| async move {
        let (mut client, mut server) = pair(&reactor).await;
        let said: Vec<u8> = (0..BYTES).map(|place| (place % 251) as u8).collect();
        let mut bytes = said.clone();
        let sending = reactor.spawn(async move { client.send(&mut bytes, PATIENT).await.map(|()| bytes) });
        let mut heard = Vec::with_capacity(BYTES);
        while heard.len() < BYTES {
            let chunk = server.receive(PATIENT).await.expect("receives");
            assert!(!chunk.is_empty() && chunk.len() <= RECEIVE_BYTES_MAX);
            heard.extend_from_slice(&chunk);
            if heard.len() % 7 == 0 {
                reactor.sleep(Duration::from_micros(200)).await;
            }
        }
        assert!(sending.await.expect("sends").is_empty());
        assert!(heard == said, "what arrived is not what was sent");
    });
}

#[test]
fn a_send_to_a_peer_that_does_not_read_runs_out_of_patience() {
    on_a_shard(|reactor| async move {
        let (mut client, server) = pair(&reactor).await;
        let error = client.send(&mut vec![0; 64 << 20], IMPATIENT).await.expect_err("it cannot all fit");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(server);
    });
}

#[test]
fn a_cancelled_receive_loses_nothing() {
    on_a_shard(|reactor| async move {
        let (mut client, mut server) = pair(&reactor).await;
        for round in 0..50u8 {
            let waited = reactor.timeout(Duration::from_micros(300), server.receive(PATIENT)).await;
            assert!(waited.is_err());
            client.send(&mut vec![round], PATIENT).await.expect("sends");
            assert_eq!(*server.receive(PATIENT).await.expect("receives"), [round]);
        }
    });
}

#[test]
fn nobody_listening_is_a_refusal() {
    on_a_shard(|reactor| async move {
        let listener = reactor.listen(loopback()).expect("listens");
        let address = listener.address();
        drop(listener);
        // The listener's socket may close a moment later.
        let refused = async {
            loop {
                match reactor.connect(address, None, PATIENT).await {
                    Ok(_) => reactor.yield_now().await,
                    Err(error) => return error.kind(),
                }
            }
        };
        assert_eq!(reactor.timeout(PATIENT, refused).await, Ok(ErrorKind::ConnectionRefused));
    });
}

#[test]
fn a_connection_comes_from_the_source_it_was_given() {
    on_a_shard(|reactor| async move {
        let source = Ipv4Addr::new(127, 4, 5, 6).into();
        let listener = reactor.listen(loopback()).expect("listens");
        let client = reactor.connect(listener.address(), Some(source), PATIENT).await.expect("connects");
        let server = listener.accept().await.expect("accepts");
        assert_eq!(server.peer().ip(), source);
        assert_eq!(server.peer(), client.local());
    });
}

#[test]
fn an_unanswered_connect_runs_out_of_patience() {
    on_a_shard(|reactor| async move {
        // A listener whose backlog is full answers no SYN.
        let full = Socket::new(Domain::IPV4, Type::STREAM, None).expect("makes a socket");
        full.bind(&loopback().into()).expect("binds");
        full.listen(0).expect("listens");
        let address = full.local_addr().expect("is bound").as_socket().expect("is IPv4");
        let mut connected = Vec::new();
        let error = loop {
            assert!(connected.len() < 16, "a backlog of none is full sooner");
            match reactor.connect(address, None, IMPATIENT).await {
                Ok(stream) => connected.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn many_conversations_at_once_do_not_mix() {
    const CONVERSATIONS: u32 = 200;
    const ROUNDS: u32 = 20;
    on_a_shard(|reactor| async move {
        let listener = reactor.listen(loopback()).expect("listens");
        let address = listener.address();
        let machine = reactor.clone();
        let server = reactor.spawn(async move {
            loop {
                let mut stream = listener.accept().await.expect("accepts");
                let echo = async move {
                    loop {
                        let mut bytes = stream.receive(PATIENT).await.expect("receives").to_vec();
                        if bytes.is_empty() {
                            return;
                        }
                        stream.send(&mut bytes, PATIENT).await.expect("sends");
                    }
                };
                machine.spawn(echo).detach();
            }
        });
        let clients: Vec<_> = (0..CONVERSATIONS)
            .map(|client| {
                let machine = reactor.clone();
                reactor.spawn(async move {
                    let mut stream = machine.connect(address, None, PATIENT).await.expect("connects");
                    for round in 0..ROUNDS {
                        let said = [client.to_be_bytes(), round.to_be_bytes()].concat();
                        stream.send(&mut said.clone(), PATIENT).await.expect("sends");
                        let mut heard = Vec::new();
                        while heard.len() < said.len() {
                            heard.extend_from_slice(&stream.receive(PATIENT).await.expect("receives"));
                        }
                        assert_eq!(heard, said);
                    }
                })
            })
            .collect();
        for client in clients {
            client.await;
        }
        drop(server);
    });
}

/// Says `bytes_max` bytes, or as many as the socket takes, and gives how many.
fn flood(peer: &mut TcpStream, bytes_max: usize) -> usize {
    peer.set_nonblocking(true).expect("a socket");
    let mut said = 0;
    while said < bytes_max {
        match peer.write(&vec![b'x'; bytes_max - said]) {
            Ok(bytes) => said += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    said
}

#[test]
fn floods_that_nobody_reads_leave_the_buffers_to_others() {
    const FLOODS: usize = 200;
    const FLOOD_BYTES_MAX: usize = 40 * RECEIVE_BYTES_MAX;
    on_a_shard(|reactor| async move {
        let listener = reactor.listen(loopback()).expect("listens");
        let mut flooded = Vec::new();
        for _ in 0..FLOODS {
            let mut peer = TcpStream::connect(listener.address()).expect("connects");
            let mut unread = listener.accept().await.expect("accepts");
            // Its task asks, gives up, and never reads what comes.
            drop(reactor.timeout(Duration::ZERO, unread.receive(PATIENT)).await);
            let said = flood(&mut peer, FLOOD_BYTES_MAX);
            assert!(said > 4 * RECEIVE_BYTES_MAX, "a socket takes more than {said} bytes");
            flooded.push((unread, peer, said));
        }
        let (mut client, mut server) = pair(&reactor).await;
        for round in 0..200u8 {
            client.send(&mut vec![round; 1000], PATIENT).await.expect("sends");
            let mut heard = 0;
            while heard < 1000 {
                heard += server.receive(PATIENT).await.expect("receives").len();
            }
            server.send(&mut vec![round], PATIENT).await.expect("sends");
            assert_eq!(*client.receive(PATIENT).await.expect("receives"), [round]);
        }
        for (mut stream, peer, said) in flooded {
            peer.shutdown(Shutdown::Write).expect("says its end");
            assert_eq!(receive_all(&mut stream).await.len(), said);
        }
    });
}

#[test]
fn unread_bytes_do_not_destroy_our_last_words() {
    on_a_shard(|reactor| async move {
        for _ in 0..20 {
            let listener = reactor.listen(loopback()).expect("listens");
            let mut client = TcpStream::connect(listener.address()).expect("connects");
            let mut server = listener.accept().await.expect("accepts");
            client.write_all(&[b'x'; 50_000]).expect("sends");
            server.send(&mut b"421 no".to_vec(), PATIENT).await.expect("sends");
            drop(server);
            let heard = reactor.blocking(move || {
                client.write_all(b"still talking")?;
                let mut heard = String::new();
                client.read_to_string(&mut heard).map(|_| heard)
            });
            assert_eq!(heard.await.expect("no reset"), "421 no");
        }
    });
}
