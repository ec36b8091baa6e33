//! What was received, counted per shard and added up at the end.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use hdrhistogram::Histogram;
use ringpost::smtp::envelope::Envelope;
use shards::Instant;

use crate::message::{Mark, Received};

/// The longest delivery that is told from longer ones: five days.
const DELIVERY_MS_MAX: u64 = 5 * 24 * 3_600_000;

/// A hash of numbers that nobody chooses in order to collide: one multiplication for each (Fibonacci hashing), of which
/// the table takes the high bits and the low ones.
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        self.0 = (self.0.rotate_left(32) ^ number).wrapping_mul(GOLDEN);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

/// Counts of one shard, or of all.
pub(super) struct Counts {
    pub(super) connections: u64,
    pub(super) messages: u64,
    pub(super) recipients: u64,
    pub(super) bytes: u64,
    pub(super) unmarked: u64,
    pub(super) damaged: u64,
    /// Receptions of marked messages, one per recipient.
    pub(super) receptions: u64,
    /// Each id with the checksum of a recipient, once.
    seen: HashSet<(u64, u32), BuildHasherDefault<Mixer>>,
    /// From the first message to the last.
    pub(super) span: Option<(Instant, Instant)>,
    /// How often each fault happened, in the script's order.
    pub(super) faults: Vec<u64>,
    /// Milliseconds from when a message was due at its generator to its reception here, on one machine's clock.
    pub(super) delivery_ms: Histogram<u64>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            connections: 0,
            messages: 0,
            recipients: 0,
            bytes: 0,
            unmarked: 0,
            damaged: 0,
            receptions: 0,
            seen: HashSet::default(),
            span: None,
            faults: Vec::new(),
            delivery_ms: Histogram::new_with_max(DELIVERY_MS_MAX, 3).expect("bounds that a histogram can have"),
        }
    }
}

impl Counts {
    /// Counts one received message; `wall_us` is `now` on the wall clock.
    pub(super) fn count(&mut self, envelope: &Envelope, bytes: usize, received: Received, now: Instant, wall_us: u64) {
        self.messages += 1;
        self.recipients += envelope.recipients.len() as u64;
        self.bytes += bytes as u64;
        match received {
            Received::Unmarked => self.unmarked += 1,
            Received::Whole(mark) => self.see(mark, envelope, wall_us),
            Received::Damaged(mark) => {
                self.damaged += 1;
                self.see(mark, envelope, wall_us);
            }
        }
        self.span = Some((self.span.map_or(now, |(first, _)| first), now));
    }

    fn see(&mut self, mark: Mark, envelope: &Envelope, wall_us: u64) {
        self.delivery_ms.saturating_record(wall_us.saturating_sub(mark.due_us) / 1000);
        for recipient in &envelope.recipients {
            self.receptions += 1;
            self.seen.insert((mark.id.to_bits(), crc32fast::hash(recipient.path.as_str().as_bytes())));
        }
    }

    /// Receptions beyond the first of each id for each recipient.
    pub(super) fn duplicates(&self) -> u64 {
        self.receptions - self.seen.len() as u64
    }

    /// Adds another shard's.
    pub(super) fn add(&mut self, other: Counts) {
        self.connections += other.connections;
        self.messages += other.messages;
        self.recipients += other.recipients;
        self.bytes += other.bytes;
        self.unmarked += other.unmarked;
        self.damaged += other.damaged;
        self.receptions += other.receptions;
        self.seen.extend(other.seen);
        self.span = match (self.span, other.span) {
            (Some((first, last)), Some((theirs, end))) => Some((first.min(theirs), last.max(end))),
            (mine, theirs) => mine.or(theirs),
        };
        self.delivery_ms.add(&other.delivery_ms).expect("both have the same bounds");
        self.faults.resize(self.faults.len().max(other.faults.len()), 0);
        self.faults.iter_mut().zip(other.faults).for_each(|(mine, theirs)| *mine += theirs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Id;
    use ringpost::smtp::envelope::{Body, Notify, Recipient, Sender};
    use ringpost::smtp::path::{Mailbox, ReversePath};

    fn envelope(recipients: &[&str]) -> Envelope {
        let sender = Sender {
            path: ReversePath::Null,
            body: Body::SevenBit,
            smtputf8: false,
            size: None,
            ret: None,
            envid: None,
            requiretls: false,
        };
        let recipient = |address: &&str| Recipient {
            path: Mailbox::parse(address, false).expect("a good mailbox"),
            notify: Notify::default(),
            orcpt: None,
        };
        Envelope { sender, recipients: recipients.iter().map(recipient).collect() }
    }

    #[test]
    fn only_a_second_reception_by_one_recipient_is_a_duplicate() {
        let (id, now) = (Id::new(1, 0, 0), Instant::from_nanos(1));
        let mark = |id| Mark { id, due_us: 1_000_000 };
        let (mut here, mut there) = (Counts::default(), Counts::default());
        here.count(&envelope(&["a@b.test", "c@d.test"]), 10, Received::Whole(mark(id)), now, 1_500_000);
        here.count(&envelope(&["e@f.test"]), 10, Received::Whole(mark(id)), now, 1_500_000);
        here.count(&envelope(&["a@b.test"]), 10, Received::Whole(mark(Id::new(1, 0, 1))), now, 1_500_000);
        assert_eq!(here.duplicates(), 0, "a message split by destination, and another message");
        there.count(&envelope(&["c@d.test"]), 10, Received::Damaged(mark(id)), now, 1_500_000);
        there.count(&envelope(&["c@d.test"]), 10, Received::Unmarked, now, 1_500_000);
        assert_eq!(there.duplicates(), 0, "the first on this shard");
        here.add(there);
        assert_eq!((here.duplicates(), here.damaged, here.unmarked), (1, 1, 1));
        assert_eq!((here.messages, here.recipients, here.bytes), (5, 6, 50));
        assert_eq!((here.delivery_ms.len(), here.delivery_ms.max()), (4, 500));
    }
}
