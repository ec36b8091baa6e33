//! The cache in front of the resolver: remembers answers, joins equal questions, limits how many are asked at a time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use futures::channel::{mpsc, oneshot};
use futures::future::{FutureExt, LocalBoxFuture, Shared, WeakShared};
use futures::sink::SinkExt;
use shards::Reactor;
use shards::gate::Gate;
use shards::memory::Memory;

use super::{Answer, ENTRIES_MAX, QUERIES_MAX, Query, Question};

/// One shard's way to ask; a cheap handle.
#[derive(Clone)]
pub struct Cache(Rc<Inner>);

struct Inner {
    reactor: Reactor,
    resolver: mpsc::Sender<Query>,
    known: RefCell<Memory<Question, Rc<Answer>>>,
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
            known: RefCell::new(Memory::new(ENTRIES_MAX)),
            gate: Gate::new(QUERIES_MAX),
            asking: RefCell::default(),
        }))
    }

    /// The answer to `question`, from memory or from the resolver. A resolver that has gone is [`Answer::Trouble`].
    pub async fn ask(&self, question: Question) -> Rc<Answer> {
        let known = self.0.known.borrow_mut().get(&question, self.0.reactor.now());
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
        let valid_until = self.inner.reactor.now() + answer.ttl();
        self.inner.known.borrow_mut().put(self.question.clone(), answer.clone(), valid_until);
        answer
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.inner.asking.borrow_mut().remove(&self.question);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::StreamExt;
    use futures::future::join_all;

    use super::*;

    /// Room in the channel beside the slot that each sender has.
    const ROOM: usize = 2;

    fn on_a_shard(tell: impl AsyncFnOnce(Cache, mpsc::Receiver<Query>) + 'static) {
        shards::launch::run(async move |reactor: Reactor| {
            let (resolver, queries) = mpsc::channel(ROOM);
            tell(Cache::new(reactor, resolver), queries).await;
        })
        .expect("a shard");
    }

    fn question(n: usize) -> Question {
        Question::Mx(format!("d{n}.test").into())
    }

    fn answer() -> Answer {
        Answer::NoData(Duration::from_secs(3600))
    }

    #[test]
    fn equal_questions_become_one_query_and_the_answer_is_remembered() {
        on_a_shard(async |cache, mut queries| {
            let asked = join_all((0..10).map(|_| cache.ask(question(1))));
            let resolver = async {
                let query = queries.next().await.expect("a query");
                assert_eq!(query.question, question(1));
                query.reply.send(answer()).expect("somebody waits");
            };
            let (answers, ()) = futures::join!(asked, resolver);
            assert!(answers.iter().all(|got| **got == answer()));
            assert_eq!(cache.ask(question(1)).now_or_never().as_deref(), Some(&answer()), "from memory");
            assert!(queries.next().now_or_never().is_none(), "nothing more was asked");
            assert!(cache.0.asking.borrow().is_empty());
        });
    }

    #[test]
    fn more_questions_than_the_resolver_takes_wait_their_turn() {
        on_a_shard(async |cache, mut queries| {
            let count = 2 * QUERIES_MAX;
            let mut asked = Box::pin(join_all((0..count).map(|n| cache.ask(question(n)))));
            assert!((&mut asked).now_or_never().is_none());
            let waiting: Vec<Query> = std::iter::from_fn(|| queries.try_recv().ok()).collect();
            assert_eq!(waiting.len(), QUERIES_MAX, "the gate bounds what is on its way");
            let resolver = async {
                waiting.into_iter().for_each(|query| _ = query.reply.send(answer()));
                for _ in QUERIES_MAX..count {
                    let query = queries.next().await.expect("a query");
                    query.reply.send(answer()).expect("somebody waits");
                }
            };
            let (answers, ()) = futures::join!(asked, resolver);
            assert!(answers.len() == count && answers.iter().all(|got| **got == answer()));
        });
    }

    #[test]
    fn whoever_asked_first_may_go_away() {
        on_a_shard(async |cache, mut queries| {
            let mut first = Box::pin(cache.ask(question(1)));
            let mut second = Box::pin(cache.ask(question(1)));
            assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
            drop(first);
            queries.next().await.expect("a query").reply.send(answer()).expect("the second still waits");
            assert_eq!(*second.await, answer());
            let mut alone = Box::pin(cache.ask(question(2)));
            assert!((&mut alone).now_or_never().is_none());
            drop(alone);
            assert!(cache.0.asking.borrow().is_empty(), "nobody waits, so nothing is being asked");
        });
    }

    #[test]
    fn a_resolver_that_is_gone_is_trouble() {
        on_a_shard(async |cache, mut queries| {
            let dropped = async { drop(queries.next().await) };
            let (answer, ()) = futures::join!(cache.ask(question(1)), dropped);
            assert!(matches!(*answer, Answer::Trouble(_)), "{answer:?}");
            drop(queries);
            let answer = cache.ask(question(2)).await;
            assert!(matches!(*answer, Answer::Trouble(_)), "{answer:?}");
        });
    }
}
