//! SMTP smuggling: what some servers take for the end of the data, and we must neither obey nor pass on.

use super::*;

/// What some server somewhere has taken for the end of the data.
const SEQUENCES: [&[u8]; 16] = [
    b"\n.\n",
    b"\n.\r\n",
    b"\n.\r",
    b"\r.\r",
    b"\r.\n",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\r\0\n",
    b"\0\r\n.\n",
    b"\n\n.\r\r\n",
    b"\r\n\n.\r\n",
];

const SMUGGLED: &[u8] = b"MAIL FROM:<smuggled@x>\r\nRCPT TO:<victim@y>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n";

/// Reads `data` in the three parts that end at `i` and `j`.
fn read_in_parts(driver: &mut Driver, data: &[u8], i: usize, j: usize) {
    for part in [&data[..i], &data[i..j], &data[j..]] {
        if !part.is_empty() {
            driver.read(part);
        }
    }
}

fn assert_nothing_smuggled(driver: &mut Driver, what: &[u8]) {
    let what = String::from_utf8_lossy(what).into_owned();
    for (envelope, content) in &driver.seen.messages {
        assert_eq!(envelope.sender.path.to_string(), "a@x", "{what:?}");
        assert!(is_strict(content), "{what:?} passed on");
    }
}

/// Whether content has CRLF line ends only and no NUL.
pub(super) fn is_strict(content: &[u8]) -> bool {
    let lone = |i: usize| match content[i] {
        b'\n' => i == 0 || content[i - 1] != b'\r',
        b'\r' => content.get(i + 1) != Some(&b'\n'),
        byte => byte == 0,
    };
    !(0..content.len()).any(lone)
}

#[test]
fn no_sequence_ends_the_data_wherever_it_is_split() {
    for sequence in SEQUENCES {
        let data = [b"Subject: x\r\n\r\nx", sequence, SMUGGLED].concat();
        let around = 12..data.len() - SMUGGLED.len() + 4;
        for i in around.clone() {
            for j in i..around.end {
                let mut driver = Driver::new(settings(), false);
                driver.read(b"HELO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n");
                driver.take();
                read_in_parts(&mut driver, &data, i, j);
                let replies = driver.take();
                let refused = replies.starts_with("550 5.6.11 ") || replies.starts_with("554 5.6.0 ");
                let once = replies.matches("\r\n").count() == 1;
                assert!(refused && once, "{:?} at {i}, {j}: {replies}", String::from_utf8_lossy(sequence));
                assert!(driver.seen.messages.is_empty());
            }
        }
    }
}

#[test]
fn a_sequence_at_the_very_start_of_the_data() {
    for sequence in SEQUENCES {
        let mut driver = Driver::new(settings(), false);
        driver.read(b"HELO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n");
        driver.take();
        driver.read(&[sequence, SMUGGLED].concat());
        assert_nothing_smuggled(&mut driver, sequence);
        let replies = driver.take();
        assert!(replies.starts_with("550") || replies.starts_with("554"), "{sequence:?}: {replies}");
    }
}

#[test]
fn bdat_does_not_pass_them_on_wherever_it_is_cut() {
    for sequence in SEQUENCES {
        let data = [b"x\r\nx", sequence, b"y\r\n"].concat();
        for cut in 0..=data.len() {
            for split in 0..=data.len() {
                let mut driver = Driver::new(settings(), false);
                driver.read(b"HELO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n");
                let (first, last) = data.split_at(cut);
                let mut stream = format!("BDAT {}\r\n", first.len()).into_bytes();
                stream.extend_from_slice(first);
                stream.extend_from_slice(format!("BDAT {} LAST\r\n", last.len()).as_bytes());
                stream.extend_from_slice(last);
                read_in_parts(&mut driver, &stream, split, stream.len());
                assert!(driver.seen.messages.is_empty(), "{:?} cut at {cut}", String::from_utf8_lossy(sequence));
            }
        }
    }
}

#[test]
fn a_line_end_may_be_cut_by_a_chunk() {
    let mut driver = Driver::new(settings(), false);
    driver.read(b"HELO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nBDAT 2\r\na\rBDAT 2 LAST\r\n\nb");
    assert_eq!(driver.seen.messages[0].1, b"a\r\nb\r\n");
}

#[test]
fn no_command_is_smuggled_by_a_lone_line_end() {
    for line_end in [&b"\n"[..], b"\r", b"\r\r\n", b"\n\r", b"\r\0\n"] {
        let mut driver = Driver::new(settings(), false);
        driver.take();
        driver.read(&[b"EHLO c", line_end, b"NOOP\r\n"].concat());
        let replies = driver.take();
        assert!(replies.starts_with("500 5.5.2"), "{line_end:?}: {replies}");
        assert!(driver.seen.closed && replies.matches("\r\n").count() == 1, "{line_end:?}");
    }
}
