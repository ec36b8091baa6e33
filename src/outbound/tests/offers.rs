//! What a peer takes.

use super::*;

/// A peer that offers this at EHLO.
fn offering(world: &World, offer: &'static str) -> Peer {
    world.peer(except("EHLO", Act::Say(offer)))
}

/// Hands in a task to one recipient at `domain`.
fn give_to(world: &mut World, site: &Arc<Site>, domain: &str) {
    world.leases += 1;
    let mut task = task(site, world.leases, 1);
    task.recipients[0].1.path = Mailbox::parse(&format!("r@{domain}"), false).expect("a mailbox");
    world.pool.take(3, task);
}

#[test]
fn a_connection_has_no_more_domains_than_the_peer_takes() {
    story("connections_max = 1", &[], async |mut world| {
        let peer = offering(&world, "250-peer.test\r\n250 LIMITS RCPTDOMAINMAX=2");
        let site = site_of(&peer);
        for domain in ["a.test", "B.test", "A.test", "c.test", "a.test", "b.test"] {
            give_to(&mut world, &site, domain);
            assert_eq!(shapes(&world.done().await), ["delivered 2.0.0 Dot"], "{domain}");
        }
        let lines = peer.record.lines.borrow();
        let recipients = lines.iter().filter(|(_, line)| line.starts_with("RCPT"));
        let connections: Vec<u32> = recipients.map(|(connection, _)| *connection).collect();
        assert_eq!(connections, [1, 1, 1, 2, 2, 3]);
    });
}

#[test]
fn eight_bits_become_seven_for_a_peer_that_does_not_take_them() {
    for (offer, expected) in [("250 peer.test", "=C3=BC"), ("250-peer.test\r\n250 8BITMIME", "ü")] {
        story("", &[], async move |mut world| {
            let peer = offering(&world, offer);
            let mut task = task(&site_of(&peer), 1, 1);
            task.sender.body = Body::EightBitMime;
            task.content = Arc::new("Subject: x\r\n\r\nü\r\n".as_bytes().to_vec());
            world.pool.take(3, task);
            assert_eq!(shapes(&world.done().await), ["delivered 2.0.0 Dot"]);
            let content = peer.record.messages.borrow()[0].1.clone();
            assert!(content.ends_with(&format!("\r\n\r\n{expected}")), "{content}");
            let takes_eight = offer.contains("8BITMIME");
            assert_eq!(content.contains("Content-Transfer-Encoding: quoted-printable\r\n"), !takes_eight, "{content}");
            assert_eq!(usize::from(takes_eight), peer.record.count("MAIL FROM:<sender@here.test> BODY=8BITMIME"));
        });
    }
}

#[test]
fn smtputf8_is_asked_for_only_where_something_needs_it() {
    const WITHOUT: &str = "250-peer.test\r\n250 8BITMIME";
    const WITH: &str = "250-peer.test\r\n250-8BITMIME\r\n250 SMTPUTF8";
    let parts = |name: &str| {
        format!(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Disposition: attachment; filename=\"{name}\"\r\n\
             \r\n\u{fc}\r\n--b--\r\n"
        )
    };
    let cases = [
        (CONTENT.to_owned(), false),
        ("Subject: x\r\n\r\n\u{fc}\r\n".to_owned(), false),
        ("Subject: \u{fc}\r\n\r\nx\r\n".to_owned(), true),
        (parts("u.txt"), false),
        (parts("\u{fc}.txt"), true),
    ];
    for (content, needs_it) in cases {
        for offer in [WITHOUT, WITH] {
            let content = content.clone();
            story("", &[], async move |mut world| {
                let peer = offering(&world, offer);
                let mut task = task(&site_of(&peer), 1, 1);
                task.sender.smtputf8 = true;
                task.content = Arc::new(content.clone().into_bytes());
                world.pool.take(3, task);
                let is_impossible = needs_it && offer == WITHOUT;
                let expected = if is_impossible { "failed 5.6.7 Mail" } else { "delivered 2.0.0 Dot" };
                assert_eq!(shapes(&world.done().await), [expected], "{content}");
                let asked = peer.record.count("MAIL FROM:<sender@here.test> SMTPUTF8");
                assert_eq!(asked, usize::from(needs_it && offer == WITH), "{content}");
            });
        }
    }
}

#[test]
fn an_address_outside_ascii_fails_alone_where_the_peer_does_not_take_it() {
    for (offer, expected) in
        [("250 peer.test", "failed 5.6.7 Mail"), ("250-peer.test\r\n250 SMTPUTF8", "delivered 2.0.0 Dot")]
    {
        story("", &[], async move |mut world| {
            let peer = offering(&world, offer);
            let mut task = task(&site_of(&peer), 1, 4);
            task.sender.smtputf8 = true;
            for index in [0, 2] {
                let international = format!("\u{fc}{index}@next.test");
                task.recipients[index].1.path = Mailbox::parse(&international, true).expect("a mailbox");
            }
            world.pool.take(3, task);
            let (ascii, international) = ("delivered 2.0.0 Dot", expected);
            assert_eq!(shapes(&world.done().await), [international, ascii, international, ascii]);
            assert_eq!(peer.record.messages.borrow().len(), 1, "those who can have it have one transaction");
            assert_eq!(peer.record.count("MAIL"), 1);
        });
    }
}
