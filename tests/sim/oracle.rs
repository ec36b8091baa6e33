//! The oracle: what was submitted and promised, what has arrived, and what of that must not be.
//!
//! A *copy* is a message that a destination took for a recipient. It is *known* once the sender has gone on after the
//! destination's 250, so that nothing but a crash can make it forget.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use shards::Instant;

use crate::mail::Mail;

/// The oracle as the tasks of a simulation share it.
pub type Shared = Rc<RefCell<Oracle>>;

/// The header field that tells a message from all others.
pub const IDENTITY_FIELD: &str = "X-Simulation-Id: ";

/// Everything that is known about the mail of one run.
#[derive(Default)]
pub struct Oracle {
    submissions: BTreeMap<u32, Submission>,
    crashes: Vec<Instant>,
    violations: Vec<String>,
}

struct Submission {
    content: Arc<Vec<u8>>,
    recipients: BTreeMap<String, Recipient>,
}

#[derive(Default)]
struct Recipient {
    /// We said 250: it is ours now.
    acknowledged: bool,
    copies: Vec<Copy>,
    /// When notices of its failure came.
    failure_notices: Vec<Instant>,
}

struct Copy {
    known: Option<Instant>,
}

/// One copy: message, recipient, which.
#[derive(Clone)]
pub struct CopyId {
    message: u32,
    recipient: String,
    number: usize,
}

/// How a run ended, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Recipients that we promised to deliver.
    pub acknowledged: usize,
    /// Those of them with at least one copy.
    pub delivered: usize,
    /// Those with a failure notice and no copy.
    pub failed: usize,
    /// Recipients that were submitted and never promised.
    pub refused: usize,
    /// Copies beyond the first.
    pub duplicates: usize,
}

impl Oracle {
    /// A client is about to submit this.
    pub fn submitting(&mut self, mail: &Mail) {
        let recipients = mail.recipients.iter().map(|path| (path.clone(), Recipient::default())).collect();
        self.submissions.insert(mail.number, Submission { content: mail.content.clone(), recipients });
    }

    /// The client got 250 for this recipient.
    pub fn acknowledged(&mut self, message: u32, recipient: &str) {
        if let Some(recipient) = self.recipient(message, recipient) {
            recipient.acknowledged = true;
        }
    }

    /// The server's machine has lost its power.
    pub fn crashed(&mut self, now: Instant) {
        self.crashes.push(now);
    }

    /// A destination takes `content` for `recipient`.
    pub fn arrived(&mut self, now: Instant, recipient: &str, content: &[u8]) -> Option<CopyId> {
        let Some(message) = identity(content) else {
            self.violations.push(format!("{recipient} got a message that nobody submitted"));
            return None;
        };
        let crashes = self.crashes.clone();
        let crashed_since = |since: Instant| crashes.iter().any(|crash| (since..=now).contains(crash));
        let Some(submission) = self.submissions.get_mut(&message) else {
            self.violations.push(format!("message {message} was never submitted, and arrived"));
            return None;
        };
        if !content.ends_with(&submission.content) {
            self.violations.push(format!("message {message} arrived damaged"));
        }
        let Some(entry) = submission.recipients.get_mut(recipient) else {
            self.violations.push(format!("message {message} arrived for {recipient}, who is not among its recipients"));
            return None;
        };
        if let Some(known) = entry.copies.iter().filter_map(|copy| copy.known).find(|known| !crashed_since(*known)) {
            let since = now.since(known);
            self.violations
                .push(format!("message {message} came again to {recipient}, {since:?} after a known delivery"));
        }
        if let Some(told) = entry.failure_notices.iter().find(|told| !crashed_since(**told)) {
            let since = now.since(*told);
            self.violations
                .push(format!("message {message} came to {recipient}, {since:?} after the notice of its failure"));
        }
        entry.copies.push(Copy { known: None });
        Some(CopyId { message, recipient: recipient.to_owned(), number: entry.copies.len() - 1 })
    }

    /// The sender of this copy has heard our 250.
    pub fn known(&mut self, now: Instant, copy: &CopyId) {
        if let Some(recipient) = self.recipient(copy.message, &copy.recipient) {
            recipient.copies[copy.number].known.get_or_insert(now);
        }
    }

    fn failure_notice(&mut self, now: Instant, message: u32, recipient: &str) {
        let crashes = self.crashes.clone();
        let Some(entry) = self.recipient(message, recipient) else {
            self.violations
                .push(format!("a notice speaks of message {message} to {recipient}, which nobody submitted"));
            return;
        };
        entry.failure_notices.push(now);
        let crashed_since = |since: Instant| crashes.iter().any(|crash| (since..=now).contains(crash));
        if entry.copies.iter().filter_map(|copy| copy.known).any(|known| !crashed_since(known)) {
            self.violations.push(format!("a failure notice for {recipient} of message {message}, which was delivered"));
        }
    }

    /// A notice came: whom it calls failed.
    pub fn notice(&mut self, now: Instant, notice: &[u8]) {
        let text = String::from_utf8_lossy(notice);
        let Some(message) = identity(notice) else {
            self.violations.push("a notice that speaks of no message".to_owned());
            return;
        };
        let mut recipient = None;
        for line in text.lines() {
            if let Some(address) = line.strip_prefix("Final-Recipient: rfc822;") {
                recipient = Some(address.trim());
            } else if line == "Action: failed"
                && let Some(recipient) = recipient.take()
            {
                self.failure_notice(now, message, recipient);
            }
        }
    }

    /// What must not be and has been seen so far.
    pub fn check(&self) -> Result<(), String> {
        if self.violations.is_empty() { Ok(()) } else { Err(self.violations.join("\n")) }
    }

    /// The queue is empty: every promise must have been kept.
    pub fn check_at_end(&self) -> Result<Tally, String> {
        let mut tally = Tally::default();
        let mut lost = Vec::new();
        for (message, submission) in &self.submissions {
            for (path, recipient) in &submission.recipients {
                tally.duplicates += recipient.copies.len().saturating_sub(1);
                if !recipient.acknowledged {
                    tally.refused += 1;
                    continue;
                }
                tally.acknowledged += 1;
                match (recipient.copies.is_empty(), recipient.failure_notices.is_empty()) {
                    (false, _) => tally.delivered += 1,
                    (true, false) => tally.failed += 1,
                    (true, true) => lost.push(format!("message {message} to {path}")),
                }
            }
        }
        if lost.is_empty() { Ok(tally) } else { Err(format!("acknowledged and lost: {}", lost.join(", "))) }
    }

    fn recipient(&mut self, message: u32, path: &str) -> Option<&mut Recipient> {
        self.submissions.get_mut(&message)?.recipients.get_mut(path)
    }
}

/// The number in a message's identity field, wherever it is (a notice quotes it).
pub fn identity(content: &[u8]) -> Option<u32> {
    let text = String::from_utf8_lossy(content);
    let line = text.lines().find_map(|line| line.strip_prefix(IDENTITY_FIELD))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "a@one.test";

    fn at(second: u64) -> Instant {
        Instant::from_nanos(second * 1_000_000_000)
    }

    fn submitted() -> (Oracle, Vec<u8>) {
        let content = format!("{IDENTITY_FIELD}7\r\n\r\nHello\r\n").into_bytes();
        let mut oracle = Oracle::default();
        let recipients = vec![A.to_owned()];
        oracle.submitting(&Mail { number: 7, recipients, content: Arc::new(content.clone()) });
        oracle.acknowledged(7, A);
        (oracle, content)
    }

    #[test]
    fn a_promise_that_was_not_kept_is_found() {
        let (mut oracle, content) = submitted();
        assert!(oracle.check_at_end().is_err());
        oracle.arrived(at(1), A, &content);
        assert_eq!(oracle.check_at_end(), Ok(Tally { acknowledged: 1, delivered: 1, ..Tally::default() }));
    }

    #[test]
    fn damage_and_inventions_are_found() {
        let (mut oracle, mut content) = submitted();
        content.truncate(content.len() - 3);
        oracle.arrived(at(1), A, &content);
        assert!(oracle.check().is_err_and(|found| found.contains("damaged")));
        for (recipient, content) in [("b@one.test", "X-Simulation-Id: 7\r\n"), (A, "X-Simulation-Id: 8\r\n"), (A, "")] {
            let (mut oracle, _) = submitted();
            oracle.arrived(at(1), recipient, content.as_bytes());
            assert!(oracle.check().is_err());
        }
    }

    #[test]
    fn a_second_copy_needs_a_lost_reply_or_a_crash() {
        let (mut oracle, content) = submitted();
        oracle.arrived(at(1), A, &content);
        let second = oracle.arrived(at(2), A, &content).expect("it was submitted");
        assert_eq!(oracle.check(), Ok(()), "the first reply may have been lost");
        oracle.known(at(3), &second);
        oracle.crashed(at(4));
        oracle.arrived(at(5), A, &content);
        assert_eq!(oracle.check(), Ok(()), "the crash may have come before the settlement");
        let third = oracle.arrived(at(6), A, &content).expect("it was submitted");
        oracle.known(at(7), &third);
        oracle.arrived(at(8), A, &content);
        assert!(oracle.check().is_err());
    }

    #[test]
    fn a_notice_about_a_delivered_recipient_is_found() {
        let (mut oracle, content) = submitted();
        oracle.failure_notice(at(1), 7, A);
        assert_eq!(oracle.check(), Ok(()));
        assert_eq!(oracle.check_at_end().map(|tally| tally.failed), Ok(1));
        oracle.arrived(at(2), A, &content);
        assert!(oracle.check().is_err());
        let (mut oracle, content) = submitted();
        let copy = oracle.arrived(at(1), A, &content).expect("it was submitted");
        oracle.known(at(2), &copy);
        oracle.failure_notice(at(3), 7, A);
        assert!(oracle.check().is_err());
    }
}
