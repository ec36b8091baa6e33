//! The mesh: bounded mailboxes between shards, without locks, where a request carries the room for its reply.
//!
//! A shard that wants something of another takes a [`Credit`] for it first. Credits of a pair are as many as the
//! mailbox has slots for requests and, again, for replies; so a request with a credit and a reply to it always fit, and
//! nothing can deadlock. When credits are used up the caller keeps its work where it is (the queue on disk).
//! A shard that has nothing more to ask departs, and stays to answer until all have.
//! The control thread sends through an [`Inlet`], which can be full.
//!
//! Owns: what is under way between shards. Never: answers on a shard's behalf, or drops an item.
//! After a crash: empty; whoever asked recovers from disk and asks again.
//! Limits: a mailbox holds 2 × credits × shards items, an inlet its own number; one task receives for a shard. An item
//! wakes the receiving shard only when it waits, so a busy pair costs no wake-ups.

use std::cell::{Cell, UnsafeCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use crossbeam::queue::ArrayQueue;
use futures::task::AtomicWaker;

/// Makes a mesh of `shards` mailboxes with `credits` for each ordered pair, and an inlet with `inlet_slots` per shard.
/// All three are at least 1.
pub fn mesh<T: Send + 'static>(shards: usize, credits: usize, inlet_slots: usize) -> (Vec<Port<T>>, Inlet<T>) {
    let mailbox_slots = 2 * credits * shards;
    let mailboxes: Arc<[Mailbox<T>]> = (0..shards).map(|_| Mailbox::new(mailbox_slots, inlet_slots)).collect();
    let present = Arc::new(AtomicUsize::new(shards));
    let port = |shard| Port {
        shard,
        credits,
        mailboxes: mailboxes.clone(),
        present: present.clone(),
        departed: Cell::new(false),
        pools: (0..shards).map(|_| Arc::new(Pool::new(credits))).collect(),
        inlet_first: Cell::new(false),
    };
    ((0..shards).map(port).collect(), Inlet { mailboxes: mailboxes.clone() })
}

/// What waits for one shard.
struct Mailbox<T> {
    /// Requests and replies of shards, each with who sent it.
    shards: ArrayQueue<(usize, T)>,
    /// What the control thread sent.
    inlet: ArrayQueue<T>,
    /// The task that receives, while it waits.
    receiver: AtomicWaker,
    /// The task that stays until all have departed.
    stayer: AtomicWaker,
}

impl<T> Mailbox<T> {
    fn new(slots: usize, inlet_slots: usize) -> Self {
        Mailbox {
            shards: ArrayQueue::new(slots),
            inlet: ArrayQueue::new(inlet_slots),
            receiver: AtomicWaker::new(),
            stayer: AtomicWaker::new(),
        }
    }

    fn deliver(&self, from: usize, item: T) {
        // A full mailbox means that a credit was dropped before its reply came, or a request answered twice.
        assert!(self.shards.push((from, item)).is_ok(), "a credit reserves the slot of its request and of its reply");
        self.receiver.wake();
    }

    fn take(&self, inlet_first: bool) -> Option<(Option<usize>, T)> {
        let from_shard = || self.shards.pop().map(|(from, item)| (Some(from), item));
        let from_control = || self.inlet.pop().map(|item| (None, item));
        if inlet_first { from_control().or_else(from_shard) } else { from_shard().or_else(from_control) }
    }
}

/// One shard's place in the mesh. Moves to its shard's thread once.
pub struct Port<T> {
    shard: usize,
    credits: usize,
    mailboxes: Arc<[Mailbox<T>]>,
    /// Shards that have not departed.
    present: Arc<AtomicUsize>,
    departed: Cell<bool>,
    /// The credits for requests to each shard.
    pools: Vec<Arc<Pool>>,
    /// Whose turn it is, so that neither the shards nor the control thread can starve the other.
    inlet_first: Cell<bool>,
}

impl<T: Send + 'static> Port<T> {
    /// This shard's number.
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.mailboxes.len()
    }

    /// How many credits there are for requests to each shard.
    pub fn credits(&self) -> usize {
        self.credits
    }

    /// A credit for a request to `to` (which may be this shard itself); `None` while all are out.
    pub fn credit(&self, to: usize) -> Option<Credit> {
        let pool = &self.pools[to];
        pool.state.with(PoolState::take).then(|| Credit::of(pool, to))
    }

    /// Waits for a credit for a request to `to`; first come, first served.
    pub async fn wait_credit(&self, to: usize) -> Credit {
        let pool = &self.pools[to];
        Wait { pool, ticket: None }.await;
        Credit::of(pool, to)
    }

    /// Sends a request; the credit is kept by the caller until the reply has come.
    pub fn request(&self, to: usize, credit: &Credit, item: T) {
        assert_eq!(credit.to, to, "a credit is for one shard");
        assert!(!credit.used.replace(true), "a credit is for one request");
        self.mailboxes[to].deliver(self.shard, item);
    }

    /// Sends the reply to a request that came from `to`. Always fits.
    pub fn reply(&self, to: usize, item: T) {
        self.mailboxes[to].deliver(self.shard, item);
    }

    /// The next item for this shard and who sent it (`None`: the control thread). One task of the shard receives.
    pub async fn receive(&self) -> (Option<usize>, T) {
        let mailbox = &self.mailboxes[self.shard];
        let inlet_first = self.inlet_first.replace(!self.inlet_first.get());
        poll_fn(|context| {
            if let Some(item) = mailbox.take(inlet_first) {
                return Poll::Ready(item);
            }
            mailbox.receiver.register(context.waker());
            // What came between the look and the registration has woken nobody.
            mailbox.take(inlet_first).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

impl<T> Port<T> {
    /// This shard asks nothing more, and no reply is owed to it.
    pub fn depart(&self) {
        if !self.departed.replace(true) && self.present.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.mailboxes.iter().for_each(|mailbox| mailbox.stayer.wake());
        }
    }

    /// Returns when every shard has departed: until then this one may still be asked. One task of the shard waits.
    pub async fn all_departed(&self) {
        poll_fn(|context| {
            self.mailboxes[self.shard].stayer.register(context.waker());
            if self.present.load(Ordering::Acquire) == 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// The control thread's way into every shard's mailbox.
pub struct Inlet<T> {
    mailboxes: Arc<[Mailbox<T>]>,
}

impl<T> Clone for Inlet<T> {
    fn clone(&self) -> Self {
        Self { mailboxes: self.mailboxes.clone() }
    }
}

impl<T: Send + 'static> Inlet<T> {
    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.mailboxes.len()
    }

    /// Sends to shard `to`; gives the item back when its inlet is full.
    pub fn send(&self, to: usize, item: T) -> Result<(), T> {
        self.mailboxes[to].inlet.push(item)?;
        self.mailboxes[to].receiver.wake();
        Ok(())
    }
}

/// The right to one request and its reply. Give it back by dropping it when the reply has come.
pub struct Credit {
    pool: Arc<Pool>,
    to: usize,
    used: Cell<bool>,
    /// Credits stay on their shard.
    not_send: PhantomData<*const ()>,
}

impl Credit {
    fn of(pool: &Arc<Pool>, to: usize) -> Credit {
        Credit { pool: pool.clone(), to, used: Cell::new(false), not_send: PhantomData }
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        self.pool.state.with(PoolState::give_back);
    }
}

/// The credits of one ordered pair of shards. Used by the requesting shard's thread only.
struct Pool {
    state: Sole<PoolState>,
}

struct PoolState {
    free: usize,
    last_ticket: u64,
    /// Who waits, in order. A credit that comes back is handed to the first: it is marked and woken.
    line: VecDeque<Waiting>,
}

struct Waiting {
    ticket: u64,
    has_credit: bool,
    waker: Waker,
}

impl Pool {
    fn new(credits: usize) -> Pool {
        Pool { state: Sole::new(PoolState { free: credits, last_ticket: 0, line: VecDeque::new() }) }
    }
}

impl PoolState {
    fn take(&mut self) -> bool {
        let taken = self.free > 0;
        self.free -= usize::from(taken);
        taken
    }

    fn give_back(&mut self) {
        match self.line.iter_mut().find(|waiting| !waiting.has_credit) {
            Some(first) => {
                first.has_credit = true;
                first.waker.wake_by_ref();
            }
            None => self.free += 1,
        }
    }

    fn stand_in_line(&mut self, waker: &Waker) -> u64 {
        self.last_ticket += 1;
        self.line.push_back(Waiting { ticket: self.last_ticket, has_credit: false, waker: waker.clone() });
        self.last_ticket
    }

    /// Whether the one with `ticket` has been handed a credit, and may go with it.
    fn called(&mut self, ticket: u64, waker: &Waker) -> bool {
        match self.line.iter().position(|waiting| waiting.ticket == ticket) {
            Some(place) if self.line[place].has_credit => self.line.remove(place).is_some(),
            Some(place) => {
                self.line[place].waker.clone_from(waker);
                false
            }
            None => false,
        }
    }

    /// Leaves the line; a credit that was handed over already goes to the next.
    fn leave(&mut self, ticket: u64) {
        if let Some(place) = self.line.iter().position(|waiting| waiting.ticket == ticket)
            && self.line.remove(place).is_some_and(|waiting| waiting.has_credit)
        {
            self.give_back();
        }
    }
}

/// Waits for a credit of a pool.
struct Wait<'a> {
    pool: &'a Pool,
    ticket: Option<u64>,
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let ticket = self.ticket;
        let ready = self.pool.state.with(|pool| match ticket {
            Some(ticket) if pool.called(ticket, context.waker()) => Ok(()),
            Some(ticket) => Err(ticket),
            None if pool.take() => Ok(()),
            None => Err(pool.stand_in_line(context.waker())),
        });
        self.ticket = ready.err();
        if self.ticket.is_none() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.pool.state.with(|pool| pool.leave(ticket));
        }
    }
}

/// A value that one thread uses at a time, as `RefCell` has it, but in a type that can move to its thread. Never
/// waits: two users at once are a defect, and panic.
struct Sole<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `taken` admits one user at a time, so sharing a `Sole` gives no more than moving its value would.
unsafe impl<T: Send> Sync for Sole<T> {}

impl<T> Sole<T> {
    fn new(value: T) -> Self {
        Sole { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        assert!(!self.taken.swap(true, Ordering::Acquire), "credits stay on their shard's thread");
        // SAFETY: `taken` was false and is true now, so no other reference exists until it is false again.
        let result = act(unsafe { &mut *self.value.get() });
        self.taken.store(false, Ordering::Release);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll};

    use futures::executor::block_on;
    use futures::task::noop_waker;

    use super::{Credit, Port, mesh};

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(&noop_waker()))
    }

    /// Credits to shard 0, until there are no more.
    fn all_credits(port: &Port<u32>) -> Vec<Credit> {
        std::iter::from_fn(|| port.credit(0)).collect()
    }

    #[test]
    fn every_request_with_a_credit_and_every_reply_fits() {
        let (ports, _) = mesh::<u32>(3, 4, 1);
        let credits: Vec<_> = ports.iter().map(all_credits).collect();
        assert!(credits.iter().all(|credits| credits.len() == 4));
        for (port, credits) in ports.iter().zip(&credits) {
            credits.iter().for_each(|credit| port.request(0, credit, 7));
        }
        for _ in 0..12 {
            let (from, _) = block_on(ports[0].receive());
            ports[0].reply(from.expect("a shard asked"), 8);
        }
        for port in &ports {
            (0..4).for_each(|_| assert_eq!(block_on(port.receive()), (Some(0), 8)));
        }
    }

    #[test]
    fn a_returned_credit_goes_to_who_waited_first() {
        let (ports, _) = mesh::<u32>(1, 1, 1);
        let credit = ports[0].credit(0).expect("all are in");
        let mut first = pin!(ports[0].wait_credit(0));
        let mut second = pin!(ports[0].wait_credit(0));
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        drop(credit);
        assert!(ports[0].credit(0).is_none(), "it is handed over, not free for all");
        assert!(poll(second.as_mut()).is_pending());
        let Poll::Ready(credit) = poll(first.as_mut()) else { panic!("it is the first one's turn") };
        drop(credit);
        assert!(poll(second.as_mut()).is_ready());
    }

    #[test]
    fn who_leaves_the_line_passes_the_credit_on() {
        let (ports, _) = mesh::<u32>(1, 1, 1);
        let credit = ports[0].credit(0).expect("all are in");
        let mut second = pin!(ports[0].wait_credit(0));
        {
            let mut first = pin!(ports[0].wait_credit(0));
            assert!(poll(first.as_mut()).is_pending());
            assert!(poll(second.as_mut()).is_pending());
            drop(credit);
        }
        assert!(poll(second.as_mut()).is_ready());
    }

    #[test]
    fn a_full_inlet_gives_the_item_back() {
        let (ports, inlet) = mesh::<u32>(2, 1, 2);
        assert_eq!(inlet.shards(), 2);
        assert_eq!([inlet.send(1, 1), inlet.send(1, 2), inlet.send(1, 3)], [Ok(()), Ok(()), Err(3)]);
        assert_eq!(block_on(ports[1].receive()), (None, 1));
        assert_eq!(inlet.send(1, 3), Ok(()));
    }

    #[test]
    fn neither_shards_nor_control_starve_the_other() {
        let (ports, inlet) = mesh::<u32>(1, 4, 4);
        let credits = all_credits(&ports[0]);
        credits.iter().for_each(|credit| ports[0].request(0, credit, 1));
        (0..4).for_each(|_| inlet.send(0, 2).expect("it has four slots"));
        let senders: Vec<_> = (0..8).map(|_| block_on(ports[0].receive()).0).collect();
        assert_eq!(senders[..4].iter().filter(|sender| sender.is_none()).count(), 2);
    }

    #[test]
    fn who_departs_stays_until_all_have_departed() {
        let (ports, _) = mesh::<u32>(2, 1, 1);
        let mut first = pin!(ports[0].all_departed());
        assert!(poll(first.as_mut()).is_pending());
        (0..2).for_each(|_| ports[0].depart());
        assert!(poll(first.as_mut()).is_pending(), "the other may still ask");
        ports[1].depart();
        assert!(poll(first.as_mut()).is_ready());
        block_on(ports[1].all_departed());
    }

    #[test]
    #[should_panic(expected = "a credit is for one request")]
    fn a_credit_is_used_once() {
        let (ports, _) = mesh::<u32>(1, 2, 1);
        let credit = ports[0].credit(0).expect("all are in");
        ports[0].request(0, &credit, 1);
        ports[0].request(0, &credit, 2);
    }
}
