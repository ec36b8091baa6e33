//! Events: one record per thing that happens to a message, a peer or the server, and the log that shows them.
//!
//! Owns: the list of events ([`Event`], which is also the reference of the log), their form as one logfmt line each, what
//! is too much of a kind ([`flood`]), a shard's buffer of lines. Never: writing to a descriptor (`control::log` does,
//! so that a blocked stderr blocks no shard), counting (metrics are counters of their own).
//!
//! Limits: a value is cut at [`line::VALUE_BYTES_MAX`]; a shard holds at most [`log::BUFFER_BYTES_MAX`] and hands over at
//! most [`log::HANDOVERS_MAX`] buffers that were not written yet. What does not fit is counted, and the count is the next
//! line that fits: a flood of events costs neither memory nor time on the mail's way. Of events that others can cause in
//! any number a shard writes [`flood::LINES_MAX`] of a kind in a [`flood::WINDOW`] and then counts; what becomes of an
//! accepted message is always told.

pub mod event;
mod fields;
pub mod flood;
pub mod line;
pub mod log;

#[cfg(test)]
mod tests;

pub use event::{Event, Level};
pub use log::{Log, Style};
