//! Walks the document: every value once, every mistake noted with its line, every key that nobody asked for reported.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::Mistake;

/// Octets of the place of a mistake that are shown.
const PLACE_BYTES_MAX: usize = 40;

/// A text being read, and the mistakes found so far.
pub(super) struct Reading {
    /// Where each line begins.
    lines: Vec<usize>,
    mistakes: Vec<Mistake>,
    /// Lines that are not TOML. What follows from them is not reported again.
    broken: Vec<usize>,
}

/// A value with the place where it was written.
pub(super) struct Placed<T> {
    /// The value.
    pub value: T,
    /// 1-based.
    pub line: usize,
}

impl Reading {
    /// Parses as much of `text` as is TOML; what is not becomes mistakes.
    pub fn begin(text: &str) -> (Reading, Section<'_>) {
        let lines = std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1)).collect();
        let mut reading = Reading { lines, mistakes: Vec::new(), broken: Vec::new() };
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let line = reading.line(error.span().unwrap_or(0..0));
            if !reading.broken.contains(&line) {
                let place =
                    error.span().and_then(|place| text.get(place)).filter(|place| place.len() <= PLACE_BYTES_MAX);
                let place = place.map(|place| format!(" at `{}`", place.trim())).unwrap_or_default();
                reading.mistake(line, format!("not TOML: {}{place}", error.message().replace('\n', ", ")));
                reading.broken.push(line);
            }
        }
        let section = Section { name: String::new(), line: 1, table: document.into_inner(), known: Vec::new() };
        (reading, section)
    }

    /// The line of a place in the text.
    fn line(&self, place: Range<usize>) -> usize {
        self.lines.partition_point(|begin| *begin <= place.start)
    }

    /// Notes a mistake, unless its line is no TOML anyway.
    pub fn mistake(&mut self, line: usize, text: impl Into<String>) {
        if !self.broken.contains(&line) {
            self.mistakes.push(Mistake { line, text: text.into() });
        }
    }

    /// Notes that something is not there. In a broken text it may be, so nothing is said.
    pub fn missing(&mut self, line: usize, text: impl Into<String>) {
        if self.broken.is_empty() {
            self.mistake(line, text);
        }
    }

    /// All mistakes, by line.
    pub fn end(mut self) -> Vec<Mistake> {
        self.mistakes.sort_by_key(|mistake| mistake.line);
        self.mistakes
    }
}

/// A table of the document. Keys are taken out of it; [`Section::end`] reports those that nobody took.
pub(super) struct Section<'t> {
    name: String,
    /// The line of its header.
    pub line: usize,
    table: DeTable<'t>,
    known: Vec<&'static str>,
}

impl<'t> Section<'t> {
    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'t>>> {
        self.known.push(key);
        self.table.remove(key)
    }

    /// Whether `key` is there, right or wrong.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn must_have(&self, key: &str, reading: &mut Reading) {
        if !self.table.contains_key(key) {
            reading.missing(self.line, format!("{} is missing", self.path(key)));
        }
    }

    /// The value of `key` as `parse` reads it; `None` if it is absent, or wrong, which is noted.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        reading: &mut Reading,
        parse: impl Fn(&DeValue<'t>) -> Result<T, String>,
    ) -> Option<Placed<T>> {
        let found = self.take(key)?;
        let line = reading.line(found.span());
        match parse(found.get_ref()) {
            Ok(value) => Some(Placed { value, line }),
            Err(text) => {
                reading.mistake(line, format!("{}: {text}", self.path(key)));
                None
            }
        }
    }

    /// As [`Section::optional`]; that it is absent is a mistake, too.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        reading: &mut Reading,
        parse: impl Fn(&DeValue<'t>) -> Result<T, String>,
    ) -> Option<Placed<T>> {
        self.must_have(key, reading);
        self.optional(key, reading, parse)
    }

    /// The good elements of the list `key`, where an empty list means something; the others are noted. `None` if it is
    /// absent, or no list.
    pub fn list_or_empty<T>(
        &mut self,
        key: &'static str,
        reading: &mut Reading,
        parse: impl Fn(&DeValue<'t>) -> Result<T, String>,
    ) -> Option<Placed<Vec<Placed<T>>>> {
        let array = self.optional(key, reading, array)?;
        let mut good = Vec::with_capacity(array.value.len());
        for element in array.value.iter() {
            let line = reading.line(element.span());
            match parse(element.get_ref()) {
                Ok(value) => good.push(Placed { value, line }),
                Err(text) => reading.mistake(line, format!("{}: {text}", self.path(key))),
            }
        }
        Some(Placed { value: good, line: array.line })
    }

    /// As [`Section::list_or_empty`], where an empty list is a mistake.
    pub fn list<T>(
        &mut self,
        key: &'static str,
        reading: &mut Reading,
        parse: impl Fn(&DeValue<'t>) -> Result<T, String>,
    ) -> Option<Placed<Vec<Placed<T>>>> {
        let is_empty =
            self.table.get(key).and_then(|value| value.get_ref().as_array()).is_some_and(|list| list.is_empty());
        let list = self.list_or_empty(key, reading, parse)?;
        if is_empty {
            reading.mistake(list.line, format!("{}: the list is empty", self.path(key)));
        }
        Some(list)
    }

    /// As [`Section::list`]; that it is absent is a mistake, too.
    pub fn required_list<T>(
        &mut self,
        key: &'static str,
        reading: &mut Reading,
        parse: impl Fn(&DeValue<'t>) -> Result<T, String>,
    ) -> Option<Vec<Placed<T>>> {
        self.must_have(key, reading);
        self.list(key, reading, parse).map(|list| list.value)
    }

    /// The table `[key]`, or `None`.
    pub fn section(&mut self, key: &'static str, reading: &mut Reading) -> Option<Section<'t>> {
        let found = self.take(key)?;
        let (line, name) = (reading.line(found.span()), self.path(key));
        match found.into_inner() {
            DeValue::Table(table) => Some(Section { name, line, table, known: Vec::new() }),
            DeValue::Array(_) => {
                reading.mistake(line, format!("[{name}] exists once: write it with single brackets"));
                None
            }
            other => {
                reading.mistake(line, format!("{name} is a section, not {}: write [{name}]", kind(&other)));
                None
            }
        }
    }

    /// The table `[key]`; an empty one if it is absent.
    pub fn section_or_empty(&mut self, key: &'static str, reading: &mut Reading) -> Section<'t> {
        let (line, name) = (self.line, self.path(key));
        self.section(key, reading).unwrap_or_else(|| Section { name, line, table: DeTable::new(), known: Vec::new() })
    }

    /// The tables `[[key]]`.
    pub fn sections(&mut self, key: &'static str, reading: &mut Reading) -> Vec<Section<'t>> {
        let Some(found) = self.take(key) else { return Vec::new() };
        let line = reading.line(found.span());
        let path = self.path(key);
        let wrong = |kind: &str| match self.name.is_empty() {
            true => format!("{key} is a list of sections, not {kind}: write [[{key}]]"),
            false => format!("{path}: a list of tables, not {kind}: write [{{ … }}, {{ … }}]"),
        };
        let DeValue::Array(array) = found.into_inner() else {
            reading.mistake(line, wrong("one section or value"));
            return Vec::new();
        };
        let mut sections = Vec::with_capacity(array.len());
        for element in array {
            let line = reading.line(element.span());
            match element.into_inner() {
                DeValue::Table(table) => {
                    sections.push(Section { name: key.into(), line, table, known: Vec::new() });
                }
                other => reading.mistake(line, wrong(kind(&other))),
            }
        }
        sections
    }

    /// Reports the keys that are left: nobody knows them.
    pub fn end(self, reading: &mut Reading) {
        for key in self.table.keys() {
            let suggestion = match nearest(key.get_ref(), &self.known) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known are {}", self.known.join(", ")),
            };
            let place = if self.name.is_empty() { String::new() } else { format!(" in [{}]", self.name) };
            reading.mistake(reading.line(key.span()), format!("unknown key `{}`{place}: {suggestion}", key.get_ref()));
        }
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.into() } else { format!("{}.{key}", self.name) }
    }
}

/// What a value is, for people.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Reads a string and hands it to `parse`.
pub(super) fn text<T>(
    parse: impl Fn(&str) -> Result<T, String>,
) -> impl for<'a, 't> Fn(&'a DeValue<'t>) -> Result<T, String> {
    move |value| match value {
        DeValue::String(text) => parse(text),
        other => Err(format!("must be a string in quotes, not {}", kind(other))),
    }
}

/// Reads one of a few words.
pub(super) fn word<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl for<'a, 't> Fn(&'a DeValue<'t>) -> Result<T, String> {
    text(move |written| {
        let found = words.iter().find(|(word, _)| *word == written);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let all: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            format!("`{written}` must be one of {}", all.join(", "))
        })
    })
}

/// Reads a number within `range`.
pub(super) fn number(
    range: std::ops::RangeInclusive<u64>,
) -> impl for<'a, 't> Fn(&'a DeValue<'t>) -> Result<u64, String> {
    move |value| match value {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("{number} must be between {} and {}", range.start(), range.end())),
        other => Err(format!("must be a number, not {}", kind(other))),
    }
}

/// Reads true or false.
pub(super) fn truth(value: &DeValue<'_>) -> Result<bool, String> {
    match value {
        DeValue::Boolean(truth) => Ok(*truth),
        other => Err(format!("must be true or false, not {}", kind(other))),
    }
}

fn array<'t>(value: &DeValue<'t>) -> Result<DeArray<'t>, String> {
    match value {
        DeValue::Array(array) => Ok(array.clone()),
        other => Err(format!("must be a list in brackets, not {}", kind(other))),
    }
}

/// That nothing of a kind has the name that is written, and what to write instead.
pub(super) fn unknown(kind: &str, written: &str, known: &[&str]) -> String {
    const SHOWN_MAX: usize = 20;
    let instead = match nearest(written, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "there is none".into(),
        None => format!(
            "there are {}{}",
            known[..known.len().min(SHOWN_MAX)].join(", "),
            if known.len() > SHOWN_MAX { ", …" } else { "" }
        ),
    };
    format!("there is no {kind} named `{written}`: {instead}")
}

/// The known word that is at most a third of its letters away from `written`.
pub fn nearest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    let best = known.iter().map(|word| (distance(written, word), *word)).min()?;
    (best.0 <= best.1.len().div_ceil(3)).then_some(best.1)
}

/// Letters to insert, remove or replace to make `from` into `to` (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_word_is_suggested_only_when_it_is_near() {
        let known = ["hostname", "data_dir", "shards"];
        assert_eq!(nearest("hostnam", &known), Some("hostname"));
        assert_eq!(nearest("host_name", &known), Some("hostname"));
        assert_eq!(nearest("datadir", &known), Some("data_dir"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
