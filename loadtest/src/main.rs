//! ringload.
fn main() {}
