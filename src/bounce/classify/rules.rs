//! Rules: `rules.toml` read once, or a configuration's own, and all phrases searched for in one pass over a text.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use serde::Deserialize;

use super::Context;
use super::category::{Action, Category, PathSignal};
use super::diagnostic::{Said, names_address, push_words, words};
use crate::smtp::reply::EnhancedCode;

/// Different phrases in all rules of one kind together.
pub(super) const PHRASES_MAX: usize = 64 * PHRASE_BLOCKS;
const PHRASE_BLOCKS: usize = 32;

/// The rules that come with the program.
pub(super) fn rules() -> &'static Rules {
    static RULES: LazyLock<Rules> = LazyLock::new(|| {
        Rules::parse(include_str!("rules.toml")).unwrap_or_else(|mistake| panic!("rules.toml: {mistake}"))
    });
    &RULES
}

/// What a rule, or a code, says about a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict<'a> {
    pub category: Category,
    pub action: Option<Action>,
    /// What it says of the path, where that is not by its category.
    pub signal: Option<PathSignal>,
    pub rule: &'a str,
}

/// All rules, ready for use.
pub(super) struct Rules {
    search: AhoCorasick,
    own: Vec<Rule>,
    providers: Vec<Rule>,
    /// What of the replies about too much is about connections.
    connections: Rule,
    /// By `subject.detail`, `subject.*` or either behind a class.
    enhanced: HashMap<Box<str>, Code>,
    basic: HashMap<u16, Code>,
}

#[derive(Debug)]
pub(super) struct Rule {
    pub id: Box<str>,
    category: Option<Category>,
    action: Option<Action>,
    signal: Option<PathSignal>,
    /// One of these: all phrases of it.
    words: Vec<Vec<usize>>,
    unless: Vec<Vec<usize>>,
    address: Option<bool>,
    class: Option<u8>,
    providers: Vec<Box<str>>,
    mx: Vec<Box<str>>,
    codes: Vec<u16>,
    status: Vec<(u16, u16)>,
}

struct Code {
    category: Category,
    rule: Box<str>,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    rule: Vec<Pattern>,
    provider: Vec<Pattern>,
    connections: Connections,
    enhanced: BTreeMap<Box<str>, Category>,
    basic: BTreeMap<Box<str>, Category>,
}

/// By which words a reply about too much asks for fewer connections.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Connections {
    words: Vec<String>,
    unless: Vec<String>,
}

/// A rule as it is written; what the fields mean stands at the head of `rules.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// What events name.
    pub id: Box<str>,
    /// What the reply is about; only a sender's own rule has none: it tells of the path, and others tell the rest.
    pub category: Option<Category>,
    /// What is done about it; absent: what the category says.
    pub action: Option<PatternAction>,
    /// What it says of the path; absent: what the category says.
    pub signal: Option<PathSignal>,
    /// Phrases, one of which is there.
    #[serde(default)]
    pub words: Vec<String>,
    /// Phrases, none of which is.
    #[serde(default)]
    pub unless: Vec<String>,
    /// Whether our address is named.
    pub address: Option<bool>,
    /// The first figure of the code.
    pub class: Option<u8>,
    /// Providers, at whose hosts it applies.
    #[serde(default)]
    pub provider: Vec<Box<str>>,
    /// Domains of hosts, at which it applies, too.
    #[serde(default)]
    pub mx: Vec<Box<str>>,
    /// Basic codes.
    #[serde(default)]
    pub codes: Vec<u16>,
    /// Enhanced codes, as `subject.detail`.
    #[serde(default)]
    pub status: Vec<String>,
}

/// What a rule has done instead of what its category says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PatternAction {
    /// What the code's class says.
    Class,
    /// Try again later.
    Defer,
    /// Never try again.
    Reject,
}

impl Rules {
    /// Reads rules.
    fn parse(text: &str) -> Result<Rules, String> {
        let written: Written = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut phrases = Phrases { hosts: hosts_of_providers()?, ..Phrases::default() };
        if let Some(rule) = written.rule.iter().chain(&written.provider).find(|rule| rule.category.is_none()) {
            return Err(format!("`{}` has no category", rule.id));
        }
        let own = written.rule.into_iter().map(|rule| phrases.rule(rule)).collect::<Result<Vec<_>, _>>()?;
        let providers = written.provider.into_iter().map(|rule| phrases.rule(rule)).collect::<Result<Vec<_>, _>>()?;
        if let Some(rule) = providers.iter().find(|rule| rule.mx.is_empty()) {
            return Err(format!("`{}` is a provider's rule and names neither provider nor mx", rule.id));
        }
        let connections = phrases.rule(Pattern {
            id: "connections".into(),
            category: Some(Category::Rate),
            action: None,
            signal: Some(PathSignal::Connections),
            words: written.connections.words,
            unless: written.connections.unless,
            address: None,
            class: None,
            provider: Vec::new(),
            mx: Vec::new(),
            codes: Vec::new(),
            status: Vec::new(),
        })?;
        let mut enhanced = HashMap::new();
        for (code, category) in written.enhanced {
            if !code.split('.').all(|part| part == "*" || part.parse::<u16>().is_ok()) {
                return Err(format!("`{code}` is no enhanced code"));
            }
            let rule =
                if code.split('.').count() == 3 { format!("enhanced:{code}") } else { format!("enhanced:x.{code}") };
            enhanced.insert(code, Code { category, rule: rule.into() });
        }
        let mut basic = HashMap::new();
        for (code, category) in written.basic {
            let number = code.parse().map_err(|_| format!("`{code}` is no basic code"))?;
            basic.insert(number, Code { category, rule: format!("basic:{code}").into() });
        }
        Ok(Rules { search: phrases.search()?, own, providers, connections, enhanced, basic })
    }

    /// The first that applies: a provider's override, a rule of our own, the enhanced code, the basic code.
    pub fn judge<'a>(&'a self, said: &Said<'_>, context: &Context<'_>) -> Option<Verdict<'a>> {
        let found = find(&self.search, &words(said));
        let applies = |rule: &&Rule| rule.applies(said, &found, context);
        let verdict = match self.providers.iter().find(applies).or_else(|| self.own.iter().find(applies)) {
            Some(rule) => rule.verdict()?,
            None => {
                let code = said.status.and_then(|status| self.by_status(status));
                let code = code.or_else(|| self.basic.get(&said.code?))?;
                let Code { category, rule } = code;
                Verdict { category: *category, action: category.action(), signal: None, rule }
            }
        };
        let is_of_connections = verdict.category == Category::Rate && applies(&&self.connections);
        let signal = verdict.signal.or(self.connections.signal.filter(|_| is_of_connections));
        Some(Verdict { signal, ..verdict })
    }

    /// Rules for `host`, which is the provider's of that name.
    pub fn of_host(&self, host: &str, provider: Option<&str>) -> impl Iterator<Item = &Rule> {
        self.providers.iter().filter(move |rule| rule.is_for(Some(host), provider))
    }

    fn by_status(&self, EnhancedCode(class, subject, detail): EnhancedCode) -> Option<&Code> {
        let forms = [
            format!("{class}.{subject}.{detail}"),
            format!("{subject}.{detail}"),
            format!("{class}.{subject}.*"),
            format!("{subject}.*"),
        ];
        forms.iter().find_map(|form| self.enhanced.get(form.as_str()))
    }
}

/// Looks for all phrases.
pub(super) fn find(search: &AhoCorasick, words: &str) -> Found {
    let mut found = Found([0; PHRASE_BLOCKS]);
    for hit in search.find_overlapping_iter(words) {
        let phrase = hit.pattern().as_usize();
        found.0[phrase / 64] |= 1 << (phrase % 64);
    }
    found
}

/// Which phrases a text has.
pub(super) struct Found([u64; PHRASE_BLOCKS]);

impl Found {
    /// Whether all phrases of one of the alternatives are there.
    fn any(&self, alternatives: &[Vec<usize>]) -> bool {
        let has = |phrase: &usize| self.0[phrase / 64] >> (phrase % 64) & 1 == 1;
        alternatives.iter().any(|phrases| phrases.iter().all(has))
    }
}

impl Rule {
    /// What it says; `None`: at most something of the path.
    pub fn verdict(&self) -> Option<Verdict<'_>> {
        Some(Verdict { category: self.category?, action: self.action, signal: self.signal, rule: &self.id })
    }

    /// What it says of the path.
    pub fn signal(&self) -> Option<PathSignal> {
        self.signal
    }

    /// Whether it applies at that host, which is the provider's of that name.
    fn is_for(&self, host: Option<&str>, provider: Option<&str>) -> bool {
        provider.is_some_and(|provider| self.providers.iter().any(|name| **name == *provider))
            || host.is_some_and(|host| self.mx.iter().any(|domain| is_within(host, domain)))
    }

    /// Whether it is about this reply.
    pub fn applies(&self, said: &Said<'_>, found: &Found, context: &Context<'_>) -> bool {
        let class = said.code.map(|code| code / 100).or(said.status.map(|status| u16::from(status.0)));
        let has_status = || said.status.is_some_and(|status| self.status.contains(&(status.1, status.2)));
        (self.words.is_empty() || found.any(&self.words))
            && !found.any(&self.unless)
            && (self.mx.is_empty() || self.is_for(context.mx, context.provider))
            && (self.status.is_empty() || has_status())
            && (self.codes.is_empty() || said.code.is_some_and(|code| self.codes.contains(&code)))
            && self.class.is_none_or(|wanted| class == Some(u16::from(wanted)))
            && self.address.is_none_or(|wanted| names_address(said.text, context.address) == wanted)
    }
}

/// Whether `host` is `domain`, or below it.
fn is_within(host: &str, domain: &str) -> bool {
    let host = host.trim_end_matches('.');
    let Some(start) = host.len().checked_sub(domain.len()) else { return false };
    host.is_char_boundary(start)
        && host[start..].eq_ignore_ascii_case(domain)
        && (start == 0 || host.as_bytes()[start - 1] == b'.')
}

/// The hosts of the providers that come along, as their profiles name them.
fn hosts_of_providers() -> Result<HashMap<Box<str>, Vec<Box<str>>>, String> {
    #[derive(Deserialize)]
    struct Profiles {
        provider: Vec<Profile>,
    }
    #[derive(Deserialize)]
    struct Profile {
        name: Box<str>,
        mx: Vec<Box<str>>,
    }
    let profiles: Profiles =
        toml::from_str(include_str!("../../config/providers.toml")).map_err(|error| error.to_string())?;
    Ok(profiles.provider.into_iter().map(|Profile { name, mx }| (name, mx)).collect())
}

/// The phrases of all rules, each once; and the hosts of the providers that they may name.
#[derive(Default)]
pub(super) struct Phrases {
    hosts: HashMap<Box<str>, Vec<Box<str>>>,
    list: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl Phrases {
    /// One rule, its phrases among the others.
    pub fn rule(&mut self, written: Pattern) -> Result<Rule, String> {
        let id = written.id;
        let named = |mistake: String| format!("`{id}`: {mistake}");
        if written.words.is_empty() && written.status.is_empty() && written.codes.is_empty() {
            return Err(named("neither words nor status nor codes".into()));
        }
        let words = self.alternatives(&written.words).map_err(named)?;
        let unless = self.alternatives(&written.unless).map_err(named)?;
        let status = written.status.iter().map(|code| status_of(code).map_err(named));
        let status = status.collect::<Result<Vec<_>, _>>()?;
        let mut mx = written.mx;
        for name in &written.provider {
            mx.extend_from_slice(self.hosts.get(name).ok_or_else(|| named(format!("there is no provider {name}")))?);
        }
        let action = match written.action {
            None => written.category.and_then(Category::action),
            Some(PatternAction::Class) => None,
            Some(PatternAction::Defer) => Some(Action::Defer),
            Some(PatternAction::Reject) => Some(Action::Reject),
        };
        let Pattern { category, signal, address, class, provider: providers, codes, .. } = written;
        Ok(Rule { id, category, action, signal, words, unless, address, class, providers, mx, codes, status })
    }

    /// What looks for all of them in one pass.
    pub fn search(&self) -> Result<AhoCorasick, String> {
        if self.list.len() > PHRASES_MAX {
            return Err(format!("{} phrases, at most {PHRASES_MAX}", self.list.len()));
        }
        AhoCorasick::new(&self.list).map_err(|error| error.to_string())
    }

    fn alternatives(&mut self, written: &[String]) -> Result<Vec<Vec<usize>>, String> {
        let alternative = |text: &String| text.split(" + ").map(|phrase| self.number(phrase)).collect();
        written.iter().map(alternative).collect()
    }

    fn number(&mut self, phrase: &str) -> Result<usize, String> {
        let pattern = pattern(phrase)?;
        let next = self.list.len();
        let number = *self.numbers.entry(pattern.clone()).or_insert(next);
        if number == next {
            self.list.push(pattern);
        }
        Ok(number)
    }
}

/// `subject.detail` of an enhanced code.
pub(super) fn status_of(code: &str) -> Result<(u16, u16), String> {
    let figures =
        code.split_once('.').and_then(|(subject, detail)| Some((subject.parse().ok()?, detail.parse().ok()?)));
    figures.ok_or_else(|| format!("`{code}` is no subject.detail"))
}

/// Whether `text` is a phrase, or several that must all be there.
pub(super) fn check_alternative(text: &str) -> Result<(), String> {
    text.split(" + ").try_for_each(|phrase| pattern(phrase).map(drop))
}

/// What to look for among words: whole ones unless a `*` says otherwise.
fn pattern(phrase: &str) -> Result<String, String> {
    let (rest, open_start) = phrase.strip_prefix('*').map_or((phrase, false), |rest| (rest, true));
    let (rest, open_end) = rest.strip_suffix('*').map_or((rest, false), |rest| (rest, true));
    let mut words = String::from(" ");
    push_words(&mut words, rest);
    if words == " " || rest.contains(['*', '+']) {
        return Err(format!("`{phrase}` is no phrase"));
    }
    let start = usize::from(open_start);
    let end = words.len() - usize::from(open_end);
    Ok(words[start..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Rules, String> {
        Rules::parse(&format!("{text}\n[connections]\nwords = [\"x\"]\nunless = []\n[enhanced]\n[basic]\n"))
    }

    #[test]
    fn the_rules_that_come_with_the_program_are_sound() {
        let rules = rules();
        let mut ids: Vec<&str> = rules.own.iter().chain(&rules.providers).map(|rule| &*rule.id).collect();
        assert!(ids.len() > 30, "{}", ids.len());
        ids.sort_unstable();
        let count = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), count, "an id is used twice");
        for rule in rules.providers.iter().chain(&rules.own) {
            assert!(rule.category.is_some() && !rule.id.contains(' '), "{}", rule.id);
            assert!(
                rule.mx.iter().all(|domain| domain.contains('.') && **domain == *domain.to_lowercase()),
                "{}",
                rule.id
            );
        }
    }

    #[test]
    fn mistakes_are_named() {
        let mistakes = [
            ("rule = []\n[[provider]]\nid = \"p\"\ncategory = \"rate\"\nwords = [\"x\"]", "neither provider nor mx"),
            (
                "rule = []\n[[provider]]\nid = \"p\"\nprovider = [\"gmial\"]\ncategory = \"rate\"\nwords = [\"x\"]",
                "no provider gmial",
            ),
            ("provider = []\n[[rule]]\nid = \"r\"\nsignal = \"rate\"\nwords = [\"x\"]", "has no category"),
            ("provider = []\n[[rule]]\nid = \"r\"\ncategory = \"rate\"", "neither words nor status"),
            ("provider = []\n[[rule]]\nid = \"r\"\ncategory = \"rat\"\nwords = [\"x\"]", "unknown variant"),
            ("provider = []\n[[rule]]\nid = \"r\"\ncategory = \"rate\"\nwords = [\"a*b\"]", "`a*b` is no phrase"),
            ("provider = []\n[[rule]]\nid = \"r\"\ncategory = \"rate\"\nwords = [\"a + \"]", "is no phrase"),
            ("provider = []\n[[rule]]\nid = \"r\"\ncategory = \"rate\"\nstatus = [\"x\"]", "no subject.detail"),
            ("provider = []\n[[rule]]\nid = \"r\"\ncategory = \"rate\"\nword = [\"x\"]", "unknown field"),
        ];
        for (text, expected) in mistakes {
            let mistake = parse(text).err().unwrap_or_default();
            assert!(mistake.contains(expected), "{text}: {mistake}");
        }
    }

    #[test]
    fn a_phrase_is_whole_words_unless_a_star_says_otherwise() {
        for (phrase, expected) in [
            ("User-Unknown", " user unknown "),
            ("doesn't", " doesnt "),
            ("block*", " block"),
            ("*rbl", "rbl "),
            ("*rbl*", "rbl"),
        ] {
            assert_eq!(pattern(phrase), Ok(expected.to_owned()));
        }
    }

    #[test]
    fn a_host_is_within_its_domain_only() {
        for (host, expected) in [
            ("mx.Example.test.", true),
            ("example.test", true),
            ("notexample.test", false),
            ("test", false),
            ("é.test", false),
        ] {
            assert_eq!(is_within(host, "example.test"), expected, "{host}");
        }
    }
}
