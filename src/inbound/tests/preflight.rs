//! Messages that are held against the rules of large receivers before they are taken.

use super::super::preflight::{MEMORY, MEMORY_OF_NOTHING, PATIENCE as DNS_PATIENCE, RECEIVER_PATIENCE};
use super::*;
use crate::authentication::{Algorithm, Key, Signer};
use crate::config::preflight::AtSubmission;
use crate::config::{Pool, Route, Source, egress::Member};
use crate::dns::{Answer, Query, Question};

/// So short that the answers are asked for again before what was made of them is forgotten.
const TTL: Duration = Duration::from_secs(5);
/// A newsletter that breaks no rule of its own; it is signed.
const NEWS: &str = "From: News <a@good.test>\r\nDate: Thu, 26 Nov 2026 04:00:00 +0000\r\nMessage-ID: <1@good.test>\r\n\
                    List-Unsubscribe: <https://good.test/u?1>\r\n\
                    List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\r\nbody\r\n.";

/// What DNS says here of domains and of 192.0.2.7. Of `silent.test` it says nothing, `down.test` is in trouble.
pub(super) fn answer(query: Query, unanswered: &mut Vec<Query>) {
    let name = match &query.question {
        Question::Mx(name) | Question::Texts(name) | Question::Names(name) | Question::Addresses(name) => &**name,
        other => panic!("{other:?} is asked"),
    };
    if name.ends_with("silent.test") {
        return unanswered.push(query);
    }
    let text = |text: String| Answer::Texts(vec![text.into()], TTL);
    let answer = match (&query.question, name) {
        (_, name) if name.ends_with("down.test") => Answer::Trouble("SERVFAIL".into()),
        (Question::Mx(_), "gmail.test") => Answer::Mx(vec![(10, "alt1.gmail-smtp-in.l.google.com".into())], TTL),
        (Question::Mx(_), "outlook.test") => Answer::Mx(vec![(10, "test.olc.protection.outlook.com".into())], TTL),
        // Not what `good.test` says of who sends for it.
        (Question::Addresses(_), "mta.test") => Answer::Addresses(vec![[192, 0, 2, 99].into()], TTL),
        (Question::Names(_), "7.2.0.192.in-addr.arpa") => text("mta.test".into()),
        (Question::Texts(_), "good.test") => text("v=spf1 ip4:192.0.2.7 -all".into()),
        (Question::Texts(_), "_dmarc.good.test") => text("v=DMARC1; p=none".into()),
        (Question::Texts(_), "s1._domainkey.good.test") => text(PUBLISHED.with(|text| text.borrow().clone())),
        _ => Answer::NoSuchName(TTL),
    };
    ASKED.with(|asked| asked.set(asked.get() + 1));
    query.reply.send(answer).expect("it is waited for");
}

thread_local! {
    /// The record of the key that signs.
    static PUBLISHED: RefCell<String> = RefCell::default();
    /// How many questions were answered.
    static ASKED: Cell<u32> = const { Cell::new(0) };
}

fn asked() -> u32 {
    ASKED.with(Cell::take)
}

/// A server whose messages leave from 192.0.2.7 and which looks at them.
fn looks(at_submission: AtSubmission) -> impl FnOnce(&mut Config) {
    move |config| {
        let source = Source { addresses: vec![[192, 0, 2, 7].into()], ..Source::default() };
        let members = vec![Member { source: Arc::new(source), weight: 1 }];
        config.host_pool = Arc::new(Pool { name: "".into(), members });
        config.preflight = at_submission;
    }
}

impl World {
    /// Signs what is from `good.test`, with a key that DNS publishes.
    fn signs_well(&self) {
        let signer = Signer::new("good.test", "s1", Key::generate(Algorithm::Ed25519).expect("a key").1);
        PUBLISHED.with(|text| text.replace(signer.record().expect("a record").1));
        self.sign_with(Signers::new([(signer, false)]));
    }

    /// Hands in `message` through the relay; what is said to it, after which time.
    async fn hands_in(&self, sender: &str, recipient: &str, message: &str) -> (String, Duration) {
        let mut client = self.greeted(RELAY).await;
        client.begins(sender, recipient).await;
        let begin = self.reactor.now();
        client.sends(format!("{message}\r\n").as_bytes()).await;
        (client.reply().await, self.reactor.now().since(begin))
    }
}

#[test]
fn what_breaks_no_rule_is_taken_and_says_so_and_dns_is_asked_once_in_a_while() {
    story(looks(AtSubmission::Refuse), |world| async move {
        world.signs_well();
        for _ in 0..2 {
            let (said, _) = world.hands_in("b@good.test", "c@gmail.test", NEWS).await;
            assert!(said.starts_with("250 2.6.0"), "{said}");
            assert!(world.logged().contains("preflight=pass"));
        }
        assert!(asked() > 0);
        // The answers are forgotten, and what was made of them is not.
        world.reactor.sleep(MEMORY / 2).await;
        world.hands_in("b@good.test", "c@gmail.test", NEWS).await;
        assert_eq!(asked(), 0);
        world.reactor.sleep(MEMORY).await;
        world.hands_in("b@good.test", "c@gmail.test", NEWS).await;
        assert!(asked() > 0);
        let counts: Vec<_> = world.inbound.preflight_counts().collect();
        assert_eq!(counts[0], ("preflight_messages_total{verdict=\"pass\"}", 4), "{counts:?}");
    });
}

#[test]
fn what_breaks_one_is_refused_with_what_to_change_or_taken_with_a_warning_or_not_looked_at() {
    let forged = NEWS.replace("good.test", "bad.test").replace("List-Unsubscribe-Post", "X-Post");
    for at_submission in [AtSubmission::Refuse, AtSubmission::Warn, AtSubmission::Off] {
        let forged = forged.clone();
        story(looks(at_submission), move |world| async move {
            asked();
            let (said, _) = world.hands_in("b@bad.test", "c@gmail.test", &forged).await;
            let log = world.logged();
            match at_submission {
                AtSubmission::Refuse => {
                    assert!(said.starts_with("550-5.7.1 The message breaks rules of Gmail"), "{said}");
                    for part in
                        ["spf: bad.test, of the reverse-path, has no SPF record; add the TXT record", "one-click: "]
                    {
                        assert!(said.contains(&format!("5.7.1 {part}")), "{part}: {said}");
                    }
                    assert!(log.contains("event=refused") && !log.contains("event=accepted"), "{log}");
                }
                AtSubmission::Warn => {
                    assert!(said.starts_with("250 2.6.0"), "{said}");
                    let verdict = "\"fail: one-click signed one-click-signed spf dmarc alignment\"";
                    assert!(log.contains("event=preflight") && log.contains(&format!("verdict={verdict}")), "{log}");
                    assert!(log.contains("event=accepted") && log.contains(&format!("preflight={verdict}")), "{log}");
                }
                AtSubmission::Off => {
                    assert!(said.starts_with("250 2.6.0") && !log.contains("preflight"), "{said} {log}");
                    assert_eq!(asked(), 0);
                }
            }
        });
    }
}

#[test]
fn only_the_rules_of_those_it_goes_to_count() {
    let forged = NEWS.replace("List-Unsubscribe-Post", "X-Post");
    story(looks(AtSubmission::Refuse), |world| async move {
        world.signs_well();
        for (recipient, expected) in [("c@gmail.test", "550"), ("c@outlook.test", "250"), ("c@firm.test", "250")] {
            let (said, _) = world.hands_in("b@good.test", recipient, &forged).await;
            assert!(said.starts_with(expected), "{recipient}: {said}");
        }
        // A notice is no bulk mail.
        let (said, _) = world.hands_in("", "c@gmail.test", &forged).await;
        assert!(said.starts_with("250"), "{said}");
    });
}

#[test]
fn a_source_without_addresses_of_its_own_fails_by_no_guess() {
    let change = |config: &mut Config| {
        looks(AtSubmission::Refuse)(config);
        let members = vec![Member { source: Arc::default(), weight: 1 }];
        config.host_pool = Arc::new(Pool { name: "".into(), members });
    };
    story(change, |world| async move {
        world.signs_well();
        let (said, _) = world.hands_in("b@good.test", "c@gmail.test", NEWS).await;
        assert!(said.starts_with("250"), "{said}");
        assert!(world.logged().contains("preflight=\"unknown: spf ptr\""), "{}", world.logged());
    });
}

#[test]
fn behind_a_next_hop_nobody_knows_who_the_world_sees() {
    let change = |config: &mut Config| {
        looks(AtSubmission::Refuse)(config);
        let domains = vec!["gmail.test".into()];
        let host = Some("hop.test".into());
        config.routes.push(Route { domains, host, port: 25, tls: None, ca_file: None, pool: None });
    };
    story(change, |world| async move {
        world.signs_well();
        let (said, _) = world.hands_in("b@bounces.test", "c@gmail.test", NEWS).await;
        assert!(said.starts_with("250"), "its SPF is not judged: {said}");
        assert!(world.logged().contains("preflight=\"unknown: source\""));
    });
}

#[test]
fn trouble_of_dns_refuses_nothing_and_costs_one_message_its_time() {
    story(looks(AtSubmission::Refuse), |world| async move {
        world.signs_well();
        for (sender, recipient, at_least) in [
            ("b@down.test", "c@gmail.test", Duration::ZERO),
            ("b@silent.test", "c@gmail.test", DNS_PATIENCE),
            ("b@good.test", "c@down.test", Duration::ZERO),
            ("b@good.test", "c@silent.test", RECEIVER_PATIENCE),
        ] {
            for again in [Duration::ZERO, MEMORY_OF_NOTHING / 3] {
                world.reactor.sleep(again).await;
                let (said, took) = world.hands_in(sender, recipient, NEWS).await;
                assert!(said.starts_with("250"), "{sender} {recipient}: {said}");
                let patience = if again.is_zero() { at_least } else { Duration::ZERO };
                assert!(took >= patience && took < patience + Duration::from_secs(1), "{sender} {recipient}: {took:?}");
            }
        }
        // Also where nobody knows whose rules count.
        let log = world.logged();
        assert_eq!(log.matches("preflight=\"unknown: ").count(), 8, "{log}");
        assert_eq!(log.matches("preflight=\"unknown: dns\"").count(), 6, "{log}");
    });
}
