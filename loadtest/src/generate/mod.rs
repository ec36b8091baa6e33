//! `ringload generate`: an SMTP load on one server.
//!
//! Owns: connections to the server, the pace, what became of each message, and the summary.
//! Never: retries a message (what the server says is the result), except that a kept connection which the server has
//! closed between two messages is replaced once.
//! Pace: with `--rate` messages are due at fixed times whatever the server does, and latency counts from then, so that a
//! server that stalls cannot hide it (no coordinated omission). Without, each connection sends one after another.

mod connection;
mod expect;
mod idle;
mod options;
mod pace;
mod plan;
mod report;
mod size;
mod tally;
mod thread;
mod worker;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use shards::launch;

use crate::clock::Stopwatch;
use crate::usage::{self, EndSignals};
use crate::{Failure, series};
use plan::{Plan, Progress};
use tally::Tally;

pub use options::Options;
pub use report::{Latency, Report};
pub use size::Sizes;

/// How often signals are looked for, and the progress line is renewed.
const TICK: Duration = Duration::from_millis(50);
/// How often the progress line's rate is worked out.
const RATE_PERIOD: Duration = Duration::from_secs(1);
/// The columns of `--series`.
const COLUMNS: [&str; 3] = ["accepted", "failed", "connections"];

/// The command: runs the load, prints the summary on stdout. After SIGINT or SIGTERM it begins no more messages.
///
/// # Errors
/// [`Failure::Usage`] where the options make no sense; [`Failure::Failed`] if it could not run, or if anything was
/// refused or lost that `--expect` does not name.
pub fn main(options: &Options) -> Result<(), Failure> {
    let signals = EndSignals::block();
    let report = run_until(options, || signals.wait(Duration::ZERO))?;
    if options.json {
        println!("{}", serde_json::to_string(&report).map_err(|error| Failure::Failed(error.to_string()))?);
    } else {
        print!("{report}");
    }
    match report.unexpected {
        0 => Ok(()),
        unexpected => Err(Failure::Failed(format!("{unexpected} recipients unexpectedly refused or lost"))),
    }
}

/// Runs the load to its end.
///
/// # Errors
/// As [`main`], but that refusals are in the report only.
pub fn run(options: &Options) -> Result<Report, Failure> {
    run_until(options, || false)
}

/// Runs the load to its end, or until it is `interrupted`; then what is under way is finished and summed up.
fn run_until(options: &Options, interrupted: impl Fn() -> bool) -> Result<Report, Failure> {
    let plan = Arc::new(Plan::new(options)?);
    let mut series = series::Writer::create(options.series.as_deref(), &COLUMNS)?;
    let (sender, tallies) = mpsc::channel();
    let cpu_before = usage::cpu();
    let body = {
        let plan = plan.clone();
        move |reactor, number| {
            let (plan, sender) = (plan.clone(), sender.clone());
            async move {
                let tally = thread::run(reactor, number, plan).await;
                // The receiver waits for every thread; if it is gone, so is whoever wanted to know.
                let _ = sender.send(tally);
            }
        }
    };
    let running = launch::launch(options.threads, body).map_err(|error| Failure::Failed(error.to_string()))?;
    let total = collect(&plan, &tallies, &mut series, interrupted)?;
    running.join().map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(Report::new(&total, &options.expect, usage::cpu().saturating_sub(cpu_before)))
}

/// How fast messages are accepted, second by second.
struct Rate {
    since: Stopwatch,
    accepted: u64,
    per_second: f64,
}

impl Rate {
    /// Messages per second in the last whole second; in the first, so far.
    fn of(&mut self, progress: &Progress) -> f64 {
        let ([accepted, ..], elapsed) = (progress.numbers(), self.since.elapsed());
        let per_second = (accepted - self.accepted) as f64 / elapsed.as_secs_f64().max(TICK.as_secs_f64());
        if elapsed >= RATE_PERIOD {
            *self = Self { since: Stopwatch::start(), accepted, per_second };
        } else if self.accepted == 0 {
            self.per_second = per_second;
        }
        self.per_second
    }
}

/// Waits for every thread's tally, with a progress line on a terminal. The second interruption does not wait.
fn collect(
    plan: &Plan,
    tallies: &mpsc::Receiver<io::Result<Tally>>,
    series: &mut series::Writer,
    interrupted: impl Fn() -> bool,
) -> Result<Tally, Failure> {
    let terminal = io::stderr().is_terminal();
    let (mut total, mut missing) = (Tally::default(), plan.threads);
    let mut rate = Rate { since: Stopwatch::start(), accepted: 0, per_second: 0.0 };
    while missing > 0 {
        if interrupted() && plan.stop.swap(true, Ordering::Relaxed) {
            return Err(Failure::Failed("interrupted twice".into()));
        }
        series.tick(&plan.progress.numbers()).map_err(|error| Failure::Failed(format!("series: {error}")))?;
        match tallies.recv_timeout(TICK) {
            Ok(tally) => {
                total.add(tally.map_err(|error| Failure::Failed(format!("ids: {error}")))?);
                missing -= 1;
            }
            Err(RecvTimeoutError::Timeout) if terminal => {
                eprint!("\r{}, {:.0} messages/s\x1b[K", plan.progress, rate.of(&plan.progress));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::Failed("a thread ended without its tally".into()));
            }
        }
    }
    if terminal {
        eprint!("\r\x1b[K");
    }
    series.end(&plan.progress.numbers()).map_err(|error| Failure::Failed(format!("series: {error}")))?;
    Ok(total)
}
