//! The operator's desk: one order in, every shard that it concerns asked, one answer out.
//!
//! A message's id begins with its shard, so the order of ids is the order of shards: a page is filled from one shard
//! after another, and never asks one that it does not need.
//!
//! What webhooks, suppressed recipients and TLS reports ask of the shards stands with them (`asked.rs`).

mod lift;
mod waits;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::channel::oneshot;
use serde_json::Value;
use shards::mesh::Inlet;
use tokio::sync::{Semaphore, SemaphorePermit};

pub use self::lift::Outcome;
use crate::crossing::Crossing;
use crate::queue::MessageId;
use crate::queue::orders::{Domains, Order, Report, Scope, Selection, Suspended, Waiting};

/// Messages of one page.
pub const PAGE_MAX: usize = 1_000;
/// Orders under way at once, however many shards each concerns; more wait for their turn. Looking at the counters takes
/// no turn: whoever asks whether the shards live must not wait for a change of a million recipients.
const ORDERS_MAX: usize = 8;
/// Looks at the counters under way at once; more wait for their turn.
const LOOKS_MAX: usize = 8;
/// How long a shard may take to give its counters.
pub(super) const LOOK_PATIENCE: Duration = Duration::from_secs(10);
/// How long a shard may take for its part of an order: bouncing a million recipients takes a while.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long to wait between two looks at a shard's full inlet, and how many looks there are.
const FULL_PAUSE: Duration = Duration::from_millis(10);
const FULL_LOOKS_MAX: usize = 500;

/// What changes recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// due → held.
    Hold,
    /// held → due now.
    Release,
    /// due later → due now.
    Retry,
    /// due or held → failed, with its DSN.
    Bounce,
}

/// Why an order was not carried out. For people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// A shard could not do it.
    #[error("shard {0}: {1}")]
    Failed(usize, String),
    /// A shard did not take the order, or did not answer in time.
    #[error("shard {0} does not answer; it may still carry out the order")]
    Silent(usize),
    /// The shard has ended.
    #[error("ringpost is stopping")]
    Stopping,
}

/// A page of messages.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// One object a message, in the order of ids.
    pub messages: Vec<Value>,
    /// Whether there may be more after the last one.
    pub more: bool,
}

/// A page of domains.
#[derive(Clone, Debug, PartialEq)]
pub struct DomainPage {
    /// By name.
    pub domains: Vec<Waiting>,
    /// Whether there are more behind the last one.
    pub more: bool,
}

/// The desk; a cheap handle.
#[derive(Clone)]
pub struct Desk {
    inlet: Inlet<Crossing>,
    turns: Arc<Semaphore>,
    looks: Arc<Semaphore>,
}

impl Desk {
    /// The desk of the shards behind `inlet`.
    pub fn new(inlet: Inlet<Crossing>) -> Self {
        Self { inlet, turns: Arc::new(Semaphore::new(ORDERS_MAX)), looks: Arc::new(Semaphore::new(LOOKS_MAX)) }
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.inlet.shards()
    }

    /// Says something to these shards that needs no answer; gives those that did not take it.
    pub async fn tell(&self, shards: Vec<usize>, what: impl Fn() -> Crossing) -> Vec<usize> {
        let told = shards.into_iter().map(|shard| {
            let crossing = what();
            async move { self.send(shard, crossing).await.is_err().then_some(shard) }
        });
        futures::future::join_all(told).await.into_iter().flatten().collect()
    }

    /// At most `limit` messages, from the one after `after` on.
    pub async fn list(&self, selection: &Selection, after: Option<MessageId>, limit: usize) -> Result<Page, Trouble> {
        let _turn = self.turn().await?;
        let limit = limit.clamp(1, PAGE_MAX);
        let mut messages: Vec<Value> = Vec::new();
        let first = selection.id.or(after).map_or(0, MessageId::shard);
        let last = selection.id.map_or(self.shards(), |id| id.shard() + 1).min(self.shards());
        for shard in first..last {
            let order = Order::List {
                selection: selection.clone(),
                after: after.filter(|after| after.shard() == shard),
                limit: limit - messages.len(),
            };
            match self.ask(shard, order).await? {
                Report::Messages(more) => messages.extend(more),
                other => return Err(unexpected(shard, other)),
            }
            if messages.len() >= limit {
                return Ok(Page { messages, more: true });
            }
        }
        Ok(Page { messages, more: false })
    }

    /// Everything about one message; `None` if there is no such message.
    pub async fn show(&self, id: MessageId) -> Result<Option<Value>, Trouble> {
        let shard = id.shard();
        if shard >= self.shards() {
            return Ok(None);
        }
        let _turn = self.turn().await?;
        match self.ask(shard, Order::Show(id)).await? {
            Report::Message(message) => Ok(message),
            other => Err(unexpected(shard, other)),
        }
    }

    /// Everything about the messages of a Message-ID, also delivered ones, in the order of ids.
    pub async fn find(&self, message_id: &str) -> Result<Vec<Value>, Trouble> {
        let _turn = self.turn().await?;
        let answers = (0..self.shards()).map(|shard| async move {
            match self.ask(shard, Order::Find(message_id.into())).await? {
                Report::Messages(found) => Ok(found),
                other => Err(unexpected(shard, other)),
            }
        });
        Ok(futures::future::try_join_all(answers).await?.into_iter().flatten().collect())
    }

    /// How many queued recipients there are.
    pub async fn count(&self, selection: &Selection) -> Result<u64, Trouble> {
        self.sum(selection, Order::Count).await
    }

    /// At most `limit` domains, by name, from the one after `after` on.
    pub async fn domains(&self, domains: &Domains, after: Option<&str>, limit: usize) -> Result<DomainPage, Trouble> {
        let _turn = self.turn().await?;
        let limit = limit.clamp(1, PAGE_MAX);
        let answers = (0..self.shards()).map(|shard| {
            let order = Order::Domains { domains: domains.clone(), after: after.map(Into::into), limit };
            async move {
                match self.ask(shard, order).await? {
                    Report::Domains(page) => Ok(page),
                    other => Err(unexpected(shard, other)),
                }
            }
        });
        let pages = futures::future::try_join_all(answers).await?;
        // A page that is full is whole up to its last name, and the first `limit` names of all are not beyond that.
        let any_full = pages.iter().any(|page| page.len() >= limit);
        let mut all: BTreeMap<Box<str>, Waiting> = BTreeMap::new();
        for waiting in pages.into_iter().flatten() {
            let sum = match all.remove(&waiting.domain) {
                Some(before) => before.and(waiting),
                None => waiting,
            };
            all.insert(sum.domain.clone(), sum);
        }
        let more = any_full || all.len() > limit;
        Ok(DomainPage { domains: all.into_values().take(limit).collect(), more })
    }

    /// Changes recipients; gives how many.
    pub async fn change(&self, change: Change, selection: &Selection) -> Result<u64, Trouble> {
        self.sum(selection, |selection| match change {
            Change::Hold => Order::Hold(selection),
            Change::Release => Order::Release(selection),
            Change::Retry => Order::Retry(selection),
            Change::Bounce => Order::Bounce(selection),
        })
        .await
    }

    /// Suspends or resumes delivery; gives what is suspended then, and how many recipients the order was about.
    pub async fn suspend(&self, scope: &Scope, suspended: bool) -> Result<Suspended, Trouble> {
        self.suspended_after(|| Order::Suspend(scope.clone(), suspended)).await
    }

    /// What is suspended.
    pub async fn suspensions(&self) -> Result<Vec<Scope>, Trouble> {
        Ok(self.suspended_after(|| Order::Suspensions).await?.scopes)
    }

    /// What is suspended on any shard once each has carried out an order.
    async fn suspended_after(&self, order: impl Fn() -> Order) -> Result<Suspended, Trouble> {
        let _turn = self.turn().await?;
        let mut all = Suspended::default();
        for shard in 0..self.shards() {
            match self.ask(shard, order()).await? {
                Report::Suspended(Suspended { scopes, recipients }) => {
                    all.scopes.extend(scopes);
                    all.recipients += recipients;
                }
                other => return Err(unexpected(shard, other)),
            }
        }
        let mut seen = HashSet::new();
        all.scopes.retain(|scope| seen.insert(scope.clone()));
        Ok(all)
    }

    /// Every shard's counters.
    pub async fn metrics(&self) -> Result<Vec<Vec<(&'static str, u64)>>, Trouble> {
        let _turn = self.look().await?;
        let answers = (0..self.shards()).map(|shard| async move {
            match self.exchange(shard, Order::Metrics, LOOK_PATIENCE).await? {
                Report::Metrics(counters) => Ok(counters),
                other => Err(unexpected(shard, other)),
            }
        });
        futures::future::try_join_all(answers).await
    }

    /// What replies and plans have made of the limits at a destination, or everywhere.
    pub async fn adjusted(&self, destination: Option<&str>) -> Result<Vec<Value>, Trouble> {
        let _turn = self.turn().await?;
        let answers = (0..self.shards()).map(|shard| async move {
            match self.ask(shard, Order::Adjusted(destination.map(Into::into))).await? {
                Report::Adjusted(paths) => Ok(paths),
                other => Err(unexpected(shard, other)),
            }
        });
        Ok(futures::future::try_join_all(answers).await?.into_iter().flatten().collect())
    }

    /// Asks the shards that `selection` concerns, all at once, and adds up what they count.
    async fn sum(&self, selection: &Selection, order: impl Fn(Selection) -> Order) -> Result<u64, Trouble> {
        let concerned = match selection.id {
            Some(id) => id.shard()..(id.shard() + 1).min(self.shards()),
            None => 0..self.shards(),
        };
        let _turn = self.turn().await?;
        let answers = concerned.map(|shard| {
            let order = order(selection.clone());
            async move {
                match self.ask(shard, order).await? {
                    Report::Count(recipients) => Ok(recipients),
                    other => Err(unexpected(shard, other)),
                }
            }
        });
        Ok(futures::future::try_join_all(answers).await?.into_iter().sum())
    }

    /// The right to have an order under way.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, Trouble> {
        self.turns.acquire().await.map_err(|_| Trouble::Stopping)
    }

    /// The right to look at the counters.
    pub(super) async fn look(&self) -> Result<SemaphorePermit<'_>, Trouble> {
        self.looks.acquire().await.map_err(|_| Trouble::Stopping)
    }

    /// Asks a shard, with patience.
    pub(super) async fn ask(&self, shard: usize, order: Order) -> Result<Report, Trouble> {
        self.exchange(shard, order, PATIENCE).await
    }

    /// Asks a shard, as patiently as is said.
    pub(super) async fn exchange(&self, shard: usize, order: Order, patience: Duration) -> Result<Report, Trouble> {
        let answered = self.put(shard, order).await?;
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(Report::Failed(why))) => Err(Trouble::Failed(shard, why)),
            Ok(Ok(report)) => Ok(report),
            Ok(Err(oneshot::Canceled)) => Err(Trouble::Stopping),
            Err(_) => Err(Trouble::Silent(shard)),
        }
    }

    /// Puts an order to a shard; where its answer arrives.
    pub(super) async fn put(&self, shard: usize, order: Order) -> Result<oneshot::Receiver<Report>, Trouble> {
        let (answer, answered) = oneshot::channel();
        self.send(shard, Crossing::Order(Box::new(order), answer)).await?;
        Ok(answered)
    }

    /// Has a shard take what crosses, once its inlet has room.
    pub(super) async fn send(&self, shard: usize, mut crossing: Crossing) -> Result<(), Trouble> {
        for _ in 0..FULL_LOOKS_MAX {
            match self.inlet.send(shard, crossing) {
                Ok(()) => return Ok(()),
                Err(returned) => crossing = returned,
            }
            tokio::time::sleep(FULL_PAUSE).await;
        }
        Err(Trouble::Silent(shard))
    }
}

/// A shard that answers another question than the one it was asked.
pub(super) fn unexpected(shard: usize, report: Report) -> Trouble {
    Trouble::Failed(shard, format!("gave an answer that does not fit the order: {report:?}"))
}

#[cfg(test)]
mod tests;
