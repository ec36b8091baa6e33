//! Notices: who wants to know of what (RFC 3461 §4.1, §5.2), and the message that tells it (composed by `bounce`).

use shards::Timestamp;
use shards::journal::Extent;

use super::outcome::{Answer, Hop};
use super::row::{self, Entry, Row};
use super::{MessageId, Queue, schedule};
use crate::bounce::{self, Action, Report};
use crate::config::{Config, Notices};
use crate::events::Event;
use crate::message::{Demand, Origin};
use crate::smtp::client::Phase;
use crate::smtp::envelope::{Notify, Recipient};
use crate::smtp::reply::EnhancedCode;
use crate::spool::Message;
use crate::spool::record::{Said, State as At, Tagged};

/// Octets of a content in which the part lies that a notice returns, where it does not return all.
pub const RETURNED_HEADER_BYTES: u32 = bounce::RETURNED_HEADER_BYTES_MAX as u32 + 1;

/// The status of a recipient that was never tried, for want of a connection (RFC 3463 §3.5: nothing more is known).
const NEVER_TRIED: EnhancedCode = EnhancedCode(4, 4, 0);
/// The status of a recipient that was never tried because the operator holds it (RFC 3463 §3.4).
const HELD: EnhancedCode = EnhancedCode(4, 3, 0);

/// What a relay's mail is told, and an account's where its configuration says nothing.
const BY_DEFAULT: Notices = Notices { failed: true, delayed: true, delivered: false };

/// What is wanted where the message asks for nothing; `None` where it asks.
fn wanted_unasked(notify: Notify, account: Option<&str>, config: &Config) -> Option<Notices> {
    if notify != Notify::default() {
        return None;
    }
    let account = account.and_then(|name| config.accounts.iter().find(|account| &*account.name == name));
    Some(account.map_or(BY_DEFAULT, |account| account.notify))
}

/// Whether the failure of a recipient with this NOTIFY is told.
pub fn wants_failure(notify: Notify, account: Option<&str>, config: &Config) -> bool {
    wanted_unasked(notify, account, config).map_or(notify.failure, |unasked| unasked.failed)
}

/// Whether its delay is told.
pub fn wants_delay(notify: Notify, account: Option<&str>, config: &Config) -> bool {
    wanted_unasked(notify, account, config).map_or(notify.delay, |unasked| unasked.delayed)
}

/// What is told of its delivery to `hop`, if anything. A next hop with DSN got NOTIFY=SUCCESS with the message and tells
/// of success itself; with one that has none, this notice is the last that there will be (RFC 3461 §5.2.2).
pub fn of_success(notify: Notify, account: Option<&str>, hop: Hop, config: &Config) -> Option<Action> {
    match wanted_unasked(notify, account, config) {
        Some(unasked) => unasked.delivered.then_some(Action::Delivered),
        None => (notify.success && hop == Hop::WithoutDsn).then_some(Action::Relayed),
    }
}

/// A recipient that a notice tells of.
#[derive(PartialEq, Eq)]
pub struct Told {
    /// RCPT.
    pub recipient: Recipient,
    /// What was said about it last.
    pub answer: Answer,
    /// When that was; `None` if it was never tried.
    pub attempted: Option<Timestamp>,
}

impl Told {
    /// A queued recipient, as it waits.
    pub fn waiting(entry: &Entry) -> Told {
        let last = entry.standing.last.as_ref();
        let answer = last.map(answer_of).unwrap_or_else(|| match entry.standing.state {
            At::Held => silence(HELD, "held by the operator of this server"),
            _ => silence(NEVER_TRIED, "not tried yet: no connection to its destination was to be had"),
        });
        Told { recipient: entry.recipient.clone(), answer, attempted: attempted(last) }
    }
}

/// When an attempt was made that led to `last`.
pub fn attempted(last: Option<&Said>) -> Option<Timestamp> {
    last.filter(|said| said.at_s > 0).map(|said| row::timestamp(said.at_s))
}

/// What is left of an answer.
fn answer_of(said: &Said) -> Answer {
    Answer {
        phase: Phase::Idle,
        status: said.status,
        reason: said.reason.clone(),
        reply: said.reply(),
        text: said.text.clone(),
        remote: said.remote.clone(),
        tls: None,
    }
}

fn silence(status: EnhancedCode, text: &str) -> Answer {
    Answer { phase: Phase::Idle, status, reason: None, reply: None, text: text.into(), remote: None, tls: None }
}

/// What a notice is about.
pub struct About<'a> {
    /// The message.
    pub message: MessageId,
    /// Its row.
    pub row: &'a Row,
    /// Its content, or at least [`RETURNED_HEADER_BYTES`] of it.
    pub content: &'a [u8],
}

impl Queue {
    /// The message that tells the sender that `action` happened to `told`. `None`: nobody is told.
    pub(super) fn compose(&self, action: Action, about: &About<'_>, told: &[Told]) -> Option<Message> {
        if told.is_empty() {
            return None;
        }
        let (config, now, id) = (self.config(), self.now(), self.reserve_id());
        let recipients: Vec<bounce::dsn::Told<'_>> = told
            .iter()
            .map(|told| bounce::dsn::Told {
                recipient: &told.recipient,
                answer: &told.answer,
                attempted: told.attempted,
            })
            .collect();
        let notice = bounce::compose(&Report {
            action,
            hostname: &config.hostname,
            about: about.message,
            id,
            arrival: about.row.arrival,
            expiry: schedule::end_of_life(&config.retry, about.row.begin()),
            now,
            sender: &about.row.sender,
            recipients: &recipients,
            content: about.content,
        })?;
        let bounce::Notice { envelope, message_id, content } = notice;
        let demand = Demand::of(envelope.sender.requiretls, true, false);
        let origin = Origin { demand, ..Origin::default() };
        let tagged = Tagged { message_id: Some(message_id), origin, ..Tagged::default() };
        Some(Message { id, arrival: now, envelope, account: None, client: None, tagged, content })
    }

    /// Brings an appended notice into memory, and tells the log.
    pub(super) fn enter_notice(&self, about: MessageId, action: Action, notice: Message, place: Extent) {
        self.core.state.borrow_mut().tally.notices += 1;
        for recipient in &notice.envelope.recipients {
            let recipient = recipient.path.as_str();
            self.core.log.emit(&Event::Notified { id: notice.id, about, action: action.name(), recipient });
        }
        self.enter(notice, place.position, place.skip, place.len);
    }
}
