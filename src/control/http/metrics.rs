//! Metrics in Prometheus' text format (version 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::Refusal;
use crate::control::desk::Desk;
use crate::queue::webhook::Counts;

pub(super) async fn all(State(desk): State<Desk>) -> Result<Response, Refusal> {
    let text = text(&desk.metrics().await?, &desk.webhooks().await?);
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}

/// One family per name, one sample per shard, and per webhook where it is about those. A name that ends in `_total` only
/// grows (a counter); others are gauges.
fn text(shards: &[Vec<(&'static str, u64)>], webhooks: &[Vec<Counts>]) -> String {
    let mut families: BTreeMap<&str, Vec<(String, u64)>> = BTreeMap::new();
    for (shard, samples) in shards.iter().enumerate() {
        for (name, value) in samples {
            families.entry(name).or_default().push((format!("shard=\"{shard}\""), *value));
        }
    }
    for (shard, counts) in webhooks.iter().enumerate() {
        for Counts { webhook, waiting, told, failures, dropped } in counts {
            for (name, value) in [
                ("webhook_events_waiting", waiting),
                ("webhook_events_told_total", told),
                ("webhook_failures_total", failures),
                ("webhook_events_dropped_total", dropped),
            ] {
                let labels = format!("webhook=\"{webhook}\",shard=\"{shard}\"");
                families.entry(name).or_default().push((labels, *value));
            }
        }
    }
    let mut text = String::new();
    for (name, samples) in families {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        let _ = writeln!(text, "# TYPE ringpost_{name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(text, "ringpost_{name}{{{labels}}} {value}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_one_type_and_a_sample_per_shard() {
        let shards = [vec![("accepted_total", 3), ("queued", 1)], vec![("accepted_total", 4), ("queued", 0)]];
        assert_eq!(
            text(&shards, &[]),
            "# TYPE ringpost_accepted_total counter\n\
             ringpost_accepted_total{shard=\"0\"} 3\n\
             ringpost_accepted_total{shard=\"1\"} 4\n\
             # TYPE ringpost_queued gauge\n\
             ringpost_queued{shard=\"0\"} 1\n\
             ringpost_queued{shard=\"1\"} 0\n"
        );
    }
}
