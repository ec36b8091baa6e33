//! Operators' changes: hold, release, retry, bounce.

use shards::Timestamp;

use super::lift::Reopen;
use super::orders::Selection;
use super::outcome::{Answer, Outcome};
use super::row::{Entry, Row, seconds};
use super::state::State;
use super::{Error, HEAD_BYTES_MAX, MessageId, Queue, RECIPIENT_BYTES_MAX, open};
use crate::events::Event;
use crate::smtp::client::Phase;
use crate::smtp::reply::EnhancedCode;
use crate::spool;
use crate::spool::record::{Change, Standing, State as At};

/// A change of standing that needs no notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alter {
    /// due → held. A leased recipient is held too: unless its attempt ends it, it is not tried again.
    Hold,
    /// held → due now, or at the scheduled time.
    Release,
    /// due later → due now. An order about many leaves alone what is scheduled for later: nobody deferred that.
    Retry,
    /// The same where what put it off was the way to its destination, and not what was said of it or its recipient.
    LetGo,
}

impl Alter {
    fn name(self) -> &'static str {
        match self {
            Alter::Hold => "hold",
            Alter::Release => "release",
            Alter::Retry | Alter::LetGo => "retry",
        }
    }

    /// The state after the change; `None` where it changes nothing. `begin_s` is when the message is due first, `named`
    /// whether the order is about it alone.
    fn apply(self, state: At, now_s: u32, begin_s: u32, named: bool) -> Option<At> {
        match (self, state) {
            (Alter::Hold, At::Due { .. }) => Some(At::Held),
            (Alter::Release, At::Held) => Some(At::Due { at_s: now_s.max(begin_s) }),
            (Alter::Retry | Alter::LetGo, At::Due { at_s }) if at_s > now_s && (named || begin_s <= now_s) => {
                Some(At::Due { at_s: now_s })
            }
            _ => None,
        }
    }
}

/// How the rules of the configuration begin, which may let a way rest for any reply; and the rule of a source's own trouble.
const OWN_RULES: &str = "reply:";
const SOURCE_RULE: &str = "source";

/// Whether what put a recipient off last is the way's: nothing was tried for it, or what was said is of the sending address,
/// of how much it sends, or of no connection.
fn is_of_the_way(standing: &Standing) -> bool {
    standing.last.as_ref().is_none_or(|said| {
        said.reason.as_ref().is_some_and(|reason| {
            reason.category.is_of_the_way() || *reason.rule == *SOURCE_RULE || reason.rule.starts_with(OWN_RULES)
        })
    })
}

/// Bytes of a change in a frame, at most: what was said last and by whom.
const CHANGE_BYTES_MAX: usize = 2 * RECIPIENT_BYTES_MAX;
/// Recipients that one frame of an order changes. A full disk has room for such a frame while its reserve lasts.
pub(super) const CHANGES_PER_FRAME_MAX: usize = 400;

const _: () =
    assert!(HEAD_BYTES_MAX + CHANGES_PER_FRAME_MAX * CHANGE_BYTES_MAX <= open::JOURNAL.reserve_bytes as usize);

/// Domains that a retry looks at before other work gets its turn.
const DOMAINS_PER_TURN: u32 = 10_000;

/// The status of a recipient that the operator has given up.
const CANCELLED: EnhancedCode = EnhancedCode(5, 0, 0);

impl Queue {
    /// Changes the selected recipients.
    pub(super) async fn alter(&self, alter: Alter, selection: &Selection) -> Result<u64, Error> {
        let changed = self.alter_pages(alter, selection).await?;
        self.core.log.emit(&Event::Ordered { order: alter.name(), selection, recipients: changed });
        Ok(changed)
    }

    /// Makes the selected recipients due now, and has their domains tried even where a next hop is left alone. Counts
    /// those that waited for either.
    pub(super) async fn retry(&self, selection: &Selection) -> Result<u64, Error> {
        let changed = self.make_due(selection, Alter::Retry).await?;
        let mut next = Some(0);
        while let Some(from) = next {
            next = self.core.state.borrow_mut().ready.insist_on_chosen(from, DOMAINS_PER_TURN);
            self.core.reactor.yield_now().await;
        }
        self.slices_changed();
        self.core.log.emit(&Event::Ordered { order: Alter::Retry.name(), selection, recipients: changed });
        Ok(changed)
    }

    /// Lets what waits because of destinations go, as if their rest were over, and what the way has put off at the domain. What
    /// a recipient waits for on its own account stays. Counts the recipients.
    pub(super) async fn let_go(&self, Reopen { destinations, domain, .. }: Reopen) -> Result<u64, Error> {
        let selection = Selection { destinations, ..Selection::default() };
        let mut changed = self.make_due(&selection, Alter::LetGo).await?;
        let mut next = Some(0);
        while let Some(from) = next {
            next = self.core.state.borrow_mut().ready.unpark_at(&selection.destinations, from, DOMAINS_PER_TURN);
            self.core.reactor.yield_now().await;
        }
        self.slices_changed();
        if domain.is_some() {
            changed += self.make_due(&Selection { domain, ..Selection::default() }, Alter::LetGo).await?;
        }
        Ok(changed)
    }

    /// Makes the selected recipients due now. Counts them, and those that are due but wait for the end of their domain's pause.
    async fn make_due(&self, selection: &Selection, alter: Alter) -> Result<u64, Error> {
        let insists = alter == Alter::Retry;
        Ok(self.look_for_domains(selection, insists).await? + self.alter_pages(alter, selection).await?)
    }

    /// Looks at the domains of selected recipients that are due, now or later; where an operator `insists`, they are chosen to
    /// be tried. Gives how many of these are due now but wait for the end of their domain's pause. Those get slices that are
    /// ready once what made them due is flushed: an attempt that was put off left one for later.
    async fn look_for_domains(&self, selection: &Selection, insists: bool) -> Result<u64, Error> {
        let mut held_up = 0;
        let mut pages = self.pages(selection.id, None);
        while let Some(page) = pages.next().await? {
            let (now, now_s) = (self.now(), self.now_s());
            let mut slices = Vec::new();
            let state = &mut *self.core.state.borrow_mut();
            for (id, row) in page.iter().filter(|(id, row)| selection.admits(*id, row)) {
                let indexed = (0..=u16::MAX).zip(&row.recipients);
                for (index, entry) in indexed {
                    if !selection.selects(row, entry, state, now) {
                        continue;
                    }
                    let At::Due { at_s } = entry.standing.state else { continue };
                    let domain = row.lane_of(entry.recipient.path.as_str());
                    if at_s <= now_s && state.ready.parked(&domain).is_some() && !state.leases.holds(*id, index) {
                        held_up += 1;
                        slices.extend(state.slice(*id, &domain, now_s));
                    }
                    if insists {
                        state.ready.choose(&domain);
                    }
                }
            }
            self.publish_when_durable(slices);
        }
        Ok(held_up)
    }

    /// Changes the selected recipients, a page of messages after the other.
    async fn alter_pages(&self, alter: Alter, selection: &Selection) -> Result<u64, Error> {
        let mut changed = 0;
        let mut pages = self.pages(selection.id, None);
        while let Some(page) = pages.next().await? {
            let ids: Vec<MessageId> =
                page.iter().filter(|(id, row)| selection.admits(*id, row)).map(|(id, _)| *id).collect();
            changed += self.alter_page(alter, selection, &ids).await?;
            self.room_for_rows().await;
        }
        Ok(changed)
    }

    /// Changes what is selected of these messages, in as many frames as it takes. Other work runs between them; a crash
    /// there leaves every recipient changed or not, and the order can be given again.
    async fn alter_page(&self, alter: Alter, selection: &Selection, ids: &[MessageId]) -> Result<u64, Error> {
        let mut changed = 0;
        let mut after = None;
        loop {
            let changes = self.alter_frame(alter, selection, ids, after).await?;
            changed += changes.len() as u64;
            match changes.last() {
                Some(last) if changes.len() == CHANGES_PER_FRAME_MAX => after = Some((last.message, last.index)),
                _ => return Ok(changed),
            }
            self.room_for_rows().await;
            self.core.reactor.yield_now().await;
        }
    }

    /// Changes the next selected recipients `after` one, in one frame; gives back what changed.
    async fn alter_frame(
        &self,
        alter: Alter,
        selection: &Selection,
        ids: &[MessageId],
        after: Option<(MessageId, u16)>,
    ) -> Result<Vec<Change>, Error> {
        while self.is_open() {
            let changes = self.alterations(alter, selection, ids, after)?;
            if changes.is_empty() {
                return Ok(changes);
            }
            if let Ok((position, _)) = spool::append_settlement(&self.core.journal, &changes, &[]) {
                // The frame says so already: memory that cannot follow it is the storage's failure.
                let slices = self.core.state.borrow_mut().change_all(changes.iter().cloned(), position);
                let Some(slices) = self.sound(slices) else { break };
                self.publish_when_durable(slices);
                return Ok(changes);
            }
            self.wait_for_room(CHANGE_BYTES_MAX * changes.len()).await;
        }
        Err(Error::Closed)
    }

    /// What the order changes of these messages beyond the recipient `after`: at most a frame's worth.
    fn alterations(
        &self,
        alter: Alter,
        selection: &Selection,
        ids: &[MessageId],
        after: Option<(MessageId, u16)>,
    ) -> Result<Vec<Change>, Error> {
        let (now, now_s) = (self.now(), self.now_s());
        let state = self.core.state.borrow();
        let mut changes = Vec::new();
        for message in ids.iter().skip_while(|id| after.is_some_and(|(last, _)| **id < last)) {
            let alteration = |row: &Row, begin_s: u32, index: u16, entry: &Entry| {
                if alter == Alter::LetGo && !is_of_the_way(&entry.standing) {
                    return None;
                }
                let altered = alter.apply(entry.standing.state, now_s, begin_s, selection.id.is_some())?;
                let standing = Standing { state: altered, ..entry.standing.clone() };
                let is_next = after.is_none_or(|last| (*message, index) > last);
                (is_next && selection.selects(row, entry, &state, now)).then_some(Change {
                    message: *message,
                    index,
                    standing,
                })
            };
            let room = CHANGES_PER_FRAME_MAX - changes.len();
            state.rows.read(*message, |row| {
                let begin_s = seconds(row.begin());
                let indexed = (0..=u16::MAX).zip(&row.recipients);
                changes.extend(indexed.filter_map(|(index, entry)| alteration(row, begin_s, index, entry)).take(room));
            })?;
        }
        Ok(changes)
    }

    /// Fails the selected recipients, with their notices. Leased ones are left to their attempt.
    pub(super) async fn bounce(&self, selection: &Selection) -> Result<u64, Error> {
        let mut changed = 0;
        let mut pages = self.pages(selection.id, None);
        while let Some(page) = pages.next().await? {
            for (id, row) in page.iter().filter(|(id, row)| selection.admits(*id, row)) {
                let outcomes = cancelled(selection, row, &self.core.state.borrow(), self.now());
                if !outcomes.is_empty() {
                    changed += self.conclude(*id, None, outcomes).await as u64;
                }
                if !self.is_open() {
                    return Err(Error::Closed);
                }
            }
            self.room_for_rows().await;
        }
        self.core.log.emit(&Event::Ordered { order: "bounce", selection, recipients: changed });
        Ok(changed)
    }
}

fn cancelled(selection: &Selection, row: &Row, shard: &State, now: Timestamp) -> Vec<(u16, Outcome)> {
    let cancelled = Answer {
        phase: Phase::Idle,
        status: CANCELLED,
        reason: None,
        reply: None,
        text: "returned to its sender by the operator of this server".into(),
        remote: None,
        tls: None,
    };
    let selected = (0..=u16::MAX).zip(&row.recipients).filter(|(_, entry)| selection.selects(row, entry, shard, now));
    selected.map(|(index, _)| (index, Outcome::Failed(cancelled.clone()))).collect()
}
