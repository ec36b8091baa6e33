//! Conversations that end before their time: lost connections, 421, nonsense.

use super::*;

const KINDS: [&[&str]; 4] = [&[], &["PIPELINING"], &["CHUNKING"], &["PIPELINING", "CHUNKING"]];

/// Answers that come one by one after everything that could be said is said, up to the loss.
fn after(extensions: &[&str], answers: &[&str], end: impl FnOnce(&mut Session)) -> Vec<Result> {
    let mut session = ready(settings(), extensions);
    session.transact(transaction(2, CONTENT));
    for answer in answers {
        flush(&mut session);
        session.receive(answer.as_bytes());
    }
    flush(&mut session);
    end(&mut session);
    assert!(!session.can_transact());
    let results = results(session.next());
    assert!(matches!(session.next(), Step::Closed));
    results
}

fn flush(session: &mut Session) {
    while matches!(session.next(), Step::Send) {
        session.output().clear();
    }
}

/// Number of good answers that a whole transaction takes.
fn good_answers(extensions: &[&str]) -> Vec<&'static str> {
    if extensions.contains(&"CHUNKING") {
        vec!["250 a\r\n", "250 b\r\n", "250 c\r\n", "250 d\r\n"]
    } else {
        vec!["250 a\r\n", "250 b\r\n", "250 c\r\n", "354 d\r\n", "250 e\r\n"]
    }
}

#[test]
fn a_loss_is_lost_at_the_phase_where_it_happened() {
    use Phase::*;
    let phases: [&[Phase]; 4] = [
        &[Mail, Rcpt, Rcpt, Data, Dot],
        &[Mail, Rcpt, Rcpt, Data, Dot],
        &[Mail, Rcpt, Rcpt, Dot],
        &[Mail, Rcpt, Rcpt, Dot],
    ];
    for (extensions, phases) in KINDS.into_iter().zip(phases) {
        for (answered, phase) in phases.iter().enumerate() {
            let answers = &good_answers(extensions)[..answered];
            let silent = after(extensions, answers, |session| session.lost("timed out"));
            let lost = Result::Lost(*phase, "timed out".into());
            assert_eq!(silent, vec![lost; 2], "{extensions:?} after {answered}");
            let closed = after(extensions, answers, |session| session.receive(b""));
            let lost = Result::Lost(*phase, "the peer closed the connection".into());
            assert_eq!(closed, vec![lost; 2], "{extensions:?} after {answered}");
        }
    }
}

#[test]
fn content_that_did_not_go_out_is_not_in_doubt() {
    // The last write failed: the peer cannot have seen the end of the content.
    let sending_failed = |session: &mut Session| {
        assert!(matches!(session.next(), Step::Send));
        session.output().clear();
        session.lost("reset");
        results(session.next())
    };
    let lost = vec![Result::Lost(Phase::Content, "reset".into()); 2];

    let mut chunked = ready(settings(), &["PIPELINING", "CHUNKING"]);
    chunked.transact(transaction(2, CONTENT));
    flush(&mut chunked);
    chunked.receive(b"250 a\r\n250 b\r\n250 c\r\n");
    assert_eq!(sending_failed(&mut chunked), lost);

    let mut dotted = ready(settings(), &["PIPELINING"]);
    dotted.transact(transaction(2, CONTENT));
    flush(&mut dotted);
    dotted.receive(b"250 a\r\n250 b\r\n250 c\r\n354 d\r\n");
    assert_eq!(sending_failed(&mut dotted), lost);
}

#[test]
fn who_is_refused_stays_refused_when_the_rest_is_lost() {
    let results = after(&["PIPELINING"], &["250 a\r\n550 b\r\n"], |session| session.lost("gone"));
    assert_eq!(results, [refused(Phase::Rcpt, 550, "b"), Result::Lost(Phase::Rcpt, "gone".into())]);
    let results = after(&["PIPELINING"], &["550 a\r\n"], |session| session.lost("gone"));
    assert_eq!(results, vec![refused(Phase::Mail, 550, "a"); 2]);
}

#[test]
fn a_421_refuses_everyone_without_an_answer() {
    for extensions in KINDS {
        let good = good_answers(extensions);
        let phases: &[Phase] = match good.len() {
            5 => &[Phase::Mail, Phase::Rcpt, Phase::Rcpt, Phase::Data, Phase::Dot],
            _ => &[Phase::Mail, Phase::Rcpt, Phase::Rcpt, Phase::Dot],
        };
        for (answered, phase) in phases.iter().enumerate() {
            let results = after(extensions, &good[..answered], |session| session.receive(b"421 busy\r\n"));
            assert_eq!(results, vec![refused(*phase, 421, "busy"); 2], "{extensions:?} after {answered}");
        }
        let results = after(extensions, &["250 a\r\n", "550 b\r\n"], |session| session.receive(b"421 busy\r\n"));
        assert_eq!(results, [refused(Phase::Rcpt, 550, "b"), refused(Phase::Rcpt, 421, "busy")]);
    }
}

#[test]
fn a_refusal_in_the_middle_of_the_content_ends_it() {
    let mut session = ready(settings(), &[]);
    session.transact(transaction(1, &vec![b'x'; 600 * 1024]));
    for answer in ["250 a\r\n", "250 b\r\n", "354 c\r\n"] {
        flush(&mut session);
        session.receive(answer.as_bytes());
    }
    assert!(matches!(session.next(), Step::Send));
    session.receive(b"552 too much\r\n");
    assert_eq!(results(session.next()), [refused(Phase::Content, 552, "too much")]);
    assert!(matches!(session.next(), Step::Closed));
}

#[test]
fn replies_that_fit_nothing_lose_the_rest() {
    let cases: &[(&[&str], &[&str], &str, Phase)] = &[
        (&[], &[], "354 go\r\n", Phase::Mail),
        (&[], &["250 a\r\n"], "354 go\r\n", Phase::Rcpt),
        (&[], &["250 a\r\n", "250 b\r\n", "250 c\r\n"], "250 ok\r\n", Phase::Data),
        (&["CHUNKING"], &["250 a\r\n", "250 b\r\n", "250 c\r\n"], "354 go\r\n", Phase::Dot),
        (&[], &["250 a\r\n"], "what?\r\n", Phase::Rcpt),
        (&[], &["250 a\r\n", "250 b\r\n", "250 c\r\n", "354 d\r\n"], "what?\r\n", Phase::Dot),
    ];
    for (extensions, answers, nonsense, phase) in cases {
        let results = after(extensions, answers, |session| session.receive(nonsense.as_bytes()));
        for result in results {
            assert!(matches!(result, Result::Lost(at, _) if at == *phase), "{nonsense:?}: {result:?}");
        }
    }
}

#[test]
fn a_reply_before_its_command_is_nonsense() {
    let mut session = ready(settings(), &[]);
    session.transact(transaction(2, CONTENT));
    flush(&mut session);
    session.receive(b"250 a\r\n550 b\r\n");
    let results = results(session.next());
    assert!(matches!(results[..], [Result::Lost(Phase::Rcpt, _), Result::Lost(Phase::Rcpt, _)]), "{results:?}");
}

#[test]
fn what_follows_the_final_reply_does_not_change_it_but_ends_the_session() {
    for extra in ["421 bye\r\n", "250 again\r\n", "what?\r\n"] {
        let mut session = ready(settings(), &["PIPELINING", "CHUNKING"]);
        session.transact(transaction(1, CONTENT));
        flush(&mut session);
        session.receive(b"250 a\r\n250 b\r\n");
        flush(&mut session);
        session.receive(format!("250 thanks\r\n{extra}").as_bytes());
        assert!(!session.can_transact());
        assert_eq!(results(session.next()), [accepted(250, "thanks")]);
        assert!(matches!(session.next(), Step::Closed));
    }
}

#[test]
fn garbage_from_the_peer_never_panics_and_gives_one_result_per_recipient() {
    const WORDS: [&str; 22] = [
        "220 hi\r\n",
        "250 ok\r\n",
        "250-a\r\n",
        "250 PIPELINING\r\n",
        "250-CHUNKING\r\n",
        "250-SIZE 30\r\n",
        "354 go\r\n",
        "421 no\r\n",
        "450 no\r\n",
        "550 5.1.1 no\r\n",
        "500 no\r\n",
        "221 bye\r\n",
        "2",
        "50",
        "\r\n",
        "-",
        "\0",
        "\u{fffd}",
        "250-STARTTLS\r\n250 x\r\n",
        "235 ok\r\n",
        "250-LIMITS MAILMAX=1\r\n",
        "",
    ];
    let mut random = fastrand::Rng::with_seed(2026);
    for _ in 0..3_000 {
        let tls = [Tls::Off, Tls::Opportunistic, Tls::Required][random.usize(..3)];
        let mut session = Session::new(Arc::new(Settings { tls, ..settings() }), random.bool());
        let mut transactions = 0;
        for _ in 0..200 {
            match session.next() {
                Step::Send => session.output().clear(),
                Step::Read(_) if random.u8(..30) == 0 => session.lost("silent"),
                Step::Read(_) => session.receive(WORDS[random.usize(..WORDS.len())].as_bytes()),
                Step::StartTls => session.tls_started(),
                Step::Ready if random.u8(..5) == 0 => session.quit(),
                Step::Ready => {
                    transactions = random.usize(..4);
                    session.transact(transaction(transactions, CONTENT));
                }
                Step::Done(results) => assert_eq!(results.len(), transactions),
                Step::Failed(..) | Step::Closed => break,
            }
        }
    }
}
