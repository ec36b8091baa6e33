//! Several shards on the real machine: the mesh between them, steering, and what a panic does.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use shards::launch;
use shards::mesh::{Port, mesh};
use shards::net::Listener;
use shards::passed::Passed;

const PATIENT: Duration = Duration::from_secs(30);
const SHARDS: usize = 2;

/// A mesh's ports, each for the shard with its number to take.
fn ports<T: Send + 'static>(credits: usize) -> Arc<Vec<ArrayQueue<Port<T>>>> {
    let (ports, _) = mesh(SHARDS, credits, 1);
    let place = |port| {
        let place = ArrayQueue::new(1);
        assert!(place.push(port).is_ok());
        place
    };
    Arc::new(ports.into_iter().map(place).collect())
}

#[test]
fn shards_ask_and_answer_without_losing_an_item() {
    const ROUNDS: u32 = 20_000;
    const CREDITS: usize = 8;
    let ports = ports(CREDITS);
    let answers = Arc::new(AtomicUsize::new(0));
    let counter = answers.clone();
    let running = launch::launch(SHARDS, move |_, shard| {
        let (ports, counter) = (ports.clone(), counter.clone());
        async move {
            let port = ports[shard].pop().expect("one for each shard");
            if port.shard() == 0 {
                ask(&port, ROUNDS, CREDITS, &counter).await;
            } else {
                for _ in 0..ROUNDS {
                    let (from, item) = port.receive().await;
                    port.reply(from.expect("a shard asked"), item + 1);
                }
            }
        }
    });
    running.expect("starts").join().expect("ends");
    assert_eq!(answers.load(Ordering::Relaxed), ROUNDS as usize);
}

/// Asks `rounds` times, with every credit under way, and checks each answer.
async fn ask(port: &Port<u32>, rounds: u32, credits: usize, answers: &AtomicUsize) {
    let mut under_way = VecDeque::new();
    let mut next = 0;
    for answer in 0..rounds {
        while next < rounds && under_way.len() < credits {
            let credit = port.credit(1).expect("fewer are out than there are");
            port.request(1, &credit, next);
            under_way.push_back(credit);
            next += 1;
        }
        assert_eq!(port.receive().await, (Some(1), answer + 1));
        drop(under_way.pop_front());
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn one_source_always_meets_one_shard() {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let passed = Passed::new(listener.into(), SHARDS).expect("a listening socket");
    assert_eq!(steered(None), steered(Some(Arc::new(passed))), "the kernel and we choose alike");
}

/// Which shard each source met, on sockets of the shards' own or on one that was passed to all.
fn steered(passed: Option<Arc<Passed>>) -> BTreeMap<IpAddr, usize> {
    const SOURCES: u8 = 16;
    const CONNECTIONS_PER_SOURCE: usize = 4;
    const CONNECTIONS: usize = SOURCES as usize * CONNECTIONS_PER_SOURCE;
    let ports = ports::<SocketAddr>(1);
    let meetings = Arc::new(ArrayQueue::new(CONNECTIONS));
    let met = meetings.clone();
    let running = launch::launch(SHARDS, move |reactor, shard| {
        let (ports, met, passed) = (ports.clone(), met.clone(), passed.clone());
        async move {
            let port = ports[shard].pop().expect("one for each shard");
            let (other, credit) = (1 - port.shard(), port.credit(1 - port.shard()).expect("all are in"));
            // Shard 0 lets the kernel pick the port and names it to shard 1; shard 1 says when it listens too.
            let address = if port.shard() == 0 { (Ipv4Addr::LOCALHOST, 0).into() } else { port.receive().await.1 };
            let listener = match &passed {
                Some(passed) => reactor.listen_on(passed).expect("listens"),
                None => reactor.listen(address).expect("listens"),
            };
            let address = listener.address();
            port.request(other, &credit, address);
            let accepting = reactor.spawn(note_sources(listener, port.shard(), met.clone()));
            if port.shard() == 0 {
                port.receive().await;
                let sources = (1..=SOURCES).flat_map(|source| [source; CONNECTIONS_PER_SOURCE]);
                for source in sources {
                    let source = Ipv4Addr::new(127, 9, source, source).into();
                    reactor.connect(address, Some(source), PATIENT).await.expect("connects");
                }
            }
            while met.len() < CONNECTIONS {
                reactor.sleep(Duration::from_millis(1)).await;
            }
            drop(accepting);
        }
    });
    running.expect("starts").join().expect("ends");
    let meetings: Vec<(IpAddr, usize)> = std::iter::from_fn(|| meetings.pop()).collect();
    assert_eq!(meetings.len(), CONNECTIONS);
    for (source, shard) in &meetings {
        assert!(meetings.iter().filter(|other| other.0 == *source).all(|other| other.1 == *shard));
    }
    assert!((0..SHARDS).all(|shard| meetings.iter().any(|one| one.1 == shard)), "each shard meets someone");
    meetings.into_iter().collect()
}

/// Notes for every connection where it came from and which shard it met.
async fn note_sources(listener: Listener, shard: usize, met: Arc<ArrayQueue<(IpAddr, usize)>>) {
    loop {
        let stream = listener.accept().await.expect("accepts");
        met.push((stream.peer().ip(), shard)).expect("no more connections than were made");
    }
}

#[test]
fn a_panic_in_a_task_ends_the_process_with_a_line_that_names_the_shard() {
    let name = "a_panic_in_a_task_ends_the_process_with_a_line_that_names_the_shard";
    ends_the_process(name, || {
        let running = launch::launch(SHARDS, |reactor, shard| async move {
            if shard == 1 {
                reactor.spawn(async { panic!("on purpose") }).detach();
            }
            reactor.sleep(FOR_EVER).await;
        });
        running.expect("starts").join().expect("never reached");
    });
}

#[test]
fn a_panic_before_a_shards_first_step_ends_the_process_too() {
    ends_the_process("a_panic_before_a_shards_first_step_ends_the_process_too", || {
        let running = launch::launch(SHARDS, |reactor, shard| {
            assert!(shard != 1, "on purpose");
            async move { reactor.sleep(FOR_EVER).await }
        });
        running.expect("starts").join().expect("never reached");
    });
}

#[test]
fn so_does_one_outside_of_what_the_executor_runs() {
    ends_the_process("so_does_one_outside_of_what_the_executor_runs", || {
        launch::or_die("shard 1", || panic!("on purpose"));
    });
}

/// Longer than anybody waits for a child that should end by itself.
const FOR_EVER: Duration = Duration::from_secs(100_000);

/// Does `work` in a process of its own, as the test `name` alone; shard 1 of it must panic "on purpose", and end it.
fn ends_the_process(name: &str, work: impl FnOnce()) {
    const CHILD: &str = "SHARD_PANICS_HERE";
    if std::env::var_os(CHILD).is_some() {
        return work();
    }
    let child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("runs itself");
    assert_eq!(child.status.code(), Some(70));
    assert!(String::from_utf8_lossy(&child.stderr).contains("\nshard 1 panicked (on purpose)"));
}

#[test]
fn more_shards_than_cores_share_them() {
    let shards = launch::cores() + 2;
    let ran = Arc::new(AtomicUsize::new(0));
    let counter = ran.clone();
    let running = launch::launch(shards, move |reactor, _| {
        let counter = counter.clone();
        async move {
            reactor.sleep(Duration::from_millis(1)).await;
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    running.expect("starts").join().expect("ends");
    assert_eq!(ran.load(Ordering::Relaxed), shards);
}
