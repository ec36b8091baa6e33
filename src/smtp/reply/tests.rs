//! What goes over the line.

use super::*;

fn wire(reply: &Reply) -> String {
    let mut out = Vec::new();
    reply.write(&mut out);
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn every_line_carries_both_codes() {
    let reply = codes(550, 5, 7, 1).say("one\ntwo\nthree");
    assert_eq!(wire(&reply), "550-5.7.1 one\r\n550-5.7.1 two\r\n550 5.7.1 three\r\n");
    assert_eq!(reply.to_string(), "550 5.7.1 one two three");
    let mut out = Vec::new();
    CONTENT_BARE_LINE_END.write(&mut out);
    assert!(out.starts_with(b"550 5.6.11 The message"));
    assert_eq!(Reply::from(OK), Reply { code: 250, enhanced: Some(EnhancedCode(2, 0, 0)), text: "OK".into() });
}

#[test]
fn an_empty_text_still_makes_a_line() {
    let mut out = Vec::new();
    write_challenge("", &mut out);
    assert_eq!(out, b"334 \r\n");
}

#[test]
fn a_quoted_peer_cannot_forge_lines() {
    let forged = unknown_parameter("X\r250 2.0.0 OK\0");
    assert_eq!(wire(&forged), "555 5.5.4 Unknown parameter X?250 2.0.0 OK?; EHLO's reply lists what is offered\r\n");
}

#[test]
fn long_lines_are_cut_at_a_character() {
    let line = wire(&codes(550, 5, 7, 1).say("é".repeat(400)));
    assert!(line.len() <= LINE_BYTES_MAX && line.len() >= LINE_BYTES_MAX - 1, "{}", line.len());
    assert!(line.ends_with("é\r\n"));
}

#[test]
fn classes_are_told() {
    assert!(OK.reply().is_positive());
    assert!(NO_STORAGE.reply().is_transient());
    assert!(UNKNOWN_COMMAND.reply().is_permanent());
}
