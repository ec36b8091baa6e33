//! Listeners and streams of a simulated shard: futures over the network's state.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;

use super::flow::Received;
use super::{Opened, Sent, Socket};
use crate::net::Chunk;
use crate::sim::Handle;
use crate::sim::timers::Alarm;
use crate::time::Instant;

/// A listening socket of a simulated shard.
pub(crate) struct Listener {
    machine: Handle,
    listener: u64,
    address: SocketAddr,
}

/// A connection of a simulated shard. Dropping it closes it.
pub(crate) struct Stream {
    machine: Handle,
    socket: Socket,
    local: SocketAddr,
    peer: SocketAddr,
}

/// Opens a listener on `machine`.
pub(crate) fn listen(machine: &Handle, address: SocketAddr) -> io::Result<Listener> {
    machine.check_alive()?;
    let opened = machine.world.network.borrow_mut().listen(machine.life, address);
    let (listener, address) = opened.ok_or(io::ErrorKind::AddrInUse)?;
    Ok(Listener { machine: machine.clone(), listener, address })
}

/// Connects from `machine`, as [`crate::Reactor::connect`] says.
pub(crate) async fn connect(
    machine: &Handle,
    address: SocketAddr,
    source: Option<IpAddr>,
    patience: Duration,
) -> io::Result<Stream> {
    machine.check_alive()?;
    let begun = machine.now();
    let deadline = begun + patience;
    let world = &machine.world;
    let link = world.network.borrow().link((machine.life.node, world.node_of(address.ip(), machine.life.node)));
    let there = link.delay(&world.dice.network);
    let back = link.delay(&world.dice.network);
    if world.dice.network.chance(link.unanswered) || there + back > patience {
        machine.sleep_until(deadline).await;
        return Err(io::ErrorKind::TimedOut.into());
    }
    machine.sleep(there).await;
    let ip_of = |node| world.ip_of(node);
    let source =
        source.unwrap_or_else(|| if address.ip().is_loopback() { address.ip() } else { ip_of(machine.life.node) });
    let opened =
        world.network.borrow_mut().open((machine.life, begun), source, address, &ip_of, &world.around_network());
    match opened {
        Opened::Socket(socket) => {
            let stream = Stream::new(machine, socket)?;
            machine.sleep(back).await;
            Ok(stream)
        }
        Opened::Refused => {
            machine.sleep(back).await;
            Err(io::ErrorKind::ConnectionRefused.into())
        }
        Opened::Unanswered => {
            machine.sleep_until(deadline).await;
            Err(io::ErrorKind::TimedOut.into())
        }
    }
}

impl Listener {
    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        let world = &self.machine.world;
        let socket = poll_fn(|context| match world.network.borrow_mut().accept(self.listener, context.waker()) {
            Some(socket) => Poll::Ready(socket),
            None => Poll::Pending,
        })
        .await;
        Stream::new(&self.machine, socket)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let world = &self.machine.world;
        world.network.borrow_mut().close_listener(self.listener, &world.around_network());
    }
}

impl Stream {
    fn new(machine: &Handle, socket: Socket) -> io::Result<Self> {
        let addresses = machine.world.network.borrow().addresses(socket);
        let (local, peer) = addresses.ok_or(io::ErrorKind::ConnectionReset)?;
        Ok(Self { machine: machine.clone(), socket, local, peer })
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(crate) async fn receive(&mut self, patience: Duration) -> io::Result<Chunk> {
        let deadline = self.machine.now() + patience;
        let mut alarm = self.machine.alarm();
        poll_fn(|context| self.poll_receive(deadline, &mut alarm, context)).await
    }

    fn poll_receive(&self, deadline: Instant, alarm: &mut Alarm, context: &Context<'_>) -> Poll<io::Result<Chunk>> {
        let world = &self.machine.world;
        let received = world.network.borrow_mut().receive(self.socket, context.waker(), &world.around_network());
        let until = match received {
            Received::Bytes(bytes) => return Poll::Ready(Ok(Chunk::owned(bytes))),
            Received::End => return Poll::Ready(Ok(Chunk::owned(Vec::new()))),
            Received::Reset => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Received::Later(arrival) => arrival.min(deadline),
            Received::Nothing => deadline,
        };
        wait_until(until, deadline, world.timers.now(), alarm, context).map(Err)
    }

    pub(crate) async fn send(&mut self, bytes: &mut Vec<u8>, patience: Duration) -> io::Result<()> {
        let mut sent = 0;
        while sent < bytes.len() {
            let deadline = self.machine.now() + patience;
            let mut alarm = self.machine.alarm();
            sent += poll_fn(|context| self.poll_send(&bytes[sent..], deadline, &mut alarm, context)).await?;
        }
        bytes.clear();
        Ok(())
    }

    fn poll_send(
        &self,
        bytes: &[u8],
        deadline: Instant,
        alarm: &mut Alarm,
        context: &Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let world = &self.machine.world;
        match world.network.borrow_mut().send(self.socket, bytes, context.waker(), &world.around_network()) {
            Sent::Took(taken) => Poll::Ready(Ok(taken)),
            Sent::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Sent::Full => wait_until(deadline, deadline, world.timers.now(), alarm, context).map(Err),
        }
    }

    pub(crate) fn reset(self) {
        let world = &self.machine.world;
        world.network.borrow_mut().reset(self.socket, &world.around_network());
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let world = &self.machine.world;
        world.network.borrow_mut().close(self.socket, &world.around_network());
    }
}

/// Sets `alarm` to `until`, or gives the error if the patience is over.
fn wait_until(
    until: Instant,
    deadline: Instant,
    now: Instant,
    alarm: &mut Alarm,
    context: &Context<'_>,
) -> Poll<io::Error> {
    if now >= deadline {
        return Poll::Ready(io::ErrorKind::TimedOut.into());
    }
    alarm.set(until, context);
    Poll::Pending
}
