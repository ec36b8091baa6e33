//! How a failing simulation names its seed: first line of the report, whatever failed.
//!
//! A panic anywhere on a simulation's thread (an assertion of a test, an invariant, a task of the program, also one that
//! the program catches) is reported after a line `SEED=…`, and counted, so that a caught one fails the run all the same.

use std::cell::{Cell, RefCell};
use std::sync::Once;

thread_local! {
    /// The seeds of this thread's simulations, the latest last.
    static SEEDS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    static PANIC_COUNT: Cell<u64> = const { Cell::new(0) };
}

static REPORTING: Once = Once::new();

/// While it lives, panics on this thread name the seed.
pub(crate) struct Watch {
    seed: u64,
    panic_count_before: u64,
}

impl Watch {
    pub(crate) fn new(seed: u64) -> Self {
        REPORTING.call_once(|| {
            let report = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                name_seed();
                report(info);
            }));
        });
        SEEDS.with_borrow_mut(|seeds| seeds.push(seed));
        Self { seed, panic_count_before: PANIC_COUNT.get() }
    }

    /// Whether something has panicked, caught or not.
    pub(crate) fn has_panicked(&self) -> bool {
        PANIC_COUNT.get() > self.panic_count_before
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        SEEDS.with_borrow_mut(|seeds| {
            if let Some(at) = seeds.iter().rposition(|seed| *seed == self.seed) {
                seeds.remove(at);
            }
        });
    }
}

fn name_seed() {
    PANIC_COUNT.set(PANIC_COUNT.get() + 1);
    SEEDS.with_borrow(|seeds| {
        if let Some(seed) = seeds.last() {
            eprintln!("SEED={seed}");
        }
    });
}
