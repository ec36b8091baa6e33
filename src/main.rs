//! ringpost.
fn main() {}
