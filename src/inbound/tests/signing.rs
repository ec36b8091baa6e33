//! What is signed, by whom, and when too much is to be signed at once.

use futures::future::join_all;

use super::super::sign::{Unsigned, WAITING_MAX};
use super::*;
use crate::authentication::{Algorithm, Key, Signer};

fn signers(domain: &str, selectors: &[&str]) -> Signers {
    Signers::new(selectors.iter().map(|selector| {
        let (_, key) = Key::generate(Algorithm::Ed25519).expect("a key");
        (Signer::new(domain, selector, key), false)
    }))
}

const MESSAGE: &str = "From: user@accept.test\r\nBcc: somebody@next.test\r\nSubject: x\r\n\r\nbody\r\n.";

#[test]
fn a_message_is_signed_once_with_every_key_of_its_domain() {
    story(
        |_| (),
        |world| async move {
            world.sign_with(signers("accept.test", &["s1", "s2"]));
            let mut client = world.authenticated().await;
            client.begins("user@accept.test", "b@next.test").await;
            client.says(MESSAGE, "250 2.6.0").await;
            let content = world.queued().await;
            assert_eq!(content.matches("DKIM-Signature: v=1;").count(), 2, "{content}");
            assert!(content.contains("d=accept.test; s=s1;") && content.contains("d=accept.test; s=s2;"), "{content}");
            let received = content.find("Received: ").expect("our trace");
            assert!(content.rfind("DKIM-Signature:").is_some_and(|signature| signature < received), "{content}");
            assert!(world.logged().contains("dkim=accept.test"));
            assert_eq!(world.inbound.counts().signed, 1);
        },
    );
}

#[test]
fn trusted_programs_have_their_mail_signed_too_and_who_has_no_key_has_not() {
    story(
        |_| (),
        |world| async move {
            world.sign_with(signers("accept.test", &["s1"]));
            let mut client = world.greeted(RELAY).await;
            client.begins("bounces@other.test", "b@next.test").await;
            client.says(MESSAGE, "250 2.6.0").await;
            assert!(world.queued().await.starts_with("DKIM-Signature: "));
            client.begins("user@accept.test", "c@third.test").await;
            client.says("From: a@other.test\r\n\r\nbody\r\n.", "250 2.6.0").await;
            assert!(!world.queued().await.contains("DKIM-Signature"));
            assert_eq!(world.inbound.counts().signed, 1);
        },
    );
}

#[test]
fn eight_bits_become_seven_before_a_signature_unless_the_key_keeps_them() {
    story(
        |_| (),
        |world| async move {
            let mut client = world.authenticated().await;
            for (number, is_kept) in [false, true].into_iter().enumerate() {
                let signer = Signer::new("accept.test", "s1", Key::generate(Algorithm::Ed25519).expect("a key").1);
                let signer = if is_kept { signer.keeping_8bit() } else { signer };
                world.sign_with(Signers::new([(signer, false)]));
                client.says("MAIL FROM:<user@accept.test> BODY=8BITMIME", "250").await;
                client.says(&format!("RCPT TO:<b@next{number}.test>"), "250").await;
                client.says("DATA", "354").await;
                client.says("From: user@accept.test\r\n\r\nGr\u{fc}\u{df}e\r\n.", "250 2.6.0").await;
                let content = world.queued().await;
                assert!(content.starts_with("DKIM-Signature: "), "{content}");
                let text = if is_kept { "\r\n\r\nGr\u{fc}\u{df}e\r\n" } else { "\r\n\r\nGr=C3=BC=C3=9Fe\r\n" };
                assert!(content.ends_with(text), "{content}");
                // What hosts put before a message stays before what was added to it.
                let version = content.find("\r\nMIME-Version: 1.0\r\n");
                assert!(version.is_none_or(|version| content.find("Received: ").is_some_and(|trace| trace < version)));
                assert_eq!(version.is_none(), is_kept);
            }
        },
    );
}

#[test]
fn keys_change_between_two_messages_of_a_session() {
    story(
        |_| (),
        |world| async move {
            let mut client = world.authenticated().await;
            for (keys, recipient) in
                [(Signers::default(), "b@one.test"), (signers("accept.test", &["new"]), "b@two.test")]
            {
                let signs = keys.of(MESSAGE.as_bytes()).is_some();
                world.sign_with(keys);
                client.begins("user@accept.test", recipient).await;
                client.says(MESSAGE, "250 2.6.0").await;
                assert_eq!(world.queued().await.contains("s=new;"), signs);
            }
        },
    );
}

#[test]
fn messages_that_wait_for_a_signature_are_bounded() {
    story(
        |_| (),
        |world| async move {
            let inner = &world.inbound.0;
            let together = signers("accept.test", &["s1"]).of(MESSAGE.as_bytes()).expect("a key");
            let one = || {
                let content = MESSAGE.as_bytes().to_vec();
                inner.signing.sign(&inner.reactor, together.clone(), content, inner.reactor.wall(), 1 << 20)
            };
            let results = join_all((0..WAITING_MAX + 3).map(|_| one())).await;
            assert_eq!(results.iter().filter(|result| **result == Err(Unsigned::Busy)).count(), 3);
            assert_eq!(results.iter().filter(|result| result.is_ok()).count(), WAITING_MAX);
            assert!(one().await.is_ok(), "there is room again");
        },
    );
}
