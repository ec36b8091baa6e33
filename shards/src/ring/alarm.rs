//! Alarms: every sleep and every patience of a shard, on one timer of glommio.
//!
//! glommio looks at each of its timers on every pass of its reactor, which is too dear with a timer for each of
//! thousands of idle connections. Here they share one: an ordered map, and one task that sleeps until the earliest.
//! Limits: as many alarms as waiting futures; each is gone when its future is.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant as Clock};

use glommio::timer::Timer;

use crate::reactor::Elapsed;
use crate::time::Instant;

/// Patience from here on is rounded up to [`COARSE_STEP`], so that alarms of many connections ring together.
const COARSE_FROM: Duration = Duration::from_secs(1);
const COARSE_STEP: Duration = Duration::from_millis(64);

/// The shard wakes at least this often: a bound on how long it could sleep by mistake (`super::pass`).
const HEARTBEAT: Duration = Duration::from_secs(1);

/// The alarms of a shard; a cheap handle.
#[derive(Clone)]
pub(super) struct Alarms {
    began: Clock,
    book: Rc<RefCell<Book>>,
}

/// When an alarm rings, and a number that tells it from others of the same time.
type Key = (Instant, u64);

#[derive(Default)]
struct Book {
    pending: BTreeMap<Key, Waker>,
    last_number: u64,
    /// When the ringing task will wake by itself; `None`: only when called.
    planned: Option<Instant>,
    ringer: Option<Waker>,
    stopped: bool,
}

impl Alarms {
    pub(super) fn new(began: Clock) -> Alarms {
        Alarms { began, book: Rc::default() }
    }

    /// The monotonic clock.
    pub(super) fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Waits until `when`.
    pub(super) fn at(&self, when: Instant) -> Alarm {
        Alarm { alarms: self.clone(), when, number: None }
    }

    /// The one task that wakes who waits; runs as long as the executor.
    pub(super) async fn ring(self) {
        loop {
            let now = self.now();
            for waker in self.due(now) {
                waker.wake();
            }
            self.until_next(now).await;
        }
    }

    /// Lets go of who waits, without waking; from now on no alarm rings. For the end of the executor.
    pub(super) fn stop(&self) {
        let mut book = self.book.borrow_mut();
        book.stopped = true;
        let pending = std::mem::take(&mut book.pending);
        drop(book);
        drop(pending);
    }

    /// Takes the alarms that are due out of the book. They are woken after it is closed: a wake-up may set an alarm.
    fn due(&self, now: Instant) -> Vec<Waker> {
        let mut book = self.book.borrow_mut();
        let mut due = Vec::new();
        while let Some(entry) = book.pending.first_entry() {
            if entry.key().0 > now {
                break;
            }
            due.push(entry.remove());
        }
        due
    }

    /// Waits until the earliest alarm, or until an earlier one is set.
    async fn until_next(&self, now: Instant) {
        let next = self.book.borrow().pending.first_key_value().map(|(key, _)| key.0);
        let mut timer = Timer::new(next.map_or(HEARTBEAT, |when| when.since(now).min(HEARTBEAT)));
        self.book.borrow_mut().planned = next;
        poll_fn(|context| {
            if Pin::new(&mut timer).poll(context).is_ready() {
                return Poll::Ready(());
            }
            let mut book = self.book.borrow_mut();
            if book.planned != next {
                return Poll::Ready(());
            }
            book.ringer = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Book {
    /// Sets an alarm and calls the ringing task where it would wake too late.
    fn set(&mut self, when: Instant, waker: &Waker) -> u64 {
        self.last_number += 1;
        let number = self.last_number;
        self.pending.insert((when, number), waker.clone());
        if self.planned.is_none_or(|planned| when < planned) {
            self.planned = Some(when);
            if let Some(ringer) = self.ringer.take() {
                ringer.wake();
            }
        }
        number
    }
}

/// Waits until a point in time. Gives its place back when it is dropped.
pub(super) struct Alarm {
    alarms: Alarms,
    when: Instant,
    number: Option<u64>,
}

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let when = self.when;
        let mut book = self.alarms.book.borrow_mut();
        let number = match self.number {
            _ if book.stopped => return Poll::Pending,
            None if when <= self.alarms.now() => return Poll::Ready(()),
            None => book.set(when, context.waker()),
            Some(number) => match book.pending.get_mut(&(when, number)) {
                None => {
                    drop(book);
                    self.number = None;
                    return Poll::Ready(());
                }
                Some(waker) => {
                    waker.clone_from(context.waker());
                    number
                }
            },
        };
        drop(book);
        self.number = Some(number);
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.alarms.book.borrow_mut().pending.remove(&(self.when, number));
        }
    }
}

/// `future`, or [`Elapsed`] once `patience` is over. The clock is only read when the future has to wait.
pub(super) async fn timeout<T>(
    alarms: &Alarms,
    patience: Duration,
    mut future: Pin<&mut impl Future<Output = T>>,
) -> Result<T, Elapsed> {
    let mut alarm = None;
    poll_fn(move |context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        let alarm = alarm.get_or_insert_with(|| alarms.at(round_up(alarms.now() + patience, patience)));
        Pin::new(alarm).poll(context).map(|()| Err(Elapsed))
    })
    .await
}

/// `when`, on the next coarse step if the patience that led to it is long.
fn round_up(when: Instant, patience: Duration) -> Instant {
    if patience < COARSE_FROM {
        return when;
    }
    let step = COARSE_STEP.as_nanos() as u64;
    Instant::from_nanos(when.as_nanos().div_ceil(step).saturating_mul(step))
}
