//! SIGHUP: a new configuration is in force at once, a bad one leaves the old in force and says every mistake.

use std::fs;

use crate::harness::PATIENCE;
use crate::harness::mailbox::Mailbox;
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::Client;

#[test]
fn by_sighup_without_losing_a_connection() {
    let (old, new) = (Mailbox::open(), Mailbox::open());
    let server = Server::start(&Setup::relay_to(old.address));
    let mut client = Client::greet(server.relay);
    client.submit("a@sender.test", &["b@sink.test"], "Subject: 1\r\n\r\nx\r\n");
    old.wait(1);

    let toml = fs::read_to_string(server.config()).expect("read");
    fs::write(server.config(), toml.replace(&old.address.to_string(), &new.address.to_string())).expect("written");
    server.reload();
    server.wait_log(&["event=reloaded"]);
    client.submit("a@sender.test", &["b@sink.test"], "Subject: 2\r\n\r\nx\r\n");
    new.wait(1);

    fs::write(server.config(), "[server]\nhostname = 7\nnonsense = true\n").expect("written");
    server.reload();
    server.wait_log(&["event=reload_refused"]);
    client.submit("a@sender.test", &["b@sink.test"], "Subject: 3\r\n\r\nx\r\n");
    new.wait(2);
    fs::write(server.config(), toml).expect("written");
    server.wait_empty(PATIENCE);
}
