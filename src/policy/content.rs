//! What a message itself must fulfil.

use super::{Authorized, Rights, Verdict, matches};
use crate::message::scan::{Facts, from_mailboxes, sender_mailboxes};
use crate::smtp::path::Mailbox;
use crate::smtp::reply;

/// `Received` fields beyond which a message loops (RFC 5321 §6.3 wants at least 100).
pub const HOPS_MAX: u32 = 100;

impl Authorized {
    /// The content: no loop, a header of reasonable size; from an account exactly one From mailbox, one of its own, and
    /// no Sender but one of its own: with From bound to the account there is none to add (RFC 6409 §8.1).
    pub fn content(&self, content: &[u8], facts: &Facts) -> Verdict {
        if facts.too_large {
            return Verdict::Refuse(reply::HEADER_TOO_LARGE.into());
        }
        if facts.hops > HOPS_MAX {
            return Verdict::Refuse(reply::too_many_hops(facts.hops));
        }
        match &self.0 {
            Rights::Relay(_) | Rights::Return => Verdict::Accept,
            Rights::Account(account) => author(&account.senders, &content[..facts.body_start], facts),
        }
    }
}

/// From, then Sender: who a message says that it comes from.
fn author(senders: &[Box<str>], header: &[u8], facts: &Facts) -> Verdict {
    let from = from_mailboxes(header).unwrap_or_default();
    let verdict = owned("From", senders, facts.from_fields, &from);
    if facts.sender_fields == 0 || verdict != Verdict::Accept {
        return verdict;
    }
    owned("Sender", senders, facts.sender_fields, &sender_mailboxes(header).unwrap_or_default())
}

/// Exactly one field `name` with exactly one mailbox, which is one of `senders`.
fn owned(name: &str, senders: &[Box<str>], fields: u32, mailboxes: &[String]) -> Verdict {
    let [mailbox] = mailboxes else {
        return Verdict::Refuse(reply::author_unclear(name, mailboxes.len(), senders));
    };
    if fields != 1 {
        return Verdict::Refuse(reply::author_unclear(name, fields as usize, senders));
    }
    let Ok(parsed) = Mailbox::parse(mailbox, true) else {
        return Verdict::Refuse(reply::author_unclear(name, 0, senders));
    };
    if senders.iter().any(|allowed| matches(allowed, parsed.local(), parsed.domain())) {
        Verdict::Accept
    } else {
        Verdict::Refuse(reply::author_not_allowed(name, mailbox, senders))
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
            let refusal = refusal(unclear);
            assert!(refusal.starts_with("553 5.7.1") && refusal.contains("user@example.org"), "{unclear}: {refusal}");
        }
    }

    #[test]
    fn a_sender_field_is_the_accounts_own_too() {
        let with = |sender: &str| format!("From: user@example.org\r\n{sender}\r\n\r\n");
        assert_eq!(verdict(&with("Sender: News <news@bulk.example.org>")), Verdict::Accept);
        for foreign in [
            "Sender: boss@example.com",
            "Sender: user@example.org\r\nSender: user@example.org",
            "Sender: user@example.org, news@bulk.example.org",
            "Sender:",
        ] {
            let refusal = refusal(&with(foreign));
            assert!(refusal.starts_with("553 5.7.1") && refusal.contains("Sender"), "{foreign}: {refusal}");
        }
    }

    #[test]
    fn a_loop_is_stopped() {
        let hops = "Received: from a by b\r\n".repeat(HOPS_MAX as usize + 1);
        assert!(refusal(&format!("{hops}From: user@example.org\r\n\r\n")).starts_with("554 5.4.6"));
    }
}
