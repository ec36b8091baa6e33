//! Messages (RFC 5322): what is scanned of a content, and the fields that we add. Pure.
