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
    /// Microseconds of each [`Timed`].
    pub(super) phases_us: [Histogram<u64>; Timed::COUNT],
    /// Handshakes that resumed a session.
    pub(super) resumed: u64,
    /// The last reply to each recipient, by code.
    pub(super) replies: BTreeMap<u16, u64>,
    /// From the first message to the last.
    pub(super) span: Option<(Instant, Instant)>,
}

/// What is timed beside the final dot. With PIPELINING the first of the commands that go out together has all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timed {
    /// TCP.
    Connect,
    /// The TLS handshake alone.
    Tls,
    Greeting,
    Ehlo,
    /// The command and the handshake.
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    /// Until the final dot has gone out.
    Content,
    /// From then to its reply.
    Dot,
    /// QUIT.
    Quit,
}

impl Timed {
    pub(super) const COUNT: usize = Self::ALL.len();
    pub(super) const ALL: [(Timed, &str); 12] = [
        (Timed::Connect, "connect"),
        (Timed::Tls, "tls"),
        (Timed::Greeting, "greeting"),
        (Timed::Ehlo, "ehlo"),
        (Timed::StartTls, "starttls"),
        (Timed::Auth, "auth"),
        (Timed::Mail, "mail"),
        (Timed::Rcpt, "rcpt"),
        (Timed::Data, "data"),
        (Timed::Content, "content"),
        (Timed::Dot, "dot"),
        (Timed::Quit, "quit"),
    ];
}

impl From<Phase> for Timed {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Connect => Timed::Connect,
            Phase::Greeting => Timed::Greeting,
            Phase::Ehlo => Timed::Ehlo,
            Phase::StartTls => Timed::StartTls,
            Phase::Auth => Timed::Auth,
            Phase::Mail => Timed::Mail,
            Phase::Rcpt => Timed::Rcpt,
            Phase::Data => Timed::Data,
            Phase::Content => Timed::Content,
            Phase::Dot => Timed::Dot,
            Phase::Idle => Timed::Quit,
        }
    }
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
            phases_us: std::array::from_fn(|_| histogram()),
            resumed: 0,
            replies: BTreeMap::new(),
            span: None,
        }
    }
}

impl Tally {
    /// Counts one message's results; whether anyone accepted it.
    pub(super) fn count(&mut self, results: &[Result]) -> bool {
        let mut accepted = 0;
        for result in results {
            if let Result::Accepted(reply) | Result::Refused(_, reply) = result {
                *self.replies.entry(reply.code).or_default() += 1;
            }
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

    /// Notes how long something took.
    pub(super) fn phase(&mut self, phase: Timed, from: Instant, to: Instant) {
        self.phases_us[phase as usize].saturating_record(micros(from, to));
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
        self.resumed += other.resumed;
        for (code, count) in other.replies {
            *self.replies.entry(code).or_default() += count;
        }
        for (mine, theirs) in self.phases_us.iter_mut().zip(&other.phases_us) {
            mine.add(theirs).expect("both have the same bounds");
        }
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

/// What is lost between two messages is not lost at QUIT.
fn name(phase: Phase) -> &'static str {
    if phase == Phase::Idle { "idle" } else { Timed::ALL[Timed::from(phase) as usize].1 }
}
