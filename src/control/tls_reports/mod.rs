//! TLS reports: what the shards count is added up by day, kept, and told to the domains that ask for it (RFC 8460).
//!
//! Owns: the counts of days, in memory and on disk; when a day is told, and to whom.
//! Never: judges a session (`outbound::reporting` does), or delivers a message (it goes through the queue, from `<>`, so no
//! notice ever comes of it, and sessions that carry a report are not counted).
//! On disk: `tls-reports/DAY.json` in the data directory, written every minute: a crash loses a minute of counts, or has
//! what was told in that minute told again, under the same report id.
//! Limits: those of [`Counts`] for a day; [`ERRANDS_MAX`] domains are told at a time, each with a bounded patience, the
//! others wait in a line; a day is given up after [`DAYS_MAX`]; [`ASKS_MAX`] operators wait.
//!
//! A day ends at midnight, UTC. Each domain's turn comes at a moment of the first four hours after it, which follows from
//! day and domain (§4.1); what cannot be sent is tried again every hour.

mod asked;
mod errand;
mod post;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use rustls::ClientConfig;
use serde_json::{Value, json};
use shards::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use super::clock;
use super::desk::Desk;
use crate::assurance::Trust;
use crate::assurance::report::Counts;
use crate::authentication::Signers;
use crate::config::Config;
use crate::events::Event;
use crate::events::log::Channel;
use crate::message::date;
use errand::{Errand, Told};

/// Between two looks at the shards' counts and at the clock.
const TICK: Duration = Duration::from_secs(60);
/// Domains that are told at a time: as many may have receivers that never answer before the others must wait for one.
const ERRANDS_MAX: usize = 32;
/// What could not be sent is tried again after this.
const AGAIN_S: u64 = 3600;
/// Days that are kept after they have ended.
const DAYS_MAX: u64 = 1;
/// Within so many seconds after its end a day is told (§4.1).
const SPREAD_S: u64 = 4 * 3600;
const DAY_S: u64 = 86_400;
/// Questions that wait.
pub const ASKS_MAX: usize = 8;

/// What an operator asks.
pub enum Ask {
    /// What was counted, by day.
    Show(oneshot::Sender<Value>),
    /// Tells a day (`YYYY-MM-DD`), also one that has not ended, at once; today without a day.
    Send(Option<String>, oneshot::Sender<Value>),
}

/// What reports are made with.
#[derive(Clone)]
pub struct Settings {
    config: Arc<Config>,
    signers: Arc<Signers>,
    tls: Option<Arc<ClientConfig>>,
}

impl Settings {
    /// Those of a configuration.
    pub fn of(config: &Arc<Config>, signers: &Arc<Signers>, trust: &Trust) -> Settings {
        let tls = config.tls_reports.as_ref().and_then(|_| {
            // The receivers of reports are trusted by the authorities that policy hosts are.
            shards::tls::client_config_with_roots(trust.usual.clone()).ok()
        });
        Settings { config: config.clone(), signers: signers.clone(), tls }
    }
}

/// A domain's day.
type Due = (u64, Box<str>);

/// An operator who waits until a day is told.
struct Asked {
    day: u64,
    left: HashSet<Box<str>>,
    told: Vec<Value>,
    answer: oneshot::Sender<Value>,
}

/// The counts of days.
pub struct Reporter {
    folder: PathBuf,
    desk: Desk,
    log: Arc<Channel>,
    settings: watch::Receiver<Settings>,
    /// By their number since the epoch.
    days: BTreeMap<u64, Counts>,
    /// Those that are not on disk as they are here.
    changed: BTreeSet<u64>,
    /// When what could not be sent is tried again.
    again_s: HashMap<Due, u64>,
    /// Whose turn has come, and who is in the line or being told.
    line: VecDeque<Due>,
    under_way: HashSet<Due>,
    errands: FuturesUnordered<BoxFuture<'static, Told>>,
    asked: Vec<Asked>,
}

impl Reporter {
    /// One with what is kept in a data directory.
    ///
    /// # Errors
    /// The folder can be neither read nor made.
    pub fn open(
        data_dir: &Path,
        desk: Desk,
        log: Arc<Channel>,
        settings: watch::Receiver<Settings>,
    ) -> io::Result<Reporter> {
        let folder = data_dir.join("tls-reports");
        let mut days = BTreeMap::new();
        if settings.borrow().config.tls_reports.is_some() {
            fs::create_dir_all(&folder)?;
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                let name = path.file_stem().and_then(|name| name.to_str()).and_then(day_named);
                let value = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
                if let (Some(day), Some(value)) = (name, value) {
                    days.insert(day, Counts::of_json(&value));
                }
            }
        }
        Ok(Reporter {
            folder,
            desk,
            log,
            settings,
            days,
            changed: BTreeSet::new(),
            again_s: HashMap::new(),
            line: VecDeque::new(),
            under_way: HashSet::new(),
            errands: FuturesUnordered::new(),
            asked: Vec::new(),
        })
    }

    /// Counts, keeps, tells, and answers, until nobody can ask any more.
    pub async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                asked = asks.recv() => match asked {
                    None => return,
                    // Whoever asked may have gone away.
                    Some(Ask::Show(answer)) => {
                        self.collect().await;
                        self.keep();
                        let _ = answer.send(self.shown());
                    }
                    Some(Ask::Send(day, answer)) => {
                        self.collect().await;
                        self.send_now(day.as_deref(), answer);
                    }
                },
                Some(told) = self.errands.next(), if !self.errands.is_empty() => self.take(told),
                _ = tick.tick() => {
                    self.collect().await;
                    self.look_for_due(now_s());
                    self.keep();
                }
            }
            self.send_the_next();
        }
    }

    fn is_wanted(&self) -> bool {
        self.settings.borrow().config.tls_reports.is_some()
    }

    /// Takes what the shards have counted.
    async fn collect(&mut self) {
        if !self.is_wanted() {
            return;
        }
        let today = now_s() / DAY_S;
        // A shard that does not answer now is asked again with the next look.
        for counts in self.desk.tls_sessions().await.unwrap_or_default() {
            if !counts.is_empty() {
                self.days.entry(today).or_default().merge(counts);
                self.changed.insert(today);
            }
        }
    }

    /// Writes the days that have changed.
    fn keep(&mut self) {
        for day in std::mem::take(&mut self.changed) {
            if let Err(why) = self.keep_one(day) {
                self.changed.insert(day);
                self.say(&Event::Trouble(&why));
            }
        }
    }

    /// Writes a day so that it is there whole or not at all; a day of which nothing is left is removed.
    fn keep_one(&mut self, day: u64) -> Result<(), String> {
        let file = self.folder.join(format!("{}.json", name_of(day)));
        let written = match self.days.get(&day) {
            Some(counts) if !counts.is_empty() => {
                let new = file.with_extension("new");
                fs::create_dir_all(&self.folder)
                    .and_then(|()| fs::write(&new, counts.to_json().to_string()))
                    .and_then(|()| fs::rename(&new, &file))
            }
            _ => {
                self.days.remove(&day);
                match fs::remove_file(&file) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                }
            }
        };
        written.map_err(|error| format!("{}: {error}", file.display()))
    }

    fn shown(&self) -> Value {
        let days = self.days.iter().map(|(day, counts)| {
            let mut object = counts.to_json();
            object["day"] = name_of(*day).into();
            object
        });
        json!({ "days": days.collect::<Vec<_>>() })
    }

    /// Puts all of a day in the line, for an operator who waits.
    fn send_now(&mut self, day: Option<&str>, answer: oneshot::Sender<Value>) {
        let day = day.map_or(Some(now_s() / DAY_S), day_named);
        let refusal = match day {
            None => "a day is YYYY-MM-DD",
            Some(_) if !self.is_wanted() => "nothing is reported: the configuration has no [tls_reports]",
            Some(_) if self.asked.len() >= ASKS_MAX => "as many as may wait already wait for a day to be told",
            Some(day) => {
                let domains = self.days.get(&day).map(Counts::domains).unwrap_or_default();
                domains.iter().for_each(|domain| self.stand_in_line((day, domain.clone())));
                let left = domains.into_iter().collect();
                self.asked.push(Asked { day, left, told: Vec::new(), answer });
                return self.answer();
            }
        };
        let _ = answer.send(json!({ "error": refusal }));
    }

    /// Answers the operators whose day is told.
    fn answer(&mut self) {
        let (waiting, done) = std::mem::take(&mut self.asked).into_iter().partition(|asked| !asked.left.is_empty());
        self.asked = waiting;
        let done: Vec<Asked> = done;
        if !done.is_empty() {
            self.keep();
        }
        for Asked { day, told, answer, .. } in done {
            let _ = answer.send(json!({ "day": name_of(day), "reports": told }));
        }
    }

    /// Puts what is due of the days that have ended in the line, and gives up what is too old.
    fn look_for_due(&mut self, now_s: u64) {
        let ended: Vec<u64> = self.days.keys().copied().filter(|day| (day + 1) * DAY_S <= now_s).collect();
        for day in ended {
            if now_s >= (day + 1 + DAYS_MAX) * DAY_S {
                self.days.remove(&day);
                self.changed.insert(day);
                self.again_s.retain(|(of, _), _| *of != day);
            } else if self.is_wanted() {
                let domains = self.days.get(&day).map(Counts::domains).unwrap_or_default();
                let due = domains.into_iter().filter(|domain| self.due_s(day, domain) <= now_s);
                due.collect::<Vec<_>>().into_iter().for_each(|domain| self.stand_in_line((day, domain)));
            }
        }
    }

    fn stand_in_line(&mut self, due: Due) {
        if self.under_way.insert(due.clone()) {
            self.line.push_back(due);
        }
    }

    /// Begins as many errands as may be out.
    fn send_the_next(&mut self) {
        while self.errands.len() < ERRANDS_MAX
            && let Some((day, domain)) = self.line.pop_front()
        {
            let counts = self.days.get(&day).map(|counts| counts.of(&domain)).unwrap_or_default();
            let (settings, desk) = (self.settings.borrow().clone(), self.desk.clone());
            self.errands.push(Box::pin(Errand { settings, desk, day, domain, counts }.run()));
        }
    }

    /// Takes what came of an errand: forgets what was told or is wanted by nobody.
    fn take(&mut self, told: Told) {
        let Told { day, domain, counts, sent, again } = told;
        let due = (day, domain.clone());
        self.under_way.remove(&due);
        if again {
            self.again_s.insert(due, now_s() + AGAIN_S);
        } else {
            self.again_s.remove(&due);
            self.days.entry(day).or_default().take_away(&counts);
            self.changed.insert(day);
        }
        let sent: Vec<Value> = sent.into_iter().map(|(to, result)| self.told(&domain, &to, result)).collect();
        for asked in self.asked.iter_mut().filter(|asked| asked.day == day) {
            if asked.left.remove(&domain) {
                asked.told.extend_from_slice(&sent);
            }
        }
        self.answer();
    }

    /// When a domain's turn comes.
    fn due_s(&self, day: u64, domain: &str) -> u64 {
        let spread = u64::from(crc32fast::hash(format!("{day} {domain}").as_bytes())) % SPREAD_S;
        let first = (day + 1) * DAY_S + spread;
        self.again_s.get(&(day, domain.into())).copied().unwrap_or_default().max(first)
    }

    /// Tells the log what came of a report, and gives the same as JSON.
    fn told(&self, domain: &str, to: &str, result: Result<(), String>) -> Value {
        match result {
            Ok(()) => {
                self.say(&Event::TlsReportSent { domain, to });
                json!({ "domain": domain, "to": to, "sent": true })
            }
            Err(why) => {
                self.say(&Event::TlsReportFailed { domain, to, why: &why });
                json!({ "domain": domain, "to": to, "sent": false, "why": why })
            }
        }
    }

    fn say(&self, event: &Event<'_>) {
        self.log.say(clock::now(), event);
    }
}

fn now_s() -> u64 {
    clock::now().as_secs()
}

/// `YYYY-MM-DD`.
fn name_of(day: u64) -> String {
    let text = date::rfc3339(Timestamp::from_millis(day * DAY_S * 1000));
    text.split('T').next().unwrap_or_default().to_owned()
}

/// The day of that name, among those that a report can be about.
fn day_named(name: &str) -> Option<u64> {
    let today = now_s() / DAY_S;
    (today.saturating_sub(2 * DAYS_MAX)..=today).find(|day| name_of(*day) == name)
}

#[cfg(test)]
mod tests;
