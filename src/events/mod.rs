//! One record per event of a message's life, and the log that shows it.
