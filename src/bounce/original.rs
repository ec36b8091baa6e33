//! What of the original message goes back with a notice (RFC 3461 §4.3, RFC 6522, RFC 6533).

use memchr::memchr_iter;

use super::dsn::{Action, Report};
use super::field::LINE_BYTES_MAX;
use crate::message::scan;
use crate::smtp::envelope::Return;

/// The largest content that goes back whole; of a larger one only the header does.
pub const RETURNED_BYTES_MAX: usize = 1 << 20;
/// How much of a header goes back.
pub const RETURNED_HEADER_BYTES_MAX: usize = 64 << 10;

/// The third part of a notice.
pub(super) struct Original<'a> {
    /// Its MIME type.
    pub media_type: &'static str,
    /// What of the content it holds.
    pub bytes: &'a [u8],
}

/// Chooses: the whole content if RET=FULL asked for it, the notice is of a failure, and mail can carry it as it is;
/// else the header.
pub(super) fn choose<'a>(report: &Report<'a>, global: bool) -> Original<'a> {
    let content = report.content;
    let asked = report.action == Action::Failed && report.sender.ret == Some(Return::Full);
    if asked && content.len() <= RETURNED_BYTES_MAX && lines_fit(content) {
        return Original { media_type: if global { "message/global" } else { "message/rfc822" }, bytes: content };
    }
    let header = &content[..scan::fields(content).last().map_or(0, |field| field.end)];
    Original {
        media_type: if global { "message/global-headers" } else { "text/rfc822-headers" },
        bytes: whole_lines(header),
    }
}

fn lines_fit(content: &[u8]) -> bool {
    let mut begin = 0;
    memchr_iter(b'\n', content).chain([content.len()]).all(|end| {
        let fits = end.saturating_sub(begin) <= LINE_BYTES_MAX + 1;
        begin = end + 1;
        fits
    })
}

/// As many whole lines as go back.
fn whole_lines(header: &[u8]) -> &[u8] {
    if header.len() <= RETURNED_HEADER_BYTES_MAX {
        return header;
    }
    let end = memchr::memrchr(b'\n', &header[..RETURNED_HEADER_BYTES_MAX]).map_or(0, |at| at + 1);
    &header[..end]
}

/// Writes `bytes` so that no line is too long: a longer one goes on in a continuation line.
pub(super) fn put(out: &mut Vec<u8>, original: &Original<'_>) {
    for line in original.bytes.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        for (n, piece) in text.chunks(LINE_BYTES_MAX - 1).enumerate() {
            out.extend_from_slice(if n == 0 { b"" } else { b"\r\n " });
            out.extend_from_slice(piece);
        }
        out.extend_from_slice(b"\r\n");
    }
}
