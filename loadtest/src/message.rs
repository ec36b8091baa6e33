//! Messages that carry their own id and the checksum of their body.
//!
//! Both are fields of the header that a server leaves alone: `X-Ringload-Id` and `X-Ringload-Body` (CRC-32 and octets).
//! A template is made once; a message differs from it in its id only, which is written over in place.

use std::fmt;

use memchr::memmem;

const ID_FIELD: &[u8] = b"\r\nX-Ringload-Id: ";
const BODY_FIELD: &[u8] = b"\r\nX-Ringload-Body: ";
const HEADER_END: &[u8] = b"\r\n\r\n";
/// Hexadecimal digits of an id.
const ID_DIGITS: usize = 16;
/// Octets of a body's line, with its CRLF.
const LINE_BYTES: usize = 78;

/// A message's id: the run, the thread and the message's number, as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u64);

impl Id {
    /// The `number`th message of a thread; `run` tells runs apart (its low 24 bits count).
    pub fn new(run: u32, thread: u8, number: u32) -> Self {
        Self(u64::from(run & 0xff_ffff) << 40 | u64::from(thread) << 32 | u64::from(number))
    }

    /// As a number, for sets and files.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    fn parse(digits: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(digits).ok()?;
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0ID_DIGITS$x}", self.0)
    }
}

/// What all messages of a run have in common.
#[derive(Clone, Debug)]
pub struct Template {
    content: Vec<u8>,
    /// Where the id stands.
    ids: Vec<usize>,
}

impl Template {
    /// A message of `size` octets in all, or as few more as its header and one line need. `date` is RFC 5322's.
    pub fn new(from: &str, to: &str, date: &str, size: usize) -> Self {
        let no_id = "0".repeat(ID_DIGITS);
        let header = |checksum: u32, octets: usize| {
            format!(
                "From: <{from}>\r\nTo: <{to}>\r\nSubject: ringload {no_id}\r\nDate: {date}\r\n\
                 Message-ID: <{no_id}@ringload.test>\r\nX-Ringload-Id: {no_id}\r\n\
                 X-Ringload-Body: {checksum:08x} {octets:010}\r\nMIME-Version: 1.0\r\n\
                 Content-Type: text/plain; charset=us-ascii\r\n\r\n"
            )
        };
        let body = body(size.saturating_sub(header(0, 0).len()).max(LINE_BYTES));
        let mut content = header(crc32fast::hash(&body), body.len()).into_bytes();
        let ids = memmem::find_iter(&content, no_id.as_bytes()).collect();
        content.extend_from_slice(&body);
        Self { content, ids }
    }

    /// A message to be given ids.
    pub fn message(&self) -> Vec<u8> {
        self.content.clone()
    }

    /// Makes `message`, which came from this template, the message `id`.
    pub fn give_id(&self, message: &mut [u8], id: Id) {
        let digits = id.to_string();
        for at in &self.ids {
            message[*at..at + ID_DIGITS].copy_from_slice(digits.as_bytes());
        }
    }
}

/// Printable lines that do not compress well, some of which begin with a dot; exactly `octets`, at least one line.
fn body(octets: usize) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const DOTTED_LINES: usize = 7;
    let mut random = fastrand::Rng::with_seed(octets as u64);
    let mut body: Vec<u8> = (0..octets).map(|_| LETTERS[random.usize(..LETTERS.len())]).collect();
    for (number, line) in body.chunks_mut(LINE_BYTES).enumerate() {
        if number % DOTTED_LINES == 0 {
            line[0] = b'.';
        }
        if let [.., cr, lf] = line {
            (*cr, *lf) = (b'\r', b'\n');
        }
    }
    // A last line of one octet has no room for its own end.
    if octets % LINE_BYTES == 1 {
        body[octets - 3..].copy_from_slice(b"x\r\n");
    }
    body
}

/// What a received message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Not one of ours.
    Unmarked,
    /// As it was sent.
    Whole(Id),
    /// One of ours with another body than it was sent with.
    Damaged(Id),
}

/// Looks at a message's content; fields that servers have added do not matter.
pub fn inspect(content: &[u8]) -> Received {
    let Some(end) = memmem::find(content, HEADER_END) else { return Received::Unmarked };
    let (header, body) = (&content[..end + 2], &content[end + HEADER_END.len()..]);
    let Some(id) = field(header, ID_FIELD).and_then(Id::parse) else { return Received::Unmarked };
    let found = format!("{:08x} {:010}", crc32fast::hash(body), body.len());
    if field(header, BODY_FIELD) == Some(found.as_bytes()) { Received::Whole(id) } else { Received::Damaged(id) }
}

fn field<'a>(header: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = &header[memmem::find(header, name)? + name.len()..];
    Some(&value[..memmem::find(value, b"\r\n")?])
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Mon, 23 Nov 2026 07:46:40 +0000";

    fn message(size: usize, id: Id) -> Vec<u8> {
        let template = Template::new("s@a.test", "r@b.test", DATE, size);
        let mut message = template.message();
        template.give_id(&mut message, id);
        message
    }

    #[test]
    fn a_message_has_its_size_and_only_whole_lines() {
        for size in 500..900 {
            let message = message(size, Id::new(1, 2, 3));
            assert_eq!(message.len(), size);
            assert!(message.ends_with(b"\r\n"));
            let text = String::from_utf8(message).expect("text");
            assert!(text.split("\r\n").all(|line| !line.contains(['\r', '\n']) && line.len() <= 78), "{size}");
        }
        assert!(message(0, Id::new(1, 2, 3)).len() < 500);
    }

    #[test]
    fn ids_are_written_and_found_again() {
        let id = Id::new(0xabc_def, 7, 42);
        assert_eq!(id.to_string(), "abcdef070000002a");
        let first = message(2000, id);
        assert_eq!(inspect(&first), Received::Whole(id));
        let trace = [b"Received: from x by y\r\n".to_vec(), first.clone()].concat();
        assert_eq!(inspect(&trace), Received::Whole(id));
        let text = String::from_utf8(first).expect("text");
        assert_eq!(text.matches("abcdef070000002a").count(), 3);
        assert!(text.contains("\r\nMessage-ID: <abcdef070000002a@ringload.test>\r\n"));
    }

    #[test]
    fn damage_to_the_body_is_found() {
        let id = Id::new(1, 0, 9);
        let good = message(2000, id);
        for damage in [
            |message: &mut Vec<u8>| message.truncate(1990),
            |message: &mut Vec<u8>| message.extend_from_slice(b"footer\r\n"),
            |message: &mut Vec<u8>| message[1500] ^= 1,
        ] {
            let mut message = good.clone();
            damage(&mut message);
            assert_eq!(inspect(&message), Received::Damaged(id));
        }
        assert_eq!(inspect(b"Subject: x\r\n\r\nhello\r\n"), Received::Unmarked);
        assert_eq!(inspect(b""), Received::Unmarked);
    }
}
