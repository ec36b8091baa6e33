//! The file through crashes, damage and a full disk; and who fills whose list.

use std::fs;
use std::path::Path;

use shards::Timestamp;
use shards::small_disk::SmallDisk;

use super::*;
use crate::bounce::classify::{Category, Reason};
use crate::config::suppression::Cause;
use crate::config::webhook::Kind;
use crate::events::Style;
use crate::message::Origin;
use crate::queue::MessageId;
use crate::smtp::envelope::{Notify, Recipient};
use crate::smtp::path::Mailbox;
use crate::smtp::reply::EnhancedCode;
use crate::spool::record::{Said, Standing, State};
use crate::suppression::{Entry, Key, Whose};

fn entry() -> Entry {
    Entry { cause: Cause::Operator, since_s: 1, until_s: FOR_EVER, strikes: 0 }
}

/// Puts addresses on everybody's list; gives the lists then.
fn append(file: &mut File, lists: &Lists, addresses: &[String]) -> io::Result<Lists> {
    let mut pending = Pending::default();
    for address in addresses {
        let address = address.as_str().into();
        pending.add(Change { scope: Scope::Everyone, address, entry: Some(entry()) });
    }
    let after = lists.with(&pending);
    file.append(&pending, &after).map(|()| after)
}

fn held(lists: &Lists) -> Vec<String> {
    lists.of(&Scope::Everyone).after(None).map(|(address, _)| address.to_owned()).collect()
}

fn open(folder: &Path) -> Found {
    File::open(folder, 1).expect("readable")
}

const THREE: [&str; 3] = ["a@x.test", "b@x.test", "c@x.test"];

/// The octets of the file in `folder` after each of [`THREE`] was appended by itself.
fn three_frames(folder: &Path) -> Vec<u8> {
    let Found { mut file, mut lists, .. } = open(folder);
    for address in THREE {
        lists = append(&mut file, &lists, &[address.to_owned()]).expect("appended");
    }
    fs::read(folder.join("suppression")).expect("the file")
}

#[test]
fn what_was_appended_is_there_again_and_a_torn_tail_is_cut_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("suppression");
    let whole = three_frames(folder.path());
    let frame = whole.len() / THREE.len();
    for cut in 0..=whole.len() {
        fs::write(&path, &whole[..cut]).expect("written");
        let Found { mut file, lists, trouble } = open(folder.path());
        assert_eq!(held(&lists), THREE[..cut / frame], "cut at {cut}");
        assert_eq!(trouble.is_some(), cut % frame != 0, "cut at {cut}: {trouble:?}");
        append(&mut file, &lists, &["d@x.test".to_owned()]).expect("appended");
        drop(file);
        let Found { lists, trouble, .. } = open(folder.path());
        assert!(trouble.is_none() && held(&lists).last().is_some_and(|last| last == "d@x.test"), "cut at {cut}");
    }
}

#[test]
fn damage_costs_what_it_touches_and_is_kept_and_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("suppression");
    let whole = three_frames(folder.path());
    let frame = whole.len() / THREE.len();
    for at in frame..2 * frame {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        fs::write(&path, &damaged).expect("written");
        let Found { mut file, lists, trouble } = open(folder.path());
        assert_eq!(held(&lists), ["a@x.test", "c@x.test"], "octet {at}");
        assert!(trouble.is_some_and(|trouble| trouble.contains("suppression.damaged")), "octet {at}");
        assert_eq!(fs::read(folder.path().join("suppression.damaged")).expect("kept"), damaged);
        append(&mut file, &lists, &["d@x.test".to_owned()]).expect("appended");
        let Found { lists, trouble, .. } = open(folder.path());
        assert_eq!((held(&lists).len(), trouble), (3, None), "octet {at}");
    }
}

#[test]
fn a_file_of_much_that_is_over_is_written_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let Found { mut file, mut lists, .. } = open(folder.path());
    let path = folder.path().join("suppression");
    let addresses: Vec<String> = (0..2000).map(|n| format!("user{n:06}@example.org")).collect();
    let mut largest = 0;
    for _ in 0..100 {
        lists = append(&mut file, &lists, &addresses).expect("appended");
        largest = largest.max(fs::metadata(&path).expect("the file").len());
    }
    assert!((1 << 20..2 << 20).contains(&largest), "{largest}");
    assert_eq!(held(&open(folder.path()).lists), addresses);
}

#[test]
fn a_full_disk_takes_nothing_and_loses_nothing() {
    let disk = SmallDisk::new(1);
    let Found { mut file, mut lists, .. } = open(&disk.path());
    let mut batch = 0..;
    let mut next = || -> Vec<String> {
        let batch = batch.next().expect("endless");
        (0..1000).map(|n| format!("user{batch:03}{n:03}@a-longer-name.example.org")).collect()
    };
    let refused = loop {
        let addresses = next();
        match append(&mut file, &lists, &addresses) {
            Ok(after) => lists = after,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    assert!(!lists.is_empty());
    let Found { lists: again, trouble, .. } = open(&disk.path());
    assert_eq!((held(&again), trouble), (held(&lists), None), "nothing of what was refused is there");
    let mut pending = Pending::default();
    for address in held(&lists) {
        pending.add(Change { scope: Scope::Everyone, address: address.into(), entry: None });
    }
    drop(file);
    fs::remove_file(disk.path().join("suppression")).expect("room");
    let Found { mut file, lists, .. } = open(&disk.path());
    append(&mut file, &lists, &next()).expect("there is room again");
}

fn failed(account: &str, address: String) -> webhook::Event {
    let said = Said {
        status: EnhancedCode(5, 1, 1),
        text: "550 5.1.1 unknown".into(),
        remote: None,
        at_s: now_s(),
        replied: true,
        tls: None,
        reason: Some(Reason::without_reply(Category::RecipientUnknown)),
    };
    webhook::Event {
        kind: Kind::Failed,
        at_s: now_s(),
        message: MessageId::new(0, 1),
        arrival: Timestamp::from_millis(0),
        message_id: None,
        account: Some(account.into()),
        sender: "".into(),
        envid: None,
        recipient: Recipient {
            path: Mailbox::parse(&address, false).expect("an address"),
            notify: Notify::default(),
            orcpt: None,
        },
        standing: Standing { state: State::Failed { at_s: now_s() }, attempts: 1, last: Some(said) },
        origin: Origin::default(),
    }
}

fn config(folder: &Path, more: &str) -> Config {
    let text = "[server]\nhostname = \"mta.test\"\ndata_dir = \".\"\n[[listener]]\nkind = \"relay\"\n\
        address = \"127.0.0.1:2525\"\ntls = \"off\"\nnetworks = [\"127.0.0.0/8\"]\n[suppression]\nentries_max = 10\nentries_total_max = 12\n";
    Config::parse(&format!("{text}{more}"), folder).expect("good")
}

/// One tenant's failures fill its own list, and are told; another's are suppressed as ever.
#[test]
fn nobody_fills_another_s_list() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), "");
    let log = Channel::new(Style::Logfmt);
    let keeper = Keeper::open(&config, &log).expect("opened");
    let learn = |events: Vec<webhook::Event>| {
        let book = keeper.0.book.clone().try_lock_owned().expect("nobody else is there");
        keeper.0.learn(book, &events).expect("the disk has room").0.len()
    };
    assert_eq!(learn((0..100).map(|n| failed("greedy", format!("{n}@x.test"))).collect()), 10);
    assert_eq!(learn(vec![failed("greedy", "more@x.test".into()), failed("modest", "jo@x.test".into())]), 1);
    let lists = keeper.lists();
    let is_on = |account, address| {
        lists.find(Whose::Account(account), &Key::parse(address).expect("an address"), now_s()).is_some()
    };
    assert!(is_on("modest", "jo@x.test") && !is_on("greedy", "jo@x.test"));
    assert!(is_on("greedy", "9@x.test") && !is_on("greedy", "more@x.test"));
    let counts: Vec<(&str, u64)> = keeper.counts().to_vec();
    let expected = [("suppression_entries", 11), ("suppression_added_total", 11), ("suppression_full_total", 91)];
    assert_eq!(counts, expected);
    // All together are full before any other is.
    assert_eq!(learn((0..3).map(|n| failed("third", format!("{n}@x.test"))).collect()), 1);
    assert_eq!(keeper.counts()[2], ("suppression_full_total", 93));
    let said: String = std::iter::from_fn(|| log.try_next()).collect();
    assert_eq!(said.matches("event=suppression_full list=account:greedy").count(), 1, "{said}");
    drop(keeper);
    let again = Keeper::open(&config, &log).expect("opened").lists();
    assert_eq!(again.len(), 12, "it is on disk");
}

/// Of two that change whole lists one waits, with nothing in memory yet.
#[test]
fn whole_lists_are_changed_one_at_a_time() {
    use futures::FutureExt;
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), "");
    let keeper = Keeper::open(&config, &Channel::new(Style::Logfmt)).expect("opened");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    let (place, entries_max) = keeper.whole().now_or_never().expect("at once").expect("on");
    assert_eq!(entries_max, 12);
    assert!(keeper.whole().now_or_never().is_none(), "the other one waits");
    drop(place);
    assert!(keeper.whole().now_or_never().is_some_and(|place| place.is_ok()));
}

#[test]
fn the_list_of_an_account_that_was_removed_can_be_looked_at_and_emptied_and_gets_no_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let account = "[[account]]\nname = \"News\"\npassword = \"$argon2id$...\"\nsenders = [\"@news.test\"]\n";
    let keeper = Keeper::open(&config(folder.path(), account), &Channel::new(Style::Logfmt)).expect("opened");
    let scope = Scope::account("news");
    let change = |entry: Option<Entry>| {
        let book = keeper.0.book.clone().try_lock_owned().expect("nobody else is there");
        let change = Change { scope: scope.clone(), address: "jo@x.test".into(), entry };
        keeper.0.change(book, vec![change]).map(|(changed, _)| changed)
    };
    let known = || futures::executor::block_on(keeper.knows(&scope));
    assert_eq!(change(Some(entry())).expect("it is there"), 1);
    futures::executor::block_on(keeper.configure(&config(folder.path(), "")));
    assert!(matches!(change(Some(entry())), Err(Refused::NoAccount(name, None)) if &*name == "news"));
    known().expect("there is a list left of it");
    assert_eq!(change(None).expect("emptied"), 1);
    assert!(matches!(known(), Err(Refused::NoAccount(..))));
}
