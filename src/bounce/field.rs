//! One header-like field as it may stand in a notice: clean, folded, and without a line that is too long.

use base64::Engine as _;

/// Lines are folded at white space to stay within this (RFC 5322 §2.1.1).
const LINE_BYTES_WANTED: usize = 78;
/// No line is longer (RFC 5322 §2.1.1); a longer word is cut.
pub(super) const LINE_BYTES_MAX: usize = 998;
/// Octets of text in one encoded word: 48 of base64, so that every word fits its 75 (RFC 2047 §2).
const ENCODED_WORD_BYTES: usize = 36;

/// Which characters may stand in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    /// Printable ASCII; other characters become encoded words (RFC 2047).
    Ascii,
    /// UTF-8 (RFC 6532).
    Utf8,
}

/// Writes `name: value`, folded. Control characters, also line ends, become spaces: whoever wrote the value cannot begin
/// a line with it.
pub(super) fn put(out: &mut String, name: &str, value: &str, charset: Charset) {
    let clean = clean(value);
    let mut line = format!("{name}:");
    for word in clean.split(' ').filter(|word| !word.is_empty()) {
        if charset == Charset::Utf8 || word.is_ascii() {
            put_word(out, &mut line, word);
        } else {
            for piece in pieces(word, ENCODED_WORD_BYTES) {
                let encoded = base64::engine::general_purpose::STANDARD.encode(piece);
                put_word(out, &mut line, &format!("=?utf-8?B?{encoded}?="));
            }
        }
    }
    out.push_str(&line);
    out.push_str("\r\n");
}

/// Adds a word to `line`, beginning a continuation line in `out` where it would become too long.
fn put_word(out: &mut String, line: &mut String, word: &str) {
    for piece in pieces(word, LINE_BYTES_MAX - LINE_BYTES_WANTED) {
        let is_first = line.ends_with(':');
        if !is_first && line.len() + 1 + piece.len() > LINE_BYTES_WANTED {
            out.push_str(line);
            out.push_str("\r\n");
            line.clear();
        }
        line.push(' ');
        line.push_str(piece);
    }
}

/// `text` without control characters: each becomes a space.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c }).collect()
}

/// `text` in pieces of at most `bytes_max` octets (at least one character each).
pub(super) fn pieces(text: &str, bytes_max: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = rest.floor_char_boundary(bytes_max);
        if end == 0 {
            end = rest.chars().next().map_or(rest.len(), char::len_utf8);
        }
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

/// Decodes xtext (RFC 3461 §4): `+HH` is an octet. One that is not printable ASCII is replaced by `?`.
pub fn decode_xtext(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let escaped = (c == '+').then(|| rest.get(1..3)).flatten();
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(octet) => {
                decoded.push(if (b' '..=b'~').contains(&octet) { char::from(octet) } else { '?' });
                rest = &rest[3..];
            }
            None => {
                decoded.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    decoded
}

/// Decodes `utf-8-addr-xtext` (RFC 6533 §3): `\x{HEX}` is a character; anything else is itself. A control character stays
/// as it is written.
pub(super) fn decode_unicode(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\x{") {
        let (before, escaped) = rest.split_at(at);
        decoded.push_str(before);
        let found = escaped[3..].split_once('}').and_then(|(hex, after)| {
            let c = char::from_u32(u32::from_str_radix(hex, 16).ok()?)?;
            (!c.is_control()).then_some((c, after))
        });
        match found {
            Some((c, after)) => {
                decoded.push(c);
                rest = after;
            }
            None => {
                decoded.push_str(&escaped[..3]);
                rest = &escaped[3..];
            }
        }
    }
    decoded + rest
}

/// An address as `utf-8-addr-xtext` (RFC 6533 §3): ASCII, other characters as `\x{HEX}`.
pub(super) fn address_in_ascii(address: &str) -> String {
    let mut ascii = String::with_capacity(address.len());
    for c in address.chars() {
        if c.is_ascii_graphic() && !matches!(c, '\\' | '+' | '=') {
            ascii.push(c);
        } else {
            ascii.push_str(&format!("\\x{{{:X}}}", u32::from(c)));
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(value: &str, charset: Charset) -> String {
        let mut out = String::new();
        put(&mut out, "Name", value, charset);
        out
    }

    #[test]
    fn nothing_in_a_value_begins_a_line() {
        let out = field("a\r\nBcc: everyone@example.org\n\n\u{2028}x\u{0}", Charset::Utf8);
        assert_eq!(out, "Name: a Bcc: everyone@example.org x\r\n");
    }

    #[test]
    fn long_values_are_folded_and_no_line_is_too_long() {
        let out = field(&"word ".repeat(100), Charset::Ascii);
        assert!(
            out.lines().all(|line| line.len() <= LINE_BYTES_WANTED) && out.lines().skip(1).all(|l| l.starts_with(' '))
        );
        let out = field(&"x".repeat(5_000), Charset::Ascii);
        assert!(out.lines().count() > 5 && out.lines().all(|line| line.len() <= LINE_BYTES_MAX));
        assert_eq!(out.matches('x').count(), 5_000);
    }

    #[test]
    fn other_letters_are_encoded_where_only_ascii_may_stand() {
        assert_eq!(field("550 скринька", Charset::Ascii), "Name: 550 =?utf-8?B?0YHQutGA0LjQvdGM0LrQsA==?=\r\n");
        assert_eq!(field("550 скринька", Charset::Utf8), "Name: 550 скринька\r\n");
        assert!(field(&"щ".repeat(2_000), Charset::Ascii).lines().all(|line| line.is_ascii() && line.len() <= 78));
    }

    #[test]
    fn xtext_is_decoded_and_stays_printable() {
        assert_eq!(decode_xtext("a+2Bb+3Dc"), "a+b=c");
        assert_eq!(decode_xtext("a+0D+0Ab"), "a??b");
        assert_eq!(decode_xtext("a+2"), "a+2");
        assert_eq!(decode_xtext("a+zz"), "a+zz");
        assert_eq!(decode_xtext("a+Щ"), "a+Щ");
    }

    #[test]
    fn characters_of_other_scripts_are_decoded() {
        assert_eq!(decode_unicode(r"\x{442}\x{43A}+x@x"), "тк+x@x");
        assert_eq!(decode_unicode(r"a\x{D800}\x{A}\x{}\x{"), r"a\x{D800}\x{A}\x{}\x{");
        assert_eq!(decode_unicode(&address_in_ascii("о+я=\\@пошта")), "о+я=\\@пошта");
    }

    #[test]
    fn addresses_have_an_ascii_form() {
        assert_eq!(address_in_ascii("jo@example.org"), "jo@example.org");
        assert_eq!(address_in_ascii("тк@x"), "\\x{442}\\x{43A}@x");
    }
}
