//! Whose turn it is to compose a notice, and its signature by the `[[dkim]]` key of our name's domain where there is one.
//!
//! A notice is signed off the reactor, before the frame that holds it is appended: what it tells of is judged anew then, and
//! where that is something else, so is the notice. A crash in between leaves everything as it was.
//! Limits: [`DELIVERIES_AT_ONCE`] and [`OTHERS_AT_ONCE`] notices are composed and signed at a time, or [`UNSIGNED_AT_ONCE`] of
//! each kind composed where there is no key; as many wait as settlements and rounds of the housekeeping run, and hold no
//! content meanwhile.

use std::cell::RefCell;
use std::sync::Arc;

use shards::gate::{Gate, Pass};

use super::Queue;
use crate::authentication::{Signers, Together, sign_seven_bit};
use crate::bounce::RETURNED_BYTES_MAX;
use crate::events::Event;
use crate::smtp::envelope::Body;
use crate::spool::Message;

/// Settlements of a delivery that a shard signs notices of at a time. With the others, and with what is submitted, they
/// leave it a thread to flush the journal.
const DELIVERIES_AT_ONCE: usize = 1;
/// Whatever else it signs notices of at a time.
const OTHERS_AT_ONCE: usize = 2;

/// Settlements of a delivery, and of whatever else, that a shard reads originals back for at a time where nothing is signed.
/// An original may have [`RETURNED_BYTES_MAX`] octets.
const UNSIGNED_AT_ONCE: usize = 16;

/// A notice that is larger as seven bits stays as it is.
const SEVEN_BIT_BYTES_MAX: usize = 2 * RETURNED_BYTES_MAX;

/// The keys, and the way to them.
pub(super) struct Signing {
    signers: RefCell<Arc<Signers>>,
    signed: Gates,
    unsigned: Gates,
}

struct Gates {
    deliveries: Gate,
    others: Gate,
}

/// Where a notice waits for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A next hop has the message, and until that is on disk a crash sends it once more: the least possible wait.
    Deliveries,
    /// All else, of which there may be any number.
    Others,
}

/// The right to read an original and compose notices of it, and to sign them where they are signed.
pub(super) struct Pen {
    signers: Option<Together>,
    _pass: Pass,
}

impl Gates {
    fn new(deliveries: usize, others: usize) -> Gates {
        Gates { deliveries: Gate::new(deliveries), others: Gate::new(others) }
    }
}

impl Pen {
    /// Whether what it writes is signed.
    pub fn signs(&self) -> bool {
        self.signers.is_some()
    }
}

impl Default for Signing {
    /// Without keys.
    fn default() -> Signing {
        Signing {
            signers: RefCell::default(),
            signed: Gates::new(DELIVERIES_AT_ONCE, OTHERS_AT_ONCE),
            unsigned: Gates::new(UNSIGNED_AT_ONCE, UNSIGNED_AT_ONCE),
        }
    }
}

impl Queue {
    /// Signs notices with these keys from now on.
    pub fn sign_with(&self, signers: Arc<Signers>) {
        self.core.signing.signers.replace(signers);
    }

    /// Waits for its turn.
    pub(super) async fn pen(&self, line: Line) -> Pen {
        let Signing { signers, signed, unsigned } = &self.core.signing;
        let signers = signers.borrow().of_domain(&self.config().hostname);
        let gates = if signers.is_some() { signed } else { unsigned };
        let gate = match line {
            Line::Deliveries => &gates.deliveries,
            Line::Others => &gates.others,
        };
        Pen { signers, _pass: gate.enter().await }
    }

    /// The notice with its signatures. Without them where there is no key, or where the cryptographic library fails: that it is
    /// told counts more.
    pub(super) async fn signed(&self, mut notice: Message, pen: &Pen) -> Message {
        let Some(signers) = pen.signers.clone() else { return notice };
        let (time, mut content) = (self.now(), std::mem::take(&mut notice.content));
        let work = move || {
            let result = sign_seven_bit(&signers, time, &mut content, SEVEN_BIT_BYTES_MAX);
            (content, result)
        };
        let (content, result) = self.core.reactor.blocking(work).await;
        match result {
            Ok(true) => notice.envelope.sender.body = Body::SevenBit,
            Ok(false) => {}
            Err(why) => self.core.log.emit(&Event::Trouble(&format!("the notice {} goes unsigned: {why}", notice.id))),
        }
        notice.envelope.sender.size = Some(content.len() as u64);
        notice.content = content;
        notice
    }
}
