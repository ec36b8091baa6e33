//! Fuzzing: every parser that a stranger feeds is fed with anything, and must keep its promises.
//!
//! Owns: the [`TARGETS`], each a function of bytes that panics when a promise is broken; how inputs are mutated
//! ([`mutate`]); the inputs that are kept, small and each with something of its own, in `corpus/TARGET`.
//! Promises: no panic, no overflow; cut into pieces the same bytes come to the same; what is written is read back as it was;
//! what comes out is bounded by what went in.
//!
//! * `cargo run --release --bin fuzz` runs each target for a few seconds from a seed that it prints: `.ci/run` does it.
//! * `cargo test --workspace` replays all that is kept (`tests/corpus.rs`), with overflow checks.
//! * `fuzz/guided TARGET SECONDS` searches for hours, guided by coverage, and keeps what reaches new code.

pub mod corpus;
pub mod mutate;
mod target;

pub use target::TARGETS;

/// A parser, and what it promises.
#[derive(Clone, Copy)]
pub struct Target {
    /// The name of its folder in `corpus`.
    pub name: &'static str,
    /// Feeds it; panics when a promise is broken.
    pub run: fn(&[u8]),
    /// Words of its language, which chance would not find.
    pub words: &'static [&'static str],
}

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
