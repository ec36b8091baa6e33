//! Content as it comes: checked, counted and kept; unstuffed where it comes by DATA.
//!
//! Only CRLF.CRLF ends the data (RFC 5321 §4.1.1.4, §2.3.8). A CR or LF that stands alone makes the whole message
//! refused, so that nothing that another server might take for the data's end is ever passed on.
//! Limits: content is bounded by SIZE; what exceeds it is read and dropped, up to [`EXCESS_FACTOR`] times SIZE. A
//! line is bounded by that alone: real senders exceed the 998 octets of RFC 5322 §2.1.1.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::smtp::reply::{self, Fixed, Reply};

/// What is looked for in every message is prepared once.
static LINE_WITH_DOT: LazyLock<Finder> = LazyLock::new(|| Finder::new(b"\r\n."));
/// How many times the permitted size is read in order to say 552 politely; a peer that goes on is cut off.
pub(super) const EXCESS_FACTOR: u64 = 4;
/// Bytes that are reserved beyond what came, at least.
const AHEAD_BYTES_MIN: usize = 4 * 1024;
/// Bytes that are reserved beyond what came, at most, until half of what came is more.
const AHEAD_BYTES_MAX: usize = 1024 * 1024;

/// A message's content, as far as it came.
#[derive(Debug)]
pub(super) struct Content {
    bytes: Vec<u8>,
    /// Octets that came, dropped ones included.
    seen: u64,
    /// The last octet that came; LF before the first.
    last: u8,
    /// Octets that the peer said would come; 0: unknown.
    announced: u64,
    bytes_max: u64,
    /// Why the message will be refused. Set once; nothing is kept from then on.
    fault: Option<Reply>,
}

impl Content {
    pub(super) fn new(announced: Option<u64>, bytes_max: u64) -> Content {
        let announced = announced.unwrap_or(0).min(bytes_max);
        Content { bytes: Vec::new(), seen: 0, last: b'\n', announced, bytes_max, fault: None }
    }

    /// Octets of memory that it holds.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// A chunk of this size will come (BDAT): a message that becomes too large is refused before it comes.
    pub(super) fn announce(&mut self, octets: u64) {
        let total = self.seen.saturating_add(octets);
        self.announced = self.announced.max(total.min(self.bytes_max));
        if total > self.bytes_max {
            self.fail(reply::MESSAGE_TOO_LARGE.reply());
        }
    }

    /// The message will be refused with `reply`, unless it will be already.
    pub(super) fn fail(&mut self, reply: Reply) {
        self.bytes = Vec::new();
        self.fault.get_or_insert(reply);
    }

    /// Itself, or why the message is refused.
    pub(super) fn checked(self) -> Result<Content, Reply> {
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(self),
        }
    }

    /// Whether so much too much came that it is not worth reading on.
    pub(super) fn is_overrun(&self) -> bool {
        self.seen > self.bytes_max.saturating_mul(EXCESS_FACTOR)
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        let Some(&last) = bytes.last() else { return };
        let before = self.seen;
        self.seen = before.saturating_add(bytes.len() as u64);
        if self.fault.is_some() {
            return;
        }
        if !is_clean(self.last, bytes) {
            let reply = first_fault(self.last, bytes, self.bytes_max.saturating_sub(before));
            self.fail(reply.reply());
        } else if self.seen > self.bytes_max {
            self.fail(reply::MESSAGE_TOO_LARGE.reply());
        } else {
            self.reserve(bytes.len());
            self.bytes.extend_from_slice(bytes);
            self.last = last;
        }
    }

    /// The whole content, or why the message is refused. Where the last line has no CRLF (BDAT permits that) it gets
    /// one, as the next server may take DATA only.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, Reply> {
        match self.last {
            b'\n' => {}
            b'\r' => self.fail(reply::CONTENT_BARE_LINE_END.reply()),
            _ => self.append(b"\r\n"),
        }
        self.fault.map_or(Ok(self.bytes), Err)
    }

    /// Room for `more`, and ahead of it: towards what was announced, but never far beyond what came, so that an
    /// announcement alone costs no memory.
    fn reserve(&mut self, more: usize) {
        let (held, free) = (self.bytes.len(), self.bytes.capacity() - self.bytes.len());
        if free >= more {
            return;
        }
        let ahead_max = held.clamp(AHEAD_BYTES_MIN, AHEAD_BYTES_MAX).max(held / 2);
        let announced = usize::try_from(self.announced).unwrap_or(usize::MAX).saturating_sub(held);
        let wanted = if announced > 0 { announced } else { held };
        self.bytes.reserve_exact(wanted.min(more.saturating_add(ahead_max)).max(more));
    }
}

/// What is wrong first with `bytes`, of which `room` octets may come; however they were cut, it is the same.
fn first_fault(before: u8, bytes: &[u8], room: u64) -> Fixed {
    let befores = std::iter::once(&before).chain(bytes);
    let dirty = befores.zip(bytes).position(|(before, byte)| is_dirty(*before, *byte));
    match dirty {
        Some(at) if (at as u64) < room && bytes[at] == 0 => reply::CONTENT_NUL,
        Some(at) if (at as u64) < room => reply::CONTENT_BARE_LINE_END,
        _ => reply::MESSAGE_TOO_LARGE,
    }
}

/// Whether every LF follows a CR, every CR but the last octet precedes an LF, and no octet is NUL. Without an early end,
/// so that it compiles to vector instructions.
fn is_clean(before: u8, bytes: &[u8]) -> bool {
    let Some(&first) = bytes.first() else { return true };
    let pairs = bytes.iter().zip(&bytes[1..]);
    !pairs.fold(is_dirty(before, first), |dirty, (&before, &byte)| dirty | is_dirty(before, byte))
}

fn is_dirty(before: u8, byte: u8) -> bool {
    ((before == b'\r') != (byte == b'\n')) | (byte == 0)
}

/// The data after DATA: undoes the dots and finds the end (RFC 5321 §4.5.2).
#[derive(Debug)]
pub(super) struct Unstuffer {
    at: At,
    /// The last line ended with CR CR LF.
    doubled: bool,
}

/// Where in the data the next octet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Behind CRLF (or at the beginning).
    LineStart,
    /// Behind a line's first dot, which is dropped.
    Dot,
    /// Behind a line that is `.` and CR.
    DotCr,
    /// Anywhere in a line.
    Middle,
    /// Behind a CR in a line.
    Cr,
    /// Behind CRLF.CRLF.
    End,
}

impl Unstuffer {
    pub(super) fn new() -> Unstuffer {
        Unstuffer { at: At::LineStart, doubled: false }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == At::End
    }

    /// Whether CR CR LF stands before the final dot. Some take that for the end and some do not, so that what follows
    /// it may be commands or content: the message is refused, and nothing behind it is obeyed.
    pub(super) fn end_is_ambiguous(&self) -> bool {
        self.is_at_end() && self.doubled
    }

    /// Takes bytes up to the data's end into `content`; gives how many.
    pub(super) fn feed(&mut self, bytes: &[u8], content: &mut Content) -> usize {
        let mut rest = bytes;
        while let Some(&next) = rest.first() {
            rest = match (self.at, next) {
                (At::End, _) => break,
                (At::LineStart, b'.') => self.goto(At::Dot, &rest[1..]),
                (At::Dot, b'\r') => self.goto(At::DotCr, &rest[1..]),
                (At::DotCr, b'\n') => self.goto(At::End, &rest[1..]),
                (At::DotCr, _) => {
                    content.append(b"\r");
                    self.doubled = false;
                    self.goto(At::Cr, rest)
                }
                (At::Cr, b'\n') => {
                    content.append(b"\n");
                    self.goto(At::LineStart, &rest[1..])
                }
                (At::LineStart | At::Dot | At::Middle | At::Cr, _) => self.lines(rest, content),
            };
        }
        bytes.len() - rest.len()
    }

    fn goto<'a>(&mut self, at: At, rest: &'a [u8]) -> &'a [u8] {
        self.at = at;
        rest
    }

    /// Takes lines up to the next one that begins with a dot.
    fn lines<'a>(&mut self, bytes: &'a [u8], content: &mut Content) -> &'a [u8] {
        let behind_cr = self.at == At::Cr;
        let doubled = |cr: usize| if cr == 0 { behind_cr } else { bytes[cr - 1] == b'\r' };
        if let Some(cr) = LINE_WITH_DOT.find(bytes) {
            self.doubled = doubled(cr);
            content.append(&bytes[..cr + 2]);
            return self.goto(At::Dot, &bytes[cr + 3..]);
        }
        content.append(bytes);
        let at = match bytes {
            [before @ .., b'\r', b'\n'] => {
                self.doubled = doubled(before.len());
                At::LineStart
            }
            [before @ .., b'\r'] => {
                self.doubled = doubled(before.len());
                At::Cr
            }
            _ => At::Middle,
        };
        self.goto(at, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u64 = 1000;

    /// What becomes of data that comes split at `splits`: the content or the fault's code, and what is left over.
    fn unstuff(parts: &[&[u8]]) -> (Result<Vec<u8>, u16>, Vec<u8>, bool) {
        let (mut unstuffer, mut content, mut left) = (Unstuffer::new(), Content::new(None, MAX), Vec::new());
        for part in parts {
            let taken = unstuffer.feed(part, &mut content);
            left.extend_from_slice(&part[taken..]);
        }
        (content.finish().map_err(|reply| reply.code), left, unstuffer.is_at_end())
    }

    #[test]
    fn dots_are_undone_wherever_the_data_is_split() {
        for (data, expected) in [
            (&b".\r\n"[..], &b""[..]),
            (b"a\r\n.\r\n", b"a\r\n"),
            (b"..\r\n.\r\n", b".\r\n"),
            (b"...\r\n..a\r\nb.\r\n.\r\n", b"..\r\n.a\r\nb.\r\n"),
            (b".a\r\n.\r\n", b"a\r\n"),
            (b"\r\n\r\n..\r\n\r\n.\r\n", b"\r\n\r\n.\r\n\r\n"),
        ] {
            let data = [data, b"QUIT\r\n"].concat();
            for i in 0..=data.len() {
                for j in i..=data.len() {
                    let got = unstuff(&[&data[..i], &data[i..j], &data[j..]]);
                    assert_eq!(got, (Ok(expected.to_vec()), b"QUIT\r\n".to_vec(), true), "{i} {j}");
                }
            }
        }
    }

    #[test]
    fn nothing_but_the_real_end_ends_the_data_and_every_smuggle_is_refused() {
        let smuggles: [&[u8]; 18] = [
            b"\n.\n",
            b"\n.\r\n",
            b"\r.\r\n",
            b"\r.\r",
            b"\r\n.\n",
            b"\r\n.\r",
            b"\r\n\0.\r\n",
            b"\r\n.\0\r\n",
            b"\r\n.\r\r\n",
            b"\r\r\n.\r\r\n",
            b"\n.\r",
            b"\r.\n",
            b"\0\n.\r\n",
            b"\r\n\r.\r\n",
            b"\r\0\n.\r\n",
            b"\r\n.\r\0\n",
            b"\n\n.\n\n",
            b"\r\n\n.\r\n",
        ];
        for smuggle in smuggles {
            let data = [b"a", smuggle, b"MAIL FROM:<x@y>", b"\r\n.\r\n"].concat();
            for i in 0..=data.len() {
                for j in i..=data.len() {
                    let (verdict, left, ended) = unstuff(&[&data[..i], &data[i..j], &data[j..]]);
                    assert!(verdict.is_err(), "{:?} {i} {j}: {verdict:?}", String::from_utf8_lossy(smuggle));
                    assert!(ended && left.is_empty(), "{:?} {i} {j}", String::from_utf8_lossy(smuggle));
                }
            }
        }
    }

    #[test]
    fn every_octet_but_nul_cr_and_lf_is_kept() {
        let mut content = Content::new(None, MAX);
        let all: Vec<u8> = (1..=255).filter(|byte| !b"\r\n".contains(byte)).collect();
        content.append(&all);
        assert_eq!(content.finish(), Ok([&all[..], b"\r\n"].concat()));
    }

    #[test]
    fn too_much_is_counted_and_dropped() {
        let mut content = Content::new(None, MAX);
        content.append(&[b'x'; 998]);
        content.append(b"\r\n");
        assert!(content.fault.is_none());
        content.append(b"y");
        assert_eq!(content.capacity(), 0);
        assert!(!content.is_overrun());
        content.append(&[b'x'; 3000]);
        assert!(content.is_overrun());
        assert_eq!(content.finish(), Err(reply::MESSAGE_TOO_LARGE.reply()));
    }

    #[test]
    fn an_announcement_alone_costs_nothing() {
        let mut content = Content::new(Some(u64::MAX), 1 << 40);
        assert_eq!(content.capacity(), 0);
        content.append(b"x");
        assert!(content.capacity() <= 2 * AHEAD_BYTES_MIN, "{}", content.capacity());
        for _ in 0..64 {
            content.append(&[b'x'; 64 * 1024]);
            assert!(content.capacity() <= content.bytes.len() + AHEAD_BYTES_MAX.max(content.bytes.len() / 2));
        }
    }

    #[test]
    fn what_was_announced_fits_without_a_second_reservation() {
        let mut content = Content::new(Some(10_000), 1 << 20);
        content.append(&[b'x'; 4_096]);
        let reserved = content.capacity();
        content.append(&[b'x'; 4_000]);
        assert_eq!(content.capacity(), reserved);
    }

    #[test]
    fn a_chunk_that_would_exceed_size_is_refused_before_it_comes() {
        let mut content = Content::new(None, MAX);
        content.announce(600);
        content.append(&[b'x'; 600]);
        content.announce(401);
        assert_eq!(content.checked().err(), Some(reply::MESSAGE_TOO_LARGE.reply()));
    }
}
