//! A sender's own rules: what replies mean to it, before the rules that come along.

use std::sync::Arc;

use aho_corasick::AhoCorasick;

use super::Context;
use super::diagnostic::{Said, words};
use super::rules::{Pattern, Phrases, Rule, Verdict, check_alternative, find, status_of};

/// Rules of one sender.
pub const PATTERNS_MAX: usize = 64 * PATTERN_BLOCKS;
const PATTERN_BLOCKS: usize = 4;
/// Octets of what a rule looks for in one place.
const PHRASE_BYTES_MAX: usize = 200;

/// All own rules, ready for use; the first that is in force and applies decides.
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

    /// The first that applies.
    pub(super) fn judge(&self, said: &Said<'_>, context: &Context<'_>) -> Option<Verdict<'_>> {
        let Patterns { search, rules } = &*self.patterns;
        let found = find(search, &words(said));
        let in_force = rules.iter().enumerate().filter(|(at, _)| self.holds[at / 64] >> (at % 64) & 1 == 1);
        in_force.map(|(_, rule)| rule).find(|rule| rule.applies(said, &found, context)).map(Rule::verdict)
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
