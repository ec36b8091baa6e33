//! What a shard knows of the lists.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use shards::Timestamp;

use super::{Entry, FOR_EVER, Key, Lists};
use crate::config::suppression::Answer;
use crate::config::{Config, suppression};
use crate::message::date;
use crate::smtp::path::Mailbox;
use crate::smtp::reply::{self, Reply};

/// Whose mail it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose<'a> {
    /// An account's.
    Account(&'a str),
    /// It came through a relay listener.
    Relay,
    /// Our own notice: everybody's list alone counts.
    Notice,
}

impl<'a> Whose<'a> {
    /// That of a client's message.
    pub fn of_client(account: Option<&'a str>) -> Whose<'a> {
        account.map_or(Whose::Relay, Whose::Account)
    }
}

/// The newest lists, and what mail to those on them meets; a cheap handle.
#[derive(Clone)]
pub struct Gate(Rc<Inner>);

struct Inner {
    lists: RefCell<Arc<Lists>>,
    answer: Cell<Option<Answer>>,
    refused: Cell<u64>,
    failed: Cell<u64>,
}

impl Gate {
    /// By `config` and `lists`.
    pub fn new(config: &Config, lists: Arc<Lists>) -> Gate {
        let gate = Gate(Rc::new(Inner {
            lists: RefCell::new(lists),
            answer: Cell::new(None),
            refused: Cell::new(0),
            failed: Cell::new(0),
        }));
        gate.configure(config);
        gate
    }

    /// By `config` from now on.
    pub fn configure(&self, config: &Config) {
        self.0.answer.set(config.suppression.as_ref().map(|suppression: &suppression::Suppression| suppression.answer));
    }

    /// By `lists` from now on.
    pub fn replace(&self, lists: Arc<Lists>) {
        self.0.lists.replace(lists);
    }

    /// Whether nobody is suppressed, whoever it be.
    pub fn is_open(&self) -> bool {
        self.0.answer.get().is_none() || self.0.lists.borrow().is_empty()
    }

    /// What RCPT is answered; `None`: the recipient may be taken.
    pub fn refusal(&self, whose: Whose<'_>, recipient: &Mailbox, now: impl FnOnce() -> Timestamp) -> Option<Reply> {
        if self.is_open() || self.0.answer.get() != Some(Answer::Refuse) {
            return None;
        }
        let entry = self.find(whose, recipient, now())?;
        self.0.refused.set(self.0.refused.get() + 1);
        Some(reply::suppressed(recipient.as_str(), &because(&entry)))
    }

    /// Why a queued recipient is not to be tried, for people; `None`: it is.
    pub fn failure(&self, whose: Whose<'_>, recipient: &Mailbox, now: Timestamp) -> Option<Box<str>> {
        let entry = self.find(whose, recipient, now)?;
        self.0.failed.set(self.0.failed.get() + 1);
        Some(format!("the recipient is suppressed ({}): nothing was sent", because(&entry)).into())
    }

    fn find(&self, whose: Whose<'_>, recipient: &Mailbox, now: Timestamp) -> Option<Entry> {
        let now_s = u32::try_from(now.as_secs()).unwrap_or(FOR_EVER);
        self.0.lists.borrow().find(whose, &Key::of(recipient), now_s)
    }

    /// What has happened so far, as metrics.
    pub fn counts(&self) -> [(&'static str, u64); 2] {
        [
            ("suppressed_recipients_total{answer=\"refused\"}", self.0.refused.get()),
            ("suppressed_recipients_total{answer=\"failed\"}", self.0.failed.get()),
        ]
    }
}

/// Why an address is on a list and since when, for people.
fn because(entry: &Entry) -> String {
    let since = date::rfc3339(Timestamp::from_millis(u64::from(entry.since_s) * 1000));
    let day = since.split('T').next().unwrap_or_default();
    format!("{} since {day}", entry.cause.name())
}
