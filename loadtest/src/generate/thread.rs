//! One thread's part of the load: what its connections share.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringpost::message::date;
use shards::Reactor;

use super::pace::{Pace, Ticket};
use super::plan::Plan;
use super::tally::Tally;
use super::worker;
use crate::idfile::IdFile;
use crate::message::Template;

/// What the connections of one thread share.
pub(super) struct Thread {
    pub(super) reactor: Reactor,
    pub(super) plan: Arc<Plan>,
    pub(super) pace: Pace,
    pub(super) number: u8,
    /// Tells this run's ids from those of others.
    pub(super) run: u32,
    pub(super) template: Template,
    pub(super) tally: RefCell<Tally>,
    pub(super) ids: RefCell<IdFile>,
}

impl Thread {
    /// The next message, once it is due; `None` when there is none left.
    pub(super) async fn ticket(&self) -> Option<Ticket> {
        let ticket = self.pace.take(self.reactor.now())?;
        let early = ticket.due.since(self.reactor.now());
        if !early.is_zero() {
            self.reactor.sleep(early).await;
        }
        if self.plan.stop.load(Ordering::Relaxed) { None } else { Some(ticket) }
    }
}

/// Runs thread `number` to its end.
///
/// # Errors
/// Where ids cannot be written.
pub(super) async fn run(reactor: Reactor, number: usize, plan: Arc<Plan>) -> io::Result<Tally> {
    let began = reactor.now();
    let date = date::rfc5322(reactor.wall());
    let to = plan.recipients(0).first().map(|recipient| recipient.path.to_string()).unwrap_or_default();
    let thread = Rc::new(Thread {
        pace: Pace::new(&plan, number, began),
        number: u8::try_from(number).unwrap_or(u8::MAX),
        // Runs that follow each other within a second are told apart, for three days.
        run: (reactor.wall().as_millis() >> 4) as u32,
        template: Template::new(&plan.sender.path.to_string(), &to, &date, plan.size),
        tally: RefCell::default(),
        ids: RefCell::new(plan.ids.open()?),
        reactor: reactor.clone(),
        plan,
    });
    let numbers = thread.plan.connections_of(number);
    let workers: Vec<_> = numbers.map(|number| reactor.spawn(worker::run(thread.clone(), number))).collect();
    for worker in workers {
        worker.await?;
    }
    thread.ids.borrow_mut().flush()?;
    let mut tally = thread.tally.take();
    tally.span = Some((began, reactor.now()));
    Ok(tally)
}
