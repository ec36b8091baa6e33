//! A terminal that does not show what is typed, for a while.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// While this lives, the terminal does not show what is typed; line ends it does.
pub struct Hidden {
    terminal: OwnedFd,
    before: libc::termios,
}

impl Hidden {
    /// Hides what is typed at `terminal`.
    ///
    /// # Errors
    /// It is no terminal.
    pub fn begin(terminal: impl AsFd) -> io::Result<Hidden> {
        let terminal = terminal.as_fd().try_clone_to_owned()?;
        let mut before = MaybeUninit::uninit();
        // SAFETY: the descriptor is open, and there is room for the settings.
        if unsafe { libc::tcgetattr(terminal.as_raw_fd(), before.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has filled it in.
        let before = unsafe { before.assume_init() };
        let hidden = Hidden { terminal, before };
        let mut settings = before;
        settings.c_lflag &= !libc::ECHO;
        settings.c_lflag |= libc::ECHONL;
        hidden.set(&settings)?;
        Ok(hidden)
    }

    fn set(&self, settings: &libc::termios) -> io::Result<()> {
        // SAFETY: the descriptor is open, and the settings are a whole structure.
        match unsafe { libc::tcsetattr(self.terminal.as_raw_fd(), libc::TCSANOW, settings) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing any more.
        let _ = self.set(&self.before);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::FromRawFd;

    use super::*;

    fn shows(terminal: &OwnedFd) -> bool {
        let mut settings = MaybeUninit::uninit();
        // SAFETY: the descriptor is open, there is room, and what the call has filled in is read.
        unsafe {
            assert_eq!(libc::tcgetattr(terminal.as_raw_fd(), settings.as_mut_ptr()), 0);
            settings.assume_init().c_lflag & libc::ECHO != 0
        }
    }

    #[test]
    fn what_is_typed_is_hidden_for_a_while_only() {
        let (mut ours, mut theirs) = (0, 0);
        let (name, settings, size) = (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: there is room for two descriptors, nothing else is given, and both are ours alone from here on.
        let (_ours, terminal) = unsafe {
            assert_eq!(libc::openpty(&raw mut ours, &raw mut theirs, name, settings, size), 0);
            (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
        };
        assert!(shows(&terminal));
        let hidden = Hidden::begin(&terminal).expect("a terminal");
        assert!(!shows(&terminal));
        drop(hidden);
        assert!(shows(&terminal));
        assert!(Hidden::begin(std::fs::File::open("/dev/null").expect("a file")).is_err());
    }
}
