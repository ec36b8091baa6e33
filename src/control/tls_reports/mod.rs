//! TLS reports: what the shards count is added up by day, kept, and told to the domains that ask for it (RFC 8460).
//!
//! Owns: the counts of days, in memory and on disk; when a day is told, and to whom.
//! Never: judges a session (`outbound::reporting` does), or delivers a message (it goes through the queue, from `<>`, so no
//! notice ever comes of it, and sessions that carry a report are not counted).
//! On disk: `tls-reports/DAY.json` in the data directory, written every minute: a crash loses a minute of counts.
//! Limits: those of [`report`] for a day; [`SENT_PER_TICK_MAX`] domains a minute; a day is given up after [`DAYS_MAX`].
//!
//! A day ends at midnight, UTC. Each domain's turn comes at a moment of the first four hours after it, which follows from
//! day and domain (§4.1); what cannot be sent is tried again every hour.

mod asked;
mod post;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use hickory_resolver::TokioResolver;
use rustls::ClientConfig;
use serde_json::{Value, json};
use shards::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use super::desk::Desk;
use super::{clock, resolver};
use crate::assurance::Trust;
use crate::assurance::report::{self, Counts, Letter, Target, gzip, targets};
use crate::authentication::{Signers, sign};
use crate::config::{Config, TlsReports};
use crate::events::Event;
use crate::events::log::Channel;
use crate::message::date;

/// Between two looks at the shards' counts and at the clock.
const TICK: Duration = Duration::from_secs(60);
/// Domains that are told at one look.
const SENT_PER_TICK_MAX: usize = 100;
/// What could not be sent is tried again after this.
const AGAIN_S: u64 = 3600;
/// Days that are kept after they have ended.
const DAYS_MAX: u64 = 2;
/// Within so many seconds after its end a day is told (§4.1).
const SPREAD_S: u64 = 4 * 3600;
const DAY_S: u64 = 86_400;
/// Questions that wait.
pub const ASKS_MAX: usize = 8;
/// How long one try of a DNS question may take.
const DNS_PATIENCE: Duration = Duration::from_secs(5);

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

/// The counts of days.
pub struct Reporter {
    folder: PathBuf,
    desk: Desk,
    log: Arc<Channel>,
    settings: watch::Receiver<Settings>,
    /// By their number since the epoch.
    days: BTreeMap<u64, Counts>,
    /// When what could not be sent is tried again.
    again_s: HashMap<(u64, Box<str>), u64>,
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
        Ok(Reporter { folder, desk, log, settings, days, again_s: HashMap::new() })
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
                        let _ = answer.send(self.shown());
                    }
                    Some(Ask::Send(day, answer)) => {
                        self.collect().await;
                        let _ = answer.send(self.send_now(day.as_deref()).await);
                    }
                },
                _ = tick.tick() => {
                    self.collect().await;
                    self.send_due().await;
                }
            }
        }
    }

    fn reports(&self) -> Option<TlsReports> {
        self.settings.borrow().config.tls_reports.clone()
    }

    /// Takes what the shards have counted.
    async fn collect(&mut self) {
        if self.reports().is_none() {
            return;
        }
        let today = now_s() / DAY_S;
        // A shard that does not answer now is asked again with the next look.
        for counts in self.desk.tls_sessions().await.unwrap_or_default() {
            if !counts.is_empty() {
                self.days.entry(today).or_default().merge(counts);
            }
        }
        self.keep(today);
    }

    /// Writes a day so that it is there whole or not at all; a day of which nothing is left is removed.
    fn keep(&mut self, day: u64) {
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
        if let Err(error) = written {
            self.say(&Event::Trouble(&format!("{}: {error}", file.display())));
        }
    }

    fn shown(&self) -> Value {
        let days = self.days.iter().map(|(day, counts)| {
            let mut object = counts.to_json();
            object["day"] = name_of(*day).into();
            object
        });
        json!({ "days": days.collect::<Vec<_>>() })
    }

    /// Tells a day now; what came of it, by domain.
    async fn send_now(&mut self, day: Option<&str>) -> Value {
        let Some(day) = day.map_or(Some(now_s() / DAY_S), day_named) else {
            return json!({ "error": "a day is YYYY-MM-DD" });
        };
        if self.reports().is_none() {
            return json!({ "error": "nothing is reported: the configuration has no [tls_reports]" });
        }
        let mut told = Vec::new();
        for domain in self.days.get(&day).map(Counts::domains).unwrap_or_default() {
            told.extend(self.tell(day, &domain).await);
        }
        self.keep(day);
        json!({ "day": name_of(day), "reports": told })
    }

    /// Tells what is due of the days that have ended.
    async fn send_due(&mut self) {
        let now_s = now_s();
        let ended: Vec<u64> = self.days.keys().copied().filter(|day| (day + 1) * DAY_S <= now_s).collect();
        let mut left = SENT_PER_TICK_MAX;
        for day in ended {
            if now_s >= (day + 1 + DAYS_MAX) * DAY_S {
                self.days.remove(&day);
                self.again_s.retain(|(of, _), _| *of != day);
            }
            let domains = self.days.get(&day).map(Counts::domains).unwrap_or_default();
            let due = domains.into_iter().filter(|domain| self.due_s(day, domain) <= now_s);
            let due: Vec<Box<str>> = due.take(left).collect();
            left -= due.len();
            for domain in due {
                self.tell(day, &domain).await;
            }
            self.keep(day);
        }
    }

    /// When a domain's turn comes.
    fn due_s(&self, day: u64, domain: &str) -> u64 {
        let spread = u64::from(crc32fast::hash(format!("{day} {domain}").as_bytes())) % SPREAD_S;
        let first = (day + 1) * DAY_S + spread;
        self.again_s.get(&(day, domain.into())).copied().unwrap_or_default().max(first)
    }

    /// Tells a domain of a day, and forgets what was told or is wanted by nobody.
    async fn tell(&mut self, day: u64, domain: &str) -> Vec<Value> {
        let settings = self.settings.borrow().clone();
        let Some(reports) = &settings.config.tls_reports else { return Vec::new() };
        let resolver = match resolver::build(&settings.config.dns_servers, DNS_PATIENCE) {
            Ok(resolver) => resolver,
            Err(why) => return vec![self.told(domain, "", Err(why))],
        };
        let wanted = match resolver::texts(&resolver, &format!("_smtp._tls.{domain}")).await {
            Ok((records, _)) => targets(&records),
            Err(crate::dns::Answer::Trouble(why)) => {
                self.again_s.insert((day, domain.into()), now_s() + AGAIN_S);
                return vec![self.told(domain, "", Err(why.to_string()))];
            }
            Err(_) => Vec::new(),
        };
        let counts = self.days.get(&day).map(|counts| counts.of(domain)).unwrap_or_default();
        let second = |s: u64| Timestamp::from_millis(s * 1000);
        let letter = Letter {
            organization: &reports.organization,
            contact: &reports.contact,
            submitter: &settings.config.hostname,
            domain,
            day: (second(day * DAY_S), second((day + 1) * DAY_S - 1)),
            counts: &counts,
        };
        let mut outcomes = Vec::new();
        let mut all_failed = !wanted.is_empty();
        for target in &wanted {
            let result = self.send(&settings, &resolver, &letter, target).await;
            all_failed &= result.is_err();
            let (Target::Mail(to) | Target::Https(to)) = target;
            outcomes.push(self.told(domain, to, result));
        }
        // One that has it is enough: the others would be told twice.
        if all_failed {
            self.again_s.insert((day, domain.into()), now_s() + AGAIN_S);
        } else {
            self.again_s.remove(&(day, domain.into()));
            self.days.entry(day).or_default().remove(domain);
        }
        outcomes
    }

    async fn send(
        &self,
        settings: &Settings,
        resolver: &TokioResolver,
        letter: &Letter<'_>,
        target: &Target,
    ) -> Result<(), String> {
        let compressed = gzip(letter.json().to_string().as_bytes());
        match target {
            Target::Https(url) => post::post(resolver, settings.tls.clone(), url, compressed).await,
            Target::Mail(to) => {
                let from = settings.config.tls_reports.as_ref().map_or("", |reports| &*reports.from);
                let now = clock::now();
                let mut content = letter.message(from, to, now, &compressed);
                if let Some(signers) = settings.signers.of(report::header_of(&content)) {
                    sign(&signers, now, &mut content).map_err(|_| "it cannot be signed".to_owned())?;
                }
                self.desk.submit(to, content).await.map_err(|trouble| trouble.to_string())
            }
        }
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
mod tests {
    use super::*;

    #[test]
    fn days_go_by_their_names() {
        assert_eq!((name_of(0), name_of(20_783)), ("1970-01-01".into(), "2026-11-26".into()));
        let today = now_s() / DAY_S;
        assert_eq!(day_named(&name_of(today)), Some(today));
        assert_eq!((day_named("1970-01-01"), day_named("yesterday")), (None, None));
    }
}
