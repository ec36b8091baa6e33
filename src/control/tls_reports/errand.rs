//! One domain is told of one day: who wants it is looked up, the report is made, and sent to each (RFC 8460 §3, §5).

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use hickory_resolver::TokioResolver;
use shards::Timestamp;

use super::{DAY_S, Settings, post};
use crate::assurance::report::{self, Counts, Letter, Target, gzip, targets};
use crate::authentication::sign;
use crate::config::TlsReports;
use crate::control::desk::{Desk, Trouble};
use crate::control::{clock, resolver};
use crate::smtp::path::Mailbox;

/// How long one try of a DNS question may take.
const DNS_PATIENCE: Duration = Duration::from_secs(5);

/// How long all of an errand may take, whoever does not answer in it.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Why a report is not sent by mail.
const UNSIGNED: &str =
    "no [[dkim]] key signs for the domain of tls_reports.from: receivers ignore such reports (RFC 8460 §3)";

/// Why a report is not sent in whose making we are wrong.
const DEFECT: &str = "a defect of the reporter";

/// Why a report is not sent that a stop overtakes.
const STOPPING: &str =
    "ringpost is stopping: nothing is lost, the report stays on disk and is sent after the next start";

/// A domain that is to be told of a day.
pub(super) struct Errand {
    pub settings: Settings,
    pub desk: Desk,
    pub day: u64,
    pub domain: Box<str>,
    /// What it is told.
    pub counts: Arc<Counts>,
}

/// What came of it.
pub(super) struct Told {
    pub day: u64,
    pub domain: Box<str>,
    /// What it was told.
    pub counts: Arc<Counts>,
    /// To whom, and whether it went; empty where nobody wants it.
    pub sent: Vec<(Box<str>, Result<(), String>)>,
    /// None of them has it: to be tried again. One that has it is enough: the others would be told twice.
    pub again: bool,
}

impl Errand {
    /// Tells it.
    pub async fn run(self) -> Told {
        let errand = Arc::new(self);
        // What a stranger's servers can do harms its own domain only, also where it meets a defect.
        let telling = AssertUnwindSafe(tokio::time::timeout(PATIENCE, errand.tell())).catch_unwind().await;
        let sent = match telling {
            Ok(Ok(sent)) => sent,
            Ok(Err(_)) => vec![(Box::from(""), Err(format!("not done within {} s", PATIENCE.as_secs())))],
            Err(_) => vec![(Box::from(""), Err(DEFECT.to_owned()))],
        };
        let again = !sent.is_empty() && sent.iter().all(|(_, result)| result.is_err());
        Told { day: errand.day, domain: errand.domain.clone(), counts: errand.counts.clone(), sent, again }
    }

    async fn tell(self: &Arc<Self>) -> Vec<(Box<str>, Result<(), String>)> {
        let config = &self.settings.config;
        if config.tls_reports.is_none() {
            return self.not_now("nothing is reported any more".into());
        }
        let resolver = match resolver::build(&config.dns_servers, DNS_PATIENCE) {
            Ok(resolver) => resolver,
            Err(why) => return self.not_now(why),
        };
        let wanted = match resolver::texts(&resolver, &format!("_smtp._tls.{}", self.domain)).await {
            Ok((records, _)) => targets(&records),
            Err(crate::dns::Answer::Trouble(why)) => return self.not_now(why.into()),
            Err(_) => Vec::new(),
        };
        let now = clock::now();
        let compressed = self.aside(now, |letter| gzip(letter.json().to_string().as_bytes())).await;
        let compressed = match compressed {
            Ok(compressed) => Arc::new(compressed),
            Err(why) => return self.not_now(why),
        };
        // Side by side: one that does not answer delays no other.
        let sending = wanted.into_iter().map(async |target| {
            let result = match &target {
                Target::Https(url) => self.post(&resolver, url, compressed.to_vec()).await,
                Target::Mail(to) => self.mail(now, to, compressed.clone()).await,
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

    async fn mail(self: &Arc<Self>, now: Timestamp, to: &str, compressed: Arc<Vec<u8>>) -> Result<(), String> {
        let recipient = Mailbox::parse(to, false).map_err(|_| format!("`{to}` is no address"))?;
        let (from, to) = (self.reports().map(|reports| reports.from.clone()).unwrap_or_default(), to.to_owned());
        let mut content = self.aside(now, move |letter| letter.message(&from, &to, now, &compressed)).await?;
        let signers = self.settings.signers.of(report::header_of(&content)).ok_or(UNSIGNED)?;
        sign(&signers, now, &mut content).map_err(|_| "it cannot be signed".to_owned())?;
        self.desk.submit(recipient, content).await.map_err(|trouble| match trouble {
            Trouble::Stopping => STOPPING.to_owned(),
            other => other.to_string(),
        })
    }

    fn reports(&self) -> Option<&TlsReports> {
        self.settings.config.tls_reports.as_ref()
    }

    /// What is made of the letter, beside the control thread: a report may be of megabytes.
    async fn aside<T: Send + 'static>(
        self: &Arc<Self>,
        now: Timestamp,
        make: impl FnOnce(&Letter<'_>) -> T + Send + 'static,
    ) -> Result<T, String> {
        let errand = self.clone();
        let made = tokio::task::spawn_blocking(move || errand.letter(now).map(|letter| make(&letter)));
        let made = made.await.map_err(|ended| if ended.is_panic() { DEFECT } else { STOPPING }.to_owned())?;
        made.ok_or_else(|| "nothing is reported any more".into())
    }

    fn letter(&self, now: Timestamp) -> Option<Letter<'_>> {
        let reports = self.reports()?;
        let second = |s: u64| Timestamp::from_millis(s * 1000);
        Some(Letter {
            organization: &reports.organization,
            contact: &reports.contact,
            submitter: &self.settings.config.hostname,
            domain: &self.domain,
            day: (second(self.day * DAY_S), second((self.day + 1) * DAY_S - 1).min(now)),
            counts: &self.counts,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use shards::mesh::mesh;

    use super::*;
    use crate::assurance::Trust;
    use crate::assurance::report::Policy;
    use crate::authentication::{Algorithm, Key, Signer, Signers};
    use crate::config::Config;
    use crate::crossing::Crossing;
    use crate::queue::orders::{Order, Report};

    /// An errand of a reporter whose mail these sign.
    fn errand(desk: Desk, signers: Signers) -> Arc<Errand> {
        let text = "[server]\nhostname = \"mta.test\"\ndata_dir = \".\"\n[[listener]]\nkind = \"relay\"\n\
                    address = \"127.0.0.1:2525\"\ntls = \"off\"\nnetworks = [\"127.0.0.0/8\"]\n\
                    [tls_reports]\norganization = \"A\"\ncontact = \"c@a.test\"\nfrom = \"r@a.test\"\n";
        let config = Arc::new(Config::parse(text, Path::new("/nowhere")).expect("good"));
        let settings = Settings::of(&config, &Arc::new(signers), &Trust::default());
        let mut counts = Counts::default();
        counts.add(Policy::none("d.test"), None);
        Arc::new(Errand { settings, desk, day: 20_000, domain: "d.test".into(), counts: Arc::new(counts) })
    }

    #[tokio::test]
    async fn a_report_goes_by_mail_signed_or_not_at_all() {
        let (mut ports, inlet) = mesh(1, 1, 4);
        let (port, desk) = (ports.pop().expect("one"), Desk::new(inlet));
        let compressed = Arc::new(gzip(b"{}"));
        let other = Signer::new("b.test", "s1", Key::generate(Algorithm::Ed25519).expect("a key").1);
        for signers in [Signers::default(), Signers::new([(other, false)])] {
            let mailed = errand(desk.clone(), signers).mail(clock::now(), "t@d.test", compressed.clone()).await;
            assert_eq!(mailed, Err(UNSIGNED.to_owned()), "and nobody answers an order");
        }
        let own = Signer::new("a.test", "s1", Key::generate(Algorithm::Ed25519).expect("a key").1);
        let errand = errand(desk, Signers::new([(own, false)]));
        let taken = async {
            let (_, Crossing::Order(order, answer)) = port.receive().await else { panic!("no order") };
            let Order::Submit(recipient, content) = *order else { panic!("{order:?}") };
            assert!(answer.send(Report::Count(1)).is_ok());
            (recipient.as_str().to_owned(), content)
        };
        let (mailed, (recipient, content)) = tokio::join!(errand.mail(clock::now(), "t@d.test", compressed), taken);
        assert_eq!((mailed, recipient.as_str()), (Ok(()), "t@d.test"));
        assert!(content.starts_with(b"DKIM-Signature: "), "{}", String::from_utf8_lossy(&content));
        let shard_ends = async { drop(port.receive().await) };
        let (stopped, ()) = tokio::join!(errand.mail(clock::now(), "t@d.test", Arc::new(gzip(b"{}"))), shard_ends);
        assert_eq!(stopped, Err(STOPPING.to_owned()), "the report is not lost");
    }
}
