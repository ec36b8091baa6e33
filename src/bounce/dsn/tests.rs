//! The parts of notices. Whole ones are tested in `tests/notices/`.

use super::*;

#[test]
fn the_remote_mta_is_a_name_or_a_bracketed_address() {
    for (remote, name) in [
        ("mx.example.org", "mx.example.org"),
        ("mx.example.org[192.0.2.1]:25", "mx.example.org"),
        ("mx.example.org [192.0.2.1]", "mx.example.org"),
        ("192.0.2.1[192.0.2.1]:2525", "[192.0.2.1]"),
        ("[2001:db8::1]:25", "[2001:db8::1]"),
    ] {
        assert_eq!(remote_name(remote), name, "{remote}");
    }
}
