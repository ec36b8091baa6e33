//! The course of a repetition, from the series in its folder.

use std::path::Path;

use crate::Failure;
use crate::run::Repetition;
use crate::series::Series;

/// Stretches of time that a course is divided into at most.
const BINS_MAX: f64 = 160.0;
/// The shortest stretch: less shows the clock of the sampling.
const BIN_S_MIN: f64 = 0.5;

/// What happened when; times are seconds from the repetition's first sample.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// How long it took.
    pub(super) seconds: f64,
    /// Messages accepted per second.
    pub(super) accepted: Vec<(f64, f64)>,
    /// Messages that reached a sink per second.
    pub(super) delivered: Vec<(f64, f64)>,
    /// Cores that the server kept busy.
    pub(super) cores: Vec<(f64, f64)>,
    /// The server's memory in bytes.
    pub(super) memory: Vec<(f64, f64)>,
    /// Queued recipients.
    pub(super) queued: Vec<(f64, f64)>,
    /// The steps: from, to, name.
    pub(super) steps: Vec<(f64, f64, String)>,
}

impl Course {
    /// Reads the series of a repetition of the run in `folder`.
    ///
    /// # Errors
    /// [`Failure`] where one is missing.
    pub(super) fn read(folder: &Path, repetition: &Repetition) -> Result<Self, Failure> {
        let folder = folder.join(&repetition.folder);
        let samples = Series::read(&folder.join("samples.csv"))?;
        let memory = samples.column("memory_bytes");
        let (Some(first), Some(last)) = (memory.first(), memory.last()) else { return Ok(Self::default()) };
        let (began_ms, seconds) = (first.0, (last.0 - first.0) / 1000.0);
        let clock = Clock { began_ms, seconds, bin_s: (seconds / BINS_MAX).max(BIN_S_MIN) };
        let mut accepted = Vec::new();
        for step in repetition.steps.iter().filter(|step| step.load.is_some()) {
            let course = Series::read(&folder.join(format!("load-{}.csv", step.name)))?;
            accepted.extend(growth(&course.column("accepted")));
        }
        let mut delivered = Vec::new();
        for name in repetition.sinks.keys() {
            let course = Series::read(&folder.join(format!("sink-{name}.csv")))?;
            delivered.extend(growth(&course.column("messages")));
        }
        let mut cpu = growth(&samples.column("user_s"));
        cpu.extend(growth(&samples.column("system_s")));
        let at = |ms: u64| (ms as f64 - began_ms) / 1000.0;
        Ok(Self {
            seconds,
            accepted: clock.rate(&accepted),
            delivered: clock.rate(&delivered),
            cores: clock.rate(&cpu),
            memory: clock.since(&memory),
            queued: clock.since(&samples.column("queued")),
            steps: repetition
                .steps
                .iter()
                .map(|step| (at(step.began_ms), at(step.ended_ms), step.name.clone()))
                .collect(),
        })
    }
}

struct Clock {
    began_ms: f64,
    seconds: f64,
    bin_s: f64,
}

impl Clock {
    fn since(&self, column: &[(f64, f64)]) -> Vec<(f64, f64)> {
        column.iter().map(|(ms, value)| ((ms - self.began_ms) / 1000.0, *value)).collect()
    }

    /// What grew per second, stretch by stretch; nothing where nothing grew at all.
    fn rate(&self, growth: &[(f64, f64, f64)]) -> Vec<(f64, f64)> {
        if growth.iter().all(|(_, _, amount)| *amount <= 0.0) {
            return Vec::new();
        }
        let mut bins = vec![0.0; (self.seconds / self.bin_s).ceil().max(1.0) as usize];
        for (from_ms, to_ms, amount) in growth {
            self.spread((from_ms - self.began_ms) / 1000.0, (to_ms - self.began_ms) / 1000.0, *amount, &mut bins);
        }
        let middle = |bin: usize| (bin as f64 + 0.5) * self.bin_s;
        bins.iter().enumerate().map(|(bin, amount)| (middle(bin), amount / self.bin_s)).collect()
    }

    /// Shares `amount` among the stretches between two times.
    fn spread(&self, from: f64, to: f64, amount: f64, bins: &mut [f64]) {
        let width = to - from;
        let (first, last) = ((from / self.bin_s).max(0.0) as usize, (to / self.bin_s).max(0.0) as usize);
        for (bin, sum) in bins.iter_mut().enumerate().take(last + 1).skip(first) {
            let (begin, end) = (bin as f64 * self.bin_s, (bin + 1) as f64 * self.bin_s);
            let share = if width > 0.0 { (to.min(end) - from.max(begin)).max(0.0) / width } else { 1.0 };
            *sum += amount * share;
        }
    }
}

/// How much a column grew between each two rows: from, to, by. One that falls has begun anew.
fn growth(column: &[(f64, f64)]) -> Vec<(f64, f64, f64)> {
    column.windows(2).map(|pair| (pair[0].0, pair[1].0, (pair[1].1 - pair[0].1).max(0.0))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_becomes_a_rate() {
        let column = [(1000.0, 0.0), (1500.0, 100.0), (2500.0, 300.0), (3000.0, 0.0)];
        let clock = Clock { began_ms: 1000.0, seconds: 2.0, bin_s: 0.5 };
        let rates: Vec<f64> = clock.rate(&growth(&column)).iter().map(|point| point.1).collect();
        assert_eq!(rates, [200.0, 200.0, 200.0, 0.0]);
        assert_eq!(clock.rate(&growth(&[(1000.0, 5.0), (2000.0, 5.0)])), []);
    }
}
