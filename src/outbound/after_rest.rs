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
        *self = AfterRest::Expected;
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
        // A rest that began meanwhile has its own.
        if *self == AfterRest::Gathering {
            *self = AfterRest::Over;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_back_first_waits_also_after_a_rest_that_began_meanwhile() {
        let mut after_rest = AfterRest::default();
        assert!(!after_rest.begin(), "there was none");
        after_rest.expect();
        assert!(after_rest.begin() && !after_rest.begin(), "the first alone");
        after_rest.expect();
        after_rest.end();
        assert!(after_rest.begin(), "the second rest is not over with the first");
        after_rest.end();
        assert_eq!(after_rest, AfterRest::Over);
    }
}
