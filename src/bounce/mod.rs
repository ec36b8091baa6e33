//! Bounces: what a reply means, and the notices that tell senders (RFC 3461, 3464). Pure.
