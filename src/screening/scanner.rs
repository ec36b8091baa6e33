//! Asking a scanner: one connection for each message, within the scanner's time, in turn, and not while it rests.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use shards::gate::Gate;
use shards::net::Stream;

use super::finding::{Failure, Finding, Kind, Passed, Refused, judge, words};
use super::health::Health;
use super::{Mail, Tools, clamd, rspamd};
use crate::config::screening::{self as settings, ScannerAddress};
use crate::dns::{Answer, Question};
use crate::events::Event;

/// Bytes of content that are copied at a time.
pub(super) const PIECE_BYTES: usize = 64 * 1024;
/// How long one address may take to answer a connection: a scanner is near.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 4;
/// The part of its time that must be left of a scan when its turn comes, or the scanner is not asked …
const ASKING_SHARE: u32 = 8;
/// … and the part after which it was silent: who was given no time to answer was not.
const SILENT_SHARE: u32 = 2;
/// Octets of a password's file.
const PASSWORD_BYTES_MAX: u64 = 1024;

/// What both scanners are.
struct Scanner {
    kind: Kind,
    settings: settings::Scanner,
    tools: Tools,
    gate: Gate,
    health: RefCell<Health>,
}

/// clamd.
pub(super) struct Clamav(Scanner);

/// rspamd.
pub(super) struct Rspamd {
    scanner: Scanner,
    settings: settings::Rspamd,
    /// What the password's file says, once it was read.
    password: RefCell<Option<Rc<str>>>,
}

impl Clamav {
    pub(super) fn new(settings: &settings::Scanner, tools: &Tools) -> Clamav {
        Clamav(Scanner::new(Kind::Clamav, settings, tools))
    }

    pub(super) async fn judge(&self, mail: &Mail<'_>) -> Result<Passed, Refused> {
        let scan = async |stream: Stream, patience: Duration| {
            let request = clamd::request(mail.content, PIECE_BYTES);
            let answer = exchange(stream, patience, request, clamd::is_whole, clamd::ANSWER_BYTES_MAX).await?;
            clamd::finding(&answer)
        };
        self.0.judge(mail, scan).await
    }
}

impl Rspamd {
    pub(super) fn new(settings: &settings::Rspamd, tools: &Tools) -> Rspamd {
        let scanner = Scanner::new(Kind::Rspamd, &settings.scanner, tools);
        Rspamd { scanner, settings: settings.clone(), password: RefCell::default() }
    }

    pub(super) async fn judge(&self, mail: &Mail<'_>) -> Result<Passed, Refused> {
        let scan = async |stream: Stream, patience: Duration| {
            let password = self.password().await?;
            let request = rspamd::request(mail, password.as_deref(), PIECE_BYTES);
            let answer = exchange(stream, patience, request, rspamd::is_whole, rspamd::ANSWER_BYTES_MAX).await?;
            rspamd::finding(&answer, &self.settings.actions)
        };
        self.scanner.judge(mail, scan).await
    }

    /// The password, where one is configured; its file is read once.
    async fn password(&self) -> Result<Option<Rc<str>>, Failure> {
        let Some(file) = &self.settings.password_file else { return Ok(None) };
        if let Some(password) = &*self.password.borrow() {
            return Ok(Some(password.clone()));
        }
        let path = file.path.clone();
        let read = self.scanner.tools.reactor.blocking(move || read_password(&path)).await;
        let password: Rc<str> = read.map_err(|error| Failure::Answer(format!("password_file: {error}")))?.trim().into();
        *self.password.borrow_mut() = Some(password.clone());
        Ok(Some(password))
    }
}

fn read_password(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(std::fs::File::open(path)?, PASSWORD_BYTES_MAX), &mut text)?;
    Ok(text)
}

impl Scanner {
    fn new(kind: Kind, settings: &settings::Scanner, tools: &Tools) -> Scanner {
        let gate = Gate::new(settings.connections_max);
        Scanner { kind, settings: settings.clone(), tools: tools.clone(), gate, health: RefCell::default() }
    }

    /// Has `scan` done on a connection, and tells what comes of it.
    async fn judge(
        &self,
        mail: &Mail<'_>,
        scan: impl AsyncFnOnce(Stream, Duration) -> Result<Finding, Failure>,
    ) -> Result<Passed, Refused> {
        let answer = if self.settings.message_bytes_max.is_some_and(|max| mail.content.len() as u64 > max) {
            Ok(Finding::Noted("too_large".into()))
        } else {
            let answer = self.in_turn(scan).await;
            self.tools.note(self.kind, &answer);
            answer
        };
        judge(self.kind, answer, self.settings.on_failure)
    }

    /// One scan, when its turn has come. All of it takes no longer than is configured.
    async fn in_turn(
        &self,
        scan: impl AsyncFnOnce(Stream, Duration) -> Result<Finding, Failure>,
    ) -> Result<Finding, Failure> {
        let (reactor, patience) = (&self.tools.reactor, self.settings.timeout);
        let deadline = reactor.now() + patience;
        if self.health.borrow().rests(reactor.now()) {
            return Err(Failure::Resting);
        }
        let turn = reactor.timeout(patience - patience / ASKING_SHARE, self.gate.enter()).await;
        let _pass = turn.map_err(|_| Failure::Busy)?;
        // Those before may have found out.
        if !self.health.borrow_mut().may_ask(reactor.now()) {
            return Err(Failure::Resting);
        }
        let scanned = async { scan(self.connect().await?, patience).await };
        let left = deadline.since(reactor.now());
        let answer = reactor.timeout(left, scanned).await.unwrap_or(Err(Failure::TimedOut));
        match answer {
            Err(Failure::TimedOut) if left < patience / SILENT_SHARE => return Err(Failure::Busy),
            Err(Failure::TimedOut) => self.health.borrow_mut().was_silent(reactor.now()),
            _ => self.health.borrow_mut().answered(),
        }
        answer
    }

    async fn connect(&self) -> Result<Stream, Failure> {
        let reactor = &self.tools.reactor;
        let (host, port) = match &self.settings.address {
            ScannerAddress::Unix(path) => {
                return reactor.connect_local(path, CONNECT_PATIENCE).await.map_err(|error| lost(&error));
            }
            ScannerAddress::Tcp(host, port) => (host, *port),
        };
        let mut failure = Failure::Lost(format!("{host} has no address"));
        for address in self.addresses(host).await?.into_iter().take(ADDRESSES_MAX) {
            match reactor.connect(SocketAddr::new(address, port), None, CONNECT_PATIENCE).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = lost(&error),
            }
        }
        Err(failure)
    }

    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Failure> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        match &*self.tools.dns.ask(Question::Addresses(host.into())).await {
            Answer::Addresses(addresses, _) => Ok(addresses.clone()),
            Answer::Trouble(why) => Err(Failure::Lost(format!("{host}: {why}"))),
            _ => Ok(Vec::new()),
        }
    }
}

/// Sends a request and reads its answer: until it is whole, or the scanner has said all. Where it hangs up before it has
/// heard all, it may have said why.
async fn exchange(
    mut stream: Stream,
    patience: Duration,
    request: impl Iterator<Item = Vec<u8>>,
    is_whole: fn(&[u8]) -> bool,
    answer_bytes_max: usize,
) -> Result<Vec<u8>, Failure> {
    let mut broken = None;
    for mut piece in request {
        if let Err(error) = stream.send(&mut piece, patience).await {
            broken = Some(error);
            break;
        }
    }
    let mut answer = Vec::new();
    while !is_whole(&answer) {
        match stream.receive(patience).await {
            Ok(bytes) if bytes.is_empty() => break,
            Ok(bytes) => answer.extend_from_slice(&bytes),
            Err(error) => {
                broken.get_or_insert(error);
                break;
            }
        }
        if answer.len() > answer_bytes_max {
            return Err(Failure::Answer(format!("longer than {answer_bytes_max} octets")));
        }
    }
    match broken {
        Some(error) if answer.is_empty() => Err(lost(&error)),
        _ if answer.is_empty() => Err(Failure::Lost("closed without an answer".into())),
        _ => Ok(answer),
    }
}

fn lost(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::TimedOut => Failure::TimedOut,
        _ => Failure::Lost(words(&error.to_string())),
    }
}

/// What has happened, for each [`Kind`].
#[derive(Default)]
pub(super) struct Counts([Cell<Count>; 3]);

#[derive(Clone, Copy, Default)]
struct Count {
    scans: u64,
    hits: u64,
    failures: u64,
    timeouts: u64,
}

/// The metrics of each [`Kind`]: scans; messages or clients refused or marked; scans without a usable answer; of those,
/// the ones that had none in time.
const METRICS: [[&str; 4]; 3] = [
    [
        "screening_scans_total{scanner=\"clamav\"}",
        "screening_hits_total{scanner=\"clamav\"}",
        "screening_failures_total{scanner=\"clamav\"}",
        "screening_timeouts_total{scanner=\"clamav\"}",
    ],
    [
        "screening_scans_total{scanner=\"rspamd\"}",
        "screening_hits_total{scanner=\"rspamd\"}",
        "screening_failures_total{scanner=\"rspamd\"}",
        "screening_timeouts_total{scanner=\"rspamd\"}",
    ],
    [
        "screening_scans_total{scanner=\"block_lists\"}",
        "screening_hits_total{scanner=\"block_lists\"}",
        "screening_failures_total{scanner=\"block_lists\"}",
        "screening_timeouts_total{scanner=\"block_lists\"}",
    ],
];

impl Counts {
    fn note(&self, kind: Kind, answer: &Result<Finding, Failure>) {
        let cell = &self.0[kind as usize];
        let mut count = cell.get();
        count.scans += 1;
        match answer {
            Ok(Finding::Clean | Finding::Noted(_)) => {}
            Ok(Finding::Marked(_) | Finding::Refuse(..)) => count.hits += 1,
            Err(failure) => {
                count.failures += 1;
                count.timeouts += u64::from(*failure == Failure::TimedOut);
            }
        }
        cell.set(count);
    }

    pub(super) fn list(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts: [Count; 3] = std::array::from_fn(|kind| self.0[kind].get());
        METRICS
            .into_iter()
            .zip(counts)
            .flat_map(|(names, count)| names.into_iter().zip([count.scans, count.hits, count.failures, count.timeouts]))
    }
}

impl Tools {
    /// Counts an answer; tells the log of a failure, but not of each message that came while the scanner rested.
    pub(super) fn note(&self, kind: Kind, answer: &Result<Finding, Failure>) {
        self.counts.note(kind, answer);
        if let Err(failure) = answer
            && *failure != Failure::Resting
        {
            self.log.emit(&Event::ScannerFailed { scanner: kind.name(), why: failure });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screening::Refusal;

    #[test]
    fn what_is_only_noted_is_no_hit() {
        let counts = Counts::default();
        for answer in [
            Ok(Finding::Clean),
            Ok(Finding::Noted("no_action(3.2)".into())),
            Ok(Finding::Marked("add_header(7.0)".into())),
            Ok(Finding::Refuse(Refusal::Spam("".into()), "reject(20.0)".into())),
            Err(Failure::Busy),
            Err(Failure::TimedOut),
        ] {
            counts.note(Kind::Rspamd, &answer);
        }
        let of_rspamd: Vec<u64> =
            counts.list().filter(|(name, _)| name.contains("rspamd")).map(|(_, count)| count).collect();
        assert_eq!(of_rspamd, [6, 2, 2, 1], "scans, hits, failures, timeouts");
    }
}
