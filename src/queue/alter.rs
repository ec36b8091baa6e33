//! Operators' changes: hold, release, retry, bounce.

use super::orders::Selection;
use super::outcome::{Answer, Outcome};
use super::row::{Entry, Row};
use super::{Error, MessageId, Queue, RECIPIENT_BYTES_MAX};
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
    /// held → due now.
    Release,
    /// due later → due now.
    Retry,
}

impl Alter {
    fn name(self) -> &'static str {
        match self {
            Alter::Hold => "hold",
            Alter::Release => "release",
            Alter::Retry => "retry",
        }
    }

    /// The state after the change; `None` where it changes nothing.
    fn apply(self, state: At, now_s: u32) -> Option<At> {
        match (self, state) {
            (Alter::Hold, At::Due { .. }) => Some(At::Held),
            (Alter::Release, At::Held) => Some(At::Due { at_s: now_s }),
            (Alter::Retry, At::Due { at_s }) if at_s > now_s => Some(At::Due { at_s: now_s }),
            _ => None,
        }
    }
}

/// The status of a recipient that the operator has given up.
const CANCELLED: EnhancedCode = EnhancedCode(5, 0, 0);

impl Queue {
    /// Changes the selected recipients, a page of messages in a frame.
    pub(super) async fn alter(&self, alter: Alter, selection: &Selection) -> Result<u64, Error> {
        let mut changed = 0;
        let mut pages = self.pages(selection.id, None);
        while let Some(page) = pages.next().await? {
            let ids: Vec<MessageId> =
                page.iter().filter(|(id, row)| selection.admits(*id, row)).map(|(id, _)| *id).collect();
            changed += self.alter_page(alter, selection, &ids).await?;
            self.room_for_rows().await;
        }
        self.core.log.emit(&Event::Ordered { order: alter.name(), recipients: changed });
        Ok(changed)
    }

    /// Changes what is selected of these messages in one frame.
    async fn alter_page(&self, alter: Alter, selection: &Selection, ids: &[MessageId]) -> Result<u64, Error> {
        while self.is_open() {
            let changes = self.alterations(alter, selection, ids)?;
            if changes.is_empty() {
                return Ok(0);
            }
            if spool::append_settlement(&self.core.journal, &changes, &[]).is_ok() {
                let now_s = self.now_s();
                let changed = changes.len() as u64;
                let state = &mut *self.core.state.borrow_mut();
                changes.into_iter().try_for_each(|change| state.change(change, now_s))?;
                self.core.sooner.give();
                self.core.ready.give();
                return Ok(changed);
            }
            self.wait_for_room(2 * RECIPIENT_BYTES_MAX * changes.len()).await;
        }
        Err(Error::Closed)
    }

    fn alterations(&self, alter: Alter, selection: &Selection, ids: &[MessageId]) -> Result<Vec<Change>, Error> {
        let now_s = self.now_s();
        let state = self.core.state.borrow();
        let mut changes = Vec::new();
        for message in ids {
            let alteration = |(index, entry): (u16, &Entry)| {
                let state = alter.apply(entry.standing.state, now_s)?;
                let standing = Standing { state, ..entry.standing.clone() };
                selection.selects(entry).then_some(Change { message: *message, index, standing })
            };
            state.rows.read(*message, |row| {
                changes.extend((0..=u16::MAX).zip(&row.recipients).filter_map(alteration));
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
                let outcomes = cancelled(selection, row);
                if !outcomes.is_empty() {
                    changed += self.conclude(*id, None, outcomes).await as u64;
                }
                if !self.is_open() {
                    return Err(Error::Closed);
                }
            }
            self.room_for_rows().await;
        }
        self.core.log.emit(&Event::Ordered { order: "bounce", recipients: changed });
        Ok(changed)
    }
}

fn cancelled(selection: &Selection, row: &Row) -> Vec<(u16, Outcome)> {
    let cancelled = Answer {
        phase: Phase::Idle,
        status: CANCELLED,
        reply: None,
        text: "returned to its sender by the operator of this server".into(),
        remote: None,
    };
    let selected = (0..=u16::MAX).zip(&row.recipients).filter(|(_, entry)| selection.selects(entry));
    selected.map(|(index, _)| (index, Outcome::Failed(cancelled.clone()))).collect()
}
