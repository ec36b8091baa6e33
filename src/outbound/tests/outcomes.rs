//! What a peer says or does becomes each recipient's outcome.

use super::*;

#[test]
fn a_message_is_delivered_with_all_its_recipients() {
    story("", &[], async |mut world| {
        let peer = world.peer(|_| Act::Usual);
        let done = world.deliver(&site_of(&peer), 2).await;
        assert_eq!(shapes(&done), ["delivered 2.0.0 Dot", "delivered 2.0.0 Dot"]);
        assert_eq!(done.park, None);
        let Outcome::Delivered(answer, _) = &done.outcomes[0].1 else { panic!("not delivered") };
        let remote = format!("127.0.0.1[127.0.0.1]:{}", peer.address.port());
        assert_eq!(answer.remote.as_deref(), Some(remote.as_str()));
        assert_eq!(&*answer.text, "250 2.0.0 taken");
        let messages = peer.record.messages.borrow();
        let (recipients, content, _) = &messages[0];
        assert_eq!(recipients.len(), 2);
        assert_eq!(format!("{content}\r\n").replace("\r\n..", "\r\n."), CONTENT);
        assert_eq!(peer.record.count("EHLO mta.ringpost.test"), 2, "before and after STARTTLS");
    });
}

#[test]
fn each_recipient_has_an_outcome_of_its_own() {
    story("", &[], async |mut world| {
        let peer = world.peer(|moment| match moment.line {
            line if line.starts_with("RCPT TO:<r1@") => Act::Say("450 4.2.0 greylisted"),
            line if line.starts_with("RCPT TO:<r2@") => Act::Say("550 5.1.1 no such user"),
            _ => Act::Usual,
        });
        let done = world.deliver(&site_of(&peer), 4).await;
        let expected = ["delivered 2.0.0 Dot", "deferred 4.2.0 Rcpt", "failed 5.1.1 Rcpt", "delivered 2.0.0 Dot"];
        assert_eq!(shapes(&done), expected);
        let metrics = &world.metrics;
        let counts = [metrics.delivered.get(), metrics.deferred.get(), metrics.failed.get(), metrics.untried.get()];
        assert_eq!(counts, [2, 1, 1, 0]);
    });
}

#[test]
fn a_reset_at_each_phase_defers() {
    // A connection that is reset at once may never have seemed to stand.
    let cases: [(&str, &[&str]); 6] = [
        ("", &["4.4.1 Greeting", "4.4.1 Connect"]),
        ("EHLO", &["4.4.1 Ehlo"]),
        ("MAIL", &["4.4.2 Mail"]),
        ("RCPT", &["4.4.2 Rcpt"]),
        ("DATA", &["4.4.2 Data"]),
        (".", &["4.4.2 Dot"]),
    ];
    for (line, expected) in cases {
        story("", &[], async move |mut world| {
            let peer = world.peer(except(line, Act::Reset));
            let done = world.deliver(&site_of(&peer), 1).await;
            let shape = shapes(&done).concat();
            assert!(expected.iter().any(|words| shape == format!("deferred {words}")), "reset at {line:?}: {shape}");
            assert!(peer.record.messages.borrow().is_empty());
        });
    }
}

#[test]
fn silence_at_each_phase_defers_when_the_patience_ends() {
    let cases = [
        ("", "4.4.1 Greeting"),
        ("EHLO", "4.4.1 Ehlo"),
        ("MAIL", "4.4.2 Mail"),
        ("RCPT", "4.4.2 Rcpt"),
        ("DATA", "4.4.2 Data"),
        (".", "4.4.2 Dot"),
    ];
    for (line, expected) in cases {
        story("", &[], async move |mut world| {
            let peer = world.peer(except(line, Act::Silence));
            let done = world.deliver(&site_of(&peer), 1).await;
            assert_eq!(shapes(&done), [format!("deferred {expected}")], "silence at {line:?}");
            assert!(text(&done).contains("timed out"), "{}", text(&done));
        });
    }
}

#[test]
fn a_peer_that_leaves_after_the_dot_may_have_the_message() {
    story("", &[], async |mut world| {
        let peer = world.peer(except(".", Act::Reset));
        let done = world.deliver(&site_of(&peer), 1).await;
        assert!(text(&done).contains("may have it"), "{}", text(&done));
    });
}

#[test]
fn a_421_defers_and_ends_the_connection() {
    story("", &[], async |mut world| {
        let peer = world.peer(except("RCPT", Act::SayAndClose("421 4.3.2 shutting down")));
        let done = world.deliver(&site_of(&peer), 2).await;
        assert_eq!(shapes(&done), ["deferred 4.3.2 Rcpt", "deferred 4.3.2 Rcpt"]);
        assert_eq!(text(&done), "421 4.3.2 shutting down");
    });
}

#[test]
fn recipients_beyond_the_peers_number_go_in_the_next_transaction() {
    story("", &[], async |mut world| {
        let accepted = std::cell::Cell::new(0);
        let peer = world.peer(move |moment| {
            match moment.line.split(' ').next() {
                Some("MAIL") => accepted.set(0),
                Some("RCPT") => accepted.set(accepted.get() + 1),
                _ => {}
            }
            if moment.line.starts_with("RCPT") && accepted.get() > 2 {
                return Act::Say("452 4.5.3 too many recipients");
            }
            Act::Usual
        });
        let done = world.deliver(&site_of(&peer), 5).await;
        assert!(done.outcomes.iter().all(|(_, outcome)| matches!(outcome, Outcome::Delivered(..))));
        let sizes: Vec<usize> = peer.record.messages.borrow().iter().map(|(rcpts, ..)| rcpts.len()).collect();
        assert_eq!(sizes, [2, 2, 1]);
        assert_eq!(peer.record.connections.get(), 1);
    });
}

#[test]
fn a_transaction_has_at_most_a_hundred_recipients() {
    story("", &[], async |mut world| {
        let peer = world.peer(|_| Act::Usual);
        let done = world.deliver(&site_of(&peer), 250).await;
        assert!(done.outcomes.iter().all(|(_, outcome)| matches!(outcome, Outcome::Delivered(..))));
        let sizes: Vec<usize> = peer.record.messages.borrow().iter().map(|(rcpts, ..)| rcpts.len()).collect();
        assert_eq!(sizes, [100, 100, 50]);
    });
}
