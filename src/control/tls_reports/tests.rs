//! When days are told, and what becomes of their counts.

use shards::mesh::mesh;

use super::*;
use crate::assurance::report::{Failure, Policy};
use crate::events::Style;

/// A day in the past, and its first second after its end.
const DAY: u64 = 20_000;
const END_S: u64 = (DAY + 1) * DAY_S;

fn counts(domains: usize) -> Counts {
    let mut counts = Counts::default();
    (0..domains).for_each(|n| counts.add(Policy::none(&format!("d{n}.test")), None));
    counts
}

/// A reporter of this configuration.
fn reporter_of(text: &str, folder: &Path) -> Reporter {
    let config = Arc::new(Config::parse(text, folder).expect("good"));
    let settings = Settings::of(&config, &Arc::default(), &Trust::default());
    let (_ports, inlet) = mesh(1, 1, 1);
    let (_changing, settings) = watch::channel(settings);
    Reporter::open(folder, Desk::new(inlet), Channel::new(Style::Logfmt), settings).expect("it opens")
}

/// A reporter with the counts of so many domains for [`DAY`].
async fn reporter(folder: &Path, domains: usize) -> Reporter {
    let text = "[server]\nhostname = \"mta.test\"\ndata_dir = \".\"\n[[listener]]\nkind = \"relay\"\n\
                address = \"127.0.0.1:2525\"\ntls = \"off\"\nnetworks = [\"127.0.0.0/8\"]\n\
                [tls_reports]\norganization = \"A\"\ncontact = \"c@a.test\"\nfrom = \"r@a.test\"\n";
    let mut reporter = reporter_of(text, folder);
    reporter.days.merge(DAY, counts(domains));
    reporter.keep().await;
    reporter
}

fn told(reporter: &Reporter, day: u64, domain: &str, again: bool) -> Told {
    let counts = Arc::new(reporter.days.of(day, domain));
    let result = if again { Err("no".to_owned()) } else { Ok(()) };
    Told { day, domain: domain.into(), counts, sent: vec![("r@d.test".into(), result)], again }
}

#[test]
fn days_go_by_their_names() {
    assert_eq!((name_of(0), name_of(20_783)), ("1970-01-01".into(), "2026-11-26".into()));
    let today = now_s() / DAY_S;
    assert_eq!(day_named(&name_of(today)), Some(today));
    assert_eq!((day_named("1970-01-01"), day_named("yesterday")), (None, None));
}

#[tokio::test]
async fn each_domain_has_its_turn_in_the_first_hours_and_what_is_under_way_is_not_begun_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut reporter = reporter(folder.path(), 100).await;
    reporter.look_for_due(END_S - 1);
    assert_eq!(reporter.line.len(), 0, "the day has not ended");
    reporter.look_for_due(END_S + SPREAD_S / 2);
    let half = reporter.line.len();
    assert!((25..75).contains(&half), "{half} in the first half");
    reporter.look_for_due(END_S + SPREAD_S);
    reporter.look_for_due(END_S + SPREAD_S);
    assert_eq!(reporter.line.len(), 100, "each once");
    reporter.send_the_next();
    assert_eq!((reporter.errands.len(), reporter.line.len()), (ERRANDS_MAX, 100 - ERRANDS_MAX));
}

#[tokio::test]
async fn what_cannot_be_told_is_tried_every_hour_and_given_up_after_a_day() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tls-reports").join(format!("{}.json", name_of(DAY)));
    let mut reporter = reporter(folder.path(), 2).await;
    reporter.look_for_due(END_S + SPREAD_S);
    reporter.line.clear();
    reporter.take(told(&reporter, DAY, "d0.test", false));
    reporter.take(told(&reporter, DAY, "d1.test", true));
    reporter.keep().await;
    assert_eq!(reporter.days.domains(DAY), ["d1.test".into()] as [Box<str>; 1]);
    let again_s = reporter.again_s[&(DAY, "d1.test".into())];
    assert!(again_s >= now_s() + AGAIN_S - 60, "{again_s}");
    assert!(file.exists(), "what is not told outlives the process");
    reporter.look_for_due(END_S + DAYS_MAX * DAY_S);
    reporter.keep().await;
    assert_eq!((reporter.days.numbers().len(), reporter.again_s.len(), file.exists()), (0, 0, false));
}

#[tokio::test]
async fn an_operator_hears_when_all_of_the_day_is_told_and_too_many_do_not_wait() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut reporter = reporter(folder.path(), 0).await;
    let today = now_s() / DAY_S;
    reporter.days.merge(today, counts(2));
    let mut answers: Vec<_> = (0..=ASKS_MAX)
        .map(|_| {
            let (answer, answered) = oneshot::channel();
            reporter.send_now(None, answer);
            answered
        })
        .collect();
    let refused = answers.pop().expect("the last").try_recv().expect("answered at once");
    assert!(refused["error"].as_str().is_some_and(|why| why.contains("already wait")), "{refused}");
    assert_eq!(reporter.line.len(), 2, "however many ask");
    for domain in ["d0.test", "d1.test"] {
        assert!(answers[0].try_recv().is_err(), "not yet");
        // More was counted meanwhile.
        let mut one_more = Counts::default();
        one_more.add(Policy::none(domain), None);
        let told = told(&reporter, today, domain, false);
        reporter.days.merge(today, one_more);
        reporter.take(told);
        reporter.answer().await;
    }
    for mut answered in answers {
        let answer = answered.try_recv().expect("answered");
        assert_eq!(answer["reports"].as_array().map(Vec::len), Some(2), "{answer}");
    }
    assert_eq!(
        (reporter.days.of(today, "d0.test"), reporter.days.domains(today).len()),
        (counts(1), 2),
        "what came meanwhile is told the next time"
    );
}

#[tokio::test]
async fn who_asks_without_having_configured_reports_is_told_what_to_add() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "[server]\nhostname = \"mta.test\"\ndata_dir = \".\"\n[[listener]]\nkind = \"relay\"\n\
                address = \"127.0.0.1:2525\"\ntls = \"off\"\nnetworks = [\"127.0.0.0/8\"]\n";
    let mut reporter = reporter_of(text, folder.path());
    for (day, words) in
        [(None, "add the section, with organization, contact and from, and reload"), (Some("1970-01-01"), "YYYY-MM-DD")]
    {
        let (answer, mut answered) = oneshot::channel();
        reporter.send_now(day, answer);
        let refused = answered.try_recv().expect("answered at once");
        assert!(refused["error"].as_str().is_some_and(|why| why.contains(words)), "{refused}");
    }
}

#[test]
fn a_report_is_of_bounded_size_whatever_fails() {
    let mut counts = Counts::default();
    for n in 0..10_000 {
        let host: Box<str> = format!("mx{n}.{}", "h".repeat(240)).into();
        let failure = Failure { result: "validation-failure".into(), ours: None, host, address: None, why: "w".into() };
        counts.add(Policy::none("d.test"), Some(failure));
    }
    let mut text = Vec::new();
    counts.write_to("2026-11-26", &mut text).expect("memory takes all");
    assert!(text.len() < 100 * 1024);
}
