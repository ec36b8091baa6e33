//! As much of HTTP (RFC 9112) as asking one question takes: the answer's status and body. Pure.
//!
//! Questions are asked in HTTP/1.0, so that no server answers in chunks.

use super::finding::{Failure, words};

/// An answer, or as much of it as came.
struct Response<'a> {
    status: &'a str,
    content_length: Option<usize>,
    chunked: bool,
    rest: &'a [u8],
}

/// Whether nothing of an answer is missing. One without a length ends with the connection.
pub fn is_whole(answer: &[u8]) -> bool {
    parse(answer).is_some_and(|response| response.content_length.is_some_and(|length| response.rest.len() >= length))
}

/// The body of an answer that says 200.
pub(super) fn body(answer: &[u8]) -> Result<&[u8], Failure> {
    let wrong = |what: &str| Failure::Answer(what.to_owned());
    let response = parse(answer).ok_or_else(|| wrong("not HTTP"))?;
    let body = match response.content_length {
        Some(length) => response.rest.get(..length).ok_or_else(|| wrong("it is cut"))?,
        None if response.chunked => return Err(wrong("it comes in chunks")),
        None => response.rest,
    };
    if response.status.split(' ').next() != Some("200") {
        let said = String::from_utf8_lossy(body);
        return Err(Failure::Answer(words(&format!("{} {said}", response.status))));
    }
    Ok(body)
}

/// `None`: its head is not whole, or it is no HTTP.
fn parse(answer: &[u8]) -> Option<Response<'_>> {
    let end = memchr::memmem::find(answer, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let (status, fields) = head.split_once("\r\n").unwrap_or((head, ""));
    let (version, status) = status.split_once(' ')?;
    if !version.starts_with("HTTP/1.") {
        return None;
    }
    let field = |wanted: &str| {
        let mut fields = fields.split("\r\n").filter_map(|line| line.split_once(':'));
        fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    };
    let content_length = match field("content-length") {
        Some(length) => Some(length.parse().ok()?),
        None => None,
    };
    Some(Response { status, content_length, chunked: field("transfer-encoding").is_some(), rest: &answer[end + 4..] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_ends_by_its_length_or_with_the_connection() {
        let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-LENGTH: 3\r\n\r\nabc";
        for end in 0..answer.len() {
            assert!(!is_whole(&answer[..end]), "{end}");
            assert!(body(&answer[..end]).is_err(), "{end}");
        }
        assert!(is_whole(answer));
        assert_eq!(body(answer), Ok(&b"abc"[..]));
        let open = b"HTTP/1.0 200\r\n\r\nabc";
        assert!(!is_whole(open));
        assert_eq!(body(open), Ok(&b"abc"[..]));
    }

    #[test]
    fn what_is_no_good_answer_is_a_failure() {
        let denied = body(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno\r\n");
        assert_eq!(denied, Err(Failure::Answer("403 Forbidden no".into())));
        for garbage in [
            &b""[..],
            b"\r\n\r\n",
            b"HTTP/1.1\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 \xff\r\n\r\n",
        ] {
            assert!(body(garbage).is_err(), "{garbage:?}");
        }
    }
}
