//! Metrics in Prometheus' text format (version 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::Refusal;
use super::families::help;
use crate::control::desk::Desk;
use crate::control::suppression::Keeper;
use crate::events::log::Channel;
use crate::queue::webhook::Counts;

pub(super) async fn all(State(desk): State<Desk>, keeper: &Keeper, log: &Channel) -> Result<Response, Refusal> {
    let mut families = Families::default();
    families.add_shards(&desk.metrics().await?);
    families.add_webhooks(&desk.webhooks().await?);
    families.add(concat!("build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), "", 1);
    keeper.counts().into_iter().for_each(|(name, value)| families.add(name, "", value));
    families.add("log_lines_lost_total", "", log.lost_lines());
    families.add("log_journal_refusals_total", "", log.journal_refusals());
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4")], families.text()).into_response())
}

/// Samples by the name of their family, each with its labels as they are shown.
#[derive(Default)]
struct Families<'a>(BTreeMap<&'a str, Vec<(String, u64)>>);

impl<'a> Families<'a> {
    /// A sample of each shard.
    fn add_shards(&mut self, shards: &[Vec<(&'static str, u64)>]) {
        for (shard, samples) in shards.iter().enumerate() {
            let label = format!("shard=\"{shard}\"");
            samples.iter().for_each(|(name, value)| self.add(name, &label, *value));
        }
    }

    /// A sample of each shard and webhook.
    fn add_webhooks(&mut self, shards: &[Vec<Counts>]) {
        for (shard, counts) in shards.iter().enumerate() {
            for Counts { webhook, waiting, waiting_bytes, told, failures, dropped } in counts {
                let labels = format!("webhook=\"{webhook}\",shard=\"{shard}\"");
                self.add("webhook_events_waiting", &labels, *waiting);
                self.add("webhook_waiting_bytes", &labels, *waiting_bytes);
                self.add("webhook_events_told_total", &labels, *told);
                self.add("webhook_failures_total", &labels, *failures);
                self.add("webhook_events_dropped_total", &labels, *dropped);
            }
        }
    }

    /// Adds a sample; `name` may bring labels of its own: `outbound_recipients_total{outcome="failed"}`.
    fn add(&mut self, name: &'a str, labels: &str, value: u64) {
        let (family, own) = name.split_once('{').unwrap_or((name, "}"));
        let own = own.trim_end_matches('}');
        let between = if own.is_empty() || labels.is_empty() { "" } else { "," };
        self.0.entry(family).or_default().push((format!("{own}{between}{labels}"), value));
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (name, samples) in &self.0 {
            if let Some(help) = help(name) {
                let _ = writeln!(text, "# HELP ringpost_{name} {help}");
            }
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            let _ = writeln!(text, "# TYPE ringpost_{name} {kind}");
            for (labels, value) in samples {
                let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
                let _ = writeln!(text, "ringpost_{name}{labels} {value}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::families::FAMILIES;
    use super::*;

    #[test]
    fn a_family_has_one_help_one_type_and_all_its_samples() {
        let mut families = Families::default();
        let sent = "outbound_recipients_total{outcome=\"delivered\"}";
        let failed = "outbound_recipients_total{outcome=\"failed\"}";
        families
            .add_shards(&[vec![(sent, 3), (failed, 1), ("leases", 1)], vec![(sent, 4), (failed, 0), ("leases", 0)]]);
        families.add("log_lines_lost_total", "", 5);
        assert_eq!(
            families.text(),
            "# HELP ringpost_leases Messages with a domain whose recipients are being delivered now.\n\
             # TYPE ringpost_leases gauge\n\
             ringpost_leases{shard=\"0\"} 1\n\
             ringpost_leases{shard=\"1\"} 0\n\
             # HELP ringpost_log_lines_lost_total Lines of the log that were lost, as nobody took them.\n\
             # TYPE ringpost_log_lines_lost_total counter\n\
             ringpost_log_lines_lost_total 5\n\
             # HELP ringpost_outbound_recipients_total Recipients of attempts, by outcome.\n\
             # TYPE ringpost_outbound_recipients_total counter\n\
             ringpost_outbound_recipients_total{outcome=\"delivered\",shard=\"0\"} 3\n\
             ringpost_outbound_recipients_total{outcome=\"failed\",shard=\"0\"} 1\n\
             ringpost_outbound_recipients_total{outcome=\"delivered\",shard=\"1\"} 4\n\
             ringpost_outbound_recipients_total{outcome=\"failed\",shard=\"1\"} 0\n"
        );
    }

    #[test]
    fn families_are_found_by_their_name() {
        assert!(FAMILIES.is_sorted_by(|a, b| a.0 < b.0));
        assert!(FAMILIES.iter().all(|(name, meaning)| help(name) == Some(*meaning)));
    }
}
