//! Commands: one line in, a typed command or the reply that teaches (RFC 5321 §4.1).
