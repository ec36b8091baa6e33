//! The simulated network: who listens where, which connections exist, and what a link does to them.
//!
//! All state of the network is here, without futures; [`sockets`] waits on it.

pub(crate) mod flow;
mod link;
pub(crate) mod sockets;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::task::Waker;
use std::time::Duration;

pub use link::Link;

use self::flow::{Flow, Item, Received};
use super::random::{Dice, spread};
use super::trace::{Event, Trace};
use super::{End as LifeEnd, Life};
use crate::time::Instant;

/// Connections that wait for `accept` at one listener; more are not answered.
const BACKLOG_MAX: usize = 128;

/// Ports of clients, as Linux has them.
const PORTS_OF_CLIENTS: std::ops::Range<u16> = 32_768..61_000;

/// One side of a connection: 0 has connected, 1 has accepted.
pub(crate) type Side = usize;

/// What the network needs of the rest of the world for one operation.
pub(crate) struct Surroundings<'a> {
    pub(crate) now: Instant,
    pub(crate) dice: &'a Dice,
    pub(crate) trace: &'a Trace,
}

/// A connection of a listener's backlog or of a stream: its number and our side of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Socket {
    pub(crate) connection: u64,
    pub(crate) side: Side,
}

/// How `open` ended.
pub(crate) enum Opened {
    Socket(Socket),
    /// Nobody listens there.
    Refused,
    /// The listener's backlog is full: no answer.
    Unanswered,
}

/// How `send` ended.
pub(crate) enum Sent {
    /// So many of the bytes, at least one.
    Took(usize),
    /// The peer does not read: wait.
    Full,
    /// The connection is gone.
    Reset,
}

struct Backlog {
    life: Life,
    address: SocketAddr,
    waiting: VecDeque<u64>,
    acceptor: Option<Waker>,
}

struct Connection {
    begun: Instant,
    ends: [End; 2],
    /// `flows[side]` is what `side` receives.
    flows: [Flow; 2],
    /// Nothing arrives any more, and nobody is told: one side's machine has vanished.
    silent: bool,
}

#[derive(Clone, Copy)]
struct End {
    life: Life,
    address: SocketAddr,
    open: bool,
}

/// The network.
pub(crate) struct Network {
    listeners: BTreeMap<u64, Backlog>,
    connections: BTreeMap<u64, Connection>,
    links: BTreeMap<(usize, usize), Link>,
    link_otherwise: Link,
    opened_count: u64,
}

impl Network {
    pub(crate) fn new() -> RefCell<Self> {
        RefCell::new(Self {
            listeners: BTreeMap::new(),
            connections: BTreeMap::new(),
            links: BTreeMap::new(),
            link_otherwise: Link::default(),
            opened_count: 0,
        })
    }

    pub(crate) fn set_link(&mut self, between: (usize, usize), link: Link) {
        self.links.insert(ordered(between), link);
    }

    pub(crate) fn set_links(&mut self, link: Link) {
        self.links.clear();
        self.link_otherwise = link;
    }

    pub(crate) fn link(&self, between: (usize, usize)) -> Link {
        match self.links.get(&ordered(between)) {
            _ if between.0 == between.1 => Link::inside_a_node(),
            Some(link) => link.clone(),
            None => self.link_otherwise.clone(),
        }
    }

    /// The node that listens at exactly this address, on any port.
    pub(crate) fn node_listening_at(&self, ip: IpAddr) -> Option<usize> {
        self.listeners.values().find(|backlog| backlog.address.ip() == ip).map(|backlog| backlog.life.node)
    }

    /// Starts to listen; `None` if another node has the address.
    pub(crate) fn listen(&mut self, life: Life, address: SocketAddr) -> Option<(u64, SocketAddr)> {
        let address = if address.port() == 0 { self.free_address(address.ip()) } else { address };
        let taken = |backlog: &Backlog| backlog.address == address && backlog.life.node != life.node;
        if !address.ip().is_loopback() && !address.ip().is_unspecified() && self.listeners.values().any(taken) {
            return None;
        }
        let listener = self.number();
        let backlog = Backlog { life, address, waiting: VecDeque::new(), acceptor: None };
        self.listeners.insert(listener, backlog);
        Some((listener, address))
    }

    fn free_address(&self, ip: IpAddr) -> SocketAddr {
        let used = |port: &u16| self.listeners.values().any(|backlog| backlog.address.port() == *port);
        let port = PORTS_OF_CLIENTS.into_iter().find(|port| !used(port)).unwrap_or(PORTS_OF_CLIENTS.end);
        SocketAddr::new(ip, port)
    }

    /// The listener that gets a connection of `source` to `address`: of several, the one that the source's hash picks.
    fn listener_for(
        &self,
        client: Life,
        source: IpAddr,
        address: SocketAddr,
        ip_of: &dyn Fn(usize) -> IpAddr,
    ) -> Option<u64> {
        let takes = |backlog: &Backlog| {
            let bound = backlog.address;
            let reaches = match bound.ip() {
                ip if ip.is_unspecified() => {
                    address.ip() == ip_of(backlog.life.node)
                        || (address.ip().is_loopback() && backlog.life.node == client.node)
                }
                ip if ip.is_loopback() => ip == address.ip() && backlog.life.node == client.node,
                ip => ip == address.ip(),
            };
            reaches && bound.port() == address.port()
        };
        let candidates: Vec<u64> = self.listeners.iter().filter(|(_, b)| takes(b)).map(|(id, _)| *id).collect();
        let hash = match source {
            IpAddr::V4(ip) => spread(u64::from(u32::from(ip))),
            IpAddr::V6(ip) => spread((u128::from(ip) ^ (u128::from(ip) >> 64)) as u64),
        };
        candidates.get((hash % candidates.len().max(1) as u64) as usize).copied()
    }

    /// A connection of `client` at `source` to `address`, begun at `begun`, as its first packet arrives there.
    pub(crate) fn open(
        &mut self,
        (client, begun): (Life, Instant),
        source: IpAddr,
        address: SocketAddr,
        ip_of: &dyn Fn(usize) -> IpAddr,
        around: &Surroundings<'_>,
    ) -> Opened {
        let Some(listener) = self.listener_for(client, source, address, ip_of) else { return Opened::Refused };
        let connection = self.number();
        let Some(backlog) = self.listeners.get_mut(&listener) else { return Opened::Refused };
        if backlog.waiting.len() >= BACKLOG_MAX {
            return Opened::Unanswered;
        }
        backlog.waiting.push_back(connection);
        wake(&mut backlog.acceptor);
        let width = u64::from(PORTS_OF_CLIENTS.end - PORTS_OF_CLIENTS.start);
        let port = PORTS_OF_CLIENTS.start + (connection % width) as u16;
        let ends = [
            End { life: client, address: SocketAddr::new(source, port), open: true },
            End { life: backlog.life, address, open: true },
        ];
        around.trace.record(Event::Connect, connection, listener);
        let flows = [Flow::new(around.dice), Flow::new(around.dice)];
        self.connections.insert(connection, Connection { begun, ends, flows, silent: false });
        Opened::Socket(Socket { connection, side: 0 })
    }

    /// The next connection of a listener; otherwise `waker` is woken when there is one.
    pub(crate) fn accept(&mut self, listener: u64, waker: &Waker) -> Option<Socket> {
        let backlog = self.listeners.get_mut(&listener)?;
        match backlog.waiting.pop_front() {
            Some(connection) => Some(Socket { connection, side: 1 }),
            None => {
                backlog.acceptor = Some(waker.clone());
                None
            }
        }
    }

    /// Stops listening; connections that nobody accepted are reset.
    pub(crate) fn close_listener(&mut self, listener: u64, around: &Surroundings<'_>) {
        let Some(backlog) = self.listeners.remove(&listener) else { return };
        for connection in backlog.waiting {
            self.reset(Socket { connection, side: 1 }, around);
        }
    }

    /// Our address and the peer's.
    pub(crate) fn addresses(&self, socket: Socket) -> Option<(SocketAddr, SocketAddr)> {
        let ends = &self.connections.get(&socket.connection)?.ends;
        Some((ends[socket.side].address, ends[1 - socket.side].address))
    }

    /// What has arrived for `socket`; if nothing, `waker` is woken when something is on its way.
    pub(crate) fn receive(&mut self, socket: Socket, waker: &Waker, around: &Surroundings<'_>) -> Received {
        let Some((connection, link)) = self.living(socket) else { return Received::Reset };
        let received = connection.flows[socket.side].receive(around.now, link.partial, around.dice);
        match &received {
            Received::Bytes(bytes) => {
                around.trace.record(Event::Receive, socket.connection, bytes.len() as u64);
                wake(&mut connection.flows[socket.side].writer);
            }
            Received::Later(_) | Received::Nothing => connection.flows[socket.side].reader = Some(waker.clone()),
            Received::End | Received::Reset => {}
        }
        received
    }

    /// Sends some of `bytes` (not empty); if there is no room, `waker` is woken when there is.
    pub(crate) fn send(&mut self, socket: Socket, bytes: &[u8], waker: &Waker, around: &Surroundings<'_>) -> Sent {
        let peer = 1 - socket.side;
        let Some((connection, link)) = self.living(socket) else { return Sent::Reset };
        if connection.flows[socket.side].is_reset(around.now) {
            return Sent::Reset;
        }
        if around.dice.chance(link.reset) {
            self.break_both_ways(socket.connection, around);
            return Sent::Reset;
        }
        let delay = link.delay(around.dice);
        if !connection.ends[peer].open && !connection.silent {
            // What a closed peer is sent, it answers with a reset.
            connection.flows[socket.side].push(around.now + delay + delay, Item::Reset);
            wake(&mut connection.flows[socket.side].reader);
            return Sent::Took(bytes.len());
        }
        let room = connection.flows[peer].room();
        if room == 0 {
            connection.flows[peer].writer = Some(waker.clone());
            return Sent::Full;
        }
        let most = room.min(bytes.len());
        let taken = if around.dice.chance(link.partial) { 1 + around.dice.below(most) } else { most };
        let arrival = if connection.silent { Instant::from_nanos(u64::MAX) } else { around.now + delay };
        connection.flows[peer].push_bytes(around.now, arrival, bytes[..taken].to_vec());
        wake(&mut connection.flows[peer].reader);
        around.trace.record(Event::Send, socket.connection, taken as u64);
        Sent::Took(taken)
    }

    /// Closes one side after what was sent; a side that leaves bytes unread resets the connection, as TCP does.
    pub(crate) fn close(&mut self, socket: Socket, around: &Surroundings<'_>) {
        let Some((connection, link)) = self.living(socket) else { return };
        around.trace.record(Event::Close, socket.connection, socket.side as u64);
        let unread = connection.flows[socket.side].has_arrived(around.now);
        let item = if unread { Item::Reset } else { Item::End };
        let delay = link.delay(around.dice);
        self.leave(socket, item, delay, around);
    }

    /// Closes one side at once and tells the peer with a reset.
    pub(crate) fn reset(&mut self, socket: Socket, around: &Surroundings<'_>) {
        let Some((connection, link)) = self.living(socket) else { return };
        around.trace.record(Event::Reset, socket.connection, socket.side as u64);
        connection.flows[1 - socket.side].lose_some(around.now, around.dice);
        let delay = link.delay(around.dice);
        self.leave(socket, Item::Reset, delay, around);
    }

    /// Everything of `life` is gone: its peers see a reset or, after a power cut, perhaps nothing at all.
    pub(crate) fn end_life(&mut self, life: Life, end: LifeEnd, around: &Surroundings<'_>) {
        self.listeners.retain(|_, backlog| backlog.life != life);
        let touched: Vec<Socket> = self
            .connections
            .iter()
            .flat_map(|(id, c)| [0, 1].map(|side| (Socket { connection: *id, side }, c.ends[side])))
            .filter(|(_, end)| end.open && end.life == life)
            .map(|(socket, _)| socket)
            .collect();
        for socket in touched {
            if around.dice.chance(0.5) || end == LifeEnd::Kill {
                self.reset(socket, around);
            } else if let Some(connection) = self.connections.get_mut(&socket.connection) {
                connection.silent = true;
                connection.ends[socket.side].open = false;
                self.forget_if_closed(socket.connection);
            }
        }
    }

    /// How many connections have an open end.
    pub(crate) fn connection_count(&self) -> usize {
        self.connections.len()
    }

    pub(crate) fn begun(&self, client: SocketAddr, host: SocketAddr) -> Option<Instant> {
        self.between(client, host).map(|connection| connection.begun)
    }

    pub(crate) fn is_held(&self, client: SocketAddr, host: SocketAddr) -> bool {
        self.between(client, host).is_some_and(|connection| connection.ends[0].open)
    }

    pub(crate) fn sent(&self, client: SocketAddr, host: SocketAddr) -> Option<Instant> {
        self.between(client, host)?.flows[1].read_sent
    }

    fn between(&self, client: SocketAddr, host: SocketAddr) -> Option<&Connection> {
        self.connections.values().find(|connection| connection.ends.map(|end| end.address) == [client, host])
    }

    fn break_both_ways(&mut self, connection: u64, around: &Surroundings<'_>) {
        around.trace.record(Event::Reset, connection, 2);
        let Some(connection) = self.connections.get_mut(&connection) else { return };
        for flow in &mut connection.flows {
            flow.lose_some(around.now, around.dice);
            flow.push(around.now, Item::Reset);
            wake(&mut flow.reader);
            wake(&mut flow.writer);
        }
    }

    /// The connection of an open end, and its link as it is now.
    fn living(&mut self, socket: Socket) -> Option<(&mut Connection, Link)> {
        let ends = self.connections.get(&socket.connection)?.ends;
        let link = self.link((ends[0].life.node, ends[1].life.node));
        let connection = self.connections.get_mut(&socket.connection)?;
        connection.ends[socket.side].open.then_some((connection, link))
    }

    fn leave(&mut self, socket: Socket, last: Item, delay: Duration, around: &Surroundings<'_>) {
        let Some(connection) = self.connections.get_mut(&socket.connection) else { return };
        connection.ends[socket.side].open = false;
        if !connection.silent {
            let towards_peer = &mut connection.flows[1 - socket.side];
            towards_peer.push(around.now + delay, last);
            wake(&mut towards_peer.reader);
        }
        wake(&mut connection.flows[socket.side].writer);
        self.forget_if_closed(socket.connection);
    }

    fn forget_if_closed(&mut self, connection: u64) {
        if self.connections.get(&connection).is_some_and(|c| c.ends.iter().all(|end| !end.open)) {
            self.connections.remove(&connection);
        }
    }

    fn number(&mut self) -> u64 {
        self.opened_count += 1;
        self.opened_count
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

fn ordered((a, b): (usize, usize)) -> (usize, usize) {
    (a.min(b), a.max(b))
}
