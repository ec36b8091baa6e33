//! The wall clock of the control thread, for its own log lines. Shards have their Reactor's.

use std::time::UNIX_EPOCH;

use shards::Timestamp;

/// Now; the epoch if the host's clock is before it.
#[expect(clippy::disallowed_methods, reason = "the control thread has no Reactor")]
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The monotonic clock, before there is a runtime.
#[expect(clippy::disallowed_methods, reason = "the control thread has no Reactor")]
pub fn monotonic() -> std::time::Instant {
    std::time::Instant::now()
}

/// Waits, before there is a runtime that could do something else meanwhile.
#[expect(clippy::disallowed_methods, reason = "the control thread has no Reactor")]
pub fn pause(length: std::time::Duration) {
    std::thread::sleep(length);
}
