//! The queue on a real reactor and a real disk. Each test is a sentence of the table of states or of its guarantees.

mod lifecycle;
mod notices;
mod orders;
mod recovery;
mod retention;
mod returned;
mod scheduled;
mod trimming;
mod webhooks;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use shards::Reactor;

use super::outcome::{Answer, Hop, Outcome};
use super::{Error, Lease, MessageId, Queue};
use crate::config::Config;
use crate::events::Log;
use crate::events::log::{Channel, Style};
use crate::smtp::client::Phase;
use crate::smtp::envelope::{Body, Envelope, Notify, Recipient, Sender};
use crate::smtp::path::{Mailbox, ReversePath};
use crate::smtp::reply::{EnhancedCode, Reply};
use crate::spool::Message;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// In no header and no path, so that finding it on disk is finding content.
const MARKER: &str = "tU7vGq9XkW2mPz4bRs";

/// What is delivered goes at once; nothing is told before a day has passed.
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
schedule = ["1m"]
delay_notice_after = "24h"
[retention]
content = "0s"
placeholder = "0s"
[limits]
message_bytes_max = "1MiB"
"#;

/// A data directory that goes away, and a configuration for it.
struct World {
    directory: tempfile::TempDir,
    config: Config,
}

impl World {
    fn new() -> World {
        let directory = tempfile::tempdir().expect("a folder for the test");
        let config = config(directory.path());
        World { directory, config }
    }

    /// Opens the queue on an executor of its own and lets `story` happen. Where the story does not close the queue, its
    /// end is a crash: what was not appended is forgotten.
    fn run<F: Future<Output = ()> + 'static>(&self, story: impl FnOnce(Reactor, Queue) -> F + 'static) {
        self.run_shard(0, story);
    }

    /// The same for another shard than the first.
    fn run_shard<F: Future + 'static>(
        &self,
        shard: usize,
        story: impl FnOnce(Reactor, Queue) -> F + 'static,
    ) -> F::Output {
        let config = Arc::new(self.config.clone());
        let run = shards::launch::run(|reactor| async move {
            let log = Log::new(&reactor, shard, Channel::new(Style::Logfmt));
            let queue = Queue::open(&reactor, config, shard, log).await.expect("the queue opens");
            story(reactor, queue).await
        });
        run.expect("an executor")
    }
}

fn config(directory: &std::path::Path) -> Config {
    Config::parse(CONFIG, directory).expect("a good configuration")
}

fn recipient(address: &str) -> Recipient {
    Recipient { path: Mailbox::parse(address, false).expect("an address"), notify: Notify::default(), orcpt: None }
}

fn sender(address: &str) -> Sender {
    let path = match address {
        "" => ReversePath::Null,
        address => ReversePath::Mailbox(Mailbox::parse(address, false).expect("an address")),
    };
    Sender { path, body: Body::SevenBit, smtputf8: false, size: None, ret: None, envid: None, requiretls: false }
}

fn content() -> Vec<u8> {
    format!("Subject: a test\r\nMessage-ID: <1@test>\r\n\r\n{}\r\n", MARKER.repeat(300)).into_bytes()
}

fn message(reactor: &Reactor, queue: &Queue, from: &str, to: &[&str]) -> Message {
    Message {
        id: queue.reserve_id(),
        arrival: reactor.wall(),
        envelope: Envelope { sender: sender(from), recipients: to.iter().map(|to| recipient(to)).collect() },
        account: None,
        client: None,
        tagged: crate::spool::record::Tagged { message_id: Some("<1@test>".into()), ..Default::default() },
        content: content(),
    }
}

/// Accepts a message from `from` to `to`.
async fn accept(reactor: &Reactor, queue: &Queue, from: &str, to: &[&str]) -> MessageId {
    let message = message(reactor, queue, from, to);
    queue.accept(message, "<1@test>").await.expect("it is accepted").id()
}

/// The next lease, at any domain.
async fn lease(queue: &Queue) -> Lease {
    loop {
        let domain = queue.next_ready().await;
        let lease = queue.lease(&domain);
        queue.hand_back(&domain);
        if let Some(lease) = lease {
            return lease;
        }
    }
}

fn answer(code: u16, status: EnhancedCode, text: &str) -> Answer {
    Answer {
        phase: Phase::Dot,
        status,
        reason: None,
        reply: Some(Reply { code, enhanced: Some(status), text: text.into() }),
        text: format!("{code} {status} {text}").into(),
        remote: Some("mx.example [192.0.2.1]:25".into()),
        tls: None,
    }
}

fn delivered() -> Outcome {
    Outcome::Delivered(answer(250, EnhancedCode(2, 0, 0), "ok"), Hop::WithoutDsn)
}

fn deferred() -> Outcome {
    Outcome::Deferred(answer(450, EnhancedCode(4, 2, 1), "greylisted"))
}

fn failed() -> Outcome {
    Outcome::Failed(answer(550, EnhancedCode(5, 1, 1), "user unknown"))
}

/// Settles all of a lease alike.
async fn settle(queue: &Queue, lease: &Lease, outcome: &Outcome) {
    let outcomes = lease.recipients.iter().map(|(index, _)| (*index, outcome.clone())).collect();
    queue.settle(lease.number, outcomes).await;
}

/// Queued and held recipients.
fn counts(queue: &Queue) -> (u64, u64) {
    let tally = queue.core.state.borrow().tally;
    (tally.queued, tally.held)
}

/// Waits until the index has all that memory has.
async fn checkpoint(queue: &Queue) {
    let is_behind = || {
        let state = queue.core.state.borrow();
        state.rows.bytes() > 0 || state.segments.is_dirty() || state.submitted.is_dirty()
    };
    while is_behind() {
        let round = queue.core.kept.round();
        queue.core.work.give();
        queue.core.kept.after(round).await;
    }
}

/// Whether nothing can be leased, and stays so while everything that runs has had its turn.
async fn nothing_is_ready(reactor: &Reactor, queue: &Queue) -> bool {
    reactor.timeout(Duration::from_millis(50), lease(queue)).await.is_err()
}

/// Every lease that is to be had.
async fn lease_all(reactor: &Reactor, queue: &Queue) -> Vec<Lease> {
    let mut leases = Vec::new();
    while let Ok(lease) = reactor.timeout(Duration::from_millis(50), lease(queue)).await {
        leases.push(lease);
    }
    leases
}

/// Whether any file of the data directory holds content.
fn content_is_on_disk(directory: &std::path::Path) -> bool {
    std::fs::read_dir(directory).expect("a directory").any(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            content_is_on_disk(&path)
        } else {
            memchr::memmem::find(&std::fs::read(&path).expect("a file"), MARKER.as_bytes()).is_some()
        }
    })
}

/// Longer than any of these takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `done`, looking after every round of the housekeeping.
async fn until(reactor: &Reactor, queue: &Queue, what: &str, done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            let round = queue.core.kept.round();
            queue.core.kept.after(round).await;
        }
    };
    reactor.timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// The next lease at `domain`.
async fn lease_at(queue: &Queue, domain: &str) -> Lease {
    loop {
        let offered = queue.next_ready().await;
        if &*offered != domain {
            // Left out of the rotation until its turn comes in this test.
            queue.park(&offered, Duration::from_millis(1), &"".into(), &"".into());
            continue;
        }
        let lease = queue.lease(domain);
        queue.hand_back(domain);
        if let Some(lease) = lease {
            return lease;
        }
    }
}
