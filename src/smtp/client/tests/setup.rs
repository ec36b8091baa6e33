//! From the greeting to `Ready`, and between transactions.

use super::*;

fn session(tls: Tls, credentials: bool, encrypted: bool) -> Session {
    let credentials = credentials.then(|| Credentials { user: "u@a.test".into(), password: "secret".into() });
    Session::new(Arc::new(Settings { tls, credentials, ..settings() }), encrypted)
}

fn failure(step: Step) -> (Phase, Failure) {
    match step {
        Step::Failed(phase, failure) => (phase, failure),
        other => panic!("not failed but {other:?}"),
    }
}

#[test]
fn ehlo_that_is_refused_for_good_is_followed_by_helo() {
    let mut session = session(Tls::Opportunistic, false, false);
    let script = [
        ("", "220 hi\r\n"),
        ("EHLO me.test\r\n", "502 what?\r\n"),
        ("HELO me.test\r\n", "250-peer\r\n250 PIPELINING\r\n"),
    ];
    assert!(matches!(play(&mut session, &script, Cut::Everywhere), Step::Ready));
    assert_eq!(*session.capabilities(), Capabilities::default());
}

#[test]
fn a_refusal_before_work_is_the_peers_words() {
    let cases: &[(&[Exchange<'_>], Phase, Reply)] = &[
        (&[("", "554 5.7.1 go away\r\n")], Phase::Greeting, reply(554, Some((5, 7, 1)), "go away")),
        (&[("", "421 busy\r\n")], Phase::Greeting, reply(421, None, "busy")),
        (&[("", "354 what\r\n")], Phase::Greeting, reply(354, None, "what")),
        (&[("", "220 hi\r\n"), ("EHLO me.test\r\n", "421 busy\r\n")], Phase::Ehlo, reply(421, None, "busy")),
        (&[("", "220 hi\r\n"), ("EHLO me.test\r\n", "450 later\r\n")], Phase::Ehlo, reply(450, None, "later")),
        (
            &[("", "220 hi\r\n"), ("EHLO me.test\r\n", "500 no\r\n"), ("HELO me.test\r\n", "550 no\r\n")],
            Phase::Ehlo,
            reply(550, None, "no"),
        ),
    ];
    for (script, phase, words) in cases {
        let mut session = session(Tls::Off, false, false);
        let step = play(&mut session, script, Cut::Nowhere);
        assert_eq!(failure(step), (*phase, Failure::Reply(words.clone())));
        assert!(!session.can_transact());
    }
}

#[test]
fn what_came_before_tls_is_not_believed_after_it() {
    let mut session = session(Tls::Opportunistic, false, false);
    let script = [
        ("", "220 hi\r\n"),
        ("EHLO me.test\r\n", "250-peer\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n"),
        ("STARTTLS\r\n", "220 go\r\n250-injected\r\n250 PIPELINING\r\n"),
    ];
    assert!(matches!(play(&mut session, &script, Cut::Nowhere), Step::StartTls));
    assert_eq!(session.phase(), Phase::StartTls);
    session.tls_started();
    let script = [("EHLO me.test\r\n", "250-peer\r\n250-STARTTLS\r\n250 SIZE 9\r\n")];
    assert!(matches!(play(&mut session, &script, Cut::Nowhere), Step::Ready), "no STARTTLS inside TLS");
    let offered = Capabilities { size: Some(9), starttls: true, ..Capabilities::default() };
    assert_eq!(*session.capabilities(), offered);
}

#[test]
fn tls_is_as_required_as_the_settings_say() {
    let greeted = [("", "220 hi\r\n"), ("EHLO me.test\r\n", "250-peer\r\n250 DSN\r\n")];
    assert!(matches!(play(&mut session(Tls::Opportunistic, false, false), &greeted, Cut::Nowhere), Step::Ready));
    let step = play(&mut session(Tls::Required, false, false), &greeted, Cut::Nowhere);
    assert_eq!(failure(step).0, Phase::StartTls);
    assert!(matches!(play(&mut session(Tls::Required, false, true), &greeted, Cut::Nowhere), Step::Ready));

    let offered = [("", "220 hi\r\n"), ("EHLO me.test\r\n", "250-peer\r\n250 STARTTLS\r\n")];
    assert!(matches!(play(&mut session(Tls::Off, false, false), &offered, Cut::Nowhere), Step::Ready));
    let not_now = [offered[0], offered[1], ("STARTTLS\r\n", "454 not now\r\n")];
    assert!(matches!(play(&mut session(Tls::Opportunistic, false, false), &not_now, Cut::Nowhere), Step::Ready));
    let step = play(&mut session(Tls::Required, false, false), &not_now, Cut::Nowhere);
    assert_eq!(failure(step), (Phase::StartTls, Failure::Reply(reply(454, None, "not now"))));
}

#[test]
fn a_handshake_that_fails_is_the_sessions_end() {
    let mut session = session(Tls::Opportunistic, false, false);
    let script =
        [("", "220 hi\r\n"), ("EHLO me.test\r\n", "250-peer\r\n250 STARTTLS\r\n"), ("STARTTLS\r\n", "220 go\r\n")];
    assert!(matches!(play(&mut session, &script, Cut::Everywhere), Step::StartTls));
    session.lost("bad certificate");
    assert_eq!(failure(session.next()), (Phase::StartTls, Failure::Lost("bad certificate".into())));
}

#[test]
fn a_password_goes_out_inside_tls_only() {
    let greeted = [("", "220 hi\r\n"), ("EHLO me.test\r\n", "250-peer\r\n250 AUTH LOGIN PLAIN\r\n")];
    let step = play(&mut session(Tls::Opportunistic, true, false), &greeted, Cut::Nowhere);
    assert_eq!(failure(step).0, Phase::Auth);
    let said = "AUTH PLAIN AHVAYS50ZXN0AHNlY3JldA==\r\n";
    let good = [greeted[0], greeted[1], (said, "235 2.7.0 welcome\r\n")];
    assert!(matches!(play(&mut session(Tls::Off, true, true), &good, Cut::Everywhere), Step::Ready));
    let bad = [greeted[0], greeted[1], (said, "535 5.7.8 no\r\n")];
    let step = play(&mut session(Tls::Off, true, true), &bad, Cut::Nowhere);
    assert_eq!(failure(step), (Phase::Auth, Failure::Reply(reply(535, Some((5, 7, 8)), "no"))));
    let without = [("", "220 hi\r\n"), ("EHLO me.test\r\n", "250-peer\r\n250 AUTH LOGIN\r\n")];
    assert_eq!(failure(play(&mut session(Tls::Off, true, true), &without, Cut::Nowhere)).0, Phase::Auth);
}

#[test]
fn quit_waits_for_its_reply_or_the_end() {
    for answer in ["221 bye\r\n", "500 what\r\n", "421 bye\r\n"] {
        let mut session = ready(settings(), &[]);
        session.quit();
        assert!(matches!(play(&mut session, &[("QUIT\r\n", answer)], Cut::Everywhere), Step::Closed));
    }
    let mut session = ready(settings(), &[]);
    session.quit();
    session.lost("gone");
    assert!(matches!(session.next(), Step::Closed));
}

#[test]
fn a_peer_that_leaves_between_transactions_is_understood() {
    let mut fresh = ready(settings(), &[]);
    fresh.receive(b"421 idle\r\n");
    assert_eq!(failure(fresh.next()), (Phase::Idle, Failure::Reply(reply(421, None, "idle"))));

    let mut used = ready(settings(), &["PIPELINING", "CHUNKING"]);
    let envelope = "MAIL FROM:<s@a.test>\r\nRCPT TO:<r0@b.test>\r\n";
    let script = [(envelope, "250 a\r\n250 b\r\n"), ("BDAT 1 LAST\r\nx", "250 c\r\n")];
    transact(&mut used, transaction(1, b"x"), &script);
    used.receive(b"421 idle\r\n");
    assert!(!used.can_transact());
    assert!(matches!(used.next(), Step::Closed));

    let mut closed = ready(settings(), &[]);
    closed.receive(b"");
    assert_eq!(failure(closed.next()).0, Phase::Idle);
}

#[test]
fn replies_that_were_not_asked_for_end_the_session() {
    let mut early = Session::new(Arc::new(settings()), false);
    early.receive(b"220 hi\r\n250 peer\r\n");
    assert_eq!(failure(early.next()).0, Phase::Ehlo);

    let mut idle = ready(settings(), &[]);
    idle.receive(b"250 ok\r\n");
    assert_eq!(failure(idle.next()).0, Phase::Idle);

    let mut garbage = Session::new(Arc::new(settings()), false);
    garbage.receive(b"HTTP/1.1 400 Bad Request\r\n");
    let (phase, Failure::Lost(why)) = failure(garbage.next()) else { panic!("not lost") };
    assert_eq!(phase, Phase::Greeting);
    assert!(why.contains("HTTP/1.1"), "{why}");
}

#[test]
fn each_wait_has_its_patience() {
    let mut session = Session::new(Arc::new(settings()), false);
    let seconds = |step: Step| match step {
        Step::Read(patience) => patience.as_secs(),
        other => panic!("does not read but {other:?}"),
    };
    let mut after = |answer: &str| {
        session.receive(answer.as_bytes());
        if matches!(session.next(), Step::Ready) {
            session.transact(transaction(1, CONTENT));
        }
        while matches!(session.next(), Step::Send) {
            session.output().clear();
        }
        seconds(session.next())
    };
    assert_eq!(after("220 hi\r\n"), 2);
    assert_eq!(after("250 peer\r\n"), 2, "MAIL");
    assert_eq!(after("250 ok\r\n"), 2, "RCPT");
    assert_eq!(after("250 ok\r\n"), 3, "DATA");
    assert_eq!(after("354 go\r\n"), 5, "the final dot");
    assert_eq!(Patience::default().dot, Duration::from_secs(600));
}
