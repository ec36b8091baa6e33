//! Remembered answers in two generations. Pure: the time is an argument.
//!
//! What is asked for again moves to the young generation. When that is full, the old one is forgotten and the young
//! one takes its place; so the table is bounded, and forgetting costs nothing per entry.

use std::collections::HashMap;
use std::rc::Rc;

use shards::Instant;

use super::{Answer, Question};

/// A bounded memory of answers.
pub(super) struct Table {
    young: HashMap<Question, Entry>,
    old: HashMap<Question, Entry>,
    generation_max: usize,
}

struct Entry {
    answer: Rc<Answer>,
    valid_until: Instant,
}

impl Table {
    /// A table of at most `entries_max` answers.
    pub fn new(entries_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), generation_max: (entries_max / 2).max(1) }
    }

    /// The answer to `question`, while it holds.
    pub fn get(&mut self, question: &Question, now: Instant) -> Option<Rc<Answer>> {
        if let Some(entry) = self.young.get(question) {
            return (now < entry.valid_until).then(|| entry.answer.clone());
        }
        let (question, entry) = self.old.remove_entry(question)?;
        if now >= entry.valid_until {
            return None;
        }
        let answer = entry.answer.clone();
        self.keep(question, entry);
        Some(answer)
    }

    /// Remembers `answer` for as long as it holds.
    pub fn put(&mut self, question: Question, answer: Rc<Answer>, now: Instant) {
        let valid_until = now + answer.ttl();
        self.old.remove(&question);
        self.keep(question, Entry { answer, valid_until });
    }

    fn keep(&mut self, question: Question, entry: Entry) {
        if self.young.len() >= self.generation_max && !self.young.contains_key(&question) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(question, entry);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dns::{TROUBLE_TTL, TTL_MAX, TTL_MIN};

    fn question(n: usize) -> Question {
        Question::Mx(format!("d{n}.test").into())
    }

    fn at(seconds: u64) -> Instant {
        Instant::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn an_answer_holds_as_long_as_its_clamped_ttl() {
        let cases = [
            (Answer::NoData(Duration::from_secs(60)), 60),
            (Answer::Mx(Vec::new(), Duration::ZERO), TTL_MIN.as_secs()),
            (Answer::NoSuchName(Duration::from_secs(1_000_000)), TTL_MAX.as_secs()),
            (Answer::Trouble("SERVFAIL".into()), TROUBLE_TTL.as_secs()),
        ];
        for (answer, seconds) in cases {
            let mut table = Table::new(10);
            let answer = Rc::new(answer);
            table.put(question(1), answer.clone(), at(100));
            assert_eq!(table.get(&question(1), at(100 + seconds - 1)), Some(answer.clone()), "{answer:?}");
            assert_eq!(table.get(&question(1), at(100 + seconds)), None, "{answer:?}");
        }
    }

    #[test]
    fn the_table_is_bounded_and_keeps_what_is_used() {
        let mut table = Table::new(10);
        let answer = Rc::new(Answer::NoData(TTL_MAX));
        for n in 0..1000 {
            table.put(question(n), answer.clone(), at(0));
            assert!(table.len() <= 10, "{}", table.len());
            assert!(table.get(&question(0), at(0)).is_some(), "forgotten although asked for each time ({n})");
        }
        assert!(table.get(&question(1), at(0)).is_none());
    }

    #[test]
    fn a_newer_answer_replaces_an_older_one_of_either_generation() {
        let mut table = Table::new(2);
        table.put(question(1), Rc::new(Answer::NoData(TTL_MAX)), at(0));
        table.put(question(2), Rc::new(Answer::NoData(TTL_MAX)), at(0));
        let fresh = Rc::new(Answer::NoSuchName(TTL_MAX));
        table.put(question(1), fresh.clone(), at(1));
        assert_eq!(table.get(&question(1), at(2)), Some(fresh));
    }
}
