//! A message taken apart, as far as it matters here: what its header says, and the texts of its parts. What is returned of
//! the original is not looked into.

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{MessageParser, MimeHeaders};
use memchr::memmem;

use super::fields::Fields;

/// Levels of parts in parts.
pub const DEPTH_MAX: usize = 4;
/// Parts that are looked at.
pub const PARTS_MAX: usize = 30;

/// A part that says something.
pub(super) struct Part {
    /// Type and subtype, lower case.
    pub(super) media_type: Box<str>,
    /// Its content, decoded, lines ended by CRLF.
    pub(super) text: String,
}

/// A message.
pub(super) struct Letter {
    header: String,
    /// Its parts that say something, in order.
    pub(super) parts: Vec<Part>,
}

impl Letter {
    /// Takes a message apart.
    pub(super) fn read(content: &[u8]) -> Letter {
        let (header, _) = halves(content);
        let mut parts = Vec::new();
        collect(content, 0, &mut parts);
        Letter { header: String::from_utf8_lossy(header).into_owned(), parts }
    }

    /// The first part of that type.
    pub(super) fn part(&self, media_type: &str) -> Option<&Part> {
        self.parts.iter().find(|part| &*part.media_type == media_type)
    }

    /// The value of a field of the header, on one line, in lower case; empty if there is none.
    pub(super) fn field(&self, name: &str) -> String {
        Fields::of(&self.header).get(name).unwrap_or_default().to_lowercase()
    }

    /// The subject, decoded, in lower case.
    pub(super) fn subject(&self) -> String {
        let whole = format!("{}\r\n\r\n", self.header);
        let parsed = MessageParser::new().header_text("Subject").parse_headers(whole.as_bytes());
        parsed.as_ref().and_then(|parsed| parsed.subject()).unwrap_or_default().to_lowercase()
    }

    /// The texts for people.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter(|part| part.media_type.starts_with("text/")).map(|part| &*part.text)
    }
}

/// Header and body.
fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    if let Some(body) = bytes.strip_prefix(b"\r\n") {
        return (&[], body);
    }
    match memmem::find(bytes, b"\r\n\r\n") {
        Some(at) => (&bytes[..at + 2], &bytes[at + 4..]),
        None => (bytes, &[]),
    }
}

/// Collects what `bytes`, a message or a part with its header, says. Only headers go through the parser: what is nested
/// cannot cost more than [`DEPTH_MAX`] levels.
fn collect(bytes: &[u8], depth: usize, parts: &mut Vec<Part>) {
    if parts.len() >= PARTS_MAX {
        return;
    }
    let (header, body) = halves(bytes);
    let whole = [header, b"\r\n"].concat();
    let parsed = MessageParser::new().with_mime_headers().parse_headers(&whole);
    let content_type = parsed.as_ref().and_then(|parsed| parsed.content_type());
    let media_type = content_type.map_or_else(
        || "text/plain".to_owned(),
        |found| format!("{}/{}", found.ctype(), found.subtype().unwrap_or_default()).to_ascii_lowercase(),
    );
    if media_type.starts_with("multipart/") {
        let boundary = content_type.and_then(|found| found.attribute("boundary")).unwrap_or_default();
        if depth < DEPTH_MAX && !boundary.is_empty() {
            pieces(body, boundary).into_iter().for_each(|piece| collect(piece, depth + 1, parts));
        }
        return;
    }
    let says_something = media_type.starts_with("text/") && media_type != "text/rfc822-headers"
        || matches!(
            &*media_type,
            "message/delivery-status" | "message/global-delivery-status" | "message/feedback-report"
        );
    if says_something {
        let encoding = parsed.as_ref().and_then(|parsed| parsed.content_transfer_encoding()).unwrap_or_default();
        parts.push(Part { media_type: media_type.into(), text: decoded(body, encoding) });
    }
}

/// The parts between the lines of a boundary (RFC 2046 §5.1.1); the last line may be missing.
fn pieces<'a>(body: &'a [u8], boundary: &str) -> Vec<&'a [u8]> {
    let delimiter = format!("--{boundary}");
    let mut pieces = Vec::new();
    let mut begin: Option<usize> = None;
    for at in memmem::find_iter(body, delimiter.as_bytes()) {
        // At the start of a line; a delimiter's own line goes on to its CRLF, whatever stands in it.
        if at > 0 && body[at - 1] != b'\n' || begin.is_some_and(|begin| at < begin) {
            continue;
        }
        if let Some(begin) = begin {
            pieces.push(&body[begin..at]);
        }
        let behind = at + delimiter.len();
        let line_end = memmem::find(&body[behind..], b"\r\n").map(|end| behind + end + 2);
        begin = line_end.filter(|_| !body[behind..].starts_with(b"--"));
        if begin.is_none() || pieces.len() >= PARTS_MAX {
            return pieces;
        }
    }
    pieces.extend(begin.map(|begin| &body[begin..]));
    pieces
}

fn decoded(body: &[u8], encoding: &str) -> String {
    let bytes = match encoding.to_ascii_lowercase().as_str() {
        "base64" => base64_decode(body),
        "quoted-printable" => quoted_printable_decode(body),
        _ => None,
    };
    let text = String::from_utf8_lossy(bytes.as_deref().unwrap_or(body)).into_owned();
    text.replace("\r\n", "\n").replace('\n', "\r\n")
}
