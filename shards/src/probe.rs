//! The start-up probe: what this host lacks for the ring, said plainly, with the remedy.

/// Something that is missing, or close to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether starting makes no sense.
    pub fatal: bool,
    /// What is wrong: one sentence with the measured value.
    pub problem: String,
    /// What to do: one sentence, with the command or the setting.
    pub remedy: String,
}

/// Looks for io_uring (blocked by seccomp or `kernel.io_uring_disabled`), locked memory (at least 512 KiB a shard) and
/// open files (at least `connections` + 256).
pub fn probe(_shards: usize, _connections: usize) -> Vec<Finding> {
    todo!()
}
