//! Mail that waits for a limit of ours says so wherever an operator looks: in the queue, in what is explained of a domain, in
//! what is in the way now, and when it is to be lifted. What rests says until when and why, by its source.

use std::net::SocketAddr;
use std::process::{Command, Output};

use crate::harness::mailbox::{Effect, Mailbox};
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::{Client, queue_id};
use crate::harness::{PATIENCE, binary, free_address, output, wait_for};

const CONTENT: &str = "Subject: hi\r\n\r\nbody\r\n";
const LISTED: &str = "554 5.7.1 Service unavailable; Client host [127.0.0.1] blocked using bl.test";

fn submit(listener: SocketAddr, messages: usize) -> Vec<String> {
    let one = |n| queue_id(&Client::greet(listener).submit("a@sender.test", &[&format!("{n}@sink.test")], CONTENT));
    (0..messages).map(one).collect()
}

fn ringpost(server: &Server, arguments: &[&str]) -> Output {
    Command::new(binary("ringpost")).args(arguments).arg("-c").arg(server.config()).output().expect("it runs")
}

/// Waits until what a command says has all of these words.
fn wait_said(server: &Server, arguments: &[&str], words: &[&str]) {
    let mut last = String::new();
    wait_for(&format!("{words:?} of {arguments:?}"), PATIENCE, || {
        last = String::from_utf8_lossy(&ringpost(server, arguments).stdout).into_owned();
        words.iter().all(|word| last.contains(word)).then_some(())
    });
}

#[test]
fn for_a_connection_of_which_all_are_in_use() {
    let mailbox = Mailbox::open();
    (0..2).for_each(|_| mailbox.fault("MAIL", Effect::Silence));
    let more = "[[limit]]\nconnections_max = 2\n".to_owned();
    let server = Server::start(&Setup { more, ..Setup::relay_to(mailbox.address) });
    let ids = submit(server.relay, 40);
    let group = format!("127.0.0.1:{}", mailbox.address.port());
    let words = format!("waits for a connection to {group}: 2 of 2 in use");
    let (first, last) = (&ids[0], ids.last().expect("one"));
    for look in [&["list"][..], &["domains"], &["show", last], &["show", last, "--json"]] {
        wait_said(&server, &[&["queue"], look].concat(), &[&words]);
    }
    wait_said(&server, &["queue", "show", first], &[&format!("under way to {group}")]);
    wait_said(&server, &["queue", "paths"], &[&group, "2 connections, all in use"]);
    wait_said(&server, &["explain", "sink.test"], &["connections_max", "[[limit]] for everything; now 2 in use"]);
    let lift = ["lift", "sink.test"];
    wait_said(&server, &lift, &["nothing was in the way", "40 recipients at sink.test in the queue: ", &words]);
}

#[test]
fn for_the_message_rate_of_a_tenant() {
    let (mailbox, acme) = (Mailbox::open(), free_address());
    let more = format!(
        "[[listener]]\nkind = \"relay\"\naddress = \"{acme}\"\ntls = \"off\"\nnetworks = [\"127.0.0.0/8\"]\n\
         tenant = \"acme\"\n[[limit]]\ntenant = \"acme\"\nmessage_rate = \"20/1m\"\n"
    );
    let server = Server::start(&Setup { more, ..Setup::relay_to(mailbox.address) });
    let ids = submit(acme, 30);
    let part = format!("127.0.0.1:{} (tenant acme)", mailbox.address.port());
    let words = format!("message_rate 20/1m of {part} is used up until ");
    for look in [&["list"][..], &["domains"], &["show", ids.last().expect("one")]] {
        wait_said(&server, &[&["queue"], look].concat(), &[&words]);
    }
    let beside = "20/1m         [[limit]] for tenant acme; now used up, next in ";
    wait_said(&server, &["explain", "sink.test", "--tenant", "acme"], &[beside]);
    wait_said(&server, &["queue", "paths"], &[&part, "message_rate 20/1m, used up"]);
    wait_said(&server, &["lift", "sink.test"], &["nothing was in the way", "at sink.test in the queue: ", &words]);
    let misnamed = ringpost(&server, &["explain", "sink.test", "--tenant", "a b"]);
    assert_eq!(misnamed.status.code(), Some(2), "{}", String::from_utf8_lossy(&misnamed.stderr));
}

#[test]
fn for_the_end_of_a_rest_with_its_source_and_what_ends_it() {
    let mailbox = Mailbox::open();
    mailbox.fault("MAIL", Effect::Reply(LISTED));
    let sources = "[[source]]\nname = \"s2\"\naddresses = [\"127.0.0.2\"]\nwarm_up_from = \"2126-12-24\"\n\
                   [[source]]\nname = \"s3\"\naddresses = [\"127.0.0.3\"]\n\
                   [[pool]]\nname = \"both\"\nsources = [{ source = \"s2\", weight = 1 }, { source = \"s3\", weight = 2 }]\n\
                   [delivery]\npool = \"both\"\n";
    let more = format!("block_pause = \"1h\"\n{sources}");
    let mut server = Server::start(&Setup { more, ..Setup::relay_to(mailbox.address) });
    let ids = submit(server.relay, 4);
    server.wait_log(&["event=deferred", "category=blocklist"]);
    let group = format!("127.0.0.1:{}", mailbox.address.port());
    wait_said(&server, &["queue", "paths"], &[&group, "s3", "rests", "for 59m", "blocked using bl.test", "2126-12-24"]);
    let explained = [
        "from pool both, chosen by [delivery] pool: s2 (weight 1), s3 (weight 2)",
        "now: rests until ",
        "blocked using bl.test",
        "`ringpost lift sink.test` ends the rest",
        "warm-up: begins on 2126-12-24",
    ];
    wait_said(&server, &["explain", "sink.test"], &explained);
    wait_said(
        &server,
        &["queue", "domains"],
        &[&group, "from s2: the warm-up of s2 has not begun: it begins on 2126-12-24"],
    );
    let lowered = server.wait_log(&["event=limit_lowered", "limit=connections_max"]);
    assert!(lowered.contains(" from=20 to="), "what was configured: {lowered}");
    // Of two sources that both kept mail away only one could be lifted: a script learns that.
    let lifted = ringpost(&server, &["lift", "sink.test"]);
    let said = String::from_utf8_lossy(&lifted.stdout).into_owned();
    assert_eq!(lifted.status.code(), Some(1), "{said}");
    assert!(said.contains("still in the way from s2") && said.contains("lifted from s3"), "{said}");
    mailbox.wait(ids.len());
    server.wait_empty(PATIENCE);
    server.stop();
    let alone = output(Command::new(binary("ringpost")).args(["explain", "sink.test", "-c"]).arg(server.config()));
    assert!(alone.contains("no server runs") && alone.contains("begins on 2126-12-24"), "{alone}");
}

#[test]
fn and_what_a_recipient_waits_for_itself_stays_when_a_limit_is_lifted() {
    let mailbox = Mailbox::open();
    mailbox.fault("RCPT", Effect::Reply("452 4.2.2 Mailbox full"));
    let more = "mailbox_full = [\"1h\"]\n[[limit]]\nmessage_rate = \"3/1h\"\n".to_owned();
    let server = Server::start(&Setup { more, ..Setup::relay_to(mailbox.address) });
    submit(server.relay, 1);
    wait_said(&server, &["queue", "domains", "--resting"], &["message_rate"]);
    let lift = || String::from_utf8_lossy(&ringpost(&server, &["lift", "sink.test"]).stdout).into_owned();
    assert!(lift().contains("message_rate_used_up"), "a process that starts does not know what is used");
    server.wait_log(&["event=deferred", "category=mailbox-full"]);
    Client::greet(server.relay).submit("a@sender.test", &["other@sink.test"], CONTENT);
    mailbox.wait(1);
    Client::greet(server.relay).submit("a@sender.test", &["third@sink.test"], CONTENT);
    mailbox.wait(2);
    Client::greet(server.relay).submit("a@sender.test", &["fourth@sink.test"], CONTENT);
    wait_said(&server, &["queue", "domains", "--resting"], &["message_rate"]);
    let lifted = lift();
    assert!(lifted.contains("message_rate_used_up"), "{lifted}");
    mailbox.wait(3);
    server.wait_empty_but(1);
    let left = server.queue(&["list"]);
    // An hour, ±10 %.
    let minutes = left.split("  in ").nth(1).and_then(|rest| rest.split('m').next()?.parse::<u64>().ok());
    assert!(minutes.is_some_and(|minutes| (53..=66).contains(&minutes)), "{left}");
    assert!(left.contains("0@sink.test") && left.contains("Mailbox full"), "{left}");
}

#[test]
fn and_a_deferral_tells_when_its_destination_is_tried_again() {
    let mailbox = Mailbox::open();
    mailbox.fault("RCPT", Effect::Reply("452 4.2.2 Mailbox full"));
    mailbox.fault("DATA", Effect::Reply(LISTED));
    let more = "mailbox_full = [\"1s\"]\nblock_pause = \"1h\"\n".to_owned();
    let server = Server::start(&Setup { more, ..Setup::relay_to(mailbox.address) });
    Client::greet(server.relay).submit("a@sender.test", &["full@sink.test", "other@sink.test"], CONTENT);
    server.wait_log(&["event=deferred", "category=blocklist"]);
    let deferred = server.wait_log(&["event=deferred", "category=mailbox-full"]);
    let retry_s = deferred.split("retry_s=").nth(1).and_then(|rest| rest.split_whitespace().next());
    let retry_s: u64 = retry_s.and_then(|seconds| seconds.parse().ok()).expect("seconds");
    assert!(retry_s > 3_500, "it has a second of its own, and its destination an hour: {deferred}");
}
