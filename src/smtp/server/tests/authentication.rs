//! STARTTLS and AUTH.

use super::*;
use crate::smtp::sasl::{login_response, plain_response};

const PASSWORD: &str = "pa$$ w=rd ü";

#[test]
fn starttls_and_auth_on_submission() {
    let mut driver = Driver::new(submission(), false);
    let response = plain_response("user@x", PASSWORD);
    converse(
        &mut driver,
        &format!(
            "S: 220
             C: STARTTLS
             S: 220 2.0.0
             TLS
             C: EHLO c
             S: 250-mta
             S: 250-PIPELINING
             S: 250-8BITMIME
             S: 250-SMTPUTF8
             S: 250-ENH
             S: 250-CHUNKING
             S: 250-DSN
             S: 250-SIZE
             S: 250-LIMITS
             S: 250-AUTH PLAIN LOGIN
             S: 250 REQUIRETLS
             C: MAIL FROM:<a@x>
             S: 530 5.7.0 Authenticate first
             C: AUTH PLAIN {response}
             S: 235 2.7.0
             C: AUTH PLAIN {response}
             S: 503 5.5.1
             C: STARTTLS
             S: 503 5.5.1 TLS is running
             C: MAIL FROM:<a@x> REQUIRETLS RET=FULL
             S: 250"
        ),
    );
    assert_eq!(driver.session.user(), Some("user@x"));
    assert_eq!(driver.session.protocol(), "ESMTPSA");
    assert_eq!(driver.session.client_name(), Some("c"));
}

#[test]
fn before_tls_nothing_is_offered_that_needs_it() {
    let mut driver = Driver::new(submission(), false);
    driver.take();
    driver.read(b"EHLO c\r\n");
    let ehlo = driver.take();
    assert!(ehlo.contains("STARTTLS") && !ehlo.contains("AUTH") && !ehlo.contains("REQUIRETLS"), "{ehlo}");
    converse(
        &mut driver,
        "C: AUTH PLAIN AHUAcA==
         S: 530 5.7.0 Say STARTTLS first
         C: MAIL FROM:<a@x>
         S: 530 5.7.0 Say STARTTLS first
         C: EHLO again
         S: 250-
         S: 250-
         S: 250-
         S: 250-
         S: 250-
         S: 250-
         S: 250-
         S: 250-
         S: 250-
         S: 250 STARTTLS",
    );
    let mut driver = Driver::new(Settings { starttls: false, ..submission() }, false);
    converse(&mut driver, "S: 220\nC: AUTH LOGIN\nS: 538 5.7.11");
}

#[test]
fn input_behind_starttls_is_discarded() {
    let mut driver = Driver::new(submission(), false);
    driver.take();
    driver.read(b"EHLO plain\r\nSTARTTLS\r\nEHLO injected\r\nNOOP\r\n");
    assert!(driver.take().ends_with("220 2.0.0 Ready to start TLS\r\n"));
    driver.session.receive(b"NOOP\r\n");
    driver.seen.wants_tls = false;
    driver.session.tls_started();
    driver.run();
    assert_eq!(driver.take(), "");
    assert_eq!(driver.session.client_name(), None);
    converse(&mut driver, "C: MAIL FROM:<a@x>\nS: 503 5.5.1 Say EHLO first");
}

/// A submission session inside TLS that has said EHLO.
fn encrypted() -> Driver {
    let mut driver = Driver::new(submission(), true);
    driver.read(b"EHLO c\r\n");
    assert!(!driver.take().contains("STARTTLS"));
    driver
}

#[test]
fn every_form_of_auth() {
    let (plain, user, password) =
        (plain_response("user@x", PASSWORD), login_response("user@x"), login_response(PASSWORD));
    for script in [
        format!("C: AUTH PLAIN {plain}\nS: 235 2.7.0"),
        format!("C: auth plain\nS: 334 \nC: {plain}\nS: 235 2.7.0"),
        format!("C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: {user}\nS: 334 UGFzc3dvcmQ6\nC: {password}\nS: 235 2.7.0"),
        format!("C: AUTH LOGIN {user}\nS: 334 UGFzc3dvcmQ6\nC: {password}\nS: 235 2.7.0"),
    ] {
        let mut driver = encrypted();
        converse(&mut driver, &script);
        assert_eq!(driver.session.user(), Some("user@x"));
    }
    for script in [
        "C: AUTH PLAIN\nS: 334\nC: *\nS: 501 5.7.0",
        "C: AUTH LOGIN\nS: 334\nC: *\nS: 501 5.7.0",
        "C: AUTH PLAIN =\nS: 501 5.5.2",
        "C: AUTH PLAIN ????\nS: 501 5.5.2",
        "C: AUTH CRAM-MD5\nS: 504 5.5.4",
        "C: AUTH\nS: 501 5.5.4",
        "C: AUTH PLAIN AGxhdGVyQHgAcA==\nS: 454 4.7.0",
    ] {
        let mut driver = encrypted();
        converse(&mut driver, &format!("{script}\nC: NOOP\nS: 250 2.0.0"));
        assert_eq!(driver.session.user(), None);
    }
}

#[test]
fn auth_is_refused_in_a_transaction_and_after_three_failures() {
    converse(
        &mut encrypted(),
        "C: AUTH PLAIN AHUAcA==
         S: 535 5.7.8
         C: AUTH PLAIN AHUAcA==
         S: 535 5.7.8
         C: AUTH PLAIN AHUAcA==
         S: 421 4.7.0 Too many failed
         CLOSE",
    );
    let mut driver = Driver::new(Settings { auth_required: true, ..settings() }, true);
    driver.read(format!("EHLO c\r\nAUTH PLAIN {}\r\n", plain_response("user@x", PASSWORD)).as_bytes());
    driver.take();
    assert!(driver.session.user().is_some());
}

#[test]
fn an_auth_line_may_be_long_but_not_endless() {
    let mut driver = encrypted();
    converse(&mut driver, &format!("C: AUTH PLAIN {}\nS: 501 5.5.2", "A".repeat(12_288 - 13 - 1)));
    converse(&mut driver, "C: AUTH PLAIN\nS: 334");
    converse(&mut driver, &format!("C: {}\nS: 500 5.5.6", "A".repeat(12_287)));
    converse(&mut driver, "C: NOOP\nS: 250 2.0.0");
}
