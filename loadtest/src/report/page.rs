//! The page: self-contained HTML, for light and dark, without script.

use std::fmt::Write as _;
use std::path::Path;

use super::bars::{Row, bars};
use super::course::Course;
use super::lines::{Line, Plot};
use super::scale::{Scale, nines_of};
use super::{tables, text};
use crate::Failure;
use crate::run::figure::{Better, Figure, grouped};
use crate::run::{Machine, Run, ServerResult};

/// Colours that the style has.
const COLOURS: usize = 6;
/// Figures that are worth a tile, in their order.
const TILES: [&str; 7] = [
    "messages_per_cpu_second",
    "messages_per_second",
    "due_p99_ms",
    "flushes_per_message",
    "memory_bytes_per_connection",
    "memory_bytes_per_queued",
    "start_s",
];
/// Figures by which servers are compared in bars.
const COMPARED: [&str; 6] = [
    "messages_per_cpu_second",
    "messages_per_second",
    "due_p99_ms",
    "memory_peak_bytes",
    "flush_calls_per_message",
    "memory_bytes_per_connection",
];

/// The page about some runs, each with its folder.
///
/// # Errors
/// [`Failure`] where a folder lacks a series.
pub(super) fn html(runs: &[(&Path, Run)]) -> Result<String, Failure> {
    let title = match runs {
        [(_, run)] => run.title.clone(),
        _ => "Load test".to_owned(),
    };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{}</title>\n<style>\n{}</style></head>\n\
         <body><main>\n",
        escaped(&title),
        include_str!("style.css")
    );
    if runs.len() > 1 {
        let _ = write!(page, "<h1>{title}</h1>\n<nav>");
        for (number, (_, run)) in runs.iter().enumerate() {
            let _ = write!(page, "<a href=\"#run{number}\">{}</a>", escaped(&run.title));
        }
        page.push_str("</nav>\n");
    }
    for (number, (folder, run)) in runs.iter().enumerate() {
        let heading = if runs.len() > 1 { "h2" } else { "h1" };
        let _ = writeln!(page, "<section id=\"run{number}\"><{heading}>{}</{heading}>", escaped(&run.title));
        section(folder, run, &mut page)?;
        page.push_str("</section>\n");
    }
    page.push_str("</main></body></html>\n");
    Ok(page)
}

fn section(folder: &Path, run: &Run, page: &mut String) -> Result<(), Failure> {
    let _ = writeln!(page, "<p>{}</p>\n<p class=\"soft\">{}</p>", escaped(&run.about), escaped(&setting(run)));
    tiles(run, page);
    if run.servers.len() > 1 {
        comparison(run, page);
    }
    page.push_str("<div class=\"plots\">");
    page.push_str(&cpu(run));
    page.push_str(&latency(run));
    courses(folder, run, page)?;
    page.push_str("</div>\n");
    tables::accounts(run, page);
    tables::deliveries(run, page);
    tables::figures(run, page);
    Ok(())
}

/// When, where, how often.
fn setting(run: &Run) -> String {
    let Machine { processor, cores, memory_bytes, kernel, system, .. } = &run.machine;
    let machine = &run.machine;
    let versions: Vec<&str> = run.servers.iter().map(|server| server.version.as_str()).collect();
    let repetitions = run.servers.iter().map(|server| server.repetitions.len()).max().unwrap_or(0);
    let scale = if run.scale == 1.0 { String::new() } else { format!(", scale {}", run.scale) };
    format!(
        "{} · {}{scale} · {} · {cores} × {processor}, {:.0} GiB, Linux {kernel}, {system} · {} on {}, flush of \
         4 KiB p50 {:.2} ms, p99 {:.2} ms · load of the machine before: {:.1}",
        &run.began[..run.began.len().min(16)].replace('T', " "),
        text::repetitions(repetitions),
        versions.join(", "),
        *memory_bytes as f64 / f64::from(1 << 30),
        machine.file_system,
        machine.disk.as_deref().unwrap_or("no disk of its own"),
        machine.flush_p50_us as f64 / 1000.0,
        machine.flush_p99_us as f64 / 1000.0,
        machine.load_before,
    )
}

/// The step that moved most messages: what a run is about first of all.
fn main_step(server: &ServerResult) -> Option<&str> {
    let messages = |step: &str| server.spread(step, "messages").map_or(0.0, |spread| spread.median);
    server.steps().fold(None, |best: Option<&str>, step| match best {
        Some(best) if messages(best) >= messages(step) => Some(best),
        _ => Some(step),
    })
}

fn tiles(run: &Run, page: &mut String) {
    let Some(server) = run.servers.first() else { return };
    page.push_str("<div class=\"tiles\">");
    let main = main_step(server).unwrap_or("");
    for figure in TILES.iter().filter_map(|name| Figure::of(name)) {
        // What the main step does not give, the last one that does.
        let own = server.spread(main, figure.name).map(|spread| (main, spread));
        let others = server.steps().filter_map(|step| Some((step, server.spread(step, figure.name)?)));
        if let Some((step, spread)) = own.or_else(|| others.last()) {
            let value = figure.write(spread.median);
            let _ = write!(
                page,
                "<div class=\"tile\"><b>{}</b><span>{}</span><span>{}, {}</span></div>",
                escaped(&value),
                escaped(figure.label),
                escaped(&server.server),
                escaped(step)
            );
        }
    }
    for other in &run.servers[1..] {
        let of = |server: &ServerResult| Some(server.spread(main, TILES[0])?.median);
        if let (Some(own), Some(theirs)) = (of(server), of(other)) {
            let _ = write!(
                page,
                "<div class=\"tile\"><b>{}</b><span>messages per CPU-second of {}</span><span>{main}</span></div>",
                ratio(own, theirs, Better::Higher).trim_matches(['(', ')']),
                escaped(&other.server)
            );
        }
    }
    let accounts = || run.servers.iter().flat_map(|server| &server.repetitions).map(|repetition| &repetition.account);
    let lost: u64 = accounts().map(|account| account.lost).sum();
    let accepted: u64 = accounts().map(|account| account.accepted).sum();
    let class = if lost == 0 { "good" } else { "bad" };
    let _ = write!(
        page,
        "<div class=\"tile\"><b class=\"{class}\">{} lost</b><span>of {} accepted recipients, in all repetitions</span></div>",
        grouped(lost as f64),
        grouped(accepted as f64)
    );
    page.push_str("</div>\n");
}

/// Bars for each step and figure, the servers below each other, with their ratio to the first.
fn comparison(run: &Run, page: &mut String) {
    let Some(first) = run.servers.first() else { return };
    tables::ratios(run, page);
    for step in first.steps() {
        let plots: Vec<String> = COMPARED
            .iter()
            .filter_map(|name| Figure::of(name))
            .filter(|figure| first.spread(step, figure.name).is_some())
            .map(|figure| compared(run, step, figure))
            .collect();
        if !plots.is_empty() {
            let (step, server) = (escaped(step), escaped(&first.server));
            let _ = writeln!(
                page,
                "<h3>{step} <small>(in parentheses: how many times as good {server} is)</small></h3>\
                 <div class=\"plots\">{}</div>",
                plots.concat()
            );
        }
    }
    page.push_str("<h3>In detail</h3>\n");
}

fn compared(run: &Run, step: &str, figure: &Figure) -> String {
    let spreads = run.servers.iter().map(|server| (server, server.spread(step, figure.name)));
    let first =
        run.servers.first().and_then(|server| server.spread(step, figure.name)).map_or(0.0, |first| first.median);
    let rows: Vec<Row> = spreads
        .enumerate()
        .filter_map(|(number, (server, spread))| {
            let spread = spread?;
            let value = figure.write(spread.median);
            let text =
                if number == 0 { value } else { format!("{value}  {}", ratio(first, spread.median, figure.better)) };
            Some(Row {
                name: server.server.clone(),
                parts: vec![(spread.median, number % COLOURS)],
                text,
                spread: Some((spread.min, spread.max)),
            })
        })
        .collect();
    bars(figure.label, &rows, &[])
}

/// How much better the first server is than another: `15.3×`.
pub(super) fn ratio(first: f64, other: f64, better: Better) -> String {
    let ratio = if better == Better::Lower { other / first } else { first / other };
    if !ratio.is_finite() || ratio <= 0.0 {
        return String::new();
    }
    text::times_as_good(ratio)
}

/// User and kernel time per message, a bar for each step of each server.
fn cpu(run: &Run) -> String {
    let mut rows = Vec::new();
    for server in &run.servers {
        for step in server.steps() {
            let of = |name: &str| server.spread(step, name);
            let (Some(user), Some(system), Some(all)) =
                (of("user_us_per_message"), of("system_us_per_message"), of("cpu_us_per_message"))
            else {
                continue;
            };
            rows.push(Row {
                name: if run.servers.len() > 1 { format!("{} {step}", server.server) } else { step.to_owned() },
                parts: vec![(user.median, 0), (system.median, 1)],
                text: format!("{:.0} µs", all.median),
                spread: Some((all.min, all.max)),
            });
        }
    }
    bars("Server CPU per message", &rows, &["user mode", "kernel"])
}

/// How long messages took from when they were due, for every share of them.
fn latency(run: &Run) -> String {
    let mut lines = Vec::new();
    for server in &run.servers {
        let Some(repetition) = server.repetitions.first() else { continue };
        for step in &repetition.steps {
            let curve = step.load.as_ref().and_then(|load| load["due_curve"].as_array());
            let point = |point: &serde_json::Value| Some((point[0].as_f64()?, point[1].as_f64()? / 1000.0));
            let points: Vec<(f64, f64)> = curve.into_iter().flatten().filter_map(point).collect();
            if points.is_empty() || points.iter().all(|(_, ms)| *ms <= 0.0) {
                continue;
            }
            let name =
                if run.servers.len() > 1 { format!("{}, {}", server.server, step.name) } else { step.name.clone() };
            lines.push(Line { name, points, colour: lines.len() % COLOURS, dashed: lines.len() >= COLOURS });
        }
    }
    let all = || lines.iter().flat_map(|line| &line.points);
    let nines = all().map(|(share, _)| nines_of(*share)).filter(|nines| *nines < 6.0).fold(1.0, f64::max);
    Plot {
        title: "Latency: from when a message was due to its 250",
        along: "share of the messages that were at most as slow",
        x: Scale::Nines { nines },
        y: Scale::log(all().map(|(_, ms)| *ms)),
        write_x: &|share| format!("{}%", (share * 1e6).round() / 1e4),
        write_y: &|ms| format!("{ms} ms"),
        lines,
        bands: Vec::new(),
    }
    .svg()
}

/// Throughput, cores, memory and queue over time, of each server's first repetition.
fn courses(folder: &Path, run: &Run, page: &mut String) -> Result<(), Failure> {
    let mut courses = Vec::new();
    for server in &run.servers {
        if let Some(repetition) = server.repetitions.first() {
            courses.push((server.server.as_str(), Course::read(folder, repetition)?));
        }
    }
    let bands = match &courses[..] {
        [(_, course)] => course.steps.clone(),
        _ => Vec::new(),
    };
    let plot = |title: &str, write_y: &dyn Fn(f64) -> String, lines: Vec<Line>| {
        let seconds = courses.iter().map(|(_, course)| course.seconds);
        Plot {
            title,
            along: "seconds since the beginning of the first repetition",
            x: Scale::linear(seconds),
            y: Scale::linear(lines.iter().flat_map(|line| &line.points).map(|point| point.1)),
            write_x: &|seconds| grouped_or_fraction(seconds),
            write_y,
            lines,
            bands: bands.clone(),
        }
        .svg()
    };
    let lines = |of: &dyn Fn(&Course) -> Vec<(f64, f64)>, what: &str, dashed: bool| {
        let several = courses.len() > 1;
        let named = courses.iter().enumerate().map(move |(number, (server, course))| {
            let name = match (several, what) {
                (true, "") => (*server).to_owned(),
                (true, what) => format!("{server}, {what}"),
                (false, what) => what.to_owned(),
            };
            let colour = if several { number % COLOURS } else { usize::from(dashed) };
            Line { name, points: of(course), colour, dashed: dashed && several }
        });
        named.filter(|line| !line.points.is_empty()).collect::<Vec<_>>()
    };
    let mut throughput = lines(&|course| course.accepted.clone(), "accepted", false);
    throughput.extend(lines(&|course| course.delivered.clone(), "delivered", true));
    page.push_str(&plot("Messages per second", &|rate| grouped(rate), throughput));
    let mebibytes = |point: &(f64, f64)| (point.0, point.1 / f64::from(1 << 20));
    let memory = lines(&|course| course.memory.iter().map(mebibytes).collect(), "", false);
    page.push_str(&plot("Server memory", &|mebibytes| format!("{} MiB", grouped_or_fraction(mebibytes)), memory));
    let cores = lines(&|course| course.cores.clone(), "", false);
    page.push_str(&plot(
        "Cores that the server keeps busy",
        &|cores| format!("{}", (cores * 1000.0).round() / 1000.0),
        cores,
    ));
    let queued = lines(&|course| course.queued.clone(), "", false);
    page.push_str(&plot("Queued recipients", &|queued| grouped_or_fraction(queued), queued));
    Ok(())
}

fn grouped_or_fraction(value: f64) -> String {
    if value.fract() == 0.0 { grouped(value) } else { format!("{value:.1}") }
}

/// Text that HTML does not mistake for its own.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::figure::FIGURES;

    #[test]
    fn a_ratio_says_how_much_better_the_first_is() {
        assert_eq!(ratio(3000.0, 200.0, Better::Higher), "(15.0×)");
        assert_eq!(ratio(2.0, 5.0, Better::Lower), "(2.50×)");
        assert_eq!(ratio(0.0, 0.0, Better::Lower), "");
        assert_eq!(ratio(0.2, 0.0, Better::Lower), "", "nothing is no number of times anything");
    }

    #[test]
    fn every_figure_that_is_shown_exists() {
        assert!(TILES.iter().chain(&COMPARED).all(|name| FIGURES.iter().any(|figure| figure.name == *name)));
        assert_eq!(escaped("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }
}
