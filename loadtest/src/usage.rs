//! What this process costs, and the signals that end it.

use std::time::Duration;

/// CPU time of this process so far, user and system.
pub(crate) fn cpu() -> Duration {
    // SAFETY: rusage is plain numbers, for which zero is a value; the call writes no more than its size.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec.unsigned_abs()) + Duration::from_micros(time.tv_usec.unsigned_abs())
}

/// Microseconds of CPU time per message.
pub(crate) fn cpu_us_per_message(cpu: Duration, messages: u64) -> f64 {
    if messages == 0 { 0.0 } else { cpu.as_secs_f64() * 1e6 / messages as f64 }
}

/// SIGINT and SIGTERM, kept from their default effect so that a summary can follow.
pub(crate) struct EndSignals(libc::sigset_t);

impl EndSignals {
    /// Blocks both for this thread and those that it starts: call it before any other thread exists.
    pub(crate) fn block() -> Self {
        // SAFETY: the set is initialised by sigemptyset before it is read; the calls write no more than its size.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGINT);
            libc::sigaddset(&raw mut set, libc::SIGTERM);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            Self(set)
        }
    }

    /// Waits this long for one of them; whether one came.
    pub(crate) fn wait(&self, patience: Duration) -> bool {
        let timeout = libc::timespec {
            tv_sec: libc::time_t::try_from(patience.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        // SAFETY: both pointers are to values that outlive the call; no information about the signal is asked for.
        let signal = unsafe { libc::sigtimedwait(&raw const self.0, std::ptr::null_mut(), &raw const timeout) };
        signal > 0
    }
}
