//! Content and envelopes on disk: the records of the shard's journal.
