//! Bytes that came and were not yet taken, and the lines in them.
//!
//! Limits: holds at most one incomplete line of the limit that is asked for, and what one read brought.

use memchr::memchr;

/// A line's state at the front of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Not there yet.
    Incomplete,
    /// This many bytes, then CRLF.
    Complete(usize),
    /// It was longer than permitted; it is taken, with its end.
    TooLong,
    /// A CR or LF stands alone: nothing behind it can be trusted.
    BareEnd,
}

/// The input's buffer. Freed whenever it is empty: an idle session has none.
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    /// Before it, bytes are taken.
    start: usize,
    /// The line at the front is too long; what came of it is dropped but for its last byte.
    skipping: bool,
}

impl Input {
    pub(super) fn is_empty(&self) -> bool {
        self.pending().is_empty()
    }

    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Whether what is pending begins a line, and is not the rest of one that was too long.
    pub(super) fn is_at_line_start(&self) -> bool {
        !self.skipping
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.bytes.drain(..std::mem::take(&mut self.start));
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn take(&mut self, count: usize) {
        self.start += count;
        if self.is_empty() {
            *self = Input { skipping: self.skipping, ..Input::default() };
        }
    }

    /// Forgets everything, also that a line was too long.
    pub(super) fn discard(&mut self) {
        *self = Input::default();
    }

    /// The line at the front; `bytes_max` counts its CRLF.
    pub(super) fn line(&mut self, bytes_max: usize) -> Line {
        let pending = self.pending();
        let Some(lf) = memchr(b'\n', pending) else {
            if self.skipping || pending.len() >= bytes_max {
                self.skip_what_came();
            }
            return Line::Incomplete;
        };
        let ended_well = lf > 0 && pending[lf - 1] == b'\r';
        let too_long = self.skipping || lf + 1 > bytes_max;
        match ended_well {
            true if too_long => {
                self.skipping = false;
                self.take(lf + 1);
                Line::TooLong
            }
            true if memchr(b'\r', &pending[..lf - 1]).is_none() => Line::Complete(lf - 1),
            _ => Line::BareEnd,
        }
    }

    fn skip_what_came(&mut self) {
        self.skipping = true;
        self.take(self.pending().len().saturating_sub(1));
        self.bytes.drain(..std::mem::take(&mut self.start));
        self.bytes.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(bytes: &[u8]) -> Input {
        let mut input = Input::default();
        input.push(bytes);
        input
    }

    #[test]
    fn lines_end_with_crlf_only() {
        for (bytes, line) in [
            (&b"NOOP\r\n"[..], Line::Complete(4)),
            (b"\r\n", Line::Complete(0)),
            (b"NOOP", Line::Incomplete),
            (b"NOOP\r", Line::Incomplete),
            (b"NOOP\n", Line::BareEnd),
            (b"\n", Line::BareEnd),
            (b"NO\rOP\r\n", Line::BareEnd),
            (b"NOOP\r\r\n", Line::BareEnd),
        ] {
            assert_eq!(input(bytes).line(64), line, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn long_lines_are_skipped_in_bounded_memory() {
        let mut input = Input::default();
        for _ in 0..100_000 {
            input.push(&[b'x'; 100]);
            assert_eq!(input.line(512), Line::Incomplete);
            assert!(input.bytes.capacity() <= 2048);
        }
        input.push(b"x\r");
        assert_eq!(input.line(512), Line::Incomplete);
        input.push(b"\nNOOP\r\n");
        assert_eq!(input.line(512), Line::TooLong);
        assert_eq!(input.line(512), Line::Complete(4));
    }

    #[test]
    fn a_line_may_be_exactly_as_long_as_permitted() {
        assert_eq!(input(b"12345678\r\n").line(10), Line::Complete(8));
        assert_eq!(input(b"123456789\r\n").line(10), Line::TooLong);
        let mut split = input(b"123456789\r");
        assert_eq!(split.line(10), Line::Incomplete);
        split.push(b"\n");
        assert_eq!(split.line(10), Line::TooLong);
    }

    #[test]
    fn an_empty_input_has_no_buffer() {
        let mut input = input(b"NOOP\r\n");
        input.take(6);
        assert!(input.is_empty());
        assert_eq!(input.bytes.capacity(), 0);
    }
}
