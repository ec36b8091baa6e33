//! One thread's part of the load: what its connections share.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringpost::message::date;
use shards::gate::Gate;
use shards::{Instant, Reactor};

use super::pace::{Pace, Ticket};
use super::plan::Plan;
use super::tally::Tally;
use super::{idle, worker};
use crate::clock;
use crate::idfile::IdFile;
use crate::message::{Id, Template};

/// What the connections of one thread share.
pub(super) struct Thread {
    pub(super) reactor: Reactor,
    pub(super) plan: Arc<Plan>,
    pub(super) pace: Pace,
    pub(super) number: u8,
    /// Tells this run's ids from those of others.
    pub(super) run: u32,
    /// Where connections wait to be opened, if only so many may be at a time.
    pub(super) door: Option<Gate>,
    templates: Vec<Template>,
    /// Messages of each template that no one sends at the moment: at most as many as there are connections.
    spare: RefCell<Vec<Vec<Arc<Vec<u8>>>>>,
    luck: RefCell<fastrand::Rng>,
    pub(super) tally: RefCell<Tally>,
    pub(super) ids: RefCell<IdFile>,
}

/// A message of some size.
pub(super) struct Content {
    /// Which template it came from.
    template: usize,
    pub(super) bytes: Arc<Vec<u8>>,
}

impl Thread {
    /// A message to send: of the size whose turn it is, with its id and the time when it was due.
    pub(super) fn content(&self, id: Id, due: Instant) -> Content {
        let template = self.plan.sizes.choose(self.luck.borrow_mut().f64());
        let spare = self.spare.borrow_mut()[template].pop();
        let mut bytes = spare.unwrap_or_else(|| Arc::new(self.templates[template].message()));
        let late = self.reactor.now().since(due);
        let due_us = clock::wall_us().saturating_sub(u64::try_from(late.as_micros()).unwrap_or(u64::MAX));
        self.templates[template].give_id(Arc::make_mut(&mut bytes).as_mut_slice(), id, due_us);
        Content { template, bytes }
    }

    /// Takes back a message that was sent, for another one to be written over it.
    pub(super) fn take_back(&self, content: Content) {
        self.spare.borrow_mut()[content.template].push(content.bytes);
    }

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
    let from = plan.sender.path.to_string();
    let template = |size| Template::new(&from, &to, &date, plan.body, size);
    let thread = Rc::new(Thread {
        pace: Pace::new(&plan, number, began),
        number: u8::try_from(number).unwrap_or(u8::MAX),
        // Runs that follow each other within a second are told apart, for three days.
        run: (reactor.wall().as_millis() >> 4) as u32,
        door: plan.opening.map(|opening| Gate::new(opening as usize)),
        templates: plan.sizes.sizes().map(template).collect(),
        spare: RefCell::new(plan.sizes.sizes().map(|_| Vec::new()).collect()),
        luck: RefCell::new(fastrand::Rng::with_seed(number as u64)),
        tally: RefCell::default(),
        ids: RefCell::new(plan.ids.open()?),
        reactor: reactor.clone(),
        plan: plan.clone(),
    });
    let numbers = plan.connections_of(number);
    match plan.idle {
        Some(time) => idle::hold(&thread, numbers.collect(), time).await,
        None => {
            let workers: Vec<_> = numbers.map(|number| reactor.spawn(worker::run(thread.clone(), number))).collect();
            for worker in workers {
                worker.await?;
            }
        }
    }
    thread.ids.borrow_mut().flush()?;
    let mut tally = thread.tally.take();
    tally.span = Some((began, reactor.now()));
    Ok(tally)
}
