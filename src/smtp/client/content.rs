//! Content on its way out: as DATA wants it (dot-stuffed, RFC 5321 §4.5.2), or as one BDAT chunk (RFC 3030 §2).

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// What is looked for in every message is prepared once.
static LINE_WITH_DOT: LazyLock<Finder> = LazyLock::new(|| Finder::new(b"\n."));
/// Bytes of content, before dot-stuffing, that one `Step::Send` carries.
const BLOCK_BYTES: usize = 256 * 1024;

/// How the peer finds the content's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// DATA: a line of one dot.
    Dot,
    /// BDAT LAST: the size said before.
    Chunk,
}

/// Content of which `written` bytes are in the output or gone.
#[derive(Debug)]
pub(super) struct Content {
    framing: Framing,
    written: usize,
}

impl Content {
    /// Content of which nothing is written yet.
    pub(super) fn new(framing: Framing) -> Self {
        Self { framing, written: 0 }
    }

    /// Appends the next block to `output`, and the end's mark after the last one; true once everything is written.
    pub(super) fn write_block(&mut self, content: &[u8], output: &mut Vec<u8>) -> bool {
        let end = content.len().min(self.written + BLOCK_BYTES);
        match self.framing {
            Framing::Chunk => output.extend_from_slice(&content[self.written..end]),
            Framing::Dot => push_stuffed(content, self.written, end, output),
        }
        self.written = end;
        let complete = end == content.len();
        if complete && self.framing == Framing::Dot {
            if !content.is_empty() && !content.ends_with(b"\r\n") {
                output.extend_from_slice(b"\r\n");
            }
            output.extend_from_slice(b".\r\n");
        }
        complete
    }
}

/// Appends `content[start..end]` with every dot at the beginning of a line doubled.
///
/// A bare LF counts as a line end here: content should have none, but if it has, no server that takes it for one may
/// find a lone dot after it (SMTP smuggling).
fn push_stuffed(content: &[u8], start: usize, end: usize, output: &mut Vec<u8>) {
    let block = &content[start..end];
    output.reserve(block.len() + block.len() / 64);
    if block.first() == Some(&b'.') && (start == 0 || content[start - 1] == b'\n') {
        output.push(b'.');
    }
    let mut copied = 0;
    for line_end in LINE_WITH_DOT.find_iter(block) {
        output.extend_from_slice(&block[copied..=line_end]);
        output.push(b'.');
        copied = line_end + 1;
    }
    output.extend_from_slice(&block[copied..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(framing: Framing, content: &[u8]) -> (Vec<u8>, usize) {
        let (mut writer, mut output, mut blocks) = (Content::new(framing), Vec::new(), 1);
        while !writer.write_block(content, &mut output) {
            blocks += 1;
        }
        (output, blocks)
    }

    #[test]
    fn dots_at_the_beginning_of_lines_are_doubled() {
        let cases: &[(&[u8], &[u8])] = &[
            (b"", b".\r\n"),
            (b"a\r\n", b"a\r\n.\r\n"),
            (b"a", b"a\r\n.\r\n"),
            (b".", b"..\r\n.\r\n"),
            (b".\r\n", b"..\r\n.\r\n"),
            (b"..\r\n.a\r\n", b"...\r\n..a\r\n.\r\n"),
            (b"a.b\r\n\r\n.\r\nc\r\n", b"a.b\r\n\r\n..\r\nc\r\n.\r\n"),
            (b"a\n.\r\nb\r\n", b"a\n..\r\nb\r\n.\r\n"),
            (b"a\r", b"a\r\r\n.\r\n"),
        ];
        for (content, expected) in cases {
            assert_eq!(write(Framing::Dot, content), (expected.to_vec(), 1), "{}", content.escape_ascii());
        }
    }

    #[test]
    fn a_chunk_goes_out_as_it_is() {
        assert_eq!(write(Framing::Chunk, b".\r\n..a"), (b".\r\n..a".to_vec(), 1));
        assert_eq!(write(Framing::Chunk, b""), (Vec::new(), 1));
    }

    #[test]
    fn stuffing_does_not_depend_on_where_blocks_end() {
        for shift in 0..4 {
            let mut content = vec![b'x'; BLOCK_BYTES - shift];
            content.extend_from_slice(b"\r\n.\r\n..\r\nlast\r\n");
            let mut expected = vec![b'x'; BLOCK_BYTES - shift];
            expected.extend_from_slice(b"\r\n..\r\n...\r\nlast\r\n.\r\n");
            assert_eq!(write(Framing::Dot, &content), (expected, 2), "shift {shift}");
        }
    }

    #[test]
    fn large_content_comes_in_blocks() {
        assert_eq!(write(Framing::Chunk, &vec![b'x'; 3 * BLOCK_BYTES]).1, 3);
        assert_eq!(write(Framing::Chunk, &vec![b'x'; 3 * BLOCK_BYTES + 1]).1, 4);
    }
}
