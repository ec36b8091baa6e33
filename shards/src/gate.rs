//! A gate that lets a bounded number of futures of one shard through at a time; the others wait in order.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use futures::channel::oneshot;

/// A gate; a cheap handle.
#[derive(Clone)]
pub struct Gate(Rc<Inner>);

struct Inner {
    free: Cell<usize>,
    waiting: RefCell<VecDeque<oneshot::Sender<Pass>>>,
}

/// The right to be inside; dropping it lets the next one in.
pub struct Pass(Rc<Inner>);

impl Gate {
    /// A gate with room for `inside_max`.
    pub fn new(inside_max: usize) -> Self {
        Self(Rc::new(Inner { free: Cell::new(inside_max), waiting: RefCell::default() }))
    }

    /// Waits for room.
    pub async fn enter(&self) -> Pass {
        if let Some(free) = self.0.free.get().checked_sub(1) {
            self.0.free.set(free);
            return Pass(self.0.clone());
        }
        let (sender, receiver) = oneshot::channel();
        self.0.waiting.borrow_mut().push_back(sender);
        receiver.await.expect("a waiting sender is only dropped by sending")
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let next = loop {
            match self.0.waiting.borrow_mut().pop_front() {
                Some(waiter) if waiter.is_canceled() => {}
                other => break other,
            }
        };
        match next {
            // If the waiter goes away before it looks, the pass is dropped with its channel and comes back here.
            Some(waiter) => drop(waiter.send(Pass(self.0.clone()))),
            None => self.0.free.set(self.0.free.get() + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn no_more_than_the_limit_are_inside_and_the_rest_come_in_order() {
        let gate = Gate::new(2);
        let first = gate.enter().now_or_never().expect("room");
        let second = gate.enter().now_or_never().expect("room");
        let mut third = Box::pin(gate.enter());
        let mut fourth = Box::pin(gate.enter());
        assert!((&mut third).now_or_never().is_none());
        assert!((&mut fourth).now_or_never().is_none());
        drop(first);
        assert!((&mut fourth).now_or_never().is_none(), "the third was first");
        let third = (&mut third).now_or_never().expect("room");
        drop((second, third));
        assert!((&mut fourth).now_or_never().is_some());
    }

    #[test]
    fn those_who_went_away_lose_no_room() {
        let gate = Gate::new(1);
        let inside = gate.enter().now_or_never().expect("room");
        let mut gone = Box::pin(gate.enter());
        assert!((&mut gone).now_or_never().is_none());
        let mut told_but_gone = Box::pin(gate.enter());
        assert!((&mut told_but_gone).now_or_never().is_none());
        drop(gone);
        drop(inside);
        drop(told_but_gone);
        assert!(gate.enter().now_or_never().is_some());
    }
}
