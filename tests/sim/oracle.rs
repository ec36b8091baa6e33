//! The oracle: what was submitted and promised, what has arrived, and what of that must not be.
//!
//! A *copy* is a message that a destination took for a recipient. It is *known* once the sender has gone on after the
//! destination's 250, so that nothing but a crash can make it forget.
//!
//! The destination learns that late: what the sender said after the 250 may be under way when the sender dies, and arrive
//! half a minute later. Connections do not outlive their process. So a crash at any time since the copy was *taken* may
//! have been the end of the one that knew, before its settlement was flushed; only a process that has lived ever since
//! must remember.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use shards::Instant;

use crate::limits::{SUBMITTED_BYTES_MAX, SUBMITTED_RECIPIENTS_MAX};
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
    /// Who may have a message already does not get it again by itself, not even after a crash.
    holds_uncertain: bool,
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
    /// The notices that told of its delay, by Message-ID: one may come twice, a second one must not.
    delay_notices: BTreeSet<String>,
}

struct Copy {
    taken: Instant,
    known: Option<Instant>,
}

/// One copy: message, recipient, which.
#[derive(Clone)]
pub struct CopyId {
    message: u32,
    recipient: String,
    number: usize,
}

/// What the server must know at a moment of what happened before.
struct Memory {
    crashes: Vec<Instant>,
    holds_uncertain: bool,
    now: Instant,
}

impl Memory {
    /// No crash has come since.
    fn remembers(&self, then: Instant) -> bool {
        !self.crashes.iter().any(|crash| (then..=self.now).contains(crash))
    }

    /// It does not repeat this delivery, once known, by itself: it remembers it, or it holds what is uncertain.
    fn keeps(&self, copy: &Copy) -> bool {
        copy.known.is_some() && (self.holds_uncertain || self.remembers(copy.taken))
    }
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
    /// Those of whose delay the sender was told.
    pub delayed: usize,
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
        let Some(submission) = self.submissions.get_mut(&message) else { return };
        if let Some(recipient) = submission.recipients.get_mut(recipient) {
            recipient.acknowledged = true;
        }
    }

    /// A server took this message by SMTP: it is within what its configuration allows a message.
    pub fn taken_by_a_server(&mut self, message: u32) {
        let Some(submission) = self.submissions.get(&message) else { return };
        let promised = submission.recipients.values().filter(|recipient| recipient.acknowledged).count();
        if promised > SUBMITTED_RECIPIENTS_MAX || submission.content.len() > SUBMITTED_BYTES_MAX {
            let bytes = submission.content.len();
            self.violations.push(format!("message {message} of {bytes} octets was accepted for {promised} recipients"));
        }
    }

    /// The server's machine has lost its power.
    pub fn crashed(&mut self, now: Instant) {
        self.crashes.push(now);
    }

    /// Whether what a crash left uncertain is held from now on (it is tried again otherwise).
    pub fn set_holds_uncertain(&mut self, holds_uncertain: bool) {
        self.holds_uncertain = holds_uncertain;
    }

    /// A destination takes `content` for `recipient`, over a connection that began at `since`. What was sent over an older
    /// connection may come late, when its sender has long given up and sent it again.
    pub fn arrived(&mut self, since: Instant, now: Instant, recipient: &str, content: &[u8]) -> Option<CopyId> {
        let Some(message) = identity(content) else {
            self.violations.push(format!("{recipient} got a message that nobody submitted"));
            return None;
        };
        let memory = self.memory(now);
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
        let knew = entry.copies.iter().filter(|copy| memory.keeps(copy)).filter_map(|copy| copy.known);
        let knew = knew.filter(|known| *known < since).min();
        if let Some(known) = knew {
            let after = now.since(known);
            self.violations
                .push(format!("message {message} came again to {recipient}, {after:?} after a known delivery"));
        }
        if let Some(told) = entry.failure_notices.iter().find(|told| **told < since && memory.remembers(**told)) {
            let after = now.since(*told);
            self.violations
                .push(format!("message {message} came to {recipient}, {after:?} after its failure was told"));
        }
        entry.copies.push(Copy { taken: now, known: None });
        Some(CopyId { message, recipient: recipient.to_owned(), number: entry.copies.len() - 1 })
    }

    /// The sender of this copy has heard our 250.
    pub fn known(&mut self, now: Instant, copy: &CopyId) {
        let memory = self.memory(now);
        let CopyId { message, recipient, number } = copy;
        let Some(entry) = self.recipient(*message, recipient) else { return };
        let mut others = entry.copies.iter().enumerate().filter(|(other, _)| other != number);
        let twice = others.any(|(_, copy)| memory.keeps(copy));
        entry.copies[*number].known.get_or_insert(now);
        if twice {
            self.violations.push(format!("message {message} was delivered to {recipient} twice, and both were known"));
        }
    }

    fn failure_notice(&mut self, now: Instant, message: u32, recipient: &str) {
        let memory = self.memory(now);
        let Some(entry) = self.recipient(message, recipient) else {
            self.violations
                .push(format!("a notice speaks of message {message} to {recipient}, which nobody submitted"));
            return;
        };
        entry.failure_notices.push(now);
        if entry.copies.iter().any(|copy| copy.known.is_some() && memory.remembers(copy.taken)) {
            self.violations.push(format!("a failure notice for {recipient} of message {message}, which was delivered"));
        }
    }

    fn delay_notice(&mut self, message: u32, recipient: &str, notice: &str) {
        let Some(entry) = self.recipient(message, recipient) else { return };
        entry.delay_notices.insert(notice.to_owned());
        if entry.delay_notices.len() > 1 {
            self.violations.push(format!("the delay of message {message} to {recipient} was told twice"));
        }
    }

    /// A notice came: whom it calls failed or delayed.
    pub fn notice(&mut self, now: Instant, notice: &[u8]) {
        let text = String::from_utf8_lossy(notice);
        let Some(message) = identity(notice) else {
            self.violations.push("a notice that speaks of no message".to_owned());
            return;
        };
        let mut recipient = None;
        let own = text.lines().find(|line| line.starts_with("Message-ID: ")).unwrap_or_default();
        for line in text.lines() {
            if let Some(address) = line.strip_prefix("Final-Recipient: rfc822;") {
                recipient = Some(address.trim());
            } else if line == "Action: failed"
                && let Some(recipient) = recipient.take()
            {
                self.failure_notice(now, message, recipient);
            } else if line == "Action: delayed"
                && let Some(recipient) = recipient.take()
            {
                self.delay_notice(message, recipient, own);
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
                tally.delayed += usize::from(!recipient.delay_notices.is_empty());
                match (recipient.copies.is_empty(), recipient.failure_notices.is_empty()) {
                    (false, _) => tally.delivered += 1,
                    (true, false) => tally.failed += 1,
                    (true, true) => lost.push(format!("message {message} to {path}")),
                }
            }
        }
        if lost.is_empty() { Ok(tally) } else { Err(format!("acknowledged and lost: {}", lost.join(", "))) }
    }

    fn memory(&self, now: Instant) -> Memory {
        Memory { crashes: self.crashes.clone(), holds_uncertain: self.holds_uncertain, now }
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
        oracle.arrived(at(1), at(1), A, &content);
        assert_eq!(oracle.check_at_end(), Ok(Tally { acknowledged: 1, delivered: 1, ..Tally::default() }));
    }

    #[test]
    fn damage_and_inventions_are_found() {
        let (mut oracle, mut content) = submitted();
        content.truncate(content.len() - 3);
        oracle.arrived(at(1), at(1), A, &content);
        assert!(oracle.check().is_err_and(|found| found.contains("damaged")));
        for (recipient, content) in [("b@one.test", "X-Simulation-Id: 7\r\n"), (A, "X-Simulation-Id: 8\r\n"), (A, "")] {
            let (mut oracle, _) = submitted();
            oracle.arrived(at(1), at(1), recipient, content.as_bytes());
            assert!(oracle.check().is_err());
        }
    }

    #[test]
    fn a_second_copy_needs_a_lost_reply_or_a_crash() {
        let (mut oracle, content) = submitted();
        oracle.arrived(at(1), at(1), A, &content);
        let second = oracle.arrived(at(2), at(2), A, &content).expect("it was submitted");
        assert_eq!(oracle.check(), Ok(()), "the first reply may have been lost");
        oracle.known(at(3), &second);
        oracle.crashed(at(4));
        oracle.arrived(at(5), at(5), A, &content);
        assert_eq!(oracle.check(), Ok(()), "the crash may have come before the settlement");
        let third = oracle.arrived(at(6), at(6), A, &content).expect("it was submitted");
        oracle.known(at(7), &third);
        let late = oracle.arrived(at(6), at(8), A, &content).expect("it was submitted");
        assert_eq!(oracle.check(), Ok(()), "it may have been sent long ago");
        oracle.known(at(9), &late);
        assert!(oracle.check().is_err(), "its sender is still there");
    }

    #[test]
    fn a_copy_after_a_known_one_is_found() {
        let (mut oracle, content) = submitted();
        let copy = oracle.arrived(at(1), at(1), A, &content).expect("it was submitted");
        oracle.known(at(2), &copy);
        oracle.arrived(at(3), at(3), A, &content);
        assert!(oracle.check().is_err());
    }

    #[test]
    fn what_the_dead_had_heard_is_known_to_nobody() {
        let (mut oracle, content) = submitted();
        let first = oracle.arrived(at(1), at(1), A, &content).expect("it was submitted");
        oracle.crashed(at(2));
        oracle.known(at(3), &first);
        let second = oracle.arrived(at(4), at(4), A, &content).expect("it was submitted");
        oracle.known(at(5), &second);
        assert_eq!(oracle.check(), Ok(()), "who heard the first reply died at second 2");
        oracle.arrived(at(6), at(6), A, &content);
        assert!(oracle.check().is_err(), "who heard the second lives");
    }

    #[test]
    fn a_crash_is_no_excuse_where_uncertain_recipients_are_held() {
        for holds in [false, true] {
            let (mut oracle, content) = submitted();
            oracle.set_holds_uncertain(holds);
            let copy = oracle.arrived(at(1), at(1), A, &content).expect("it was submitted");
            oracle.known(at(2), &copy);
            oracle.crashed(at(3));
            oracle.arrived(at(4), at(4), A, &content);
            assert_eq!(oracle.check().is_err(), holds);
        }
    }

    #[test]
    fn a_notice_about_a_delivered_recipient_is_found() {
        let (mut oracle, content) = submitted();
        oracle.failure_notice(at(1), 7, A);
        assert_eq!(oracle.check(), Ok(()));
        assert_eq!(oracle.check_at_end().map(|tally| tally.failed), Ok(1));
        oracle.arrived(at(2), at(2), A, &content);
        assert!(oracle.check().is_err());
        let (mut oracle, content) = submitted();
        let copy = oracle.arrived(at(1), at(1), A, &content).expect("it was submitted");
        oracle.known(at(2), &copy);
        oracle.failure_notice(at(3), 7, A);
        assert!(oracle.check().is_err());
    }
}
