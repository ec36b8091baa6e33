//! When its time is over a content is gone from the disk, every file of the data directory included; header, envelope and
//! outcome stay; what another message needs is untouched. The server's clock is set forward by libfaketime.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::harness::mailbox::Mailbox;
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::{Client, queue_id};
use crate::harness::{PATIENCE, free_address, wait_for};

const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);
/// Words of the bodies; no header and no path holds them.
const BODY: &str = "qk3Zt8Lw0Xv";
const NEIGHBOURS_BODY: &str = "hY6nRb1Pd9s";

/// How often any file below `directory` holds `word`.
fn count_on_disk(directory: &Path, word: &str) -> usize {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    let count = |path: std::path::PathBuf| match fs::read(&path) {
        Ok(bytes) => memchr::memmem::find_iter(&bytes, word).count(),
        // A segment may be deleted while we look.
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => 0,
        Err(_) if path.is_dir() => count_on_disk(&path, word),
        // The command line's way to the server.
        Err(_) if path.metadata().is_ok_and(|metadata| metadata.file_type().is_socket()) => 0,
        Err(why) => panic!("{}: {why}", path.display()),
    };
    entries.map(count).sum()
}

fn content(subject: &str, word: &str) -> String {
    format!("Subject: {subject}\r\n\r\n{}", format!("{word} {word}\r\n").repeat(500))
}

fn show(server: &Server, id: &str) -> Value {
    serde_json::from_str(&server.queue(&["show", id, "--json"])).expect("JSON")
}

#[test]
fn after_thirty_days_by_default() {
    let mailbox = Mailbox::open();
    let later = free_address();
    let setup = Setup {
        routes: vec![("later.test".into(), later.to_string()), ("*".into(), mailbox.address.to_string())],
        lifetime: "60d".into(),
        shards: 1,
        ..Setup::default()
    };
    let mut server = Server::start(&setup);
    let data = server.folder.path().join("data");
    let mut client = Client::greet(server.relay);
    let waiting = queue_id(&client.submit("", &["b@later.test"], &content("waits", NEIGHBOURS_BODY)));
    let id = queue_id(&client.submit("a@sender.test", &["b@sink.test"], &content("goes", BODY)));
    server.wait_log(&["event=delivered", &id]);
    server.wait_log(&["event=deferred", &waiting]);
    server.stop();
    assert_eq!(count_on_disk(&data, BODY), 1000);

    server.set_ahead(30 * DAY - HOUR);
    server.launch();
    server.wait_log(&["event=deferred", &waiting]);
    assert_eq!(show(&server, &id)["content_kept"], true);
    // Stopping is a last round of the housekeeping.
    server.stop();
    assert_eq!(count_on_disk(&data, BODY), 1000, "its time is not over");

    server.set_ahead(30 * DAY + Duration::from_secs(60));
    server.launch();
    wait_for("the content to go", PATIENCE, || (count_on_disk(&data, BODY) == 0).then_some(()));
    assert_eq!(count_on_disk(&data, NEIGHBOURS_BODY), 1000, "a recipient still needs it");
    let shown = show(&server, &id);
    assert_eq!((&shown["content_kept"], &shown["subject"]), (&Value::from(false), &Value::from("goes")));
    assert_eq!((&shown["sender"], &shown["recipients"][0]["state"]), (&"a@sender.test".into(), &"delivered".into()));
    assert_eq!(shown["recipients"][0]["address"], "b@sink.test");
    assert_eq!(shown["recipients"][0]["why"], "250 2.0.0 taken");

    let neighbour = Mailbox::open_at(later);
    let arrived = neighbour.wait(1)[0].text();
    assert!(arrived.ends_with(&content("waits", NEIGHBOURS_BODY)), "{arrived}");
    server.wait_empty(PATIENCE);
    server.stop();

    server.set_ahead(90 * DAY + Duration::from_secs(60));
    server.launch();
    wait_for("the placeholder to go", PATIENCE, || server.try_queue(&["show", &id]).is_none().then_some(()));
    wait_for("the neighbour's content to go", PATIENCE, || (count_on_disk(&data, NEIGHBOURS_BODY) == 0).then_some(()));
    assert_eq!(show(&server, &waiting)["recipients"][0]["state"], "delivered", "its placeholder has its own time");
}

#[test]
fn at_once_where_nothing_is_to_be_kept() {
    let mailbox = Mailbox::open();
    let later = free_address();
    let setup = Setup {
        routes: vec![("later.test".into(), later.to_string()), ("*".into(), mailbox.address.to_string())],
        more: "[retention]\ncontent = \"0s\"\n".into(),
        shards: 1,
        ..Setup::default()
    };
    let server = Server::start(&setup);
    let data = server.folder.path().join("data");
    let mut client = Client::greet(server.relay);
    // Its segment lives on.
    client.submit("", &["b@later.test"], &content("waits", NEIGHBOURS_BODY));
    let both = ["b@sink.test", "c@later.test"];
    let shared = queue_id(&client.submit("a@sender.test", &both, &content("waits", NEIGHBOURS_BODY)));
    let id = queue_id(&client.submit("a@sender.test", &["b@sink.test"], &content("goes", BODY)));
    server.wait_log(&["event=delivered", &id]);
    server.wait_log(&["event=delivered", &shared]);
    wait_for("the content to go", PATIENCE, || (count_on_disk(&data, BODY) == 0).then_some(()));
    assert_eq!(count_on_disk(&data, NEIGHBOURS_BODY), 2000, "one recipient of each still needs it");
    assert_eq!(show(&server, &id)["subject"], "goes");
    let neighbour = Mailbox::open_at(later);
    neighbour.wait(2);
    server.wait_empty(PATIENCE);
    wait_for("all contents to go", PATIENCE, || (count_on_disk(&data, NEIGHBOURS_BODY) == 0).then_some(()));
}
