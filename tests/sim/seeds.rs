//! Which seeds a test runs: a handful each time, `SEEDS=1000` for more, `SEED=7` to see one again.

use std::ops::Range;
use std::sync::Arc;

use ringpost::events::log::Channel;

/// Seeds of a normal run.
const USUALLY: u64 = 20;

/// Runs `test` with every seed: first `kept` (each of which has found something once), then the others.
pub fn each(kept: &[u64], test: impl Fn(u64)) {
    some(u64::MAX, kept, test);
}

/// Runs `test` with so many seeds each time, or as many as are asked for.
pub fn usually(few: u64, test: impl Fn(u64)) {
    if let Some(seed) = number("SEED") {
        return test(seed);
    }
    (0..number("SEEDS").unwrap_or(few)).for_each(test);
}

/// The same with at most `most` others, for runs that take long.
pub fn some(most: u64, kept: &[u64], test: impl Fn(u64)) {
    if let Some(seed) = number("SEED") {
        return test(seed);
    }
    let others: Range<u64> = 0..number("SEEDS").unwrap_or(USUALLY).min(most);
    kept.iter().copied().chain(others).for_each(test);
}

/// Reads the server's log; shows it if one seed was asked for.
pub async fn show(log: Arc<Channel>) {
    read(log, |_| {}).await;
}

/// The same, and gives what is read to `look`.
pub async fn read(log: Arc<Channel>, mut look: impl FnMut(&str)) {
    let is_replay = number("SEED").is_some();
    loop {
        let lines = log.next().await;
        look(&lines.to_string());
        if is_replay {
            eprint!("{lines}");
        }
    }
}

/// Says something about a run if one seed was asked for.
pub fn say(what: &str) {
    if number("SEED").is_some() {
        eprintln!("{what}");
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}
