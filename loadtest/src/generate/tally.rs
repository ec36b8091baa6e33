//! What became of the messages, counted per thread and added up at the end.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use ringpost::smtp::client::{Phase, Result};
use shards::Instant;

/// The longest latency that is told from longer ones: an hour.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// Counts of one thread, or of all.
pub(super) struct Tally {
    pub(super) connections: u64,
    /// Messages that at least one recipient's 250 took, and those that none did.
    pub(super) accepted: u64,
    pub(super) failed: u64,
    pub(super) recipients_accepted: u64,
    /// Recipients refused by code, with the first reply of each.
    pub(super) refused: BTreeMap<u16, Example>,
    /// Recipients lost by phase, with the first reason of each.
    pub(super) lost: BTreeMap<&'static str, Example>,
    /// Microseconds from the final dot to its 250.
    pub(super) dot_us: Histogram<u64>,
    /// Microseconds from when the message was due to its 250.
    pub(super) due_us: Histogram<u64>,
    /// From the first message to the last.
    pub(super) span: Option<(Instant, Instant)>,
}

/// How many, and what the first of them said.
#[derive(Clone, Debug)]
pub(super) struct Example {
    pub(super) count: u64,
    pub(super) first: String,
}

impl Default for Tally {
    fn default() -> Self {
        let histogram = || Histogram::new_with_max(LATENCY_US_MAX, 3).expect("bounds that a histogram can have");
        Self {
            connections: 0,
            accepted: 0,
            failed: 0,
            recipients_accepted: 0,
            refused: BTreeMap::new(),
            lost: BTreeMap::new(),
            dot_us: histogram(),
            due_us: histogram(),
            span: None,
        }
    }
}

impl Tally {
    /// Counts one message's results; whether anyone accepted it.
    pub(super) fn count(&mut self, results: &[Result]) -> bool {
        let mut accepted = 0;
        for result in results {
            match result {
                Result::Accepted(_) => accepted += 1,
                Result::Refused(_, reply) | Result::Impossible(reply) => note(&mut self.refused, reply.code, reply),
                Result::Lost(phase, why) => note(&mut self.lost, name(*phase), why),
            }
        }
        self.recipients_accepted += accepted;
        *(if accepted > 0 { &mut self.accepted } else { &mut self.failed }) += 1;
        accepted > 0
    }

    /// Notes when an accepted message was due, had gone out, and was accepted.
    pub(super) fn time(&mut self, due: Instant, dot: Option<Instant>, accepted: Instant) {
        self.due_us.saturating_record(micros(due, accepted));
        if let Some(dot) = dot {
            self.dot_us.saturating_record(micros(dot, accepted));
        }
    }

    /// Adds another thread's.
    pub(super) fn add(&mut self, other: Tally) {
        self.connections += other.connections;
        self.accepted += other.accepted;
        self.failed += other.failed;
        self.recipients_accepted += other.recipients_accepted;
        merge(&mut self.refused, other.refused);
        merge(&mut self.lost, other.lost);
        for (mine, theirs) in [(&mut self.dot_us, &other.dot_us), (&mut self.due_us, &other.due_us)] {
            mine.add(theirs).expect("both have the same bounds");
        }
        self.span = match (self.span, other.span) {
            (Some((began, ended)), Some((theirs, end))) => Some((began.min(theirs), ended.max(end))),
            (mine, theirs) => mine.or(theirs),
        };
    }
}

fn note<K: Ord>(map: &mut BTreeMap<K, Example>, key: K, words: &impl ToString) {
    map.entry(key).or_insert_with(|| Example { count: 0, first: words.to_string() }).count += 1;
}

fn merge<K: Ord>(mine: &mut BTreeMap<K, Example>, theirs: BTreeMap<K, Example>) {
    for (key, example) in theirs {
        mine.entry(key).and_modify(|known| known.count += example.count).or_insert(example);
    }
}

fn micros(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.since(from).as_micros()).unwrap_or(u64::MAX)
}

fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Connect => "connect",
        Phase::Greeting => "greeting",
        Phase::Ehlo => "ehlo",
        Phase::StartTls => "starttls",
        Phase::Auth => "auth",
        Phase::Mail => "mail",
        Phase::Rcpt => "rcpt",
        Phase::Data => "data",
        Phase::Content => "content",
        Phase::Dot => "dot",
        Phase::Idle => "idle",
    }
}
