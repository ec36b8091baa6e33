//! A message whose bodies are made 7-bit: for next hops without 8BITMIME (RFC 6152 §3).
//!
//! Bodies with eight-bit octets become quoted-printable (RFC 2045 §6.7), multipart and message bodies part by part, and
//! say so; everything else stays as it is, octet for octet. Header fields are not 8BITMIME's matter (RFC 6531 is for them).
//! A signature over such a body does not survive.

use std::borrow::Cow;

use super::scan::{Field, fields};

/// Parts within parts that are looked into; deeper ones stay as they are.
const DEPTH_MAX: usize = 20;

/// Characters of a line, without its end (RFC 2045 §6.7 (5)).
const LINE_MAX: usize = 76;

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// The message without eight-bit octets in its bodies; borrowed where it has none.
pub fn seven_bit(content: &[u8]) -> Cow<'_, [u8]> {
    if content.is_ascii() {
        return Cow::Borrowed(content);
    }
    let mut out = Vec::with_capacity(content.len() + content.len() / 4);
    push_entity(content, true, 0, &mut out);
    Cow::Owned(out)
}

/// What a body is, to whoever encodes it.
enum Body<'a> {
    /// Parts between lines of this boundary.
    Multipart(Vec<u8>),
    /// A message.
    Message,
    /// Octets in this encoding, in lower case.
    Leaf(&'a [u8]),
}

/// A header, and what it says of its body.
struct Entity<'a> {
    header: Vec<Field<'a>>,
    body_start: usize,
    encoding: &'a [u8],
    kind: Option<&'a [u8]>,
    has_version: bool,
}

impl<'a> Entity<'a> {
    fn read(content: &'a [u8]) -> Self {
        let header: Vec<Field<'a>> = fields(content).collect();
        let end = header.last().map_or(0, |field| field.end);
        let body_start = if content[end..].starts_with(b"\r\n") { end + 2 } else { end };
        let value = |name| header.iter().find(|field| field.is(name)).map(|field| field.value.trim_ascii());
        let encoding = value("Content-Transfer-Encoding").unwrap_or(b"7bit");
        let (kind, has_version) = (value("Content-Type"), value("MIME-Version").is_some());
        Self { header, body_start, encoding, kind, has_version }
    }

    fn body(&self) -> Body<'a> {
        let Some(kind) = self.kind else { return Body::Leaf(self.encoding) };
        let media = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        match (media.starts_with(b"multipart/"), boundary(kind)) {
            (true, Some(boundary)) => Body::Multipart(boundary),
            _ if media == b"message/rfc822" || media == b"message/global" => Body::Message,
            _ => Body::Leaf(self.encoding),
        }
    }

    /// Writes the header, with `encoding` for what it has.
    fn push_header(&self, content: &[u8], encoding: &[u8], out: &mut Vec<u8>) {
        let mut is_said = false;
        for field in &self.header {
            if !field.is("Content-Transfer-Encoding") {
                out.extend_from_slice(&content[field.start..field.end]);
            } else if !std::mem::replace(&mut is_said, true) {
                push_field(b"Content-Transfer-Encoding", encoding, out);
            }
        }
        if !is_said && encoding != b"7bit" {
            push_field(b"Content-Transfer-Encoding", encoding, out);
        }
        // The empty line, also where a header that was cut off has none.
        out.extend_from_slice(b"\r\n");
    }

    /// What a message must say so that anybody looks at its encoding (RFC 2045 §4 and §5.2, RFC 1428).
    fn push_missing(&self, body: &[u8], out: &mut Vec<u8>) {
        if !self.has_version {
            push_field(b"MIME-Version", b"1.0", out);
        }
        if self.kind.is_none() {
            let utf8 = std::str::from_utf8(body).is_ok();
            let kind: &[u8] = if utf8 { b"text/plain; charset=utf-8" } else { b"text/plain; charset=unknown-8bit" };
            push_field(b"Content-Type", kind, out);
        }
    }
}

fn push_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// Appends a message or a part. `is_message`: it has a header of its own, so that it must say that it is MIME.
fn push_entity(content: &[u8], is_message: bool, depth: usize, out: &mut Vec<u8>) {
    let entity = Entity::read(content);
    let body = &content[entity.body_start..];
    if body.is_ascii() || depth > DEPTH_MAX {
        return out.extend_from_slice(content);
    }
    if is_message {
        entity.push_missing(body, out);
    }
    match entity.body() {
        Body::Multipart(boundary) => {
            entity.push_header(content, b"7bit", out);
            push_parts(body, &boundary, depth, out);
        }
        Body::Message => {
            entity.push_header(content, b"7bit", out);
            push_entity(body, true, depth + 1, out);
        }
        Body::Leaf(encoding) if encoding.eq_ignore_ascii_case(b"base64") => {
            entity.push_header(content, b"base64", out);
            // What is no letter of base64 means nothing (RFC 2045 §6.8).
            out.extend(body.iter().filter(|byte| byte.is_ascii()));
        }
        Body::Leaf(encoding) => {
            let is_encoded = encoding.eq_ignore_ascii_case(b"quoted-printable");
            entity.push_header(content, b"quoted-printable", out);
            push_quoted_printable(body, is_encoded, out);
        }
    }
}

/// Appends the parts of a multipart body with what stands between them.
fn push_parts(body: &[u8], boundary: &[u8], depth: usize, out: &mut Vec<u8>) {
    let mut part: Option<usize> = None;
    let mut at = 0;
    while at < body.len() {
        let end = memchr::memchr(b'\n', &body[at..]).map_or(body.len(), |line_end| at + line_end + 1);
        let delimiter = body[at..end].trim_ascii_end().strip_prefix(b"--").and_then(|rest| rest.strip_prefix(boundary));
        if let Some(rest @ (b"" | b"--")) = delimiter {
            // The line end before a delimiter belongs to it (RFC 2046 §5.1.1).
            if let Some(start) = part {
                let part_end = at.saturating_sub(2).max(start);
                push_entity(&body[start..part_end], false, depth + 1, out);
                out.extend_from_slice(&body[part_end..at]);
            }
            out.extend_from_slice(&body[at..end]);
            part = rest.is_empty().then_some(end);
        } else if part.is_none() {
            push_remark(&body[at..end], out);
        }
        at = end;
    }
    if let Some(start) = part {
        push_entity(&body[start..], false, depth + 1, out);
    }
}

/// What stands before the first part and after the last one nobody shows.
fn push_remark(line: &[u8], out: &mut Vec<u8>) {
    out.extend(line.iter().map(|byte| if byte.is_ascii() { *byte } else { b'?' }));
}

/// Appends `body` as quoted-printable; where it `is_encoded`, only what is not ASCII is.
fn push_quoted_printable(body: &[u8], is_encoded: bool, out: &mut Vec<u8>) {
    let mut column = 0;
    let mut at = 0;
    while at < body.len() {
        let rest = &body[at..];
        if rest.starts_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
            (column, at) = (0, at + 2);
            continue;
        }
        let byte = rest[0];
        let is_last = rest.len() == 1 || rest[1..].starts_with(b"\r\n");
        let is_plain = match byte {
            b' ' | b'\t' => is_encoded || !is_last,
            b'=' => is_encoded,
            _ => (33..=126).contains(&byte) || (is_encoded && byte.is_ascii()),
        };
        let width = if is_plain { 1 } else { 3 };
        // One column is left for the soft line break, except at a line's end. Lines that are encoded have their own breaks.
        let room = if is_last { LINE_MAX } else { LINE_MAX - 1 };
        if column + width > room && !(is_encoded && is_plain) {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        if is_plain {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'=', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        (column, at) = (column + width, at + 1);
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
    use mail_parser::{MessageParser, MimeHeaders};

    use super::*;

    fn converted(content: &str) -> String {
        String::from_utf8(seven_bit(content.as_bytes()).into_owned()).expect("text")
    }

    /// The decoded bodies of all parts, by an independent reader.
    fn bodies(content: &[u8]) -> Vec<Vec<u8>> {
        let message = MessageParser::default().parse(content).expect("a message");
        let leaves = message.parts.iter().filter(|part| !part.is_multipart() && !part.is_message());
        leaves.map(|part| part.contents().to_vec()).collect()
    }

    #[test]
    fn what_is_seven_bit_stays_as_it_is() {
        let content = b"Subject: x\r\nContent-Transfer-Encoding: 8bit\r\n\r\na=b \r\n";
        assert!(matches!(seven_bit(content), Cow::Borrowed(same) if same == content));
    }

    #[test]
    fn a_body_becomes_quoted_printable_and_says_so() {
        let head = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n";
        let text = format!("{head}Content-Transfer-Encoding: 8bit\r\nSubject: x\r\n\r\nGrüße = 1 \r\n.\r\n\tend\t");
        let expected = format!(
            "{head}Content-Transfer-Encoding: quoted-printable\r\nSubject: x\r\n\r\nGr=C3=BC=C3=9Fe =3D 1=20\r\n.\r\n\tend=09"
        );
        assert_eq!(converted(&text), expected);
    }

    #[test]
    fn what_a_message_must_say_is_added_where_it_is_missing() {
        assert_eq!(
            converted("Subject: x\r\n\r\nü\r\n"),
            "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nSubject: x\r\nContent-Transfer-Encoding: \
             quoted-printable\r\n\r\n=C3=BC\r\n"
        );
        let odd = seven_bit(b"\r\n\xff\r\n").into_owned();
        assert!(odd.starts_with(b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n"));
        assert!(odd.ends_with(b"Content-Transfer-Encoding: quoted-printable\r\n\r\n=FF\r\n"));
    }

    #[test]
    fn long_lines_are_broken_softly_and_read_the_same() {
        for length in 70..=85 {
            let line = format!("{}ü{}", "x".repeat(length), "= ".repeat(40));
            let content = format!("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{line}\r\n");
            let seven = converted(&content);
            assert!(seven.lines().all(|line| line.len() <= LINE_MAX), "{seven}");
            assert_eq!(bodies(seven.as_bytes()), [format!("{line}\r\n").into_bytes()]);
        }
    }

    #[test]
    fn each_part_is_converted_by_itself() {
        let text = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; x=y; boundary=\"a \\\"b\"\r\n\
                    Content-Transfer-Encoding: 8bit\r\n\r\nvorher ü\r\n--a \"b\r\nContent-Type: text/plain; \
                    charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße\r\n--a \"b\r\nContent-Type: \
                    text/plain\r\n\r\nplain = text \r\n--a \"b\r\nContent-Type: message/rfc822\r\n\
                    Content-Transfer-Encoding: 8bit\r\n\r\nSubject: inner\r\n\r\nü\r\n--a \"b\r\nContent-Type: \
                    multipart/alternative; boundary=a\r\n\r\n--a\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>ö\r\n\
                    --a--\r\n--a \"b--\r\nnachher\r\n";
        let seven = converted(text);
        assert!(seven.is_ascii(), "{seven}");
        assert_eq!(seven.matches("8bit").count(), 0);
        assert!(seven.contains("vorher ??\r\n--a \"b\r\n") && seven.ends_with("--a \"b--\r\nnachher\r\n"), "{seven}");
        assert!(seven.contains("\r\n\r\nplain = text \r\n--a"), "what needs no encoding has none: {seven}");
        assert_eq!(bodies(seven.as_bytes()), bodies(text.as_bytes()));
        let message = MessageParser::default().parse(seven.as_bytes()).expect("a message");
        assert_eq!(message.part(1).and_then(|part| part.content_transfer_encoding()), Some("quoted-printable"));
    }

    #[test]
    fn bodies_that_are_encoded_badly_lose_only_what_is_not_ascii() {
        let head = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: ";
        assert_eq!(
            converted(&format!("{head}quoted-printable\r\n\r\na=3D ü=\r\n")),
            format!("{head}quoted-printable\r\n\r\na=3D =C3=BC=\r\n")
        );
        assert_eq!(converted(&format!("{head}base64\r\n\r\nYWJjü\r\n")), format!("{head}base64\r\n\r\nYWJj\r\n"));
    }

    #[test]
    fn nothing_panics_whatever_stands_there() {
        let mut random = fastrand::Rng::with_seed(7);
        let pieces: [&[u8]; 12] = [
            b"Content-Type: multipart/x; boundary=b\r\n",
            b"Content-Type: message/rfc822\r\n",
            b"Content-Transfer-Encoding: 8bit\r\n",
            b"\r\n",
            b"--b\r\n",
            b"--b--\r\n",
            b"--b",
            b"\xc3\xbc",
            b"\n",
            b"\r",
            b"=",
            b"; boundary=\"\\",
        ];
        for _ in 0..20_000 {
            let content: Vec<u8> =
                (0..random.usize(..20)).flat_map(|_| pieces[random.usize(..pieces.len())].to_vec()).collect();
            let _ = seven_bit(&content);
        }
    }
}
