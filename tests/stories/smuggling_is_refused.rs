//! No end of data but CRLF.CRLF: what looks like one elsewhere neither ends a message nor is passed on.

use crate::harness::mailbox::Mailbox;
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::Client;

#[test]
fn by_every_sequence_that_other_servers_fell_for() {
    let mailbox = Mailbox::open();
    let server = Server::start(&Setup::relay_to(mailbox.address));
    let smuggled = "MAIL FROM:<evil@sender.test>\r\nRCPT TO:<victim@sink.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nhi";
    for sequence in ["\n.\n", "\n.\r\n", "\r.\r", "\r\n.\n", "\r\n.\r", "\r.\r\n", "\n.\r", "\r\n\0.\r\n", "\n\n.\r\n"]
    {
        let mut client = Client::greet(server.relay);
        client.expect("MAIL FROM:<a@sender.test>", "250");
        client.expect("RCPT TO:<b@sink.test>", "250");
        client.expect("DATA", "354");
        client.send(format!("Subject: outer\r\n\r\nbody{sequence}{smuggled}").as_bytes());
        let reply = client.say("\r\n.");
        assert!(reply.starts_with('5'), "{sequence:?}: {reply}");
        let after = client.say("NOOP");
        assert!(
            after.is_empty() || after.starts_with("250") || after.starts_with("221") || after.starts_with("421"),
            "{sequence:?}: a command was taken from the content: {after}"
        );
    }
    server.wait_log(&["event=refused", "what=message", "550 5.6.11"]);
    assert_eq!(server.queued(), 0);
    assert!(mailbox.received().is_empty());
}
