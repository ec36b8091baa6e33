//! A logfmt line: `time=… level=… event=… key=value key="quoted value"`, written and read.
//!
//! Values hold what peers say. Whatever it is, a line stays one line with the keys that were put, and shows on a terminal
//! as what it is: control characters, line ends of any alphabet and marks that turn the direction are written as escapes.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// The bytes of a value that are shown; the rest is cut and marked with `…`.
pub const VALUE_BYTES_MAX: usize = 1024;

/// Writes one line's keys and values.
pub struct Line<'a> {
    out: &'a mut String,
}

impl<'a> Line<'a> {
    /// A line at the end of `out`.
    pub fn new(out: &'a mut String) -> Self {
        Self { out }
    }

    /// Adds `key=value`, quoted where the value needs it.
    pub fn put(&mut self, key: &'static str, value: impl fmt::Display) -> &mut Self {
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push(' ');
        }
        self.out.push_str(key);
        self.out.push('=');
        let start = self.out.len();
        let mut bounded = Bounded { out: self.out, left: VALUE_BYTES_MAX };
        if write!(bounded, "{value}").is_err() {
            self.out.push('…');
        }
        if self.out[start..].is_empty() || self.out[start..].chars().any(needs_quotes) {
            let plain = self.out.split_off(start);
            push_quoted(self.out, &plain);
        }
        self
    }

    /// Adds `key=value` where there is a value.
    pub fn put_some(&mut self, key: &'static str, value: Option<impl fmt::Display>) -> &mut Self {
        if let Some(value) = value {
            self.put(key, value);
        }
        self
    }

    /// Ends the line.
    pub fn end(&mut self) {
        self.out.push('\n');
    }
}

fn needs_quotes(c: char) -> bool {
    c <= ' ' || c == '"' || c == '=' || c == '\\' || misleads(c)
}

/// Controls, the line ends U+2028 and U+2029, and the marks that turn the direction of what is read.
fn misleads(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn push_quoted(out: &mut String, plain: &str) {
    out.push('"');
    for c in plain.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if misleads(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The keys and values of a line, as they were put.
pub fn fields(line: &str) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
    let mut rest = line.trim_end_matches('\n');
    std::iter::from_fn(move || {
        let (key, after) = rest.split_once('=')?;
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let (value, left) = after.split_at(after.find(' ').unwrap_or(after.len()));
                (value.into(), left)
            }
        };
        rest = left.strip_prefix(' ').unwrap_or(left);
        Some((key, value))
    })
}

/// What stood between quotes, and what follows them.
fn unquoted(text: &str) -> (Cow<'_, str>, &str) {
    let mut plain = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (plain.into(), &text[at + 1..]),
            '\\' => plain.extend(escaped(&mut chars.by_ref().map(|(_, c)| c))),
            c => plain.push(c),
        }
    }
    (plain.into(), "")
}

/// The character that is meant by what follows a backslash.
fn escaped(chars: &mut impl Iterator<Item = char>) -> Option<char> {
    match chars.next()? {
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'u' => {
            let digits: String = chars.take_while(|c| *c != '}').filter(|c| *c != '{').collect();
            char::from_u32(u32::from_str_radix(&digits, 16).ok()?)
        }
        c => Some(c),
    }
}

/// Takes as many whole characters as fit, then reports an error.
struct Bounded<'a> {
    out: &'a mut String,
    left: usize,
}

impl Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = text.floor_char_boundary(self.left);
        self.out.push_str(&text[..fits]);
        self.left -= fits;
        if fits < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(value: &str) -> String {
        let mut out = String::new();
        Line::new(&mut out).put("a", 1).put("b", value).end();
        out
    }

    #[test]
    fn values_are_quoted_only_where_needed() {
        assert_eq!(line("plain<x@y>"), "a=1 b=plain<x@y>\n");
        assert_eq!(line(""), "a=1 b=\"\"\n");
        assert_eq!(line("two words"), "a=1 b=\"two words\"\n");
        assert_eq!(line("say \"a=b\"\\"), "a=1 b=\"say \\\"a=b\\\"\\\\\"\n");
    }

    #[test]
    fn a_peer_cannot_forge_a_line_or_a_terminal_sequence() {
        assert_eq!(line("x\r\nevent=delivered\u{1b}[2J"), "a=1 b=\"x\\r\\nevent=delivered\\u{1b}[2J\"\n");
    }

    #[test]
    fn what_was_put_is_read_again() {
        let all: String = (0..0x3000).filter_map(char::from_u32).collect();
        let pieces = all.chars().collect::<Vec<_>>();
        for value in pieces.chunks(100).map(|piece| piece.iter().collect::<String>()) {
            let line = line(&value);
            assert!(!line[..line.len() - 1].contains(misleads), "{line:?}");
            assert_eq!(fields(&line).collect::<Vec<_>>(), [("a", "1".into()), ("b", Cow::from(&value))]);
        }
        for odd in ["", "a", "a=\"", "a=\"\\", "a=\"\\u{", "=", "a=\"\\u{110000}\"b"] {
            assert!(fields(odd).count() <= 1, "{odd}");
        }
    }

    #[test]
    fn a_value_is_bounded_at_a_character() {
        let long = line(&"é".repeat(VALUE_BYTES_MAX));
        assert!(long.ends_with("é…\n") && long.len() <= VALUE_BYTES_MAX + 16, "{} bytes", long.len());
    }
}
