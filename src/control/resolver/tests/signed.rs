//! TLSA records in a signed zone, in one that is not signed, and in one that is signed wrongly.

use super::*;
use crate::assurance::dane::Record;

/// Signed when it is loaded. Below it one zone is not signed, and one is not signed by the key that it should be.
const SIGNED: &str = r"$ORIGIN ringpost.test.
$TTL 300
@          SOA ns.ringpost.test. admin.ringpost.test. 1 7200 3600 86400 77
           NS  ns
ns         A   127.0.0.1
mx         A   192.0.2.1
_25._tcp.mx 60 TLSA 3 1 1 0707070707070707070707070707070707070707070707070707070707070707
           60 TLSA 2 0 1 0808080808080808080808080808080808080808080808080808080808080808
v6         AAAA 2001:db8::1
_26._tcp.v6 TLSA 3 0 0 09
bare       A   192.0.2.2
alias      CNAME mx
own        CNAME bare
_25._tcp.own TLSA 3 0 0 0a
shared     A   192.0.2.3
_25._tcp.shared CNAME _25._tcp.mx
away       CNAME mx.open
_25._tcp.away TLSA 3 0 0 0b
nothing    TXT no-address
mail       MX  10 mx
moved      CNAME mail.open
open       NS  ns
broken     NS  ns
           DS  12345 13 2 0000000000000000000000000000000000000000000000000000000000000000
";
const BELOW: &str = r"@ 300 SOA ns.ringpost.test. admin.ringpost.test. 1 7200 3600 86400 77
           NS  ns.ringpost.test.
mx         A   192.0.2.9
mail       MX  10 mx
_25._tcp.mx TLSA 3 0 0 0c
";
const ZONES: &str = "zone:\n  - domain: ringpost.test\n    file: signed\n    dnssec-signing: on\n  - domain: \
                     open.ringpost.test\n    file: below\n  - domain: broken.ringpost.test\n    file: below\n    \
                     dnssec-signing: on\n";

/// The zone's keys, as its administrator would publish them.
fn anchors(knot: &Knot) -> TrustAnchors {
    let port = knot.address.port().to_string();
    let question = ["@127.0.0.1", "-p", &port, "+noall", "+answer", "ringpost.test", "DNSKEY"];
    let output = Command::new("kdig").args(question).output().expect("kdig runs");
    let text = String::from_utf8(output.stdout).expect("text");
    text.parse().unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn whole(usage: u8, data: u8) -> Record {
    Record { usage, selector: 0, matching: 0, data: vec![data].into() }
}

#[test]
fn only_what_dnssec_vouches_for_is_an_answer_and_what_it_disputes_is_trouble() {
    let knot = Knot::start_serving(ZONES, &[("signed", SIGNED), ("below", BELOW)]);
    let anchors = Arc::new(anchors(&knot));
    runtime().block_on(async {
        let resolver = build_validating(&[knot.address], PATIENCE, anchors).expect("built");
        let ask = async |host: &str, port| look_up(&resolver, &Question::Tlsa(host.into(), port)).await;
        let found = async |host: &str, port| match ask(host, port).await {
            Answer::Tlsa(tlsa, _) => (tlsa.base.to_string(), tlsa.records),
            other => panic!("{host}: {other:?}"),
        };

        let Answer::Tlsa(tlsa, ttl) = ask("mx.ringpost.test", 25).await else { panic!("no records") };
        let mut usages: Vec<(u8, u8, u8, usize)> = Vec::new();
        usages.extend(
            tlsa.records.iter().map(|record| (record.usage, record.selector, record.matching, record.data.len())),
        );
        usages.sort_unstable();
        assert_eq!((usages, ttl), (vec![(2, 0, 1, 32), (3, 1, 1, 32)], seconds(60)));
        assert_eq!(found("v6.ringpost.test", 26).await, ("v6.ringpost.test".into(), vec![whole(3, 9)]));
        assert_eq!(found("alias.ringpost.test", 25).await.0, "mx.ringpost.test", "what it stands for comes first");
        assert_eq!(found("own.ringpost.test", 25).await, ("own.ringpost.test".into(), vec![whole(3, 10)]));
        assert_eq!(found("shared.ringpost.test", 25).await.0, "shared.ringpost.test");
        assert_eq!(found("away.ringpost.test", 25).await, ("away.ringpost.test".into(), vec![whole(3, 11)]));

        for absent in ["bare", "nothing", "nowhere", "mx.open"] {
            let answer = ask(&format!("{absent}.ringpost.test"), 25).await;
            assert!(matches!(answer, Answer::NoData(_) | Answer::NoSuchName(_)), "{absent}: {answer:?}");
        }
        let exchangers = async |domain: &str| {
            look_up(&resolver, &Question::SecureMx(format!("{domain}.ringpost.test").into())).await
        };
        assert_eq!(exchangers("mail").await, Answer::Mx(vec![(10, "mx.ringpost.test".into())], seconds(300)));
        // What a secure alias leads to is not secure by that.
        assert!(!matches!(exchangers("moved").await, Answer::Mx(..)));
        for open in ["mail.open", "bare"] {
            assert!(matches!(exchangers(open).await, Answer::NoData(_)), "nobody vouches for those of {open}");
        }
        assert!(matches!(exchangers("mail.broken").await, Answer::Trouble(_)));
        let answer = ask("mx.ringpost.test", 587).await;
        assert!(matches!(answer, Answer::NoData(_)), "another port's are none: {answer:?}");
        let answer = ask("mx.broken.ringpost.test", 25).await;
        assert!(matches!(answer, Answer::Trouble(_)), "{answer:?}");
    });
}

#[test]
fn keys_that_are_not_the_zone_s_make_it_trouble() {
    let (knot, other) = (
        Knot::start_serving(ZONES, &[("signed", SIGNED), ("below", BELOW)]),
        Knot::start_serving(ZONES, &[("signed", SIGNED), ("below", BELOW)]),
    );
    let anchors = Arc::new(anchors(&other));
    runtime().block_on(async {
        let resolver = build_validating(&[knot.address], PATIENCE, anchors).expect("built");
        let answer = look_up(&resolver, &Question::Tlsa("mx.ringpost.test".into(), 25)).await;
        assert!(matches!(answer, Answer::Trouble(_)), "{answer:?}");
    });
}
