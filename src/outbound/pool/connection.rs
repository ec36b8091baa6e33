//! One connection of a path, from its opening to its end: task after task.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use futures::FutureExt;
use futures::future::{Either, select};

use super::{Inner, SharedPath};
use crate::config::limit::Party;
use crate::outbound::Task;
use crate::outbound::budget::Place;
use crate::outbound::conversation::{Conversation, Delivery};
use crate::outbound::dialer::Wanted;
use crate::outbound::metrics::count;
use crate::outbound::obstacle::Tried;
use crate::outbound::told::untried;
use crate::outbound::waiting::Waiting;
use crate::queue::outcome::Outcome;

/// A connection and what its end means for the path.
pub(super) async fn run(pool: Rc<Inner>, path: SharedPath, number: u64, place: Place) {
    let budgets = place.0.clone();
    // A defect of ours ends this connection only: its task and its place are given back by being dropped.
    match AssertUnwindSafe(live(&pool, &path, number, place)).catch_unwind().await {
        Ok(End::NoConnection(tried)) => pool.no_connection(&path, &tried),
        // Nor is the peer that met the defect spoken to again at once.
        Ok(End::Useless) | Err(_) => pool.useless(&path),
        Ok(End::Enough) => {}
    }
    pool.serve_line(&budgets);
    pool.pump(&path);
}

/// Why a connection's life is over.
enum End {
    /// It never began.
    NoConnection(Tried),
    /// The peer ended it before it had done anything for us.
    Useless,
    /// Enough tasks, none for a while, a loss after good work, or we are draining.
    Enough,
}

/// One connection, from its opening to its end.
async fn live(pool: &Rc<Inner>, path: &SharedPath, number: u64, place: Place) -> End {
    let mut slot = Slot::new(pool, path);
    let (source, site) = (path.borrow().source.clone(), path.borrow().site.clone());
    let domain = path.borrow().first_waiting().and_then(|task| pool.metrics.reporting.domain_of(task));
    let wanted = Wanted { source: &source, site: &site, budgets: &place.0, domain: domain.as_deref() };
    let opening = pin!(pool.dialer.open(&wanted));
    let mut conversation = match select(opening, pool.draining.clone()).await {
        Either::Left((Ok(conversation), _)) => conversation,
        Either::Left((Err(tried), _)) => return End::NoConnection(tried),
        Either::Right(_) => return End::Enough,
    };
    slot.opened();
    let end = serve(pool, path, number, &mut conversation).await;
    conversation.quit().await;
    end
}

/// Task after task on one connection.
async fn serve(pool: &Rc<Inner>, path: &SharedPath, number: u64, conversation: &mut Conversation) -> End {
    loop {
        let budgets = path.borrow().budgets.clone();
        if conversation.transactions() >= budgets.messages_per_connection_max() || budgets.has_too_many() {
            return End::Enough;
        }
        if !conversation.is_usable() {
            return if conversation.has_worked() { End::Enough } else { End::Useless };
        }
        let Some(mut waiting) = next_task(pool, path, number, conversation).await else { return End::Enough };
        let mut turn = UnderWay::new(path, &waiting.task);
        if !conversation.takes(waiting.task.domain()) {
            path.borrow_mut().push_back_first(waiting);
            return End::Enough;
        }
        // What still waits may be worth a connection beside this one.
        pool.pump(path);
        let begun = conversation.transactions();
        let delivery = conversation.deliver(&waiting.task, &budgets, !waiting.given_before).await;
        let (transactions, begun) = (&pool.metrics.transactions, u64::from(conversation.transactions() - begun));
        transactions.set(transactions.get() + begun);
        match delivery {
            Delivery::Outcomes(mut outcomes) => {
                turn.was_tried = outcomes.iter().any(|(_, outcome)| !matches!(outcome, Outcome::Untried(_)));
                drop(turn);
                if outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Delivered(..))) {
                    pool.went_well(path, begun);
                }
                let rest = pool.heed(path, conversation.ours(), &mut outcomes);
                let rest = rest.or_else(|| pool.give_back(path, &mut outcomes));
                let is_over = rest.is_some();
                waiting.answer(outcomes, rest);
                if is_over {
                    return End::Enough;
                }
            }
            Delivery::NotBegun if pool.is_draining() => {
                waiting.answer_all(&Outcome::Untried(0), None);
                return End::Enough;
            }
            Delivery::NotBegun => {
                let rest = path.borrow().rest(pool.reactor.now());
                if let Some(rest) = rest {
                    // Nobody comes for what waits while the path rests.
                    waiting.answer_all(&untried(rest.pause), Some(rest));
                    return End::Enough;
                }
                waiting.given_before = true;
                path.borrow_mut().push_back_first(waiting);
                return End::Enough;
            }
        }
        if !conversation.has_worked() {
            return End::Useless;
        }
        path.borrow_mut().works(pool.reactor.now());
    }
}

/// The next task; none if the peer ends the connection first, none comes for a while, or the shard drains.
async fn next_task(
    pool: &Rc<Inner>,
    path: &SharedPath,
    number: u64,
    conversation: &mut Conversation,
) -> Option<Waiting> {
    let task = poll_fn(|context| {
        let mut path = path.borrow_mut();
        match path.pop() {
            None if !pool.is_draining() => {
                path.idles(number, context.waker().clone());
                Poll::Pending
            }
            next => Poll::Ready(next),
        }
    });
    let idle_timeout = path.borrow().budgets.idle_timeout();
    let next = match select(pin!(task), pin!(conversation.idle(idle_timeout))).await {
        Either::Left((next, _)) => next,
        Either::Right(_) => None,
    };
    path.borrow_mut().idles_no_more(number);
    next
}

/// A task that a connection has in hand, counted to whose it is until this is dropped.
struct UnderWay<'a> {
    path: &'a SharedPath,
    tenant: Box<str>,
    campaign: Box<str>,
    was_tried: bool,
}

impl<'a> UnderWay<'a> {
    fn new(path: &'a SharedPath, task: &Task) -> Self {
        Self { path, tenant: task.tenant.clone(), campaign: task.campaign.clone(), was_tried: false }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let party = Party { tenant: &self.tenant, campaign: &self.campaign };
        self.path.borrow_mut().is_no_longer_under_way(party, self.was_tried);
    }
}

/// A connection's place in the counts of its path and of the shard, given back when it is dropped.
struct Slot<'a> {
    pool: &'a Rc<Inner>,
    path: &'a SharedPath,
    live: bool,
}

impl<'a> Slot<'a> {
    fn new(pool: &'a Rc<Inner>, path: &'a SharedPath) -> Self {
        let now = &pool.metrics.connections_now;
        now.set(now.get() + 1);
        Self { pool, path, live: false }
    }

    /// The connection is ready.
    fn opened(&mut self) {
        self.path.borrow_mut().opened();
        self.live = true;
        count(&self.pool.metrics.connections_opened);
        self.pool.source_works(self.path);
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.path.borrow_mut().ended(self.live);
        let now = &self.pool.metrics.connections_now;
        now.set(now.get() - 1);
        if now.get() == 0
            && let Some(waker) = self.pool.drained.take()
        {
            waker.wake();
        }
    }
}
