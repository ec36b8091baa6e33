//! A long queue costs little memory: 200,000 queued recipients, counted by the byte. How fast it opens is told, and measured by
//! `ringload run backlog`: a busy machine says nothing of it.
//!
//! A process of its own, because it counts every allocation of the process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use ringpost::config::Config;
use ringpost::events::Log;
use ringpost::events::log::{Channel, Style};
use ringpost::queue::Queue;
use ringpost::queue::orders::{Order, Report, Selection};
use ringpost::smtp::envelope::{Body, Envelope, Notify, Recipient, Sender};
use ringpost::smtp::path::{Mailbox, ReversePath};
use ringpost::spool::Message;
use shards::Reactor;

/// Messages, each with one recipient: the dearest kind.
const MESSAGES: u32 = 200_000;
/// Destination domains.
const DOMAINS: u32 = 1000;
/// Sessions that submit at once.
const SESSIONS: usize = 500;
/// What a queued recipient may cost, everything included.
const BYTES_PER_RECIPIENT_MAX: usize = 100;

struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came; only sizes are counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

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
schedule = ["1m"]
[retention]
content = "0s"
placeholder = "0s"
[limits]
message_bytes_max = "1MiB"
"#;

fn config(directory: &Path) -> Arc<Config> {
    Arc::new(Config::parse(CONFIG, directory).expect("a good configuration"))
}

fn message(reactor: &Reactor, queue: &Queue, number: u32) -> Message {
    let mailbox = |address: &str| Mailbox::parse(address, false).expect("an address");
    let to = format!("recipient-{number}@destination-{}.test", number % DOMAINS);
    let sender = Sender {
        path: ReversePath::Mailbox(mailbox("sender@bulk.test")),
        body: Body::SevenBit,
        smtputf8: false,
        size: None,
        ret: None,
        envid: None,
        requiretls: false,
    };
    let recipients = vec![Recipient { path: mailbox(&to), notify: Notify::default(), orcpt: None }];
    Message {
        id: queue.reserve_id(),
        arrival: reactor.wall(),
        envelope: Envelope { sender, recipients },
        account: Some("sender@bulk.test".into()),
        client: None,
        tagged: ringpost::spool::record::Tagged::default(),
        content: b"Subject: one of many\r\n\r\n".to_vec(),
    }
}

async fn open(reactor: &Reactor, config: &Arc<Config>) -> Queue {
    let log = Log::new(reactor, 0, Channel::new(Style::Logfmt));
    Queue::open(reactor, config.clone(), 0, log).await.expect("the queue opens")
}

async fn fill(reactor: &Reactor, queue: &Queue) {
    futures::stream::iter(0..MESSAGES)
        .for_each_concurrent(SESSIONS, |number| async move {
            let message = message(reactor, queue, number);
            queue.accept(message, "<1@test>").await.expect("it is accepted");
        })
        .await;
}

#[test]
fn a_long_queue_costs_little_memory() {
    let directory = tempfile::tempdir().expect("a folder");
    let config = config(directory.path());
    let filled = config.clone();
    shards::launch::run(|reactor| async move {
        let queue = open(&reactor, &filled).await;
        let began = reactor.now();
        fill(&reactor, &queue).await;
        println!("accepted {MESSAGES} messages in {:?}", reactor.now().since(began));
        queue.close().await.expect("it closes");
    })
    .expect("an executor");

    let before = ALLOCATED.load(Ordering::Relaxed);
    shards::launch::run(move |reactor| async move {
        let began = reactor.now();
        let queue = open(&reactor, &config).await;
        let opened = reactor.now().since(began);
        let bytes = ALLOCATED.load(Ordering::Relaxed).saturating_sub(before);
        let each = bytes / MESSAGES as usize;
        println!("opened in {opened:?}; {each} bytes of memory for each of {MESSAGES} recipients");
        assert!(each <= BYTES_PER_RECIPIENT_MAX, "{each} bytes");

        let began = reactor.now();
        let order = Order::List { selection: Selection::default(), after: None, limit: 100 };
        match queue.order(order).await {
            Report::Messages(page) => assert_eq!(page.len(), 100),
            other => panic!("{other:?}"),
        }
        let listed = reactor.now().since(began);
        match queue.order(Order::Count(Selection::default())).await {
            Report::Count(count) => assert_eq!(count, u64::from(MESSAGES)),
            other => panic!("{other:?}"),
        }
        println!("a page of 100 in {listed:?}");
    })
    .expect("an executor");
}
