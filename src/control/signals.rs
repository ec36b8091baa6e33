//! Signals: they reach the control thread only.
//!
//! A signal that interrupted a shard's thread would interrupt its waiting for the ring. So they are blocked before any
//! thread starts (threads inherit the mask), and let in again on the control thread alone.

use std::io;
use std::mem::MaybeUninit;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that we listen to.
const LISTENED: [libc::c_int; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// Blocks the signals in this thread and in those that it starts.
pub fn block() -> io::Result<()> {
    change_mask(libc::SIG_BLOCK)
}

/// Lets the signals in on this thread.
pub fn unblock() -> io::Result<()> {
    change_mask(libc::SIG_UNBLOCK)
}

fn change_mask(how: libc::c_int) -> io::Result<()> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set that it is given; sigaddset and pthread_sigmask get an initialised one,
    // and a null pointer where the old mask is not wanted.
    let result = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for number in LISTENED {
            libc::sigaddset(set.as_mut_ptr(), number);
        }
        libc::pthread_sigmask(how, set.as_ptr(), std::ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
}

/// What an operator's signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// SIGTERM, SIGINT: drain and stop; when it comes again: stop at once.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// The signals, as requests.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Starts to listen; from here on the signals do not end the process by themselves.
    pub fn listen() -> io::Result<Self> {
        let signals = Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        };
        unblock()?;
        Ok(signals)
    }

    /// The next request.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop,
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.hang_up.recv() => Request::Reload,
        }
    }
}
