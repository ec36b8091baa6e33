//! One shard of a sink: listeners, connections, and the end.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::Duration;

use ringpost::smtp::envelope::Envelope;
use shards::net::{Listener, exhausted};
use shards::{Reactor, Task};

use super::Shared;
use super::counts::Counts;
use super::faults::Faults;
use super::session;
use crate::clock;
use crate::idfile::IdFile;
use crate::message::{self, Mark, Received};

/// How often a shard looks whether it is to stop.
const STOP_POLL: Duration = Duration::from_millis(20);
/// How long connections may live on after that, to hear their last replies.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// How long ids may wait to be written.
const IDS_FLUSH: Duration = Duration::from_secs(1);

/// What the connections of one shard share.
pub(super) struct Shard {
    pub(super) reactor: Reactor,
    pub(super) shared: Arc<Shared>,
    pub(super) faults: RefCell<Faults>,
    pub(super) counts: RefCell<Counts>,
    ids: RefCell<IdFile>,
    connections: Cell<usize>,
    /// Nothing goes wrong here: no occasion needs a look.
    pub(super) faultless: bool,
}

impl Shard {
    /// Counts a message, and gives its id for the reply.
    ///
    /// # Errors
    /// Where its id cannot be written.
    pub(super) fn take(&self, envelope: &Envelope, content: &[u8]) -> io::Result<String> {
        let received = message::inspect(content);
        let wall_us = clock::wall_us();
        self.counts.borrow_mut().count(envelope, content.len(), received, self.reactor.now(), wall_us);
        let noted = match received {
            Received::Unmarked => Ok("unmarked".to_owned()),
            Received::Whole(Mark { id, .. }) | Received::Damaged(Mark { id, .. }) => {
                let recipients = envelope.recipients.iter().map(|recipient| recipient.path.as_str());
                self.ids.borrow_mut().note(id, recipients).map(|()| id.to_string())
            }
        };
        self.shared.count(envelope.recipients.len());
        noted
    }
}

/// Runs shard `number` until it is to stop. `ready` hears where it listens, `results` what it received.
pub(super) async fn run(
    reactor: Reactor,
    number: usize,
    shared: Arc<Shared>,
    ready: Sender<io::Result<Vec<SocketAddr>>>,
    results: Sender<Counts>,
) {
    let opened = listen(&reactor, &shared).and_then(|listeners| Ok((listeners, shared.ids.open()?)));
    let (listeners, ids) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            // Whoever waits for it has other shards to wait for too; if it is gone, so is the need.
            let _ = ready.send(Err(error));
            return;
        }
    };
    let _ = ready.send(Ok(listeners.iter().map(Listener::address).collect()));
    let faults = Faults::new(&shared.script, number);
    let shard = Rc::new(Shard {
        faultless: faults.are_none(),
        faults: RefCell::new(faults),
        counts: RefCell::default(),
        ids: RefCell::new(ids),
        connections: Cell::new(0),
        reactor,
        shared,
    });
    let accepting: Vec<Task<()>> =
        listeners.into_iter().map(|listener| shard.reactor.spawn(accept(shard.clone(), listener))).collect();
    wait_for_end(&shard).await;
    drop(accepting);
    let flushed = shard.ids.borrow_mut().flush();
    if let Err(error) = flushed {
        eprintln!("ringload: ids: {error}");
    }
    let mut counts = shard.counts.take();
    counts.faults = shard.faults.borrow().happened();
    let _ = results.send(counts);
    shard.shared.running.fetch_sub(1, Ordering::Release);
}

fn listen(reactor: &Reactor, shared: &Shared) -> io::Result<Vec<Listener>> {
    let named = |address: SocketAddr| {
        move |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    };
    shared.listen.iter().map(|address| reactor.listen(*address).map_err(named(*address))).collect()
}

async fn accept(shard: Rc<Shard>, listener: Listener) {
    loop {
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) if exhausted(&error).is_some() => continue,
            Err(_) => return,
        };
        let connection = shard.clone();
        connection.counts.borrow_mut().connections += 1;
        connection.connections.set(connection.connections.get() + 1);
        connection.shared.connections.fetch_add(1, Ordering::Relaxed);
        let conversation = async move {
            session::serve(&connection, stream).await;
            connection.connections.set(connection.connections.get() - 1);
            connection.shared.connections.fetch_sub(1, Ordering::Relaxed);
        };
        shard.reactor.spawn(conversation).detach();
    }
}

/// Until the sink is to stop, and then until its last connections have ended or the grace is over.
async fn wait_for_end(shard: &Shard) {
    let mut flushed = shard.reactor.now();
    while !shard.shared.is_stopping() {
        shard.reactor.sleep(STOP_POLL).await;
        if shard.reactor.now().since(flushed) >= IDS_FLUSH {
            flushed = shard.reactor.now();
            if shard.ids.borrow_mut().flush().is_err() {
                return;
            }
        }
    }
    let stopping = shard.reactor.now();
    while shard.connections.get() > 0 && shard.reactor.now().since(stopping) < STOP_GRACE {
        shard.reactor.sleep(STOP_POLL).await;
    }
}
