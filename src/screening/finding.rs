//! What comes of asking: findings, failures, and what both lead to.

use std::fmt;

use crate::config::screening::OnFailure;

/// Octets of a verdict that are kept with the message.
const VERDICT_BYTES_MAX: usize = 256;
/// Octets of a scanner's own words that are passed on.
const WORDS_BYTES_MAX: usize = 120;

/// Who was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// clamd: malware.
    Clamav,
    /// rspamd: spam.
    Rspamd,
    /// DNS block lists: the client's address.
    BlockLists,
}

impl Kind {
    /// Its name in verdicts, events and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Clamav => "clamav",
            Kind::Rspamd => "rspamd",
            Kind::BlockLists => "block_lists",
        }
    }
}

/// A usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing found.
    Clean,
    /// Something is to be noted, and no more.
    Noted(String),
    /// The message passes, and says in its header that it looks like spam.
    Marked(String),
    /// The message does not pass.
    Refuse(Refusal, String),
}

/// Why there is no usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// None came in time.
    TimedOut,
    /// The connection could not be made, or broke.
    Lost(String),
    /// What came is no verdict.
    Answer(String),
    /// It was silent a moment ago, so it was not asked.
    Resting,
    /// So many messages are before this one that its turn did not come in time.
    Busy,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::TimedOut => f.write_str("no answer in time"),
            Failure::Lost(why) => write!(f, "connection: {why}"),
            Failure::Answer(what) => write!(f, "answer: {what}"),
            Failure::Resting => f.write_str("not asked, as it was silent a moment ago"),
            Failure::Busy => f.write_str("too many scans at a time: connections_max"),
        }
    }
}

/// Why a message, or a client, does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It holds malware, by this signature.
    Malware(Box<str>),
    /// It looks like spam; the scanner's words, perhaps none.
    Spam(Box<str>),
    /// The scanner wants it to come again later; its words, perhaps none.
    Later(Box<str>),
    /// The client is listed in this zone.
    Listed(Box<str>),
    /// This one gave no usable answer.
    Unscreened(Kind),
}

/// A refusal, with the verdict for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// What was found, as the log shows it.
    pub verdict: Box<str>,
}

/// What was found of something that passes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    looked: bool,
    remarks: Vec<String>,
    marked: bool,
}

impl Passed {
    /// The same as seen by two.
    pub fn and(mut self, other: Passed) -> Passed {
        self.looked |= other.looked;
        self.marked |= other.marked;
        self.remarks.extend(other.remarks);
        self
    }

    /// Whether the message is to say in its header that it looks like spam.
    pub fn is_marked(&self) -> bool {
        self.marked
    }

    /// `clean`, or the remarks; `None` where nobody looked.
    pub fn verdict(&self) -> Option<Box<str>> {
        let verdict = if self.remarks.is_empty() { "clean".to_owned() } else { self.remarks.join(",") };
        self.looked.then(|| verdict[..verdict.floor_char_boundary(VERDICT_BYTES_MAX)].into())
    }
}

/// What an answer, or its absence, leads to.
pub(super) fn judge(kind: Kind, answer: Result<Finding, Failure>, on_failure: OnFailure) -> Result<Passed, Refused> {
    let remark = |text: &str| format!("{}:{text}", kind.name());
    let passed =
        |remark: Option<String>, marked| Passed { looked: true, remarks: remark.into_iter().collect(), marked };
    match (answer, on_failure) {
        (Ok(Finding::Clean), _) => Ok(passed(None, false)),
        (Ok(Finding::Noted(text)), _) => Ok(passed(Some(remark(&text)), false)),
        (Ok(Finding::Marked(text)), _) => Ok(passed(Some(remark(&text)), true)),
        (Ok(Finding::Refuse(refusal, text)), _) => Err(Refused { refusal, verdict: remark(&text).into() }),
        (Err(_), OnFailure::Accept) => Ok(passed(Some(remark("failed")), false)),
        (Err(_), OnFailure::Defer) => {
            Err(Refused { refusal: Refusal::Unscreened(kind), verdict: remark("failed").into() })
        }
    }
}

/// A scanner's own words, fit for a reply and a line of the log.
pub(super) fn words(text: &str) -> String {
    let shown = text.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    let shown = &shown[..shown.floor_char_boundary(WORDS_BYTES_MAX)];
    shown.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_pass_or_refuse_and_failures_do_what_is_configured() {
        let judge = |answer, on_failure| judge(Kind::Rspamd, answer, on_failure);
        let clean = judge(Ok(Finding::Clean), OnFailure::Defer).expect("passes");
        assert_eq!((clean.verdict().as_deref(), clean.is_marked()), (Some("clean"), false));
        let marked = judge(Ok(Finding::Marked("add_header".into())), OnFailure::Defer).expect("passes");
        assert_eq!((marked.verdict().as_deref(), marked.is_marked()), (Some("rspamd:add_header"), true));
        let unscreened = judge(Err(Failure::TimedOut), OnFailure::Accept).expect("passes");
        assert_eq!(clean.and(marked).and(unscreened).verdict().as_deref(), Some("rspamd:add_header,rspamd:failed"));
        let refused = judge(Err(Failure::Resting), OnFailure::Defer).expect_err("waits");
        assert_eq!(refused.refusal, Refusal::Unscreened(Kind::Rspamd));
        assert_eq!(Passed::default().verdict(), None);
    }

    #[test]
    fn verdicts_and_words_are_bounded_and_fit_a_line() {
        let long = Passed { looked: true, remarks: vec!["é".repeat(VERDICT_BYTES_MAX)], marked: false };
        assert_eq!(long.verdict().map(|verdict| verdict.len()), Some(VERDICT_BYTES_MAX));
        assert_eq!(words(" a\r\nb\u{1b}[2J "), "a  b [2J");
        assert!(words(&"é".repeat(WORDS_BYTES_MAX)).len() <= WORDS_BYTES_MAX);
    }
}
