//! `[suppression]`: whom nothing is sent to any more, and what makes it so.

use std::time::Duration;

use super::read::{Placed, Reading, Section, number, text, word};
use super::validate::{positive_duration, to_u32, to_usize, values};

/// Rules that can be configured: each failure is held against them.
const RULES_MAX: usize = 32;
/// The largest list.
const ENTRIES_MAX: u64 = 20_000_000;
/// The same where nothing is said, and of all lists together.
const ENTRIES_MAX_USUAL: u64 = 1_000_000;
const ENTRIES_TOTAL_MAX_USUAL: u64 = 5_000_000;
/// The most that a rule counts up to.
const AFTER_MAX: u64 = 100;
const DAY: Duration = Duration::from_secs(86_400);

/// `[suppression]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// `answer`.
    pub answer: Answer,
    /// `scope`.
    pub scope: Reach,
    /// `entries_max`: of each list, be it an account's, that of relayed mail, or everybody's.
    pub entries_max: usize,
    /// `entries_total_max`: of all lists together; no less than `entries_max`.
    pub entries_total_max: usize,
    /// `rules`, first match wins.
    pub rules: Vec<Rule>,
}

/// What becomes of mail to a suppressed recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// RCPT is answered 550.
    Refuse,
    /// It is taken, fails without an attempt, and its sender gets the notice of that.
    Report,
}

/// Whose mail a failure suppresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// That of the account whose message it was; relayed mail has a list of its own.
    Account,
    /// Everybody's.
    Everyone,
}

/// What suppresses a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `on`.
    pub on: Vec<Cause>,
    /// `after` so many; those of one second count as one.
    pub after: u8,
    /// `within`: how long one of them counts.
    pub within: Duration,
    /// `ttl`: how long the recipient is suppressed; `None`: until it is taken from the list.
    pub ttl: Option<Duration>,
}

/// Why a recipient is suppressed. All but the last two are categories of the bounce classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// There is no such mailbox.
    RecipientUnknown,
    /// The mailbox is switched off, or has moved.
    RecipientInactive,
    /// A report says that the mailbox has no room.
    MailboxFull,
    /// The domain does not exist, or takes no mail.
    DomainUnknown,
    /// Nobody took the message within its lifetime.
    Expired,
    /// A rule of the house forbids it.
    Policy,
    /// The message was taken for spam.
    Spam,
    /// The recipient has complained.
    Complaint,
    /// An operator, or whoever the list was imported from, wants it so.
    Operator,
}

impl Cause {
    /// All of them, by name.
    pub const ALL: &[(&str, Cause)] = &[
        ("recipient-unknown", Cause::RecipientUnknown),
        ("recipient-inactive", Cause::RecipientInactive),
        ("mailbox-full", Cause::MailboxFull),
        ("domain-unknown", Cause::DomainUnknown),
        ("expired", Cause::Expired),
        ("policy", Cause::Policy),
        ("spam", Cause::Spam),
        ("complaint", Cause::Complaint),
        ("operator", Cause::Operator),
    ];

    /// Its name, in configuration, files and replies.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, cause)| *cause == self).map_or("", |(name, _)| name)
    }

    /// The cause of this name.
    pub fn named(name: &str) -> Option<Cause> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, cause)| *cause)
    }
}

/// The causes that a rule can be about: all that are not a person's decision.
const OF_RULES: &[(&str, Cause)] = Cause::ALL.split_at(Cause::ALL.len() - 1).0;
const ANSWERS: &[(&str, Answer)] = &[("refuse", Answer::Refuse), ("report", Answer::Report)];
const REACHES: &[(&str, Reach)] = &[("account", Reach::Account), ("global", Reach::Everyone)];

/// Where nothing is said: what certainly lasts counts at once, what may pass only if it happens again; addresses come back
/// into use, so a failure is forgotten some day, and a complaint is not. What expired is not counted: that nobody took it may
/// be our own doing, such as a source that is blocked or a queue that is held.
fn rules_by_default() -> Vec<Rule> {
    let often = [Cause::RecipientInactive, Cause::MailboxFull, Cause::DomainUnknown];
    vec![
        Rule { on: vec![Cause::Complaint], after: 1, within: WITHIN, ttl: None },
        Rule { on: vec![Cause::RecipientUnknown], after: 1, within: WITHIN, ttl: Some(90 * DAY) },
        Rule { on: often.to_vec(), after: 3, within: WITHIN, ttl: Some(90 * DAY) },
    ]
}

const WITHIN: Duration = Duration::from_secs(30 * 86_400);

/// Reads `[suppression]`; absent: nobody is suppressed.
pub(super) fn suppression(document: &mut Section<'_>, reading: &mut Reading) -> Option<Suppression> {
    let mut section = document.section("suppression", reading)?;
    let answer = section.optional("answer", reading, word(ANSWERS));
    let scope = section.optional("scope", reading, word(REACHES));
    let entries_max = section.optional("entries_max", reading, number(1..=ENTRIES_MAX));
    let total_max = section.optional("entries_total_max", reading, number(1..=ENTRIES_MAX));
    let line = section.line;
    let rules = section.has("rules").then(|| section.sections("rules", reading));
    section.end(reading);
    let rules = match rules {
        None => rules_by_default(),
        Some(rules) => rules.into_iter().filter_map(|section| rule(section, reading)).collect(),
    };
    if rules.len() > RULES_MAX {
        reading.mistake(line, format!("suppression.rules: at most {RULES_MAX}"));
    }
    let entries_max = entries_max.map_or(ENTRIES_MAX_USUAL, |number| number.value);
    if let Some(Placed { line, .. }) = total_max.as_ref().filter(|total| total.value < entries_max) {
        let text = format!("suppression.entries_total_max: is less than entries_max, {entries_max}, of one list");
        reading.mistake(*line, text);
    }
    let total_max = total_max.map_or(ENTRIES_TOTAL_MAX_USUAL.max(entries_max), |number| number.value);
    Some(Suppression {
        answer: answer.map_or(Answer::Refuse, |answer| answer.value),
        scope: scope.map_or(Reach::Account, |scope| scope.value),
        entries_max: to_usize(entries_max),
        entries_total_max: to_usize(total_max),
        rules,
    })
}

fn rule(mut section: Section<'_>, reading: &mut Reading) -> Option<Rule> {
    let on = section.required_list("on", reading, word(OF_RULES));
    let after = section.optional("after", reading, number(1..=AFTER_MAX));
    let within = section.optional("within", reading, text(positive_duration));
    let ttl = section.optional("ttl", reading, text(positive_duration));
    section.end(reading);
    let after = after.map_or(1, to_u32);
    if let (1, Some(Placed { line, .. })) = (after, &within) {
        reading.mistake(*line, "rules.within: is about an `after` of more than 1");
    }
    Some(Rule {
        on: values(on?),
        after: u8::try_from(after).unwrap_or(u8::MAX),
        within: within.map_or(WITHIN, |within| within.value),
        ttl: ttl.map(|ttl| ttl.value),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    const SERVER: &str = "[server]\nhostname = \"mta.test\"\ndata_dir = \"data\"\n[[listener]]\nkind = \"relay\"\n\
        address = \"127.0.0.1:2525\"\ntls = \"off\"\nnetworks = [\"127.0.0.0/8\"]\n";

    fn read(section: &str) -> Result<Option<Suppression>, String> {
        let config = Config::parse(&format!("{SERVER}{section}"), Path::new("/etc"));
        config.map(|config| config.suppression).map_err(|mistakes| format!("{mistakes:?}"))
    }

    #[test]
    fn it_is_off_unless_it_is_there_and_then_has_defaults() {
        assert_eq!(read(""), Ok(None));
        let suppression = read("[suppression]\n").expect("good").expect("on");
        assert_eq!((suppression.answer, suppression.scope), (Answer::Refuse, Reach::Account));
        assert_eq!((suppression.entries_max, suppression.entries_total_max), (1_000_000, 5_000_000));
        assert_eq!(suppression.rules, rules_by_default());
        let large = read("[suppression]\nentries_max = 7000000\n").expect("good").expect("on");
        assert_eq!((large.entries_max, large.entries_total_max), (7_000_000, 7_000_000));
    }

    #[test]
    fn rules_replace_those_that_come_along() {
        let rules = "[suppression]\nanswer = \"report\"\nscope = \"global\"\n\
            rules = [{ on = [\"spam\", \"complaint\"], after = 2, within = \"1h\", ttl = \"5d\" }]\n";
        let suppression = read(rules).expect("good").expect("on");
        assert_eq!((suppression.answer, suppression.scope), (Answer::Report, Reach::Everyone));
        let [rule] = &suppression.rules[..] else { panic!("{suppression:?}") };
        assert_eq!((&rule.on[..], rule.after), (&[Cause::Spam, Cause::Complaint][..], 2));
        assert_eq!((rule.within, rule.ttl), (Duration::from_secs(3600), Some(5 * DAY)));
        assert!(read("[suppression]\nrules = []\n").expect("good").expect("on").rules.is_empty());
        for (wrong, words) in [
            ("answer = \"drop\"", "suppression.answer"),
            ("entries_max = 20\nentries_total_max = 10", "suppression.entries_total_max"),
            ("rules = [{ on = [\"operator\"] }]", "rules.on"),
            ("rules = [{ on = [\"spam\"], within = \"1d\" }]", "rules.within"),
            ("rules = [{ on = [\"spam\"], after = 0 }]", "rules.after"),
        ] {
            let mistakes = read(&format!("[suppression]\n{wrong}\n")).expect_err(wrong);
            assert!(mistakes.contains(words), "{mistakes}");
        }
    }
}
