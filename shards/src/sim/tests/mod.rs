//! The simulation itself: what a test above it may rely on.

mod index;
mod journal;
mod network;
mod scheduling;
mod storage;

use std::cell::RefCell;
use std::rc::Rc;

/// What tasks did, in order.
type Log<T> = Rc<RefCell<Vec<T>>>;

fn log<T>() -> Log<T> {
    Rc::new(RefCell::new(Vec::new()))
}
