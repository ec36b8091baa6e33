//! Axes: from values to pixels, and the marks on them.

/// Marks that an axis has at about.
const MARKS: f64 = 5.0;

/// Nines up to which an axis of shares marks the half.
const HALF_NINES_MAX: f64 = 4.0;

/// How values lie on an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// Evenly, from zero.
    Linear {
        /// The value at the far end.
        max: f64,
    },
    /// By their logarithm.
    Log {
        /// The value at the near end.
        min: f64,
        /// The value at the far end.
        max: f64,
    },
    /// Shares of a whole, by how close they are to it: each step is a nine more.
    Nines {
        /// The nines at the far end.
        nines: f64,
    },
}

impl Scale {
    /// From zero to a round number above all values.
    pub(super) fn linear(values: impl Iterator<Item = f64>) -> Self {
        let max = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        if max <= 0.0 {
            return Scale::Linear { max: 1.0 };
        }
        let step = step(max);
        Scale::Linear { max: (max / step).ceil() * step }
    }

    /// From the power of ten below all values to the one above.
    pub(super) fn log(values: impl Iterator<Item = f64> + Clone) -> Self {
        let positive = values.filter(|value| value.is_finite() && *value > 0.0);
        let min = positive.clone().fold(f64::INFINITY, f64::min);
        let max = positive.fold(0.0, f64::max);
        if max <= 0.0 {
            return Scale::Log { min: 0.1, max: 1.0 };
        }
        let (low, high) = (min.log10().floor(), max.log10().ceil());
        Scale::Log { min: 10_f64.powf(low), max: 10_f64.powf(if high > low { high } else { low + 1.0 }) }
    }

    /// Where a value lies: 0 at the near end, 1 at the far end.
    pub(super) fn place(self, value: f64) -> f64 {
        let place = match self {
            Scale::Linear { max } => value / max,
            Scale::Log { min, max } => (value.max(min) / min).log10() / (max / min).log10(),
            Scale::Nines { nines } => nines_of(value) / nines,
        };
        place.clamp(0.0, 1.0)
    }

    /// The values that are marked.
    pub(super) fn marks(self) -> Vec<f64> {
        match self {
            Scale::Linear { max } => {
                let step = step(max);
                (0..=(max / step).round() as u32).map(|number| f64::from(number) * step).collect()
            }
            Scale::Log { min, max } => {
                let (low, high) = (min.log10().round() as i32, max.log10().round() as i32);
                (low..=high).map(|power| 10_f64.powi(power)).collect()
            }
            Scale::Nines { nines } => {
                let shares = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999];
                // Where many nines are shown, the half lies too close to the beginning for its mark to be read.
                let fits = |share: f64| share != 0.5 || nines < HALF_NINES_MAX;
                shares.into_iter().filter(|share| nines_of(*share) <= nines && fits(*share)).collect()
            }
        }
    }
}

/// How many nines a share has: 0.9 has one.
pub(super) fn nines_of(share: f64) -> f64 {
    -(1.0 - share).max(1e-9).log10()
}

/// A round distance between marks up to `max`: 1, 2 or 5 times a power of ten.
fn step(max: f64) -> f64 {
    let rough = max / MARKS;
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= rough * 0.999);
    factor.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_cover_everything() {
        let scale = Scale::linear([3.0, 47.0].into_iter());
        assert_eq!(scale, Scale::Linear { max: 50.0 });
        assert_eq!(scale.marks(), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
        assert_eq!(scale.place(25.0), 0.5);
        assert_eq!(Scale::linear([].into_iter()), Scale::Linear { max: 1.0 });
        assert_eq!(Scale::linear([0.0, f64::NAN].into_iter()).place(0.0), 0.0);
    }

    #[test]
    fn logarithms_go_from_power_to_power() {
        let scale = Scale::log([0.0, 0.3, 70.0].into_iter());
        assert_eq!(scale, Scale::Log { min: 0.1, max: 100.0 });
        assert_eq!(scale.marks(), [0.1, 1.0, 10.0, 100.0]);
        assert!((scale.place(1.0) - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(scale.place(0.0), 0.0);
        assert_eq!(Scale::log([1.0].into_iter()), Scale::Log { min: 1.0, max: 10.0 });
        assert_eq!(Scale::log([].into_iter()), Scale::Log { min: 0.1, max: 1.0 });
    }

    #[test]
    fn shares_are_placed_by_their_nines() {
        let scale = Scale::Nines { nines: 3.0 };
        assert!((scale.place(0.9) - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!((scale.place(0.0), scale.place(1.0)), (0.0, 1.0));
        assert_eq!(scale.marks(), [0.0, 0.5, 0.9, 0.99, 0.999]);
    }
}
