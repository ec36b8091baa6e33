//! What keeps a stranger from filling the log: so many lines of a kind in a time, then their number.

use std::time::Duration;

use shards::Instant;

/// Lines of a kind that a shard writes in a [`WINDOW`].
pub const LINES_MAX: u32 = 100;
/// A kind's count starts anew this long after the first line that it counts.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Kinds of events that others can cause in any number. None tells what becomes of a message that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Connections that were turned away.
    Connections,
    /// Failed logins.
    Logins,
    /// Commands and messages of clients without an account.
    Refusals,
    /// Commands and messages of accounts.
    AccountRefusals,
    /// TLS handshakes.
    Tls,
    /// Sessions that a defect ended.
    Panics,
    /// Scans without a usable answer.
    Scanners,
    /// What comes to return paths and changes nothing.
    Returns,
    /// What replies make of limits.
    Limits,
    /// Messages that break receivers' rules: what was found of each stands in its `accepted`, too.
    Preflight,
}

/// Every kind, in the order of its number.
pub const KINDS: [Kind; 10] = [
    Kind::Connections,
    Kind::Logins,
    Kind::Refusals,
    Kind::AccountRefusals,
    Kind::Tls,
    Kind::Panics,
    Kind::Scanners,
    Kind::Returns,
    Kind::Limits,
    Kind::Preflight,
];

impl Kind {
    /// Its name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Connections => "connections",
            Kind::Logins => "logins",
            Kind::Refusals => "refusals",
            Kind::AccountRefusals => "account_refusals",
            Kind::Tls => "tls",
            Kind::Panics => "panics",
            Kind::Scanners => "scanners",
            Kind::Returns => "returns",
            Kind::Limits => "limits",
            Kind::Preflight => "preflight",
        }
    }

    /// The metric that counts what was not written of it.
    fn metric(self) -> &'static str {
        match self {
            Kind::Connections => "log_lines_suppressed_total{kind=\"connections\"}",
            Kind::Logins => "log_lines_suppressed_total{kind=\"logins\"}",
            Kind::Refusals => "log_lines_suppressed_total{kind=\"refusals\"}",
            Kind::AccountRefusals => "log_lines_suppressed_total{kind=\"account_refusals\"}",
            Kind::Tls => "log_lines_suppressed_total{kind=\"tls\"}",
            Kind::Panics => "log_lines_suppressed_total{kind=\"panics\"}",
            Kind::Scanners => "log_lines_suppressed_total{kind=\"scanners\"}",
            Kind::Returns => "log_lines_suppressed_total{kind=\"returns\"}",
            Kind::Limits => "log_lines_suppressed_total{kind=\"limits\"}",
            Kind::Preflight => "log_lines_suppressed_total{kind=\"preflight\"}",
        }
    }
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is written.
    Write,
    /// It is counted, as the first of its window: the window is to be closed after this time.
    Begin(Duration),
    /// It is counted.
    Count,
}

/// The counts of one shard.
#[derive(Default)]
pub struct Floods([Flood; KINDS.len()]);

#[derive(Clone, Copy, Default)]
struct Flood {
    /// When the window ends; `None`: none is open.
    until: Option<Instant>,
    written: u32,
    /// In this window.
    suppressed: u64,
    /// In all.
    total: u64,
}

impl Floods {
    /// Judges a line of `kind`.
    pub fn admit(&mut self, kind: Kind, now: Instant) -> Verdict {
        let flood = &mut self.0[kind as usize];
        // A window with suppressed lines is closed by whoever began to suppress, or its number would be lost.
        let until = match flood.until {
            Some(until) if now < until || flood.suppressed > 0 => until,
            _ => {
                flood.written = 0;
                *flood.until.insert(now + WINDOW)
            }
        };
        if flood.written < LINES_MAX {
            flood.written += 1;
            return Verdict::Write;
        }
        flood.suppressed += 1;
        flood.total += 1;
        if flood.suppressed == 1 { Verdict::Begin(until.since(now)) } else { Verdict::Count }
    }

    /// Closes the window of `kind`; how many lines it has suppressed.
    pub fn close(&mut self, kind: Kind) -> u64 {
        let flood = &mut self.0[kind as usize];
        flood.until = None;
        std::mem::take(&mut flood.suppressed)
    }

    /// What was suppressed so far, as metrics.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        KINDS.into_iter().map(|kind| (kind.metric(), self.0[kind as usize].total))
    }
}
