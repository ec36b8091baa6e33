//! The tables of the page: every figure, and what became of every recipient.

use std::fmt::Write as _;

use super::page::{escaped, ratio};
use super::text::{caveats, times_as_good};
use crate::run::figure::{Better, FIGURES, Figure, grouped};
use crate::run::ratios::Ratios;
use crate::run::{Account, Run, ServerResult, Spread};

/// Every figure: the servers beside each other, step by step; of one server, the steps beside each other.
pub(super) fn figures(run: &Run, page: &mut String) {
    let Some(first) = run.servers.first() else { return };
    page.push_str(
        "<h3>All figures: the median of the repetitions, and from least to most</h3>\n<div class=\"table\"><table>\n",
    );
    let steps: Vec<&str> = first.steps().collect();
    if run.servers.len() == 1 {
        let columns: Vec<Column> = steps.iter().map(|step| (*step, first, *step)).collect();
        table(&columns, false, page);
    } else {
        for step in steps {
            let columns: Vec<Column> =
                run.servers.iter().map(|server| (server.server.as_str(), server, step)).collect();
            let _ = writeln!(page, "<tr><th colspan=\"{}\">{}</th></tr>", columns.len() + 1, escaped(step));
            table(&columns, true, page);
        }
    }
    page.push_str("</table></div>\n");
}

/// What a reader of a comparison looks for first.
const RATIOS: [&str; 8] = [
    "messages_per_cpu_second",
    "messages_per_second",
    "dot_p99_ms",
    "flush_calls_per_message",
    "written_bytes_per_message",
    "memory_peak_bytes",
    "memory_bytes_per_connection",
    "start_s",
];

/// How many times as good the first server is as each other one, repetition by repetition.
pub(super) fn ratios(run: &Run, page: &mut String) {
    let Some(Ratios { first, rows, .. }) = Ratios::of(run) else { return };
    let _ = write!(
        page,
        "<h3>How many times as good {} is</h3>\n<div class=\"table\"><table><tr><th></th>",
        escaped(&first)
    );
    run.servers[1..].iter().for_each(|server| {
        let _ = write!(page, "<th>{}</th>", escaped(&server.server));
    });
    page.push_str("</tr>\n");
    for row in rows.iter().filter(|row| RATIOS.contains(&row.figure)) {
        let Some(figure) = Figure::of(row.figure) else { continue };
        let _ = write!(page, "<tr><td>{}: {}</td>", escaped(&row.step), escaped(figure.label));
        for server in &run.servers[1..] {
            let times = row.others.get(&server.server).and_then(|other| other.times_as_good);
            let cell = times.map_or_else(
                || "–".to_owned(),
                |Spread { median, min, max }| {
                    let write = |ratio: f64| times_as_good(ratio).trim_matches(['(', ')']).to_owned();
                    let spread = if max > min {
                        format!("<small>{} – {}</small>", write(min), write(max))
                    } else {
                        String::new()
                    };
                    format!("<b>{}</b>{spread}", write(median))
                },
            );
            let _ = write!(page, "<td>{cell}</td>");
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div>\n");
    caveats(run).for_each(|caveat| {
        let _ = writeln!(page, "<p class=\"soft\">{}</p>", escaped(&caveat));
    });
}

/// A heading, and the server and step below it.
type Column<'a> = (&'a str, &'a ServerResult, &'a str);

/// A row for each figure that any column has; `compared`: with the ratios of the first column to the others.
fn table(columns: &[Column], compared: bool, page: &mut String) {
    page.push_str("<tr><th></th>");
    columns.iter().for_each(|(heading, ..)| {
        let _ = write!(page, "<th>{}</th>", escaped(heading));
    });
    page.push_str("</tr>\n");
    for figure in FIGURES {
        let spreads: Vec<_> = columns.iter().map(|(_, server, step)| server.spread(step, figure.name)).collect();
        if spreads.iter().all(Option::is_none) {
            continue;
        }
        let _ = write!(page, "<tr><td>{}</td>", escaped(figure.label));
        let first = spreads[0].filter(|_| compared && figure.better != Better::Neither);
        for (number, spread) in spreads.iter().enumerate() {
            let Some(spread) = spread else {
                page.push_str("<td>–</td>");
                continue;
            };
            let mut text = escaped(&figure.write(spread.median));
            if let Some(first) = first.filter(|_| number > 0) {
                let _ = write!(text, " {}", ratio(first.median, spread.median, figure.better));
            }
            if spread.max > spread.min {
                let _ = write!(text, "<small>{} – {}</small>", figure.write(spread.min), figure.write(spread.max));
            }
            let _ = write!(page, "<td>{text}</td>");
        }
        page.push_str("</tr>\n");
    }
}

/// What became of every recipient, a row for each repetition.
pub(super) fn accounts(run: &Run, page: &mut String) {
    page.push_str(
        "<h3>What became of every recipient whose message got 250</h3>\n<div class=\"table\"><table><tr><th></th>\
         <th>accepted</th><th>delivered</th><th>still queued</th><th>given up, with notice</th><th>lost</th>\
         <th>delivered again</th><th>damaged</th></tr>\n",
    );
    for server in &run.servers {
        for (number, repetition) in server.repetitions.iter().enumerate() {
            let Account { accepted, received, queued, failed, lost, duplicated, unacknowledged, damaged, .. } =
                &repetition.account;
            let delivered = received - duplicated - unacknowledged;
            let class = if *lost == 0 { "good" } else { "bad" };
            let _ = write!(page, "<tr><td>{} {}</td>", escaped(&server.server), number + 1);
            for count in [*accepted, delivered, *queued, *failed] {
                let _ = write!(page, "<td>{}</td>", grouped(count as f64));
            }
            let _ = write!(page, "<td class=\"{class}\">{}</td>", grouped(*lost as f64));
            let _ =
                writeln!(page, "<td>{}</td><td>{}</td></tr>", grouped(*duplicated as f64), grouped(*damaged as f64));
        }
    }
    page.push_str("</table></div>\n");
}

/// How long deliveries took, a row for each sink of each server's first repetition; nothing where nothing was delivered.
pub(super) fn deliveries(run: &Run, page: &mut String) {
    let mut rows = String::new();
    for server in &run.servers {
        for (name, sink) in server.repetitions.iter().take(1).flat_map(|repetition| &repetition.sinks) {
            let delivery = &sink["delivery_ms"];
            if delivery["count"].as_u64().unwrap_or(0) == 0 {
                continue;
            }
            let number = |value: &serde_json::Value| grouped(value.as_f64().unwrap_or(0.0));
            let _ = write!(rows, "<tr><td>{}: {}</td>", escaped(&server.server), escaped(name));
            for count in [&sink["messages"], &sink["connections"]] {
                let _ = write!(rows, "<td>{}</td>", number(count));
            }
            for quantile in ["p50", "p90", "p99", "max"] {
                let _ = write!(rows, "<td>{} ms</td>", number(&delivery[quantile]));
            }
            rows.push_str("</tr>\n");
        }
    }
    if !rows.is_empty() {
        let _ = writeln!(
            page,
            "<h3>From when a message was due to its arrival at the destination, first repetition</h3>\n\
             <div class=\"table\"><table><tr><th>destination</th><th>messages</th><th>connections</th><th>p50</th>\
             <th>p90</th><th>p99</th><th>max</th></tr>\n{rows}</table></div>"
        );
    }
}
