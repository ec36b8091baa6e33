//! A destination that never answers, on the wall clock of five days: the delay is told once after an hour, four days and
//! 23 hours later it is still tried, and after five days it is returned with 5.4.7. The server's clock is set forward by
//! libfaketime at each start.

use std::time::Duration;

use crate::harness::mailbox::Mailbox;
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::{Client, queue_id};
use crate::harness::{PATIENCE, free_address};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Stops the server and starts it with its clock `ahead` of ours.
fn at(server: &mut Server, ahead: Duration) {
    server.stop();
    server.set_ahead(ahead);
    server.launch();
}

#[test]
fn still_tried_after_four_days_and_23_hours_and_returned_after_five_days() {
    let sender = Mailbox::open();
    let setup = Setup {
        routes: vec![("dead.test".into(), free_address().to_string()), ("*".into(), sender.address.to_string())],
        schedule: r#"["1m", "5m", "10m", "15m", "30m", "30m", "1h", "1h", "2h", "4h"]"#.into(),
        ..Setup::default()
    };
    let mut server = Server::start(&setup);
    let reply = Client::greet(server.relay).submit("a@sender.test", &["b@dead.test"], "Subject: hi\r\n\r\nbody\r\n");
    let id = queue_id(&reply);
    server.wait_log(&["event=deferred", &id, "attempt=1 "]);

    at(&mut server, HOUR - Duration::from_secs(60));
    server.wait_log(&["event=deferred", &id, "attempt=2 "]);
    assert!(sender.received().is_empty(), "the delay is told after an hour and not before");

    at(&mut server, HOUR + Duration::from_secs(5));
    server.wait_log(&["event=notified", &id, "action=delayed"]);
    let delayed = sender.wait(1)[0].text();
    assert!(delayed.contains("Action: delayed\r\n") && delayed.contains("Will-Retry-Until: "), "{delayed}");

    at(&mut server, 2 * DAY);
    server.wait_log(&["event=deferred", &id, "attempt=3 "]);
    at(&mut server, 4 * DAY + 23 * HOUR);
    server.wait_log(&["event=deferred", &id, "attempt=4 "]);
    assert_eq!(server.queued(), 1);
    assert_eq!(sender.received().len(), 1, "one delay, one notice");

    at(&mut server, 5 * DAY);
    server.wait_log(&["event=failed", &id, "status=5.4.7"]);
    let failed = sender.wait(2)[1].text();
    for words in ["Action: failed\r\n", "Status: 5.4.7\r\n", "not delivered within 5 days", "b@dead.test"] {
        assert!(failed.contains(words), "{words} in\n{failed}");
    }
    server.wait_empty(PATIENCE);
    assert_eq!(sender.received().len(), 2);
}
