//! Starting shards: one pinned executor per core, and what happens when one ends or panics.
//!
//! A panic of a shard stops the process (exit code 70 after one line that names the shard): its state may be half
//! changed, and recovery from disk is proven. Tasks that serve one peer catch their own panics above this crate.

use std::future::Future;
use std::io;

use crate::Reactor;

/// Shards that were started.
pub struct Running(());

impl Running {
    /// Waits until every shard's future has ended.
    pub fn join(self) -> io::Result<()> {
        todo!()
    }
}

/// How many shards `auto` is: the cores that this process may use.
pub fn cores() -> usize {
    todo!()
}

/// Starts `shards` threads, each pinned to a core of its own (or sharing when there are more shards than cores), and
/// runs `body(reactor, shard)` on each.
pub fn launch<F>(_shards: usize, _body: impl Fn(Reactor, usize) -> F + Send + Clone + 'static) -> io::Result<Running>
where
    F: Future<Output = ()> + 'static,
{
    todo!()
}

/// Runs `body` on the current thread's own executor to its end (tools and tests).
pub fn run<F, T>(_body: impl FnOnce(Reactor) -> F) -> io::Result<T>
where
    F: Future<Output = T> + 'static,
    T: 'static,
{
    todo!()
}
