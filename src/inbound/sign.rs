//! Signing a message before it is stored: once, off the reactor, a bounded number at a time.
//!
//! An RSA signature takes a third of a millisecond of a core. The threads that make them also flush the journal, so
//! [`AT_ONCE`] of them at most sign; the next messages wait in line with their content, and when [`WAITING_MAX`] wait, further
//! ones are put off. So at most [`AT_ONCE`] contents are there twice, as they came and as seven bits.

use std::cell::Cell;

use shards::gate::Gate;
use shards::{Reactor, Timestamp};

use crate::authentication::{SigningError, Together, sign_seven_bit};

/// Messages that a shard signs at a time.
const AT_ONCE: usize = 2;
/// Messages that may be signed or wait for it.
pub(super) const WAITING_MAX: usize = 512;

/// The shard's way to signatures.
pub(super) struct Signing {
    gate: Gate,
    waiting: Cell<usize>,
}

/// A content with its signatures.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signed {
    /// It, whole.
    pub(super) content: Vec<u8>,
    /// There are no eight-bit octets in it, whatever there were before.
    pub(super) is_seven_bit: bool,
}

/// Why a message was not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsigned {
    /// Too many others wait.
    Busy,
    /// The cryptographic library failed.
    Failed,
}

impl Default for Signing {
    fn default() -> Signing {
        Signing { gate: Gate::new(AT_ONCE), waiting: Cell::new(0) }
    }
}

impl Signing {
    /// Puts a signature of each signer before the content, which is made seven-bit where that is to be done and takes at
    /// most `bytes_max`.
    pub(super) async fn sign(
        &self,
        reactor: &Reactor,
        signers: Together,
        mut content: Vec<u8>,
        time: Timestamp,
        bytes_max: usize,
    ) -> Result<Signed, Unsigned> {
        if self.waiting.get() >= WAITING_MAX {
            return Err(Unsigned::Busy);
        }
        let waiting = Waiting::new(&self.waiting);
        let pass = self.gate.enter().await;
        let work = move || {
            let is_seven_bit = sign_seven_bit(&signers, time, &mut content, bytes_max)?;
            Ok::<_, SigningError>(Signed { content, is_seven_bit })
        };
        let signed = reactor.blocking(work).await;
        drop((pass, waiting));
        signed.map_err(|SigningError| Unsigned::Failed)
    }
}

/// Counts itself among those that wait as long as it lives, also when its conversation is dropped.
struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn new(count: &'a Cell<usize>) -> Waiting<'a> {
        count.set(count.get() + 1);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
