//! One core's MTA: what it owns, its turn, and the only `match` on `Crossing`.
