//! One simulated shard's way to act on its world: what [`crate::Reactor`] does on this backend.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::{Either, select};

use super::network::sockets::{self, Listener, Stream};
use super::random::{Dice, spread};
use super::timers::{Alarm, Sleep};
use super::{Life, Task, World};
use crate::reactor::Elapsed;
use crate::time::{Instant, Timestamp};

/// How long `blocking` takes.
const BLOCKING_DELAY: Range<Duration> = Duration::from_micros(5)..Duration::from_micros(500);

/// One simulated shard's place in its simulation.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(super) world: Rc<World>,
    pub(super) life: Life,
    /// What the program draws.
    dice: Rc<Dice>,
}

impl Handle {
    pub(super) fn new(world: &Rc<World>, node: usize) -> Self {
        let state = &mut world.nodes.borrow_mut()[node];
        state.reactor_count += 1;
        let dice = Dice::new(spread(world.seed ^ (node as u64) << 32 ^ state.reactor_count), "program");
        Self { world: world.clone(), life: Life { node, start: state.start }, dice: Rc::new(dice) }
    }

    pub(crate) fn now(&self) -> Instant {
        self.world.timers.now()
    }

    pub(crate) fn wall(&self) -> Timestamp {
        self.world.timers.wall()
    }

    pub(crate) fn random(&self) -> u64 {
        self.dice.any()
    }

    pub(crate) async fn sleep(&self, delay: Duration) {
        self.sleep_until(self.now() + delay).await;
    }

    pub(super) async fn sleep_until(&self, until: Instant) {
        Sleep::new(self.world.clone(), until).await;
    }

    pub(super) fn alarm(&self) -> Alarm {
        Alarm::new(self.world.clone())
    }

    pub(crate) async fn yield_now(&self) {
        let mut yielded = false;
        poll_fn(|context| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    pub(crate) async fn timeout<T>(&self, patience: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
        let patience = pin!(self.sleep(patience));
        match select(pin!(future), patience).await {
            Either::Left((output, _)) => Ok(output),
            Either::Right(((), _)) => Err(Elapsed),
        }
    }

    pub(crate) fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Task<T> {
        Task::spawn(&self.world, self.life, future)
    }

    /// The work is done even if nobody waits for it any more, as a thread's is; not after a crash.
    pub(crate) async fn blocking<T: 'static>(&self, work: impl FnOnce() -> T + 'static) -> T {
        let delay = self.world.dice.scheduling.between(&BLOCKING_DELAY);
        let machine = self.clone();
        let later = async move {
            machine.sleep(delay).await;
            work()
        };
        self.uninterrupted(later).await
    }

    /// Runs `future` to its end, whether or not the caller goes on waiting; not after a crash.
    pub(super) async fn uninterrupted<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        let (done, result) = oneshot::channel();
        let body = async move {
            // Nobody waits any more: nothing to tell.
            let _ = done.send(future.await);
        };
        self.spawn(body).detach();
        match result.await {
            Ok(result) => result,
            // The machine has crashed: nothing on it ever goes on.
            Err(oneshot::Canceled) => std::future::pending().await,
        }
    }

    pub(crate) fn listen(&self, address: SocketAddr) -> io::Result<Listener> {
        sockets::listen(self, address)
    }

    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        source: Option<IpAddr>,
        patience: Duration,
    ) -> io::Result<Stream> {
        sockets::connect(self, address, source, patience).await
    }

    /// A reactor of a machine that has crashed since can do nothing.
    pub(super) fn check_alive(&self) -> io::Result<()> {
        if self.world.is_alive(self.life) { Ok(()) } else { Err(io::ErrorKind::NetworkDown.into()) }
    }
}
