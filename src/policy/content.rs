//! What a message itself must fulfil.

use super::{Authorized, Rights, Verdict, matches};
use crate::message::scan::{Facts, from_mailboxes};
use crate::smtp::path::Mailbox;
use crate::smtp::reply;

/// `Received` fields beyond which a message loops (RFC 5321 §6.3 wants at least 100).
pub const HOPS_MAX: u32 = 100;

impl Authorized {
    /// The content: no loop, a header of reasonable size; from an account exactly one From mailbox, one of its own.
    pub fn content(&self, content: &[u8], facts: &Facts) -> Verdict {
        if facts.too_large {
            return Verdict::Refuse(reply::HEADER_TOO_LARGE.into());
        }
        if facts.hops > HOPS_MAX {
            return Verdict::Refuse(reply::too_many_hops(facts.hops));
        }
        match &self.0 {
            Rights::Relay => Verdict::Accept,
            Rights::Account(account) => from_field(&account.senders, content, facts),
        }
    }
}

fn from_field(senders: &[Box<str>], content: &[u8], facts: &Facts) -> Verdict {
    let mailboxes = from_mailboxes(&content[..facts.body_start]).unwrap_or_default();
    let [mailbox] = mailboxes.as_slice() else {
        return Verdict::Refuse(reply::from_field_unclear(mailboxes.len()));
    };
    if facts.from_fields != 1 {
        return Verdict::Refuse(reply::from_field_unclear(facts.from_fields as usize));
    }
    let Ok(parsed) = Mailbox::parse(mailbox, true) else {
        return Verdict::Refuse(reply::from_field_unclear(0));
    };
    if senders.iter().any(|allowed| matches(allowed, parsed.local(), parsed.domain())) {
        Verdict::Accept
    } else {
        Verdict::Refuse(reply::from_not_allowed(mailbox, senders))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::authorized;
    use super::*;
    use crate::message::scan;

    fn verdict(content: &str) -> Verdict {
        authorized(&["user@example.org", "@bulk.example.org"]).content(content.as_bytes(), &scan(content.as_bytes()))
    }

    fn refusal(content: &str) -> String {
        match verdict(content) {
            Verdict::Accept => panic!("accepted: {content}"),
            Verdict::Refuse(reply) => reply.to_string(),
        }
    }

    #[test]
    fn one_from_mailbox_of_the_account_is_accepted() {
        for from in
            ["user@example.org", "\"A, B\" <User@example.org>", "X <news@bulk.example.org>", "user+tag@example.org"]
        {
            assert_eq!(verdict(&format!("From: {from}\r\nSubject: x\r\n\r\nhi\r\n")), Verdict::Accept, "{from}");
        }
    }

    #[test]
    fn a_foreign_or_unclear_from_is_refused_with_what_is_allowed() {
        assert!(refusal("From: boss@example.com\r\n\r\n").starts_with("553 5.7.1"));
        assert!(refusal("From: boss@example.com\r\n\r\n").contains("user@example.org"));
        for unclear in [
            "Subject: none\r\n\r\n",
            "From: user@example.org, user@example.org\r\n\r\n",
            "From: user@example.org\r\nFrom: user@example.org\r\n\r\n",
            "From: user@example.org\r\nfrom : boss@example.com\r\n\r\n",
            "From: nobody\r\n\r\n",
        ] {
            assert!(refusal(unclear).starts_with("5"), "{unclear}");
        }
    }

    #[test]
    fn a_loop_is_stopped() {
        let hops = "Received: from a by b\r\n".repeat(HOPS_MAX as usize + 1);
        assert!(refusal(&format!("{hops}From: user@example.org\r\n\r\n")).starts_with("554 5.4.6"));
    }
}
