//! Transactions that go to their end.

use super::*;

const PLAIN_SCRIPT: [Exchange<'static>; 5] = [
    ("MAIL FROM:<s@a.test>\r\n", "250 ok\r\n"),
    ("RCPT TO:<r0@b.test>\r\n", "250 ok\r\n"),
    ("RCPT TO:<r1@b.test>\r\n", "550 who?\r\n"),
    ("DATA\r\n", "354 go\r\n"),
    (STUFFED, "250 thanks\r\n"),
];

fn plain_results() -> Vec<Result> {
    vec![accepted(250, "thanks"), refused(Phase::Rcpt, 550, "who?")]
}

const PIPELINED: &str = "MAIL FROM:<s@a.test>\r\nRCPT TO:<r0@b.test>\r\nRCPT TO:<r1@b.test>\r\nDATA\r\n";
const ENVELOPE: &str = "MAIL FROM:<s@a.test>\r\nRCPT TO:<r0@b.test>\r\nRCPT TO:<r1@b.test>\r\n";
const CHUNK: &str = "BDAT 20 LAST\r\nSubject: x\r\n\r\n.dot\r\n";

#[test]
fn a_plain_peer_is_asked_step_by_step() {
    play_all_cuts(|cut| {
        let mut session = ready(settings(), &[]);
        for _ in 0..2 {
            session.transact(transaction(2, CONTENT));
            assert_eq!(results(play(&mut session, &PLAIN_SCRIPT, cut)), plain_results());
            assert!(session.can_transact());
        }
        assert!(matches!(session.next(), Step::Ready));
    });
}

#[test]
fn pipelining_is_one_write_up_to_data() {
    play_all_cuts(|cut| {
        let mut session = ready(settings(), &["PIPELINING"]);
        for _ in 0..2 {
            session.transact(transaction(2, CONTENT));
            let script =
                [(PIPELINED, "250 ok\r\n250 ok\r\n550-who\r\n550 ?\r\n354 go\r\n"), (STUFFED, "250 thanks\r\n")];
            let expected = vec![accepted(250, "thanks"), refused(Phase::Rcpt, 550, "who\n?")];
            assert_eq!(results(play(&mut session, &script, cut)), expected);
        }
    });
}

#[test]
fn chunking_with_pipelining_sends_the_content_once_someone_wants_it() {
    play_all_cuts(|cut| {
        let mut session = ready(settings(), &["PIPELINING", "CHUNKING"]);
        for _ in 0..2 {
            session.transact(transaction(2, CONTENT));
            let script = [(ENVELOPE, "250 ok\r\n550 who?\r\n250 ok\r\n"), (CHUNK, "250 thanks\r\n")];
            let expected = vec![refused(Phase::Rcpt, 550, "who?"), accepted(250, "thanks")];
            assert_eq!(results(play(&mut session, &script, cut)), expected);
        }
    });
}

#[test]
fn chunking_without_pipelining_waits_for_the_recipients() {
    let mut session = ready(settings(), &["CHUNKING"]);
    let script = [
        ("MAIL FROM:<s@a.test>\r\n", "250 ok\r\n"),
        ("RCPT TO:<r0@b.test>\r\n", "250 ok\r\n"),
        ("BDAT 3 LAST\r\n...", "250 thanks\r\n"),
    ];
    assert_eq!(transact(&mut session, transaction(1, b"..."), &script), [accepted(250, "thanks")]);
}

#[test]
fn what_the_settings_forbid_is_not_used() {
    let forbidden = Settings { pipelining: false, chunking: false, ..settings() };
    let mut session = ready(forbidden, &["PIPELINING", "CHUNKING"]);
    assert_eq!(transact(&mut session, transaction(2, CONTENT), &PLAIN_SCRIPT), plain_results());
}

#[test]
fn much_content_waits_for_a_recipient_and_goes_in_blocks() {
    let content = vec![b'x'; 600 * 1024];
    let mut session = ready(settings(), &["PIPELINING", "CHUNKING"]);
    session.transact(transaction(1, &content));
    assert!(matches!(session.next(), Step::Send));
    assert_eq!(std::mem::take(session.output()), b"MAIL FROM:<s@a.test>\r\nRCPT TO:<r0@b.test>\r\n");
    assert!(matches!(session.next(), Step::Read(_)));
    session.receive(b"250 ok\r\n250 ok\r\n");
    let mut blocks = Vec::new();
    while matches!(session.next(), Step::Send) {
        assert_eq!(session.phase(), Phase::Content);
        blocks.push(std::mem::take(session.output()));
    }
    assert_eq!(session.phase(), Phase::Dot);
    assert_eq!(blocks.len(), 3);
    assert!(blocks.iter().all(|block| block.len() <= 256 * 1024 + 20));
    assert_eq!(blocks.concat(), [b"BDAT 614400 LAST\r\n".to_vec(), content].concat());
    session.receive(b"250 thanks\r\n");
    assert_eq!(results(session.next()), [accepted(250, "thanks")]);
}

#[test]
fn parameters_go_to_peers_that_offer_them() {
    let all = ready(settings(), &["SIZE 999", "8BITMIME", "DSN", "SMTPUTF8", "REQUIRETLS"]);
    let none = ready(settings(), &[]);
    let with = [
        ("MAIL FROM:<s@a.test> SIZE=20 BODY=8BITMIME RET=HDRS ENVID=id+2B1 REQUIRETLS\r\n", "250 ok\r\n"),
        ("RCPT TO:<r0@b.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;r0@old.test\r\n", "250 ok\r\n"),
        ("RCPT TO:<r1@b.test> NOTIFY=NEVER\r\n", "550 who?\r\n"),
        ("DATA\r\n", "354 go\r\n"),
        (STUFFED, "250 thanks\r\n"),
    ];
    for (mut session, script) in [(all, with), (none, PLAIN_SCRIPT)] {
        let mut transaction = with_parameters();
        transaction.sender.requiretls = true;
        assert_eq!(transact(&mut session, transaction, &script), plain_results());
    }
}

#[test]
fn the_null_reverse_path_is_two_brackets() {
    let mut notice = transaction(1, CONTENT);
    notice.sender.path = ReversePath::Null;
    let script = [("MAIL FROM:<>\r\n", "550 no notices\r\n")];
    assert_eq!(transact(&mut ready(settings(), &[]), notice, &script), [refused(Phase::Mail, 550, "no notices")]);
}

#[test]
fn international_mail_needs_a_peer_that_offers_it() {
    let [mut header, mut sender, mut recipient] = [(); 3].map(|()| transaction(1, CONTENT));
    header.sender.smtputf8 = true;
    sender.sender.path = ReversePath::Mailbox(mailbox("\u{fc}@a.test"));
    recipient.recipients[0].path = mailbox("\u{fc}@b.test");
    for (international, mail, rcpt) in [
        (header, "MAIL FROM:<s@a.test> SMTPUTF8\r\n", "RCPT TO:<r0@b.test>\r\n"),
        (sender, "MAIL FROM:<\u{fc}@a.test> SMTPUTF8\r\n", "RCPT TO:<r0@b.test>\r\n"),
        (recipient, "MAIL FROM:<s@a.test> SMTPUTF8\r\n", "RCPT TO:<\u{fc}@b.test>\r\n"),
    ] {
        let mut session = ready(settings(), &["8BITMIME"]);
        let [Result::Impossible(reply)] = &transact(&mut session, international.clone(), &[])[..] else {
            panic!("not impossible")
        };
        assert_eq!((reply.code, reply.enhanced), (550, Some(EnhancedCode(5, 6, 7))));
        assert!(session.can_transact(), "nothing was said to the peer");

        let mut session = ready(settings(), &["SMTPUTF8"]);
        let script = [(mail, "250 ok\r\n"), (rcpt, "450 later\r\n")];
        assert_eq!(transact(&mut session, international, &script), [refused(Phase::Rcpt, 450, "later")]);
    }
}

#[test]
fn what_is_larger_than_the_peer_takes_is_impossible() {
    let mut session = ready(settings(), &["SIZE 19"]);
    let results = transact(&mut session, transaction(2, CONTENT), &[]);
    assert_eq!(results.len(), 2);
    for result in results {
        let Result::Impossible(reply) = result else { panic!("not impossible: {result:?}") };
        assert_eq!((reply.code, reply.enhanced), (552, Some(EnhancedCode(5, 3, 4))));
    }
    for size in ["SIZE 20", "SIZE 0", "SIZE"] {
        let mut session = ready(settings(), &[size]);
        let script = [("MAIL FROM:<s@a.test> SIZE=20\r\n", "450 later\r\n")];
        let expected = vec![refused(Phase::Mail, 450, "later"); 2];
        assert_eq!(transact(&mut session, transaction(2, CONTENT), &script), expected);
    }
}

#[test]
fn limits_of_the_peer_are_known_and_kept() {
    let mut session = ready(settings(), &["LIMITS MAILMAX=2 RCPTMAX=7", "PIPELINING", "CHUNKING"]);
    assert_eq!(session.recipients_max(), Some(7));
    for number in 1..=2 {
        assert!(session.can_transact());
        let script = [(ENVELOPE, "250 ok\r\n250 ok\r\n250 ok\r\n"), (CHUNK, "250 thanks\r\n")];
        transact(&mut session, transaction(2, CONTENT), &script);
        assert_eq!(session.can_transact(), number < 2);
    }
    session.quit();
    assert!(matches!(play(&mut session, &[("QUIT\r\n", "221 bye\r\n")], Cut::Nowhere), Step::Closed));

    let mut session = ready(settings(), &["LIMITS MAILMAX=1"]);
    transact(&mut session, transaction(2, CONTENT), &PLAIN_SCRIPT);
    session.transact(transaction(1, CONTENT));
    assert!(matches!(results(session.next())[..], [Result::Lost(Phase::Idle, _)]), "one too many");
}

#[test]
fn mail_that_is_refused_is_refused_for_everyone() {
    let mut plain = ready(settings(), &[]);
    let expected = vec![refused(Phase::Mail, 451, "later"); 2];
    let script = [("MAIL FROM:<s@a.test>\r\n", "451 later\r\n")];
    assert_eq!(transact(&mut plain, transaction(2, CONTENT), &script), expected);
    assert_eq!(transact(&mut plain, transaction(2, CONTENT), &PLAIN_SCRIPT), plain_results(), "no RSET");

    let mut pipelined = ready(settings(), &["PIPELINING"]);
    let script = [(PIPELINED, "451 later\r\n503 a\r\n503 b\r\n503 c\r\n")];
    assert_eq!(transact(&mut pipelined, transaction(2, CONTENT), &script), expected);
    // Recipients taken without MAIL mean nothing; content that is asked for them is nothing.
    let script = [(PIPELINED, "451 later\r\n250 a\r\n250 b\r\n354 c\r\n"), (".\r\n", "250 d\r\n")];
    assert_eq!(transact(&mut pipelined, transaction(2, CONTENT), &script), expected);

    let mut chunked = ready(settings(), &["PIPELINING", "CHUNKING"]);
    let script = [(ENVELOPE, "451 later\r\n503 a\r\n503 b\r\n")];
    assert_eq!(transact(&mut chunked, transaction(2, CONTENT), &script), expected);
    assert_eq!(transact(&mut chunked, transaction(2, CONTENT), &script), expected, "no RSET");
}

#[test]
fn a_peer_that_wants_content_for_no_one_gets_a_lone_dot() {
    let mut session = ready(settings(), &["PIPELINING"]);
    let expected = vec![refused(Phase::Rcpt, 550, "a"), refused(Phase::Rcpt, 450, "b")];
    for answer in ["250 fine\r\n", "554 no recipients\r\n"] {
        let script = [(PIPELINED, "250 ok\r\n550 a\r\n450 b\r\n354 go\r\n"), (".\r\n", answer)];
        assert_eq!(transact(&mut session, transaction(2, CONTENT), &script), expected, "and no RSET");
    }
}

#[test]
fn a_transaction_left_open_is_reset_before_the_next() {
    let no_one = vec![refused(Phase::Rcpt, 550, "a"), refused(Phase::Rcpt, 550, "b")];
    let both_refused = [
        ("MAIL FROM:<s@a.test>\r\n", "250 ok\r\n"),
        ("RCPT TO:<r0@b.test>\r\n", "550 a\r\n"),
        ("RCPT TO:<r1@b.test>\r\n", "550 b\r\n"),
    ];
    let reset = ("RSET\r\n", "250 ok\r\n");

    let mut plain = ready(settings(), &[]);
    assert_eq!(transact(&mut plain, transaction(2, CONTENT), &both_refused), no_one);
    let script: Vec<_> = [reset].into_iter().chain(PLAIN_SCRIPT).collect();
    assert_eq!(transact(&mut plain, transaction(2, CONTENT), &script), plain_results());
    assert_eq!(transact(&mut plain, transaction(2, CONTENT), &PLAIN_SCRIPT), plain_results(), "once only");

    let mut pipelined = ready(settings(), &["PIPELINING"]);
    let script = [(PIPELINED, "250 ok\r\n550 a\r\n550 b\r\n554 no one\r\n")];
    assert_eq!(transact(&mut pipelined, transaction(2, CONTENT), &script), no_one);
    let script = [reset, (PIPELINED, "250 ok\r\n250 ok\r\n250 ok\r\n451 no room\r\n")];
    let expected = vec![refused(Phase::Data, 451, "no room"); 2];
    assert_eq!(transact(&mut pipelined, transaction(2, CONTENT), &script), expected);

    let mut chunked = ready(settings(), &["PIPELINING", "CHUNKING"]);
    let script = [(ENVELOPE, "250 ok\r\n550 a\r\n550 b\r\n")];
    assert_eq!(transact(&mut chunked, transaction(2, CONTENT), &script), no_one);
    let script = [reset, (ENVELOPE, "250 ok\r\n250 ok\r\n250 ok\r\n"), (CHUNK, "554 spam\r\n")];
    let expected = vec![refused(Phase::Dot, 554, "spam"); 2];
    assert_eq!(transact(&mut chunked, transaction(2, CONTENT), &script), expected);
    session_that_refuses_reset_is_over(&mut chunked);
}

fn session_that_refuses_reset_is_over(session: &mut Session) {
    session.transact(transaction(2, CONTENT));
    let results = results(play(session, &[("RSET\r\n", "550 never\r\n")], Cut::Nowhere));
    assert!(matches!(results[..], [Result::Lost(Phase::Mail, _), Result::Lost(Phase::Mail, _)]), "{results:?}");
    assert!(!session.can_transact());
}

#[test]
fn the_dots_refusal_ends_the_transaction_without_reset() {
    let mut session = ready(settings(), &["PIPELINING"]);
    for _ in 0..2 {
        let script = [(PIPELINED, "250 ok\r\n250 ok\r\n550 b\r\n354 go\r\n"), (STUFFED, "552 too much\r\n")];
        let expected = vec![refused(Phase::Dot, 552, "too much"), refused(Phase::Rcpt, 550, "b")];
        assert_eq!(transact(&mut session, transaction(2, CONTENT), &script), expected);
    }
}

#[test]
fn a_transaction_for_no_one_is_nothing() {
    let mut session = ready(settings(), &[]);
    assert_eq!(transact(&mut session, transaction(0, CONTENT), &[]), []);
    assert!(session.can_transact());
}
