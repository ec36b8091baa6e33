//! Whole sessions: how the bytes are split over reads must not matter.

use super::*;

const SESSIONS: [&[u8]; 6] = [
    b"EHLO c\r\nMAIL FROM:<a@x> SIZE=100\r\nRCPT TO:<b@y>\r\nRCPT TO:<unknown@y>\r\nDATA\r\nSubject: x\r\n\r\n..\r\n.a\r\n.\r\n\
      MAIL FROM:<>\r\nRCPT TO:<b@y>\r\nDATA\r\n.\r\nQUIT\r\n",
    b"EHLO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nBDAT 7\r\nhello\r\nBDAT 0\r\nBDAT 4 LAST\r\n.\r\n.RSET\r\nNOOP\r\nHELP\r\nVRFY x\r\n\
      MAIL FROM:<full@x>\r\nRCPT TO:<b@y>\r\nBDAT 6\r\nQUIT\r\nBDAT 3 LAST\r\nxyzRSET\r\nQUIT\r\n",
    b"HELO c\r\nMAIL FROM:<unknown@x>\r\nRCPT TO:<b@y>\r\nMAIL FROM:<a@x>\r\nRCPT TO:<1@y>\r\nRCPT TO:<2@y>\r\nRCPT TO:<3@y>\r\n\
      RCPT TO:<4@y>\r\nDATA\r\na\nb\r\n.\r\nMAIL FROM:<a@x>\r\nRCPT TO:<banned@y>\r\nNOOP\r\n",
    b"EHLO\r\nEHLO c\r\nXYZZY\r\nNOOP\0\r\nMAIL FROM:<a>\r\nMAIL FROM:<a@x> FOO=1\r\nNOOP\r\n",
    b"EHLO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\nX-Refuse: x\r\n.\r\nNOOP\nQUIT\r\n",
    b"NOOP\r\nGET / HTTP/1.1\r\nHELO c\r\n",
];

fn play(session: &[u8], sizes: impl Iterator<Item = usize>) -> Seen {
    let mut driver = Driver::new(settings(), false);
    let mut rest = session;
    for size in sizes {
        let (read, behind) = rest.split_at(size.min(rest.len()));
        driver.read(read);
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    driver.read(b"");
    assert!(driver.seen.closed);
    driver.seen
}

#[test]
fn one_read_or_a_byte_each_come_to_the_same() {
    for session in SESSIONS {
        let at_once = play(session, std::iter::repeat(session.len()));
        assert!(at_once.output.starts_with("220 "));
        assert_eq!(play(session, std::iter::repeat(1)), at_once);
        for size in [2, 3, 5, 7, 16, 61] {
            assert_eq!(play(session, std::iter::repeat(size)), at_once);
        }
        for split in 1..session.len() {
            assert_eq!(play(session, [split, session.len()].into_iter()), at_once, "split at {split}");
        }
    }
}

#[test]
fn the_first_thing_that_is_wrong_with_content_is_told_however_it_comes() {
    let begin = b"EHLO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n";
    let long = [b'x'; 1200];
    let contents: [(&[&[u8]], &str); 4] = [
        (&[b"a\nb\0c"], "550 5.6.11 "),
        (&[b"a\0b\nc"], "554 5.6.0 "),
        (&[&long, b"\0\n"], "552 5.3.4 "),
        (&[b"\n", &long], "550 5.6.11 "),
    ];
    for (content, expected) in contents {
        let session = [begin, &content.concat()[..], b"\r\n.\r\nQUIT\r\n"].concat();
        let at_once = play(&session, std::iter::repeat(session.len()));
        assert!(at_once.output.contains(expected), "{expected}: {}", at_once.output);
        for size in [1, 7, 100] {
            assert_eq!(play(&session, std::iter::repeat(size)), at_once);
        }
    }
}

#[test]
fn a_long_line_is_refused_alike_however_it_comes() {
    let session =
        [&b"NOOP "[..], &[b'x'; 2000], b"\r\nNOOP\r\n", &[b'y'; 511], b"\r\nNOOP ", &[b'z'; 505], b"\r\n"].concat();
    let at_once = play(&session, std::iter::repeat(session.len()));
    assert_eq!(at_once.output.matches("500 5.5.2").count(), 2);
    assert_eq!(at_once.output.matches("250 2.0.0").count(), 2);
    for size in [1, 2, 3, 511, 512, 513] {
        assert_eq!(play(&session, std::iter::repeat(size)), at_once);
    }
}

#[test]
fn replies_to_one_read_go_out_together_but_bounded() {
    let mut session = Session::new(Arc::new(settings()), false);
    assert!(matches!(session.next(), Step::Send));
    session.output().clear();
    session.receive(&b"HELP\r\n".repeat(2_700));
    let mut sends = 0;
    while let Step::Send = session.next() {
        assert!(session.output().len() < OUTPUT_BYTES_MAX + 1024);
        session.output().clear();
        sends += 1;
    }
    assert!(sends > 1);
}
