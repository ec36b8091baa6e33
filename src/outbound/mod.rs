//! Outbound: delivers. Owner side: `dispatch` takes due recipients from the queue, resolves and hands them to the home
//! of their egress path. Home side: `pool` owns the path's connections and limits, `converse` drives `smtp::client`.

use std::sync::Arc;
use std::time::Duration;

use crate::queue::MessageId;
use crate::queue::outcome::Outcome;
use crate::route::Site;
use crate::smtp::envelope::{Recipient, Sender};

/// Deliver these recipients of one message to one site.
pub struct Task {
    /// The owner's number for this lease.
    pub lease: u64,
    /// The message.
    pub message: MessageId,
    /// Where to.
    pub site: Arc<Site>,
    /// MAIL.
    pub sender: Sender,
    /// RCPTs, with their index in the message.
    pub recipients: Vec<(u16, Recipient)>,
    /// The content.
    pub content: Arc<Vec<u8>>,
}

/// How a [`Task`] went.
pub struct Done {
    /// The owner's number for the lease.
    pub lease: u64,
    /// One outcome per recipient, by index.
    pub outcomes: Vec<(u16, Outcome)>,
    /// The path is in trouble (no host took a connection): send nothing for this long.
    pub park: Option<Duration>,
}
