//! Virtual time: a clock that moves when it is told to, and what waits for it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::World;
use crate::time::{Instant, Timestamp};

/// The wall clock when a simulation begins: 2026-01-01T00:00:00Z.
const WALL_BEGINNING_MS: u64 = 1_767_225_600_000;

/// When, and a number that keeps alarms of one moment in the order in which they were set.
type Key = (Instant, u64);

/// The clock and its alarms. Alarms are as many as futures that wait.
#[derive(Default)]
pub(crate) struct Timers {
    now: Cell<Instant>,
    alarms: RefCell<BTreeMap<Key, Waker>>,
    set_count: Cell<u64>,
}

impl Timers {
    pub(crate) fn now(&self) -> Instant {
        self.now.get()
    }

    pub(crate) fn wall(&self) -> Timestamp {
        Timestamp::from_millis(WALL_BEGINNING_MS + self.now.get().as_nanos() / 1_000_000)
    }

    /// When the next alarm rings.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.alarms.borrow().keys().next().map(|key| key.0)
    }

    /// Moves the clock forward to `now` (never back) and rings every alarm until then, in order.
    pub(crate) fn advance(&self, now: Instant) {
        self.now.set(self.now.get().max(now));
        while let Some(waker) = self.pop_due() {
            waker.wake();
        }
    }

    fn pop_due(&self) -> Option<Waker> {
        let mut alarms = self.alarms.borrow_mut();
        let entry = alarms.first_entry()?;
        (entry.key().0 <= self.now.get()).then(|| entry.remove())
    }

    fn set(&self, at: Instant, waker: Waker) -> Key {
        let key = (at, self.set_count.get());
        self.set_count.set(key.1 + 1);
        self.alarms.borrow_mut().insert(key, waker);
        key
    }

    fn clear(&self, key: Key) {
        let waker = self.alarms.borrow_mut().remove(&key);
        drop(waker);
    }
}

/// At most one alarm of one future. Dropping it clears it.
pub(crate) struct Alarm {
    world: Rc<World>,
    key: Option<Key>,
}

impl Alarm {
    pub(crate) fn new(world: Rc<World>) -> Self {
        Self { world, key: None }
    }

    /// Wakes `context`'s task at `at`, and no more at the time set before.
    pub(crate) fn set(&mut self, at: Instant, context: &Context<'_>) {
        self.clear();
        self.key = Some(self.world.timers.set(at, context.waker().clone()));
    }

    fn clear(&mut self) {
        if let Some(key) = self.key.take() {
            self.world.timers.clear(key);
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Waits until a moment.
pub(crate) struct Sleep {
    alarm: Alarm,
    until: Instant,
}

impl Sleep {
    pub(crate) fn new(world: Rc<World>, until: Instant) -> Self {
        Self { alarm: Alarm::new(world), until }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.alarm.world.timers.now() >= self.until {
            return Poll::Ready(());
        }
        let until = self.until;
        self.alarm.set(until, context);
        Poll::Pending
    }
}
