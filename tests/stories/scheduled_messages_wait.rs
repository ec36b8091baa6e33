//! A message whose Date is to come is held back until then, for accounts that are configured so.

use std::process::Command;

use jiff::{SignedDuration, Timestamp};

use crate::harness::PATIENCE;
use crate::harness::mailbox::Mailbox;
use crate::harness::server::{PASSWORD, Server, Setup, USER, password_hash};
use crate::harness::smtp::queue_id;

/// The account whose mail waits for its Date.
const PLANNER: &str = "planner@accept.test";

fn server(mailbox: &Mailbox) -> Server {
    let hash = password_hash();
    Server::start(&Setup {
        more: format!(
            "[[account]]\nname = \"{PLANNER}\"\npassword = \"{hash}\"\nsenders = [\"{PLANNER}\"]\nscheduled_send = true\n"
        ),
        ..Setup::relay_to(mailbox.address)
    })
}

fn field(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

/// Submits with swaks; gives back its transcript.
fn submit(server: &Server, account: &str, to: &str, date: &str) -> String {
    let output = Command::new("swaks")
        .args(["--server", "127.0.0.1", "--port", &server.submission.port().to_string(), "--tls"])
        .args(["--auth", "PLAIN", "--auth-user", account, "--auth-password", PASSWORD])
        .args(["--from", account, "--to", to, "--header", &format!("Date: {date}")])
        .output()
        .expect("swaks runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The message's id in a transcript that ends well.
fn accepted(transcript: &str) -> String {
    let reply = transcript.lines().find(|line| line.contains(" queued as "));
    // Swaks marks what the server says inside TLS.
    queue_id(reply.unwrap_or_else(|| panic!("{transcript}")).trim_start_matches("<~  "))
}

#[test]
fn until_their_date_even_if_the_server_is_killed_meanwhile() {
    let mailbox = Mailbox::open();
    let mut server = server(&mailbox);
    let now = Timestamp::now();
    let past = field(now - SignedDuration::from_hours(1));
    let time = Timestamp::from_second(now.as_second() + 20).expect("a time");
    let id = accepted(&submit(&server, PLANNER, "later@sink.test", &field(time)));
    accepted(&submit(&server, PLANNER, "at-once@sink.test", &past));
    assert!(mailbox.wait(1)[0].rcpt[0].contains("at-once@sink.test"));
    server.wait_empty_but(1);
    server.kill();
    server.launch();
    let shown = server.queue(&["show", &id]);
    assert!(Timestamp::now() < time, "this machine is too slow for the story");
    let lines = || shown.lines();
    let at = time.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    assert!(
        lines().any(|line| line.starts_with("scheduled:") && line.contains(&at) && line.contains("(in ")),
        "{shown}"
    );
    assert!(lines().any(|line| line.starts_with("later@sink.test") && line.contains(" scheduled ")), "{shown}");

    let arrived = &mailbox.wait(2)[1];
    assert!(Timestamp::now() >= time, "it arrived before its time");
    assert!(arrived.rcpt[0].contains("later@sink.test"));
    assert!(arrived.text().contains(&format!("Date: {}\r\n", field(time))), "{}", arrived.text());
    server.wait_empty(PATIENCE);
}

#[test]
fn not_longer_than_thirty_days_and_not_for_every_account() {
    let mailbox = Mailbox::open();
    let server = server(&mailbox);
    let far = field(Timestamp::now() + SignedDuration::from_hours(24 * 31));
    let transcript = submit(&server, PLANNER, "never@sink.test", &far);
    let refusal = transcript.lines().find(|line| line.contains("550 5.6.0 ")).unwrap_or_else(|| panic!("{transcript}"));
    assert!(refusal.contains(&far) && refusal.contains("30 days") && refusal.contains("set one until"), "{refusal}");

    accepted(&submit(&server, USER, "at-once@sink.test", &far));
    let arrived = &mailbox.wait(1)[0];
    assert!(arrived.rcpt[0].contains("at-once@sink.test"));
    assert!(arrived.text().contains(&format!("Date: {far}\r\n")), "{}", arrived.text());

    let id = accepted(&submit(
        &server,
        PLANNER,
        "ordered@sink.test",
        &field(Timestamp::now() + SignedDuration::from_hours(24)),
    ));
    server.queue(&["retry", &id]);
    assert!(mailbox.wait(2)[1].rcpt[0].contains("ordered@sink.test"), "the operator sends it at once");
    server.wait_empty(PATIENCE);
}
