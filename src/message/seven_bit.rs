//! A message whose bodies are made 7-bit: for next hops without 8BITMIME (RFC 6152 §3), and before it is signed.
//!
//! Bodies with eight-bit octets become quoted-printable (RFC 2045 §6.7), multipart and message bodies part by part, and
//! say so; everything else stays as it is, octet for octet. Header fields are not 8BITMIME's matter (RFC 6531 is for them).
//! A signature over such a body does not survive; one that is made afterwards does, as nothing is left to convert.

use std::borrow::Cow;

use super::mime::{Body, DEPTH_MAX, Entity, Piece, Pieces};

/// Characters of a line, without its end (RFC 2045 §6.7 (5)).
const LINE_MAX: usize = 76;

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// The message without eight-bit octets in its bodies; borrowed where it has none.
pub fn seven_bit(content: &[u8]) -> Cow<'_, [u8]> {
    if content.is_ascii() {
        return Cow::Borrowed(content);
    }
    let mut out = Out { bytes: Vec::with_capacity(content.len() + content.len() / 4), bytes_max: usize::MAX };
    match out.push_entity(content, true, 0) {
        Ok(()) => Cow::Owned(out.bytes),
        Err(TooLarge) => Cow::Borrowed(content),
    }
}

/// The same for a message that is about to be signed (RFC 6376 §5.3). `None` where it stays as it is: because it has no
/// eight-bit octets, because it came with a signature that the conversion would break, or because the result would be larger
/// than `bytes_max`.
pub fn seven_bit_to_be_signed(content: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    if content.is_ascii() || content.len() > bytes_max || is_signed(content, true, 0) {
        return None;
    }
    let mut out = Out { bytes: Vec::with_capacity(content.len() + content.len() / 4), bytes_max };
    out.push_entity(content, true, 0).ok().map(|()| out.bytes)
}

/// Whether a body that would be converted is signed: by a field of its message (RFC 6376, RFC 8617 §4.1.2), or as the first
/// part of a multipart/signed (RFC 1847 §2.1).
fn is_signed(content: &[u8], is_message: bool, depth: usize) -> bool {
    let entity = Entity::read(content);
    let body = &content[entity.body_start..];
    if body.is_ascii() || depth > DEPTH_MAX {
        return false;
    }
    let signs = |name| entity.header.iter().any(|field| field.is(name));
    if is_message && (signs("DKIM-Signature") || signs("ARC-Message-Signature")) {
        return true;
    }
    match entity.body() {
        Body::Multipart(_) if entity.media_type() == b"multipart/signed" => true,
        Body::Multipart(boundary) => Pieces::of(body, boundary)
            .any(|piece| matches!(piece, Piece::Part(part) if is_signed(part, false, depth + 1))),
        Body::Message => is_signed(body, true, depth + 1),
        Body::Leaf(_) => false,
    }
}

/// What was written is larger than it may be.
struct TooLarge;

/// The converted message, as far as it is written.
struct Out {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Out {
    fn push(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        if bytes.len() > self.bytes_max - self.bytes.len() {
            return Err(TooLarge);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn push_field(&mut self, name: &[u8], value: &[u8]) -> Result<(), TooLarge> {
        [name, b": ", value, b"\r\n"].into_iter().try_for_each(|part| self.push(part))
    }

    /// Writes the header, with `encoding` for what it has.
    fn push_header(
        &mut self,
        entity: &Entity<'_>,
        content: &[u8],
        encoding: &[u8],
        is_message: bool,
    ) -> Result<(), TooLarge> {
        let mut is_said = false;
        for field in &entity.header {
            if !field.is("Content-Transfer-Encoding") {
                self.push(&content[field.start..field.end])?;
            } else if !std::mem::replace(&mut is_said, true) {
                self.push_field(b"Content-Transfer-Encoding", encoding)?;
            }
        }
        if is_message {
            self.push_missing(entity, &content[entity.body_start..])?;
        }
        if !is_said && encoding != b"7bit" {
            self.push_field(b"Content-Transfer-Encoding", encoding)?;
        }
        // The empty line, also where a header that was cut off has none.
        self.push(b"\r\n")
    }

    /// What a message must say so that anybody looks at its encoding (RFC 2045 §4 and §5.2, RFC 1428). Behind its other
    /// fields, as what hosts on the way have put before them stays first.
    fn push_missing(&mut self, entity: &Entity<'_>, body: &[u8]) -> Result<(), TooLarge> {
        if !entity.has_version {
            self.push_field(b"MIME-Version", b"1.0")?;
        }
        if entity.kind.is_none() {
            let utf8 = std::str::from_utf8(body).is_ok();
            let kind: &[u8] = if utf8 { b"text/plain; charset=utf-8" } else { b"text/plain; charset=unknown-8bit" };
            self.push_field(b"Content-Type", kind)?;
        }
        Ok(())
    }

    /// Appends a message or a part. `is_message`: it has a header of its own, so that it must say that it is MIME.
    fn push_entity(&mut self, content: &[u8], is_message: bool, depth: usize) -> Result<(), TooLarge> {
        let entity = Entity::read(content);
        let body = &content[entity.body_start..];
        if body.is_ascii() || depth > DEPTH_MAX {
            return self.push(content);
        }
        match entity.body() {
            Body::Multipart(boundary) => {
                self.push_header(&entity, content, b"7bit", is_message)?;
                self.push_parts(body, boundary, depth)
            }
            Body::Message => {
                self.push_header(&entity, content, b"7bit", is_message)?;
                self.push_entity(body, true, depth + 1)
            }
            Body::Leaf(encoding) if encoding.eq_ignore_ascii_case(b"base64") => {
                self.push_header(&entity, content, b"base64", is_message)?;
                // What is no letter of base64 means nothing (RFC 2045 §6.8).
                body.split(|byte| !byte.is_ascii()).try_for_each(|letters| self.push(letters))
            }
            Body::Leaf(encoding) => {
                let is_encoded = encoding.eq_ignore_ascii_case(b"quoted-printable");
                self.push_header(&entity, content, b"quoted-printable", is_message)?;
                self.push_quoted_printable(body, is_encoded)
            }
        }
    }

    /// Appends the parts of a multipart body with what stands between them.
    fn push_parts(&mut self, body: &[u8], boundary: Vec<u8>, depth: usize) -> Result<(), TooLarge> {
        Pieces::of(body, boundary).try_for_each(|piece| match piece {
            Piece::Part(part) => self.push_entity(part, false, depth + 1),
            Piece::Delimiter(delimiter) => self.push(delimiter),
            Piece::Remark(line) => {
                let line: Vec<u8> = line.iter().map(|byte| if byte.is_ascii() { *byte } else { b'?' }).collect();
                self.push(&line)
            }
        })
    }

    /// Appends `body` as quoted-printable; where it `is_encoded`, only what is not ASCII is.
    fn push_quoted_printable(&mut self, body: &[u8], is_encoded: bool) -> Result<(), TooLarge> {
        let mut column = 0;
        let mut at = 0;
        while at < body.len() {
            let rest = &body[at..];
            if rest.starts_with(b"\r\n") {
                self.push(b"\r\n")?;
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
                self.push(b"=\r\n")?;
                column = 0;
            }
            match is_plain {
                true => self.push(&[byte])?,
                false => self.push(&[b'=', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])?,
            }
            (column, at) = (column + width, at + 1);
        }
        Ok(())
    }
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
            "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: \
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
    fn before_signing_only_what_breaks_no_other_signature_is_converted() {
        const TEXT: &str = "Content-Type: text/plain; charset=utf-8\r\n";
        let with = |fields: &str, text: &str| format!("Subject: x\r\nMIME-Version: 1.0\r\n{fields}\r\n{text}\r\n");
        let parts = |kind: &str, first: &str, second: &str| {
            with(
                &format!("Content-Type: multipart/{kind}; boundary=b\r\n"),
                &format!("--b\r\n{first}\r\n--b\r\n{second}\r\n--b--"),
            )
        };
        let (plain, seven) = (format!("{TEXT}\r\nGr\u{fc}\u{df}e"), format!("{TEXT}\r\nhello"));
        let signed = |first: &str| {
            format!("Content-Type: multipart/signed; boundary=i\r\n\r\n--i\r\n{first}\r\n--i\r\n\r\nsignature\r\n--i--")
        };
        let forwarded =
            |text: &str| format!("Content-Type: message/rfc822\r\n\r\nDKIM-Signature: v=1\r\n{TEXT}\r\n{text}");
        for (content, is_converted) in [
            (with(TEXT, "Gr\u{fc}\u{df}e"), true),
            (with(TEXT, "hello"), false),
            (with(&format!("dkim-signature: v=1\r\n{TEXT}"), "Gr\u{fc}\u{df}e"), false),
            (with(&format!("ARC-Message-Signature: i=1\r\n{TEXT}"), "Gr\u{fc}\u{df}e"), false),
            (parts("mixed", &plain, &seven), true),
            (parts("signed; protocol=x", &plain, &seven), false),
            (parts("mixed", &signed(&plain), &seven), false),
            (parts("mixed", &signed(&seven), &plain), true),
            (parts("mixed", &forwarded("Gr\u{fc}\u{df}e"), &seven), false),
            (parts("mixed", &forwarded("hello"), &plain), true),
        ] {
            let converted = seven_bit_to_be_signed(content.as_bytes(), 4096);
            assert_eq!(converted.is_some(), is_converted, "{content}");
            let Some(converted) = converted else { continue };
            assert_eq!(*seven_bit(content.as_bytes()), converted, "it is the same that a next hop would be given");
            assert!(matches!(seven_bit(&converted), Cow::Borrowed(_)), "nothing is left to convert");
        }
    }

    #[test]
    fn before_signing_nothing_becomes_larger_than_it_may() {
        let content = "Subject: x\r\n\r\n".to_owned() + &"\u{fc}".repeat(1000) + "\r\n";
        let bytes = seven_bit(content.as_bytes()).len();
        assert_eq!(seven_bit_to_be_signed(content.as_bytes(), bytes).map(|converted| converted.len()), Some(bytes));
        assert_eq!(seven_bit_to_be_signed(content.as_bytes(), bytes - 1), None);
        assert_eq!(seven_bit_to_be_signed(content.as_bytes(), 10), None);
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
            let _ = (seven_bit(&content), seven_bit_to_be_signed(&content, 200));
        }
    }
}
