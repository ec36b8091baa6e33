//! A record as text.

use std::fmt::Write as _;

use crate::run::figure::{FIGURES, Figure};
use crate::run::ratios::Ratios;
use crate::run::{Run, ServerResult};
use crate::server::Kind;

/// The whole record, for a terminal.
pub(super) fn of(run: &Run) -> String {
    let mut text = format!("{} ({})\n{}\n\n", run.title, run.scenario, run.about);
    let machine = &run.machine;
    let _ = writeln!(
        text,
        "{}, scale {}; {} × {}, {:.1} GiB, Linux {}, {}, {} on {}; flush of 4 KiB p50 {:.2} ms, p99 {:.2} ms; load before {:.1}",
        run.began,
        run.scale,
        machine.cores,
        machine.processor,
        machine.memory_bytes as f64 / f64::from(1 << 30),
        machine.kernel,
        machine.system,
        machine.file_system,
        machine.disk.as_deref().unwrap_or("no disk"),
        machine.flush_p50_us as f64 / 1000.0,
        machine.flush_p99_us as f64 / 1000.0,
        machine.load_before,
    );
    run.servers.iter().for_each(|server| of_server(server, &mut text));
    if run.servers.len() > 1 {
        let _ = write!(text, "\n{}", comparison(run));
    }
    text
}

/// Octets of a column of the comparison.
const COLUMN: usize = 20;

/// The servers beside each other: values, and how many times as good the first is.
pub(super) fn comparison(run: &Run) -> String {
    let Some(Ratios { first, rows, .. }) = Ratios::of(run) else { return String::new() };
    let mut text = format!("{} ({}): in parentheses, how many times as good {first} is\n", run.title, run.scenario);
    let mut last_step = "";
    for row in &rows {
        if last_step != row.step {
            last_step = &row.step;
            let _ = write!(text, "\n  {:<40}", row.step);
            run.servers.iter().for_each(|server| {
                let _ = write!(text, "{:>COLUMN$}", server.server);
            });
            text.push('\n');
        }
        let Some(figure) = Figure::of(row.figure) else { continue };
        let _ = write!(text, "  {:<40}{:>COLUMN$}", figure.label, figure.write(row.value.median));
        for server in &run.servers[1..] {
            let cell = row.others.get(&server.server).map_or_else(
                || "–".to_owned(),
                |other| {
                    let times = other.times_as_good.map(|times| format!(" {}", times_as_good(times.median)));
                    figure.write(other.value.median) + &times.unwrap_or_default()
                },
            );
            let _ = write!(text, "{cell:>COLUMN$}");
        }
        text.push('\n');
    }
    caveats(run).for_each(|caveat| {
        let _ = writeln!(text, "  {caveat}");
    });
    text + "\n"
}

/// What must be known of the servers whose 250 does not wait for the disk.
pub(super) fn caveats(run: &Run) -> impl Iterator<Item = String> {
    let caveat =
        |server: &ServerResult| Some(format!("{} {}", server.server, Kind::of_name(&server.server)?.caveat()?));
    run.servers.iter().filter_map(caveat)
}

/// A ratio: `(15.3×)`.
pub(super) fn times_as_good(ratio: f64) -> String {
    let digits = if ratio >= 10.0 { 1 } else { 2 };
    format!("({ratio:.digits$}×)")
}

fn of_server(server: &ServerResult, text: &mut String) {
    let _ = writeln!(text, "\n{} ({}), {}", server.server, server.version, repetitions(server.repetitions.len()));
    for step in server.steps() {
        let _ = writeln!(text, "  {step}");
        for figure in FIGURES {
            let Some(spread) = server.spread(step, figure.name) else { continue };
            let _ = write!(text, "    {:<38} {:>14}", figure.label, figure.write(spread.median));
            if server.repetitions.len() > 1 {
                let _ = write!(text, "   ({} to {})", figure.write(spread.min), figure.write(spread.max));
            }
            text.push('\n');
        }
    }
    for (number, repetition) in server.repetitions.iter().enumerate() {
        let account = &repetition.account;
        let _ = writeln!(
            text,
            "  account {}: {} accepted = {} received once + {} queued + {} failed + {} lost; {} received again, \
             {} without a 250 seen, {} damaged",
            number + 1,
            account.accepted,
            account.received - account.duplicated - account.unacknowledged,
            account.queued,
            account.failed,
            account.lost,
            account.duplicated,
            account.unacknowledged,
            account.damaged,
        );
        for (name, sink) in &repetition.sinks {
            let delivery = &sink["delivery_ms"];
            if delivery["count"].as_u64() > Some(0) {
                let _ = writeln!(
                    text,
                    "  sink {name}: {} messages, due to delivered p50 {} ms, p99 {} ms, max {} ms",
                    sink["messages"], delivery["p50"], delivery["p99"], delivery["max"]
                );
            }
        }
    }
}

/// A number of repetitions in words.
pub(super) fn repetitions(number: usize) -> String {
    if number == 1 { "1 repetition".to_owned() } else { format!("{number} repetitions") }
}
