//! Lists, keys, rules, and lists as text.

use std::path::Path;

use shards::Timestamp;

use super::*;
use crate::bounce::classify::{Category, Reason};
use crate::config::webhook::Kind;
use crate::config::{Config, Suppression};
use crate::message::Origin;
use crate::queue::MessageId;
use crate::queue::webhook::Event;
use crate::smtp::envelope::{Notify, Recipient};
use crate::smtp::path::Mailbox;
use crate::smtp::reply::EnhancedCode;
use crate::spool::encode::Reader;
use crate::spool::record::{Said, Standing, State};

const DAY_S: u32 = 86_400;

fn entry(until_s: u32) -> Entry {
    Entry { cause: Cause::Operator, since_s: 1, until_s, strikes: 0 }
}

fn pending(changes: impl IntoIterator<Item = (Scope, String, Option<Entry>)>) -> Pending {
    let mut pending = Pending::default();
    for (scope, address, entry) in changes {
        pending.add(Change { scope, address: address.into(), entry });
    }
    pending
}

fn key(address: &str) -> Key {
    Key::parse(address).expect("an address")
}

fn suppression(section: &str) -> Suppression {
    let text = format!(
        "[server]\nhostname = \"mta.test\"\ndata_dir = \"data\"\n[[listener]]\nkind = \"relay\"\n\
         address = \"127.0.0.1:2525\"\ntls = \"off\"\nnetworks = [\"127.0.0.0/8\"]\n[suppression]\n{section}"
    );
    Config::parse(&text, Path::new("/")).expect("good").suppression.expect("on")
}

fn event(kind: Kind, category: Category, account: Option<&str>, address: &str, at_s: u32) -> Event {
    let said = Said {
        status: EnhancedCode(5, 1, 1),
        text: "550".into(),
        remote: None,
        at_s,
        replied: true,
        tls: None,
        reason: Some(Reason::without_reply(category)),
    };
    let path = Mailbox::parse(address, true).expect("an address");
    Event {
        kind,
        at_s,
        message: MessageId::new(0, 1),
        arrival: Timestamp::from_millis(0),
        message_id: None,
        account: account.map(Into::into),
        sender: "".into(),
        envid: None,
        recipient: Recipient { path, notify: Notify::default(), orcpt: None },
        standing: Standing { state: State::Failed { at_s }, attempts: 1, last: Some(said) },
        origin: Origin::default(),
    }
}

/// Makes what events make of the lists, one after the other, each told twice.
fn lists_after(settings: &Suppression, events: &[Event]) -> Lists {
    let mut lists = Lists::default();
    for event in events.iter().flat_map(|event| [event, event]) {
        if let Some(change) = rule::change(event, settings, &lists, &Pending::default()) {
            let mut pending = Pending::default();
            pending.add(change);
            lists = lists.with(&pending);
        }
    }
    lists
}

#[test]
fn a_list_is_what_a_map_is_after_any_changes() {
    let mut model = BTreeMap::new();
    let mut lists = Lists::default();
    let mut draw = 7_u64;
    let mut random = |below: u64| {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (draw >> 33) % below
    };
    for round in 0..60_u32 {
        let batch: Vec<_> = (0..=random(400))
            .map(|_| {
                let address = format!("u{}@d{}.test", random(900), random(3));
                let made = (random(3) > 0).then(|| Entry { since_s: round, ..entry(FOR_EVER) });
                (Scope::Everyone, address, made)
            })
            .collect();
        for (_, address, made) in &batch {
            match made {
                Some(made) => _ = model.insert(address.clone(), *made),
                None => _ = model.remove(address),
            }
        }
        let before = lists.clone();
        let had = before.len();
        lists = lists.with(&pending(batch));
        assert_eq!(before.len(), had, "an older list does not change");
        let list = lists.of(&Scope::Everyone);
        assert!(list.after(None).eq(model.iter().map(|(address, made)| (address.as_str(), *made))));
        assert_eq!(list.len(), model.len());
        for n in 0..900 {
            let address = format!("u{n}@d1.test");
            assert_eq!(list.get(&address), model.get(&address).copied(), "{address}");
            let rest = list.after(Some(&address)).next().map(|(address, _)| address.to_owned());
            assert_eq!(rest.as_ref(), model.range(format!("{address}\0")..).next().map(|(address, _)| address));
        }
    }
}

#[test]
fn letter_case_and_the_form_of_a_domain_do_not_count_and_nothing_else_is_folded() {
    for (written, held) in [
        ("Jo.Ann@Example.ORG", "jo.ann@example.org"),
        ("<jo@[192.0.2.1]>", "jo@[192.0.2.1]"),
        ("ÄPFEL@Bücher.example", "äpfel@xn--bcher-kva.example"),
        ("jo@XN--BCHER-KVA.example", "jo@xn--bcher-kva.example"),
        ("jo+news@example.org", "jo+news@example.org"),
    ] {
        assert_eq!(key(written).as_str(), held);
    }
    let long = format!("{}@{}.test", "x".repeat(64), "y".repeat(63));
    assert_eq!(key(&long.to_uppercase()).as_str(), long);
    assert!(Key::parse("nobody").is_err());
}

#[test]
fn a_list_is_about_its_own_mail_and_until_its_time_is_over() {
    let lists = Lists::default().with(&pending([
        (Scope::Everyone, "all@x.test".into(), Some(entry(FOR_EVER))),
        (Scope::account("A@a.test"), "jo@x.test".into(), Some(entry(100))),
        (Scope::Relayed, "relayed@x.test".into(), Some(entry(FOR_EVER))),
        (Scope::account("a@a.test"), "counted@x.test".into(), Some(Entry { strikes: 2, ..entry(FOR_EVER) })),
    ]));
    let is_on = |whose, address: &str, now_s| lists.find(whose, &key(address), now_s).is_some();
    for whose in [Whose::Account("a@a.test"), Whose::Account("b@b.test"), Whose::Relay, Whose::Notice] {
        assert!(is_on(whose, "ALL@X.test", 1));
        assert_eq!(is_on(whose, "jo@x.test", 99), whose == Whose::Account("a@a.test"), "{whose:?}");
        assert_eq!(is_on(whose, "relayed@x.test", 99), whose == Whose::Relay, "{whose:?}");
        assert!(!is_on(whose, "counted@x.test", 1), "what is still counted suppresses nobody");
    }
    assert!(is_on(Whose::Account("A@A.test"), "jo@x.test", 99), "the case of an account's name does not count");
    assert!(!is_on(Whose::Account("a@a.test"), "jo@x.test", 100));
    let swept = lists.current(100);
    assert_eq!((lists.len(), swept.len()), (4, 3));
}

#[test]
fn a_hard_bounce_suppresses_at_once_a_soft_one_after_several_and_a_complaint_for_ever() {
    let settings = suppression("");
    let failed = |category, at_s| event(Kind::Failed, category, Some("a@a.test"), "Jo@x.test", at_s);
    let jo = |lists: &Lists| lists.of(&Scope::account("a@a.test")).get("jo@x.test");
    let hard = lists_after(&settings, &[failed(Category::RecipientUnknown, 10)]);
    let expected = Entry { cause: Cause::RecipientUnknown, since_s: 10, until_s: 10 + 90 * DAY_S, strikes: 0 };
    assert_eq!(jo(&hard), Some(expected));
    assert!(hard.find(Whose::Account("b@b.test"), &key("jo@x.test"), 11).is_none(), "another account's is not");

    let soft = |times: &[u32]| {
        let events: Vec<Event> = times.iter().map(|at_s| failed(Category::RecipientInactive, *at_s)).collect();
        jo(&lists_after(&settings, &events)).map(|entry| (entry.strikes, entry.until_s))
    };
    assert_eq!(soft(&[10, 20]), Some((2, 20 + 30 * DAY_S)), "twice told is once");
    assert_eq!(soft(&[10, 20, 30]), Some((0, 30 + 90 * DAY_S)));
    assert_eq!(soft(&[10, 20, 20 + 31 * DAY_S]).map(|(strikes, _)| strikes), Some(1), "the first are forgotten");

    let complaint = event(Kind::Complaint, Category::RecipientUnknown, Some("a@a.test"), "jo@x.test", 50);
    let both = lists_after(&settings, &[failed(Category::RecipientUnknown, 10), complaint]);
    assert_eq!(jo(&both).map(|entry| (entry.cause, entry.until_s)), Some((Cause::Complaint, FOR_EVER)));
    for nothing in [Category::Spam, Category::Blocklist, Category::Suppressed, Category::Network] {
        assert!(lists_after(&settings, &[failed(nothing, 10)]).is_empty(), "{nothing:?}");
    }
}

#[test]
fn where_failures_go_is_configured() {
    let relayed = event(Kind::Bounced, Category::RecipientUnknown, None, "jo@x.test", 10);
    let of_account = event(Kind::Bounced, Category::RecipientUnknown, Some("a"), "jo@x.test", 10);
    let lists = lists_after(&suppression(""), &[relayed.clone(), of_account.clone()]);
    let scopes: Vec<Scope> = lists.scopes().map(|(scope, _)| scope).collect();
    assert_eq!(scopes, [Scope::Relayed, Scope::account("a")]);
    let lists = lists_after(&suppression("scope = \"global\"\n"), &[relayed, of_account]);
    assert_eq!(lists.scopes().map(|(scope, _)| scope).collect::<Vec<_>>(), [Scope::Everyone]);
}

/// Causes that rules are about are the classifier's categories of the same name.
#[test]
fn causes_are_categories() {
    for (name, cause) in Cause::ALL {
        let is_category = Category::named(name).is_some();
        assert_eq!(is_category, !matches!(cause, Cause::Complaint | Cause::Operator), "{name}");
    }
}

#[test]
fn changes_are_read_as_they_were_written() {
    let mut octets = Vec::new();
    let mut written = Vec::new();
    for scope in [Scope::Everyone, Scope::Relayed, Scope::account("ä@a.test")] {
        for (_, cause) in Cause::ALL {
            let entry = Some(Entry { cause: *cause, since_s: 1, until_s: FOR_EVER, strikes: 3 });
            written.push(Change { scope: scope.clone(), address: "jo@x.test".into(), entry });
        }
        written.push(Change { scope, address: "ann@x.test".into(), entry: None });
    }
    written.iter().for_each(|change| change::put(&mut octets, &change.scope, &change.address, change.entry));
    let mut reader = Reader::new(&octets);
    for change in &written {
        assert_eq!(change::take(&mut reader).as_ref(), Ok(change));
    }
    assert_eq!(reader.remaining(), 0);
    for cut in 0..20 {
        assert!(change::take(&mut Reader::new(&octets[..cut])).is_err(), "{cut}");
    }
}

#[test]
fn what_is_exported_is_imported_again() {
    let odd = "\"a,b\\\"c\"@x.test";
    let lists = Lists::default().with(&pending([
        (Scope::Everyone, odd.into(), Some(entry(FOR_EVER))),
        (Scope::account("a,\"b"), "jo@x.test".into(), Some(Entry { cause: Cause::Spam, ..entry(1_800_000_000) })),
        (Scope::Relayed, "#ann@x.test".into(), Some(entry(FOR_EVER))),
        (Scope::account("a;b"), "jo@x.test".into(), Some(entry(FOR_EVER))),
    ]));
    let mut text = String::from(table::HEADING);
    for (scope, list) in lists.scopes() {
        list.after(None).for_each(|(address, entry)| table::put_line(&mut text, &scope, address, &entry));
    }
    let mut again = Pending::default();
    table::read(&text, &Scope::account("else"), 5, 4).expect("good").into_iter().for_each(|change| again.add(change));
    let again = Lists::default().with(&again);
    for (scope, list) in lists.scopes() {
        assert!(list.after(None).eq(again.of(&scope).after(None)), "{text}");
    }
    assert_eq!(again.len(), lists.len());
}

#[test]
fn one_address_a_line_is_enough_and_mistakes_are_named_with_their_lines() {
    let read = table::read("\u{feff}Jo@X.test\n\n# a comment\n<ann@x.test>\r\n", &Scope::Relayed, 7, 2).expect("good");
    let of = |change: &Change| (change.scope.clone(), change.address.to_string(), change.entry.map(|e| e.since_s));
    let expected = ["jo@x.test", "ann@x.test"].map(|address| (Scope::Relayed, address.to_owned(), Some(7)));
    assert_eq!(read.iter().map(of).collect::<Vec<_>>(), expected);
    for heading in ["Email,reason", "reason;\"EMAIL Address\"", "recipient"] {
        let line = if heading.starts_with("reason") { "gone;jo@x.test" } else { "jo@x.test" };
        let read = table::read(&format!("{heading}\n{line}\n"), &Scope::Everyone, 7, 9).expect("as others export it");
        assert_eq!(read.iter().map(|change| &*change.address).collect::<Vec<_>>(), ["jo@x.test"], "{heading}");
    }
    let mistakes = table::read("address,list\njo,global\na@x.test,mine\nb@x.test,\n", &Scope::Everyone, 7, 9);
    let mistakes = mistakes.expect_err("two");
    assert!(mistakes.len() == 2 && mistakes[0].starts_with("line 2: `jo`"), "{mistakes:?}");
    assert!(mistakes[1].starts_with("line 3: `mine` is no list"), "{mistakes:?}");
    let too_many = table::read("a@x.test\nb@x.test\nc@x.test\n", &Scope::Everyone, 7, 2).expect_err("three");
    assert!(too_many[0].contains("more than 2 addresses"), "{too_many:?}");
    assert_eq!(table::seconds("2026-11-23"), table::seconds("2026-11-23T00:00:00Z"));
}

#[test]
fn a_full_list_is_no_other_s_trouble() {
    let of = |name: &str, n: usize| (Scope::account(name), format!("{n}@x.test"), Some(entry(FOR_EVER)));
    let lists = Lists::default().with(&pending((0..5).map(|n| of("a", n))));
    assert_eq!(pending([of("a", 5), of("b", 0)]).overfull(&lists, 5, 99), Some(Overfull::One(Scope::account("a"))));
    assert_eq!(pending([of("a", 4), of("b", 0)]).overfull(&lists, 5, 99), None, "what is there takes no more room");
    let gone = (Scope::account("a"), "0@x.test".to_owned(), None);
    assert_eq!(pending([of("a", 5), gone.clone()]).overfull(&lists, 5, 99), None);
    assert_eq!(pending([of("b", 0)]).overfull(&lists, 5, 6), None);
    assert_eq!(pending([of("b", 0), of("c", 0)]).overfull(&lists, 5, 6), Some(Overfull::Together));
    assert_eq!(pending([of("b", 0), of("c", 0), gone]).overfull(&lists, 5, 6), None);
}

/// A million entries take less than 48 octets each.
#[test]
fn a_million_entries_are_small_and_found() {
    let addresses = (0..1_000_000_u32)
        .map(|n| format!("user{:07}@d{}.example.org", n.wrapping_mul(2_654_435_761) % 9_999_991, n % 97));
    let changes = pending(addresses.map(|address| (Scope::Everyone, address, Some(entry(FOR_EVER)))));
    let lists = Lists::default().with(&changes);
    let list = lists.of(&Scope::Everyone);
    assert!(list.len() > 990_000);
    let octets = list.octets();
    let each = octets / list.len();
    println!("{} entries take {octets} octets, {each} each", list.len());
    assert!(each < 48, "{each} octets an entry");
    for (_, address, _) in changes.iter().step_by(997) {
        assert!(list.get(address).is_some());
        assert!(list.get(&format!("{address}x")).is_none());
    }
}
