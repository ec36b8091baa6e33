//! Listening sockets: one multishot accept each, and the connections that it brought.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::task::{Context, Poll, Waker};

use io_uring::{cqueue, opcode, types};
use socket2::Socket;

use super::operation::Operation;
use super::{ACCEPTED_MAX, Arming, Slot, State};

/// A listening socket.
pub(super) struct Acceptor {
    socket: Socket,
    arming: Arming,
    pub(super) accepted: VecDeque<Socket>,
    /// The error number of a failed accept, until someone is told.
    trouble: Option<i32>,
    waiting: Vec<Waker>,
    closing: bool,
}

impl State {
    pub(super) fn listen(&mut self, socket: Socket) -> Slot {
        Slot(self.acceptors.insert(Acceptor {
            socket,
            arming: Arming::Idle,
            accepted: VecDeque::new(),
            trouble: None,
            waiting: Vec::new(),
            closing: false,
        }))
    }

    pub(super) fn poll_accept(&mut self, slot: usize, context: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        let Some(acceptor) = self.acceptors.get_mut(slot).filter(|_| !self.stopped) else { return Poll::Pending };
        if let Some(socket) = acceptor.accepted.pop_front() {
            return Poll::Ready(Ok(socket));
        }
        if let Some(trouble) = acceptor.trouble.take() {
            return Poll::Ready(Err(io::Error::from_raw_os_error(trouble)));
        }
        if !acceptor.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            acceptor.waiting.push(context.waker().clone());
        }
        if acceptor.arming == Arming::Idle {
            acceptor.arming = Arming::Armed;
            let entry = opcode::AcceptMulti::new(types::Fd(acceptor.socket.as_raw_fd()));
            let entry = entry.flags(libc::SOCK_CLOEXEC).build();
            // SAFETY: it points to nothing.
            unsafe { self.push(entry, Operation::Accept(slot)) };
        }
        Poll::Pending
    }

    pub(super) fn accepted(&mut self, slot: usize, entry: &cqueue::Entry) {
        let acceptor = &mut self.acceptors[slot];
        match entry.result() {
            // SAFETY: the kernel has just made this descriptor for us.
            descriptor @ 0.. => acceptor.accepted.push_back(unsafe { Socket::from_raw_fd(descriptor) }),
            error if error == -libc::ECANCELED => {}
            error => acceptor.trouble = Some(-error),
        }
        if !cqueue::more(entry.flags()) {
            acceptor.arming = Arming::Idle;
        }
        // Also without news: whoever waits asks again where it has ended.
        self.woken.append(&mut acceptor.waiting);
        if acceptor.closing {
            self.finish_listening(slot);
        } else if acceptor.arming == Arming::Armed && acceptor.accepted.len() >= ACCEPTED_MAX {
            acceptor.arming = Arming::Ending;
            self.cancel(Operation::Accept(slot));
        }
    }

    pub(super) fn stop_accepting(&mut self, slot: usize) {
        if self.acceptors[slot].arming == Arming::Armed {
            self.acceptors[slot].arming = Arming::Ending;
            self.cancel(Operation::Accept(slot));
        }
    }

    pub(super) fn poll_stopped(&mut self, slot: usize, context: &mut Context<'_>) -> Poll<Vec<Socket>> {
        let Some(acceptor) = self.acceptors.get_mut(slot).filter(|_| !self.stopped) else { return Poll::Pending };
        if !acceptor.arming.in_kernel() {
            return Poll::Ready(acceptor.accepted.drain(..).collect());
        }
        acceptor.waiting.push(context.waker().clone());
        Poll::Pending
    }

    pub(super) fn stop_listening(&mut self, slot: usize) {
        let Some(acceptor) = self.acceptors.get_mut(slot) else { return };
        acceptor.closing = true;
        self.woken.append(&mut acceptor.waiting);
        if acceptor.arming == Arming::Armed {
            acceptor.arming = Arming::Ending;
            self.cancel(Operation::Accept(slot));
        }
        self.finish_listening(slot);
    }

    /// Frees the slot once the kernel has let go of it. What was accepted closes with it.
    fn finish_listening(&mut self, slot: usize) {
        if !self.acceptors[slot].arming.in_kernel() {
            self.acceptors.remove(slot);
        }
    }
}
