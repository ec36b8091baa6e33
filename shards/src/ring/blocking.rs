//! Work on glommio's pool of threads, all of it reaped before the executor ends.
//!
//! An executor that ended in the middle would leave behind what the work and whoever waits for it hold (an open index,
//! say), and its threads would find nobody to answer to.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::task::{Poll, Waker};

/// What a shard has handed to the pool.
#[derive(Clone, Default)]
pub(super) struct Blocking(Rc<State>);

#[derive(Default)]
struct State {
    closed: Cell<bool>,
    running: Cell<usize>,
    waiting: RefCell<Option<Waker>>,
}

impl Blocking {
    /// Runs `work` off this thread, also to its end where the caller does not wait for it. Once closed, it never starts.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        if self.0.closed.get() {
            pending::<()>().await;
        }
        let running = Running::new(&self.0);
        let work = glommio::executor().spawn_blocking(|| catch_unwind(AssertUnwindSafe(work)));
        let reaped = glommio::spawn_local(async move {
            let _running = running;
            work.await
        });
        match reaped.detach().await {
            Some(Ok(output)) => output,
            Some(Err(panic)) => resume_unwind(panic),
            None => pending().await,
        }
    }

    /// Starts nothing more.
    pub(super) fn close(&self) {
        self.0.closed.set(true);
    }

    /// Waits until nothing runs.
    pub(super) fn idle(&self) -> impl Future<Output = ()> + use<> {
        let state = self.0.clone();
        poll_fn(move |context| {
            if state.running.get() == 0 {
                return Poll::Ready(());
            }
            *state.waiting.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
    }
}

struct Running(Rc<State>);

impl Running {
    fn new(state: &Rc<State>) -> Self {
        state.running.set(state.running.get() + 1);
        Self(state.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        if self.0.running.get() == 0
            && let Some(waker) = self.0.waiting.take()
        {
            waker.wake();
        }
    }
}
