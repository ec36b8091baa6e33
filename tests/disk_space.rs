//! Disk comes back under a steady load of which a long-lived tail stays: bytes allocated over time, counted in blocks.
//!
//! `RINGPOST_FULL=1 cargo test --test disk_space -- --nocapture` runs it for longer.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use ringpost::config::Config;
use ringpost::events::Log;
use ringpost::events::log::{Channel, Style};
use ringpost::queue::Queue;
use ringpost::queue::outcome::{Answer, Hop, Outcome};
use ringpost::smtp::client::Phase;
use ringpost::smtp::envelope::{Body, Envelope, Notify, Recipient, Sender};
use ringpost::smtp::path::{Mailbox, ReversePath};
use ringpost::smtp::reply::EnhancedCode;
use ringpost::spool::Message;
use shards::Reactor;

/// Octets of each content.
const CONTENT_BYTES: usize = 10 << 10;
/// One message of so many is deferred for the whole time.
const ONE_DEFERRED_OF: usize = 100;
/// Messages between two measurements.
const MESSAGES_PER_STEP: usize = 2000;
/// Sessions that submit at once.
const SESSIONS: usize = 50;
/// Longer than space takes to come back: a checkpoint, a while, a round of the housekeeping.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the journal may occupy: the current segment, the spare and one that is not trimmed yet; for each live content
/// twice the blocks that it touches, and one that it shares with a neighbour that was erased.
fn bytes_max(live: usize) -> u64 {
    const SEGMENT: u64 = 16 << 20;
    const BLOCK: u64 = 4096;
    let touched = (CONTENT_BYTES as u64).div_ceil(BLOCK) + 1;
    3 * SEGMENT + live as u64 * (2 * touched + 1) * BLOCK
}

/// What is delivered goes at once.
const CONFIG: &str = r#"
[server]
hostname = "mta.test"
data_dir = "."
shards = 1
[[listener]]
kind = "relay"
address = "127.0.0.1:2525"
tls = "off"
networks = ["127.0.0.0/8"]
[retry]
schedule = ["1h"]
delay_notice_after = "24h"
[retention]
content = "0s"
placeholder = "0s"
[limits]
message_bytes_max = "1MiB"
"#;

fn config(directory: &Path) -> Arc<Config> {
    Arc::new(Config::parse(CONFIG, directory).expect("a good configuration"))
}

fn message(reactor: &Reactor, queue: &Queue, number: usize) -> Message {
    let mailbox = |address: &str| Mailbox::parse(address, false).expect("an address");
    let at = if number.is_multiple_of(ONE_DEFERRED_OF) { "deferring.test" } else { "accepting.test" };
    let sender = Sender {
        path: ReversePath::Mailbox(mailbox("sender@bulk.test")),
        body: Body::SevenBit,
        smtputf8: false,
        size: None,
        ret: None,
        envid: None,
        requiretls: false,
    };
    let path = mailbox(&format!("recipient-{number}@{at}"));
    let recipients = vec![Recipient { path, notify: Notify::default(), orcpt: None }];
    Message {
        id: queue.reserve_id(),
        arrival: reactor.wall(),
        envelope: Envelope { sender, recipients },
        account: None,
        client: None,
        tagged: ringpost::spool::record::Tagged::default(),
        content: format!("Subject: one of many\r\n\r\n{}\r\n", "x".repeat(CONTENT_BYTES - 26)).into_bytes(),
    }
}

fn outcome(domain: &str) -> Outcome {
    let answer = |status: EnhancedCode, text: &str| Answer {
        phase: Phase::Dot,
        status,
        reason: None,
        reply: None,
        text: text.into(),
        remote: Some("mx.example [192.0.2.1]:25".into()),
        tls: None,
    };
    match domain {
        "deferring.test" => Outcome::Deferred(answer(EnhancedCode(4, 2, 2), "452 4.2.2 mailbox full")),
        _ => Outcome::Delivered(answer(EnhancedCode(2, 0, 0), "250 2.0.0 ok"), Hop::WithoutDsn),
    }
}

/// Bytes that the files of a directory occupy.
fn allocated_bytes(directory: &Path) -> u64 {
    // A segment may be deleted between being listed and being looked at.
    let files = std::fs::read_dir(directory).expect("a directory").filter_map(|entry| entry.ok()?.metadata().ok());
    files.map(|file| file.blocks() * 512).sum()
}

/// Submits a step's messages while the dispatcher settles each.
async fn load(reactor: &Reactor, queue: &Queue, first: usize) {
    let submit = futures::stream::iter(first..first + MESSAGES_PER_STEP).for_each_concurrent(SESSIONS, |number| {
        let message = message(reactor, queue, number);
        async move { drop(queue.accept(message, "<1@test>").await.expect("it is accepted")) }
    });
    let settle = async {
        let mut settled = 0;
        while settled < MESSAGES_PER_STEP {
            let domain = queue.next_ready().await;
            if let Some(lease) = queue.lease(&domain) {
                settled += lease.recipients.len();
                let outcomes = lease.recipients.iter().map(|(index, _)| (*index, outcome(&domain))).collect();
                queue.settle(lease.number, outcomes).await;
            }
            queue.hand_back(&domain);
        }
    };
    futures::join!(submit, settle);
}

#[test]
fn disk_comes_back_under_a_steady_load_with_a_long_lived_tail() {
    let steps = if std::env::var_os("RINGPOST_FULL").is_some() { 100 } else { 6 };
    let directory = tempfile::tempdir().expect("a folder");
    let config = config(directory.path());
    let journal = directory.path().join("shard-00/journal");
    let index = directory.path().join("shard-00/index");
    shards::launch::run(move |reactor| async move {
        let log = Log::new(&reactor, 0, Channel::new(Style::Logfmt));
        let queue = Queue::open(&reactor, config, 0, log).await.expect("the queue opens");
        let began = reactor.now();
        println!(
            "seconds  accepted MB  live MB  journal MiB under load  journal MiB a little later  bound MiB  index MiB"
        );
        for step in 1..=steps {
            load(&reactor, &queue, (step - 1) * MESSAGES_PER_STEP).await;
            let accepted = step * MESSAGES_PER_STEP;
            let live = accepted / ONE_DEFERRED_OF;
            let under_load = allocated_bytes(&journal);
            let (mut bytes, max) = (under_load, bytes_max(live));
            let comes_back = async {
                while bytes > max {
                    reactor.sleep(Duration::from_millis(50)).await;
                    bytes = allocated_bytes(&journal);
                }
            };
            let came_back = reactor.timeout(PATIENCE, comes_back).await.is_ok();
            println!(
                "{:7.1}  {:11.1}  {:7.1}  {:22.1}  {:26.1}  {:9.1}  {:9.1}",
                reactor.now().since(began).as_secs_f64(),
                (accepted * CONTENT_BYTES) as f64 / 1e6,
                (live * CONTENT_BYTES) as f64 / 1e6,
                under_load as f64 / f64::from(1 << 20),
                bytes as f64 / f64::from(1 << 20),
                max as f64 / f64::from(1 << 20),
                allocated_bytes(&index) as f64 / f64::from(1 << 20),
            );
            assert!(came_back, "{bytes} bytes of disk for {live} messages");
        }
    })
    .expect("an executor");
}
