//! DKIM: what is signed of a message that anybody may have formed.

use std::sync::LazyLock;

use ringpost::authentication::canonical;
use ringpost::authentication::key::{Algorithm, Key};
use ringpost::authentication::signature::{Signer, sign};
use ringpost::message::scan::scan;
use shards::Timestamp;

static SIGNERS: LazyLock<[Signer; 1]> = LazyLock::new(|| {
    let (_, key) = Key::generate(Algorithm::Ed25519).expect("a key");
    [Signer::new("a.test", "s1", key)]
});

/// The relaxed form is that of a second, slow implementation, and has no relaxed form but itself; a signature goes before a
/// message, which it leaves as it was.
pub fn canonical(data: &[u8]) {
    let data = &super::strict(data)[..];
    let body = relaxed(data);
    assert_eq!(body, by_the_book(data), "not what RFC 6376 §3.4.4 says");
    assert_eq!(relaxed(&body), body);
    let mut field = Vec::new();
    canonical::field(data, &mut field);
    let mut again = Vec::new();
    canonical::field(&field, &mut again);
    assert_eq!(again, field);
    check_signature(data);
}

fn relaxed(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    canonical::body(data, |piece| out.extend_from_slice(piece));
    out
}

/// RFC 6376 §3.4.4, sentence by sentence. A line ends by CRLF.
fn by_the_book(data: &[u8]) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|window| window == b"\r\n");
        let (line, behind) = end.map_or((rest, &b""[..]), |end| (&rest[..end], &rest[end + 2..]));
        let mut out: Vec<u8> = Vec::new();
        for byte in line {
            match byte {
                b' ' | b'\t' if out.last() == Some(&b' ') => {}
                b' ' | b'\t' => out.push(b' '),
                byte => out.push(*byte),
            }
        }
        if out.last() == Some(&b' ') {
            out.pop();
        }
        lines.push(out);
        rest = behind;
    }
    while lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    lines.into_iter().flat_map(|line| [line, b"\r\n".to_vec()].concat()).collect()
}

fn check_signature(data: &[u8]) {
    // What is signed begins with our own trace.
    let data = &[b"Received: from x\r\n", data].concat()[..];
    let mut signed = data.to_vec();
    sign(&*SIGNERS, Timestamp::from_millis(1_800_000_000_000), &mut signed).expect("a signature");
    let field = signed.strip_suffix(data).expect("the message is as it was");
    assert!(field.starts_with(b"DKIM-Signature: v=1;") && field.len() < 8192, "{}", field.escape_ascii());
    assert_eq!(scan(&signed).from_fields, scan(data).from_fields, "the signature made a field");
}
