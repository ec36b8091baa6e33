//! Whatever comes, a session does not panic, does not grow, and passes on nothing that is not strict.

use super::smuggling::is_strict;
use super::*;

const WORDS: [&[u8]; 34] = [
    b"EHLO c\r\n",
    b"HELO c\r\n",
    b"MAIL FROM:<a@x>\r\n",
    b"MAIL FROM:<full@x> SIZE=900\r\n",
    b"RCPT TO:<b@y>\r\n",
    b"RCPT TO:<unknown@y>\r\n",
    b"DATA\r\n",
    b"BDAT 10\r\n",
    b"BDAT 3 LAST\r\n",
    b"BDAT 0 LAST\r\n",
    b"BDAT 5000 LAST\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"QUIT\r\n",
    b"AUTH PLAIN\r\n",
    b"AUTH LOGIN\r\n",
    b"*\r\n",
    b"STARTTLS\r\n",
    b"AHUAcA==\r\n",
    b".\r\n",
    b"\r\n",
    b"\r",
    b"\n",
    b".",
    b"\0",
    b"Subject: x\r\n",
    b"..\r\n",
    b"\xff\xfe",
    b"<\"",
    b"VRFY x\r\n",
    b"HELP\r\n",
    b"MAIL FROM:<\xc3\xbc@x> SMTPUTF8\r\n",
    b"EXPN\r\n",
    b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

fn garbage(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = b"EHLO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n".repeat(random.usize(0..2));
    for _ in 0..random.usize(1..60) {
        match random.u8(0..12) {
            0 => bytes.extend((0..random.usize(0..200)).map(|_| random.u8(..))),
            1 => bytes.extend(std::iter::repeat_n(b'x', random.usize(0..3000))),
            _ => bytes.extend_from_slice(WORDS[random.usize(0..WORDS.len())]),
        }
    }
    bytes
}

#[test]
fn random_input_never_panics_grows_or_passes_anything_loose() {
    let mut accepted = 0;
    for seed in 0..6_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let settings = Settings { errors_max: 50, ..if random.bool() { settings() } else { submission() } };
        let mut driver = Driver::new(settings, random.bool());
        let input = garbage(&mut random);
        let mut rest = &input[..];
        while !rest.is_empty() && !driver.seen.closed {
            let (read, behind) = rest.split_at(random.usize(1..=rest.len().min(700)));
            driver.read(read);
            rest = behind;
            if std::mem::take(&mut driver.seen.wants_tls) {
                driver.session.tls_started();
                driver.run();
            }
            assert_bounded(&mut driver, seed);
        }
        for (envelope, content) in &driver.seen.messages {
            assert!(is_strict(content) && (content.is_empty() || content.ends_with(b"\r\n")), "seed {seed}");
            assert!(content.len() <= 1002 && !envelope.recipients.is_empty(), "seed {seed}");
            accepted += 1;
        }
        assert_replies_are_whole(&driver.seen.output, seed);
    }
    assert!(accepted > 100, "the garbage is too wild to be a test: {accepted} messages");
}

fn assert_bounded(driver: &mut Driver, seed: u64) {
    let session = &mut driver.session;
    assert!(session.input.pending().len() <= command::AUTH_LINE_BYTES_MAX, "seed {seed}");
    assert!(session.content_bytes() <= 2 * 8192, "seed {seed}: {}", session.content_bytes());
    assert_eq!(session.output().len(), 0, "seed {seed}");
}

fn assert_replies_are_whole(output: &str, seed: u64) {
    assert!(output.ends_with("\r\n"), "seed {seed}");
    for line in output.split_terminator("\r\n") {
        let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
        assert!(code.is_some_and(|code| (200..600).contains(&code)), "seed {seed}: {line:?}");
        assert!(line.len() <= 510 && !line.contains(['\r', '\n']), "seed {seed}: {line:?}");
    }
}
