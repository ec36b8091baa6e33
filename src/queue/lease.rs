//! What the dispatcher takes from the queue: domains that have something ready, and leases of their recipients.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use shards::Timestamp;
use shards::journal::{Commit, Full};

use super::accept::ROW_BYTES_MAX;
use super::ready::Slice;
use super::row::{self, Content, Entry, Row};
use super::state::{Leased, State};
use super::{Error, HEAD_BYTES_MAX, MessageId, Queue, schedule};
use crate::config::Source;
use crate::smtp::envelope::{Recipient, Sender};
use crate::spool::{self, record::State as At};

/// Recipients of one message at one domain, taken for an attempt. They stay leased until `Queue::settle`; after a crash
/// they are due again.
#[derive(Clone, Debug)]
pub struct Lease {
    /// This shard's number for it; `Queue::settle` takes it back.
    pub number: u64,
    /// The message.
    pub message: MessageId,
    /// The [lane](super::lane) of the recipients: their domain, lower case, where the message is nobody's in particular.
    pub domain: Rc<str>,
    /// MAIL.
    pub sender: Sender,
    /// RCPTs, with their index in the message.
    pub recipients: Vec<(u16, Recipient)>,
    /// Octets of the content.
    pub content_bytes: usize,
    /// When it was accepted.
    pub arrival: Timestamp,
    /// It goes out with reverse-paths of ours.
    pub return_path: bool,
}

/// Who handed in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitter {
    /// A client with an account.
    Account(Box<str>),
    /// A client of a relay listener.
    Relay,
    /// Nobody: it is a notice of ours.
    Ourselves,
}

/// Stale slices that one call of [`Queue::lease`] passes over before it lets other work run.
const STALE_PER_CALL_MAX: usize = 100;

impl Queue {
    /// Waits for a domain that has ready recipients, and takes it out of the rotation: the caller leases from it, then
    /// puts it back with [`Queue::hand_back`] or [`Queue::park`]. Domains take turns. Waits while delivery is suspended.
    pub async fn next_ready(&self) -> Rc<str> {
        loop {
            let round = self.core.ready.round();
            if self.may_lease()
                && let Some(domain) = self.core.state.borrow_mut().ready.take_domain()
            {
                return domain;
            }
            self.core.ready.after(round).await;
        }
    }

    /// Delivery also pauses while rows cannot leave memory: what it settles would need more.
    fn may_lease(&self) -> bool {
        let state = self.core.state.borrow();
        self.is_open() && !state.suspended && state.rows.bytes() < 2 * ROW_BYTES_MAX
    }

    /// How many domains have ready recipients now (parked ones and those taken out not counted).
    pub fn ready_domains(&self) -> usize {
        self.core.state.borrow().ready.waiting_domains()
    }

    /// Leases the longest-waiting ready recipients of one message at `domain`. `None`: nothing is to be had there now.
    pub fn lease(&self, domain: &str) -> Option<Lease> {
        if !self.may_lease() {
            return None;
        }
        let state = &mut *self.core.state.borrow_mut();
        let id = state.ready.find(domain)?;
        if state.ready.suspended_with(domain).is_some() {
            return None;
        }
        for _ in 0..STALE_PER_CALL_MAX {
            let slice = state.ready.pop(id)?;
            match self.lease_slice(state, domain, slice) {
                Ok(None) => {}
                Ok(lease) => return lease,
                Err(why) => {
                    self.fail(why);
                    return None;
                }
            }
        }
        None
    }

    /// Leases what the row says is due. `None`: the slice is stale, or the message too old (expiry will end it).
    fn lease_slice(&self, state: &mut State, domain: &str, slice: Slice) -> Result<Option<Lease>, Error> {
        let now = self.now();
        // The wall clock may have been set back since the slice became ready.
        let due_by_s = row::seconds(now).max(slice.due_s);
        let State { rows, leases, noted_ahead, .. } = state;
        let taken = rows.read(slice.message, |row| {
            let is_due = |index: u16, entry: &Entry| {
                matches!(entry.standing.state, At::Due { at_s } if at_s <= due_by_s)
                    && row.lane_of(entry.recipient.path.as_str()) == domain
                    && !leases.holds(slice.message, index)
            };
            let indexed = (0..=u16::MAX).zip(&row.recipients);
            let recipients: Vec<(u16, Recipient)> = indexed
                .filter(|(index, entry)| is_due(*index, entry))
                .map(|(index, entry)| (index, entry.recipient.clone()))
                .collect();
            let alive = schedule::end_of_life(&self.core.config.borrow().retry, row.begin()) > now;
            (alive && !recipients.is_empty()).then(|| Lease {
                number: 0,
                message: slice.message,
                domain: domain.into(),
                sender: row.sender.clone(),
                recipients,
                content_bytes: row.content_bytes as usize,
                arrival: row.arrival,
                return_path: row.tagged.return_path,
            })
        })?;
        let Some(mut lease) = taken.flatten() else { return Ok(None) };
        noted_ahead.remove(&slice.message);
        let indices = lease.recipients.iter().map(|(index, _)| *index).collect();
        lease.number = leases.add(Leased { message: lease.message, indices, settling: false, source: None });
        Ok(Some(lease))
    }

    /// The message that [`Queue::lease`] is likely to give next at `domain`.
    pub fn next_message(&self, domain: &str) -> Option<MessageId> {
        let state = self.core.state.borrow();
        state.ready.front(state.ready.find(domain)?)
    }

    /// The octets of its content; 0 if it is not known.
    pub fn next_content_bytes(&self, domain: &str) -> usize {
        let state = self.core.state.borrow();
        let message = state.ready.find(domain).and_then(|id| state.ready.front(id));
        let read = message.map(|message| state.rows.read(message, |row| row.content_bytes as usize));
        read.and_then(Result::ok).flatten().unwrap_or_default()
    }

    /// Who handed in a queued message; `None`: it is queued no more, or cannot be read.
    pub fn submitter(&self, message: MessageId) -> Option<Submitter> {
        let state = self.core.state.borrow();
        let read = state.rows.read(message, |row| match (&row.client, &row.account) {
            (None, _) => Submitter::Ourselves,
            (Some(_), None) => Submitter::Relay,
            (Some(_), Some(account)) => Submitter::Account(account.clone()),
        });
        read.ok().flatten()
    }

    /// The recipients of a lease are tried from `source`, so that the log can tell.
    pub fn goes_from(&self, lease: u64, source: &Arc<Source>) {
        if !source.name.is_empty()
            && let Some(leased) = self.core.state.borrow_mut().leases.get_mut(lease)
        {
            leased.source = Some(source.clone());
        }
    }

    /// Puts a domain back into the rotation, at its end, if it still has something ready.
    pub fn hand_back(&self, domain: &str) {
        self.core.state.borrow_mut().ready.hand_back(domain);
        self.slices_changed();
    }

    /// Like [`Queue::hand_back`], but the domain is not offered again before `delay` has passed, for the reason `why`, which
    /// `destination` gave (empty: none did); unless an operator wants its recipients tried.
    pub fn park(&self, domain: &str, delay: Duration, why: &Arc<str>, destination: &Arc<str>) {
        let until = self.core.reactor.now() + delay;
        self.core.state.borrow_mut().ready.park(domain, until, why, destination);
        self.core.sooner.give();
    }

    /// As [`Queue::park`], where nobody has taken the domain out of the rotation.
    pub fn park_if_aside(&self, domain: &str, delay: Duration, why: &Arc<str>, destination: &Arc<str>) {
        if self.core.state.borrow().ready.is_aside(domain) {
            self.park(domain, delay, why, destination);
        }
    }

    /// Whether an operator wants the recipients at `domain` tried at once, however its next hop is; true once.
    pub fn takes_insistence(&self, domain: &str) -> bool {
        self.core.state.borrow_mut().ready.takes_insistence(domain)
    }

    /// The content of a leased message: from memory if it is there, else read back from disk.
    pub async fn content(&self, lease: &Lease) -> Result<Arc<Vec<u8>>, Error> {
        let content = self.content_of(lease.message).await?;
        self.core.state.borrow_mut().contents.keep(lease.message, &content);
        Ok(content)
    }

    /// The content of a queued message.
    pub(super) async fn content_of(&self, message: MessageId) -> Result<Arc<Vec<u8>>, Error> {
        self.beginning_of(message, u32::MAX).await
    }

    /// The content of a queued message, or at least its first `bytes` octets.
    pub(super) async fn beginning_of(&self, message: MessageId, bytes: u32) -> Result<Arc<Vec<u8>>, Error> {
        let extent = {
            let state = self.core.state.borrow();
            if let Some(content) = state.contents.get(message) {
                return Ok(content);
            }
            match state.rows.read(message, |row| row.content.clone())? {
                Some(Content::Kept(extent)) => extent,
                _ => return Err(Error::Damaged(format!("the content of queued message {message} is gone"))),
            }
        };
        Ok(Arc::new(self.core.journal.read(extent.position, extent.skip, extent.len.min(bytes)).await?))
    }

    /// Notes, before the final dot of a delivery, that from now on only the reply tells whether the next hop has the
    /// message. Returns once the note is flushed, with whatever else the batch holds; at once where the message's own
    /// record was the note.
    pub async fn note_uncertain(&self, lease: &Lease) -> Result<(), Error> {
        loop {
            match self.append_note(lease)? {
                None => return Ok(()),
                Some(Ok(commit)) => return Ok(commit.durable().await?),
                // A journal that has failed has no room either, and never will.
                Some(Err(Full)) if !self.is_open() => return Err(Error::Closed),
                Some(Err(Full)) => self.wait_for_room(HEAD_BYTES_MAX).await,
            }
        }
    }

    /// Appends the note of a lease, if there is such a lease and it needs one.
    fn append_note(&self, lease: &Lease) -> Result<Option<Result<Commit, Full>>, Error> {
        let state = &mut *self.core.state.borrow_mut();
        if state.leases.get(lease.number).is_none() {
            return Ok(None);
        }
        // Those alone to whom it is sent.
        let (message, indices) = (lease.message, lease.recipients.iter().map(|(index, _)| *index).collect::<Vec<_>>());
        let is_noted = |index: &u16, row: &Row| row.recipients.get(usize::from(*index)).is_none_or(|entry| entry.noted);
        if state.rows.read(message, |row| indices.iter().all(|index| is_noted(index, row)))? != Some(false) {
            return Ok(None);
        }
        let commit = match spool::append_note(&self.core.journal, message, &indices) {
            Ok(commit) => commit,
            Err(full) => return Ok(Some(Err(full))),
        };
        state.note(message, &indices)?;
        Ok(Some(Ok(commit)))
    }
}
