//! A shard's queue in memory, and what a record does to it: the same at run time and in recovery.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use shards::Timestamp;
use shards::index::Index;
use shards::journal::Position;

use super::contents::Contents;
use super::lane::{self, Scope};
use super::learned::Learned;
use super::ready::{Ready, Slice};
use super::returned::Returned;
use super::row::{self, Content, Row, domain_of, seconds};
use super::rows::{Rows, Slot};
use super::segments::Segments;
use super::submitted::Submitted;
use super::webhook::{EventId, Webhooks};
use super::{Error, MessageId, find};
use crate::config::{Config, Retention, Source};
use crate::message::scan;
use crate::spool::Message;
use crate::spool::record::{Accepted, Change, Record, State as At};

/// Octets of a header that a placeholder keeps.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Messages whose first attempt is noted before it begins, at most: what a crash may call uncertain that was never sent.
const NOTED_AHEAD_MAX: usize = 256;

/// What is counted; a count of recipients unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Queued now.
    pub queued: u64,
    /// Of those, held.
    pub held: u64,
    /// Messages accepted since the start.
    pub accepted_messages: u64,
    /// Delivered since the start.
    pub delivered: u64,
    /// Attempts that were deferred since the start.
    pub deferred: u64,
    /// Failed since the start.
    pub failed: u64,
    /// Found uncertain after a crash, at this start.
    pub uncertain: u64,
    /// Notices composed since the start.
    pub notices: u64,
    /// Bounces that came after the delivery, since the start.
    pub bounced: u64,
    /// Complaints since the start.
    pub complaints: u64,
    /// Checkpoints since the start.
    pub checkpoints: u64,
}

/// Recipients that the dispatcher has.
pub struct Leased {
    /// Their message.
    pub message: MessageId,
    /// Which.
    pub indices: Vec<u16>,
    /// Their outcomes are being settled.
    pub settling: bool,
    /// The source that they are tried from; none: the host as it is, or none yet.
    pub source: Option<Arc<Source>>,
}

/// All leases; as many as the dispatcher's windows allow.
#[derive(Default)]
pub struct Leases {
    last: u64,
    by_number: HashMap<u64, Leased>,
    by_message: HashMap<MessageId, Vec<u64>>,
}

impl Leases {
    /// Adds a lease and gives its number.
    pub fn add(&mut self, leased: Leased) -> u64 {
        self.last += 1;
        self.by_message.entry(leased.message).or_default().push(self.last);
        self.by_number.insert(self.last, leased);
        self.last
    }

    /// The lease of that number.
    pub fn get(&self, number: u64) -> Option<&Leased> {
        self.by_number.get(&number)
    }

    /// The lease of that number, to change it.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut Leased> {
        self.by_number.get_mut(&number)
    }

    /// Ends a lease.
    pub fn remove(&mut self, number: u64) -> Option<Leased> {
        let leased = self.by_number.remove(&number)?;
        if let Some(numbers) = self.by_message.get_mut(&leased.message) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.by_message.remove(&leased.message);
            }
        }
        Some(leased)
    }

    /// Whether a recipient is leased.
    pub fn holds(&self, message: MessageId, index: u16) -> bool {
        let Some(numbers) = self.by_message.get(&message) else { return false };
        numbers.iter().filter_map(|number| self.by_number.get(number)).any(|leased| leased.indices.contains(&index))
    }

    /// How many leases there are.
    pub fn len(&self) -> usize {
        self.by_number.len()
    }
}

/// A shard's queue in memory.
pub struct State {
    /// Messages.
    pub rows: Rows,
    /// What is due, and where.
    pub ready: Ready,
    /// What the dispatcher has.
    pub leases: Leases,
    /// What is in memory of contents.
    pub contents: Contents,
    /// What is in use of the journal.
    pub segments: Segments,
    /// What accounts have submitted today.
    pub submitted: Submitted,
    /// What was learned of egress paths.
    pub learned: Learned,
    /// What webhooks have yet to be told.
    pub webhooks: Webhooks,
    /// What came back about recipients after their delivery.
    pub returned: Returned,
    /// Counters.
    pub tally: Tally,
    /// The number of the next message.
    pub next_number: u64,
    /// Keys of `expiry` that were dealt with; the next checkpoint deletes them.
    pub expired: Vec<[u8; 12]>,
    /// Messages with noted recipients, while recovering.
    pub noted: Vec<MessageId>,
    /// Messages whose first attempt was noted by their own records and has not begun: [`NOTED_AHEAD_MAX`] at most.
    pub noted_ahead: BTreeSet<MessageId>,
    /// All delivery is suspended.
    pub suspended: bool,
    retention: Retention,
}

impl State {
    /// An empty queue above `index`.
    pub fn new(index: Index, config: &Config) -> Self {
        let mut contents = Contents::default();
        contents.configure(&config.limits);
        Self {
            rows: Rows::new(index),
            ready: Ready::default(),
            leases: Leases::default(),
            contents,
            segments: Segments::default(),
            submitted: Submitted::default(),
            learned: Learned::default(),
            webhooks: Webhooks::new(config),
            returned: Returned::default(),
            tally: Tally::default(),
            next_number: 1,
            expired: Vec::new(),
            noted: Vec::new(),
            noted_ahead: BTreeSet::new(),
            suspended: false,
            retention: config.retention.clone(),
        }
    }

    /// What an operator has suspended of which a lane is a part: everything, if that.
    pub fn suspension_of(&self, lane: &str) -> Option<&Scope> {
        if self.suspended { Some(&Scope::All) } else { self.ready.suspended_with(lane) }
    }

    /// All that an operator has suspended.
    pub fn suspensions(&self) -> Vec<Scope> {
        let all = self.suspended.then_some(Scope::All);
        all.into_iter().chain(self.ready.suspended().iter().cloned()).collect()
    }

    /// Keeps to `config` from now on.
    pub fn configure(&mut self, config: &Config) {
        self.contents.configure(&config.limits);
        self.retention = config.retention.clone();
        self.webhooks.configure(config);
    }

    /// What a frame of the journal says, in recovery.
    pub fn replay(&mut self, position: Position, payload: &[u8], now_s: u32) -> Result<(), Error> {
        let Position { segment, offset } = position;
        let record = Record::decode(payload)
            .map_err(|why| Error::Damaged(format!("the frame at byte {offset} of segment {segment:08x}: {why}")))?;
        match record {
            Record::Message(accepted) => self.replay_message(*accepted, position, now_s),
            Record::Settlement(changes, notices) => {
                for slice in self.change_all(changes, position)? {
                    self.ready.push(slice, now_s);
                }
                notices.into_iter().try_for_each(|notice| self.replay_message(notice, position, now_s))
            }
            Record::Note(message, indices) => {
                self.noted.push(message);
                self.note(message, &indices)
            }
            Record::Return(came) => self.came_back(&came, position).map(|_| ()),
            Record::Delay(message, indices, notices) => {
                self.delay_told(message, &indices, position)?;
                notices.into_iter().try_for_each(|notice| self.replay_message(notice, position, now_s))
            }
        }
    }

    fn replay_message(&mut self, accepted: Accepted, position: Position, now_s: u32) -> Result<(), Error> {
        self.next_number = self.next_number.max(accepted.id.number() + 1);
        // The index may be newer than the position that it names; a known message has nothing new to say.
        if self.rows.read(accepted.id, |_| ())?.is_none() && self.rows.done(accepted.id)?.is_none() {
            if accepted.tagged.noted {
                self.noted.push(accepted.id);
            }
            for slice in self.accept(accepted, position) {
                self.ready.push(slice, now_s);
            }
        }
        Ok(())
    }

    /// A message was accepted, in the frame at `position`. Its slices are to be pushed once the frame is durable.
    pub fn accept(&mut self, accepted: Accepted, position: Position) -> Vec<Slice> {
        let message = accepted.id;
        if let Some(account) = &accepted.account {
            self.submitted.add(account, accepted.envelope.recipients.len() as u64, accepted.arrival);
        }
        let row = Row::accepted(accepted, position);
        let due_s = seconds(row.begin());
        let mut slices: Vec<Slice> = Vec::with_capacity(1);
        for entry in &row.recipients {
            let domain = self.ready.enter(&row.lane_of(entry.recipient.path.as_str()), 1);
            if !slices.iter().any(|slice| slice.domain == domain) {
                slices.push(Slice { due_s, domain, message });
            }
        }
        self.tally.queued += row.recipients.len() as u64;
        self.tally.accepted_messages += 1;
        if let Content::Kept(extent) = &row.content {
            self.segments.add(extent, message);
        }
        self.rows.insert(message, row);
        slices
    }

    /// Recipients stand differently, says the frame at `position`. Slices of those that are due now or later are to be
    /// pushed once it is durable.
    pub fn change_all(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
        position: Position,
    ) -> Result<Vec<Slice>, Error> {
        let mut slices = Vec::new();
        for (part, change) in (0..).zip(changes) {
            slices.extend(self.change(change, Some(EventId { position, part }))?);
        }
        slices.sort_unstable();
        slices.dedup();
        Ok(slices)
    }

    /// A recipient stands differently; its slice, if it is due. One that has ended, or that nobody knows, stays as it is.
    /// Webhooks are told where a frame says so, by the id that it gives.
    pub fn change(&mut self, change: Change, id: Option<EventId>) -> Result<Option<Slice>, Error> {
        let Change { message, index, standing } = change;
        self.noted_ahead.remove(&message);
        let after = standing.state;
        let webhooks = &mut self.webhooks;
        let changed = self.rows.update(message, |row| {
            let entry = row.recipients.get_mut(usize::from(index))?;
            let before = entry.standing.state;
            if before.ended_s().is_some() {
                return None;
            }
            let replaced = std::mem::replace(&mut entry.standing, standing);
            entry.noted = false;
            if let Some(id) = id
                && webhooks.any()
            {
                webhooks.changed(id, &replaced, message, row, index);
            }
            let address = row.recipients.get(usize::from(index))?.recipient.path.as_str();
            let domain: Box<str> = row.lane_of(address).into();
            Some((before, domain, row.ended_s()))
        })?;
        let Some(Some((before, domain, ended_s))) = changed else { return Ok(None) };
        self.count(before, after);
        let mut slice = None;
        match after {
            At::Due { at_s } => slice = self.ready.find(&domain).map(|domain| Slice { due_s: at_s, domain, message }),
            At::Held => {}
            At::Delivered { .. } | At::Failed { .. } => self.ready.leave(&domain),
        }
        if let Some(ended_s) = ended_s {
            self.end(message, ended_s)?;
        }
        Ok(slice)
    }

    /// Queues a slice.
    pub fn push(&mut self, message: MessageId, domain: &str, due_s: u32, now_s: u32) {
        if let Some(slice) = self.slice(message, domain, due_s) {
            self.ready.push(slice, now_s);
        }
    }

    /// The slice of a message at a domain; `None` where nothing is queued for the domain.
    pub fn slice(&self, message: MessageId, domain: &str, due_s: u32) -> Option<Slice> {
        self.ready.find(domain).map(|domain| Slice { due_s, domain, message })
    }

    fn count(&mut self, before: At, after: At) {
        let tally = &mut self.tally;
        tally.held = tally.held - u64::from(before == At::Held) + u64::from(after == At::Held);
        match after {
            At::Due { .. } | At::Held => return,
            At::Delivered { .. } => tally.delivered += 1,
            At::Failed { .. } => tally.failed += 1,
        }
        tally.queued -= 1;
    }

    /// Whether the record of a message that is accepted now may be the note of its first attempt too: where that attempt
    /// is about to begin, all of it at once, so that hardly anything is noted that a crash does not interrupt.
    pub fn may_note_ahead(&self, message: &Message) -> bool {
        let recipients = &message.envelope.recipients;
        let Some(first) = recipients.first() else { return false };
        let domain = domain_of(first.path.as_str());
        let lane = lane::name(domain.clone(), &message.tagged.origin);
        message.tagged.scheduled.is_none()
            && self.noted_ahead.len() < NOTED_AHEAD_MAX
            && recipients.iter().all(|recipient| domain_of(recipient.path.as_str()) == domain)
            && self.suspension_of(&lane).is_none()
            && self.ready.parked(&lane).is_none()
    }

    /// The attempts that were noted ahead do not begin any more: nothing is uncertain about them.
    pub fn forget_notes_ahead(&mut self) -> Result<(), Error> {
        for message in std::mem::take(&mut self.noted_ahead) {
            self.rows.update(message, |row| row.recipients.iter_mut().for_each(|entry| entry.noted = false))?;
        }
        Ok(())
    }

    /// These recipients are uncertain from now on.
    pub fn note(&mut self, message: MessageId, indices: &[u16]) -> Result<(), Error> {
        self.rows.update(message, |row| {
            for index in indices {
                if let Some(entry) = row.recipients.get_mut(usize::from(*index)) {
                    entry.noted = entry.standing.state.ended_s().is_none();
                }
            }
        })?;
        Ok(())
    }

    /// These recipients' delay is told from now on, says the frame at `position`: to the sender, to webhooks, or to both.
    pub fn delay_told(&mut self, message: MessageId, indices: &[u16], position: Position) -> Result<(), Error> {
        let webhooks = &mut self.webhooks;
        self.rows.update(message, |row| {
            for (part, index) in (0..).zip(indices) {
                let Some(entry) = row.recipients.get_mut(usize::from(*index)) else { continue };
                if !std::mem::replace(&mut entry.delay_told, true) && webhooks.any() {
                    webhooks.delayed(EventId { position, part }, message, row, *index);
                }
            }
        })?;
        Ok(())
    }

    /// A message's last recipient has ended: what its retention leaves of it.
    fn end(&mut self, message: MessageId, ended_s: u32) -> Result<(), Error> {
        let content = self.contents.remove(message);
        let strip = self.retention.content.is_zero();
        let forget = strip && self.retention.placeholder.is_zero();
        if forget {
            self.returned.forget(message, self.rows.index())?;
        }
        let segments = &mut self.segments;
        self.rows.finish(message, |mut row| match (&row.content, content) {
            (Content::Kept(extent), _) if forget => {
                segments.release(extent, ended_s);
                Slot::Gone(find::key_of(&row, message))
            }
            (Content::Kept(extent), Some(content)) if strip => {
                segments.release(extent, ended_s);
                row.content = Content::Removed(header_of(&content));
                Slot::Done(row)
            }
            // Retention looks at it again when the time has come, with the header read back.
            _ => Slot::Done(row),
        });
        Ok(())
    }

    /// Counts a queued row of the index, at the start, and queues its slices.
    pub fn load(&mut self, message: MessageId, bytes: &[u8], now_s: u32) -> Result<(), Error> {
        let mut noted_any = false;
        let mut due: Vec<Slice> = Vec::with_capacity(1);
        let visited = row::visit(bytes, &mut |lane, state, noted| {
            if state.ended_s().is_some() {
                return;
            }
            noted_any |= noted;
            let domain = self.ready.enter(lane, 1);
            self.tally.queued += 1;
            match state {
                At::Due { at_s } => due.push(Slice { due_s: at_s, domain, message }),
                _ => self.tally.held += 1,
            }
        });
        visited.map_err(|why| Error::Damaged(format!("message {message}: {why}")))?;
        due.sort_unstable();
        due.dedup();
        for slice in due {
            self.ready.push(slice, now_s);
        }
        if noted_any {
            self.noted.push(message);
        }
        Ok(())
    }

    /// When retention has to look at a message that has ended: in seconds since the epoch.
    pub fn expiry_s(&self, row: &Row) -> u32 {
        let after = match row.content {
            Content::Kept(_) => self.retention.content,
            Content::Removed(_) => self.retention.placeholder,
        };
        row.ended_s().unwrap_or(0).saturating_add(u32::try_from(after.as_secs()).unwrap_or(u32::MAX))
    }

    /// Whether nothing may be left at `now` of a message that has ended.
    pub fn is_over(&self, row: &Row, now: Timestamp) -> bool {
        let longest = self.retention.content.max(self.retention.placeholder);
        row::timestamp(row.ended_s().unwrap_or(0)) + longest <= now
    }
}

/// The header of a content, cut at [`HEADER_BYTES_MAX`].
pub fn header_of(content: &[u8]) -> Box<[u8]> {
    let bounded = &content[..content.len().min(HEADER_BYTES_MAX)];
    bounded[..scan::fields(bounded).last().map_or(0, |field| field.end)].into()
}
