//! Handing events over to those who tell them.

use std::time::Duration;

use super::{Encoded, EventId};
use crate::queue::{Error, Queue};

/// How long an order for events waits when there are none.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long an event may wait for company: one request carries many.
const COMPANY: Duration = Duration::from_millis(50);

impl Queue {
    /// The next events for a webhook, once there are any, and only such as are durable: what is told has happened, whatever
    /// happens next. `told` is told already.
    pub(in crate::queue) async fn take_events(
        &self,
        webhook: &str,
        told: Option<EventId>,
        limit: usize,
    ) -> Result<Vec<Encoded>, Error> {
        if let Some(id) = told {
            let state = &mut *self.core.state.borrow_mut();
            state.webhooks.told(webhook, id, state.rows.index())?;
        }
        let _ = self.core.reactor.timeout(PATIENCE, self.an_event(webhook)).await;
        let waiting = self.core.state.borrow().webhooks.waiting(webhook);
        if waiting > 0 && waiting < limit as u64 {
            self.core.reactor.sleep(COMPANY).await;
        }
        let (events, tail) = {
            let state = self.core.state.borrow();
            (state.webhooks.next(webhook, limit, state.rows.index())?, self.core.journal.tail())
        };
        self.core.journal.durable_until(tail).await?;
        Ok(events)
    }

    /// Waits until an event waits for a webhook.
    async fn an_event(&self, webhook: &str) {
        loop {
            let round = self.core.events.round();
            if self.core.state.borrow().webhooks.waiting(webhook) > 0 {
                return;
            }
            self.core.events.after(round).await;
        }
    }

    /// Something has happened that a webhook may have to be told.
    pub(in crate::queue) fn events_changed(&self) {
        if self.core.state.borrow().webhooks.any() {
            self.core.events.give();
        }
    }
}
