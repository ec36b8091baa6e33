//! How large messages are: one size, or a distribution.

use std::str::FromStr;

use crate::units;

/// Sizes that stand for a uniform distribution: enough that none stands out.
const STEPS: u64 = 64;
/// Entries of a mixture.
const MIXTURE_MAX: usize = 64;

/// Sizes with their weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Sizes(Vec<(usize, f64)>);

impl Sizes {
    /// The sizes that occur.
    pub(super) fn sizes(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|(size, _)| *size)
    }

    /// The number of one of them; `luck` is from 0 to 1.
    pub(super) fn choose(&self, luck: f64) -> usize {
        if self.0.len() == 1 {
            return 0;
        }
        let mut left = luck * self.0.iter().map(|(_, weight)| weight).sum::<f64>();
        let chosen = self.0.iter().position(|(_, weight)| {
            left -= weight;
            left < 0.0
        });
        chosen.unwrap_or(self.0.len() - 1)
    }
}

impl FromStr for Sizes {
    type Err = String;

    /// `10KiB`, `uniform:1KiB-100KiB` (64 sizes evenly apart), or `mix:1KiB=70,50KiB=25,1MiB=5` (shares).
    fn from_str(text: &str) -> Result<Self, String> {
        let size =
            |text: &str| units::size(text).and_then(|size| usize::try_from(size).map_err(|error| error.to_string()));
        if let Some(range) = text.strip_prefix("uniform:") {
            let (from, to) = range.split_once('-').ok_or("write it as uniform:1KiB-100KiB")?;
            let (from, to) = (size(from)?, size(to)?);
            if from >= to {
                return Err(format!("`{range}` does not grow"));
            }
            let step = |number: u64| from + ((to - from) as u64 * number / (STEPS - 1)) as usize;
            return Ok(Self((0..STEPS).map(|number| (step(number), 1.0)).collect()));
        }
        let Some(mixture) = text.strip_prefix("mix:") else { return Ok(Self(vec![(size(text)?, 1.0)])) };
        let entry = |entry: &str| {
            let (bytes, share) = entry.split_once('=').ok_or("write it as mix:1KiB=70,50KiB=30")?;
            let share = share.parse::<f64>().ok().filter(|share| *share > 0.0 && share.is_finite());
            Ok((size(bytes)?, share.ok_or_else(|| format!("`{entry}` has no share above 0"))?))
        };
        let entries: Vec<_> = mixture.split(',').map(entry).collect::<Result<_, String>>()?;
        if entries.len() > MIXTURE_MAX { Err(format!("at most {MIXTURE_MAX} sizes")) } else { Ok(Self(entries)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(text: &str) -> f64 {
        let sizes: Sizes = text.parse().expect("a good size");
        let all: Vec<usize> = sizes.sizes().collect();
        let draws = 10_000;
        (0..draws).map(|draw| all[sizes.choose(f64::from(draw) / f64::from(draws))] as f64).sum::<f64>()
            / f64::from(draws)
    }

    #[test]
    fn sizes_come_as_often_as_they_should() {
        assert_eq!(mean("10KiB"), 10_240.0);
        assert!((mean("uniform:1KiB-3KiB") - 2048.0).abs() < 10.0);
        assert!((mean("mix:1000=75,2000=25") - 1250.0).abs() < 1.0);
        let sizes: Vec<usize> = "uniform:1KiB-100KiB".parse::<Sizes>().expect("good").sizes().collect();
        assert_eq!((sizes[0], sizes[63]), (1024, 102_400));
        assert_eq!("mix:1=1,2=1".parse::<Sizes>().expect("good").choose(1.0), 1);
    }

    #[test]
    fn mistakes_say_how_to_write_it() {
        for wrong in ["", "uniform:1KiB", "uniform:2KiB-1KiB", "mix:1KiB", "mix:1KiB=0", "mix:", "mix:x=1"] {
            assert!(wrong.parse::<Sizes>().is_err(), "{wrong}");
        }
    }
}
