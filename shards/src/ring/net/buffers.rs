//! The pool of buffers that the kernel receives into, shared by all connections of a shard.
//!
//! A connection that waits holds none; the kernel takes one from the ring when bytes have come, and it is given back
//! when they are read. The ring offers as many as there are receives, which take one each at most, and the others wait in
//! a stack: so few connections use few buffers, over and over, which stay in the core's cache. Limits: [`BUFFERS`] of
//! [`RECEIVE_BYTES_MAX`] bytes each; when all are out, receiving pauses.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::queue::Queue;
use crate::net::RECEIVE_BYTES_MAX;

/// Buffers of a shard: 16 MiB. A power of two, as the kernel asks.
pub(super) const BUFFERS: u16 = 1024;
/// The number by which receive operations name the pool.
pub(super) const GROUP: u16 = 0;

const RING_BYTES: usize = BUFFERS as usize * size_of::<BufRingEntry>();

/// Which buffer of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BufferId(pub(super) u16);

pub(super) struct Buffers {
    /// The ring of free buffers, page-aligned, and then the buffers themselves.
    memory: Mapping,
    /// Where the next free buffer goes; wraps.
    tail: u16,
    /// How many are in the ring.
    offered: u16,
    /// Receives in the kernel.
    receives: usize,
    /// Free ones that are not in the ring, the last used on top.
    spare: Vec<BufferId>,
}

impl Buffers {
    pub(super) fn new(queue: &Queue) -> io::Result<Buffers> {
        let memory = Mapping::new(RING_BYTES + BUFFERS as usize * RECEIVE_BYTES_MAX)?;
        // SAFETY: the mapping is page-aligned, begins with the ring, and lives as long as the queue (`super::State`).
        unsafe { queue.register_buffers(memory.start.as_ptr(), BUFFERS, GROUP)? };
        Ok(Buffers { memory, tail: 0, offered: 0, receives: 0, spare: (0..BUFFERS).rev().map(BufferId).collect() })
    }

    /// Notes a receive that goes to the kernel.
    pub(super) fn begin_receive(&mut self) {
        self.receives += 1;
        self.offer();
    }

    /// Notes that a receive has ended, and whether with a buffer.
    pub(super) fn end_receive(&mut self, took_buffer: bool) {
        self.receives -= 1;
        self.offered -= u16::from(took_buffer);
    }

    /// How many are free for the kernel to take.
    pub(super) fn free(&self) -> usize {
        usize::from(self.offered) + self.spare.len()
    }

    /// Lets the kernel use a buffer again.
    pub(super) fn give_back(&mut self, id: BufferId) {
        self.spare.push(id);
        self.offer();
    }

    /// Offers the kernel a buffer for each receive, as far as there are any.
    fn offer(&mut self) {
        while usize::from(self.offered) < self.receives
            && let Some(id) = self.spare.pop()
        {
            self.put(id);
        }
    }

    fn put(&mut self, id: BufferId) {
        self.offered += 1;
        let ring = self.memory.start.as_ptr().cast::<BufRingEntry>();
        // SAFETY: the ring has BUFFERS entries, so the masked index is inside; the kernel reads an entry only after
        // the tail has passed it.
        unsafe {
            let entry = &mut *ring.add(usize::from(self.tail & (BUFFERS - 1)));
            entry.set_addr(self.address(id) as u64);
            entry.set_len(RECEIVE_BYTES_MAX as u32);
            entry.set_bid(id.0);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail lies in the ring's first entry, is aligned, and is only written here.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(ring).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// Where a buffer begins. Its bytes are stable from the completion that named it until it is given back.
    pub(super) fn address(&self, id: BufferId) -> *const u8 {
        // SAFETY: ids are below BUFFERS, so the offset is inside the mapping.
        unsafe { self.memory.start.as_ptr().add(RING_BYTES + usize::from(id.0) * RECEIVE_BYTES_MAX) }
    }
}

/// Zeroed memory of our own, in whole pages; a page costs nothing until it is used.
struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    fn new(bytes: usize) -> io::Result<Mapping> {
        // SAFETY: an anonymous private mapping touches no other memory.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(start.cast())
            .map(|start| Mapping { start, bytes })
            .ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this start and length, and nothing refers to it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}
