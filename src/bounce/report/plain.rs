//! Bounces in no agreed form: what qmail, Exim, Exchange and others write for people; and what only looks like one.

use super::parts::Letter;
use super::{Finding, Report, finding};

/// Lines of a text that are looked at.
const LINES_MAX: usize = 200;
/// Lines that a reply goes on after the one that tells of it.
const MORE_LINES: usize = 2;

/// Where a text begins to quote the original: nothing behind counts.
const ORIGINAL_BEGINS: &[&str] = &[
    "--- below this line is a copy",
    "------ this is a copy of",
    "------ this is the first",
    "----- original message",
    "-----original message",
    "----- message header follows",
    "----- unsent message",
    "original message follows",
    "original message headers",
    "received: from ",
];
/// How the subjects of bounces go.
const SUBJECTS: &[&str] = &[
    "undeliver",
    "failure notice",
    "delivery failure",
    "delivery failed",
    "mail delivery",
    "delivery status notification",
    "delivery notification",
    "returned mail",
    "returned to sender",
    "mail system error",
    "non-delivery",
    "nondeliver",
    "could not be delivered",
    "unzustellbar",
    "non remis",
    "no se puede entregar",
    "не удалось доставить",
    "не доставлено",
];
/// Who writes bounces.
const MAILERS: &[&str] =
    &["mailer-daemon", "mailerdaemon", "postmaster@", "mail delivery s", "mail-daemon", "microsoftexchange"];
/// How the subjects of automatic replies go.
const AUTO_SUBJECTS: &[&str] = &[
    "out of office",
    "out of the office",
    "automatic reply",
    "auto reply",
    "autoreply",
    "auto-reply",
    "auto:",
    "automatische antwort",
    "abwesenheit",
    "réponse automatique",
    "respuesta automática",
    "автовідповідь",
    "автоответ",
    "vacation",
    "on holiday",
];
/// What texts of delay say.
const DELAYS: &[&str] = &[
    "still trying",
    "will continue to try",
    "will keep trying",
    "will be retried",
    "delivery attempts will continue",
    "you do not need to resend",
    "not yet been delivered",
    "this is a warning message only",
];
/// What texts of failure say.
const FAILURES: &[&str] = &[
    "could not be delivered",
    "couldn't be delivered",
    "could not deliver",
    "wasn't able to deliver",
    "was not able to deliver",
    "unable to deliver",
    "not delivered to",
    "did not reach",
    "permanent error",
    "permanent fatal errors",
    "fatal errors",
    "delivery to the following recipient",
    "delivery has failed",
    "undeliverable",
    "user unknown",
    "no such user",
    "mailbox unavailable",
];

/// What a message without a report for programs is.
pub(super) fn read(letter: &Letter, null: bool) -> Report {
    let texts = own_texts(letter);
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| texts.contains(phrase));
    let subject = letter.subject();
    let of_mailer = null || MAILERS.iter().any(|name| letter.field("From").contains(name));
    let is_marked = !letter.field("X-Failed-Recipients").is_empty()
        || texts.trim_start().starts_with("hi. this is the")
        || letter.field("Content-Type").contains("report-type=delivery-status");
    let is_delay = subject.starts_with("warning:") || says(DELAYS);
    if of_mailer && is_delay && !is_automatic_by_subject(&subject) {
        return Report::Delayed;
    }
    if !is_marked && is_automatic(letter, &subject) {
        return Report::AutoReply;
    }
    let by_subject = SUBJECTS.iter().any(|phrase| subject.contains(phrase));
    if !(is_marked || of_mailer && (by_subject || says(FAILURES) || telling_line(letter).is_some())) {
        return Report::Unclear;
    }
    match telling_line(letter) {
        Some(line) => Report::Bounced(finding(&line, None, None)),
        None if is_marked || by_subject && says(FAILURES) => Report::Bounced(without_reply(letter)),
        None => Report::Unclear,
    }
}

/// RFC 3834 §5, and those who do without it. Bounces have the same field, so this is asked of a message without their
/// subject only.
fn is_automatic(letter: &Letter, subject: &str) -> bool {
    let answered = letter.field("Auto-Submitted");
    let marks = ["X-Autoreply", "X-Autorespond", "X-Autoresponder", "X-Auto-Reply"];
    is_automatic_by_subject(subject)
        || marks.iter().any(|name| !letter.field(name).is_empty())
        || letter.field("Precedence").contains("auto_reply")
        || answered.starts_with("auto-replied") && !SUBJECTS.iter().any(|phrase| subject.contains(phrase))
}

fn is_automatic_by_subject(subject: &str) -> bool {
    AUTO_SUBJECTS.iter().any(|phrase| subject.contains(phrase))
}

/// Where no server's reply is told: the words of the bounce itself.
fn without_reply(letter: &Letter) -> Finding {
    let texts: Vec<&str> = letter.texts().take(1).collect();
    let told = before_original(texts.first().copied().unwrap_or_default());
    let lines: Vec<&str> = told.lines().map(str::trim).filter(|line| !line.is_empty()).take(6).collect();
    finding(&lines.join(" "), None, None)
}

/// What the texts for people say themselves, in lower case, on one line.
fn own_texts(letter: &Letter) -> String {
    let mut all = String::new();
    for text in letter.texts().take(2) {
        let told = before_original(text).to_lowercase();
        all.extend(told.split_whitespace().flat_map(|word| [word, " "]));
    }
    all
}

/// The line of the texts for people that holds a server's reply, with what follows it of the same sentence.
pub(super) fn telling_line(letter: &Letter) -> Option<String> {
    for text in letter.texts().take(2) {
        let text = without_tags(before_original(text));
        let lines: Vec<&str> = text.lines().take(LINES_MAX).map(str::trim).collect();
        let Some(at) = lines.iter().position(|line| begins_reply(line).is_some()) else { continue };
        let start = begins_reply(lines[at]).unwrap_or_default();
        let more = lines[at + 1..].iter().take(MORE_LINES).take_while(|line| !line.is_empty());
        let whole: Vec<&str> = std::iter::once(&lines[at][start..]).chain(more.copied()).collect();
        return Some(whole.join(" "));
    }
    None
}

/// Where a permanent reply begins in a line: `550 …`, `550-…`, `#5.1.1`, `5.1.1 …`.
fn begins_reply(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    let starts =
        |at: usize| at == 0 || !bytes[at - 1].is_ascii_alphanumeric() && !matches!(bytes[at - 1], b'.' | b'@' | b'-');
    (0..bytes.len())
        .find(|&at| bytes[at] == b'5' && starts(at) && (is_basic(&bytes[at..]) || is_enhanced(&bytes[at..])))
}

fn is_basic(bytes: &[u8]) -> bool {
    matches!(bytes, [b'5', b'0'..=b'7', b'0'..=b'9', b' ' | b'-' | b':' | b',', ..])
}

fn is_enhanced(bytes: &[u8]) -> bool {
    let word = bytes.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.').unwrap_or(bytes.len());
    let numbers: Vec<&[u8]> = bytes[..word].split(|byte| *byte == b'.').collect();
    matches!(numbers[..], [b"5", subject, detail, ..]
        if (1..=2).contains(&subject.len()) && (1..=3).contains(&detail.len()))
        && (numbers.len() == 3 || numbers.len() == 4 && numbers[3].is_empty())
}

/// A text up to where it quotes the original.
fn before_original(text: &str) -> &str {
    let lower = text.to_ascii_lowercase();
    let end = ORIGINAL_BEGINS.iter().filter_map(|mark| lower.find(mark)).min().unwrap_or(text.len());
    &text[..end]
}

/// A text without what stands in angle brackets, if it is HTML.
fn without_tags(text: &str) -> String {
    if !text.to_ascii_lowercase().contains("<html") && !text.to_ascii_lowercase().contains("<br") {
        return text.to_owned();
    }
    let mut plain = String::with_capacity(text.len());
    for piece in text.split('<') {
        plain.push_str(piece.split_once('>').map_or(piece, |(_, behind)| behind));
        plain.push('\n');
    }
    plain
}
