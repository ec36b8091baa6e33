//! clamd's INSTREAM (clamd(8)): content goes out in chunks, each after its length; an empty one ends it. Pure.

use std::iter::once;

use super::finding::{Failure, Finding, Refusal, words};

/// Octets of an answer.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024;
/// The command; `z` makes clamd end its answer with NUL.
const COMMAND: &[u8] = b"zINSTREAM\0";

/// What is sent to have `content` scanned, piece by piece.
pub(super) fn request(content: &[u8], piece_bytes: usize) -> impl Iterator<Item = Vec<u8>> {
    let end = 0_u32.to_be_bytes().to_vec();
    once(COMMAND.to_vec()).chain(content.chunks(piece_bytes).map(chunk)).chain(once(end))
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a piece is far smaller");
    [&length.to_be_bytes(), bytes].concat()
}

/// Whether nothing of an answer is missing.
pub fn is_whole(answer: &[u8]) -> bool {
    answer.ends_with(b"\0")
}

/// `stream: OK`, `stream: NAME FOUND`, `… ERROR`.
pub fn finding(answer: &[u8]) -> Result<Finding, Failure> {
    let unclear = || Failure::Answer(words(&String::from_utf8_lossy(answer)));
    let answer = answer.strip_suffix(b"\0").ok_or_else(unclear)?;
    let text = std::str::from_utf8(answer).map_err(|_| unclear())?;
    match text.strip_prefix("stream: ") {
        Some("OK") => Ok(Finding::Clean),
        Some(found) => match found.strip_suffix(" FOUND").map(words) {
            Some(name) if !name.is_empty() => {
                Ok(Finding::Refuse(Refusal::Malware(name.as_str().into()), name.replace(' ', "_")))
            }
            _ => Err(unclear()),
        },
        None => Err(unclear()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_goes_out_in_chunks_that_an_empty_one_ends() {
        let pieces: Vec<Vec<u8>> = request(b"abcde", 2).collect();
        let expected: [&[u8]; 5] = [b"zINSTREAM\0", b"\0\0\0\x02ab", b"\0\0\0\x02cd", b"\0\0\0\x01e", b"\0\0\0\0"];
        assert_eq!(pieces, expected);
        assert_eq!(request(b"", 2).count(), 2);
    }

    #[test]
    fn its_answers_are_understood() {
        assert_eq!(finding(b"stream: OK\0"), Ok(Finding::Clean));
        let eicar = Refusal::Malware("Eicar-Test-Signature".into());
        let found = Finding::Refuse(eicar, "Eicar-Test-Signature".into());
        assert_eq!(finding(b"stream: Eicar-Test-Signature FOUND\0"), Ok(found));
    }

    #[test]
    fn what_is_no_verdict_is_a_failure() {
        let too_large = finding(b"INSTREAM size limit exceeded. ERROR\0");
        assert_eq!(too_large, Err(Failure::Answer("INSTREAM size limit exceeded. ERROR".into())));
        for garbage in [
            &b""[..],
            b"\0",
            b"stream: OK",
            b"stream: \0",
            b"stream:  FOUND\0",
            b"stream: OK\0stream: OK\0",
            b"OK\0",
            b"UNKNOWN COMMAND\0",
            b"stream: \xff\xfe FOUND\0",
            b"220 mail.example.org ESMTP\r\n\0",
        ] {
            assert!(matches!(finding(garbage), Err(Failure::Answer(_))), "{garbage:?}");
        }
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..10_000 {
            let bytes: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(..)).collect();
            let _ = finding(&bytes);
        }
    }

    #[test]
    fn a_signature_cannot_forge_a_line() {
        let Ok(Finding::Refuse(Refusal::Malware(name), _)) = finding(b"stream: A\r\n250 OK FOUND\0") else {
            panic!("it was found")
        };
        assert_eq!(&*name, "A  250 OK");
    }
}
