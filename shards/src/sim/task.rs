//! What a spawned task gives back.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::scheduler::TaskId;
use super::{Life, World};

/// A spawned task: awaiting it gives its output, dropping it cancels it. One whose node crashed never ends.
pub(crate) struct Task<T> {
    world: Rc<World>,
    /// `None` once it may run on its own.
    task: Option<TaskId>,
    end: Rc<End<T>>,
}

struct End<T> {
    output: Cell<Option<T>>,
    waiting: RefCell<Option<Waker>>,
}

impl<T: 'static> Task<T> {
    pub(crate) fn spawn(world: &Rc<World>, life: Life, future: impl Future<Output = T> + 'static) -> Self {
        let end = Rc::new(End { output: Cell::new(None), waiting: RefCell::new(None) });
        let reached = end.clone();
        let body = async move {
            reached.output.set(Some(future.await));
            if let Some(waker) = reached.waiting.take() {
                waker.wake();
            }
        };
        let task = world.spawn(life, Box::pin(body));
        Self { world: world.clone(), task: Some(task), end }
    }
}

impl<T> Task<T> {
    /// Lets it run to its end on its own.
    pub(crate) fn detach(mut self) {
        self.task = None;
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match self.end.output.take() {
            Some(output) => Poll::Ready(output),
            None => {
                self.end.waiting.replace(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task {
            self.world.scheduler.cancel(task);
        }
    }
}
