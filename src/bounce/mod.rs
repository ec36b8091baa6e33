//! Bounces: what the replies of other servers mean ([`classify()`]), what they report later ([`report`]) to a reverse-path
//! of ours ([`return_path`]), and the notices that tell senders what became of their messages (RFC 3461, 3464, 6522, 6533).
//! Pure.
//!
//! Owns: the rules of [`mod@classify`]; a notice's three parts ([`dsn`]: for people, for programs, and the original),
//! and what a status code means to someone who does not know SMTP ([`explain`]).
//! Never: decides whether a notice is wanted, or when (the queue knows NOTIFY and the states); reads a clock; sends.
//!
//! A notice goes from the null reverse-path, so it can never cause another. Everything that a peer or a sender has
//! written is cleaned before it becomes part of a header: no line of a notice begins where they want it to.
//!
//! Limits: those of [`dsn`]: how many recipients the text lists, how much of the original goes back.

pub mod classify;
pub mod dsn;
pub mod explain;
mod field;
mod original;
pub mod report;
pub mod return_path;

pub use classify::classify;
pub use dsn::{Action, Notice, Report, compose};
pub use field::decode_xtext;
pub use original::{RETURNED_BYTES_MAX, RETURNED_HEADER_BYTES_MAX};
