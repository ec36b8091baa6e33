//! The clockwork: makes slices ready when they become due, and ends the parking of domains.

use std::time::Duration;

use super::ready::Slice;
use super::row::Row;
use super::{Error, MessageId, Queue, row};
use crate::spool::record::State as At;

/// Slices that become ready before other work gets its turn.
const SLICES_PER_TURN: usize = 1000;
/// Stale slices that are left alone, however few are useful.
const STALE_SLICES_MAX: usize = 10_000;
/// The longest wait: the wall clock may be set forward.
const WAIT_MAX: Duration = Duration::from_secs(5);

impl Queue {
    /// Runs for ever.
    pub(super) async fn run_clockwork(self) {
        loop {
            let round = self.core.sooner.round();
            let more = self.advance();
            if more {
                self.core.reactor.yield_now().await;
                continue;
            }
            let wait = self.wait();
            // Whether the time is over or something is due sooner: look again.
            let _ = self.core.reactor.timeout(wait, self.core.sooner.after(round)).await;
        }
    }

    /// Makes ready what is due. True: there is more.
    fn advance(&self) -> bool {
        let now_s = self.now_s();
        let more = {
            let ready = &mut self.core.state.borrow_mut().ready;
            ready.unpark(self.core.reactor.now());
            ready.ripen(now_s, SLICES_PER_TURN)
        };
        self.slices_changed();
        more
    }

    /// How long nothing will become ready.
    fn wait(&self) -> Duration {
        let state = self.core.state.borrow();
        let now = self.now();
        let due = state.ready.next_due_s().map_or(WAIT_MAX, |due_s| row::timestamp(due_s).since(now));
        let unpark = state.ready.next_unpark().map_or(WAIT_MAX, |until| until.since(self.core.reactor.now()));
        let wait = due.min(unpark).min(WAIT_MAX);
        self.core.waits_until_s.set(row::seconds(now + wait));
        wait
    }

    /// Orders that make recipients due sooner leave stale slices behind. When most are, all are made anew.
    pub(super) async fn rebuild_slices_if_stale(&self) {
        let most_are_stale = {
            let state = self.core.state.borrow();
            let useful = usize::try_from(state.tally.queued - state.tally.held).unwrap_or(usize::MAX);
            state.ready.slices() > useful.saturating_mul(2).saturating_add(STALE_SLICES_MAX)
        };
        if most_are_stale {
            let rebuilt = self.rebuild_slices().await;
            self.sound(rebuilt);
        }
    }

    /// Makes all slices anew from the rows, a page at a time; what changes meanwhile queues its own. Rows are ahead of the
    /// disk: a page's slices wait until the journal is durable up to where it was when the page was read.
    pub(super) async fn rebuild_slices(&self) -> Result<(), Error> {
        self.core.state.borrow_mut().ready.clear_slices();
        let mut after = None;
        while self.is_open() {
            let tail = self.core.journal.tail();
            let page = self.core.state.borrow().rows.page(after, SLICES_PER_TURN)?;
            let Some((last, _)) = page.rows.last() else { break };
            after = Some(*last);
            self.core.journal.durable_until(tail).await?;
            for (message, row) in &page.rows {
                self.push_slices(*message, row);
            }
            self.slices_changed();
            self.core.reactor.yield_now().await;
        }
        Ok(())
    }

    /// Queues the slices of a row.
    fn push_slices(&self, message: MessageId, row: &Row) {
        let now_s = self.now_s();
        let state = &mut *self.core.state.borrow_mut();
        let mut slices: Vec<Slice> = Vec::with_capacity(1);
        for entry in &row.recipients {
            if let At::Due { at_s } = entry.standing.state
                && let Some(domain) = state.ready.find(&row.lane_of(entry.recipient.path.as_str()))
            {
                slices.push(Slice { due_s: at_s, domain, message });
            }
        }
        slices.sort_unstable();
        slices.dedup();
        slices.into_iter().for_each(|slice| state.ready.push(slice, now_s));
    }
}
