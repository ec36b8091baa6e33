//! What happened, folded into one number: two runs of one seed must agree on it.

use std::cell::Cell;

use super::random::spread;

/// What happened.
#[derive(Clone, Copy)]
pub(crate) enum Event {
    Poll = 1,
    Clock,
    Spawn,
    Connect,
    Send,
    Receive,
    Close,
    Reset,
    Write,
    Flush,
    Commit,
    Crash,
}

/// The fold.
#[derive(Default)]
pub(crate) struct Trace(Cell<u64>);

impl Trace {
    /// Adds an event and two numbers that tell it from others of its kind.
    pub(crate) fn record(&self, event: Event, subject: u64, detail: u64) {
        let folded = spread(self.0.get() ^ event as u64);
        self.0.set(spread(spread(folded ^ subject) ^ detail));
    }

    pub(crate) fn hash(&self) -> u64 {
        self.0.get()
    }
}
