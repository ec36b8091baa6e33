//! Submission: TLS, AUTH and what an account may do.

use super::*;
use crate::config::{Account, Notices};
use crate::inbound::credentials::{THROTTLED_DELAY, VERIFYING_MAX, Verified};
use crate::smtp::sasl::{login_response, plain_response};

#[test]
fn starttls_then_auth_then_a_message() {
    story(
        |_| (),
        |world| async move {
            let mut client = world.greeted(SUBMISSION).await;
            client.says("AUTH LOGIN", "530 5.7.0").await;
            client.says("STARTTLS", "220 2.0.0").await;
            let mut client = client.encrypt().await;
            let offer = client.says("EHLO [10.0.0.2]", "250").await;
            assert!(offer.contains("AUTH PLAIN LOGIN") && !offer.contains("STARTTLS"), "{offer}");
            client.says("AUTH LOGIN", "334 VXNlcm5hbWU6").await;
            client.says(&login_response("User@accept.test"), "334 UGFzc3dvcmQ6").await;
            client.says(&login_response(PASSWORD), "235 2.7.0").await;
            client.begins("user@accept.test", "b@next.test").await;
            client
                .says("From: user@accept.test\r\nMessage-ID: <1@x>\r\n\r\nhello\r\n.", "250 2.6.0 <1@x> queued as")
                .await;
            let content = world.queued().await;
            assert!(content.contains(" with ESMTPSA id ") && content.contains("version=TLSv1.3"), "{content}");
        },
    );
}

#[test]
fn an_account_sends_as_itself_only() {
    story(
        |_| (),
        |world| async move {
            let mut client = world.authenticated().await;
            let refusal = client.says("MAIL FROM:<boss@accept.test>", "553 5.7.1").await;
            assert!(refusal.contains("user@accept.test"), "{refusal}");
            client.begins("user@accept.test", "b@next.test").await;
            client.says("From: boss@accept.test\r\n\r\nhello\r\n.", "553 5.7.1").await;
            client.begins("", "b@next.test").await;
            client.says("From: user@accept.test\r\n\r\nhello\r\n.", "250 2.6.0").await;
            assert_eq!(world.inbound.counts().messages, 1);
            let log = world.logged();
            assert_eq!(log.matches("event=refused").count(), 2, "{log}");
            assert!(log.contains("account=user@accept.test"), "{log}");
        },
    );
}

#[test]
fn wrong_credentials_are_answered_ever_later_and_not_for_ever() {
    story(
        |_| (),
        |world| async move {
            let mut client = world.greeted(SUBMISSIONS).await;
            let mut last = Duration::ZERO;
            for (user, reply) in
                [("user@accept.test", "535 5.7.8"), ("nobody@accept.test", "535 5.7.8"), ("user", "421 4.7.0")]
            {
                let began = world.reactor.now();
                client.says(&format!("AUTH PLAIN {}", plain_response(user, "a-guess")), reply).await;
                let took = world.reactor.now().since(began);
                assert!(took >= Duration::from_secs(1) && took > last, "{took:?} after {last:?}");
                last = took;
            }
            client.hears_no_more().await;
            assert_eq!(world.inbound.counts().auth_failures, 3);
            let log = world.logged();
            assert!(log.contains("what=auth") && !log.contains("a-guess"), "{log}");
        },
    );
}

#[test]
fn who_was_right_is_remembered_until_the_accounts_change() {
    story(
        |_| (),
        |world| async move {
            world.authenticated().await;
            world.authenticated().await;
            let mut config = super::config(world.server.address());
            config.accounts[0].password = hash("new").into();
            config.accounts.push(account("other@accept.test", "second", None));
            world.reload(config);
            let mut client = world.greeted(SUBMISSIONS).await;
            client.says(&format!("AUTH PLAIN {}", plain_response("user@accept.test", PASSWORD)), "535 5.7.8").await;
            client.says(&format!("AUTH PLAIN {}", plain_response("other@accept.test", "second")), "235").await;
        },
    );
}

fn account(name: &str, password: &str, daily_limit: Option<u64>) -> Account {
    Account {
        name: name.into(),
        password: hash(password).into(),
        senders: vec![name.into()],
        smtp: true,
        daily_limit,
        scheduled_send: false,
        return_path: false,
        notify: Notices { failed: true, delayed: true, delivered: false },
        standard: Default::default(),
    }
}

#[test]
fn a_day_has_its_limit() {
    story(
        |config| config.accounts[0].daily_limit = Some(2),
        |world| async move {
            let mut client = world.authenticated().await;
            client.begins("user@accept.test", "1@next.test").await;
            client.says("From: user@accept.test\r\n\r\n.", "250 2.6.0").await;
            client.says("MAIL FROM:<user@accept.test>", "250").await;
            client.says("RCPT TO:<2@next.test>", "250").await;
            let refusal = client.says("RCPT TO:<3@next.test>", "452 4.7.1").await;
            assert!(refusal.contains("2 recipients a day") && refusal.contains("00:00 UTC"), "{refusal}");
            client.says("RSET", "250").await;
            world.reactor.sleep(Duration::from_secs(24 * 3600)).await;
            let mut client = world.authenticated().await;
            client.begins("user@accept.test", "4@next.test").await;
        },
    );
}

#[test]
fn sessions_side_by_side_share_a_day_and_give_back_what_they_do_not_use() {
    const RCPT: &str = "RCPT TO:<b@next.test>";
    const MAIL: &str = "MAIL FROM:<user@accept.test>";
    story(
        |config| config.accounts[0].daily_limit = Some(3),
        |world| async move {
            let (mut one, mut other) = (world.authenticated().await, world.authenticated().await);
            one.says(MAIL, "250").await;
            other.says(MAIL, "250").await;
            for (client, reply) in [(1, "250"), (2, "250"), (1, "250"), (2, "452 4.7.1"), (1, "452 4.7.1")] {
                if client == 1 {
                    one.says(RCPT, reply).await
                } else {
                    other.says(RCPT, reply).await
                };
            }
            one.says("RSET", "250").await;
            for reply in ["250", "250", "452 4.7.1"] {
                other.says(RCPT, reply).await;
            }
            drop((one, other));
            world.emptied().await;

            let mut client = world.authenticated().await;
            client.begins("user@accept.test", "1@next.test").await;
            client.says("From: boss@accept.test\r\n\r\n.", "553 5.7.1").await;
            client.says(MAIL, "250").await;
            for reply in ["250", "250", "250", "452 4.7.1"] {
                client.says(RCPT, reply).await;
            }
            client.says("DATA", "354").await;
            client.says("From: user@accept.test\r\n\r\n.", "250 2.6.0").await;

            let mut config = super::config(world.server.address());
            config.accounts[0].daily_limit = Some(4);
            config.accounts.push(account("new@accept.test", PASSWORD, Some(1)));
            world.reload(config);
            let mut client = world.authenticated().await;
            client.says(MAIL, "250").await;
            client.says(RCPT, "250").await;
            client.says(RCPT, "452 4.7.1").await;
            let mut client = world.greeted(SUBMISSIONS).await;
            client.says(&format!("AUTH PLAIN {}", plain_response("new@accept.test", PASSWORD)), "235").await;
            client.says("MAIL FROM:<new@accept.test>", "250").await;
            client.says(RCPT, "250").await;
            client.says(RCPT, "452 4.7.1").await;
        },
    );
}

/// On a real core: a verification takes its time elsewhere.
#[test]
fn while_credentials_are_verified_others_converse() {
    let directory = tempfile::tempdir().expect("a folder");
    let mut config = config([127, 0, 0, 1].into());
    config.data_dir = directory.path().to_path_buf();
    config.listeners.retain(|listener| listener.address.port() == SUBMISSIONS);
    config.listeners[0].address.set_port(0);
    config.accounts[0].password = hash_of_cost(PASSWORD, 64 << 10, 6).into();
    shards::launch::run(|reactor| async move {
        let config = Arc::new(config);
        let log = Log::new(&reactor, 0, Channel::new(Style::Logfmt));
        let queue = Queue::open(&reactor, config.clone(), 0, log.clone()).await.expect("the queue opens");
        let dns = super::screening::lists(&reactor);
        let screening = Screening::new(&reactor, &config.screening, dns.clone(), log.clone());
        let quotas = Quotas::new(&config);
        let (tls, returns) = (Some(certificate()), no_returns());
        let (gate, signers) = (Gate::new(&config, Arc::default()), Arc::default());
        let inbound =
            Inbound::new(&reactor, config, tls, signers, quotas, None, queue, screening, dns, gate, returns, log);
        let address = inbound.open(&[]).expect("the door opens")[0];
        let connect = async || {
            let stream = reactor.connect(address, None, PATIENCE).await.expect("it connects");
            let connection = Some(Connection::plain(stream));
            let client = Client { reactor: reactor.clone(), connection, unread: String::new() };
            let mut client = client.encrypt().await;
            client.hears("220").await;
            client.says("EHLO client.test", "250").await;
            client
        };
        let (mut verified, mut other) = (connect().await, connect().await);
        let mut replies = 0;
        let command = format!("AUTH PLAIN {}", plain_response("user@accept.test", PASSWORD));
        let conversation = async {
            loop {
                other.says("NOOP", "250").await;
                replies += 1;
            }
        };
        select(pin!(verified.says(&command, "235")), pin!(conversation)).await;
        // On the shard itself the verification would be over between two of them.
        assert!(replies >= 20, "{replies} replies while a verification went on");
    })
    .expect("an executor");
}

#[test]
fn verifications_that_wait_are_bounded() {
    story(
        |_| (),
        |world| async move {
            let inner = &world.inbound.0;
            let accounts = inner.current.borrow().accounts.clone();
            let client = IpAddr::from([192, 0, 2, 1]);
            let attempts = (0..VERIFYING_MAX + 2).map(|number| {
                let guess = number.to_string().into();
                inner.credentials.verify(&inner.reactor, &accounts, client, "user@accept.test", guess)
            });
            let verdicts = futures::future::join_all(attempts).await;
            let count = |wanted: fn(&Verified) -> bool| verdicts.iter().filter(|verdict| wanted(verdict)).count();
            assert_eq!(count(|verdict| matches!(verdict, Verified::Wrong)), VERIFYING_MAX);
            assert_eq!(count(|verdict| matches!(verdict, Verified::Busy)), 2);
        },
    );
}

#[test]
fn an_account_without_smtp_cannot_tell_why() {
    story(
        |config| config.accounts[0].smtp = false,
        |world| async move {
            let mut client = world.greeted(SUBMISSIONS).await;
            client.says(&format!("AUTH PLAIN {}", plain_response("user@accept.test", PASSWORD)), "535 5.7.8").await;
        },
    );
}

#[test]
fn a_failed_handshake_ends_one_connection() {
    story(
        |_| (),
        |world| async move {
            let mut client = world.greeted(SUBMISSION).await;
            client.says("STARTTLS", "220").await;
            client.sends(b"EHLO this is no handshake\r\n").await;
            while client.connection().receive(PATIENCE).await.is_ok_and(|bytes| !bytes.is_empty()) {}
            world.emptied().await;
            assert_eq!(world.inbound.counts().tls_failures, 1);
            assert!(world.logged().contains("event=tls_failed"));
            world.greeted(SUBMISSION).await;
        },
    );
}

#[test]
fn guessing_ends_in_421_and_tells_nothing() {
    story(
        |config| config.limits.auth_failures_per_address_max = 4,
        |world| async move {
            let wrong = format!("AUTH PLAIN {}", plain_response("nobody@accept.test", "a-guess"));
            for _ in 0..2 {
                let mut client = world.greeted(SUBMISSIONS).await;
                client.says(&wrong, "535 5.7.8").await;
                client.says(&wrong, "535 5.7.8").await;
            }
            for user in ["user@accept.test", "nobody@accept.test"] {
                let mut client = world.greeted(SUBMISSIONS).await;
                let began = world.reactor.now();
                client.says(&format!("AUTH PLAIN {}", plain_response(user, PASSWORD)), "421 4.7.0").await;
                assert_eq!(world.reactor.now().since(began).as_secs(), THROTTLED_DELAY.as_secs());
                client.hears_no_more().await;
            }
            world.reactor.sleep(Duration::from_secs(601)).await;
            world.authenticated().await;
        },
    );
}

#[test]
fn an_attacked_account_lets_in_only_who_was_there_before() {
    story(
        |config| config.limits.auth_failures_per_account_max = 2,
        |world| async move {
            world.authenticated().await;
            let mut client = world.greeted(SUBMISSIONS).await;
            let wrong = format!("AUTH PLAIN {}", plain_response("user@accept.test", "a-guess"));
            client.says(&wrong, "535 5.7.8").await;
            client.says(&wrong, "535 5.7.8").await;
            world.authenticated().await;
            let mut client = world.greeted(SUBMISSIONS).await;
            client.says(&wrong, "421 4.7.0").await;
            world.reactor.sleep(Duration::from_secs(70)).await;
            let mut client = world.greeted(SUBMISSIONS).await;
            client.says(&format!("AUTH PLAIN {}", plain_response("user@accept.test", PASSWORD)), "421 4.7.0").await;
        },
    );
}

#[test]
fn failures_about_an_account_count_on_all_shards_together() {
    story_of_shards(
        |config| config.limits.auth_failures_per_account_max = 4,
        |[one, other]| async move {
            let wrong = format!("AUTH PLAIN {}", plain_response("user@accept.test", "a-guess"));
            let right = format!("AUTH PLAIN {}", plain_response("user@accept.test", PASSWORD));
            for world in [&one, &other] {
                let mut client = world.greeted(SUBMISSIONS).await;
                client.says(&wrong, "535 5.7.8").await;
                client.says(&wrong, "535 5.7.8").await;
            }
            for world in [&one, &other] {
                let mut client = world.greeted(SUBMISSIONS).await;
                client.says(&right, "421 4.7.0").await;
                client.hears_no_more().await;
            }
            one.reactor.sleep(Duration::from_secs(601)).await;
            other.authenticated().await;
        },
    );
}

#[test]
fn an_account_has_so_many_connections_on_all_shards_together() {
    story_of_shards(
        |config| config.limits.connections_per_account_max = 3,
        |[one, other]| async move {
            let right = format!("AUTH PLAIN {}", plain_response("User@accept.test", PASSWORD));
            let first = one.authenticated().await;
            let _others = (one.authenticated().await, other.authenticated().await);
            for world in [&one, &other] {
                let mut client = world.greeted(SUBMISSIONS).await;
                let refusal = client.says(&right, "421 4.7.0").await;
                assert!(refusal.contains("3 connections open"), "{refusal}");
                client.hears_no_more().await;
            }
            // Who has not logged in has no place among them, whoever they say they are.
            let mut wrong = other.greeted(SUBMISSIONS).await;
            wrong.says(&format!("AUTH PLAIN {}", plain_response("user@accept.test", "a-guess")), "535 5.7.8").await;
            drop(first);
            while one.inbound.counts().open > 1 {
                one.reactor.sleep(Duration::from_millis(10)).await;
            }
            wrong.says(&right, "235 2.7.0").await;
        },
    );
}

#[test]
fn blind_copies_are_nobodys_business() {
    story(
        |_| (),
        |world| async move {
            let mut client = world.authenticated().await;
            client.begins("user@accept.test", "b@next.test").await;
            let header = "Bcc: c@next.test,\r\n\td@next.test\r\nFrom: user@accept.test\r\nresent-bcc: e@next.test\r\n\
                          Date: Mon, 23 Nov 2026 07:46:40 +0000\r\nSubject:   x ";
            client.says(&format!("{header}\r\n\r\nBcc: body\r\n."), "250 2.6.0").await;
            let content = world.queued().await;
            let rest = "\r\nFrom: user@accept.test\r\nDate: Mon, 23 Nov 2026 07:46:40 +0000\r\nSubject:   x \r\n\r\nBcc: body\r\n";
            assert!(content.ends_with(rest) && content.matches("cc:").count() == 1, "{content}");
        },
    );
}

#[test]
fn a_foreign_sender_field_is_refused() {
    story(
        |_| (),
        |world| async move {
            let mut client = world.authenticated().await;
            client.begins("user@accept.test", "b@next.test").await;
            let refused = "From: user@accept.test\r\nSender: boss@accept.test\r\n\r\n.";
            assert!(client.says(refused, "553 5.7.1 The Sender field").await.contains("user@accept.test"));
            client.begins("user@accept.test", "b@next.test").await;
            client.says("From: user@accept.test, user@accept.test\r\n\r\n.", "553 5.7.1").await;
        },
    );
}
