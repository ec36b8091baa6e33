//! SMTP (RFC 5321), pure: bytes in, bytes and questions out. No socket, no clock, no policy.
//!
//! There is one server session ([`server`]) and one client session ([`client`]); Ringpost, `ringload` and the tests all
//! drive these two. A driver's loop is: `next()`; on `Send` write out `output()`; on `Read` wait for bytes that long
//! and hand them to `receive()`; on a question answer it.

pub mod client;
pub mod command;
pub mod envelope;
pub mod extension;
pub mod path;
pub mod remote;
pub mod reply;
pub mod sasl;
pub mod server;
