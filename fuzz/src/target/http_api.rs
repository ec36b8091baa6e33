//! The HTTP API: raw bytes at the real server, over a connection in memory, with shards that answer like an empty queue.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::sync::Arc;

use axum::serve::Listener;
use ringpost::config::Config;
use ringpost::control::desk::Desk;
use ringpost::control::http::{Access, router};
use ringpost::control::suppression::Keeper;
use ringpost::crossing::Crossing;
use ringpost::events::log::{Channel, Style};
use ringpost::queue::orders::{Lifted, Order, Report, Suspended};
use shards::mesh::{Port, mesh};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::LocalSet;

/// What requests are made of.
pub const WORDS: &[&str] = &[
    "GET /api/v1/queue HTTP/1.1\r\n",
    "GET /api/v1/queue/count?",
    "GET /api/v1/queue/domains?resting=true",
    "GET /api/v1/messages?message_id=",
    "POST /api/v1/queue/hold HTTP/1.1\r\n",
    "POST /api/v1/queue/retry HTTP/1.1\r\n",
    "POST /api/v1/paths/lift HTTP/1.1\r\n",
    "{\"domain\":\"x\",\"source\":\"",
    "Host: x\r\n",
    "Content-Type: application/json\r\n",
    "Content-Length: ",
    "Transfer-Encoding: chunked\r\n",
    "\r\n\r\n",
    "{\"all\":true}",
    "{\"domain\":\"x\"}",
    "GET /api/v1/suppressions?list=account:x",
    "POST /api/v1/suppressions/import HTTP/1.1\r\n",
    "&limit=",
    "&after=",
    "%3C",
    "%00",
    "%ff",
    "state=due",
    "GET /metrics HTTP/1.0\r\n",
    "GET /health HTTP/1.1\r\n",
    "Expect: 100-continue\r\n",
    "Connection: close\r\n",
];

/// Bytes of a connection on their way.
const PIPE_BYTES: usize = 256 * 1024;
/// Bytes of answers to a byte of requests: `GET / HTTP/1.1` gets the console.
const GROWTH_MAX: usize = 4096;

/// Connections that are handed over one by one.
struct Hatch(Receiver<DuplexStream>);

impl Listener for Hatch {
    type Io = DuplexStream;
    type Addr = ();

    async fn accept(&mut self) -> (DuplexStream, ()) {
        match self.0.recv().await {
            Some(stream) => (stream, ()),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A configuration with a data directory that does not exist.
fn config() -> Config {
    let text = "[server]\nhostname = \"mta.test\"\ndata_dir = \"no-such-folder\"\n[[listener]]\nkind = \"relay\"\n\
                address = \"127.0.0.1:2525\"\ntls = \"off\"\nnetworks = [\"127.0.0.0/8\"]\n";
    Config::parse(text, Path::new("/nonexistent")).expect("good")
}

/// A server of this thread, which all runs share.
struct Served {
    runtime: Runtime,
    tasks: LocalSet,
    hatch: Sender<DuplexStream>,
}

impl Served {
    fn start() -> Served {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (tasks, (ports, inlet)) = (LocalSet::new(), mesh(1, 1, 4));
        ports.into_iter().for_each(|port| drop(tasks.spawn_local(play_shard(port))));
        let (hatch, receiver) = mpsc::channel(1);
        let log = Channel::new(Style::Logfmt);
        // Nobody is suppressed by this configuration, so the lists are looked at and never change.
        let keeper = Keeper::open(&config(), &log).expect("nothing is there");
        let router = router(Desk::new(inlet), keeper, log, mpsc::channel(1).0, Arc::new([]), Access::Socket);
        tasks.spawn_local(async { axum::serve(Hatch(receiver), router).await });
        Served { runtime, tasks, hatch }
    }

    fn answer(&self, request: &[u8]) -> Vec<u8> {
        self.tasks.block_on(&self.runtime, async {
            let (mut client, server) = duplex(PIPE_BYTES);
            self.hatch.send(server).await.expect("the server runs");
            let (mut reader, mut writer) = tokio::io::split(&mut client);
            let ask = async {
                // A server that has closed already is not interested in the rest.
                let _ = writer.write_all(request).await;
                let _ = writer.shutdown().await;
            };
            let mut answer = Vec::new();
            let (_, read) = tokio::join!(ask, reader.read_to_end(&mut answer));
            read.expect("a pipe");
            answer
        })
    }
}

async fn play_shard(port: Port<Crossing>) {
    loop {
        let (_, Crossing::Order(order, answer)) = port.receive().await else { continue };
        let report = match *order {
            Order::List { .. } | Order::Find(_) => Report::Messages(Vec::new()),
            Order::Show(_) => Report::Message(None),
            Order::Domains { .. } => Report::Domains(Vec::new()),
            Order::Metrics => Report::Metrics(vec![("accepted_total", 3)]),
            Order::Webhooks => Report::Webhooks(Vec::new()),
            Order::Suspend(..) | Order::Suspensions => Report::Suspended(Suspended::default()),
            Order::Lift(lift) if lift.source.is_some() => Report::Lifted(Lifted::NoSource(Vec::new())),
            Order::Lift(_) => Report::Lifted(Lifted::default()),
            Order::Adjusted(_) => Report::Adjusted(Vec::new()),
            Order::TlsSessions => Report::TlsSessions(Box::default()),
            _ => Report::Count(0),
        };
        let _ = answer.send(report);
    }
}

/// Whatever is asked, the answer is HTTP or nothing, never a failure of ours, and bounded.
pub fn http_api(data: &[u8]) {
    thread_local!(static SERVED: RefCell<Option<Served>> = const { RefCell::new(None) });
    let answer = SERVED.with_borrow_mut(|served| served.get_or_insert_with(Served::start).answer(data));
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{}", answer.escape_ascii());
    assert!(answer.get(9) != Some(&b'5'), "a failure of ours: {}", answer.escape_ascii());
    assert!(answer.len() <= (data.len() + 16) * GROWTH_MAX, "{} bytes answer {}", answer.len(), data.len());
}
