//! Finds the codes and the words in what a server is reported to have said.
//!
//! Next to plain replies (`550 5.1.1 User unknown`) these are understood: the form of a DSN's Diagnostic-Code field
//! (`smtp; 550 …`), a relay's story (`host mx.example[192.0.2.1] said: 550 … (in reply to RCPT TO command)`), several lines
//! joined to one with their codes repeated, and codes in quotes, brackets or behind `#`.

use std::net::IpAddr;

use crate::smtp::reply::{EnhancedCode, Reply};

/// Bytes of a text that are looked at: the reason stands at the beginning, and classifying stays cheap whatever a peer
/// sends.
pub(super) const TEXT_BYTES_MAX: usize = 2048;

/// Codes that are believed in the middle of a sentence, where any number may stand.
const KNOWN_CODES: &[u16] = &[
    211, 214, 220, 221, 235, 250, 251, 252, 354, 421, 432, 450, 451, 452, 454, 455, 471, 500, 501, 502, 503, 504, 510,
    511, 512, 513, 515, 521, 523, 525, 530, 534, 535, 538, 541, 542, 550, 551, 552, 553, 554, 555, 556, 557, 571,
];

/// Words after which a number is a reply's code.
const INTRODUCTIONS: &[&str] = &["said", "replied", "response", "reply", "error", "code", "server", "returned"];

/// What was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said<'a> {
    /// The basic code.
    pub code: Option<u16>,
    /// The enhanced code, of the same class as the basic one.
    pub status: Option<EnhancedCode>,
    /// The words, codes among them.
    pub text: &'a str,
}

impl<'a> Said<'a> {
    /// What a server's reply says; an enhanced code that stands somewhere in the text, as qmail's do, counts.
    pub fn of_reply(reply: &'a Reply) -> Said<'a> {
        let text = bounded(&reply.text);
        let class = (reply.code / 100) as u8;
        let status = reply.enhanced.or_else(|| statuses(text).find(|status| status.0 == class));
        Said { code: Some(reply.code), status, text }
    }

    /// What a text says that may be more than a reply.
    pub fn of_text(text: &'a str) -> Said<'a> {
        let text = reply_within(bounded(text));
        let chunks: Vec<Chunk<'a>> = chunks(text).collect();
        let found = leading_code(&chunks).or_else(|| inner_code(&chunks));
        let Some(at) = found else {
            return Said { code: None, status: chunks.iter().find_map(Chunk::status), text };
        };
        let code = chunks[at].code();
        let agrees = |status: &EnhancedCode| code.is_some_and(|code| u16::from(status.0) == code / 100);
        let beside = chunks.get(at + 1).and_then(Chunk::status).filter(agrees);
        let status = beside.or_else(|| chunks.iter().filter_map(Chunk::status).find(agrees));
        Said { code, status, text }
    }
}

fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

/// The part of a relay's story that is the reply it got, if it quotes one.
fn reply_within(text: &str) -> &str {
    let quoted = text.match_indices("said: ").map(|(at, words)| &text[at + words.len()..]);
    quoted.into_iter().find(|rest| chunks(rest).next().is_some_and(|chunk| chunk.code().is_some())).unwrap_or(text)
}

/// A piece of text without white space, `;` or the hyphen after a code.
#[derive(Clone, Copy)]
struct Chunk<'a> {
    text: &'a str,
    /// Whether it is the kind of what follows (RFC 3464 §2.3.6): `smtp;`, `X-Postfix;`.
    is_kind: bool,
    /// Whether it stands after a bracket or a quotation mark.
    is_opened: bool,
}

impl Chunk<'_> {
    /// The basic code that it is.
    fn code(&self) -> Option<u16> {
        let digits = self.text.as_bytes();
        let is_code = digits.len() == 3 && (b'2'..=b'5').contains(&digits[0]) && digits.iter().all(u8::is_ascii_digit);
        if is_code && !self.is_kind { self.text.parse().ok() } else { None }
    }

    /// The enhanced code that it is.
    fn status(&self) -> Option<EnhancedCode> {
        let mut parts = self.text.split('.');
        let class = match parts.next()? {
            "2" => 2,
            "4" => 4,
            "5" => 5,
            _ => return None,
        };
        let mut figure = || {
            parts
                .next()
                .filter(|digits| matches!(digits.len(), 1..=3) && digits.bytes().all(|digit| digit.is_ascii_digit()))
        };
        let (subject, detail) = (figure()?.parse().ok()?, figure()?.parse().ok()?);
        let whole = parts.next().is_none() && subject <= 7;
        whole.then_some(EnhancedCode(class, subject, detail))
    }
}

/// A text's chunks, brackets, quotation marks and punctuation around them taken off.
fn chunks(text: &str) -> impl Iterator<Item = Chunk<'_>> {
    text.split_inclusive(|c: char| c.is_whitespace() || c == ';').flat_map(|piece| {
        let is_kind = is_kind(piece);
        let piece = piece.trim_end_matches(|c: char| c.is_whitespace() || c == ';');
        let (head, tail) = match piece.split_once('-') {
            Some((head, tail)) if bare(head).len() == 3 && bare(head).bytes().all(|byte| byte.is_ascii_digit()) => {
                (head, Some(tail))
            }
            _ => (piece, None),
        };
        let chunk = move |piece| Chunk { text: bare(piece), is_kind, is_opened: piece.starts_with(OPENING) };
        [Some(head), tail].into_iter().flatten().map(chunk).filter(|chunk| !chunk.text.is_empty())
    })
}

/// Whether a text begins as a Diagnostic-Code does: with its kind.
pub(super) fn names_its_kind(text: &str) -> bool {
    text.trim_start().split_inclusive(';').next().is_some_and(is_kind)
}

fn is_kind(piece: &str) -> bool {
    let Some(name) = piece.strip_suffix(';') else { return false };
    name.eq_ignore_ascii_case("smtp") || name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"))
}

const OPENING: [char; 7] = ['(', '[', '<', '{', '\'', '"', '#'];

fn bare(piece: &str) -> &str {
    piece.trim_matches(|c: char| c.is_ascii_punctuation())
}

/// Where the code stands that the text begins with, behind a kind and an enhanced code.
fn leading_code(chunks: &[Chunk<'_>]) -> Option<usize> {
    let at = chunks.iter().position(|chunk| !chunk.is_kind && chunk.status().is_none())?;
    // A local program's exit status is no code of a reply.
    let is_exit = at > 0 && chunks[at - 1].is_kind && chunks[at - 1].text.eq_ignore_ascii_case("x-unix");
    chunks[at].code().filter(|code| !is_exit && (*code >= 400 || KNOWN_CODES.contains(code))).map(|_| at)
}

/// Where a code stands within a sentence that can be nothing else.
fn inner_code(chunks: &[Chunk<'_>]) -> Option<usize> {
    chunks.iter().enumerate().position(|(at, chunk)| {
        let Some(code) = chunk.code().filter(|code| KNOWN_CODES.contains(code)) else { return false };
        let before = at.checked_sub(1).map(|before| &chunks[before]);
        let introduced = before.is_some_and(|before| {
            before.is_kind || INTRODUCTIONS.iter().any(|word| before.text.eq_ignore_ascii_case(word))
        });
        let status = chunks.get(at + 1).and_then(Chunk::status);
        introduced || chunk.is_opened || status.is_some_and(|status| u16::from(status.0) == code / 100)
    })
}

/// All enhanced codes of a text.
fn statuses(text: &str) -> impl Iterator<Item = EnhancedCode> {
    chunks(text).filter_map(|chunk| chunk.status())
}

/// The text as words: lower case, one space between, before and after them; without codes, which are repeated in every
/// line of a reply, and without mailboxes and queries of links, which say nothing about the reply.
pub(super) fn words(said: &Said<'_>) -> String {
    let mut words = String::with_capacity(said.text.len() + 2);
    words.push(' ');
    for piece in said.text.split_inclusive(|c: char| c.is_whitespace() || c == ';').map(str::trim) {
        if is_kind(piece) || is_repeated_code(piece, said) {
            continue;
        }
        for part in without_mailbox(without_query(piece)) {
            push_words(&mut words, part);
        }
    }
    words
}

/// Whether there is a word at all.
pub(super) fn tells_anything(said: &Said<'_>) -> bool {
    words(said) != " "
}

/// Whether a piece is the reply's code, its enhanced code, or both.
fn is_repeated_code(piece: &str, said: &Said<'_>) -> bool {
    let mut chunks = chunks(piece).peekable();
    chunks.peek().is_some()
        && chunks.all(|chunk| {
            chunk.code().is_some_and(|code| Some(code) == said.code)
                || chunk.status().is_some_and(|status| Some(status) == said.status)
        })
}

/// A link without its query, which says the same about every reply.
fn without_query(piece: &str) -> &str {
    let Some(link) = piece.find("://") else { return piece };
    piece[link..].find('?').map_or(piece, |query| &piece[..link + query])
}

/// What stands before and after a mailbox.
fn without_mailbox(piece: &str) -> [&str; 2] {
    let Some(at) = piece.find('@') else { return [piece, ""] };
    let outside = |c: char| "<>()[]\",;:".contains(c);
    let start = piece[..at].rfind(outside).map_or(0, |start| start + 1);
    let end = piece[at..].find(outside).map_or(piece.len(), |end| at + end);
    [&piece[..start], &piece[end..]]
}

/// Appends the words of `text`, each with a space after it. Apostrophes vanish, whichever are used.
pub(super) fn push_words(words: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_alphanumeric() {
            words.extend(c.to_lowercase());
        } else if !matches!(c, '\'' | '\u{2019}' | '`') && !words.ends_with(' ') {
            words.push(' ');
        }
    }
    if !words.ends_with(' ') {
        words.push(' ');
    }
}

/// Whether a text names `address`; any address at all where none is given.
pub fn names_address(text: &str, address: Option<IpAddr>) -> bool {
    let mut candidates = text.split(|c: char| !(c.is_ascii_hexdigit() || c == '.' || c == ':'));
    candidates.any(|candidate| {
        let candidate = candidate.trim_matches('.').trim_end_matches(':');
        // `192.0.2.1:25` is an address too.
        let parsed = candidate.parse().ok().or_else(|| candidate.rsplit_once(':')?.0.parse().ok());
        parsed.is_some_and(|named: IpAddr| address.is_none_or(|address| named == address))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Code and status.
    fn codes(text: &str) -> (Option<u16>, Option<String>) {
        let said = Said::of_text(text);
        (said.code, said.status.map(|status| status.to_string()))
    }

    #[test]
    fn codes_are_found_where_servers_put_them() {
        let cases = [
            ("550 5.1.1 no", Some(550), Some("5.1.1")),
            ("550-5.1.1 no\r\n550 5.1.1 way", Some(550), Some("5.1.1")),
            ("550-no 550 5.1.1 way", Some(550), Some("5.1.1")),
            ("550", Some(550), None),
            ("550 #5.1.0 Address", Some(550), Some("5.1.0")),
            ("550 Nobody here (#5.1.1)", Some(550), Some("5.1.1")),
            ("smtp; 550 5.1.1 no", Some(550), Some("5.1.1")),
            ("smtp;550 5.1.1 no", Some(550), Some("5.1.1")),
            ("550 5.1.1 smtp; 550 5.1.1 no", Some(550), Some("5.1.1")),
            ("5.1.1 smtp; 550 5.1.1 no", Some(550), Some("5.1.1")),
            ("host mx.test[192.0.2.1] said: 452 4.2.2 full (in reply to RCPT TO command)", Some(452), Some("4.2.2")),
            ("554 5.0.0 host mx.test said: 550-'5.2.2 <a@b.test> full'", Some(550), Some("5.2.2")),
            ("smtp; 5.1.0 - Unknown address error 550-'5.2.2 <a@b.test>... full'", Some(550), Some("5.2.2")),
            ("remote server answered <421 4.4.2 time is up>", Some(421), Some("4.4.2")),
            // An enhanced code that contradicts the basic code is not believed; another may be.
            ("554 4.4.7 expired", Some(554), None),
            ("550-4.2.1 one 550 5.2.1 two", Some(550), Some("5.2.1")),
            // Numbers that are no codes.
            ("tried for 550 minutes", None, None),
            ("status 4.4.1, not connected", None, Some("4.4.1")),
            ("version 5.10.2 of 192.5.1.1", None, None),
            ("", None, None),
            ("smtp;", None, None),
        ];
        for (text, code, status) in cases {
            assert_eq!(codes(text), (code, status.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn words_are_what_is_left_without_codes_and_mailboxes() {
        let cases = [
            ("550-5.2.1 too much at a rate that 550-5.2.1 is high", " too much at a rate that is high "),
            ("550 5.1.1 <mailbox-full@b.test>: User_Unknown (nosuch@user.test)", " user unknown "),
            ("550 doesn't / doesn\u{2019}t; 421 4.4.2", " doesnt doesnt 421 4 4 2 "),
            ("550 caf\u{c9} \u{fffd}", " caf\u{e9} "),
            ("", " "),
        ];
        for (text, expected) in cases {
            assert_eq!(words(&Said::of_text(text)), expected, "{text}");
        }
    }

    #[test]
    fn addresses_are_recognised_in_any_surroundings() {
        let ours = "192.0.2.1".parse().ok();
        for text in ["blocked [192.0.2.1]", "ip=192.0.2.1.", "http://x.test/?ip=192.0.2.1#y", "192.0.2.1:49309 no"] {
            assert!(names_address(text, ours) && names_address(text, None), "{text}");
        }
        for text in ["blocked [192.0.2.11]", "version 1.2.3.4.5", "::", "a:b", "nothing"] {
            assert!(!names_address(text, ours), "{text}");
        }
        assert!(names_address("client [2001:db8:0::1] listed", "2001:db8::1".parse().ok()));
    }
}
