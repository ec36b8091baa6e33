//! The signatures of our own notices, by the `[[dkim]]` key of our name's domain where there is one.
//!
//! A notice is signed off the reactor, before the frame that holds it is appended: what it tells of is judged anew then, and
//! where that is something else, so is the notice. A crash in between leaves everything as it was.
//! Limits: [`AT_ONCE`] notices are signed at a time; as many wait as settlements and rounds of the housekeeping run.

use std::cell::RefCell;
use std::sync::Arc;

use shards::gate::Gate;

use super::Queue;
use crate::authentication::{Signers, sign_seven_bit};
use crate::bounce::RETURNED_BYTES_MAX;
use crate::events::Event;
use crate::smtp::envelope::Body;
use crate::spool::Message;

/// Notices that a shard signs at a time: its threads also flush the journal and sign what is submitted.
const AT_ONCE: usize = 1;

/// A notice that is larger as seven bits stays as it is.
const SEVEN_BIT_BYTES_MAX: usize = 2 * RETURNED_BYTES_MAX;

/// The keys, and the way to them.
pub(super) struct Signing {
    signers: RefCell<Arc<Signers>>,
    gate: Gate,
}

impl Default for Signing {
    /// Without keys.
    fn default() -> Signing {
        Signing { signers: RefCell::default(), gate: Gate::new(AT_ONCE) }
    }
}

impl Queue {
    /// Signs notices with these keys from now on.
    pub fn sign_with(&self, signers: Arc<Signers>) {
        self.core.signing.signers.replace(signers);
    }

    /// Whether a key signs for whom a notice is from.
    pub(super) fn signs(&self, notice: &Message) -> bool {
        self.core.signing.signers.borrow().of(&notice.content).is_some()
    }

    /// The notice with its signatures. Without them where the cryptographic library fails: that it is told counts more.
    pub(super) async fn signed(&self, mut notice: Message) -> Message {
        let Some(signers) = self.core.signing.signers.borrow().of(&notice.content) else { return notice };
        let (time, mut content) = (self.now(), std::mem::take(&mut notice.content));
        let _pass = self.core.signing.gate.enter().await;
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
