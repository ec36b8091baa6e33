//! Ringpost: an outbound mail transfer agent, a thread per core on io_uring.
//!
//! The modules, in the order in which a message meets them. Which may use which is written in ARCHITECTURE.md and
//! checked by `tests/tidy.rs`.

pub mod assurance;
pub mod authentication;
pub mod bounce;
pub mod config;
pub mod control;
pub mod crossing;
pub mod dns;
pub mod events;
pub mod inbound;
pub mod message;
pub mod outbound;
pub mod policy;
pub mod preflight;
pub mod queue;
pub mod route;
pub mod screening;
pub mod shard;
pub mod smtp;
pub mod spool;
pub mod suppression;
