//! Whole messages against small worlds.

use std::collections::HashMap;

use futures::executor::block_on;

use super::*;
use crate::authentication::{Algorithm, Key};

/// DNS in memory. What is below `trouble.test` does not answer, nor does what [`World::without`] takes out.
pub(super) struct World {
    records: HashMap<(String, Kind), Vec<String>>,
    troubled: Vec<&'static str>,
}

impl World {
    pub(super) fn of(records: &[(&str, Kind, &str)]) -> World {
        let mut world = World { records: HashMap::new(), troubled: vec!["trouble.test"] };
        for (name, kind, text) in records {
            world.records.entry(((*name).to_owned(), *kind)).or_default().push((*text).to_owned());
        }
        world
    }

    fn without(mut self, ending: &'static str) -> World {
        self.troubled.push(ending);
        self
    }
}

impl Zone for World {
    async fn ask(&self, name: &str, kind: Kind) -> Result<Vec<String>, String> {
        if self.troubled.iter().any(|ending| name.ends_with(ending)) {
            return Err("SERVFAIL".into());
        }
        Ok(self.records.get(&(name.to_owned(), kind)).cloned().unwrap_or_default())
    }
}

const BULK: &str = "From: News <news@example.org>\r\nDate: Thu, 26 Nov 2026 04:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n\
                    List-Unsubscribe: <mailto:u@example.org>,\r\n <https://example.org/u?1>\r\n\
                    List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\r\nHello\r\n";

fn signer(domain: &str) -> Signer {
    Signer::new(domain, "s1", Key::generate(Algorithm::Ed25519).expect("a key").1)
}

/// Ids and verdicts, in their order.
fn judged(world: &World, content: &str, reverse: Option<&str>, signers: &[Signer]) -> Vec<(&'static str, Verdict)> {
    judged_from(world, content, reverse, signers, false)
}

/// The same, from an address that is certain or guessed.
fn judged_from(
    world: &World,
    content: &str,
    reverse: Option<&str>,
    signers: &[Signer],
    is_guessed: bool,
) -> Vec<(&'static str, Verdict)> {
    let address = "192.0.2.7".parse().expect("an address");
    let egress = [Egress { address, ehlo: "mta.example.org".into(), is_guessed }];
    let departure = Departure { content: content.as_bytes(), reverse_domain: reverse, signers, egress: &egress };
    let findings = block_on(examine(world, &departure));
    for finding in &findings {
        assert_eq!(finding.remedy.is_empty(), finding.verdict == Verdict::Pass, "{finding:?}");
        assert!(!finding.what.is_empty() && !finding.rule.source.is_empty());
    }
    findings.into_iter().map(|finding| (finding.rule.id, finding.verdict)).collect()
}

fn verdict(judged: &[(&'static str, Verdict)], id: &str) -> Verdict {
    judged.iter().find(|(found, _)| *found == id).unwrap_or_else(|| panic!("no {id}: {judged:?}")).1
}

/// A world in which all is well for [`BULK`], signed by `signer`, but for what `more` adds.
fn good_world(signer: &Signer, more: &[(&str, Kind, &str)]) -> World {
    let (name, text) = signer.record().expect("a record");
    let good = [
        (name.as_str(), Kind::Txt, text.as_str()),
        ("example.org", Kind::Txt, "v=spf1 ip4:192.0.2.7 -all"),
        ("_dmarc.example.org", Kind::Txt, "v=DMARC1; p=none"),
        ("7.2.0.192.in-addr.arpa", Kind::Ptr, "mta.example.org."),
        ("mta.example.org", Kind::A, "192.0.2.7"),
    ];
    let all: Vec<_> = good.into_iter().chain(more.iter().copied()).collect();
    World::of(&all)
}

#[test]
fn a_message_that_follows_every_rule_passes_them_all() {
    let signer = signer("example.org");
    let judged = judged(&good_world(&signer, &[]), BULK, None, std::slice::from_ref(&signer));
    let ids =
        ["from", "date", "message-id", "one-click", "one-click-signed", "dkim", "spf", "dmarc", "alignment", "ptr"];
    assert_eq!(judged, ids.map(|id| (id, Verdict::Pass)));
}

#[test]
fn a_world_that_does_not_answer_is_unknown_and_never_a_failure() {
    let signer = signer("example.org");
    let world = good_world(&signer, &[]).without("");
    let judged = judged(&world, BULK, None, std::slice::from_ref(&signer));
    for id in ["dkim", "spf", "dmarc", "alignment", "ptr"] {
        assert_eq!(verdict(&judged, id), Verdict::Unknown, "{id}");
    }
    assert!(judged.iter().all(|(_, verdict)| *verdict != Verdict::Fail), "{judged:?}");
}

#[test]
fn an_empty_world_fails_what_dns_must_publish() {
    let signer = signer("example.org");
    let judged = judged(&World::of(&[]), BULK, None, std::slice::from_ref(&signer));
    for id in ["dkim", "spf", "dmarc", "alignment", "ptr"] {
        assert_eq!(verdict(&judged, id), Verdict::Fail, "{id}");
    }
}

#[test]
fn header_fields_are_counted_and_one_click_is_whole_or_wrong() {
    let signer = signer("example.org");
    let world = good_world(&signer, &[]);
    let of = |content: &str, id| verdict(&judged(&world, content, None, std::slice::from_ref(&signer)), id);
    let post = "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n";
    for (from, to, id, expected) in [
        ("From: News <news@example.org>", "From: a@example.org, b@example.org", "from", Verdict::Fail),
        ("From: News <news@example.org>", "From: nobody", "from", Verdict::Fail),
        ("From: News", "From: x@example.org\r\nFrom: News", "from", Verdict::Fail),
        ("From: News", "Subject: News", "from", Verdict::Fail),
        ("Date:", "X-Date:", "date", Verdict::Warn),
        ("Date:", "Date: now\r\nDate:", "date", Verdict::Fail),
        ("Message-ID:", "X-ID:", "message-id", Verdict::Warn),
        ("Message-ID:", "Message-Id: <2@x>\r\nMessage-ID:", "message-id", Verdict::Fail),
        (post, "", "one-click", Verdict::Fail),
        ("=One-Click", "=Two-Clicks", "one-click", Verdict::Fail),
        ("https://example.org", "http://example.org", "one-click", Verdict::Fail),
        ("https://example.org/u?1", "https:///", "one-click", Verdict::Fail),
        ("List-Unsubscribe: ", "X-List: ", "one-click", Verdict::Fail),
        (post, &post.repeat(2), "one-click", Verdict::Fail),
        ("List-Unsubscribe", "X-List", "one-click", Verdict::Warn),
    ] {
        assert!(BULK.contains(from), "{from}");
        assert_eq!(of(&BULK.replace(from, to), id), expected, "{from} -> {to}");
    }
    let unsigned = judged(&world, BULK, None, &[]);
    assert_eq!(verdict(&unsigned, "signed"), Verdict::Fail);
    assert_eq!(verdict(&unsigned, "one-click-signed"), Verdict::Fail);
    assert_eq!(verdict(&unsigned, "alignment"), Verdict::Pass, "SPF speaks for it");
    let foreign = judged(&World::of(&[]), &format!("DKIM-Signature: v=1\r\n{BULK}"), None, &[]);
    for id in ["signed", "one-click-signed", "alignment"] {
        assert_eq!(verdict(&foreign, id), Verdict::Unknown, "{id}: another's signature is not checked");
    }
}

#[test]
fn one_of_spf_and_dkim_must_speak_for_the_domain_in_from() {
    let bounce = [
        ("bounce.example.org", Kind::Txt, "v=spf1 ip4:192.0.2.7 -all"),
        ("other.test", Kind::Txt, "v=spf1 ip4:192.0.2.7 -all"),
    ];
    let own = signer("example.org");
    let of = |reverse: &str, world: &World, content: &str, signers: &[Signer]| {
        verdict(&judged(world, content, Some(reverse), signers), "alignment")
    };
    let world = good_world(&own, &bounce);
    assert_eq!(of("other.test", &world, BULK, std::slice::from_ref(&own)), Verdict::Pass, "DKIM speaks");
    assert_eq!(of("bounce.example.org", &world, BULK, &[]), Verdict::Pass, "SPF speaks");
    assert_eq!(of("other.test", &world, BULK, &[]), Verdict::Fail, "SPF speaks for somebody else");
    assert_eq!(of("none.example.org", &world, BULK, &[]), Verdict::Fail, "SPF does not hold");
    let from_news = BULK.replace("news@example.org", "x@news.example.org");
    assert_eq!(
        of("bounce.example.org", &world, &from_news, &[]),
        Verdict::Pass,
        "both below the policy of example.org"
    );
    let org = [("bounce.org", Kind::Txt, "v=spf1 +all")];
    assert_eq!(of("bounce.org", &good_world(&own, &org), BULK, &[]), Verdict::Fail, "both below org alone");

    let strict = World::of(&[
        ("_dmarc.example.org", Kind::Txt, "v=DMARC1; p=reject; aspf=s; adkim=s"),
        ("bounce.example.org", Kind::Txt, "v=spf1 ip4:192.0.2.7 -all"),
    ]);
    assert_eq!(of("bounce.example.org", &strict, BULK, &[]), Verdict::Fail, "the policy is strict");
    let wrong = World::of(&[("_dmarc.example.org", Kind::Txt, "v=DMARC1; p=maybe")]);
    assert_eq!(verdict(&judged(&wrong, BULK, None, &[]), "dmarc"), Verdict::Fail);
    let troubled = good_world(&own, &bounce).without("_dmarc.example.org");
    assert_eq!(of("bounce.example.org", &troubled, BULK, &[]), Verdict::Unknown);
}

#[test]
fn an_address_is_called_as_it_greets() {
    let signer = signer("example.org");
    let ptr = |names: &[(&str, Kind, &str)]| verdict(&judged(&World::of(names), BULK, None, &[]), "ptr");
    let reverse = ("7.2.0.192.in-addr.arpa", Kind::Ptr, "MTA.example.org.");
    assert_eq!(ptr(&[reverse, ("mta.example.org", Kind::A, "192.0.2.7")]), Verdict::Pass);
    assert_eq!(ptr(&[reverse, ("mta.example.org", Kind::A, "192.0.2.8")]), Verdict::Fail);
    let other = ("7.2.0.192.in-addr.arpa", Kind::Ptr, "other.test.");
    assert_eq!(ptr(&[other, ("other.test", Kind::A, "192.0.2.7")]), Verdict::Warn);
    assert_eq!(ptr(&[other]), Verdict::Fail);
    assert_eq!(ptr(&[other, reverse, ("mta.example.org", Kind::A, "192.0.2.7")]), Verdict::Pass, "one of its names");
    let troubled = good_world(&signer, &[]).without("mta.example.org");
    assert_eq!(verdict(&judged(&troubled, BULK, None, &[]), "ptr"), Verdict::Unknown);
}

#[test]
fn nothing_fails_for_an_address_that_is_guessed() {
    let signer = signer("example.org");
    let signers = std::slice::from_ref(&signer);
    let (name, text) = signer.record().expect("a record");
    let elsewhere = |names: &[(&str, Kind, &str)]| {
        let good = [
            (name.as_str(), Kind::Txt, text.as_str()),
            ("example.org", Kind::Txt, "v=spf1 ip4:192.0.2.99 -all"),
            ("_dmarc.example.org", Kind::Txt, "v=DMARC1; p=none"),
        ];
        World::of(&good.into_iter().chain(names.iter().copied()).collect::<Vec<_>>())
    };
    let arpa = "7.2.0.192.in-addr.arpa";
    for (names, when_certain) in [
        (&[][..], Verdict::Fail),
        (&[(arpa, Kind::Ptr, "x.test.")], Verdict::Fail),
        (&[(arpa, Kind::Ptr, "x.test."), ("x.test", Kind::A, "192.0.2.7")], Verdict::Warn),
    ] {
        for (is_guessed, spf, ptr) in [(false, Verdict::Fail, when_certain), (true, Verdict::Unknown, Verdict::Unknown)]
        {
            let judged = judged_from(&elsewhere(names), BULK, None, signers, is_guessed);
            assert_eq!((verdict(&judged, "spf"), verdict(&judged, "ptr")), (spf, ptr), "{judged:?}");
        }
    }
    // Whatever the address, a domain without a record names none.
    let judged = judged_from(&World::of(&[]), BULK, None, &[], true);
    assert_eq!(verdict(&judged, "spf"), Verdict::Fail);
    // What holds for the guess is worth saying.
    let judged = judged_from(&good_world(&signer, &[]), BULK, None, signers, true);
    assert!(judged.iter().all(|(_, verdict)| *verdict == Verdict::Pass), "{judged:?}");
}

#[test]
fn an_author_s_domain_is_one_that_dns_can_have() {
    let of = |domain: &str| header::author_domain(format!("From: a@{domain}\r\n\r\n").as_bytes());
    let (most, more) = ("a.".repeat(124) + "tests", "a.".repeat(125) + "test");
    assert_eq!((most.len(), more.len()), (253, 254));
    assert_eq!(of(&most).as_deref(), Some(&*most));
    assert_eq!(of(&more), None);
    assert_eq!(of(&"a.".repeat(2_000)), None);
    let message = format!("From: a@{more}\r\n\r\n");
    let judged = judged(&World::of(&[]), &message, None, &[]);
    assert_eq!(verdict(&judged, "from"), Verdict::Fail);
    assert!(judged.iter().all(|(id, _)| *id != "spf"), "DNS is not asked of it: {judged:?}");
}
