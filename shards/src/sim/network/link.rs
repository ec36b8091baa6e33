//! What lies between two nodes: how slow it is, and what goes wrong on it how often.

use std::ops::Range;
use std::time::Duration;

use crate::sim::random::Dice;

/// Latency and faults between two nodes. Probabilities are 0 to 1.
#[derive(Clone, Debug)]
pub struct Link {
    /// One way, per segment; order is kept.
    pub latency: Range<Duration>,
    /// That one send breaks the connection for both sides; what was on its way may be lost.
    pub reset: f64,
    /// That one send arrives late, by `stall_for`.
    pub stall: f64,
    /// How late.
    pub stall_for: Range<Duration>,
    /// That a new connection is never answered.
    pub unanswered: f64,
    /// That one send or receive moves fewer bytes than it could.
    pub partial: f64,
}

impl Default for Link {
    /// A few milliseconds, no faults; half of the reads and writes are partial.
    fn default() -> Self {
        Self {
            latency: Duration::from_micros(200)..Duration::from_millis(5),
            reset: 0.0,
            stall: 0.0,
            stall_for: Duration::from_secs(1)..Duration::from_secs(60),
            unanswered: 0.0,
            partial: 0.5,
        }
    }
}

impl Link {
    /// From a node to itself.
    pub(super) fn inside_a_node() -> Self {
        Self { latency: Duration::from_micros(10)..Duration::from_micros(50), ..Self::default() }
    }

    /// How long one segment takes.
    pub(super) fn delay(&self, dice: &Dice) -> Duration {
        let stall = dice.between(&self.stall_for);
        let latency = dice.between(&self.latency);
        if dice.chance(self.stall) { latency + stall } else { latency }
    }
}
