//! A task on its home shard, with the duty to answer for it.

use std::rc::Rc;

use super::metrics::Metrics;
use super::{Done, Rest, Task};
use crate::queue::outcome::Outcome;

/// A task that was given up without an answer (a defect ended its connection) is due again after this many seconds.
const ABANDONED_S: u32 = 60;

/// Where answers go: to the owner's shard.
pub(super) type Reply = Rc<dyn Fn(usize, Done)>;

/// A task and who wants to know. It is answered exactly once, at the latest when it is dropped, so that the owner's
/// lease and credit always come back.
pub(super) struct Waiting {
    /// The task.
    pub task: Task,
    /// It was given to a connection that the peer had left; not a second time.
    pub given_before: bool,
    from: usize,
    reply: Reply,
    metrics: Rc<Metrics>,
    answered: bool,
}

impl Waiting {
    pub fn new(task: Task, from: usize, reply: Reply, metrics: Rc<Metrics>) -> Self {
        Self { task, given_before: false, from, reply, metrics, answered: false }
    }

    /// Reports `outcomes`, one for each recipient.
    pub fn answer(mut self, outcomes: Vec<(u16, Outcome)>, park: Option<Rest>) {
        self.send(outcomes, park);
    }

    /// Reports the same for every recipient.
    pub fn answer_all(mut self, outcome: &Outcome, park: Option<Rest>) {
        self.send_all(outcome, park);
    }

    fn send_all(&mut self, outcome: &Outcome, park: Option<Rest>) {
        let outcomes = self.task.recipients.iter().map(|(index, _)| (*index, outcome.clone())).collect();
        self.send(outcomes, park);
    }

    fn send(&mut self, outcomes: Vec<(u16, Outcome)>, park: Option<Rest>) {
        self.answered = true;
        outcomes.iter().for_each(|(_, outcome)| self.metrics.outcome(outcome));
        (self.reply)(self.from, Done { lease: self.task.lease, outcomes, park });
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.answered {
            self.send_all(&Outcome::Untried(ABANDONED_S), None);
        }
    }
}
