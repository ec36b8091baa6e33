//! TLS reports: what the shards count is added up by day, kept, and told to the domains that ask for it (RFC 8460).
//!
//! Owns: the counts of days, in memory and on disk; when a day is told, and to whom.
//! Never: judges a session (`outbound::reporting` does), or delivers a message (it goes through the queue, from `<>`, so no
//! notice ever comes of it, and sessions that carry a report are not counted).
//! On disk: `tls-reports/DAY.json` in the data directory, written every minute and at a stop, with what the shards counted
//! to their end: a crash loses a minute of counts, or has what was told in that minute told again, under the same report id.
//! Limits: those of [`Counts`] for a day; [`ERRANDS_MAX`] domains are told at a time, each with a bounded patience, the
//! others wait in a line; a day is given up after [`DAYS_MAX`]; [`ASKS_MAX`] operators wait.
//!
//! A day ends at midnight, UTC. Each domain's turn comes at a moment of the first four hours after it, which follows from
//! day and domain (§4.1); what cannot be sent is tried again every hour.

mod asked;
mod days;
mod errand;
mod post;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use rustls::ClientConfig;
use serde_json::{Value, json};
use shards::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use super::clock;
use super::desk::{Desk, LOOK_PATIENCE};
use crate::assurance::Trust;
use crate::assurance::report::Counts;
use crate::authentication::Signers;
use crate::config::Config;
use crate::events::Event;
use crate::events::log::Channel;
use crate::message::date;
use asked::Questions;
use days::Days;
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
/// What an operator is told who asks for reports without having configured them.
const NOT_WANTED: &str = "nothing is counted or reported: the configuration has no [tls_reports]; add the section, with \
                          organization, contact and from, and reload it; sessions count from then on";
/// Questions that wait.
pub const ASKS_MAX: usize = 8;

/// What an operator asks.
pub enum Ask {
    /// What was counted, by day: JSON.
    Show(oneshot::Sender<Vec<u8>>),
    /// Tells a day (`YYYY-MM-DD`), also one that has not ended, at once; today without a day.
    Send(Option<String>, oneshot::Sender<Value>),
    /// Keeps all, with what the shards, which have ended, counted last; then it answers.
    Stop(Vec<Counts>, oneshot::Sender<()>),
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
    desk: Desk,
    questions: Questions,
    log: Arc<Channel>,
    settings: watch::Receiver<Settings>,
    days: Days,
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
        let mut days = Days::new(data_dir.join("tls-reports"));
        if settings.borrow().config.tls_reports.is_some() {
            days.read()?;
        }
        Ok(Reporter {
            questions: Questions::new(desk.shards()),
            desk,
            log,
            settings,
            days,
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
                        self.keep().await;
                        let _ = answer.send(self.days.shown().await);
                    }
                    Some(Ask::Send(day, answer)) => {
                        self.collect().await;
                        self.send_now(day.as_deref(), answer);
                    }
                    Some(Ask::Stop(last, answer)) => {
                        let answered = self.questions.answered();
                        self.count(last.into_iter().chain(answered));
                        self.keep().await;
                        let _ = answer.send(());
                    }
                },
                Some(told) = self.errands.next(), if !self.errands.is_empty() => self.take(told),
                _ = tick.tick() => {
                    self.collect().await;
                    self.look_for_due(now_s());
                    self.keep().await;
                }
            }
            self.answer().await;
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
        let counted = self.questions.ask(&self.desk, LOOK_PATIENCE).await;
        self.count(counted);
    }

    fn count(&mut self, counted: impl IntoIterator<Item = Counts>) {
        let today = now_s() / DAY_S;
        counted.into_iter().for_each(|counts| self.days.merge(today, counts));
    }

    /// Writes the days that have changed.
    async fn keep(&mut self) {
        for why in self.days.keep().await.err().into_iter().flatten() {
            self.say(&Event::Trouble(&why));
        }
    }

    /// Puts all of a day in the line, for an operator who waits.
    fn send_now(&mut self, day: Option<&str>, answer: oneshot::Sender<Value>) {
        let day = day.map_or(Some(now_s() / DAY_S), day_named);
        let refusal = match day {
            None => "a day is YYYY-MM-DD, and the day before yesterday at the earliest: what is older is given up",
            Some(_) if !self.is_wanted() => NOT_WANTED,
            Some(_) if self.asked.len() >= ASKS_MAX => {
                "as many as may wait already wait for a day to be told: ask again in a minute"
            }
            Some(day) => {
                let domains = self.days.domains(day);
                domains.iter().for_each(|domain| self.stand_in_line((day, domain.clone())));
                let left = domains.into_iter().collect();
                return self.asked.push(Asked { day, left, told: Vec::new(), answer });
            }
        };
        let _ = answer.send(json!({ "error": refusal }));
    }

    /// Answers the operators whose day is told, once that is on disk.
    async fn answer(&mut self) {
        let (waiting, done) = std::mem::take(&mut self.asked).into_iter().partition(|asked| !asked.left.is_empty());
        self.asked = waiting;
        let done: Vec<Asked> = done;
        if !done.is_empty() {
            self.keep().await;
        }
        for Asked { day, told, answer, .. } in done {
            let _ = answer.send(json!({ "day": name_of(day), "reports": told }));
        }
    }

    /// Puts what is due of the days that have ended in the line, and gives up what is too old.
    fn look_for_due(&mut self, now_s: u64) {
        for day in self.days.numbers().into_iter().filter(|day| (day + 1) * DAY_S <= now_s) {
            if now_s >= (day + 1 + DAYS_MAX) * DAY_S {
                self.days.forget(day);
                self.again_s.retain(|(of, _), _| *of != day);
            } else if self.is_wanted() {
                let due = self.days.domains(day).into_iter().filter(|domain| self.due_s(day, domain) <= now_s);
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
            let counts = Arc::new(self.days.of(day, &domain));
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
            self.days.take_away(day, &counts);
        }
        let sent: Vec<Value> = sent.into_iter().map(|(to, result)| self.told(&domain, &to, result)).collect();
        for asked in self.asked.iter_mut().filter(|asked| asked.day == day) {
            if asked.left.remove(&domain) {
                asked.told.extend_from_slice(&sent);
            }
        }
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
