//! What meets the machine: the disk's flush, a journal's batch, a checkpoint of the index, a crossing to another core.
//!
//! The bare flush is the yardstick: a journal's batch should cost little more than what the disk takes for it.

#![allow(clippy::disallowed_methods, reason = "the bare flush and the iterations are timed on the real clock")]

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use futures::StreamExt;
use futures::future::join_all;
use ringpost::config::Config;
use ringpost::events::Log;
use ringpost::events::log::{Channel, Style};
use ringpost::queue::Queue;
use shards::Reactor;
use shards::journal::{Class, Journal, Options, Position};

/// Messages that arrive together.
const BATCHES: [usize; 3] = [1, 20, 200];

/// Crossings that are under way at a time.
const WINDOW: usize = 64;

const OPTIONS: Options = Options { segment_bytes: 16 << 20, reserve_bytes: 1 << 20, pending_bytes_max: 8 << 20 };

/// Runs `story` on an executor of its own, for its own measure of time.
fn on_a_shard<F: Future<Output = Duration> + 'static>(story: impl FnOnce(Reactor) -> F + 'static) -> Duration {
    shards::launch::run(story).expect("an executor")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on the disk that is measured")
}

/// Write and fdatasync of as many bytes as a batch has, in a file whose blocks have been written before.
fn bare_flushes(batch: usize, iterations: u64) -> Duration {
    let folder = folder();
    let bytes = vec![1; batch * bench::CONTENT_BYTES];
    let file = File::create_new(folder.path().join("flushed")).expect("a file");
    let place = |iteration: u64| (iteration % 8) * bytes.len() as u64;
    for iteration in 0..8 {
        file.write_all_at(&bytes, place(iteration)).expect("written");
    }
    file.sync_all().expect("flushed");
    let began = Instant::now();
    for iteration in 0..iterations {
        file.write_all_at(&bytes, place(iteration)).expect("written");
        file.sync_data().expect("flushed");
    }
    began.elapsed()
}

/// Appends a batch and waits until it is durable.
fn journal_batches(batch: usize, iterations: u64) -> Duration {
    on_a_shard(move |reactor| async move {
        let folder = folder();
        let payload = vec![1; bench::CONTENT_BYTES];
        let mut replay = |_, _: &[u8]| {};
        let journal = Journal::open(&reactor, folder.path(), OPTIONS, Position::default(), &mut replay);
        let journal = journal.await.expect("a journal");
        let began = reactor.now();
        for _ in 0..iterations {
            let mut commits = Vec::with_capacity(batch);
            for _ in 0..batch {
                journal.room(payload.len(), Class::Ordinary).await.expect("room");
                commits.push(journal.append(&[&payload], Class::Ordinary).expect("room was promised").1);
            }
            for commit in commits {
                commit.durable().await.expect("flushed");
            }
            for segment in journal.segments().into_iter().rev().skip(1) {
                journal.remove(segment).await.expect("removed");
            }
        }
        reactor.now().since(began)
    })
}

async fn open(reactor: &Reactor, folder: &Path) -> Queue {
    let text = "[server]\nhostname = \"mta.test\"\ndata_dir = \"data\"\n";
    let config = Arc::new(Config::parse(text, folder).expect("a configuration"));
    let log = Log::new(reactor, 0, Channel::new(Style::Logfmt));
    Queue::open(reactor, config, 0, log).await.expect("the queue opens")
}

/// Accepts `messages`, then closes the queue, which writes the last checkpoint; the time of the closing counts.
fn checkpoints(messages: usize, iterations: u64) -> Duration {
    (0..iterations)
        .map(|_| {
            on_a_shard(move |reactor| async move {
                let folder = folder();
                let queue = open(&reactor, folder.path()).await;
                futures::stream::iter(0..messages)
                    .for_each_concurrent(WINDOW, |_| async {
                        let message = bench::message(queue.reserve_id());
                        queue.accept(message, "<1@test>").await.expect("accepted");
                    })
                    .await;
                let began = reactor.now();
                queue.close().await.expect("closed");
                reactor.now().since(began)
            })
        })
        .sum()
}

/// A request to another core and its reply, `WINDOW` under way at a time.
fn crossings(iterations: u64) -> Duration {
    let (ports, _inlet) = shards::mesh::mesh::<u64>(2, WINDOW, 1);
    let ports =
        Arc::new(ports.into_iter().map(|port| crossbeam::atomic::AtomicCell::new(Some(port))).collect::<Vec<_>>());
    let (took, result) = std::sync::mpsc::channel();
    let running = shards::launch::launch(2, move |reactor, shard| {
        let port = Rc::new(ports[shard].take().expect("each shard takes its port once"));
        let took = took.clone();
        async move {
            match shard {
                0 => took.send(ask(&reactor, &port, iterations).await).expect("whoever measures waits"),
                _ => answer(&port, iterations).await,
            }
        }
    });
    running.expect("two shards").join().expect("they end");
    result.recv().expect("a duration")
}

async fn ask(reactor: &Reactor, port: &shards::mesh::Port<u64>, iterations: u64) -> Duration {
    let began = reactor.now();
    let sent = Cell::new(0);
    let window = join_all((0..WINDOW).map(|_| async {
        while sent.get() < iterations {
            sent.set(sent.get() + 1);
            let credit = port.wait_credit(1).await;
            port.request(1, &credit, sent.get());
            port.receive().await;
        }
    }));
    window.await;
    reactor.now().since(began)
}

async fn answer(port: &shards::mesh::Port<u64>, iterations: u64) {
    for _ in 0..iterations {
        let (from, item) = port.receive().await;
        port.reply(from.expect("a shard asked"), item);
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("durable batch of 10 KiB messages");
    for batch in BATCHES {
        let bare = BenchmarkId::new("bare write and flush", batch);
        group.bench_with_input(bare, &batch, |bencher, batch| bencher.iter_custom(|n| bare_flushes(*batch, n)));
        let journal = BenchmarkId::new("journal", batch);
        group.bench_with_input(journal, &batch, |bencher, batch| bencher.iter_custom(|n| journal_batches(*batch, n)));
    }
    group.finish();
    let mut group = criterion.benchmark_group("index");
    group.sample_size(10);
    group.bench_function("checkpoint of 1000 messages", |bencher| bencher.iter_custom(|n| checkpoints(1000, n)));
    group.finish();
    criterion.bench_function("crossing and its reply", |bencher| bencher.iter_custom(crossings));
    criterion.final_summary();
}
