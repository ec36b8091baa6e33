//! Sizes and durations on the command line and in scripts.

use std::time::Duration;

use clap::{Args, Command, FromArgMatches};

/// `4096`, `10KiB`, `25MiB`, `1GiB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let factor = match unit {
        "" | "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    let bytes = number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    bytes.ok_or_else(|| format!("`{text}` is not a size; write it as 512B, 10KiB or 25MiB"))
}

/// `200ms`, `30s`, `5m`, `2h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let millis = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let total = number.parse::<u64>().ok().zip(millis).and_then(|(number, millis)| number.checked_mul(millis));
    total.map(Duration::from_millis).ok_or_else(|| format!("`{text}` is not a duration; write it as 200ms, 30s or 5m"))
}

/// Options from words as on the command line; a mistake is one line.
pub(crate) fn options<'a, T: Args + FromArgMatches>(words: impl Iterator<Item = &'a str>) -> Result<T, String> {
    let command = T::augment_args(Command::new("ringload"));
    let matches = command.try_get_matches_from(std::iter::once("ringload").chain(words));
    let options = matches.and_then(|matches| T::from_arg_matches(&matches));
    options.map_err(|error| {
        let text = error.to_string();
        text.lines().next().unwrap_or("wrong options").trim_start_matches("error: ").to_owned()
    })
}

fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("10KiB"), Ok(10_240));
        assert_eq!(size("2MiB"), Ok(2 << 20));
        for wrong in ["", "KiB", "10kb", "-1", "1.5MiB", "99999999999999999999GiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for wrong in ["", "30", "s", "1d", "-1s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
