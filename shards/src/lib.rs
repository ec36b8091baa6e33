//! The machine under a shard-per-core server: cores, sockets, disks and time. It knows nothing of mail.
//!
//! A function that takes a [`Reactor`] acts on the world; a function that does not is pure. The world has two
//! backends: `ring` (io_uring, through glommio and a network ring of our own) and, with the feature `sim`, a seeded
//! single-threaded simulation. Code above this crate runs unchanged on both.

pub mod buffer;
pub mod file;
pub mod gate;
pub mod index;
pub mod journal;
pub mod launch;
pub mod memory;
pub mod mesh;
pub mod net;
pub mod passed;
pub mod probe;
pub mod reactor;
mod ring;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(any(test, feature = "sim"))]
pub mod small_disk;
pub mod terminal;
pub mod time;
pub mod tls;

pub use reactor::{Reactor, Task};
pub use time::{Instant, Timestamp};
