//! The cache in front of the resolver: remembers answers, joins equal questions, limits how many are asked at a time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use futures::channel::{mpsc, oneshot};
use futures::future::{FutureExt, LocalBoxFuture, Shared, WeakShared};
use futures::sink::SinkExt;
use shards::Reactor;

use super::gate::Gate;
use super::table::Table;
use super::{Answer, ENTRIES_MAX, QUERIES_MAX, Query, Question};

/// One shard's way to ask; a cheap handle.
#[derive(Clone)]
pub struct Cache(Rc<Inner>);

struct Inner {
    reactor: Reactor,
    resolver: mpsc::Sender<Query>,
    table: RefCell<Table>,
    gate: Gate,
    asking: RefCell<HashMap<Question, WeakShared<Asking>>>,
}

type Asking = LocalBoxFuture<'static, Rc<Answer>>;

impl Cache {
    /// An empty cache before `resolver`. Where the channel is full, questions wait for room in it.
    pub fn new(reactor: Reactor, resolver: mpsc::Sender<Query>) -> Self {
        Self(Rc::new(Inner {
            reactor,
            resolver,
            table: RefCell::new(Table::new(ENTRIES_MAX)),
            gate: Gate::new(QUERIES_MAX),
            asking: RefCell::default(),
        }))
    }

    /// The answer to `question`, from memory or from the resolver. A resolver that has gone is [`Answer::Trouble`].
    pub async fn ask(&self, question: Question) -> Rc<Answer> {
        let known = self.0.table.borrow_mut().get(&question, self.0.reactor.now());
        match known {
            Some(answer) => answer,
            None => self.join_or_start(question).await,
        }
    }

    /// The running query for the same question, or a new one.
    fn join_or_start(&self, question: Question) -> Shared<Asking> {
        if let Some(running) = self.0.asking.borrow().get(&question).and_then(WeakShared::upgrade) {
            return running;
        }
        let entry = Entry { inner: self.0.clone(), question: question.clone() };
        let started = entry.resolve().boxed_local().shared();
        if let Some(weak) = started.downgrade() {
            self.0.asking.borrow_mut().insert(question, weak);
        }
        started
    }
}

/// A question's place among those being asked; leaves it when the answer is there or nobody waits any more.
struct Entry {
    inner: Rc<Inner>,
    question: Question,
}

impl Entry {
    async fn resolve(self) -> Rc<Answer> {
        let _pass = self.inner.gate.enter().await;
        let (reply, answer) = oneshot::channel();
        // A clone has one slot of its own in the channel; the gate bounds how many clones there are.
        let mut resolver = self.inner.resolver.clone();
        let query = Query { question: self.question.clone(), reply };
        let answer = match resolver.send(query).await {
            Ok(()) => answer.await.unwrap_or_else(|_| Answer::Trouble("the resolver dropped the question".into())),
            Err(_) => Answer::Trouble("the resolver has stopped".into()),
        };
        let answer = Rc::new(answer);
        self.inner.table.borrow_mut().put(self.question.clone(), answer.clone(), self.inner.reactor.now());
        answer
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.inner.asking.borrow_mut().remove(&self.question);
    }
}
