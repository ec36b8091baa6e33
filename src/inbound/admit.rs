//! Who is inside: connections in all and per client address. All local to the shard, as an address always meets the
//! same one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

use futures::channel::oneshot;

use crate::smtp::reply::{self, Fixed};

/// Connections of one shard.
pub const CONNECTIONS_MAX: usize = 16_384;
/// Connections that are being told why they are refused; more are closed without a word.
const TURNED_AWAY_MAX: usize = 64;

/// The shard's book of connections.
pub(super) struct Admissions(RefCell<Book>);

#[derive(Default)]
struct Book {
    inside: usize,
    turned_away: usize,
    per_address: HashMap<IpAddr, usize>,
    /// Who waits until nobody is inside.
    waiting: Option<oneshot::Sender<()>>,
}

/// A place inside; given back when dropped.
pub(super) struct Ticket {
    book: Rc<Admissions>,
    place: Place,
}

enum Place {
    Inside(IpAddr),
    AtTheDoor,
}

impl Admissions {
    pub(super) fn new() -> Rc<Admissions> {
        Rc::new(Admissions(RefCell::default()))
    }

    pub(super) fn inside(&self) -> usize {
        self.0.borrow().inside
    }

    /// Lets a client in, unless there are too many, of it or in all.
    pub(super) fn admit(self: &Rc<Self>, client: IpAddr, per_address_max: usize) -> Result<Ticket, Fixed> {
        let mut book = self.0.borrow_mut();
        if book.inside >= CONNECTIONS_MAX {
            return Err(reply::BUSY);
        }
        let key = neighbourhood(client);
        let count = book.per_address.entry(key).or_default();
        if *count >= per_address_max {
            return Err(reply::TOO_MANY_CONNECTIONS);
        }
        *count += 1;
        book.inside += 1;
        Ok(Ticket { book: self.clone(), place: Place::Inside(key) })
    }

    /// A place at the door for someone who is refused, where there is one.
    pub(super) fn turn_away(self: &Rc<Self>) -> Option<Ticket> {
        let mut book = self.0.borrow_mut();
        if book.turned_away >= TURNED_AWAY_MAX {
            return None;
        }
        book.turned_away += 1;
        Some(Ticket { book: self.clone(), place: Place::AtTheDoor })
    }

    /// Waits until nobody is inside. One caller at a time.
    pub(super) async fn emptied(&self) {
        let emptied = {
            let mut book = self.0.borrow_mut();
            if book.inside == 0 {
                return;
            }
            let (sender, receiver) = oneshot::channel();
            book.waiting = Some(sender);
            receiver
        };
        // The sender is only dropped for another waiter's sake.
        let _ = emptied.await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut book = self.book.0.borrow_mut();
        let Place::Inside(key) = self.place else {
            book.turned_away -= 1;
            return;
        };
        book.inside -= 1;
        if let Some(count) = book.per_address.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                book.per_address.remove(&key);
            }
        }
        if book.inside == 0
            && let Some(waiting) = book.waiting.take()
        {
            // Whoever waited may have lost patience.
            let _ = waiting.send(());
        }
    }
}

/// Whom an address counts for: an IPv6 host has all addresses of its /64 (RFC 4291 §2.5.1).
pub(super) fn neighbourhood(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_has_its_limit_and_gets_its_places_back() {
        let admissions = Admissions::new();
        let first = admissions.admit(ip("192.0.2.1"), 2).ok();
        let second = admissions.admit(ip("::ffff:192.0.2.1"), 2).ok();
        assert!(first.is_some() && second.is_some());
        assert_eq!(admissions.admit(ip("192.0.2.1"), 2).err(), Some(reply::TOO_MANY_CONNECTIONS));
        assert!(admissions.admit(ip("192.0.2.2"), 2).is_ok());
        drop(first);
        assert!(admissions.admit(ip("192.0.2.1"), 2).is_ok());
        drop(second);
        assert_eq!(admissions.inside(), 0);
        assert!(admissions.0.borrow().per_address.is_empty());
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let admissions = Admissions::new();
        let _one = admissions.admit(ip("2001:db8::1"), 1).ok();
        assert!(admissions.admit(ip("2001:db8::ffff:1"), 1).is_err());
        assert!(admissions.admit(ip("2001:db8:0:1::1"), 1).is_ok());
    }

    #[test]
    fn the_whole_is_bounded_and_so_is_who_is_turned_away() {
        let admissions = Admissions::new();
        let inside: Vec<_> =
            (0..CONNECTIONS_MAX).filter_map(|_| admissions.admit(ip("192.0.2.1"), usize::MAX).ok()).collect();
        assert_eq!(inside.len(), CONNECTIONS_MAX);
        assert_eq!(admissions.admit(ip("192.0.2.2"), 1).err(), Some(reply::BUSY));
        let at_the_door: Vec<_> = (0..TURNED_AWAY_MAX).filter_map(|_| admissions.turn_away()).collect();
        assert_eq!(at_the_door.len(), TURNED_AWAY_MAX);
        assert!(admissions.turn_away().is_none());
        drop(at_the_door);
        assert!(admissions.turn_away().is_some());
    }

    #[test]
    fn who_waits_for_the_last_to_leave_is_told() {
        let admissions = Admissions::new();
        let ticket = admissions.admit(ip("192.0.2.1"), 1).ok();
        let mut emptied = std::pin::pin!(admissions.emptied());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(emptied.as_mut().poll(&mut context).is_pending());
        drop(ticket);
        assert!(emptied.as_mut().poll(&mut context).is_ready());
    }
}
