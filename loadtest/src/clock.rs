//! Real time, outside the shards: for stamps that two processes compare, and for the course of an experiment.

#![expect(
    clippy::disallowed_methods,
    reason = "generator, sink and experiment are processes beside each other, on real time"
)]

use std::time::{Duration, Instant, SystemTime};

/// Microseconds since the Unix epoch.
pub(crate) fn wall_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Waits, on a thread that is no shard.
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// What has passed since it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since then.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Calls `ready` every `every` until it gives something, for `patience` at most.
pub(crate) fn wait_for<T>(patience: Duration, every: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Stopwatch::start();
    loop {
        if let Some(value) = ready() {
            return Some(value);
        }
        if begun.elapsed() >= patience {
            return None;
        }
        pause(every);
    }
}
