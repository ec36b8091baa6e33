//! The real backend: io_uring. glommio keeps tasks, timers, files and blocking work; sockets have a ring of their own.

/// One shard's executor.
#[derive(Clone)]
pub struct Handle(());
