//! The summary of a sink, for people and as JSON.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::counts::Counts;
use super::script::Script;
use crate::generate::Latency;
use crate::usage;

/// What a sink received.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Messages received.
    pub messages: u64,
    /// Their recipients.
    pub recipients: u64,
    /// Octets of their content.
    pub bytes: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Receptions beyond the first of one id for one recipient.
    pub duplicates: u64,
    /// Messages whose body is not what was sent.
    pub damaged: u64,
    /// Messages that no `ringload generate` has made.
    pub unmarked: u64,
    /// From when a message was due at its generator to its reception, where both share a clock.
    pub delivery_ms: Latency,
    /// How often each fault of the script happened.
    pub faults: Vec<u64>,
    /// From the first message to the last.
    pub seconds: f64,
    /// Messages per second of that time.
    pub messages_per_second: f64,
    /// The sink's own CPU time for each message.
    pub cpu_us_per_message: f64,
    /// Where each fault stands in a conversation, for the text.
    #[serde(skip)]
    places: Vec<String>,
}

impl Report {
    pub(super) fn new(total: &Counts, script: &Script, cpu: Duration) -> Self {
        let seconds = total.span.map_or(0.0, |(first, last)| last.since(first).as_secs_f64());
        Self {
            messages: total.messages,
            recipients: total.recipients,
            bytes: total.bytes,
            connections: total.connections,
            duplicates: total.duplicates(),
            damaged: total.damaged,
            unmarked: total.unmarked,
            delivery_ms: Latency::of(&total.delivery_ms),
            faults: total.faults.clone(),
            seconds,
            messages_per_second: if seconds > 0.0 { total.messages as f64 / seconds } else { 0.0 },
            cpu_us_per_message: usage::cpu_us_per_message(cpu, total.messages),
            places: script.faults.iter().map(|fault| format!("{:?}", fault.at).to_lowercase()).collect(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "received    {} messages over {} connections", self.messages, self.connections)?;
        writeln!(f, "            {} recipients, {} octets", self.recipients, self.bytes)?;
        writeln!(f, "duplicates  {}", self.duplicates)?;
        writeln!(f, "damaged     {}", self.damaged)?;
        writeln!(f, "unmarked    {} (not made by ringload)", self.unmarked)?;
        if self.delivery_ms.count > 0 {
            let Latency { p50, p99, max, .. } = self.delivery_ms;
            writeln!(f, "delivery    p50 {p50} ms, p99 {p99} ms, max {max} ms after it was due")?;
        }
        for (number, (happened, place)) in self.faults.iter().zip(&self.places).enumerate() {
            writeln!(f, "fault {:<5} at {place}: {happened} times", number + 1)?;
        }
        writeln!(f, "rate        {:.0} messages/s for {:.1} s", self.messages_per_second, self.seconds)?;
        writeln!(f, "own CPU     {:.0} us per message", self.cpu_us_per_message)
    }
}
