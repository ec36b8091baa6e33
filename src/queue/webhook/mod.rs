//! What webhooks have yet to be told of this shard's recipients.
//!
//! Owns: a [`Line`] of events for each `[[webhook]]` and one for what suppresses recipients, and what becomes an event.
//! Never: speaks HTTP (`control::webhook`
//! does; it asks for the next events, and says when they are told).
//!
//! An event is made in the step that brings a frame of the journal into memory, at run time and in recovery alike, so an
//! outcome that is on disk has its event, and [`EventId`] is the same each time. New events stay in memory; a checkpoint
//! writes those that still wait, in the commit that carries the journal's position. So an event that is told within a
//! second costs no disk, and none is lost: before the commit the journal has its frame, afterwards the index has it.
//! What was told since the last checkpoint before a crash is told again.
//!
//! Limits: each line keeps to its share of `waiting_bytes_max`; beyond it the oldest events go. [`RECENT_BYTES_MAX`] in
//! memory, when the index cannot be written; beyond it new ones are not kept. What goes is counted and logged. Our own
//! notices cause no events: what they tell of has caused one.

pub mod event;
mod hand_over;
mod line;

use std::rc::Rc;
use std::time::Duration;

use shards::index::Index;

use super::judge::LIFETIME_RULE;
use super::row::{Row, seconds};
use super::rows::EVENTS;
use super::{Error, MessageId};
use crate::config::Config;
use crate::config::webhook::Kind;
use crate::spool::record::{Return, Standing, State as At};
use line::{Line, Stored, split_key};

pub use event::{Encoded, Event, EventId};

/// Bytes of events in memory, of all webhooks.
const RECENT_BYTES_MAX: usize = 32 << 20;
/// Bytes after which no further event goes into one hand-over.
const HAND_OVER_BYTES_MAX: usize = 1 << 20;

/// The line of what suppresses recipients; no webhook can have its name. `control::suppression` takes what waits there.
pub const SUPPRESSION: &str = "*suppression";
/// Octets of events that wait there, on all shards: they wait only while the disk is full.
const SUPPRESSION_BYTES_MAX: u64 = 256 << 20;

/// The kinds of events that can suppress a recipient.
pub const SUPPRESSING: &[Kind] = &[Kind::Failed, Kind::Expired, Kind::Bounced, Kind::Complaint];

/// What a line is for.
pub struct Interest {
    events: Vec<Kind>,
    accounts: Option<Vec<Box<str>>>,
    waiting_bytes_max: u64,
}

impl Interest {
    /// Whether it is to be told of this.
    fn wants(&self, kind: Kind, account: Option<&str>) -> bool {
        let selects =
            |accounts: &Vec<Box<str>>| account.is_some_and(|account| accounts.iter().any(|a| **a == *account));
        self.events.contains(&kind) && self.accounts.as_ref().is_none_or(selects)
    }

    /// The lines of a configuration, by name.
    fn all(config: &Config) -> impl Iterator<Item = (&str, Interest)> {
        let webhooks = config.webhooks.iter().map(|webhook| {
            let (events, accounts) = (webhook.events.clone(), webhook.accounts.clone());
            (&*webhook.name, Interest { events, accounts, waiting_bytes_max: webhook.waiting_bytes_max })
        });
        let suppression = config.suppression.as_ref().map(|_| {
            let events = SUPPRESSING.to_vec();
            (SUPPRESSION, Interest { events, accounts: None, waiting_bytes_max: SUPPRESSION_BYTES_MAX })
        });
        webhooks.chain(suppression)
    }
}

/// How one webhook stands on one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Its name.
    pub webhook: Box<str>,
    /// Events that wait.
    pub waiting: u64,
    /// Octets of those that are on disk: the shard's share of `waiting_bytes_max` at most.
    pub waiting_bytes: u64,
    /// Events told since the start.
    pub told: u64,
    /// Requests since the start that did not succeed.
    pub failures: u64,
    /// Events given up since the start.
    pub dropped: u64,
}

/// All lines of a shard.
pub struct Webhooks {
    lines: Vec<Line>,
    shards: u64,
    delay_after: Duration,
}

impl Webhooks {
    /// Lines for the webhooks of `config`.
    pub fn new(config: &Config) -> Self {
        let mut webhooks = Self { lines: Vec::new(), shards: 1, delay_after: Duration::ZERO };
        webhooks.configure(config);
        webhooks
    }

    /// Keeps to `config` from now on. Webhooks that it does not have lose what waits for them.
    pub fn configure(&mut self, config: &Config) {
        self.shards = config.shards.max(1) as u64;
        self.delay_after = config.retry.delay_notice_after;
        for line in self.lines.iter_mut().filter(|line| line.interest.is_some()) {
            if !Interest::all(config).any(|(name, _)| *name == *line.name) {
                line.give_up();
            }
        }
        for (name, interest) in Interest::all(config) {
            match self.line(name) {
                Some(line) => line.interest = Some(interest),
                None => self.lines.push(Line::new(name, Some(interest))),
            }
        }
    }

    fn line(&mut self, name: &str) -> Option<&mut Line> {
        self.lines.iter_mut().find(|line| *line.name == *name)
    }

    /// Reads what the index has, at the start. What nobody is to be told any more is deleted by and by.
    pub fn load(&mut self, index: &Index) -> Result<(), Error> {
        let mut corrupt = false;
        index.scan(EVENTS, &[], &mut |key, value| {
            let Some((Ok(name), id)) = split_key(key).map(|(name, id)| (std::str::from_utf8(name), id)) else {
                corrupt = true;
                return false;
            };
            match self.line(name) {
                Some(line) => line.load(id, value.len()),
                None => {
                    let mut line = Line::new(name, None);
                    line.load(id, value.len());
                    self.lines.push(line);
                }
            }
            true
        })?;
        self.lines.iter_mut().filter(|line| line.interest.is_none()).for_each(Line::give_up);
        if corrupt { Err(Error::Damaged("the index: a key of an event".into())) } else { Ok(()) }
    }

    /// Whether anybody is to be told anything.
    pub fn any(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Whether anybody is to be told that about a message.
    pub fn want(&self, kind: Kind, row: &Row) -> bool {
        row.client.is_some() && self.wanting().any(|interest| interest.wants(kind, row.account.as_deref()))
    }

    fn wanting(&self) -> impl Iterator<Item = &Interest> {
        self.lines.iter().filter_map(|line| line.interest.as_ref())
    }

    /// Recipient `index` of a message stands as its row says since the frame that `id` names, and `before` otherwise.
    pub fn changed(&mut self, id: EventId, before: &Standing, message: MessageId, row: &Row, index: u16) {
        let Some(now) = row.recipients.get(usize::from(index)).map(|entry| &entry.standing) else { return };
        let said_s = now.last.as_ref().map(|said| said.at_s).unwrap_or_default();
        if let Some(kind) = kind_of(before, now) {
            let at_s = now.state.ended_s().unwrap_or(said_s);
            self.add(id, kind, message, row, index, at_s);
        }
    }

    /// Recipient `index` of a message is late, says the frame that `id` names.
    pub fn delayed(&mut self, id: EventId, message: MessageId, row: &Row, index: u16) {
        let since_s = seconds(row.begin() + self.delay_after);
        self.add(id, Kind::Delayed, message, row, index, since_s);
    }

    /// Something came back about a recipient, says the frame that `id` names.
    pub fn came_back(&mut self, id: EventId, kind: Kind, came: &Return, row: &Row) {
        if self.want(kind, row) {
            let bytes = Event::encode(kind, came.said.at_s, came.message, row, came.index, Some(&came.said));
            self.put(id, kind, row, bytes.into());
        }
    }

    fn add(&mut self, id: EventId, kind: Kind, message: MessageId, row: &Row, index: u16, at_s: u32) {
        if self.want(kind, row) {
            self.put(id, kind, row, Event::encode(kind, at_s, message, row, index, None).into());
        }
    }

    fn put(&mut self, id: EventId, kind: Kind, row: &Row, bytes: Rc<[u8]>) {
        let has_room = self.bytes() < RECENT_BYTES_MAX;
        for line in &mut self.lines {
            if line.interest.as_ref().is_some_and(|interest| interest.wants(kind, row.account.as_deref())) {
                if has_room {
                    line.add(id, &bytes);
                } else {
                    line.dropped += 1;
                }
            }
        }
    }

    /// Bytes of events in memory.
    pub fn bytes(&self) -> usize {
        self.lines.iter().map(Line::recent_bytes).sum()
    }

    /// Events that wait for a webhook.
    pub fn waiting(&self, name: &str) -> u64 {
        self.lines.iter().find(|line| *line.name == *name).map_or(0, Line::waiting)
    }

    /// Whether anything waits for a webhook that is configured.
    pub fn any_waiting(&self) -> bool {
        self.lines.iter().any(|line| line.interest.is_some() && line.waiting() > 0)
    }

    /// The next events for a webhook, at most `limit`.
    pub fn next(&self, name: &str, limit: usize, index: &Index) -> Result<Vec<Encoded>, Error> {
        let line = self.lines.iter().find(|line| *line.name == *name);
        line.map_or(Ok(Vec::new()), |line| line.next(index, limit, HAND_OVER_BYTES_MAX))
    }

    /// A webhook was told everything up to `id`.
    pub fn told(&mut self, name: &str, id: EventId, index: &Index) -> Result<(), Error> {
        self.line(name).map_or(Ok(()), |line| line.done(id, index))
    }

    /// A request to a webhook did not succeed.
    pub fn failed(&mut self, name: &str) {
        if let Some(line) = self.line(name) {
            line.failures += 1;
        }
    }

    /// How each webhook stands.
    pub fn counts(&self) -> Vec<Counts> {
        let configured = self.lines.iter().filter(|line| line.interest.is_some() && *line.name != *SUPPRESSION);
        let counts = |line: &Line| Counts {
            webhook: line.name.clone(),
            waiting: line.waiting(),
            waiting_bytes: line.stored_bytes(),
            told: line.told,
            failures: line.failures,
            dropped: line.dropped,
        };
        configured.map(counts).collect()
    }

    /// The webhooks that lost events since the last call, and how many.
    pub fn losses(&mut self) -> Vec<(Box<str>, u64)> {
        let lossy = self.lines.iter_mut().filter(|line| line.dropped > line.dropped_logged);
        let loss = |line: &mut Line| {
            let before = std::mem::replace(&mut line.dropped_logged, line.dropped);
            (line.name.clone(), line.dropped - before)
        };
        lossy.map(loss).collect()
    }

    /// Whether a checkpoint has something to do.
    pub fn is_dirty(&self) -> bool {
        self.lines.iter().any(Line::is_dirty)
    }

    /// What a checkpoint writes and deletes.
    pub fn begin_checkpoint(&mut self, index: &Index) -> Result<Vec<Stored>, Error> {
        let mut changes = Vec::new();
        for line in &mut self.lines {
            let bytes_max = line.interest.as_ref().map_or(0, |interest| interest.waiting_bytes_max / self.shards);
            changes.extend(line.begin_checkpoint(index, bytes_max)?);
        }
        Ok(changes)
    }

    /// The checkpoint is committed.
    pub fn end_checkpoint(&mut self) {
        self.lines.iter_mut().for_each(Line::end_checkpoint);
        self.lines.retain(|line| !line.is_over());
    }

    /// The checkpoint failed: everything is as if it had not begun.
    pub fn abandon_checkpoint(&mut self) {
        self.lines.iter_mut().for_each(Line::abandon_checkpoint);
    }
}

/// What it means to a webhook that a recipient stands differently; nothing, if an operator held or released it.
fn kind_of(before: &Standing, now: &Standing) -> Option<Kind> {
    match now.state {
        At::Delivered { .. } => Some(Kind::Delivered),
        At::Failed { .. } => {
            let reason = now.last.as_ref().and_then(|said| said.reason.as_ref());
            let too_old = reason.is_some_and(|reason| reason.rule == LIFETIME_RULE);
            Some(if too_old { Kind::Expired } else { Kind::Failed })
        }
        At::Due { .. } | At::Held => {
            (now.attempts != before.attempts || now.last != before.last).then_some(Kind::Deferred)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_depends_on_kind_and_account() {
        let interest =
            |accounts| Interest { events: vec![Kind::Failed, Kind::Delivered], accounts, waiting_bytes_max: 1 };
        let all = interest(None);
        assert!(all.wants(Kind::Delivered, None) && all.wants(Kind::Failed, Some("a")));
        assert!(!all.wants(Kind::Deferred, Some("a")));
        let some = interest(Some(vec!["a".into()]));
        assert!(some.wants(Kind::Failed, Some("a")) && !some.wants(Kind::Failed, Some("b")));
        assert!(!some.wants(Kind::Failed, None), "relayed mail is of no account");
    }
}
