//! Settling: what becomes of recipients after an attempt, an expiry or an order: one frame with the notices that it
//! causes, and the same in memory.

use std::sync::Arc;
use std::time::Duration;

use shards::Timestamp;
use shards::journal::{Class, Extent, Position};

use super::judge::{Judged, judge};
use super::notice::{self, About, Told};
use super::outcome::{Answer, Outcome};
use super::row::{Entry, Row, domain_of, seconds};
use super::signing::{Line, Pen};
use super::state::State;
use super::{Error, HEAD_BYTES_MAX, MessageId, Queue, RECIPIENT_BYTES_MAX, lane, schedule};
use crate::bounce::{self, Action};
use crate::config::{Config, Source};
use crate::events::Event;
use crate::events::event::Attempt;
use crate::message::Origin;
use crate::smtp::client::Phase;
use crate::smtp::envelope::{Recipient, Return};
use crate::smtp::path::ReversePath;
use crate::spool::record::{Change, Standing, State as At};
use crate::spool::{self, Message};

/// How long a settlement waits before it looks again whether a full disk has room.
const FULL_PAUSE: Duration = Duration::from_millis(500);

/// The disk has no room for so many bytes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom(usize);

/// What a settlement says, before it is appended.
struct Plan {
    arrival: Timestamp,
    concluded: Vec<Concluded>,
    /// Recipients that stay as they are but for their note.
    unnoted: Vec<Change>,
    notices: Vec<(Action, Message)>,
    /// Recipients that stay as they are, and from when on they may be tried.
    untried: Vec<(Box<str>, u32)>,
    /// Whose the message is.
    origin: Origin,
    /// The source that it was tried from.
    source: Option<Arc<Source>>,
}

/// One recipient's new standing, and why.
struct Concluded {
    recipient: Recipient,
    change: Change,
    answer: Answer,
    /// When it was attempted last.
    attempted: Option<Timestamp>,
    /// What the sender is told of it.
    action: Option<Action>,
}

impl Queue {
    /// Ends a lease. Recipients without an outcome are due again at once. A failure and its notice are one frame. It
    /// waits for no flush, but for room in the journal, and for a content to be read back that a notice returns. An
    /// unknown or already settled lease changes nothing.
    pub async fn settle(&self, lease: u64, mut outcomes: Vec<(u16, Outcome)>) {
        let message = {
            let mut state = self.core.state.borrow_mut();
            let Some(leased) = state.leases.get_mut(lease).filter(|leased| !leased.settling) else { return };
            leased.settling = true;
            outcomes.retain(|(index, _)| leased.indices.contains(index));
            for index in &leased.indices {
                if !outcomes.iter().any(|(told, _)| told == index) {
                    outcomes.push((*index, Outcome::Untried(0)));
                }
            }
            leased.message
        };
        self.conclude(message, Some(lease), outcomes).await;
    }

    /// Carries out `outcomes` of recipients of `message`; leased ones only on behalf of their `lease`. Gives back how many
    /// recipients changed.
    pub(super) async fn conclude(
        &self,
        message: MessageId,
        lease: Option<u64>,
        outcomes: Vec<(u16, Outcome)>,
    ) -> usize {
        while self.is_open() {
            match self.try_to_conclude(message, lease, &outcomes).await {
                Ok(changed) => return changed,
                Err(NoRoom(bytes)) => self.wait_for_room(bytes).await,
            }
        }
        0
    }

    /// As [`Queue::conclude`], but does not wait for room: an error where the disk has none now.
    pub(super) async fn try_to_conclude(
        &self,
        message: MessageId,
        lease: Option<u64>,
        outcomes: &[(u16, Outcome)],
    ) -> Result<usize, NoRoom> {
        // Contents are read, and notices composed, only by those whose turn it is: any number may wait for it.
        let pen = match self.bytes_for_notice(message, outcomes) {
            0 => None,
            _ => Some(self.pen(line_of(outcomes)).await),
        };
        let original = self.original_for_notice(message, outcomes).await;
        let original = original.as_deref().map_or(&[][..], |content| content);
        let plan = self.plan_with_signed_notices(message, lease, outcomes, original, pen.as_ref()).await?;
        let Some(plan) = plan else { return Ok(0) };
        // From here on nothing waits.
        let (position, places) = self.append_plan(&plan).ok_or_else(|| NoRoom(plan.bytes()))?;
        Ok(self.carry_out(message, lease, plan, position, places))
    }

    /// Appends a plan's frame; nothing is appended where nothing changes. `None`: no room.
    fn append_plan(&self, plan: &Plan) -> Option<(Position, Vec<Extent>)> {
        let changes = plan.changes();
        if changes.is_empty() {
            return Some((self.core.journal.tail(), Vec::new()));
        }
        let notices: Vec<&Message> = plan.notices.iter().map(|(_, notice)| notice).collect();
        spool::append_settlement(&self.core.journal, &changes, &notices).ok()
    }

    /// Waits until an urgent frame of `bytes` has room, or the queue is no longer open.
    pub(super) async fn wait_for_room(&self, bytes: usize) {
        while self.is_open() && self.core.journal.room(bytes, Class::Urgent).await.is_err() {
            self.core.reactor.sleep(FULL_PAUSE).await;
        }
    }

    /// How much of the content the notices return that the outcomes may cause; 0 if they cause none.
    fn bytes_for_notice(&self, message: MessageId, outcomes: &[(u16, Outcome)]) -> u32 {
        let (config, now) = (self.config(), self.now());
        let bytes = {
            let state = self.core.state.borrow();
            state.rows.read(message, |row| returned_bytes(row, outcomes, &config, now))
        };
        self.sound(bytes).flatten().unwrap_or(0)
    }

    /// As much of the content as the notices return that the outcomes may cause.
    async fn original_for_notice(&self, message: MessageId, outcomes: &[(u16, Outcome)]) -> Option<Arc<Vec<u8>>> {
        let bytes = self.bytes_for_notice(message, outcomes);
        if bytes == 0 {
            return None;
        }
        match self.beginning_of(message, bytes).await {
            Ok(content) => Some(content),
            // The sender is told all the same, only without the original.
            Err(why) => {
                self.core.log.emit(&Event::Trouble(&why));
                None
            }
        }
    }

    /// What the outcomes come to now that the notices are signed; nothing where the queue is open no longer. Recipients
    /// without a lease may have changed meanwhile: then the notices of before tell the wrong thing, and others are signed.
    /// Nothing is signed that the disk has no room for.
    async fn plan_with_signed_notices(
        &self,
        message: MessageId,
        lease: Option<u64>,
        outcomes: &[(u16, Outcome)],
        original: &[u8],
        pen: Option<&Pen>,
    ) -> Result<Option<Plan>, NoRoom> {
        let anew = || self.is_open().then(|| self.sound(self.plan(message, lease, outcomes, original))).flatten();
        let Some(mut plan) = anew() else { return Ok(None) };
        while let Some(pen) = pen.filter(|pen| pen.signs() && !plan.notices.is_empty()) {
            let bytes = plan.bytes();
            self.core.journal.room(bytes, Class::Urgent).await.map_err(|_| NoRoom(bytes))?;
            let mut signed = Vec::with_capacity(plan.notices.len());
            for (action, notice) in std::mem::take(&mut plan.notices) {
                signed.push((action, self.signed(notice, pen).await));
            }
            let Some(now) = anew() else { return Ok(None) };
            let before = std::mem::replace(&mut plan, now);
            if plan.tell().eq(before.tell()) {
                plan.notices = signed;
                break;
            }
        }
        Ok(Some(plan))
    }

    /// What the outcomes come to now.
    fn plan(
        &self,
        message: MessageId,
        lease: Option<u64>,
        outcomes: &[(u16, Outcome)],
        original: &[u8],
    ) -> Result<Plan, Error> {
        let config = self.config();
        let now = self.now();
        // One draw for all: recipients that were deferred together are due together, and go in one transaction again.
        let random = self.core.reactor.random();
        let state = self.core.state.borrow();
        let plan = state.rows.read(message, |row| {
            let mut plan = Plan::new(row.arrival);
            plan.origin = row.tagged.origin.clone();
            plan.source = lease.and_then(|lease| state.leases.get(lease)).and_then(|leased| leased.source.clone());
            for (index, outcome) in outcomes {
                let Some(entry) = row.recipients.get(usize::from(*index)) else { continue };
                let free = lease.is_some() || !state.leases.holds(message, *index);
                if free && entry.standing.state.ended_s().is_none() {
                    let judged = judge(row, entry, outcome, &config.retry, now, random, lease.is_some());
                    if let (Judged::Same { from_s }, true) = (&judged, entry.standing.state != At::Held) {
                        plan.untried.push((row.lane_of(entry.recipient.path.as_str()).into(), *from_s));
                    }
                    let action = action(row, entry, outcome, &judged, &config);
                    plan.add(message, *index, entry, judged, action, now);
                }
            }
            let any_told = plan.concluded.iter().any(|concluded| concluded.action.is_some());
            (plan, any_told.then(|| row.clone()))
        })?;
        drop(state);
        let (mut plan, row) = plan.unwrap_or_else(|| (Plan::new(Timestamp::default()), None));
        if let Some(row) = row {
            let about = About { message, row: &row, content: original };
            for action in [Action::Failed, Action::Delivered, Action::Relayed] {
                let notice = self.compose(action, &about, &plan.told(action));
                plan.notices.extend(notice.map(|notice| (action, notice)));
            }
        }
        Ok(plan)
    }

    /// Brings a plan that was appended at `position` into memory, and tells the log.
    fn carry_out(
        &self,
        message: MessageId,
        lease: Option<u64>,
        plan: Plan,
        position: Position,
        places: Vec<Extent>,
    ) -> usize {
        let now = self.now();
        let changed = plan.concluded.len();
        self.tell(message, &plan, now);
        let result = {
            let state = &mut *self.core.state.borrow_mut();
            state.leases.remove(lease.unwrap_or_default());
            for (domain, from_s) in &plan.untried {
                state.push(message, domain, *from_s, seconds(now));
            }
            state.tally.deferred += plan.concluded.iter().filter(|concluded| concluded.is_deferral()).count() as u64;
            let slices = state.change_all(plan.changes(), position);
            slices.and_then(|slices| state.let_go_of_content(message).map(|()| slices))
        };
        self.publish_when_durable(self.sound(result).unwrap_or_default());
        for ((action, notice), place) in plan.notices.into_iter().zip(places) {
            self.enter_notice(message, action, notice, place);
        }
        self.slices_changed();
        self.events_changed();
        changed
    }

    /// Tells the log.
    fn tell(&self, id: MessageId, plan: &Plan, now: Timestamp) {
        let log = &self.core.log;
        for Concluded { recipient, change, answer, .. } in &plan.concluded {
            let attempt = Attempt {
                id,
                recipient: recipient.path.as_str(),
                attempt: u32::from(change.standing.attempts),
                age_s: now.since(plan.arrival).as_secs(),
                source: plan.source.as_ref().map(|source| &*source.name),
                origin: &plan.origin,
                answer,
            };
            match change.standing.state {
                At::Delivered { .. } => log.emit(&Event::Delivered(attempt)),
                At::Failed { .. } => log.emit(&Event::Failed(attempt)),
                At::Due { at_s } => {
                    let lane = lane::name(domain_of(recipient.path.as_str()), &plan.origin);
                    let rest = self.core.state.borrow().ready.parked(&lane);
                    let rest_s = rest.map_or(0, |(until, _)| until.since(self.core.reactor.now()).as_secs());
                    let retry_s = u64::from(at_s.saturating_sub(seconds(now))).max(rest_s);
                    log.emit(&Event::Deferred { attempt, retry_s });
                }
                At::Held => log.emit(&Event::Deferred { attempt, retry_s: 0 }),
            }
        }
    }
}

impl Plan {
    fn new(arrival: Timestamp) -> Self {
        Plan {
            arrival,
            concluded: Vec::new(),
            unnoted: Vec::new(),
            notices: Vec::new(),
            untried: Vec::new(),
            origin: Origin::default(),
            source: None,
        }
    }

    /// All that its frame changes.
    fn changes(&self) -> Vec<Change> {
        self.concluded.iter().map(|concluded| &concluded.change).chain(&self.unnoted).cloned().collect()
    }

    fn add(
        &mut self,
        message: MessageId,
        index: u16,
        entry: &Entry,
        judged: Judged,
        action: Option<Action>,
        now: Timestamp,
    ) {
        match judged {
            Judged::Same { .. } => {}
            Judged::Unnoted(standing) => self.unnoted.push(Change { message, index, standing }),
            Judged::Changed(standing, answer) => {
                let change = Change { message, index, standing };
                // What ends between two attempts was attempted before.
                let before = notice::attempted(entry.standing.last.as_ref());
                let attempted = if answer.phase == Phase::Idle { before } else { Some(now) };
                self.concluded.push(Concluded {
                    recipient: entry.recipient.clone(),
                    change,
                    answer,
                    attempted,
                    action,
                });
            }
        }
    }

    /// Whom a notice of `action` tells of.
    fn told(&self, action: Action) -> Vec<Told> {
        let told = self.concluded.iter().filter(|concluded| concluded.action == Some(action));
        told.map(|concluded| Told {
            recipient: concluded.recipient.clone(),
            answer: concluded.answer.clone(),
            attempted: concluded.attempted,
        })
        .collect()
    }

    /// What its notices tell, of which recipients, and why.
    fn tell(&self) -> impl Iterator<Item = (Action, u16, &Answer)> {
        let concluded = self.concluded.iter();
        concluded.filter_map(|concluded| Some((concluded.action?, concluded.change.index, &concluded.answer)))
    }

    /// Bytes of its frame, at most.
    fn bytes(&self) -> usize {
        let notices: usize = self.notices.iter().map(|(_, notice)| notice.content.len() + HEAD_BYTES_MAX).sum();
        HEAD_BYTES_MAX + notices + 2 * RECIPIENT_BYTES_MAX * (self.concluded.len() + self.unnoted.len())
    }
}

impl Concluded {
    fn is_deferral(&self) -> bool {
        self.change.standing.state.ended_s().is_none()
    }
}

/// Where the notices of these outcomes wait for their turn.
fn line_of(outcomes: &[(u16, Outcome)]) -> Line {
    let is_delivery = |(_, outcome): &(u16, Outcome)| matches!(outcome, Outcome::Delivered(..));
    if outcomes.iter().any(is_delivery) { Line::Deliveries } else { Line::Others }
}

/// How much of a message's content the notices return that these outcomes may cause; 0 if they cause none.
fn returned_bytes(row: &Row, outcomes: &[(u16, Outcome)], config: &Config, now: Timestamp) -> u32 {
    if row.sender.path == ReversePath::Null {
        return 0;
    }
    let too_old = schedule::end_of_life(&config.retry, row.begin()) <= now;
    let of_failure = match row.sender.ret {
        // One more tells that it is too long to go back whole.
        Some(Return::Full) => bounce::RETURNED_BYTES_MAX as u32 + 1,
        _ => notice::RETURNED_HEADER_BYTES,
    };
    let account = row.account.as_deref();
    let bytes = outcomes.iter().filter_map(|(index, outcome)| {
        let notify = row.recipients.get(usize::from(*index))?.recipient.notify;
        match outcome {
            Outcome::Delivered(_, hop) => {
                notice::of_success(notify, account, *hop, config).map(|_| notice::RETURNED_HEADER_BYTES)
            }
            Outcome::Deferred(_) | Outcome::Parked(..) | Outcome::Untried(_) if !too_old => None,
            _ => notice::wants_failure(notify, account, config).then_some(of_failure),
        }
    });
    bytes.max().unwrap_or(0)
}

/// What the sender is told of a recipient that now stands as judged.
fn action(row: &Row, entry: &Entry, outcome: &Outcome, judged: &Judged, config: &Config) -> Option<Action> {
    let Judged::Changed(standing, _) = judged else { return None };
    let (notify, account) = (entry.recipient.notify, row.account.as_deref());
    match (standing.state, outcome) {
        _ if row.sender.path == ReversePath::Null => None,
        (At::Failed { .. }, _) => notice::wants_failure(notify, account, config).then_some(Action::Failed),
        (At::Delivered { .. }, Outcome::Delivered(_, hop)) => notice::of_success(notify, account, *hop, config),
        _ => None,
    }
}

impl State {
    /// Lets go of a content in memory unless a first attempt still needs it.
    fn let_go_of_content(&mut self, message: MessageId) -> Result<(), Error> {
        let is_fresh = |entry: &Entry| {
            let Standing { state, attempts, last } = &entry.standing;
            *attempts == 0 && last.is_none() && matches!(state, At::Due { .. })
        };
        let needed = self.rows.read(message, |row| row.recipients.iter().any(is_fresh))?;
        if needed != Some(true) {
            self.contents.remove(message);
        }
        Ok(())
    }
}
