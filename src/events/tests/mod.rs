//! Every event as its line, and the manual's table of them.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use shards::Timestamp;
use shards::sim::Simulation;

use super::flood::{self, Kind, LINES_MAX, WINDOW};
use super::log::{Channel, write_event};
use super::{Event, Level, Log, Style, line};
use crate::assurance::{self, AskedBy, Plain, Policy, Security, Verified};
use crate::bounce::classify::{Category, Reason};
use crate::events::event::Attempt;
use crate::message::{Demand, Origin};
use crate::queue::MessageId;
use crate::queue::outcome::Answer;
use crate::smtp::client::Phase;
use crate::smtp::path::ReversePath;
use crate::smtp::reply::EnhancedCode;
use crate::spool::record::Said;

/// An answer with everything that its events show.
fn answer(said: &str) -> Answer {
    Answer {
        phase: Phase::Content,
        status: EnhancedCode(5, 1, 1),
        reason: Some(Reason::by(said.to_owned(), Category::ALL[0])),
        reply: None,
        text: said.into(),
        remote: Some(said.into()),
        tls: Some(Arc::new(Security {
            policy: Policy::Required,
            asked_by: AskedBy::Route,
            channel: assurance::Channel::Encrypted {
                protocol: "TLSv1.3".into(),
                cipher: "TLS_AES_128_GCM_SHA256".into(),
                verified: Verified::No,
            },
        })),
    }
}

/// Shows `look` one event of each name, with every key that it can have, and `said` wherever others have a say.
fn each(said: &str, mut look: impl FnMut(&Event<'_>)) {
    let id = MessageId::new(1, 17);
    let client = "192.0.2.1:4711".parse().expect("an address");
    let some = Some(said);
    let answer = answer(said);
    let returned = Said {
        status: EnhancedCode(5, 1, 1),
        text: said.into(),
        remote: Some(said.into()),
        at_s: 1,
        replied: true,
        reason: Some(Reason::by(said.to_owned(), Category::ALL[0])),
        tls: None,
    };
    let part = || Some(said.into());
    let origin = &Origin { pool: part(), tenant: part(), campaign: part(), demand: Demand::Required };
    let attempt = Attempt { id, recipient: said, attempt: 1, age_s: 2, source: some, origin, answer: &answer };
    let accepted = Event::Accepted {
        id,
        message_id: said,
        client,
        account: some,
        sender: &ReversePath::Null,
        recipients: 1,
        bytes: 2,
        screening: some,
        preflight: some,
        dkim: some,
        origin,
    };
    let refused = Event::Refused { client, account: some, user: some, what: "auth", reply: &said, screening: some };
    for event in [
        Event::Listening(client),
        accepted,
        refused,
        Event::Preflight { id, account: some, verdict: said, receivers: said, findings: &[(said, said, said)] },
        Event::ScannerFailed { scanner: "clamav", why: &said },
        Event::TlsFailed { client, why: said },
        Event::Delivered(attempt),
        Event::Deferred { attempt, retry_s: 60 },
        Event::Failed(attempt),
        Event::Notified { id, about: id, action: "failed", recipient: said },
        Event::Bounced { id, recipient: said, said: &returned },
        Event::Complaint { id, recipient: said, said: &returned },
        Event::ReturnIgnored { client, id: Some(id), what: "auto-reply" },
        Event::Uncertain { id, recipient: said },
        Event::Recovered { recipients: 1, frames: 2, took_ms: 3 },
        Event::Ordered { order: "hold", selection: &said, recipients: 1 },
        Event::Space { accepting: false },
        Event::Space { accepting: true },
        Event::RecipientSuppressed { recipient: said, list: said, cause: "complaint", until: some },
        Event::SuppressionFull(said),
        Event::WebhookOverflow { webhook: "crm", events: 1 },
        Event::WebhookFailing { webhook: "crm", why: &said },
        Event::WebhookBack { webhook: "crm", failures: 1 },
        Event::CheckpointFailed(&said),
        Event::SessionPanicked { client, why: said },
        Event::Reloaded,
        Event::ReloadRefused(&said),
        Event::Ready { shards: 1 },
        Event::Draining(30),
        Event::Stopped,
        Event::SourceFailed { source: "s1", why: said },
        Event::SourceBack("s1"),
        limit_adjusted(true, said),
        limit_adjusted(false, said),
        Event::LimitLifted { source: "s1", destination: "gmail", lifted: "rest", asked_by: said },
        Event::TlsReportSent { domain: said, to: said },
        Event::TlsReportFailed { domain: said, to: said, why: said },
        Event::Trouble(&said),
        Event::Suppressed { kind: Kind::Tls, lines: 1 },
        Event::LogOverflow { lost_lines: 1 },
    ] {
        look(&event);
    }
}

fn limit_adjusted(lowered: bool, why: &str) -> Event<'_> {
    let (source, destination, limit) = ("s1", "gmail", "message_rate");
    Event::LimitAdjusted { source, destination, limit, lowered, from: Some(2.0), to: Some(1.0), why }
}

fn line_of(event: &Event<'_>) -> String {
    let mut out = String::new();
    write_event(&mut out, Style::Logfmt, Timestamp::from_millis(0), Some(1), event);
    out
}

fn keys(line: &str) -> Vec<String> {
    line::fields(line).map(|(key, _)| key.to_owned()).collect()
}

/// The keys that are each event's own, by its name, and its level.
fn reference() -> BTreeMap<String, (String, Vec<String>)> {
    let mut reference = BTreeMap::new();
    each("x", |event| {
        let keys = keys(&line_of(event));
        assert_eq!(keys[..4], ["time", "level", "event", "shard"]);
        reference.insert(event.name().to_owned(), (event.level().to_string(), keys[4..].to_vec()));
    });
    reference
}

#[test]
fn the_examples_are_all_events() {
    let source = include_str!("../event.rs");
    let names = source.split("pub fn name").nth(1).and_then(|rest| rest.split("pub fn ").next()).expect("the names");
    let names: BTreeSet<_> = names.split("=> \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(names.len() > 20, "the names were not understood: {names:?}");
    assert_eq!(names, reference().keys().map(String::as_str).collect());
}

/// The row of each event: `name`, level, when, `keys`, what to do.
#[test]
fn the_manual_lists_every_event_with_its_level_and_keys() {
    let code = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let manual = include_str!("../../../docs/manual.md");
    let section = manual.split("\n## The log").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let rows = section.lines().filter(|line| line.starts_with("| `") && line.matches(" | ").count() == 4);
    let listed: BTreeMap<_, _> = rows
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            assert!(cells.iter().all(|cell| !cell.is_empty()), "{row}");
            (code(cells[0]).remove(0), (cells[1].to_owned(), code(cells[3])))
        })
        .collect();
    for (name, expected) in reference() {
        assert_eq!(listed.get(&name), Some(&expected), "docs/manual.md, `{name}`");
    }
    assert_eq!(listed.len(), reference().len(), "docs/manual.md lists what does not exist: {:?}", listed.keys());
}

#[test]
fn whatever_is_said_an_event_is_one_line_with_its_own_keys() {
    let control: String = ('\0'..='\u{a0}').chain(['\u{2028}', '\u{2029}', '\u{202e}']).collect();
    let long = "\n".repeat(2 * line::VALUE_BYTES_MAX);
    for said in ["x\ntime=0 level=error event=delivered id=0", "\" event=delivered \\", "x\r\ny", &control, &long] {
        each(said, |event| {
            let line = line_of(event);
            assert_eq!(line.matches(char::is_control).count(), 1, "the line end: {line:?}");
            assert!(line.ends_with('\n') && line::fields(&line).filter(|field| field.0 == "event").count() == 1);
            assert_eq!(Some(&keys(&line)[4..]), reference().get(event.name()).map(|(_, keys)| &keys[..]), "{line}");
        });
        each(said, |event| {
            let mut story = String::new();
            write_event(&mut story, Style::Story, Timestamp::from_millis(0), None, event);
            assert!(story.matches(char::is_control).count() <= 1, "{story:?}");
        });
    }
}

#[test]
fn a_session_in_plain_text_tells_why() {
    let told = |plain: Plain| {
        let channel = assurance::Channel::Plain(plain);
        let security = Security { policy: Policy::Opportunistic, asked_by: AskedBy::Configuration, channel };
        let mut out = String::new();
        super::fields::put_security(&mut line::Line::new(&mut out), &security);
        out
    };
    assert_eq!(told(Plain::NotOffered), "plain=not-offered policy=opportunistic");
    assert_eq!(
        told(Plain::Fallback("bad hello".into())),
        "plain=fallback plain_why=\"bad hello\" policy=opportunistic"
    );
}

/// Runs `tell` on a simulated shard; what was logged by the time `after` has passed since.
fn logged(level: Level, after: Duration, tell: impl Fn(&Log) + 'static) -> (String, Vec<(&'static str, u64)>) {
    let simulation = Simulation::new(1);
    let node = simulation.node("shard");
    let result = Rc::new(std::cell::RefCell::default());
    let seen = result.clone();
    simulation.run(&node, |reactor| async move {
        let channel: Arc<Channel> = Channel::new(Style::Logfmt);
        channel.set_level(level);
        let log = Log::new(&reactor, 0, channel.clone());
        tell(&log);
        reactor.sleep(after).await;
        let counts = log.counts();
        log.close();
        *seen.borrow_mut() = (std::iter::from_fn(|| channel.try_next()).collect(), counts);
    });
    result.take()
}

/// How many of the examples are of that kind.
fn sharing(kind: Kind) -> u32 {
    let mut count = 0;
    each("x", |event| count += u32::from(event.flood() == Some(kind)));
    count
}

#[test]
fn floods_are_told_in_one_line_and_accepted_mail_always() {
    const TIMES: u32 = 3 * LINES_MAX;
    let storm = |log: &Log| (0..TIMES).for_each(|_| each("x", |event| log.emit(event)));
    for after in [Duration::ZERO, WINDOW + Duration::from_secs(1)] {
        let (log, counts) = logged(Level::Info, after, storm);
        let count = |name: &str| log.matches(&format!("event={name} ")).count() as u32;
        each("x", |event| {
            // Events of one kind share its lines.
            let written = event.flood().map_or(TIMES, |kind| LINES_MAX / sharing(kind));
            let told = if event.name() == "suppressed" { 7 } else { 0 };
            assert_eq!(
                log.matches(&format!("event={} ", event.name())).count() as u32,
                written + told,
                "{}",
                event.name()
            );
        });
        assert_eq!(count("delivered") + count("accepted") + count("deferred") + count("failed"), 4 * TIMES);
        let told = "event=suppressed shard=0 kind=limits lines=500 window_s=60\n";
        assert_eq!(log.matches(told).count(), 1, "after {after:?}");
        for kind in [Kind::Logins, Kind::Tls, Kind::Panics, Kind::Scanners, Kind::Returns, Kind::Preflight] {
            let told = format!("event=suppressed shard=0 kind={} lines={} window_s=60\n", kind.name(), 2 * LINES_MAX);
            assert_eq!(log.matches(&told).count(), 1, "after {after:?}: {told}");
        }
        let suppressed: Vec<u64> = counts.iter().map(|count| count.1).collect();
        let each_once = u64::from(2 * LINES_MAX);
        assert_eq!(suppressed, [0, each_once, 0, 0, each_once, each_once, each_once, each_once, 500, each_once]);
        assert_eq!(counts.len(), flood::KINDS.len());
    }
}

#[test]
fn a_kind_has_its_lines_again_after_its_window() {
    let mut floods = flood::Floods::default();
    let mut now = shards::Instant::from_nanos(1);
    for _ in 0..3 {
        for _ in 0..LINES_MAX {
            assert_eq!(floods.admit(Kind::Logins, now), flood::Verdict::Write);
        }
        assert_eq!(floods.admit(Kind::Tls, now), flood::Verdict::Write, "each kind for itself");
        now = now + WINDOW / 2;
        assert_eq!(floods.admit(Kind::Logins, now), flood::Verdict::Begin(WINDOW / 2));
        now = now + WINDOW;
        assert_eq!(floods.admit(Kind::Logins, now), flood::Verdict::Count, "nobody has told of the first yet");
        assert_eq!(floods.close(Kind::Logins), 2);
    }
    for _ in 0..2 * LINES_MAX {
        now = now + WINDOW / LINES_MAX;
        assert_eq!(floods.admit(Kind::Connections, now), flood::Verdict::Write, "few at a time are no flood");
    }
}

#[test]
fn every_flood_is_one_of_strangers_and_has_its_kind() {
    let client = "192.0.2.1:4711".parse().expect("an address");
    let kind = |what, account| {
        Event::Refused { client, account, user: None, what, reply: &"x", screening: None }.flood().expect("a kind")
    };
    assert_eq!(kind("connection", None), Kind::Connections);
    assert_eq!(kind("auth", None), Kind::Logins);
    for what in ["mail", "rcpt", "message", "command"] {
        assert_eq!((kind(what, None), kind(what, Some("a"))), (Kind::Refusals, Kind::AccountRefusals));
    }
    let mut unlimited = Vec::new();
    each("x", |event| unlimited.extend(event.flood().is_none().then(|| event.name())));
    for name in ["accepted", "delivered", "deferred", "failed", "notified", "bounced", "complaint", "uncertain"] {
        assert!(unlimited.contains(&name), "{name}");
    }
}

#[test]
fn what_matters_less_than_the_level_is_left_out_and_does_not_count() {
    for level in [Level::Error, Level::Warn, Level::Notice, Level::Info] {
        let (log, counts) = logged(level, Duration::ZERO, |log| each("x", |event| log.emit(event)));
        let mut expected = 0;
        each("x", |event| expected += usize::from(event.level() <= level));
        assert_eq!(log.lines().count(), expected, "{level}");
        assert!(counts.iter().all(|count| count.1 == 0));
    }
}
