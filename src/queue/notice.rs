//! Notices: who wants to know of a failure (RFC 3461 §4.1), and the message that tells (composed by `bounce`).
//!
//! Only failures are told. Notices of delay and of success would be decided here too: a settlement carries whatever
//! messages its changes cause.

use shards::Timestamp;

use super::outcome::Answer;
use super::row::Row;
use super::{MessageId, schedule};
use crate::bounce::{self, Action, Report, dsn::Told};
use crate::config::Config;
use crate::smtp::envelope::{Notify, Recipient};
use crate::spool::Message;

/// Whether the failure of a recipient with this NOTIFY is told. Where the message asks for nothing, the account's
/// configuration decides; without an account (a relay's mail) it is told.
pub fn wants_failure(notify: Notify, account: Option<&str>, config: &Config) -> bool {
    match notify {
        Notify { never: true, .. } => false,
        Notify { success: false, failure: false, delay: false, .. } => account
            .and_then(|name| config.accounts.iter().find(|account| &*account.name == name))
            .is_none_or(|account| account.notify.failed),
        Notify { failure, .. } => failure,
    }
}

/// The message that tells the sender of `row` that recipients have failed.
pub fn failure(
    id: MessageId,
    about: MessageId,
    row: &Row,
    failed: &[(&Recipient, &Answer)],
    original: &[u8],
    config: &Config,
    now: Timestamp,
) -> Option<Message> {
    let told: Vec<Told<'_>> =
        failed.iter().map(|(recipient, answer)| Told { recipient, answer, attempted: now }).collect();
    let notice = bounce::compose(&Report {
        action: Action::Failed,
        hostname: &config.hostname,
        about,
        id,
        arrival: row.arrival,
        expiry: schedule::end_of_life(&config.retry, row.arrival),
        now,
        sender: &row.sender,
        recipients: &told,
        content: original,
    })?;
    let bounce::Notice { envelope, content, .. } = notice;
    Some(Message { id, arrival: now, envelope, account: None, client: None, screening: None, content })
}
