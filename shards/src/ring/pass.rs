//! Passes: tasks that always find work must not keep glommio from its timers, files and descriptors.
//!
//! glommio looks at those when no task is runnable, or when its preemption timer fires. We do not rely on the timer: if
//! it fires just before the first task would run, glommio (0.12) takes the shard for idle and sleeps until something
//! else happens. So the timer is slow, and whoever yields asks for a pass itself once one is due.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use glommio::io::PollableFd;

use super::alarm::Alarms;
use super::eventfd;
use crate::time::Instant;

/// How late timers and files may be looked at while tasks yield to each other.
const INTERVAL: Duration = Duration::from_micros(500);
/// glommio's preemption timer: for tasks that wake each other and never yield.
pub(super) const PREEMPTION: Duration = Duration::from_secs(1);

/// When glommio has last been let in; a cheap handle.
#[derive(Clone)]
pub(super) struct Passes {
    alarms: Alarms,
    last: Rc<Cell<Instant>>,
    /// A descriptor that is always readable: waiting for it takes one pass.
    turnstile: Rc<OwnedFd>,
}

impl Passes {
    pub(super) fn new(alarms: Alarms) -> io::Result<Passes> {
        let last = Rc::new(Cell::new(alarms.now()));
        Ok(Passes { alarms, last, turnstile: Rc::new(eventfd::new(1)?) })
    }

    /// Lets other tasks run, and glommio too if its turn is due.
    pub(super) async fn yield_now(&self) {
        if self.alarms.now().since(self.last.get()) < INTERVAL {
            return glommio::executor().yield_now().await;
        }
        if let Ok(turnstile) = PollableFd::new(self.turnstile.clone()) {
            // It ends only when glommio has been to its ring and back. How it ends does not matter.
            let _ = turnstile.readable().await;
        }
        // Set after the pass: until then everyone else who yields has to wait for it too.
        self.last.set(self.alarms.now());
    }
}
