//! One core's MTA: what it owns, its turn, and the only `match` on `Crossing`.

use std::pin::pin;
use std::sync::Arc;

use futures::channel::mpsc;
use futures::future::{Either, select};
use shards::Reactor;
use shards::mesh::Port;

use crate::config::Config;
use crate::crossing::Crossing;
use crate::dns::Query;
use crate::events::Log;
use crate::events::log::Channel;
use crate::queue::orders::Order;
use crate::queue::{self, Queue};

/// What a shard is started with. Moves to its thread once.
pub struct Start {
    /// The configuration; a newer one comes as `Crossing::Reload`.
    pub config: Arc<Config>,
    /// Its place in the mesh, which knows its number.
    pub port: Port<Crossing>,
    /// The way to the resolver.
    pub dns: mpsc::Sender<Query>,
    /// The way to the log.
    pub log: Arc<Channel>,
    /// All delivery is suspended until `Order::Suspend(false)`.
    pub suspended: bool,
}

/// Runs a shard from recovery until `Crossing::Drain` has been carried out. `ready` is called once it serves.
/// An error is the process's end: it recovers from disk at the next start.
pub async fn run(reactor: Reactor, start: Start, ready: impl FnOnce()) -> Result<(), queue::Error> {
    let Start { config, port, dns: _, log, suspended } = start;
    let log = Log::new(&reactor, port.shard(), log);
    let queue = Queue::open(&reactor, config, port.shard(), log.clone()).await?;
    if suspended {
        queue.order(Order::Suspend(true)).await;
    }
    ready();
    let ended = {
        let turn = pin!(take_turns(&reactor, &port, &queue));
        let failure = pin!(queue.failure());
        match select(turn, failure).await {
            Either::Left(((), _)) => Ok(()),
            Either::Right((error, _)) => Err(error),
        }
    };
    log.flush();
    ended?;
    queue.close().await
}

/// Does what the mesh brings, until it brings the end.
async fn take_turns(reactor: &Reactor, port: &Port<Crossing>, queue: &Queue) {
    loop {
        match port.receive().await.1 {
            Crossing::Order(order, answer) => {
                let queue = queue.clone();
                let carry_out = async move {
                    // Who no longer waits for the report needs none.
                    let _ = answer.send(queue.order(*order).await);
                };
                reactor.spawn(carry_out).detach();
            }
            Crossing::Reload(config) => queue.configure(config),
            Crossing::Attempt(_) | Crossing::Outcome(_) => {}
            Crossing::Drain(_) => return,
        }
    }
}
