//! After a rest those who share what may go come back one after another, from several lanes and shards. Who is first must not
//! have all of it: they are waited for a moment, and then it is known whose turn it is. Where nobody shares, nobody waits.

use std::time::Duration;

/// How long an owner waits, at least; and up to as much longer, so that of those whom limits of their own keep apart now one
/// comes first, now another.
pub(super) const AT_OWNER: Duration = Duration::from_millis(100);

/// How long a home waits: longer than any owner.
pub(super) const AT_HOME: Duration = Duration::from_millis(250);

/// Whether those who share are waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum AfterRest {
    /// No: they have come back, or nobody shares.
    #[default]
    Over,
    /// Whoever comes back first will wait for the others.
    Expected,
    /// Yes.
    Gathering,
}

impl AfterRest {
    /// A rest begins.
    pub fn expect(&mut self) {
        if *self == AfterRest::Over {
            *self = AfterRest::Expected;
        }
    }

    /// One has come back. True: the others are waited for from now on, until [`AfterRest::end`].
    pub fn begin(&mut self) -> bool {
        let begins = *self == AfterRest::Expected;
        if begins {
            *self = AfterRest::Gathering;
        }
        begins
    }

    /// They have been waited for.
    pub fn end(&mut self) {
        *self = AfterRest::Over;
    }
}
