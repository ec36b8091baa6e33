//! Real clamd, real rspamd and a real DNS server look at what is submitted.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use crate::harness::dns::Dns;
use crate::harness::mailbox::Mailbox;
use crate::harness::scanners::{Clamd, EICAR, GTUBE, GTUBE_TO_MARK, Rspamd};
use crate::harness::server::{PASSWORD, Server, Setup, USER};
use crate::harness::smtp::{Client, queue_id};

/// A server that relays to `mailbox` and screens as `settings` say: what its relay listener takes, too, unless it is said
/// otherwise, so that stories can speak SMTP in plain text.
fn server(mailbox: &Mailbox, settings: &str) -> Server {
    Server::start(&Setup {
        more: format!("[screening]\nlisteners = [\"submission\", \"relay\"]\n{settings}"),
        ..Setup::relay_to(mailbox.address)
    })
}

/// Hands in a message with this body; the reply to its final dot.
fn submit(client: &mut Client, body: &str) -> String {
    client.submit("a@sender.test", &["b@sink.test"], &format!("Subject: hi\r\n\r\nHello,\r\n{body}\r\nbye\r\n"))
}

fn clamav_at(address: &str) -> String {
    format!("[screening.clamav]\naddress = \"{address}\"\n")
}

/// What swaks says when it submits this body as the account of every story.
fn swaks(server: &Server, body: &str) -> String {
    let output = Command::new("swaks")
        .args(["--server", "127.0.0.1", "--port", &server.submission.port().to_string(), "--tls"])
        .args(["--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD])
        .args(["--from", USER, "--to", "b@sink.test", "--body", body])
        .output()
        .expect("swaks runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn malware_is_refused_over_either_socket_and_the_rest_passes_with_its_verdict() {
    let (mailbox, clamd) = (Mailbox::open(), Clamd::start());
    for address in [format!("unix:{}", clamd.socket().display()), clamd.address.to_string()] {
        let server = server(&mailbox, &clamav_at(&address));
        let mut client = Client::greet(server.relay);
        let refusal = submit(&mut client, EICAR);
        assert!(refusal.starts_with("554 5.7.1 ") && refusal.contains("malware (Story.Eicar"), "{refusal}");
        server.wait_log(&["event=refused", "what=message", "screening=clamav:Story.Eicar"]);
        let id = queue_id(&submit(&mut client, "nothing bad"));
        server.wait_log(&["event=accepted", &id, "screening=clean"]);
        let shown = server.queue(&["show", &id]);
        assert!(shown.lines().any(|line| line.starts_with("screening:") && line.ends_with("clean")), "{shown}");
    }
    assert!(mailbox.wait(2).iter().all(|received| received.text().contains("nothing bad")));
}

#[test]
fn an_account_that_submits_malware_hears_why() {
    let (mailbox, clamd) = (Mailbox::open(), Clamd::start());
    let setup = Setup { more: clamav_at(&clamd.address.to_string()), ..Setup::relay_to(mailbox.address) };
    let server = Server::start(&setup);
    let said = swaks(&server, EICAR);
    assert!(said.contains("554 5.7.1 The message holds malware"), "{said}");
    let said = swaks(&server, "nothing bad");
    assert!(said.contains("250 2.6.0"), "{said}");
    // Without a word about it, a relay listener is not screened.
    queue_id(&submit(&mut Client::greet(server.relay), EICAR));
    mailbox.wait(2);
}

#[test]
fn spam_is_refused_or_marked() {
    let (mailbox, rspamd) = (Mailbox::open(), Rspamd::start());
    let server = server(&mailbox, &format!("[screening.rspamd]\nurl = \"http://{}\"\n", rspamd.address));
    let mut client = Client::greet(server.relay);
    let refusal = submit(&mut client, GTUBE);
    assert!(refusal.starts_with("554 5.7.1 ") && refusal.contains("looks like spam"), "{refusal}");
    server.wait_log(&["event=refused", "screening=rspamd:reject("]);
    let clean = queue_id(&submit(&mut client, "nothing bad"));
    server.wait_log(&["event=accepted", &clean, "screening=clean"]);
    let marked = queue_id(&submit(&mut client, GTUBE_TO_MARK));
    assert!(server.queue(&["show", &marked]).contains("rspamd:add_header("));
    let received = mailbox.wait(2);
    let marks = received.iter().filter(|received| received.text().contains("\r\nX-Spam: Yes\r\n"));
    assert_eq!(marks.count(), 1);
}

#[test]
fn a_scanner_that_is_down_defers_or_lets_pass_and_is_used_again_when_it_is_back() {
    let (mailbox, mut clamd) = (Mailbox::open(), Clamd::start());
    let strict = server(&mailbox, &clamav_at(&clamd.address.to_string()));
    let lenient = server(&mailbox, &format!("{}on_failure = \"accept\"\n", clamav_at(&clamd.address.to_string())));
    clamd.stop();
    let deferral = submit(&mut Client::greet(strict.relay), "nothing bad");
    assert!(deferral.starts_with("451 4.7.1 "), "{deferral}");
    strict.wait_log(&["event=scanner_failed", "scanner=clamav"]);
    let id = queue_id(&submit(&mut Client::greet(lenient.relay), "nothing bad"));
    assert!(lenient.queue(&["show", &id]).contains("clamav:failed"));
    clamd.launch();
    queue_id(&submit(&mut Client::greet(strict.relay), "nothing bad"));
    let refusal = submit(&mut Client::greet(lenient.relay), EICAR);
    assert!(refusal.starts_with("554 5.7.1 "), "{refusal}");
}

#[test]
fn what_clamd_takes_too_much_to_scan_is_deferred() {
    let (mailbox, clamd) = (Mailbox::open(), Clamd::start());
    let server = server(&mailbox, &clamav_at(&format!("unix:{}", clamd.socket().display())));
    let mut client = Client::greet(server.relay);
    let deferral = submit(&mut client, &format!("{}\r\n", "x".repeat(900)).repeat(3_000));
    assert!(deferral.starts_with("451 4.7.1 "), "{deferral}");
    server.wait_log(&["event=scanner_failed", "size limit exceeded"]);
    queue_id(&submit(&mut client, "nothing bad"));
}

#[test]
fn a_scanner_that_hangs_delays_the_message_and_nobody_else() {
    let (mailbox, clamd) = (Mailbox::open(), Clamd::start());
    let clamav = format!("{}timeout = \"15s\"\n", clamav_at(&clamd.address.to_string()));
    let server = Server::start(&Setup {
        shards: 1,
        more: format!("[screening]\nlisteners = [\"relay\"]\n{clamav}"),
        ..Setup::relay_to(mailbox.address)
    });
    clamd.signal("-STOP");
    let mut waiting = Client::greet(server.relay);
    waiting.expect("MAIL FROM:<a@sender.test>", "250");
    waiting.expect("RCPT TO:<b@sink.test>", "250");
    waiting.expect("DATA", "354");
    waiting.send(b"Subject: hi\r\n\r\nbody\r\n.\r\n");
    // The same shard serves others meanwhile; none of their messages is for a scanner.
    let said = swaks(&server, "nothing bad");
    assert!(said.contains("250 2.6.0"), "{said}");
    let mut other = Client::greet(server.relay);
    for _ in 0..100 {
        other.expect("NOOP", "250");
    }
    assert!(!server.log().contains("event=scanner_failed"), "the first still waits: {}", server.log());
    let deferral = waiting.reply();
    assert!(deferral.starts_with("451 4.7.1 "), "{deferral}");
    server.wait_log(&["event=scanner_failed", "no answer in time"]);
    clamd.signal("-CONT");
    queue_id(&submit(&mut other, "nothing bad"));
}

#[test]
fn a_listed_client_is_refused_by_the_name_of_the_list() {
    let mailbox = Mailbox::open();
    let dns = Dns::start("1.0.0.127.bl A 127.0.0.2\n1.0.0.127.other A 127.0.0.9\n");
    let with = |lists: &str, address: SocketAddr| {
        let setup = Setup { dns: Some(address), ..Setup::relay_to(mailbox.address) };
        let lists = format!("[screening.block_lists]\nprivate_addresses = true\n{lists}");
        Server::start(&Setup { more: format!("[screening]\nlisteners = [\"relay\"]\n{lists}"), ..setup })
    };
    let server = with("zones = [\"clean.test\", \"bl.test\"]\n", dns.address);
    let mut client = Client::greet(server.relay);
    let refusal = client.expect("MAIL FROM:<a@sender.test>", "554 5.7.1 ");
    assert!(refusal.contains("127.0.0.1 is listed at bl.test"), "{refusal}");
    server.wait_log(&["event=refused", "what=mail", "screening=block_lists:bl.test(127.0.0.2)"]);

    for passes in [
        "zones = [\"bl.test\"]\nexempt_networks = [\"127.0.0.0/8\"]\n",
        "zones = [\"clean.test\", \"other.test=127.0.0.[2..8]\"]\n",
    ] {
        let server = with(passes, dns.address);
        queue_id(&submit(&mut Client::greet(server.relay), "nothing bad"));
    }
    // Knot refuses what it does not serve.
    let server = with("zones = [\"bl.example.org\"]\n", dns.address);
    Client::greet(server.relay).expect("MAIL FROM:<a@sender.test>", "451 4.7.1 ");
}

#[test]
fn a_reload_turns_screening_on_and_its_counts_are_metrics() {
    let (mailbox, clamd) = (Mailbox::open(), Clamd::start());
    let http = crate::harness::free_address();
    let setup = Setup {
        more: format!("[http]\naddress = \"{http}\"\ntoken_file = \"http.token\"\n"),
        ..Setup::relay_to(mailbox.address)
    };
    let server = Server::start(&setup);
    let mut client = Client::greet(server.relay);
    queue_id(&submit(&mut client, EICAR));
    let settings = fs::read_to_string(server.config()).expect("the configuration");
    let screening = format!("[screening]\nlisteners = [\"relay\"]\n{}", clamav_at(&clamd.address.to_string()));
    fs::write(server.config(), format!("{settings}\n{screening}")).expect("written");
    server.reload();
    server.wait_log(&["event=reloaded"]);
    let refusal = submit(&mut client, EICAR);
    assert!(refusal.starts_with("554 5.7.1 "), "{refusal}");
    let token = fs::read_to_string(server.folder.path().join("http.token")).expect("a token");
    let metrics = crate::harness::output(Command::new("curl").args([
        "-sS",
        "-H",
        &format!("Authorization: Bearer {}", token.trim()),
        &format!("http://{http}/metrics"),
    ]));
    let sum = |name: &str| -> u64 {
        let samples = metrics
            .lines()
            .filter(|line| line.starts_with(&format!("ringpost_screening_{name}_total{{scanner=\"clamav\"")));
        samples.map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).expect("a value")).sum()
    };
    assert_eq!((sum("scans"), sum("hits"), sum("failures")), (1, 1, 0), "{metrics}");
}
