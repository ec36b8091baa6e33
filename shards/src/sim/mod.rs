//! The simulated backend: a seeded scheduler, virtual time, network and disk.

/// One simulated shard's place in its simulation.
#[derive(Clone)]
pub struct Handle(());

pub(crate) mod disk;
