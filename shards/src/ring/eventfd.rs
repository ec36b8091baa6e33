//! Descriptors that are readable while they have been signalled: eventfd(2).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// A new one; it never blocks.
pub(super) fn new(signals: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call has no arguments that point anywhere.
    let descriptor = unsafe { libc::eventfd(signals, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
