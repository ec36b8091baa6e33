//! Messages (RFC 5322): what is scanned of a content, and the fields that we add. Pure.
//!
//! Owns: the split of a header into fields, the facts that policy and the trace need, whose a message is and what it
//! asks of TLS (RFC 8689), the fields of RFC 5321 §4.4 and
//! RFC 6409 §8, the parts of a body, the message as seven bits (RFC 6152 §3). Never: decisions (`policy`), storage (`spool`).
//! Content comes from `smtp::server`, so every line ends in CRLF and there is no bare CR or LF.
//!
//! Limits: a header of more than [`scan::HEADER_BYTES_MAX`] bytes is reported as too large, never read on.

pub mod date;
mod demand;
mod mime;
mod origin;
pub mod scan;
mod seven_bit;
pub mod trace;

pub use demand::Demand;
pub use mime::has_international_header;
pub use origin::Origin;
pub use scan::{Facts, scan};
pub use seven_bit::{seven_bit, seven_bit_to_be_signed};
pub use trace::Trace;
