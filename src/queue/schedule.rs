//! When a deferred recipient is tried again, and when it is too old. Pure.
