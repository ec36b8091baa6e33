//! The control plane: one Tokio thread for what people and other systems talk to.

pub mod resolver;
