//! Messages that carry their own id, the time when they were due, and the checksum of their body.
//!
//! These are fields of the header that a server leaves alone: `X-Ringload-Id`, `X-Ringload-Due` (microseconds since the
//! Unix epoch) and `X-Ringload-Body` (CRC-32 and octets). A template is made once; a message differs from it in its id
//! and time only, which are written over in place.

use std::fmt;
use std::sync::LazyLock;

use memchr::memmem::{self, Finder};

// What is looked for in every message is prepared once.
static ID_FIELD: LazyLock<Finder> = LazyLock::new(|| Finder::new(b"\r\nX-Ringload-Id: "));
static DUE_FIELD: LazyLock<Finder> = LazyLock::new(|| Finder::new(b"\r\nX-Ringload-Due: "));
static BODY_FIELD: LazyLock<Finder> = LazyLock::new(|| Finder::new(b"\r\nX-Ringload-Body: "));
static HEADER_END: LazyLock<Finder> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));
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
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0ID_DIGITS$x}", self.0)
    }
}

/// What a body is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum BodyKind {
    /// US-ASCII lines
    #[default]
    Text,
    /// UTF-8 lines with eight-bit octets (BODY=8BITMIME)
    #[value(name = "8bit")]
    EightBit,
    /// Text, HTML and an attachment in base64
    Multipart,
}

/// What all messages of a size have in common.
#[derive(Clone, Debug)]
pub struct Template {
    content: Vec<u8>,
    /// Where the id stands.
    ids: Vec<usize>,
    /// Where the time stands.
    due: usize,
}

impl Template {
    /// A message of `size` octets in all, or as few more as its header and one line of each part need. `date` is RFC
    /// 5322's.
    pub fn new(from: &str, to: &str, date: &str, kind: BodyKind, size: usize) -> Self {
        let (no_id, no_due) = ("#".repeat(ID_DIGITS), "@".repeat(ID_DIGITS));
        let media = match kind {
            BodyKind::Text => "text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit",
            BodyKind::EightBit => "text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit",
            BodyKind::Multipart => "multipart/mixed; boundary=\"ringload-part\"",
        };
        let header = |checksum: u32, octets: usize| {
            format!(
                "From: <{from}>\r\nTo: <{to}>\r\nSubject: ringload {no_id}\r\nDate: {date}\r\n\
                 Message-ID: <{no_id}@ringload.test>\r\nX-Ringload-Id: {no_id}\r\nX-Ringload-Due: {no_due}\r\n\
                 X-Ringload-Body: {checksum:08x} {octets:010}\r\nMIME-Version: 1.0\r\nContent-Type: {media}\r\n\r\n"
            )
        };
        let room = size.saturating_sub(header(0, 0).len());
        let body = match kind {
            BodyKind::Text => lines(room),
            BodyKind::EightBit => eight_bit(lines(room)),
            BodyKind::Multipart => multipart(room),
        };
        let mut content = header(crc32fast::hash(&body), body.len()).into_bytes();
        let ids = memmem::find_iter(&content, no_id.as_bytes()).collect();
        let due = memmem::find(&content, no_due.as_bytes()).expect("the header has the field");
        content.extend_from_slice(&body);
        Self { content, ids, due }
    }

    /// A message to be given an id.
    pub fn message(&self) -> Vec<u8> {
        self.content.clone()
    }

    /// Makes `message`, which came from this template, the message `id` that was due at `due_us`.
    pub fn give_id(&self, message: &mut [u8], id: Id, due_us: u64) {
        let digits = digits(id.0);
        for at in &self.ids {
            message[*at..at + ID_DIGITS].copy_from_slice(&digits);
        }
        message[self.due..self.due + ID_DIGITS].copy_from_slice(&self::digits(due_us));
    }
}

/// 16 hexadecimal digits.
fn digits(number: u64) -> [u8; ID_DIGITS] {
    let mut digits = [0; ID_DIGITS];
    for (at, digit) in digits.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (60 - 4 * at) & 0xf) as usize];
    }
    digits
}

/// Printable lines that do not compress well, some of which begin with a dot; exactly `octets`, at least one line.
fn lines(octets: usize) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const DOTTED_LINES: usize = 7;
    let octets = octets.max(LINE_BYTES);
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

/// The same lines, with a letter of two octets in each that has the room.
fn eight_bit(mut body: Vec<u8>) -> Vec<u8> {
    for line in body.chunks_mut(LINE_BYTES).filter(|line| line.len() >= 6) {
        line[2..4].copy_from_slice("ü".as_bytes());
    }
    body
}

/// Text, HTML and an attachment, which takes most of the room.
fn multipart(octets: usize) -> Vec<u8> {
    const TEXT: &str = "--ringload-part\r\nContent-Type: multipart/alternative; boundary=\"ringload-kind\"\r\n\r\n\
        --ringload-kind\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\nA message of the load test.\r\n\
        --ringload-kind\r\nContent-Type: text/html; charset=us-ascii\r\n\r\n\
        <html><body><p>A message of the <b>load test</b>.</p></body></html>\r\n--ringload-kind--\r\n\
        --ringload-part\r\nContent-Type: application/octet-stream; name=\"load.bin\"\r\n\
        Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"load.bin\"\r\n\r\n";
    const END: &str = "--ringload-part--\r\n";
    let mut attachment = lines(octets.saturating_sub(TEXT.len() + END.len()));
    // A dot is no letter of base64.
    attachment.iter_mut().filter(|octet| **octet == b'.').for_each(|octet| *octet = b'A');
    [TEXT.as_bytes(), &attachment, END.as_bytes()].concat()
}

/// What a received message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Not one of ours.
    Unmarked,
    /// As it was sent.
    Whole(Mark),
    /// One of ours with another body than it was sent with.
    Damaged(Mark),
}

/// What one of our messages says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Which it is.
    pub id: Id,
    /// When it was due, in microseconds since the Unix epoch.
    pub due_us: u64,
}

/// Looks at a message's content; fields that servers have added do not matter.
pub fn inspect(content: &[u8]) -> Received {
    let Some(end) = HEADER_END.find(content) else { return Received::Unmarked };
    let (header, body) = (&content[..end + 2], &content[end + HEADER_END.needle().len()..]);
    let number = |name: &Finder| field(header, name).and_then(hexadecimal);
    let (Some(id), Some(due_us)) = (number(&ID_FIELD), number(&DUE_FIELD)) else { return Received::Unmarked };
    let mark = Mark { id: Id(id), due_us };
    let found = format!("{:08x} {:010}", crc32fast::hash(body), body.len());
    if field(header, &BODY_FIELD) == Some(found.as_bytes()) { Received::Whole(mark) } else { Received::Damaged(mark) }
}

fn field<'a>(header: &'a [u8], name: &Finder) -> Option<&'a [u8]> {
    let value = &header[name.find(header)? + name.needle().len()..];
    Some(&value[..memchr::memchr(b'\r', value)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Mon, 23 Nov 2026 07:46:40 +0000";

    fn message(size: usize, id: Id) -> Vec<u8> {
        message_of(BodyKind::Text, size, id)
    }

    fn message_of(kind: BodyKind, size: usize, id: Id) -> Vec<u8> {
        let template = Template::new("s@a.test", "r@b.test", DATE, kind, size);
        let mut message = template.message();
        template.give_id(&mut message, id, 0xfeed);
        message
    }

    fn mark(id: Id) -> Mark {
        Mark { id, due_us: 0xfeed }
    }

    #[test]
    fn a_message_has_its_size_and_only_whole_lines() {
        for (kind, smallest) in [(BodyKind::Text, 600), (BodyKind::EightBit, 600), (BodyKind::Multipart, 1300)] {
            for size in smallest..smallest + 400 {
                let id = Id::new(1, 2, 3);
                let message = message_of(kind, size, id);
                assert_eq!((message.len(), inspect(&message)), (size, Received::Whole(mark(id))), "{kind:?}");
                assert!(message.ends_with(b"\r\n"));
                assert_eq!(message.is_ascii(), kind != BodyKind::EightBit, "{kind:?}");
                let text = String::from_utf8(message).expect("text");
                assert!(text.split("\r\n").all(|line| !line.contains(['\r', '\n']) && line.len() <= 78), "{size}");
            }
        }
        assert!(message(0, Id::new(1, 2, 3)).len() < 600);
    }

    #[test]
    fn ids_are_written_and_found_again() {
        let id = Id::new(0xabc_def, 7, 42);
        assert_eq!(id.to_string(), "abcdef070000002a");
        let first = message(2000, id);
        assert_eq!(inspect(&first), Received::Whole(mark(id)));
        let trace = [b"Received: from x by y\r\n".to_vec(), first.clone()].concat();
        assert_eq!(inspect(&trace), Received::Whole(mark(id)));
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
            assert_eq!(inspect(&message), Received::Damaged(mark(id)));
        }
        assert_eq!(inspect(b"Subject: x\r\n\r\nhello\r\n"), Received::Unmarked);
        assert_eq!(inspect(b""), Received::Unmarked);
    }
}
