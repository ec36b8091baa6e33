//! The parts of a message (RFC 2045, 2046): what a header says of its body, and where the parts of a body begin and end.

use super::scan::{Field, fields};

/// Parts within parts that are looked into; deeper ones are taken as they are.
pub(super) const DEPTH_MAX: usize = 20;

/// What a body is, to whoever looks into it.
pub(super) enum Body<'a> {
    /// Parts between lines of this boundary.
    Multipart(Vec<u8>),
    /// A message.
    Message,
    /// Octets in this encoding.
    Leaf(&'a [u8]),
}

/// A header, and what it says of its body.
pub(super) struct Entity<'a> {
    pub header: Vec<Field<'a>>,
    pub body_start: usize,
    /// Content-Transfer-Encoding.
    pub encoding: &'a [u8],
    /// Content-Type.
    pub kind: Option<&'a [u8]>,
    /// There is a MIME-Version.
    pub has_version: bool,
}

impl<'a> Entity<'a> {
    /// Of a message, or a part of one.
    pub fn read(content: &'a [u8]) -> Self {
        let header: Vec<Field<'a>> = fields(content).collect();
        let end = header.last().map_or(0, |field| field.end);
        let body_start = if content[end..].starts_with(b"\r\n") { end + 2 } else { end };
        let value = |name| header.iter().find(|field| field.is(name)).map(|field| field.value.trim_ascii());
        let encoding = value("Content-Transfer-Encoding").unwrap_or(b"7bit");
        let (kind, has_version) = (value("Content-Type"), value("MIME-Version").is_some());
        Self { header, body_start, encoding, kind, has_version }
    }

    /// What the header says of the body.
    pub fn body(&self) -> Body<'a> {
        let Some(kind) = self.kind else { return Body::Leaf(self.encoding) };
        let media = self.media_type();
        match (media.starts_with(b"multipart/"), boundary(kind)) {
            (true, Some(boundary)) => Body::Multipart(boundary),
            _ if media == b"message/rfc822" || media == b"message/global" => Body::Message,
            _ => Body::Leaf(self.encoding),
        }
    }

    /// The media type, in lower case; empty where none is said.
    pub fn media_type(&self) -> Vec<u8> {
        let kind = self.kind.unwrap_or_default();
        kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase()
    }
}

/// Whether a field of the message, or of one of its parts, holds octets outside ASCII, so that only hosts with SMTPUTF8
/// can take it (RFC 6531 §3.4, RFC 6532 §3.2). Messages within are body, whatever their own fields hold.
pub fn has_international_header(content: &[u8]) -> bool {
    is_international(content, 0)
}

fn is_international(content: &[u8], depth: usize) -> bool {
    let entity = Entity::read(content);
    let (header, body) = content.split_at(entity.body_start);
    if !header.is_ascii() {
        return true;
    }
    if body.is_ascii() || depth > DEPTH_MAX {
        return false;
    }
    let Body::Multipart(boundary) = entity.body() else { return false };
    Pieces::of(body, boundary).any(|piece| matches!(piece, Piece::Part(part) if is_international(part, depth + 1)))
}

/// A stretch of a multipart body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A part: its header and its body.
    Part(&'a [u8]),
    /// A delimiter, with the line end before it that belongs to it (RFC 2046 §5.1.1).
    Delimiter(&'a [u8]),
    /// A line before the first part or after the last one, which nobody shows.
    Remark(&'a [u8]),
}

/// All stretches of a multipart body, in order; together they are the body.
pub(super) struct Pieces<'a> {
    body: &'a [u8],
    boundary: Vec<u8>,
    at: usize,
    /// Where the part begins that is not yet at its end.
    part: Option<usize>,
    /// What comes after a part that was given.
    delimiter: Option<&'a [u8]>,
}

impl<'a> Pieces<'a> {
    pub fn of(body: &'a [u8], boundary: Vec<u8>) -> Self {
        Self { body, boundary, at: 0, part: None, delimiter: None }
    }

    /// Whether a line is a delimiter; then, whether parts follow it.
    fn parts_follow(&self, line: &[u8]) -> Option<bool> {
        match line.trim_ascii_end().strip_prefix(b"--")?.strip_prefix(&self.boundary[..])? {
            b"" => Some(true),
            b"--" => Some(false),
            _ => None,
        }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if let Some(delimiter) = self.delimiter.take() {
            return Some(Piece::Delimiter(delimiter));
        }
        let body = self.body;
        while self.at < body.len() {
            let at = self.at;
            let end = memchr::memchr(b'\n', &body[at..]).map_or(body.len(), |line_end| at + line_end + 1);
            self.at = end;
            if let Some(parts_follow) = self.parts_follow(&body[at..end]) {
                let ended = std::mem::replace(&mut self.part, parts_follow.then_some(end));
                let Some(start) = ended else { return Some(Piece::Delimiter(&body[at..end])) };
                let part_end = at.saturating_sub(2).max(start);
                self.delimiter = Some(&body[part_end..end]);
                return Some(Piece::Part(&body[start..part_end]));
            }
            if self.part.is_none() {
                return Some(Piece::Remark(&body[at..end]));
            }
        }
        self.part.take().map(|start| Piece::Part(&body[start..]))
    }
}

/// The boundary parameter of a Content-Type (RFC 2046 §5.1.1).
fn boundary(kind: &[u8]) -> Option<Vec<u8>> {
    const NAME: &[u8] = b"boundary";
    let mut rest = &kind[memchr::memchr(b';', kind)? + 1..];
    loop {
        rest = rest.trim_ascii_start();
        let name_end = rest.iter().position(|byte| matches!(byte, b'=' | b';'))?;
        let is_boundary = rest[..name_end].trim_ascii_end().eq_ignore_ascii_case(NAME);
        let (value, after) = match rest[name_end] {
            b';' => (Vec::new(), &rest[name_end..]),
            _ => parameter_value(rest[name_end + 1..].trim_ascii_start()),
        };
        if is_boundary && !value.is_empty() {
            return Some(value);
        }
        rest = &after[memchr::memchr(b';', after)? + 1..];
    }
}

/// A token or a quoted string, and what follows it.
fn parameter_value(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|byte| *byte == b';' || byte.is_ascii_whitespace()).unwrap_or(text.len());
        return (text[..end].to_vec(), &text[end..]);
    };
    let mut value = Vec::new();
    let mut at = 0;
    while let Some(byte) = quoted.get(at) {
        match byte {
            b'"' => return (value, &quoted[at + 1..]),
            b'\\' => {
                value.extend(quoted.get(at + 1));
                at += 2;
            }
            _ => {
                value.push(*byte);
                at += 1;
            }
        }
    }
    (value, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_multipart_body_is_cut_at_its_delimiters() {
        let body = b"before\r\n--b\r\none\r\n--b \r\n--bc\r\n\r\n--b--\r\nafter";
        let pieces: Vec<_> = Pieces::of(body, b"b".to_vec()).collect();
        assert_eq!(
            pieces,
            [
                Piece::Remark(b"before\r\n"),
                Piece::Delimiter(b"--b\r\n"),
                Piece::Part(b"one"),
                Piece::Delimiter(b"\r\n--b \r\n"),
                Piece::Part(b"--bc\r\n"),
                Piece::Delimiter(b"\r\n--b--\r\n"),
                Piece::Remark(b"after"),
            ]
        );
        let open: Vec<_> = Pieces::of(b"--b\r\nno end\r\n", b"b".to_vec()).collect();
        assert_eq!(open, [Piece::Delimiter(b"--b\r\n"), Piece::Part(b"no end\r\n")]);
    }

    #[test]
    fn a_header_is_international_by_its_fields_and_those_of_its_parts() {
        let parts = |field: &str| {
            format!(
                "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n\
                 --i\r\nContent-Type: text/plain; charset=utf-8\r\n{field}\r\n\r\nGr\u{fc}\u{df}e\r\n--i--\r\n--o--\r\n"
            )
        };
        for (content, is_international) in [
            ("Subject: x\r\n\r\nGr\u{fc}\u{df}e\r\n".to_owned(), false),
            ("Subject: Gr\u{fc}\u{df}e\r\n\r\nbody\r\n".to_owned(), true),
            ("Subject:\r\n Gr\u{fc}\u{df}e\r\n\r\nbody\r\n".to_owned(), true),
            (parts("Content-Description: x"), false),
            (parts("Content-Disposition: attachment; filename=\"\u{fc}.txt\""), true),
            ("Content-Type: message/rfc822\r\n\r\nSubject: \u{fc}\r\n\r\nbody\r\n".to_owned(), false),
        ] {
            assert_eq!(has_international_header(content.as_bytes()), is_international, "{content}");
        }
    }
}
