//! The targets, in the order in which a stranger meets what they feed.

mod answers;
mod assurance;
mod canonical;
mod commands;
mod configuration;
mod header;
mod http_api;
mod mime;
mod notice;
mod replies;
mod report;
mod stored;
mod transfer;

use super::Target;

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "commands", run: commands::commands, words: commands::WORDS },
    Target { name: "address", run: commands::address, words: commands::ADDRESS_WORDS },
    Target { name: "sasl", run: commands::sasl, words: &["AHUAcA==", "=", "*", "dQ=="] },
    Target { name: "transfer", run: transfer::transfer, words: commands::WORDS },
    Target { name: "header", run: header::header, words: header::WORDS },
    Target { name: "canonical", run: canonical::canonical, words: header::WORDS },
    Target { name: "mime", run: mime::mime, words: mime::WORDS },
    Target { name: "replies", run: replies::replies, words: replies::WORDS },
    Target { name: "classify", run: replies::classify, words: replies::WORDS },
    Target { name: "notice", run: notice::notice, words: replies::WORDS },
    Target { name: "report", run: report::report, words: report::WORDS },
    Target { name: "clamd", run: answers::clamd, words: &["stream: ", "OK\0", " FOUND\0", " ERROR\0"] },
    Target { name: "rspamd", run: answers::rspamd, words: answers::RSPAMD_WORDS },
    Target { name: "dns", run: answers::dns, words: &["\0\u{1}", "\u{c0}\u{c}", "\u{7f}\0\0\u{2}", "\0\u{f}"] },
    Target { name: "assurance", run: assurance::assurance, words: assurance::WORDS },
    Target { name: "http_api", run: http_api::http_api, words: http_api::WORDS },
    Target { name: "record", run: stored::record, words: &[] },
    Target { name: "row", run: stored::row, words: &[] },
    Target { name: "configuration", run: configuration::configuration, words: configuration::WORDS },
    Target { name: "script", run: configuration::script, words: configuration::SCRIPT_WORDS },
];

/// Cuts `bytes` into pieces of at most `most` bytes, as a network might: pseudo-randomly, by `seed`.
fn pieces(bytes: &[u8], seed: u64, most: usize) -> Vec<&[u8]> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(random.usize(1..=most).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

/// The same lines with CRLF at every end, and without NUL: as content is when it has been accepted.
fn strict(data: &[u8]) -> Vec<u8> {
    let lines: Vec<Vec<u8>> = data
        .split(|byte| *byte == b'\n')
        .map(|line| line.iter().copied().filter(|byte| !matches!(byte, b'\r' | 0)).collect())
        .collect();
    lines.join(&b"\r\n"[..])
}

/// Whether lines end by CRLF, and nothing else is in them that could end a line elsewhere.
fn is_strict(content: &[u8]) -> bool {
    let ends = |at: usize| content[at] != b'\n' || at > 0 && content[at - 1] == b'\r';
    let goes_on = |at: usize| content[at] != b'\r' || content.get(at + 1) == Some(&b'\n');
    (0..content.len()).all(|at| ends(at) && goes_on(at) && content[at] != 0)
}
