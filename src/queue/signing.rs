//! The signatures of our own notices, by the `[[dkim]]` key of our name's domain where there is one.
//!
//! A notice is signed off the reactor, before the frame that holds it is appended: what it tells of is judged anew then, and
//! where that is something else, so is the notice. A crash in between leaves everything as it was.
//! Limits: [`DELIVERIES_AT_ONCE`] and [`OTHERS_AT_ONCE`] notices are composed and signed at a time; as many wait as
//! settlements and rounds of the housekeeping run, and hold no content meanwhile.

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

/// A notice that is larger as seven bits stays as it is.
const SEVEN_BIT_BYTES_MAX: usize = 2 * RETURNED_BYTES_MAX;

/// The keys, and the way to them.
pub(super) struct Signing {
    signers: RefCell<Arc<Signers>>,
    deliveries: Gate,
    others: Gate,
}

/// Where a notice waits for its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A next hop has the message, and until that is on disk a crash sends it once more: the least possible wait.
    Deliveries,
    /// All else, of which there may be any number.
    Others,
}

/// The right to sign, and with what.
pub(super) struct Pen {
    signers: Together,
    _pass: Pass,
}

impl Default for Signing {
    /// Without keys.
    fn default() -> Signing {
        let (deliveries, others) = (Gate::new(DELIVERIES_AT_ONCE), Gate::new(OTHERS_AT_ONCE));
        Signing { signers: RefCell::default(), deliveries, others }
    }
}

impl Queue {
    /// Signs notices with these keys from now on.
    pub fn sign_with(&self, signers: Arc<Signers>) {
        self.core.signing.signers.replace(signers);
    }

    /// Waits for its turn to sign; `None`, at once, where notices are not signed.
    pub(super) async fn pen(&self, line: Line) -> Option<Pen> {
        let Signing { signers, deliveries, others } = &self.core.signing;
        let signers = signers.borrow().of_domain(&self.config().hostname)?;
        let gate = match line {
            Line::Deliveries => deliveries,
            Line::Others => others,
        };
        Some(Pen { signers, _pass: gate.enter().await })
    }

    /// The notice with its signatures. Without them where the cryptographic library fails: that it is told counts more.
    pub(super) async fn signed(&self, mut notice: Message, pen: &Pen) -> Message {
        let (signers, time, mut content) = (pen.signers.clone(), self.now(), std::mem::take(&mut notice.content));
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
