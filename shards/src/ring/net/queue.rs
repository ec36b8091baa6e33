//! The pair of queues shared with the kernel, and the doorbell that it rings while we sleep.
//!
//! Completions are deferred (`DEFER_TASKRUN`): the kernel prepares them only inside [`Queue::enter`], on our thread, so
//! nothing interrupts the tasks. Polling such a ring's own descriptor never fires; the kernel signals an eventfd, which
//! is switched off while we come by anyway.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{Ordering, fence};

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::operation::Operation;
use crate::ring::eventfd;

/// Submissions that fit before the kernel has to take some.
const SUBMISSIONS: u32 = 1024;
/// Completions that fit; the kernel keeps what does not, at a cost.
const COMPLETIONS: u32 = 8192;
/// IORING_ENTER_GETEVENTS of io_uring_enter(2): prepare completions.
const ENTER_GETEVENTS: u32 = 1;

pub(super) struct Queue {
    ring: IoUring,
    doorbell: OwnedFd,
    /// Submissions that found the queue full, in order. At most a few for each slot.
    backlog: VecDeque<squeue::Entry>,
}

impl Queue {
    /// Must be called on the thread that will use it (`SINGLE_ISSUER`).
    pub(super) fn new() -> io::Result<Queue> {
        Queue::with_room_for(SUBMISSIONS, COMPLETIONS)
    }

    fn with_room_for(submissions: u32, completions: u32) -> io::Result<Queue> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(completions)
            .build(submissions)?;
        let doorbell = eventfd::new(0)?;
        ring.submitter().register_eventfd(doorbell.as_raw_fd())?;
        let mut queue = Queue { ring, doorbell, backlog: VecDeque::new() };
        queue.ring.completion().disable_eventfd();
        Ok(queue)
    }

    /// Where the kernel signals completions between [`Queue::watch`] and [`Queue::unwatch`].
    pub(super) fn doorbell(&self) -> RawFd {
        self.doorbell.as_raw_fd()
    }

    /// Queues a submission. They reach the kernel in order, at the next [`Queue::enter`].
    ///
    /// # Safety
    ///
    /// What the entry points to must stay until its completion has been seen.
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: the caller's promise.
        if !self.backlog.is_empty() || unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.backlog.push_back(entry);
        }
    }

    /// Queues the end of an operation. Its own completion says when it is over.
    pub(super) fn push_cancel(&mut self, operation: Operation) {
        self.push_forgotten(opcode::AsyncCancel::new(operation.user_data()).build());
    }

    /// Queues the closing of a descriptor that no operation uses any more.
    pub(super) fn push_close(&mut self, descriptor: OwnedFd) {
        self.push_forgotten(opcode::Close::new(types::Fd(descriptor.into_raw_fd())).build());
    }

    fn push_forgotten(&mut self, entry: squeue::Entry) {
        let entry = entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(Operation::Forget.user_data());
        // SAFETY: cancelling and closing point to nothing.
        unsafe { self.push(entry) };
    }

    /// Submits what is queued and lets the kernel prepare completions; no system call if there is neither.
    pub(super) fn enter(&mut self) {
        if self.wants_enter() {
            self.enter_once();
        }
        while self.refill() {
            self.enter_once();
        }
    }

    fn enter_once(&mut self) {
        let submissions = self.ring.submission().len() as u32;
        // SAFETY: no argument is passed with the call.
        let result = unsafe { self.ring.submitter().enter::<libc::sigset_t>(submissions, 0, ENTER_GETEVENTS, None) };
        match result.map_err(|error| (error.raw_os_error(), error)) {
            Ok(_) => {}
            // Interrupted, or the kernel is short of something for now: what was not taken stays queued.
            Err((Some(libc::EINTR | libc::EAGAIN | libc::EBUSY | libc::ENOMEM), _)) => {}
            Err((_, error)) => panic!("io_uring_enter refuses a sound ring: {error}"),
        }
    }

    /// Moves submissions from the backlog to the queue, and says whether any was.
    fn refill(&mut self) -> bool {
        let waiting = self.backlog.len();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: promised when it was pushed.
            if unsafe { self.ring.submission().push(entry) }.is_err() {
                break;
            }
            self.backlog.pop_front();
        }
        self.backlog.len() < waiting
    }

    fn wants_enter(&mut self) -> bool {
        let submission = self.ring.submission();
        !submission.is_empty() || submission.taskrun() || submission.cq_overflow()
    }

    /// Moves what has completed to `completed`.
    pub(super) fn take_completed(&mut self, completed: &mut Vec<cqueue::Entry>) {
        completed.extend(self.ring.completion());
    }

    /// Whether there is something to submit.
    pub(super) fn has_submissions(&mut self) -> bool {
        !self.backlog.is_empty() || !self.ring.submission().is_empty()
    }

    /// Asks the kernel to ring the doorbell from now on. False, and not asked, if there is work already.
    pub(super) fn watch(&mut self) -> bool {
        self.ring.completion().enable_eventfd();
        // The kernel looks at the flag after it has added work; we look for work after we have set the flag.
        fence(Ordering::SeqCst);
        let has_work = self.has_submissions() || self.wants_enter() || !self.ring.completion().is_empty();
        if has_work {
            self.ring.completion().disable_eventfd();
        }
        !has_work
    }

    /// Ends [`Queue::watch`].
    pub(super) fn unwatch(&mut self) {
        self.ring.completion().disable_eventfd();
        let mut rings = 0u64;
        // SAFETY: an eventfd gives 8 bytes, for which there is room. It may have none to give: it does not block.
        unsafe { libc::read(self.doorbell(), (&raw mut rings).cast(), size_of::<u64>()) };
    }

    /// Tells the kernel about a ring of provided buffers.
    ///
    /// # Safety
    ///
    /// `ring` must be page-aligned, hold `entries` entries and outlive the queue.
    pub(super) unsafe fn register_buffers(&self, ring: *const u8, entries: u16, group: u16) -> io::Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.ring.submitter().register_buf_ring_with_flags(ring as u64, entries, group, 0) }
    }
}

#[cfg(test)]
mod tests {
    use io_uring::opcode;

    use super::Queue;

    #[test]
    fn more_than_fits_arrives_all_the_same() {
        const OPERATIONS: u64 = 1000;
        let mut queue = Queue::with_room_for(4, 8).expect("the kernel has io_uring");
        for number in 0..OPERATIONS {
            // SAFETY: it points to nothing.
            unsafe { queue.push(opcode::Nop::new().build().user_data(number)) };
        }
        let mut completed = Vec::new();
        while (completed.len() as u64) < OPERATIONS {
            assert!(!queue.watch(), "there is work, so nobody may sleep");
            queue.enter();
            queue.take_completed(&mut completed);
        }
        let mut numbers: Vec<u64> = completed.iter().map(io_uring::cqueue::Entry::user_data).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..OPERATIONS));
        assert!(queue.watch(), "there is no work left");
        queue.unwatch();
    }
}
