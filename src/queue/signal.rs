//! A signal between tasks of one shard: "look again".

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Wakes every task that waits. A signal given while nobody waits is not lost for one who saw an earlier round.
#[derive(Default)]
pub struct Signal {
    round: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Signal {
    /// Wakes all that wait.
    pub fn give(&self) {
        self.round.set(self.round.get() + 1);
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// The current round, to be seen before looking at what the signal is about.
    pub fn round(&self) -> u64 {
        self.round.get()
    }

    /// Waits until the signal is given after `round`.
    pub async fn after(&self, round: u64) {
        poll_fn(|context| {
            if self.round.get() != round {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}
