//! A full mailbox gets room again one day: whichever code its host gives, the message waits for that.

use crate::harness::PATIENCE;
use crate::harness::mailbox::{Effect, Mailbox};
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::{Client, queue_id};

const CONTENT: &str = "Subject: hi\r\n\r\nbody\r\n";

#[test]
fn it_is_retried_also_after_a_permanent_code() {
    for reply in ["452 4.2.2 Mailbox full", "552 5.2.2 Mailbox full", "550 5.1.1 The user is over quota"] {
        let mailbox = Mailbox::open();
        mailbox.fault("RCPT", Effect::Reply(reply));
        let server = Server::start(&Setup::relay_to(mailbox.address));
        Client::greet(server.relay).submit("a@sender.test", &["b@sink.test"], CONTENT);
        let deferred = server.wait_log(&["event=deferred", "category=mailbox-full"]);
        assert!(deferred.contains("status=4."), "{deferred}");
        let received = mailbox.wait(1);
        server.wait_empty(PATIENCE);
        assert!(received[0].mail.starts_with("MAIL FROM:<a@sender.test>"), "no notice: {received:?}");
        assert!(!server.log().contains("event=failed"), "{}", server.log());
    }
}

#[test]
fn it_has_a_schedule_of_its_own_which_the_queue_shows() {
    let mailbox = Mailbox::open();
    mailbox.fault("RCPT", Effect::Reply("552 5.2.2 Mailbox full"));
    let setup = Setup { more: "mailbox_full = [\"1h\", \"4h\"]\n".into(), ..Setup::relay_to(mailbox.address) };
    let server = Server::start(&setup);
    let id = queue_id(&Client::greet(server.relay).submit("a@sender.test", &["b@sink.test"], CONTENT));
    let deferred = server.wait_log(&["event=deferred", "category=mailbox-full", "rule=mailbox-full"]);
    let retry_s = deferred.split("retry_s=").nth(1).and_then(|rest| rest.split_whitespace().next());
    let retry_s: u64 = retry_s.and_then(|seconds| seconds.parse().ok()).expect("seconds");
    assert!((3_200..=4_000).contains(&retry_s), "{deferred}");
    let shown: serde_json::Value = serde_json::from_str(&server.queue(&["show", &id, "--json"])).expect("JSON");
    let recipient = &shown["recipients"][0];
    assert_eq!(recipient["category"], "mailbox-full", "{shown}");
    assert_eq!((&recipient["status"], &recipient["attempts"]), (&"4.2.2".into(), &1.into()), "{shown}");
    server.queue(&["retry", "--id", &id]);
    assert_eq!(mailbox.wait(1).len(), 1);
}
