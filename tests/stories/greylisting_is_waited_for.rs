//! A destination that greylists strangers gets the message again after minutes, on a schedule of its own; other messages
//! to it are not held up.

use crate::harness::mailbox::{Effect, Mailbox};
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::Client;

const CONTENT: &str = "Subject: hi\r\n\r\nbody\r\n";

#[test]
fn the_greylisted_one_waits_and_the_next_one_goes() {
    let mailbox = Mailbox::open();
    mailbox.fault("RCPT TO:<b@", Effect::Reply("451 4.7.1 Greylisted, come back in five minutes"));
    let setup = Setup { more: "greylist = [\"5m\", \"5m\", \"10m\"]\n".into(), ..Setup::relay_to(mailbox.address) };
    let server = Server::start(&setup);
    let mut client = Client::greet(server.relay);
    client.submit("a@sender.test", &["b@sink.test"], CONTENT);
    let deferred = server.wait_log(&["event=deferred", "category=greylisting", "attempt=1 "]);
    let retry_s = deferred.split("retry_s=").nth(1).and_then(|rest| rest.split_whitespace().next());
    let retry_s: u64 = retry_s.and_then(|seconds| seconds.parse().ok()).expect("seconds");
    assert!((265..=335).contains(&retry_s), "{deferred}");
    client.submit("a@sender.test", &["c@sink.test"], CONTENT);
    assert!(mailbox.wait(1)[0].rcpt[0].contains("c@sink.test"));
    assert_eq!(server.queued(), 1);
}
