//! Connections: what one receives, sends and still has to say when it is dropped.

use std::io;
use std::os::fd::AsRawFd;
use std::task::{Context, Poll, Waker};
use std::{mem, net, ptr, time};

use io_uring::{cqueue, opcode, squeue, types};
use socket2::{SockAddr, Socket};

use super::buffers::{BufferId, GROUP};
use super::operation::Operation;
use super::{Arming, LINGER, LINGERING_MAX, Lingering, Slot, State};
use crate::net::RECEIVE_BYTES_MAX;
use crate::time::Instant;

/// One connection.
pub(super) struct Connection {
    pub(super) socket: Socket,
    pub(super) serial: u64,
    phase: Phase,
    connecting: Option<Box<Connecting>>,
    receiving: Receiving,
    sending: Sending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A stream owns it.
    Open,
    /// Dropped; we have said our end and wait for the peer's.
    Lingering,
    /// Everything is cancelled; it closes with the last completion.
    Closing,
}

/// A connect under way, or its result.
struct Connecting {
    /// The kernel reads it.
    address: SockAddr,
    result: Option<i32>,
    waiting: Option<Waker>,
}

struct Receiving {
    arming: Arming,
    unread: Option<Unread>,
    end: Option<End>,
    waiting: Option<Waker>,
}

/// A buffer that leaves the connection, and where its bytes are.
pub(super) struct Filled {
    pub(super) buffer: BufferId,
    pub(super) bytes: *const [u8],
}

/// A buffer with bytes that no task has read.
struct Unread {
    buffer: BufferId,
    bytes: u16,
}

/// After this nothing more is received.
#[derive(Clone, Copy)]
enum End {
    Closed,
    Failed(i32),
}

enum Sending {
    Idle,
    /// The kernel reads the bytes.
    UnderWay {
        bytes: Vec<u8>,
        waiting: Option<Waker>,
    },
    /// Ended; nobody has asked how yet.
    Done {
        bytes: Vec<u8>,
        result: i32,
    },
}

impl Connection {
    fn new(socket: Socket, serial: u64) -> Connection {
        Connection {
            socket,
            serial,
            phase: Phase::Open,
            connecting: None,
            receiving: Receiving { arming: Arming::Idle, unread: None, end: None, waiting: None },
            sending: Sending::Idle,
        }
    }

    /// Buffers are free again: whoever waits asks again.
    pub(super) fn relieve(&mut self, woken: &mut Vec<Waker>) {
        if self.receiving.arming == Arming::Starved {
            self.receiving.arming = Arming::Idle;
            woken.extend(self.receiving.waiting.take());
        }
    }

    fn is_connecting(&self) -> bool {
        self.connecting.as_ref().is_some_and(|connecting| connecting.result.is_none())
    }

    fn is_sending(&self) -> bool {
        matches!(self.sending, Sending::UnderWay { .. })
    }

    /// Whether saying our end is of any use: it is connected, and nothing was cut off.
    fn can_linger(&self) -> bool {
        self.connecting.is_none() && self.receiving.end.is_none() && matches!(self.sending, Sending::Idle)
    }

    /// Whether the kernel still uses the slot.
    fn in_kernel(&self) -> bool {
        self.receiving.arming.in_kernel() || self.is_connecting() || self.is_sending()
    }
}

impl State {
    pub(super) fn adopt(&mut self, socket: Socket) -> Slot {
        self.last_serial += 1;
        Slot(self.connections.insert(Connection::new(socket, self.last_serial)))
    }

    fn open(&mut self, slot: usize) -> Option<&mut Connection> {
        self.connections.get_mut(slot).filter(|_| !self.stopped)
    }
}

/// Connecting.
impl State {
    pub(super) fn connect(&mut self, socket: Socket, address: SockAddr) -> Slot {
        let slot = self.adopt(socket);
        let connection = &mut self.connections[slot.0];
        let connecting = connection.connecting.insert(Box::new(Connecting { address, result: None, waiting: None }));
        let descriptor = types::Fd(connection.socket.as_raw_fd());
        let entry = opcode::Connect::new(descriptor, connecting.address.as_ptr().cast(), connecting.address.len());
        let entry = entry.build();
        // SAFETY: the address is boxed in the slot, which outlives the operation.
        unsafe { self.push(entry, Operation::Connect(slot.0)) };
        slot
    }

    pub(super) fn poll_connected(&mut self, slot: usize, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(connection) = self.open(slot) else { return Poll::Pending };
        let Some(connecting) = &mut connection.connecting else { return Poll::Ready(Ok(())) };
        match connecting.result {
            None => {
                wait(&mut connecting.waiting, context);
                Poll::Pending
            }
            Some(0) => {
                connection.connecting = None;
                Poll::Ready(Ok(()))
            }
            Some(error) => Poll::Ready(Err(io::Error::from_raw_os_error(-error))),
        }
    }

    pub(super) fn connected(&mut self, slot: usize, result: i32) {
        if let Some(connecting) = &mut self.connections[slot].connecting {
            connecting.result = Some(result);
            self.woken.extend(connecting.waiting.take());
        }
        self.finish(slot);
    }
}

/// Receiving.
impl State {
    pub(super) fn poll_receive(&mut self, slot: usize, context: &mut Context<'_>) -> Poll<io::Result<Option<Filled>>> {
        let Some(connection) = self.open(slot) else { return Poll::Pending };
        let receiving = &mut connection.receiving;
        if let Some(Unread { buffer, bytes }) = receiving.unread.take() {
            let bytes = ptr::slice_from_raw_parts(self.buffers.address(buffer), usize::from(bytes));
            return Poll::Ready(Ok(Some(Filled { buffer, bytes })));
        }
        match receiving.end {
            Some(End::Closed) => return Poll::Ready(Ok(None)),
            Some(End::Failed(error)) => return Poll::Ready(Err(io::Error::from_raw_os_error(error))),
            None => {}
        }
        wait(&mut receiving.waiting, context);
        if receiving.arming == Arming::Idle {
            self.arm_receive(slot);
        }
        Poll::Pending
    }

    fn arm_receive(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        connection.receiving.arming = Arming::Armed;
        let descriptor = types::Fd(connection.socket.as_raw_fd());
        let entry = opcode::Recv::new(descriptor, ptr::null_mut(), RECEIVE_BYTES_MAX as u32).buf_group(GROUP);
        let entry = entry.build().flags(squeue::Flags::BUFFER_SELECT);
        self.buffers.begin_receive();
        // SAFETY: it points to nothing but the pool, which outlives the ring.
        unsafe { self.push(entry, Operation::Receive(slot)) };
    }

    pub(super) fn received(&mut self, slot: usize, entry: &cqueue::Entry) {
        let Connection { phase, receiving, .. } = &mut self.connections[slot];
        receiving.arming = Arming::Idle;
        let buffer = cqueue::buffer_select(entry.flags()).map(BufferId);
        self.buffers.end_receive(buffer.is_some());
        if let Some(buffer) = buffer {
            match u16::try_from(entry.result()) {
                Ok(bytes @ 1..) if *phase == Phase::Open => receiving.unread = Some(Unread { buffer, bytes }),
                _ => self.buffers.give_back(buffer),
            }
        }
        match entry.result() {
            0 => receiving.end = Some(End::Closed),
            1.. => {}
            error if error == -libc::ECANCELED => {}
            error if error == -libc::ENOBUFS => {
                receiving.arming = Arming::Starved;
                self.starved.push_back(slot);
            }
            error => receiving.end = Some(End::Failed(-error)),
        }
        if receiving.arming != Arming::Starved {
            // Also without news: whoever waits asks again where it has ended.
            self.woken.extend(receiving.waiting.take());
        }
        match phase {
            Phase::Open => {}
            Phase::Lingering if receiving.end.is_some() || receiving.arming == Arming::Starved => self.close(slot),
            Phase::Lingering if receiving.arming == Arming::Idle => self.arm_receive(slot),
            Phase::Lingering => {}
            Phase::Closing => self.finish(slot),
        }
    }
}

/// Sending.
impl State {
    pub(super) fn start_send(&mut self, slot: usize, bytes: Vec<u8>, from: usize) -> io::Result<()> {
        let Some(connection) = self.open(slot) else { return Ok(()) };
        if !matches!(connection.sending, Sending::Idle) {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "an earlier send was cut off"));
        }
        let part = &bytes[from..];
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(types::Fd(connection.socket.as_raw_fd()), part.as_ptr(), length);
        let entry = entry.flags(libc::MSG_NOSIGNAL).build();
        connection.sending = Sending::UnderWay { bytes, waiting: None };
        // SAFETY: the bytes' heap memory stays in the slot, which outlives the operation.
        unsafe { self.push(entry, Operation::Send(slot)) };
        Ok(())
    }

    pub(super) fn poll_sent(&mut self, slot: usize, context: &mut Context<'_>) -> Poll<(Vec<u8>, io::Result<usize>)> {
        let Some(connection) = self.open(slot) else { return Poll::Pending };
        match mem::replace(&mut connection.sending, Sending::Idle) {
            Sending::Idle => Poll::Ready((Vec::new(), Ok(0))),
            Sending::UnderWay { bytes, mut waiting } => {
                wait(&mut waiting, context);
                connection.sending = Sending::UnderWay { bytes, waiting };
                Poll::Pending
            }
            Sending::Done { bytes, result } => {
                let sent = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
                Poll::Ready((bytes, sent))
            }
        }
    }

    pub(super) fn sent(&mut self, slot: usize, result: i32) {
        let connection = &mut self.connections[slot];
        if let Sending::UnderWay { bytes, waiting } = mem::replace(&mut connection.sending, Sending::Idle) {
            connection.sending = Sending::Done { bytes, result };
            self.woken.extend(waiting);
        }
        self.finish(slot);
    }
}

/// Closing.
impl State {
    /// The stream was dropped: says our end and waits for the peer's where that is of use, and closes otherwise.
    pub(super) fn release(&mut self, slot: usize, now: Instant) {
        let Some(connection) = self.open(slot).filter(|connection| connection.phase == Phase::Open) else { return };
        let serial = connection.serial;
        let lingers = connection.can_linger() && connection.socket.shutdown(net::Shutdown::Write).is_ok();
        self.discard_unread(slot);
        if !lingers {
            return self.close(slot);
        }
        let connection = &mut self.connections[slot];
        connection.phase = Phase::Lingering;
        let arming = connection.receiving.arming;
        self.lingering.push_back(Lingering { until: now + LINGER, slot, serial });
        if self.lingering.len() == 1 || self.lingering.len() > LINGERING_MAX {
            // It sleeps until the first one's time is over, or has to make room.
            self.call_driver();
        }
        if arming == Arming::Idle {
            self.arm_receive(slot);
        }
    }

    pub(super) fn reset(&mut self, slot: usize) {
        let Some(connection) = self.open(slot) else { return };
        // It can only fail for a descriptor that is no socket; closing is what remains either way.
        let _ = connection.socket.set_linger(Some(time::Duration::ZERO));
        self.discard_unread(slot);
        self.close(slot);
    }

    /// Cancels everything; the last completion frees the slot.
    pub(super) fn close(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        if connection.phase == Phase::Closing {
            return;
        }
        connection.phase = Phase::Closing;
        let (connecting, sending) = (connection.is_connecting(), connection.is_sending());
        let receiving = connection.receiving.arming == Arming::Armed;
        if receiving {
            connection.receiving.arming = Arming::Ending;
            self.cancel(Operation::Receive(slot));
        }
        if sending {
            self.cancel(Operation::Send(slot));
        }
        if connecting {
            self.cancel(Operation::Connect(slot));
        }
        self.finish(slot);
    }

    /// Frees the slot of a closing connection once the kernel has let go of it.
    fn finish(&mut self, slot: usize) {
        let connection = &self.connections[slot];
        if connection.phase == Phase::Closing && !connection.in_kernel() {
            self.discard_unread(slot);
            let connection = self.connections.remove(slot);
            self.woken.extend(connection.receiving.waiting);
            self.queue.push_close(connection.socket.into());
            self.call_driver();
        }
    }

    fn discard_unread(&mut self, slot: usize) {
        if let Some(Unread { buffer, .. }) = self.connections[slot].receiving.unread.take() {
            self.give_back(buffer);
        }
    }
}

/// Notes whom to wake.
fn wait(waiting: &mut Option<Waker>, context: &Context<'_>) {
    match waiting {
        Some(waker) => waker.clone_from(context.waker()),
        None => *waiting = Some(context.waker().clone()),
    }
}
