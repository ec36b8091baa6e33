//! Recipients to whom nothing is to be sent, before an attempt.

use shards::Timestamp;

use super::outcome::of_suppressed;
use crate::queue::outcome::Outcome;
use crate::queue::{Lease, Queue, Submitter};
use crate::suppression::{Gate, Whose};

/// Takes those recipients out of a lease that were suppressed since they were accepted, or are only to be reported.
pub(super) fn take_suppressed(lease: &mut Lease, queue: &Queue, gate: &Gate, now: Timestamp) -> Vec<(u16, Outcome)> {
    let Some(submitter) = queue.submitter(lease.message) else { return Vec::new() };
    let whose = match &submitter {
        Submitter::Account(name) => Whose::Account(name),
        Submitter::Relay => Whose::Relay,
        Submitter::Ourselves => Whose::Notice,
    };
    let mut suppressed = Vec::new();
    lease.recipients.retain(|(index, recipient)| match gate.failure(whose, &recipient.path, now) {
        Some(why) => {
            suppressed.push((*index, of_suppressed(why)));
            false
        }
        None => true,
    });
    suppressed
}
