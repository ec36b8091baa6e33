//! Replies as real servers send them: bytes in, [`Reply`]s out.
//!
//! Owns: the bytes of at most one unfinished reply.
//! Never: judges what a reply means for a command (the client session does), or what a refusal means for a recipient
//! (`bounce` does).
//! RFC: 5321 §4.2 (replies), 2034 and 3463 (enhanced codes). More is taken than the RFC allows, as the field does: bare
//! LF ends a line, text may be missing, codes may differ between lines (the last counts, as in most clients), enhanced
//! codes may be repeated, missing or contradictory on any line.
//! Limits: [`REPLY_BYTES_MAX`], [`REPLY_LINES_MAX`]; [`TEXT_BYTES_MAX`] of the text are kept.

use memchr::memchr;

use super::reply::{EnhancedCode, Reply};

/// Bytes of one reply, line ends included; a longer one is an error.
pub const REPLY_BYTES_MAX: usize = 64 * 1024;
/// Lines of one reply; more are an error.
pub const REPLY_LINES_MAX: usize = 100;
/// Bytes of [`Reply::text`]; what is beyond is cut off, at the end of a character.
pub const TEXT_BYTES_MAX: usize = 4096;

/// Bytes of a strange line that an error shows.
const EXCERPT_BYTES: usize = 80;

/// What the peer sent is not a reply. The conversation cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReply {
    /// A line that does not begin with a code; its beginning is shown.
    #[error("the peer sent something that is not an SMTP reply: {0:?}")]
    Garbage(Box<str>),
    /// More than [`REPLY_LINES_MAX`] lines.
    #[error("the peer sent a reply of more than {REPLY_LINES_MAX} lines")]
    TooManyLines,
    /// More than [`REPLY_BYTES_MAX`] bytes.
    #[error("the peer sent a reply of more than {REPLY_BYTES_MAX} bytes")]
    TooLong,
}

/// Reads replies from a stream of bytes that may be cut anywhere.
///
/// Hand it bytes with [`receive`](Self::receive), then take replies with [`next_reply`](Self::next_reply) until there
/// is none: then it holds less than one reply.
#[derive(Debug, Default)]
pub struct ReplyReader {
    buffer: Vec<u8>,
    /// Where the unfinished reply begins in `buffer`.
    start: usize,
    /// The end of its last whole line.
    line: usize,
    /// Its whole lines.
    lines: usize,
}

impl ReplyReader {
    /// Takes bytes of the peer.
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.line -= self.start;
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole reply; `None` before more bytes have come.
    ///
    /// # Errors
    /// [`BadReply`], once and for all: what follows has no meaning.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, BadReply> {
        while let Some(end) = memchr(b'\n', &self.buffer[self.line..]).map(|at| self.line + at + 1) {
            let line = without_line_end(&self.buffer[self.line..end]);
            let Some(parsed) = Line::parse(line) else { return Err(BadReply::Garbage(excerpt(line))) };
            self.line = end;
            self.lines += 1;
            if end - self.start > REPLY_BYTES_MAX {
                return Err(BadReply::TooLong);
            }
            if parsed.last {
                let reply = compose(parsed.code, &self.buffer[self.start..end]);
                self.start = end;
                self.lines = 0;
                return Ok(Some(reply));
            }
            if self.lines == REPLY_LINES_MAX {
                return Err(BadReply::TooManyLines);
            }
        }
        if self.buffer.len() - self.start > REPLY_BYTES_MAX { Err(BadReply::TooLong) } else { Ok(None) }
    }

    /// Forgets what was received and not yet taken: what came before TLS must not be believed after it (RFC 3207 §4.2).
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// One line of a reply.
struct Line<'a> {
    code: u16,
    /// Whether it ends the reply.
    last: bool,
    text: &'a [u8],
}

impl<'a> Line<'a> {
    /// `None` if it does not begin with a code from 200 to 599 and a space, a hyphen or nothing.
    fn parse(line: &'a [u8]) -> Option<Self> {
        let (digits, rest) = line.split_at_checked(3)?;
        if !(b'2'..=b'5').contains(&digits[0]) || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
        let (last, text) = match rest.split_first() {
            None => (true, rest),
            Some((b' ', text)) => (true, text),
            Some((b'-', text)) => (false, text),
            Some(_) => return None,
        };
        Some(Self { code, last, text: text.trim_ascii() })
    }
}

/// Makes the reply of its whole lines; `code` is the last line's.
fn compose(code: u16, lines: &[u8]) -> Reply {
    let class = code / 100;
    let mut enhanced = None;
    let mut text = String::new();
    for (number, line) in lines.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let Some(line) = Line::parse(without_line_end(line)) else { continue };
        if number > 0 {
            text.push('\n');
        }
        push_readable(&mut text, without_enhanced_code(line.text, class, &mut enhanced));
        if text.len() > TEXT_BYTES_MAX {
            text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
            break;
        }
    }
    Reply { code, enhanced, text: text.into() }
}

/// Takes the enhanced code off a line's text if it is the reply's; the first one whose class agrees with the basic
/// code's is the reply's (RFC 2034 §4), any other stays in the text for people to see.
fn without_enhanced_code<'a>(text: &'a [u8], class: u16, enhanced: &mut Option<EnhancedCode>) -> &'a [u8] {
    match parse_enhanced_code(text) {
        Some((found, rest)) if u16::from(found.0) == class && enhanced.is_none_or(|known| known == found) => {
            *enhanced = Some(found);
            rest
        }
        _ => text,
    }
}

/// `class.subject.detail` at the beginning of `text`, and what follows it.
fn parse_enhanced_code(text: &[u8]) -> Option<(EnhancedCode, &[u8])> {
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    let mut parts = text[..end].split(|byte| *byte == b'.');
    let class = match parts.next()? {
        b"2" => 2,
        b"4" => 4,
        b"5" => 5,
        _ => return None,
    };
    let code = EnhancedCode(class, parse_subcode(parts.next()?)?, parse_subcode(parts.next()?)?);
    if parts.next().is_some() { None } else { Some((code, text[end..].trim_ascii_start())) }
}

/// One to three digits (RFC 3463 §2).
fn parse_subcode(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() || digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0')))
}

/// Appends what the peer wrote as text that is safe in logs and notices: valid UTF-8 without control characters.
fn push_readable(text: &mut String, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(TEXT_BYTES_MAX + 1)];
    text.extend(String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { ' ' } else { c }));
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let mut line = line.strip_suffix(b"\n").unwrap_or(line);
    while let Some(shorter) = line.strip_suffix(b"\r") {
        line = shorter;
    }
    line
}

fn excerpt(line: &[u8]) -> Box<str> {
    let mut text = String::new();
    push_readable(&mut text, &line[..line.len().min(EXCERPT_BYTES)]);
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Reply>, BadReply> {
        let mut reader = ReplyReader::default();
        reader.receive(bytes);
        drain(&mut reader)
    }

    fn drain(reader: &mut ReplyReader) -> Result<Vec<Reply>, BadReply> {
        let mut replies = Vec::new();
        while let Some(reply) = reader.next_reply()? {
            replies.push(reply);
        }
        Ok(replies)
    }

    fn reply(code: u16, enhanced: Option<(u8, u16, u16)>, text: &str) -> Reply {
        Reply { code, enhanced: enhanced.map(|(a, b, c)| EnhancedCode(a, b, c)), text: text.into() }
    }

    /// What a server sent, and what it means.
    type Case = (&'static [u8], u16, Option<(u8, u16, u16)>, &'static str);

    const CASES: &[Case] = &[
        (b"250 OK\r\n", 250, None, "OK"),
        (b"250 2.1.5 OK\r\n", 250, Some((2, 1, 5)), "OK"),
        (b"250\r\n", 250, None, ""),
        (b"250 \r\n", 250, None, ""),
        (b"250 2.0.0\r\n", 250, Some((2, 0, 0)), ""),
        // Line ends of lenient servers.
        (b"250 OK\n", 250, None, "OK"),
        (b"250-a\n250 b\r\n", 250, None, "a\nb"),
        (b"250 OK\r\r\n", 250, None, "OK"),
        // Several lines.
        (b"250-mx.example\r\n250-SIZE 100\r\n250 PIPELINING\r\n", 250, None, "mx.example\nSIZE 100\nPIPELINING"),
        (b"250-\r\n250 b\r\n", 250, None, "\nb"),
        // Enhanced codes: on every line, on the first only, on the last only.
        (b"550-5.7.1 one\r\n550-5.7.1 two\r\n550 5.7.1 three\r\n", 550, Some((5, 7, 1)), "one\ntwo\nthree"),
        (b"550-5.7.26 one\r\n550 two\r\n", 550, Some((5, 7, 26)), "one\ntwo"),
        (b"550-one\r\n550 5.7.1 two\r\n", 550, Some((5, 7, 1)), "one\ntwo"),
        // Two that agree with the basic code: the first is the reply's, the other stays.
        (b"550-5.1.1 one\r\n550 5.7.1 two\r\n", 550, Some((5, 1, 1)), "one\n5.7.1 two"),
        // One that contradicts the basic code stays in the text.
        (b"550 4.2.1 busy\r\n", 550, None, "4.2.1 busy"),
        (b"450 5.2.1 busy\r\n", 450, None, "5.2.1 busy"),
        (b"550-4.2.1 one\r\n550 5.2.1 two\r\n", 550, Some((5, 2, 1)), "4.2.1 one\ntwo"),
        (b"354 2.0.0 go\r\n", 354, None, "2.0.0 go"),
        // What only looks like an enhanced code.
        (b"250 5.1\r\n", 250, None, "5.1"),
        (b"550 5.1.1.1 x\r\n", 550, None, "5.1.1.1 x"),
        (b"550 5.1.1000 x\r\n", 550, None, "5.1.1000 x"),
        (b"550 5..1 x\r\n", 550, None, "5..1 x"),
        (b"550 5.0.910 x\r\n", 550, Some((5, 0, 910)), "x"),
        (b"220 3.1.1 x\r\n", 220, None, "3.1.1 x"),
        // Bytes that are not text.
        (b"550 caf\xc3\xa9\r\n", 550, None, "caf\u{e9}"),
        (b"550 caf\xe9 x\r\n", 550, None, "caf\u{fffd} x"),
        (b"550 a\0b\x1bc\rd\r\n", 550, None, "a b c d"),
        // Codes that differ: the last counts.
        (b"250-one\r\n550 5.1.1 two\r\n", 550, Some((5, 1, 1)), "one\ntwo"),
        (b"550-5.1.1 one\r\n250 two\r\n", 250, None, "5.1.1 one\ntwo"),
        (b"599 x\r\n", 599, None, "x"),
        (b"200 x\r\n", 200, None, "x"),
    ];

    #[test]
    fn replies_of_real_servers_are_understood() {
        for (bytes, code, enhanced, text) in CASES {
            let expected = reply(*code, *enhanced, text);
            assert_eq!(read(bytes), Ok(vec![expected]), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_reply_may_be_cut_at_every_byte() {
        for (bytes, code, enhanced, text) in CASES {
            for cut in 0..bytes.len() {
                let mut reader = ReplyReader::default();
                reader.receive(&bytes[..cut]);
                assert_eq!(drain(&mut reader), Ok(vec![]), "{} cut at {cut}", bytes.escape_ascii());
                reader.receive(&bytes[cut..]);
                assert_eq!(drain(&mut reader), Ok(vec![reply(*code, *enhanced, text)]));
            }
        }
    }

    #[test]
    fn replies_that_come_together_are_told_apart() {
        let all: Vec<u8> = CASES.iter().flat_map(|case| case.0).copied().collect();
        let expected: Vec<Reply> = CASES.iter().map(|case| reply(case.1, case.2, case.3)).collect();
        assert_eq!(read(&all).as_ref(), Ok(&expected));
        let mut reader = ReplyReader::default();
        let mut replies = Vec::new();
        for byte in all {
            reader.receive(&[byte]);
            replies.extend(drain(&mut reader).expect("the same replies, byte by byte"));
        }
        assert_eq!(replies, expected);
    }

    #[test]
    fn garbage_is_an_error_that_shows_it() {
        let cases: &[&[u8]] = &[
            b"\r\n",
            b"25\r\n",
            b"hello\r\n",
            b"150 x\r\n",
            b"650 x\r\n",
            b"2x0 x\r\n",
            b"250x\r\n",
            b"250\tx\r\n",
            b"SSH-2.0-OpenSSH\r\n",
            b"250-a\r\nb\r\n",
        ];
        for bytes in cases {
            assert!(matches!(read(bytes), Err(BadReply::Garbage(_))), "{}", bytes.escape_ascii());
        }
        assert_eq!(read(b"SSH-2.0\xff\r\n"), Err(BadReply::Garbage("SSH-2.0\u{fffd}".into())));
    }

    #[test]
    fn the_number_of_lines_is_bounded() {
        let lines = |count: usize| [b"250-x\r\n".repeat(count - 1), b"250 x\r\n".to_vec()].concat();
        assert_eq!(read(&lines(REPLY_LINES_MAX)).map(|replies| replies.len()), Ok(1));
        assert_eq!(read(&lines(REPLY_LINES_MAX + 1)), Err(BadReply::TooManyLines));
    }

    #[test]
    fn the_number_of_bytes_is_bounded_with_and_without_a_line_end() {
        let whole = |bytes: usize| [b"250 ".to_vec(), vec![b'x'; bytes - 6], b"\r\n".to_vec()].concat();
        assert_eq!(read(&whole(REPLY_BYTES_MAX)).map(|replies| replies.len()), Ok(1));
        assert_eq!(read(&whole(REPLY_BYTES_MAX + 1)), Err(BadReply::TooLong));
        assert_eq!(read(&[b'2'; REPLY_BYTES_MAX]), Ok(vec![]));
        assert_eq!(read(&[b'2'; REPLY_BYTES_MAX + 1]), Err(BadReply::TooLong));
    }

    #[test]
    fn the_text_is_cut_at_the_end_of_a_character() {
        let long = [b"250-a\r\n250 ".to_vec(), "\u{20ac}".repeat(3000).into_bytes(), b"\r\n".to_vec()].concat();
        let replies = read(&long).expect("a long reply");
        assert_eq!(replies[0].text.len(), 4094);
        assert!(replies[0].text.ends_with('\u{20ac}'));
    }

    #[test]
    fn what_came_before_tls_is_forgotten() {
        let mut reader = ReplyReader::default();
        reader.receive(b"220 go\r\n250-inject");
        assert_eq!(reader.next_reply(), Ok(Some(reply(220, None, "go"))));
        reader.clear();
        reader.receive(b"250 ok\r\n");
        assert_eq!(reader.next_reply(), Ok(Some(reply(250, None, "ok"))));
    }

    #[test]
    fn random_bytes_never_panic_and_never_pile_up() {
        let mut random = fastrand::Rng::with_seed(7);
        const ALPHABET: &[u8] = b"0123456789 -.\r\n\n25\xff\xc3x";
        for _ in 0..2_000 {
            let mut reader = ReplyReader::default();
            for _ in 0..20 {
                let bytes: Vec<u8> =
                    (0..random.usize(..40)).map(|_| ALPHABET[random.usize(..ALPHABET.len())]).collect();
                reader.receive(&bytes);
                if drain(&mut reader).is_err() {
                    break;
                }
                assert!(reader.buffer.len() - reader.start <= REPLY_BYTES_MAX);
            }
        }
    }
}
