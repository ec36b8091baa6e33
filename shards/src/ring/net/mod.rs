//! The network ring: every socket of a shard on one io_uring of our own, beside glommio's.
//!
//! Owns: sockets, and the memory that the kernel reads and writes for them. One task, the [driver](Network::drive),
//! submits and collects once per turn for all connections, so a busy shard makes one system call for many messages.
//! Never: waits in a system call (glommio does that for the whole shard), retries, or knows why bytes are sent.
//!
//! Accepting is *multishot*: asked for once, it completes for every connection, and is cancelled when too many wait for
//! their task. Receiving is not: a multishot receive knows no back-pressure and takes some 32 buffers before it notices
//! that it was cancelled, so a few dozen peers that flood would take the pool from all others. A receive is asked for
//! when a task waits, takes one buffer, and what nobody asks for stays in the socket, where TCP holds the peer back.
//! A slot of the tables is free again only after the last completion of its operations, and what an operation points
//! to lives in the slot: dropping a future or a stream at any time is safe.
//!
//! Limits: [`buffers::BUFFERS`] receive buffers, an unread one at most for a connection and none unless its task asked;
//! who finds none waits in line for the next free one; [`ACCEPTED_MAX`] accepted connections that wait for their task;
//! [`LINGERING_MAX`] closed connections that wait up to [`LINGER`] for the peer's end.

mod acceptor;
mod buffers;
mod connection;
mod driver;
mod operation;
mod queue;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use io_uring::{cqueue, squeue};
use slab::Slab;
use socket2::{SockAddr, Socket};

use self::acceptor::Acceptor;
use self::buffers::{BufferId, Buffers};
use self::connection::{Connection, Filled};
use self::operation::Operation;
use self::queue::Queue;
use super::alarm::Alarms;
use super::pass::Passes;
use crate::time::Instant;

/// Accepted connections of a listener at which accepting pauses until they are fetched.
const ACCEPTED_MAX: usize = 256;
/// How long a dropped connection waits for the peer to close too. A close with unread bytes of the peer would be a
/// reset, which destroys what the peer has not read yet, such as our last reply (RFC 2525 §2.17).
const LINGER: Duration = Duration::from_secs(2);
/// Connections that may linger at once; beyond it the oldest is closed.
const LINGERING_MAX: usize = 1024;
/// Turns in which cancelled operations must have ended when the executor ends; one is enough in practice.
const SHUT_DOWN_TURNS: usize = 64;

/// A shard's sockets; a cheap handle.
#[derive(Clone)]
pub(super) struct Network {
    state: Rc<RefCell<State>>,
    alarms: Alarms,
    passes: Passes,
}

/// A connection's or listener's place in its table. Its owner releases it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(usize);

/// Received bytes in a buffer of the pool; dropping it gives the buffer back.
pub(crate) struct Received {
    network: Network,
    filled: Filled,
}

/// Whether an accept or a receive is in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arming {
    Idle,
    Armed,
    /// Cancelled; its last completion is still to come.
    Ending,
    /// Ended because the pool was empty; waits for buffers.
    Starved,
}

impl Arming {
    fn in_kernel(self) -> bool {
        matches!(self, Arming::Armed | Arming::Ending)
    }
}

struct State {
    // Before the buffers: the kernel must have let go of them before they are unmapped.
    queue: Queue,
    buffers: Buffers,
    connections: Slab<Connection>,
    acceptors: Slab<Acceptor>,
    /// Connections that wait for free buffers, in order.
    starved: VecDeque<usize>,
    /// Connections that linger, by the end of their time.
    lingering: VecDeque<Lingering>,
    /// Grows with every connection, to tell one from a later one in the same slot.
    last_serial: u64,
    /// Tasks to wake as soon as the state is no longer borrowed.
    woken: Vec<Waker>,
    /// Kept for its capacity.
    completed: Vec<cqueue::Entry>,
    /// The driver, while it is parked.
    driver: Option<Waker>,
    /// The executor is ending: nothing reaches the kernel any more.
    stopped: bool,
}

struct Lingering {
    until: Instant,
    slot: usize,
    serial: u64,
}

impl Network {
    /// Must be called on the thread that will use it.
    pub(super) fn new(alarms: Alarms, passes: Passes) -> io::Result<Network> {
        let queue = Queue::new()?;
        let buffers = Buffers::new(&queue)?;
        let state = State {
            queue,
            buffers,
            connections: Slab::new(),
            acceptors: Slab::new(),
            starved: VecDeque::new(),
            lingering: VecDeque::new(),
            last_serial: 0,
            woken: Vec::new(),
            completed: Vec::new(),
            driver: None,
            stopped: false,
        };
        Ok(Network { state: Rc::new(RefCell::new(state)), alarms, passes })
    }

    /// Acts on the state, and then wakes whom that concerns: a wake-up may run code that comes back here.
    fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        let (result, mut woken) = {
            let mut state = self.state.borrow_mut();
            let result = act(&mut state);
            (result, std::mem::take(&mut state.woken))
        };
        if !woken.is_empty() {
            woken.drain(..).for_each(Waker::wake);
            let mut state = self.state.borrow_mut();
            if state.woken.capacity() == 0 {
                state.woken = woken;
            }
        }
        result
    }

    /// Takes over a listening socket.
    pub(super) fn listen(&self, socket: Socket) -> Slot {
        self.with(|state| state.listen(socket))
    }

    /// The next accepted connection of a listener.
    pub(super) fn poll_accept(&self, listener: Slot, context: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        self.with(|state| state.poll_accept(listener.0, context))
    }

    /// Accepts no more; [`Network::poll_stopped`] tells what was accepted until then.
    pub(super) fn stop_accepting(&self, listener: Slot) {
        self.with(|state| state.stop_accepting(listener.0));
    }

    /// What a listener that was stopped accepted and nobody fetched, once the kernel accepts no more.
    pub(super) fn poll_stopped(&self, listener: Slot, context: &mut Context<'_>) -> Poll<Vec<Socket>> {
        self.with(|state| state.poll_stopped(listener.0, context))
    }

    /// Closes a listener and what it accepted but nobody fetched.
    pub(super) fn stop_listening(&self, listener: Slot) {
        self.with(|state| state.stop_listening(listener.0));
    }

    /// Takes over a connected socket.
    pub(super) fn adopt(&self, socket: Socket) -> Slot {
        self.with(|state| state.adopt(socket))
    }

    /// Takes over a socket and connects it.
    pub(super) fn connect(&self, socket: Socket, address: SockAddr) -> Slot {
        self.with(|state| state.connect(socket, address))
    }

    /// How connecting went.
    pub(super) fn poll_connected(&self, connection: Slot, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|state| state.poll_connected(connection.0, context))
    }

    /// The next bytes of a connection; `None` at the peer's end.
    pub(super) fn poll_receive(
        &self,
        connection: Slot,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Received>>> {
        self.with(|state| state.poll_receive(connection.0, context))
            .map_ok(|unread| unread.map(|filled| Received { network: self.clone(), filled }))
    }

    /// Sends `bytes` from byte `from` on, or a first part of them. Fails if an earlier send was not waited for.
    pub(super) fn start_send(&self, connection: Slot, bytes: Vec<u8>, from: usize) -> io::Result<()> {
        self.with(|state| state.start_send(connection.0, bytes, from))
    }

    /// What was sent, back, and how many bytes of it went out.
    pub(super) fn poll_sent(&self, connection: Slot, context: &mut Context<'_>) -> Poll<(Vec<u8>, io::Result<usize>)> {
        self.with(|state| state.poll_sent(connection.0, context))
    }

    /// Looks at a connection's socket.
    pub(super) fn with_socket<R>(&self, connection: Slot, look: impl FnOnce(&Socket) -> R) -> Option<R> {
        self.with(|state| state.connections.get(connection.0).map(|connection| look(&connection.socket)))
    }

    /// Closes a connection after what was sent has gone out.
    pub(super) fn release(&self, connection: Slot) {
        let now = self.alarms.now();
        self.with(|state| state.release(connection.0, now));
    }

    /// Closes a connection with a reset.
    pub(super) fn reset(&self, connection: Slot) {
        self.with(|state| state.reset(connection.0));
    }

    /// Closes everything and waits for the kernel to let go. For the end of the executor: no task sees it, because who
    /// waits is not woken, and who still calls waits for ever.
    pub(super) fn shut_down(&self) {
        let driver = self.state.borrow_mut().driver.take();
        self.state.borrow_mut().stop();
        driver.into_iter().for_each(Waker::wake);
        for _ in 0..SHUT_DOWN_TURNS {
            let now = self.alarms.now();
            let mut state = self.state.borrow_mut();
            state.turn(now);
            let ended = state.is_empty() && !state.queue.has_submissions();
            let waiting = std::mem::take(&mut state.woken);
            drop(state);
            drop(waiting);
            if ended {
                return;
            }
        }
        // The kernel still uses some memory of ours: it must never be freed.
        std::mem::forget(self.clone());
    }
}

impl State {
    /// Queues an operation and calls the driver, which submits it with all others.
    ///
    /// # Safety
    ///
    /// What the entry points to must stay until its last completion has been seen.
    unsafe fn push(&mut self, entry: squeue::Entry, operation: Operation) {
        if self.stopped {
            return;
        }
        // SAFETY: the caller's promise.
        unsafe { self.queue.push(entry.user_data(operation.user_data())) };
        self.call_driver();
    }

    fn cancel(&mut self, operation: Operation) {
        self.queue.push_cancel(operation);
        self.call_driver();
    }

    fn call_driver(&mut self) {
        self.woken.extend(self.driver.take());
    }

    /// One turn: submits, collects what has completed, and lets go whose time is over. Whether anything completed.
    fn turn(&mut self, now: Instant) -> bool {
        self.queue.enter();
        let mut completed = std::mem::take(&mut self.completed);
        self.queue.take_completed(&mut completed);
        let busy = !completed.is_empty();
        for entry in completed.drain(..) {
            self.complete(&entry);
        }
        self.completed = completed;
        self.relieve_starved();
        self.end_lingering(now);
        busy
    }

    fn complete(&mut self, entry: &cqueue::Entry) {
        match Operation::from_user_data(entry.user_data()) {
            Operation::Accept(slot) => self.accepted(slot, entry),
            Operation::Connect(slot) => self.connected(slot, entry.result()),
            Operation::Receive(slot) => self.received(slot, entry),
            Operation::Send(slot) => self.sent(slot, entry.result()),
            Operation::Forget => {}
        }
    }

    fn give_back(&mut self, buffer: BufferId) {
        self.buffers.give_back(buffer);
        if !self.starved.is_empty() {
            self.call_driver();
        }
    }

    /// Whether a starved connection could go on.
    fn can_relieve(&self) -> bool {
        !self.starved.is_empty() && self.buffers.free() > 0
    }

    /// Lets as many starved connections go on as there are free buffers.
    fn relieve_starved(&mut self) {
        let relieved = self.starved.len().min(self.buffers.free());
        for slot in self.starved.drain(..relieved) {
            if let Some(connection) = self.connections.get_mut(slot) {
                connection.relieve(&mut self.woken);
            }
        }
    }

    fn end_lingering(&mut self, now: Instant) {
        while let Some(front) = self.lingering.front() {
            if front.until > now && self.lingering.len() <= LINGERING_MAX {
                break;
            }
            let (slot, serial) = (front.slot, front.serial);
            self.lingering.pop_front();
            if self.connections.get(slot).is_some_and(|connection| connection.serial == serial) {
                self.close(slot);
            }
        }
    }

    /// Cancels everything.
    fn stop(&mut self) {
        self.stopped = true;
        let connections: Vec<usize> = self.connections.iter().map(|(slot, _)| slot).collect();
        connections.into_iter().for_each(|slot| self.close(slot));
        let acceptors: Vec<usize> = self.acceptors.iter().map(|(slot, _)| slot).collect();
        acceptors.into_iter().for_each(|slot| self.stop_listening(slot));
    }

    fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.acceptors.is_empty()
    }
}

impl std::ops::Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the buffer is ours until it is given back, and the mapping lives as long as the network.
        unsafe { &*self.filled.bytes }
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        self.network.with(|state| state.give_back(self.filled.buffer));
    }
}
