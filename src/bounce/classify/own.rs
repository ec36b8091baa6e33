//! A sender's own rules: what replies mean to it, before the rules that come along.

use std::sync::Arc;

use aho_corasick::AhoCorasick;

use super::diagnostic::{Said, words};
use super::rules::{Pattern, Phrases, Rule, Verdict, check_alternative, find, status_of};
use super::{Context, PathSignal};

/// Rules of one sender.
pub const PATTERNS_MAX: usize = 64 * PATTERN_BLOCKS;
const PATTERN_BLOCKS: usize = 4;
/// Octets of what a rule looks for in one place.
const PHRASE_BYTES_MAX: usize = 200;

/// What own rules say of a reply.
#[derive(Debug, Default)]
pub(super) struct Judged<'a> {
    /// Of the reply: the first that applies among those that have a category.
    pub verdict: Option<Verdict<'a>>,
    /// Of the path: the first that applies and tells of it, with its rule. Of those that have a category the one above only.
    pub signal: Option<(PathSignal, &'a str)>,
}

/// All own rules, ready for use.
#[derive(Debug)]
pub struct Patterns {
    search: AhoCorasick,
    rules: Vec<Rule>,
}

impl Patterns {
    /// Makes rules of what is written.
    ///
    /// # Errors
    /// Which cannot be used, and why: for people.
    pub fn new(written: Vec<Pattern>) -> Result<Patterns, String> {
        let mut phrases = Phrases::default();
        if written.len() > PATTERNS_MAX {
            return Err(format!("{} rules, at most {PATTERNS_MAX}", written.len()));
        }
        let rules = written.into_iter().map(|pattern| phrases.rule(pattern)).collect::<Result<Vec<_>, _>>()?;
        Ok(Patterns { search: phrases.search()?, rules })
    }
}

/// Own rules, and which of them are in force for some mail; a cheap handle.
#[derive(Clone, Debug)]
pub struct InForce {
    patterns: Arc<Patterns>,
    holds: [u64; PATTERN_BLOCKS],
}

impl InForce {
    /// Those of `patterns` that `holds` says by their place; `None` where that is none.
    pub fn of(patterns: &Arc<Patterns>, holds: impl Fn(usize) -> bool) -> Option<InForce> {
        let mut bits = [0; PATTERN_BLOCKS];
        (0..patterns.rules.len()).filter(|at| holds(*at)).for_each(|at| bits[at / 64] |= 1 << (at % 64));
        (bits != [0; PATTERN_BLOCKS]).then(|| InForce { patterns: patterns.clone(), holds: bits })
    }

    /// What those say that apply.
    pub(super) fn judge(&self, said: &Said<'_>, context: &Context<'_>) -> Judged<'_> {
        let Patterns { search, rules } = &*self.patterns;
        let found = find(search, &words(said));
        let in_force = rules.iter().enumerate().filter(|(at, _)| self.holds[at / 64] >> (at % 64) & 1 == 1);
        let mut judged = Judged::default();
        for (_, rule) in in_force.filter(|(_, rule)| rule.applies(said, &found, context)) {
            match rule.verdict() {
                Some(_) if judged.verdict.is_some() => continue,
                verdict => judged.verdict = judged.verdict.or(verdict),
            }
            judged.signal = judged.signal.or(rule.signal().map(|signal| (signal, &*rule.id)));
        }
        judged
    }
}

/// Whether `text` is what a rule can look for: a phrase, or several, as `a + b`.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn check_phrases(text: &str) -> Result<Box<str>, String> {
    if text.len() > PHRASE_BYTES_MAX {
        return Err(format!("a phrase of {} octets: at most {PHRASE_BYTES_MAX}", text.len()));
    }
    check_alternative(text).map_err(|why| {
        format!(
            "{why}: write words, with a * at their start or end for a part of a word, and \"a + b\" for both of two"
        )
    })?;
    Ok(text.into())
}

/// Whether `text` is an enhanced code without its class.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn check_status(text: &str) -> Result<Box<str>, String> {
    status_of(text).map(|_| text.into()).map_err(|why| format!("{why}: write it like \"7.28\""))
}
