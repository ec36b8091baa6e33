//! Conversations as they go over the wire.

use super::*;

fn contents(messages: &[(Envelope, Vec<u8>)]) -> Vec<String> {
    messages.iter().map(|(_, content)| String::from_utf8_lossy(content).into_owned()).collect()
}

#[test]
fn a_message_by_data() {
    let messages = relay(
        "S: 220 mta.example ESMTP
         C: EHLO client.example
         S: 250-mta.example
         S: 250-PIPELINING
         S: 250-8BITMIME
         S: 250-SMTPUTF8
         S: 250-ENHANCEDSTATUSCODES
         S: 250-CHUNKING
         S: 250-DSN
         S: 250-SIZE 1000
         S: 250 LIMITS RCPTMAX=3
         C: MAIL FROM:<a@x> SIZE=100 BODY=8BITMIME RET=HDRS ENVID=e1
         S: 250 2.1.0 Sender OK
         C: RCPT TO:<b@y> NOTIFY=FAILURE ORCPT=rfc822;b@y
         S: 250 2.1.5 Recipient OK
         C: DATA
         S: 354 Go ahead
         C: Subject: x
         C:
         C: ..dot
         C: .
         S: 250 2.6.0 <id@x> queued as 1
         C: QUIT
         S: 221 2.0.0 Bye
         CLOSE",
    );
    assert_eq!(contents(&messages), ["Subject: x\r\n\r\n.dot\r\n"]);
    let envelope = &messages[0].0;
    assert_eq!(envelope.sender.path.to_string(), "a@x");
    assert_eq!(envelope.sender.envid.as_deref(), Some("e1"));
    assert_eq!(envelope.recipients.len(), 1);
    assert!(envelope.recipients[0].notify.failure);
}

#[test]
fn a_message_by_bdat() {
    let messages = relay(
        r"S: 220
         C: HELO c
         S: 250 mta.example
         C: MAIL FROM:<>
         S: 250
         C: RCPT TO:<b@y>
         S: 250
         C! BDAT 4\r\na\r\n.
         S: 250 2.0.0 Chunk received
         C: NOOP
         S: 250
         C! BDAT 2\r\n\r\nBDAT 0 LAST\r\nNOOP\r\n
         S: 250 2.0.0 Chunk
         S: 250 2.6.0
         S: 250 2.0.0 OK",
    );
    assert_eq!(contents(&messages), ["a\r\n.\r\n"]);
    assert_eq!(messages[0].0.sender.path.to_string(), "");
}

#[test]
fn bdat_content_without_a_last_line_end_gets_one() {
    let messages = relay(
        r"S: 220
         C! EHLO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nBDAT 5 LAST\r\nhello
         S: 250-
         S: 250-
         S: 250-
         S: 250-
         S: 250-
         S: 250-
         S: 250-
         S: 250-
         S: 250
         S: 250
         S: 250
         S: 250 2.6.0",
    );
    assert_eq!(contents(&messages), ["hello\r\n"]);
}

#[test]
fn bdat_after_a_refused_one_is_consumed() {
    let messages = relay(
        r"S: 220
         C: HELO c
         S: 250
         C: MAIL FROM:<full@x>
         S: 250
         C: RCPT TO:<b@y>
         S: 250
         C! BDAT 6\r\nQUIT\r\nBDAT 6\r\nRSET\r\nBDAT 6 LAST\r\nQUIT\r\nMAIL FROM:<a@x>\r\n
         S: 452 4.3.1
         S: 503 5.5.1 An earlier BDAT
         S: 503 5.5.1 An earlier BDAT
         S: 250 2.1.0
         C: RCPT TO:<b@y>
         S: 250
         C! BDAT 2\r\n\n\nBDAT 2\r\n\r\nRSET\r\nMAIL FROM:<a@x>\r\n
         S: 550 5.6.11
         S: 503 5.5.1
         S: 250 2.0.0
         S: 250 2.1.0
         C: RCPT TO:<b@y>
         S: 250
         C! BDAT 2 LAST\r\na\rBDAT 2\r\nxxMAIL FROM:<a@x>\r\n
         S: 550 5.6.11
         S: 503 5.5.1 Say MAIL
         S: 250 2.1.0
         C! BDAT 2\r\nxxRCPT TO:<b@y>\r\n
         S: 554 5.5.1 No recipient
         S: 250 2.1.5",
    );
    assert!(messages.is_empty());
}

#[test]
fn bdat_and_data_do_not_mix() {
    relay(
        r"S: 220
         C: HELO c
         S: 250
         C: MAIL FROM:<a@x>
         S: 250
         C: RCPT TO:<b@y>
         S: 250
         C! BDAT 2\r\nab
         S: 250
         C: DATA
         S: 503 5.5.1 The message is coming by BDAT
         C: MAIL FROM:<a@x>
         S: 503 5.5.1 The message is coming by BDAT
         C: RCPT TO:<a@x>
         S: 503 5.5.1 The message is coming by BDAT
         C: RSET
         S: 250
         C: MAIL FROM:<a@x>
         S: 250",
    );
}

#[test]
fn bdat_sizes_are_bounded() {
    let messages = relay(
        r"S: 220
         C! HELO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n
         S: 250
         S: 250
         S: 250
         C! BDAT 2\r\nabBDAT 999\r\n
         S: 250
         C: RSET
         GONE
         CLOSE",
    );
    assert!(messages.is_empty());
    relay(
        r"S: 220
         C! HELO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nBDAT 4001\r\n
         S: 250
         S: 250
         S: 250
         S: 552 5.3.4
         CLOSE",
    );
    relay(
        r"S: 220
         C! BDAT 99999999999999999999\r\n
         S: 501 5.5.4 Syntax: BDAT
         CLOSE",
    );
}

#[test]
fn bdat_too_large_is_consumed_before_552() {
    let mut driver = Driver::new(settings(), false);
    driver.read(b"HELO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nBDAT 1001 LAST\r\n");
    driver.take();
    driver.read(&[b'x'; 1000]);
    assert_eq!(driver.session.content_bytes(), 0);
    converse(&mut driver, "C! x\nS: 552 5.3.4\nC: NOOP\nS: 250");
}

#[test]
fn what_comes_in_the_wrong_order_is_refused() {
    relay(
        "S: 220
         C: MAIL FROM:<a@x>
         S: 503 5.5.1 Say EHLO first
         C: HELO c
         S: 250
         C: RCPT TO:<a@x>
         S: 503 5.5.1 Say MAIL first
         C: DATA
         S: 503 5.5.1 Say MAIL first
         C: MAIL FROM:<a@x>
         S: 250
         C: MAIL FROM:<a@x>
         S: 503 5.5.1 A transaction is open
         C: DATA
         S: 554 5.5.1 No recipient
         C: RSET
         S: 250
         C: RCPT TO:<b@y>
         S: 503
         C: STARTTLS
         S: 502 5.5.1 STARTTLS is not offered
         C: AUTH PLAIN
         S: 502 5.5.1 AUTH is not offered
         C: XYZZY
         S: 421 4.7.0 Too many errors
         CLOSE",
    );
}

#[test]
fn harmless_commands_are_answered_everywhere() {
    relay(
        "S: 220
         C: NOOP
         S: 250 2.0.0
         C: VRFY someone
         S: 252 2.0.0
         C: EXPN list
         S: 502 5.5.1
         C: HELP
         S: 214-2.0.0
         S: 214 2.0.0
         C: RSET
         S: 250
         C: QUIT
         S: 221
         CLOSE",
    );
}

#[test]
fn policy_has_its_say() {
    let messages = relay(
        "S: 220
         C: HELO c
         S: 250
         C: MAIL FROM:<unknown@x>
         S: 550 5.1.1
         C: MAIL FROM:<a@x>
         S: 250
         C: RCPT TO:<unknown@y>
         S: 550 5.1.1
         C: RCPT TO:<b@y>
         S: 250
         C: DATA
         S: 354
         C: X-Refuse: yes
         C: .
         S: 554 5.7.1
         C: MAIL FROM:<full@x>
         S: 250
         C: RCPT TO:<b@y>
         S: 250
         C: DATA
         S: 452 4.3.1
         C: RCPT TO:<banned@y>
         S: 421 4.7.0
         CLOSE",
    );
    assert!(messages.is_empty());
}

#[test]
fn content_after_a_refused_data_is_never_taken_for_commands() {
    for refused in ["MAIL FROM:<full@x>\r\nRCPT TO:<b@y>\r\n", "MAIL FROM:<a@x>\r\n", ""] {
        let mut driver = Driver::new(settings(), false);
        driver.read(format!("HELO c\r\n{refused}DATA\r\nMAIL FROM:<smuggled@x>\r\n.\r\n").as_bytes());
        assert!(driver.seen.closed, "{refused:?}");
        assert!(!driver.take().contains("354"), "{refused:?}");
    }
}

#[test]
fn limits_are_kept() {
    let mut driver = Driver::new(Settings { messages_max: 2, ..settings() }, false);
    converse(
        &mut driver,
        "S: 220
         C: HELO c
         S: 250
         C: MAIL FROM:<a@x> SIZE=1001
         S: 552 5.3.4
         C: MAIL FROM:<a@x> SIZE=1000
         S: 250
         C: RCPT TO:<1@y>
         S: 250
         C: RCPT TO:<2@y>
         S: 250
         C: RCPT TO:<3@y>
         S: 250
         C: RCPT TO:<4@y>
         S: 452 4.5.3
         C: RSET
         S: 250
         C: MAIL FROM:<a@x>
         S: 250
         C: RSET
         S: 250
         C: MAIL FROM:<a@x>
         S: 421 4.7.0
         CLOSE",
    );
}

#[test]
fn a_message_may_be_exactly_as_large_as_permitted() {
    for (octets, reply) in [(1000, "250 2.6.0"), (1001, "552 5.3.4")] {
        let mut driver = Driver::new(settings(), false);
        driver.read(b"HELO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n");
        driver.take();
        driver.read(&vec![b'x'; octets - 2]);
        converse(&mut driver, &format!("C:\nC: .\nS: {reply}\nC: NOOP\nS: 250"));
    }
}

#[test]
fn who_sends_far_too_much_is_cut_off() {
    let mut driver = Driver::new(settings(), false);
    driver.read(b"HELO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n");
    driver.take();
    driver.read(&[b'x'; 4000]);
    assert!(!driver.seen.closed);
    driver.read(b"x");
    assert!(driver.seen.closed);
    assert!(driver.take().starts_with("552 5.3.4"));
}

#[test]
fn content_can_be_refused_while_it_comes() {
    let mut driver = Driver::new(settings(), false);
    driver.read(b"HELO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\nhello");
    driver.take();
    assert!(driver.session.content_bytes() >= 5);
    driver.session.refuse_content(reply::NO_STORAGE.reply());
    assert_eq!(driver.session.content_bytes(), 0);
    converse(&mut driver, "C: more\nC: .\nS: 452 4.3.1\nC: NOOP\nS: 250");
}

#[test]
fn line_ends_must_be_crlf() {
    for (line, reply) in [
        (r"C! NOOP\n", "500 5.5.2 A CR or LF"),
        (r"C! NOOP\nNOOP\r\n", "500 5.5.2 A CR or LF"),
        (r"C! NO\rOP\r\n", "500 5.5.2 A CR or LF"),
        (r"C! NOOP\r\r\n", "500 5.5.2 A CR or LF"),
    ] {
        relay(&format!("S: 220\n{line}\nS: {reply}\nCLOSE"));
    }
    relay("S: 220\nC! NO\\0OP\\r\\n\nS: 500 5.5.2\nC: NOOP\nS: 250");
}

#[test]
fn other_protocols_are_shown_the_door() {
    relay("S: 220\nC: GET / HTTP/1.1\nC: NOOP\nS: 500 5.5.1 This is an SMTP port\nCLOSE");
    let mut driver = Driver::new(settings(), false);
    driver.take();
    driver.read(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc");
    assert!(driver.seen.closed && driver.take().starts_with("500 5.5.1"));
}

#[test]
fn the_rest_of_a_long_line_is_no_tls() {
    let mut driver = Driver::new(settings(), false);
    driver.take();
    driver.read(&[b"x".repeat(600), b"\x16".to_vec()].concat());
    driver.read(b"\x03\x01\r\n");
    let said = driver.take();
    assert!(!driver.seen.closed && said.starts_with("500 5.5.2 The command line is too long"), "{said}");
}

#[test]
fn long_lines_are_refused_and_the_session_goes_on() {
    let long = "x".repeat(511);
    relay(&format!("S: 220\nC: NOOP {long}\nS: 500 5.5.2 The command line is too long\nC: NOOP\nS: 250"));
    let long = "x".repeat(505);
    relay(&format!("S: 220\nC: NOOP {long}\nS: 250"));
    let orcpt = "x".repeat(480);
    relay(&format!(
        "S: 220\nC: HELO c\nS: 250\nC: MAIL FROM:<a@x>\nS: 250\nC: RCPT TO:<{}@y> ORCPT=rfc822;{orcpt}\nS: 250",
        "l".repeat(64)
    ));
}

#[test]
fn smtputf8_is_per_transaction() {
    let mut driver = Driver::new(settings(), false);
    converse(
        &mut driver,
        "S: 220
         C: HELO c
         S: 250
         C: MAIL FROM:<ü@x>
         S: 501 5.1.7
         C: MAIL FROM:<a@x>
         S: 250
         C: RCPT TO:<ü@y>
         S: 553 5.6.7
         C: RSET
         S: 250
         C: MAIL FROM:<ü@x> SMTPUTF8
         S: 250
         C: RCPT TO:<ü@y>
         S: 250",
    );
    assert_eq!(driver.session.protocol(), "UTF8SMTP");
}

#[test]
fn the_end_of_patience_and_of_the_server_is_said() {
    let mut driver = Driver::new(settings(), false);
    assert_eq!(driver.patience, FIRST_COMMAND_PATIENCE);
    driver.read(b"NOOP\r\n");
    assert_eq!(driver.patience, COMMAND_PATIENCE);
    driver.take();
    converse(&mut driver, "EXPIRE\nS: 421 4.4.2\nCLOSE");
    relay("S: 220\nSHUT DOWN\nS: 421 4.3.2\nCLOSE");
    relay("S: 220\nC: HELO c\nS: 250\nC: MAIL FROM:<a@x>\nS: 250\nSHUT DOWN\nS: 421 4.3.2\nCLOSE");
    relay("S: 220\nGONE\nCLOSE");
    let session = Session::refusing(Arc::new(settings()), reply::TOO_MANY_CONNECTIONS.reply());
    converse(&mut Driver::of(session), "S: 421 4.7.0\nCLOSE");
}

#[test]
fn content_in_transit_is_taken_before_the_server_stops() {
    let start = "S: 220\nC: HELO c\nS: 250\nC: MAIL FROM:<a@x>\nS: 250\nC: RCPT TO:<b@y>\nS: 250\n";
    let messages =
        relay(&format!("{start}C: DATA\nS: 354\nSHUT DOWN\nC: hello\nC: .\nS: 250 2.6.0\nS: 421 4.3.2\nCLOSE"));
    assert_eq!(contents(&messages), ["hello\r\n"]);
    let messages = relay(&format!(
        "{start}C! BDAT 2\\r\\nab\nS: 250\nSHUT DOWN\nC! BDAT 2 LAST\\r\\ncd\nS: 250 2.6.0\nS: 421 4.3.2\nCLOSE"
    ));
    assert_eq!(contents(&messages), ["abcd\r\n"]);
}

#[test]
fn who_may_still_be_sending_is_known() {
    for (words, cut_off) in [
        (&b"NOOP\nNOOP\r\n"[..], true),
        (b"GET / HTTP/1.1\r\n", true),
        (b"BDAT x\r\n", true),
        (b"HELO c\r\nMAIL FROM:<banned@x>\r\n", true),
        (b"DATA\r\nhello\r\n", true),
        (b"X\r\nX\r\nX\r\nX\r\nX\r\n", true),
        (b"QUIT\r\n", false),
    ] {
        let mut driver = Driver::new(settings(), false);
        driver.read(words);
        assert!(driver.seen.closed);
        assert_eq!(driver.session.was_cut_off(), cut_off, "{:?}", String::from_utf8_lossy(words));
        driver.session.receive(b"");
        assert!(!driver.session.was_cut_off());
    }
}

#[test]
fn what_a_closed_peer_still_said_is_answered() {
    let mut driver = Driver::new(settings(), false);
    driver.take();
    driver.session.receive(b"NOOP\r\nHELO c\r\nunfinished");
    driver.session.receive(b"");
    driver.run();
    assert_eq!(driver.take(), "250 2.0.0 OK\r\n250 mta.example\r\n");
    assert!(driver.seen.closed);
}

#[test]
fn progress_needs_whole_lines_or_real_content() {
    let mut driver = Driver::new(Settings { message_bytes_max: 1 << 20, ..settings() }, false);
    let start = driver.session.progress();
    driver.read(b"NOO");
    assert_eq!(driver.session.progress(), start);
    driver.read(b"P\r\n");
    assert_eq!(driver.session.progress(), start + 1);
    driver.read(b"HELO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n");
    let start = driver.session.progress();
    driver.read(&[b'x'; 16 * 1024 - 1]);
    assert_eq!(driver.session.progress(), start);
    driver.read(b"x");
    assert_eq!(driver.session.progress(), start + 1);
}

#[test]
fn an_idle_session_is_small() {
    assert!(std::mem::size_of::<Session>() <= 640, "{}", std::mem::size_of::<Session>());
    let mut driver = Driver::new(settings(), false);
    driver.read(b"EHLO c\r\nNOOP\r\n");
    assert_eq!(driver.session.output().capacity(), 0);
}

#[test]
fn what_the_session_refuses_itself_is_told_for_the_log_once() {
    let mut driver = Driver::new(settings(), false);
    driver.read(b"EHLO c\r\nMAIL FROM:<a@x> SIZE=9999\r\nNONSENSE\r\n");
    driver.read(b"MAIL FROM:<unknown@x>\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n");
    driver.read(b"bare\nline\r\n.\r\nNOOP\r\n");
    let told: Vec<(bool, &str)> =
        driver.seen.own_refusals.iter().map(|told| (told.is_about_content, &told.reply[..9])).collect();
    assert_eq!(told, [(false, "552 5.3.4"), (false, "500 5.5.2"), (true, "550 5.6.1")], "{}", driver.seen.output);
}
