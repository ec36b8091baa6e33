//! Every type that crosses cores. If it is not here, it does not cross.

use std::sync::Arc;
use std::time::Duration;

use crate::assurance::Trust;
use crate::authentication::Signers;
use crate::bounce::return_path::ReturnPath;
use crate::config::Config;
pub use crate::inbound::Quotas;
use crate::outbound::{Done, Task};
use crate::queue::orders::{Order, Report};
use crate::queue::returned::Taken;
use crate::spool::record::Return;
use crate::suppression::Lists;

/// What one shard, or the control thread, says to a shard. At most 64 bytes; owned; no locks, no callbacks.
pub enum Crossing {
    /// Owner → home: deliver this; where an operator insists, also on a path that is left alone.
    Attempt(Box<Task>),
    /// Home → owner: how it went; where the path is left alone, for how long and why.
    Outcome(Box<Done>),
    /// Control → shard: an operator's order, answered through the channel.
    Order(Box<Order>, futures::channel::oneshot::Sender<Report>),
    /// Any shard → owner: record what came back about a message; answered under the number.
    Return(Box<Return>, u64),
    /// Owner → the shard that sent it: what became of the report of that number.
    Returned(u64, Taken),
    /// Control → shard: use this configuration, this certificate, these keys, authorities and counters from now on.
    Reload(Box<Reload>),
    /// Control → shard: these recipients are suppressed from now on; answered once they are.
    Suppress(Arc<Lists>, futures::channel::oneshot::Sender<()>),
    /// Control → shard: stop accepting, end what runs within this time, flush, return.
    Drain(Duration),
}

/// What a shard works by from now on.
#[derive(Clone)]
pub struct Reload {
    /// The configuration.
    pub config: Arc<Config>,
    /// The certificate.
    pub certificate: Option<Arc<Certificate>>,
    /// The keys that sign.
    pub signers: Arc<Signers>,
    /// Whom next hops' certificates are trusted by.
    pub trust: Arc<Trust>,
    /// What makes and checks our reverse-paths.
    pub return_path: Option<Arc<ReturnPath>>,
    /// What accounts have used.
    pub quotas: Arc<Quotas>,
}

/// The server's certificate and key, as read and checked by the control thread; every shard makes its own TLS
/// configuration of it, so that nothing of a handshake is shared.
pub struct Certificate {
    /// The chain, PEM, leaf first.
    pub chain_pem: Vec<u8>,
    /// The private key, PEM. Never logged.
    pub key_pem: Vec<u8>,
}

const _: () = assert!(std::mem::size_of::<Crossing>() <= 64);
