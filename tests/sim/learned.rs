//! What replies have made of the limits, as an invariant: nobody who is sent to sees more than that, whichever shard sends,
//! however often the server dies, and with how many shards it is started again; and what was learned is not lost by it.
//!
//! What holds is what the server tells: in its log as it changes, and after a start when it is asked.

use std::collections::BTreeMap;

use serde_json::Value;

/// What changed so shortly before a death need not be known after it.
const FORGETTABLE_MS: u64 = 5_000;
/// How long a connection may be under way before it is begun: it was permitted when it set out.
const UNDER_WAY_MS: u64 = 10_000;
/// Messages are counted in stretches of this length …
pub const STRETCH_MS: u64 = 60_000;
/// … and may wait so long for the leave that they have.
const WAIT_MS: u64 = 6_000;
/// What is told has two places behind the point.
const ROUNDED: f64 = 0.005;

/// What is asked is answered within this time.
const ANSWERED_MS: u64 = 3_000;

const LIMITS: [&str; 2] = ["message_rate", "connections_max"];

/// A source, a destination and a limit.
type Key = (String, String, &'static str);

/// What the server has told of the limits that it has learned.
#[derive(Default)]
pub struct Learned {
    /// What held from when on; `None`: no limit, or none that is known.
    told: BTreeMap<Key, Vec<(u64, Option<f64>)>>,
    /// What must be known after a death, until it is.
    to_be_known: BTreeMap<Key, f64>,
    /// How often something was counted against a limit that was learned.
    pub counted: usize,
}

impl Learned {
    /// Lines of the log.
    pub fn read(&mut self, lines: &str) {
        let changes = lines.lines().filter(|line| line.contains(" event=limit_"));
        for line in changes {
            let field = |name: &str| {
                let rest = line.split_once(&format!("{name}=")).map(|(_, rest)| rest)?;
                rest.split(' ').next()
            };
            let time: jiff::Timestamp = field("time").and_then(|time| time.parse().ok()).expect("a line has its time");
            let limit = LIMITS.into_iter().find(|limit| field(" limit") == Some(limit));
            let (Some(source), Some(destination), Some(limit)) = (field(" source"), field(" destination"), limit)
            else {
                continue;
            };
            let value = field(" to").map(|to| to.parse().expect("a number"));
            let key = (source.to_owned(), destination.to_owned(), limit);
            self.to_be_known.remove(&key);
            let history = self.told.entry(key).or_default();
            history.push((time.as_millisecond().unsigned_abs(), value));
        }
    }

    /// The server dies now.
    pub fn died(&mut self, now_ms: u64) {
        for (key, history) in &mut self.told {
            if let Some((since_ms, value)) = history.last() {
                match value {
                    Some(value) if since_ms + FORGETTABLE_MS < now_ms => {
                        _ = self.to_be_known.insert(key.clone(), *value)
                    }
                    _ if since_ms + FORGETTABLE_MS < now_ms => {}
                    _ => _ = self.to_be_known.remove(key),
                }
            }
            history.push((now_ms, None));
        }
    }

    /// What a shard says that it knows; what is wrong with that.
    pub fn told(&mut self, paths: &[Value], now_ms: u64) -> Vec<String> {
        let mut wrong = Vec::new();
        for path in paths {
            let name = |key: &str| path[key].as_str().unwrap_or_default().to_owned();
            for limit in LIMITS {
                let key = (name("source"), name("destination"), limit);
                let known = match &path[limit] {
                    Value::String(rate) => rate.split('/').next().and_then(|rate| rate.parse().ok()),
                    other => other.as_f64(),
                };
                let history = self.told.entry(key.clone()).or_default();
                // What was asked before it changed may be answered after.
                let is_news =
                    history.last().is_none_or(|(at_ms, value)| value.is_none() && at_ms + ANSWERED_MS < now_ms);
                if is_news
                    && let Some(expected) = self.to_be_known.remove(&key)
                    && known != Some(expected)
                {
                    wrong.push(format!(
                        "{key:?}: {expected} was learned before a death, and {known:?} is known after it"
                    ));
                }
                if is_news && known.is_some() {
                    history.push((now_ms, known));
                }
            }
        }
        wrong
    }

    /// What was learned before a death and not seen again.
    pub fn lost(&self) -> Vec<&Key> {
        let is_unheard = |key: &&Key| self.told[*key].last().is_none_or(|(_, value)| value.is_none());
        self.to_be_known.keys().filter(is_unheard).collect()
    }

    /// Whether that many connections are more than what was learned lets begin at that time; then how many it does.
    pub fn forbids_connections(
        &mut self,
        (source, destination): (&str, &str),
        held: usize,
        begun_ms: u64,
    ) -> Option<f64> {
        let max = self.most((source, destination, "connections_max"), begun_ms.saturating_sub(UNDER_WAY_MS))?;
        self.counted += 1;
        (held as f64 > max).then_some(max)
    }

    /// Whether that many messages within a stretch that ends at that time are more than what was learned permits; then how
    /// many it does.
    pub fn forbids_messages(&mut self, (source, destination): (&str, &str), sent: usize, at_ms: u64) -> Option<f64> {
        let rate = self.most((source, destination, "message_rate"), at_ms.saturating_sub(STRETCH_MS + WAIT_MS))?;
        self.counted += 1;
        let saved = ((rate as u32) / 20).max(1);
        let max = (rate + ROUNDED) * STRETCH_MS as f64 / 1000.0 + f64::from(saved) + 1.0;
        (sent as f64 > max).then_some(max)
    }

    /// The highest limit since then; `None`: not always was there one.
    fn most(&self, (source, destination, limit): (&str, &str, &'static str), since_ms: u64) -> Option<f64> {
        let history = self.told.get(&(source.to_owned(), destination.to_owned(), limit))?;
        let first = history.partition_point(|(at_ms, _)| *at_ms <= since_ms).checked_sub(1)?;
        let values = history[first..].iter().map(|(_, value)| *value);
        values.collect::<Option<Vec<f64>>>()?.into_iter().reduce(f64::max)
    }
}
