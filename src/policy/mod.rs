//! Policy: who may send what. Facts in, [`Verdict`] out. Pure.
//!
//! Owns: accounts and their senders, relay rights, the rules about a message's content (exactly one From mailbox that
//! belongs to the account, no loops), when it may go out. Never: a socket, a clock, a counter (`inbound` counts and waits).
//! Argon2id verification is here as a function, because it computes only; it takes tens of milliseconds, so callers run
//! it off the reactor.
//! RFC: 6409 §3.3, §4.3, §6.1, §8; 5321 §6.3; 4954.

pub mod account;
pub mod content;
pub mod network;
pub mod origin;
pub mod timing;

pub use account::Accounts;

use std::sync::Arc;

use crate::config::{Account, Standard};
use crate::smtp::envelope::Sender;
use crate::smtp::path::{Mailbox, ReversePath};
use crate::smtp::reply::{self, Reply};

/// Policy's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Accept,
    /// Say this.
    Refuse(Reply),
}

/// The right to hand in mail, which only this module gives: no transaction begins without one.
#[derive(Clone, Debug)]
pub struct Authorized(Rights);

#[derive(Clone, Debug)]
enum Rights {
    /// An authenticated account: its senders only.
    Account(Arc<Account>),
    /// A trusted network on a relay listener: any sender.
    Relay(Arc<Standard>),
    /// Any server, to the return path only.
    Return,
}

impl Authorized {
    /// The account, where there is one.
    pub fn account(&self) -> Option<&Arc<Account>> {
        match &self.0 {
            Rights::Account(account) => Some(account),
            Rights::Relay(_) | Rights::Return => None,
        }
    }

    /// What holds for its messages; `None`: it has none that go out.
    pub fn standard(&self) -> Option<&Standard> {
        match &self.0 {
            Rights::Account(account) => Some(&account.standard),
            Rights::Relay(standard) => Some(standard),
            Rights::Return => None,
        }
    }

    /// The right to bring what comes back to the return path, and nothing else; anybody has it.
    pub fn to_return() -> Authorized {
        Authorized(Rights::Return)
    }

    /// Whether this is the right to bring what comes back.
    pub fn is_to_return(&self) -> bool {
        matches!(self.0, Rights::Return)
    }

    /// MAIL: the reverse-path must belong to the account. `<>` is allowed: mail clients send receipts from it, and the
    /// From field is checked all the same.
    pub fn sender(&self, sender: &Sender) -> Verdict {
        match (&self.0, &sender.path) {
            (Rights::Relay(_) | Rights::Return, _) | (_, ReversePath::Null) => Verdict::Accept,
            (Rights::Account(account), ReversePath::Mailbox(mailbox)) => owns(account, mailbox),
        }
    }
}

/// Whether `address` is among the account's senders.
pub fn may_send(account: &Account, address: &str) -> bool {
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    account.senders.iter().any(|allowed| matches(allowed, local, domain))
}

/// Whether `mailbox` is among the account's senders.
fn owns(account: &Account, mailbox: &Mailbox) -> Verdict {
    if account.senders.iter().any(|allowed| matches(allowed, mailbox.local(), mailbox.domain())) {
        Verdict::Accept
    } else {
        Verdict::Refuse(reply::sender_not_allowed(mailbox.as_str(), &account.senders))
    }
}

/// `@domain` matches every mailbox of the domain; an address matches itself and its `+tag` forms. Letter case does not
/// count: an account that may send as `Info@` may send as `info@`.
fn matches(allowed: &str, local: &str, domain: &str) -> bool {
    let Some((allowed_local, allowed_domain)) = allowed.rsplit_once('@') else {
        return false;
    };
    let same_domain = allowed_domain.eq_ignore_ascii_case(domain);
    let untagged = local.split_once('+').map_or(local, |(user, _)| user);
    let same_local = allowed_local.is_empty()
        || allowed_local.eq_ignore_ascii_case(local)
        || allowed_local.eq_ignore_ascii_case(untagged);
    same_domain && same_local
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Notices;
    use crate::smtp::envelope::Body;

    pub(super) fn account(senders: &[&str]) -> Arc<Account> {
        Arc::new(Account {
            name: "user@example.org".into(),
            password: "".into(),
            senders: senders.iter().map(|sender| (*sender).into()).collect(),
            smtp: true,
            daily_limit: None,
            scheduled_send: false,
            return_path: false,
            notify: Notices { failed: true, delayed: true, delivered: false },
            standard: Standard::default(),
        })
    }

    pub(super) fn authorized(senders: &[&str]) -> Authorized {
        Authorized(Rights::Account(account(senders)))
    }

    fn mail(path: &str) -> Sender {
        let path = match path {
            "" => ReversePath::Null,
            text => ReversePath::Mailbox(Mailbox::parse(text, false).expect("a mailbox")),
        };
        Sender { path, body: Body::SevenBit, smtputf8: false, size: None, ret: None, envid: None, requiretls: false }
    }

    #[test]
    fn an_account_sends_as_its_senders_only() {
        let rights = authorized(&["user@example.org", "@bulk.example.org"]);
        for allowed in ["user@example.org", "User@EXAMPLE.org", "user+news@example.org", "any.one@bulk.example.org", ""]
        {
            assert_eq!(rights.sender(&mail(allowed)), Verdict::Accept, "{allowed}");
        }
        for foreign in ["other@example.org", "user@example.com", "user@sub.bulk.example.org", "useruser@example.org"] {
            let Verdict::Refuse(reply) = rights.sender(&mail(foreign)) else { panic!("{foreign} was accepted") };
            assert_eq!(reply.code, 553);
            assert!(reply.text.contains("@bulk.example.org"), "the reply names what is allowed: {reply}");
        }
    }

    #[test]
    fn a_relay_sends_as_anyone() {
        assert_eq!(Authorized(Rights::Relay(Arc::default())).sender(&mail("any@where.example")), Verdict::Accept);
    }
}
