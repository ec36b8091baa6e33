//! The memory that arriving content may take, over all conversations of the shard.

use std::cell::Cell;
use std::rc::Rc;

use crate::config::Limits;

/// Inbound takes this part of `[limits] content_memory_bytes_max`; the rest is for content on its way out.
pub const SHARE: usize = 2;

/// The shard's account of arriving content.
pub(super) struct Budget {
    used: Cell<usize>,
    max: Cell<usize>,
}

/// One conversation's part of it; given back when dropped.
pub(super) struct Claim {
    budget: Rc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Rc<Budget> {
        Rc::new(Budget { used: Cell::new(0), max: Cell::new(share(limits)) })
    }

    pub(super) fn configure(&self, limits: &Limits) {
        self.max.set(share(limits));
    }

    /// Whether nothing is left, so that no new content should come.
    pub(super) fn is_exhausted(&self) -> bool {
        self.used.get() >= self.max.get()
    }

    /// Bytes of all claims.
    pub(super) fn used(&self) -> usize {
        self.used.get()
    }

    pub(super) fn claim(self: &Rc<Self>) -> Claim {
        Claim { budget: self.clone(), bytes: 0 }
    }
}

/// At least one message of the largest size fits, or that size could never be sent.
fn share(limits: &Limits) -> usize {
    let one = usize::try_from(limits.message_bytes_max).unwrap_or(usize::MAX);
    one.saturating_add(one / 2).max(limits.content_memory_bytes_max / SHARE)
}

impl Claim {
    /// The conversation holds `bytes` now. `Err` where that is more than there is; then it must let go of them.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let used = self.budget.used.get() - self.bytes + bytes;
        self.budget.used.set(used);
        self.bytes = bytes;
        if bytes > 0 && used > self.budget.max.get() { Err(Exhausted) } else { Ok(()) }
    }
}

/// The budget is used up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exhausted;

impl Drop for Claim {
    fn drop(&mut self) {
        self.budget.used.set(self.budget.used.get() - self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(message_bytes_max: u64, content_memory_bytes_max: usize) -> Rc<Budget> {
        Budget::new(&Limits {
            message_bytes_max,
            recipients_max: 1,
            connections_per_address_max: 1,
            connections_per_account_max: 10,
            auth_failures_per_address_max: 1,
            auth_failures_per_account_max: 1,
            content_memory_bytes_max,
        })
    }

    #[test]
    fn claims_add_up_and_are_given_back() {
        let budget = budget(10, 200);
        let (mut one, mut two) = (budget.claim(), budget.claim());
        assert_eq!(one.hold(60), Ok(()));
        assert_eq!(two.hold(40), Ok(()));
        assert!(budget.is_exhausted());
        assert_eq!(two.hold(41), Err(Exhausted));
        assert_eq!(two.hold(0), Ok(()));
        assert_eq!(one.hold(100), Ok(()));
        drop(one);
        assert!(!budget.is_exhausted());
        assert_eq!(budget.used.get(), 0);
    }

    #[test]
    fn the_largest_message_always_fits() {
        let budget = budget(1000, 1000);
        assert_eq!(budget.claim().hold(1500), Ok(()));
    }
}
