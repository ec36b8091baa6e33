//! `[[reply]]`: what replies mean to this sender, before the rules that come along with the classifier.

use std::sync::Arc;

use super::limit::{Part, Provider, Scope, scope};
use super::read::{Placed, Reading, Section, number, text, word};
use super::validate::values;
use super::{Pool, egress};
use crate::bounce::classify::{
    Category, InForce, PATTERNS_MAX, PathSignal, Pattern, PatternAction, Patterns, check_phrases, check_status,
};

/// Values of one list.
const VALUES_MAX: usize = 64;

const SIGNALS: &[(&str, PathSignal)] = &[
    ("none", PathSignal::None),
    ("connections", PathSignal::Connections),
    ("rate", PathSignal::Rate),
    ("reputation", PathSignal::Reputation),
    ("block", PathSignal::Block),
];
const ACTIONS: &[(&str, PatternAction)] =
    &[("class", PatternAction::Class), ("defer", PatternAction::Defer), ("reject", PatternAction::Reject)];

/// A `[[reply]]`.
#[derive(Clone, Debug)]
pub struct Reply {
    /// For what it is.
    pub scope: Scope,
    /// What it looks for, and what that means.
    pub pattern: Pattern,
}

/// Every `[[reply]]`, ready for use.
#[derive(Clone, Debug, Default)]
pub struct Replies {
    all: Vec<Reply>,
    patterns: Option<Arc<Patterns>>,
}

impl Replies {
    /// All of them, in their order.
    pub fn all(&self) -> impl Iterator<Item = &Reply> {
        self.all.iter()
    }

    /// Those that are in force for `part`, ready for use; `None`: there are none.
    pub fn in_force(&self, part: &Part<'_>) -> Option<InForce> {
        InForce::of(self.patterns.as_ref()?, |at| self.all[at].covers(part))
    }
}

impl Reply {
    /// Whether it is in force for `part`.
    pub fn covers(&self, part: &Part<'_>) -> bool {
        self.scope.covers(part.provider, part.domain, part.party) && self.scope.covers_source(part.source)
    }
}

/// Reads every `[[reply]]`.
pub(super) fn all(
    document: &mut Section<'_>,
    providers: &[Provider],
    pools: &[Arc<Pool>],
    reading: &mut Reading,
) -> Replies {
    let mut all: Vec<Reply> = Vec::new();
    let mut last_line = document.line;
    for mut section in document.sections("reply", reading) {
        last_line = section.line;
        let scope = scope(&mut section, providers, pools, reading);
        let pattern = pattern(&mut section, reading);
        section.end(reading);
        let Some(Placed { value: pattern, line }) = pattern else { continue };
        if all.iter().any(|other| other.pattern.id == pattern.id) {
            let name = pattern.id.trim_start_matches("reply:");
            reading.mistake(line, format!("reply.name: `{name}` is there already: events name it"));
        }
        if all.len() == PATTERNS_MAX {
            reading.mistake(line, format!("at most {PATTERNS_MAX} replies"));
        }
        if all.len() < PATTERNS_MAX {
            all.push(Reply { scope, pattern });
        }
    }
    if all.is_empty() {
        return Replies::default();
    }
    match Patterns::new(all.iter().map(|reply| reply.pattern.clone()).collect()) {
        Ok(patterns) => Replies { all, patterns: Some(Arc::new(patterns)) },
        Err(why) => {
            reading.mistake(last_line, format!("reply: {why} in all [[reply]] together"));
            Replies::default()
        }
    }
}

/// What one looks for, and what that means; its line is that of its name.
fn pattern(section: &mut Section<'_>, reading: &mut Reading) -> Option<Placed<Pattern>> {
    let line = section.line;
    let looks = ["words", "status", "codes"].iter().any(|key| section.has(key));
    let name = section.required("name", reading, text(egress::name));
    let mut list = |key: &'static str, check: fn(&str) -> Result<Box<str>, String>| {
        let list = section.list(key, reading, text(check)).map(|list| values(bounded(key, list, reading)));
        list.unwrap_or_default().into_iter().map(String::from).collect::<Vec<String>>()
    };
    let (words, unless, status) =
        (list("words", check_phrases), list("unless", check_phrases), list("status", check_status));
    let codes = section.list("codes", reading, number(400..=599));
    let codes = codes.map(|codes| values(bounded("codes", codes, reading))).unwrap_or_default();
    let category = section.required("category", reading, text(category));
    let signal = section.optional("signal", reading, word(SIGNALS));
    let action = section.optional("action", reading, word(ACTIONS));
    if !looks {
        reading.missing(line, "reply: it looks for nothing: write words, status or codes");
    }
    let name = name?;
    let value = Pattern {
        id: format!("reply:{}", name.value).into(),
        category: category?.value,
        action: action.map(|action| action.value),
        signal: signal.map(|signal| signal.value),
        words,
        unless,
        address: None,
        class: None,
        mx: Vec::new(),
        codes: codes.into_iter().filter_map(|code| u16::try_from(code).ok()).collect(),
        status,
    };
    // Where its lists are all wrong, they have been told.
    let is_usable = !(value.words.is_empty() && value.status.is_empty() && value.codes.is_empty());
    is_usable.then_some(Placed { value, line: name.line })
}

fn bounded<T>(key: &str, list: Placed<Vec<Placed<T>>>, reading: &mut Reading) -> Vec<Placed<T>> {
    if list.value.len() > VALUES_MAX {
        reading.mistake(list.line, format!("reply.{key}: at most {VALUES_MAX}: write a second [[reply]]"));
    }
    list.value
}

/// What replies can be about.
fn category(written: &str) -> Result<Category, String> {
    let of_replies = |category: &Category| !matches!(category, Category::Accepted | Category::Suppressed);
    Category::named(written).filter(of_replies).ok_or_else(|| {
        let known: Vec<&str> =
            Category::ALL.iter().filter(|found| of_replies(found)).map(|found| found.name()).collect();
        format!("there is no category `{written}`: known are {}", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::bounce::classify::{Context, classify_text};
    use crate::config::limit::Party;
    use crate::config::{Config, Mistake};

    const BASE: &str = "[server]\nhostname = \"mta.example.org\"\ndata_dir = \"data\"\n[[listener]]\nkind = \"relay\"\n\
                        address = \"127.0.0.1:2525\"\ntls = \"off\"\nnetworks = [\"::1\"]\n[[source]]\nname = \"s1\"\n\
                        addresses = [\"192.0.2.1\"]\n";

    fn parse(more: &str) -> Result<Config, Vec<Mistake>> {
        Config::parse(&format!("{BASE}{more}"), Path::new("/nowhere"))
    }

    /// The rule, category, action and signal of `text` to mail of that part.
    fn judged(
        config: &Config,
        text: &str,
        part: &Part<'_>,
    ) -> (String, &'static str, &'static str, Option<PathSignal>) {
        let own = config.replies.in_force(part);
        let context = Context { own: own.as_ref(), ..Context::default() };
        let verdict = classify_text(text, &context).expect("it is a reply");
        (verdict.rule.into_owned(), verdict.category.name(), verdict.action.name(), verdict.signal)
    }

    #[test]
    fn the_first_that_is_in_force_and_applies_counts_before_the_rules_that_come_along() {
        let config = parse(
            "[[reply]]\nname = \"acme-slots\"\ntenant = \"acme\"\nwords = [\"slot + taken\"]\ncategory = \"rate\"\n\
             [[reply]]\nname = \"slots\"\nsource = \"s1\"\ndomains = [\"*.partner.test\"]\nwords = [\"slot* + taken\"]\n\
             unless = [\"tomorrow\"]\ncodes = [421, 450]\ncategory = \"rate\"\nsignal = \"connections\"\n\
             [[reply]]\nname = \"full-is-final\"\nprovider = \"gmail\"\nstatus = [\"2.2\"]\ncategory = \"mailbox-full\"\n\
             action = \"reject\"\nsignal = \"none\"\n",
        )
        .expect("good");
        let part = Part { provider: None, domain: "a.partner.test", source: "s1", party: Party::default() };
        let slots = ("reply:slots".to_owned(), "rate", "defer", Some(PathSignal::Connections));
        let acme = Party { tenant: "acme", campaign: "spring" };
        let of_acme = ("reply:acme-slots".to_owned(), "rate", "defer", None);
        assert_eq!(judged(&config, "450 Slots taken", &part), slots);
        assert_eq!(judged(&config, "450 slot taken", &Part { party: acme, ..part }), of_acme);
        for (text, part) in [
            ("450 Slots taken", Part { source: "", ..part }),
            ("450 Slots taken", Part { domain: "partner.test", ..part }),
            ("450 Slots taken until tomorrow", part),
            ("451 Slots taken", part),
            ("450 Slots free", part),
        ] {
            assert!(!judged(&config, text, &part).0.starts_with("reply:"), "{text} {part:?}");
        }
        let at_gmail = Part { provider: Some("gmail"), domain: "gmail.com", source: "", party: Party::default() };
        let is_final = ("reply:full-is-final".to_owned(), "mailbox-full", "reject", Some(PathSignal::None));
        assert_eq!(judged(&config, "452 4.2.2 over quota", &at_gmail), is_final);
        assert_eq!(judged(&config, "452 4.2.2 over quota", &part).2, "defer");
        assert_eq!(judged(&config, "250 2.2.2 slot taken", &at_gmail).0, "class", "what was taken is not judged");
        assert!(parse("").expect("good").replies.in_force(&part).is_none());
    }

    #[test]
    fn mistakes_are_told_with_their_line_and_what_to_write() {
        let base = BASE.lines().count();
        for (line, reply, told) in [
            (3, "name = \"a\"\nwords = [\"x\"]\ncategory = \"rats\"", "known are recipient-unknown"),
            (3, "name = \"a\"\nwords = [\"x\"]\ncategory = \"accepted\"", "no category `accepted`"),
            (2, "name = \"a\"\nwords = [\"a*b\"]\ncategory = \"rate\"", "`a*b` is no phrase"),
            (2, "name = \"a\"\nstatus = [\"4.7.28\"]\ncategory = \"rate\"", "7.28"),
            (2, "name = \"a\"\ncodes = [250]\ncategory = \"rate\"", "between 400 and 599"),
            (0, "name = \"a\"\ncategory = \"rate\"", "words, status or codes"),
            (4, "name = \"a\"\nwords = [\"x\"]\ncategory = \"rate\"\nsignal = \"slow\"", "\"connections\""),
            (2, "name = \"a\"\nprovider = \"gmial\"\nwords = [\"x\"]\ncategory = \"rate\"", "known are gmail"),
            (1, "name = \"a b\"\nwords = [\"x\"]\ncategory = \"rate\"", "not a name"),
        ] {
            let mistakes = parse(&format!("[[reply]]\n{reply}\n")).expect_err(reply);
            assert!(mistakes[0].text.contains(told), "{reply}: {mistakes:?}");
            assert!(mistakes[0].line == base + 1 + line, "{reply}: {mistakes:?}");
        }
        let twice = "[[reply]]\nname = \"a\"\nwords = [\"x\"]\ncategory = \"rate\"\n".repeat(2);
        assert!(parse(&twice).expect_err("twice")[0].text.contains("already"));
        let words: Vec<String> = (0..=VALUES_MAX).map(|n| format!("\"w{n}\"")).collect();
        let long = format!("[[reply]]\nname = \"a\"\nwords = [{}]\ncategory = \"rate\"\n", words.join(", "));
        assert!(parse(&long).expect_err("too many")[0].text.contains("at most 64"));
    }

    #[test]
    fn all_together_are_bounded() {
        let reply = |n: usize| {
            let words: Vec<String> = (0..VALUES_MAX).map(|word| format!("\"w{n}x{word}\"")).collect();
            format!("[[reply]]\nname = \"r{n}\"\nwords = [{}]\ncategory = \"rate\"\n", words.join(", "))
        };
        let of = |count: usize| parse(&(0..count).map(reply).collect::<String>());
        assert!(of(32).is_ok());
        assert!(of(33).expect_err("too many phrases")[0].text.contains("at most 2048"));
        let short = |n: usize| format!("[[reply]]\nname = \"r{n}\"\nwords = [\"x\"]\ncategory = \"rate\"\n");
        let of = |count: usize| parse(&(0..count).map(short).collect::<String>());
        assert!(of(PATTERNS_MAX).is_ok());
        assert!(of(PATTERNS_MAX + 1).expect_err("too many")[0].text.contains("at most 256"));
    }
}
