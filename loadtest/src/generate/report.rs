//! The summary of a load, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::expect::Expected;
use super::tally::{Example, Tally, Timed};
use crate::usage;

/// What a load came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Messages tried.
    pub sent: u64,
    /// Messages with a 250 for at least one recipient.
    pub accepted: u64,
    /// Messages without one.
    pub failed: u64,
    /// Recipients whose message got 250.
    pub recipients_accepted: u64,
    /// The last reply to each recipient, by code.
    pub replies: BTreeMap<u16, u64>,
    /// Recipients refused, by reply code.
    pub refused: BTreeMap<u16, u64>,
    /// Recipients whose end is unknown, by the phase where the connection ended.
    pub lost: BTreeMap<&'static str, u64>,
    /// The first words of each kind of refusal and loss.
    pub examples: BTreeMap<String, String>,
    /// Recipients refused or lost that `--expect` does not name.
    pub unexpected: u64,
    /// Connections that were made.
    pub connections: u64,
    /// TLS handshakes that resumed a session.
    pub resumed: u64,
    /// From the first message to the last.
    pub seconds: f64,
    /// Accepted messages per second.
    pub messages_per_second: f64,
    /// From the final dot to its 250.
    pub dot_us: Latency,
    /// From when the message was due to its 250: with `--rate`, waiting for a connection counts.
    pub due_us: Latency,
    /// Of each phase that occurred: `connect`, `tls` (the handshake alone), `greeting`, `ehlo`, `starttls` (with its
    /// handshake), `auth`, `mail`, `rcpt`, `data`, `content`, `dot`, `quit`. What PIPELINING sends together is timed
    /// with the first of it.
    pub phases_us: BTreeMap<&'static str, Latency>,
    /// Points of the distribution of `due_us`: the share of messages, and the microseconds that it took at most.
    pub due_curve: Vec<(f64, u64)>,
    /// The generator's own CPU time for each message.
    pub cpu_us_per_message: f64,
}

/// A distribution in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Half are at most this.
    pub p50: u64,
    /// 90 % are.
    pub p90: u64,
    /// 99 % are.
    pub p99: u64,
    /// 99.9 % are.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

impl Latency {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            count: histogram.len(),
            mean: histogram.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max(),
        }
    }
}

/// Quantiles that get ever closer to 1, each with its value.
fn curve(histogram: &Histogram<u64>) -> Vec<(f64, u64)> {
    const POINTS_PER_HALVING: u32 = 4;
    let halvings = (histogram.len().max(1) as f64).log2().ceil() as u32;
    let quantile = |point: u32| 1.0 - 0.5_f64.powf(f64::from(point) / f64::from(POINTS_PER_HALVING));
    (0..=halvings * POINTS_PER_HALVING).map(quantile).map(|share| (share, histogram.value_at_quantile(share))).collect()
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |micros: u64| micros as f64 / 1000.0;
        let (p50, p99, p999, max) = (millis(self.p50), millis(self.p99), millis(self.p999), millis(self.max));
        write!(f, "p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms, max {max:.2} ms")
    }
}

impl Report {
    pub(super) fn new(total: &Tally, expected: &[Expected], cpu: Duration) -> Self {
        let seconds = total.span.map_or(0.0, |(began, ended)| ended.since(began).as_secs_f64());
        let sent = total.accepted + total.failed;
        let refused = total.refused.iter().filter(|(code, _)| !expected.iter().any(|word| word.covers(**code)));
        let refused = refused.map(|(_, example)| example.count).sum::<u64>();
        let lost = total.lost.values().map(|example| example.count).sum::<u64>();
        let examples = total.refused.iter().map(|(code, example)| (code.to_string(), example));
        let examples = examples.chain(total.lost.iter().map(|(phase, example)| ((*phase).to_owned(), example)));
        Self {
            sent,
            accepted: total.accepted,
            failed: total.failed,
            recipients_accepted: total.recipients_accepted,
            replies: total.replies.clone(),
            refused: counts(&total.refused),
            lost: counts(&total.lost),
            examples: examples.map(|(key, example)| (key, example.first.clone())).collect(),
            unexpected: refused + if expected.contains(&Expected::Lost) { 0 } else { lost },
            connections: total.connections,
            resumed: total.resumed,
            seconds,
            messages_per_second: if seconds > 0.0 { total.accepted as f64 / seconds } else { 0.0 },
            dot_us: Latency::of(&total.dot_us),
            due_us: Latency::of(&total.due_us),
            phases_us: Timed::ALL
                .iter()
                .map(|(phase, name)| (*name, &total.phases_us[*phase as usize]))
                .filter(|(_, histogram)| !histogram.is_empty())
                .map(|(name, histogram)| (name, Latency::of(histogram)))
                .collect(),
            due_curve: curve(&total.due_us),
            cpu_us_per_message: usage::cpu_us_per_message(cpu, sent),
        }
    }
}

fn counts<K: Ord + Copy>(examples: &BTreeMap<K, Example>) -> BTreeMap<K, u64> {
    examples.iter().map(|(key, example)| (*key, example.count)).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "sent        {} messages over {} connections", self.sent, self.connections)?;
        writeln!(f, "accepted    {} messages, {} recipients", self.accepted, self.recipients_accepted)?;
        for (code, count) in &self.refused {
            let first = self.examples.get(&code.to_string()).map_or("", String::as_str);
            writeln!(f, "refused     {count} recipients by {code}, first: {first}")?;
        }
        for (phase, count) in &self.lost {
            let first = self.examples.get(*phase).map_or("", String::as_str);
            writeln!(f, "lost        {count} recipients at {phase}, first: {first}")?;
        }
        writeln!(f, "rate        {:.0} messages/s for {:.1} s", self.messages_per_second, self.seconds)?;
        if self.resumed > 0 {
            writeln!(f, "resumed     {} TLS sessions", self.resumed)?;
        }
        for (phase, latency) in &self.phases_us {
            writeln!(f, "{phase:<11} {latency}")?;
        }
        writeln!(f, "dot to 250  {}", self.dot_us)?;
        writeln!(f, "due to 250  {}", self.due_us)?;
        writeln!(f, "own CPU     {:.0} us per message", self.cpu_us_per_message)
    }
}
