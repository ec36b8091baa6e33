//! One direction of a connection: what is on its way and what has arrived.

use std::collections::VecDeque;
use std::task::Waker;

use crate::net::RECEIVE_BYTES_MAX;
use crate::sim::random::Dice;
use crate::time::Instant;

/// Bytes that may be on their way or unread; drawn for each direction.
const CAPACITIES: [usize; 4] = [2 * 1024, 16 * 1024, 64 * 1024, 256 * 1024];

/// What travels.
pub(crate) enum Item {
    Bytes(Vec<u8>),
    /// The sender has closed its side (FIN).
    End,
    /// The sender wants nothing more of this connection (RST).
    Reset,
}

/// What a reader finds.
pub(crate) enum Received {
    Bytes(Vec<u8>),
    End,
    Reset,
    /// Something will arrive then.
    Later(Instant),
    Nothing,
}

pub(crate) struct Flow {
    /// Arrivals never decrease.
    items: VecDeque<(Instant, Item)>,
    /// When each of the items that are bytes was sent.
    sent: VecDeque<Instant>,
    /// When what was read last was sent.
    pub(crate) read_sent: Option<Instant>,
    bytes: usize,
    bytes_max: usize,
    /// Woken when something was pushed.
    pub(crate) reader: Option<Waker>,
    /// Woken when room was made.
    pub(crate) writer: Option<Waker>,
}

impl Flow {
    pub(crate) fn new(dice: &Dice) -> Self {
        let bytes_max = CAPACITIES[dice.below(CAPACITIES.len())];
        Self {
            items: VecDeque::new(),
            sent: VecDeque::new(),
            read_sent: None,
            bytes: 0,
            bytes_max,
            reader: None,
            writer: None,
        }
    }

    pub(crate) fn room(&self) -> usize {
        self.bytes_max.saturating_sub(self.bytes)
    }

    pub(crate) fn push(&mut self, arrival: Instant, item: Item) {
        let arrival = self.items.back().map_or(arrival, |last| last.0.max(arrival));
        self.items.push_back((arrival, item));
    }

    pub(crate) fn push_bytes(&mut self, sent: Instant, arrival: Instant, bytes: Vec<u8>) {
        self.bytes += bytes.len();
        self.sent.push_back(sent);
        self.push(arrival, Item::Bytes(bytes));
    }

    /// Takes what has arrived by `now`, up to a receive's size, or some of it with probability `partial`.
    pub(crate) fn receive(&mut self, now: Instant, partial: f64, dice: &Dice) -> Received {
        match self.items.front() {
            None => return Received::Nothing,
            Some((arrival, _)) if *arrival > now => return Received::Later(*arrival),
            Some((_, Item::End)) => return Received::End,
            Some((_, Item::Reset)) => return Received::Reset,
            Some((_, Item::Bytes(_))) => {}
        }
        let most = if dice.chance(partial) { 1 + dice.below(RECEIVE_BYTES_MAX) } else { RECEIVE_BYTES_MAX };
        let mut received = Vec::new();
        while let Some((arrival, Item::Bytes(bytes))) = self.items.front_mut() {
            let room = most - received.len();
            if *arrival > now || room == 0 {
                break;
            }
            if bytes.len() > room {
                received.extend(bytes.drain(..room));
                self.read_sent = self.sent.front().copied();
            } else {
                received.append(bytes);
                self.items.pop_front();
                self.read_sent = self.sent.pop_front();
            }
        }
        self.bytes -= received.len();
        Received::Bytes(received)
    }

    /// Whether bytes wait to be read.
    pub(crate) fn has_arrived(&self, now: Instant) -> bool {
        matches!(self.items.front(), Some((arrival, Item::Bytes(_))) if *arrival <= now)
    }

    /// Whether a reset has arrived, behind whatever unread bytes.
    pub(crate) fn is_reset(&self, now: Instant) -> bool {
        matches!(self.items.back(), Some((arrival, Item::Reset)) if *arrival <= now)
    }

    /// Of what has not arrived yet, drops everything after a random point.
    pub(crate) fn lose_some(&mut self, now: Instant, dice: &Dice) {
        let arrived = self.items.iter().take_while(|(arrival, _)| *arrival <= now).count();
        let kept = arrived + dice.below(self.items.len() - arrived + 1);
        for (_, item) in self.items.drain(kept..) {
            if let Item::Bytes(bytes) = item {
                self.bytes -= bytes.len();
                self.sent.pop_back();
            }
        }
    }
}
