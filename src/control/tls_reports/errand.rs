//! One domain is told of one day: who wants it is looked up, the report is made, and sent to each (RFC 8460 §3, §5).

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use hickory_resolver::TokioResolver;
use shards::Timestamp;

use super::{DAY_S, Settings, post};
use crate::assurance::report::{self, Counts, Letter, Target, gzip, targets};
use crate::authentication::sign;
use crate::config::TlsReports;
use crate::control::desk::Desk;
use crate::control::{clock, resolver};
use crate::smtp::path::Mailbox;

/// How long one try of a DNS question may take.
const DNS_PATIENCE: Duration = Duration::from_secs(5);

/// How long all of an errand may take, whoever does not answer in it.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Why a report is not sent by mail.
const UNSIGNED: &str =
    "no [[dkim]] key signs for the domain of tls_reports.from: receivers ignore such reports (RFC 8460 §3)";

/// A domain that is to be told of a day.
pub(super) struct Errand {
    pub settings: Settings,
    pub desk: Desk,
    pub day: u64,
    pub domain: Box<str>,
    /// What it is told.
    pub counts: Counts,
}

/// What came of it.
pub(super) struct Told {
    pub day: u64,
    pub domain: Box<str>,
    /// What it was told.
    pub counts: Counts,
    /// To whom, and whether it went; empty where nobody wants it.
    pub sent: Vec<(Box<str>, Result<(), String>)>,
    /// None of them has it: to be tried again. One that has it is enough: the others would be told twice.
    pub again: bool,
}

impl Errand {
    /// Tells it.
    pub async fn run(self) -> Told {
        // What a stranger's servers can do harms its own domain only, also where it meets a defect.
        let telling = AssertUnwindSafe(tokio::time::timeout(PATIENCE, self.tell())).catch_unwind().await;
        let sent = match telling {
            Ok(Ok(sent)) => sent,
            Ok(Err(_)) => vec![(Box::from(""), Err(format!("not done within {} s", PATIENCE.as_secs())))],
            Err(_) => vec![(Box::from(""), Err("a defect of the reporter".to_owned()))],
        };
        let again = !sent.is_empty() && sent.iter().all(|(_, result)| result.is_err());
        Told { day: self.day, domain: self.domain, counts: self.counts, sent, again }
    }

    async fn tell(&self) -> Vec<(Box<str>, Result<(), String>)> {
        let config = &self.settings.config;
        let Some(reports) = &config.tls_reports else { return self.not_now("nothing is reported any more".into()) };
        let resolver = match resolver::build(&config.dns_servers, DNS_PATIENCE) {
            Ok(resolver) => resolver,
            Err(why) => return self.not_now(why),
        };
        let wanted = match resolver::texts(&resolver, &format!("_smtp._tls.{}", self.domain)).await {
            Ok((records, _)) => targets(&records),
            Err(crate::dns::Answer::Trouble(why)) => return self.not_now(why.into()),
            Err(_) => Vec::new(),
        };
        let second = |s: u64| Timestamp::from_millis(s * 1000);
        let letter = Letter {
            organization: &reports.organization,
            contact: &reports.contact,
            submitter: &config.hostname,
            domain: &self.domain,
            day: (second(self.day * DAY_S), second((self.day + 1) * DAY_S - 1).min(clock::now())),
            counts: &self.counts,
        };
        let compressed = gzip(letter.json().to_string().as_bytes());
        // Side by side: one that does not answer delays no other.
        let sending = wanted.into_iter().map(async |target| {
            let result = match &target {
                Target::Https(url) => self.post(&resolver, url, compressed.clone()).await,
                Target::Mail(to) => self.mail(reports, &letter, to, &compressed).await,
            };
            let (Target::Mail(to) | Target::Https(to)) = target;
            (to, result)
        });
        futures::future::join_all(sending).await
    }

    fn not_now(&self, why: String) -> Vec<(Box<str>, Result<(), String>)> {
        vec![("".into(), Err(why))]
    }

    async fn post(&self, resolver: &TokioResolver, url: &str, compressed: Vec<u8>) -> Result<(), String> {
        post::post(resolver, self.settings.tls.clone(), url, compressed).await
    }

    async fn mail(&self, reports: &TlsReports, letter: &Letter<'_>, to: &str, compressed: &[u8]) -> Result<(), String> {
        let recipient = Mailbox::parse(to, false).map_err(|_| format!("`{to}` is no address"))?;
        let now = clock::now();
        let mut content = letter.message(&reports.from, to, now, compressed);
        let signers = self.settings.signers.of(report::header_of(&content)).ok_or(UNSIGNED)?;
        sign(&signers, now, &mut content).map_err(|_| "it cannot be signed".to_owned())?;
        self.desk.submit(recipient, content).await.map_err(|trouble| trouble.to_string())
    }
}
