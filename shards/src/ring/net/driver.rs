//! The driver: the one task that submits and collects for all sockets of the shard.
//!
//! While there is traffic it takes turns with the tasks that it wakes: one system call submits what they asked for and
//! collects what has come. After [`IDLE_TURNS`] without news it parks, and glommio sleeps in the kernel for all of us.

use std::future::{Future, poll_fn};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Poll, Waker};

use glommio::io::{PollState, PollableFd};

use super::{Network, State};

/// Turns without a completion before the driver parks: parking costs more than a look.
const IDLE_TURNS: u32 = 2;

/// The descriptor of the doorbell, which the queue owns.
struct Doorbell(RawFd);

impl AsRawFd for Doorbell {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl Network {
    /// Drives the ring until [`Network::shut_down`]. Must run on the shard's executor.
    pub(in crate::ring) async fn drive(self) {
        let doorbell = Doorbell(self.state.borrow().queue.doorbell());
        let doorbell = PollableFd::new(doorbell).expect("a task runs on an executor");
        let mut registration = PollState::new();
        let mut idle_turns = 0;
        while !self.state.borrow().stopped {
            let now = self.alarms.now();
            let busy = self.with(|state| state.turn(now));
            idle_turns = if busy { 0 } else { idle_turns + 1 };
            if idle_turns < IDLE_TURNS {
                self.passes.yield_now().await;
            } else {
                self.park(&doorbell, &mut registration).await;
                idle_turns = 0;
            }
        }
    }

    /// Sleeps until the kernel rings, a task submits something, or somebody has lingered long enough.
    async fn park(&self, doorbell: &PollableFd<Doorbell>, registration: &mut PollState) {
        if !self.with(|state| state.queue.watch()) {
            return;
        }
        let linger_end = self.with(|state| state.lingering.front().map(|first| first.until));
        let mut linger_end = linger_end.map(|when| self.alarms.at(when));
        poll_fn(|context| {
            if self.with(|state| state.is_called(context.waker())) {
                return Poll::Ready(());
            }
            if let Some(alarm) = &mut linger_end
                && Pin::new(alarm).poll(context).is_ready()
            {
                return Poll::Ready(());
            }
            // An error to poll is no news either; the next turn looks.
            doorbell.poll_readable(context, registration).map(|_| ())
        })
        .await;
        self.with(|state| {
            state.driver = None;
            state.queue.unwatch();
        });
    }
}

impl State {
    /// Whether the driver has something to do; otherwise it is noted whom to call.
    fn is_called(&mut self, driver: &Waker) -> bool {
        if self.stopped || self.queue.has_submissions() || self.can_relieve() {
            return true;
        }
        self.driver = Some(driver.clone());
        false
    }
}
