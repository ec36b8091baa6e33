//! Tasks and whose turn it is: any that can run, drawn from the seed.
//!
//! Wakers must be `Send` whatever the tasks are, so they hold a task's number and a lock-free queue, and nothing else.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use crossbeam::queue::SegQueue;

use super::Life;
use super::random::Dice;

/// A task's number; never used twice.
pub(crate) type TaskId = u64;

type Body = Pin<Box<dyn Future<Output = ()>>>;

/// A task that waits or is being polled.
struct Entry {
    life: Life,
    /// `None` while it is being polled.
    body: Option<Body>,
    waker: Arc<TaskWaker>,
}

struct TaskWaker {
    task: TaskId,
    /// Set while the task's number is in `woken` or among the runnable: each task is there once at most.
    queued: AtomicBool,
    woken: Arc<SegQueue<TaskId>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.woken.push(self.task);
        }
    }
}

/// All tasks of a simulation.
#[derive(Default)]
pub(crate) struct Scheduler {
    tasks: RefCell<BTreeMap<TaskId, Entry>>,
    woken: Arc<SegQueue<TaskId>>,
    runnable: RefCell<Vec<TaskId>>,
    spawned_count: Cell<u64>,
}

impl Scheduler {
    /// Adds a task of `life`; it can run at once.
    pub(crate) fn spawn(&self, life: Life, body: Body) -> TaskId {
        let task = self.spawned_count.get();
        self.spawned_count.set(task + 1);
        let waker = Arc::new(TaskWaker { task, queued: AtomicBool::new(false), woken: self.woken.clone() });
        waker.wake_by_ref();
        self.tasks.borrow_mut().insert(task, Entry { life, body: Some(body), waker });
        task
    }

    /// Polls one runnable task and says which; `None` if none can run.
    pub(crate) fn turn(&self, dice: &Dice) -> Option<TaskId> {
        let task = self.draw(dice)?;
        let (mut body, waker) = {
            let mut tasks = self.tasks.borrow_mut();
            let entry = tasks.get_mut(&task).expect("draw gives living tasks only");
            entry.waker.queued.store(false, Ordering::Release);
            (entry.body.take().expect("one task is polled at a time"), Waker::from(entry.waker.clone()))
        };
        let done = body.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let finished = {
            let mut tasks = self.tasks.borrow_mut();
            match tasks.get_mut(&task) {
                Some(_) if done => tasks.remove(&task).map(|_| body),
                Some(entry) => {
                    entry.body = Some(body);
                    None
                }
                // It was cancelled, by itself or by its node's crash, during this poll.
                None => Some(body),
            }
        };
        // Outside of the borrow: what a task drops may wake, cancel or spawn others.
        drop(finished);
        Some(task)
    }

    /// One of the runnable tasks, at random.
    fn draw(&self, dice: &Dice) -> Option<TaskId> {
        let mut runnable = self.runnable.borrow_mut();
        let tasks = self.tasks.borrow();
        loop {
            while let Some(task) = self.woken.pop() {
                runnable.push(task);
            }
            if runnable.is_empty() {
                return None;
            }
            let at = dice.below(runnable.len());
            let task = runnable.swap_remove(at);
            if tasks.contains_key(&task) {
                return Some(task);
            }
        }
    }

    /// Drops a task; nothing if it has ended.
    pub(crate) fn cancel(&self, task: TaskId) {
        let entry = self.tasks.borrow_mut().remove(&task);
        drop(entry);
    }

    /// Drops every task of `life`.
    pub(crate) fn cancel_life(&self, life: Life) {
        self.cancel_where(|entry| entry.life == life);
    }

    /// Drops every task.
    pub(crate) fn cancel_all(&self) {
        self.cancel_where(|_| true);
    }

    fn cancel_where(&self, mut wanted: impl FnMut(&Entry) -> bool) {
        let doomed: Vec<Entry> =
            self.tasks.borrow_mut().extract_if(.., |_, entry| wanted(entry)).map(|(_, entry)| entry).collect();
        drop(doomed);
    }
}
