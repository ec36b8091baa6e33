//! What the dispatcher takes from the queue: domains that have something ready, and leases of their recipients.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::{Error, MessageId, Queue};
use crate::smtp::envelope::{Recipient, Sender};

/// Recipients of one message at one domain, taken for an attempt. They stay leased until `Queue::settle`; after a crash
/// they are due again.
#[derive(Clone, Debug)]
pub struct Lease {
    /// This shard's number for it; `Queue::settle` takes it back.
    pub number: u64,
    /// The message.
    pub message: MessageId,
    /// The recipients' domain, lower case.
    pub domain: Rc<str>,
    /// MAIL.
    pub sender: Sender,
    /// RCPTs, with their index in the message.
    pub recipients: Vec<(u16, Recipient)>,
    /// Octets of the content.
    pub content_bytes: usize,
}

impl Queue {
    /// Waits for a domain that has ready recipients, and takes it out of the rotation: the caller leases from it, then
    /// puts it back with [`Queue::hand_back`] or [`Queue::park`]. Domains take turns. Waits while delivery is suspended.
    pub async fn next_ready(&self) -> Rc<str> {
        todo!()
    }

    /// How many domains have ready recipients now (parked ones and those taken out not counted).
    pub fn ready_domains(&self) -> usize {
        todo!()
    }

    /// Leases the longest-waiting ready recipients of one message at `domain`. `None`: nothing is ready there (any more).
    pub fn lease(&self, _domain: &str) -> Option<Lease> {
        todo!()
    }

    /// Puts a domain back into the rotation, at its end, if it still has something ready.
    pub fn hand_back(&self, _domain: &str) {
        todo!()
    }

    /// Like [`Queue::hand_back`], but the domain is not offered again before `delay` has passed.
    pub fn park(&self, _domain: &str, _delay: Duration) {
        todo!()
    }

    /// The content of a leased message: from memory if it is there, else read back from disk.
    pub async fn content(&self, _lease: &Lease) -> Result<Arc<Vec<u8>>, Error> {
        todo!()
    }

    /// Notes, before the final dot of a delivery, that from now on only the reply tells whether the next hop has the
    /// message. Waits for the flush only where the configuration says that such recipients are held after a crash.
    pub async fn note_uncertain(&self, _lease: u64) -> Result<(), Error> {
        todo!()
    }
}
