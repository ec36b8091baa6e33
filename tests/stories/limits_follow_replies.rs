//! What a provider says changes what it is sent: a limit is lowered, the reason is in the log and in `ringpost explain`, and
//! outlives a restart. A source that it blocks leaves its mail to another of the pool at once, and is tried again after its
//! time. A source that warms up sends its day's plan, and the rest goes from a warm one, or waits and says why.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::mailbox::{Effect, Mailbox};
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::Client;
use crate::harness::{PATIENCE, binary, output, wait_for};

const CONTENT: &str = "Subject: hi\r\n\r\nbody\r\n";
const POOL: &str = "[[source]]\nname = \"s2\"\naddresses = [\"127.0.0.2\"]\n[[source]]\nname = \"s3\"\n\
                    addresses = [\"127.0.0.3\"]\n[[pool]]\nname = \"both\"\n\
                    sources = [{ source = \"s2\" }, { source = \"s3\" }]\n[delivery]\npool = \"both\"\n";

/// How many messages came from the source of that number.
fn from(mailbox: &Mailbox, source: u8) -> usize {
    let address = IpAddr::from(Ipv4Addr::new(127, 0, 0, source));
    mailbox.received().iter().filter(|received| received.client.0 == address).count()
}

fn explain(server: &Server) -> String {
    output(Command::new(binary("ringpost")).args(["explain", "b@sink.test", "-c"]).arg(server.config()))
}

#[test]
fn a_blocked_source_leaves_its_mail_to_another_at_once_and_is_tried_again_after_its_time() {
    const PAUSE: Duration = Duration::from_secs(4);
    let mailbox = Mailbox::open();
    mailbox.fault("MAIL", Effect::Reply("554 5.7.1 Client host blocked using bl.test"));
    let server = Server::start(&Setup {
        more: format!("block_pause = \"{}s\"\n{POOL}", PAUSE.as_secs()),
        ..Setup::relay_to(mailbox.address)
    });
    let mut client = Client::greet(server.relay);
    client.submit("a@sender.test", &["first@sink.test"], CONTENT);
    let blocked = server.wait_log(&["event=deferred", "category=blocklist", "attempt=0 "]);
    let since = Instant::now();
    let (blocked, other) = if blocked.contains("source=s2") { (2, 3) } else { (3, 2) };
    server.wait_log(&["event=limit_lowered", &format!("source=s{blocked}"), "limit=message_rate", "bl.test"]);
    mailbox.wait(1);
    assert_eq!(from(&mailbox, other), 1, "what was blocked went from the other source");
    let mut sent = 1;
    wait_for("the blocked source to be tried again", PATIENCE, || {
        client.submit("a@sender.test", &[&format!("{sent}@sink.test")], CONTENT);
        sent += 1;
        mailbox.wait(sent);
        (from(&mailbox, blocked) > 0).then_some(())
    });
    assert!(since.elapsed() + Duration::from_secs(1) > PAUSE, "after {:?}", since.elapsed());
    assert!(sent > 3 && !server.log().contains("event=failed"), "{sent} messages");
}

#[test]
fn a_reply_that_only_a_rule_of_the_sender_knows_lowers_the_limit_that_it_names() {
    const SAID: &str = "The kettle is hot";
    let mailbox = Mailbox::open();
    mailbox.fault("RCPT", Effect::Reply("450 4.2.0 The kettle is hot"));
    let more = format!("rate_pause = [\"1s\"]\n{POOL}");
    let server = Server::start(&Setup { more, ..Setup::relay_to(mailbox.address) });
    let mut client = Client::greet(server.relay);
    client.submit("a@sender.test", &["b@sink.test"], CONTENT);
    let unknown = server.wait_log(&["event=deferred", SAID]);
    assert!(!unknown.contains("reply:"), "{unknown}");
    mailbox.wait(1);
    assert!(!server.log().contains("event=limit_lowered"), "nobody knows yet what it means");

    let toml = fs::read_to_string(server.config()).expect("read");
    let rule = "[[reply]]\nname = \"steam\"\ndomains = [\"sink.test\"]\nwords = [\"kettle\"]\nsignal = \"connections\"\n\
                [[reply]]\nname = \"kettle\"\ndomains = [\"sink.test\"]\nwords = [\"kettle + hot\"]\ncategory = \"rate\"\n";
    fs::write(server.config(), format!("{toml}{rule}")).expect("written");
    server.reload();
    server.wait_log(&["event=reloaded"]);
    let shown = explain(&server);
    assert!(shown.contains("reply:kettle") && shown.contains("[[reply]] for domains sink.test"), "{shown}");
    mailbox.fault("RCPT", Effect::Reply("450 4.2.0 The kettle is hot"));
    client.submit("a@sender.test", &["b@sink.test"], CONTENT);
    server.wait_log(&["event=limit_lowered", "limit=connections_max", SAID]);
    server.wait_log(&["event=deferred", "category=rate", "rule=reply:kettle"]);
    mailbox.wait(2);
    let shown = explain(&server);
    assert!(shown.contains("now: connections_max") && shown.contains(SAID), "{shown}");
    assert!(!shown.contains("now: message_rate"), "{shown}");
    let tried = |domain: &str| {
        output(
            Command::new(binary("ringpost"))
                .args(["classify", "--domain", domain, "450 kettle hot", "-c"])
                .arg(server.config()),
        )
    };
    let known = tried("sink.test");
    assert!(known.contains("reply:kettle") && known.contains("\"signal_rule\":\"reply:steam\""), "{known}");
    assert!(!tried("other.test").contains("reply:"));
}

#[test]
fn a_limit_that_a_reply_lowered_is_shown_with_the_reason_and_kept_over_restarts() {
    let mailbox = Mailbox::open();
    mailbox.fault("RCPT", Effect::Reply("450 4.7.1 Message rate limit exceeded, slow down"));
    let more = format!("rate_pause = [\"1s\"]\n{POOL}");
    let mut server = Server::start(&Setup { more, ..Setup::relay_to(mailbox.address) });
    assert!(!explain(&server).contains("now:"), "nothing is adjusted yet");
    Client::greet(server.relay).submit("a@sender.test", &["b@sink.test"], CONTENT);
    server.wait_log(&["event=limit_lowered", "limit=message_rate", "to=1.00", "slow down"]);
    mailbox.wait(1);
    let whole = explain(&server);
    assert!(whole.contains("message_rate grows") && whole.contains("at the earliest"), "{whole}");
    // What is in use and rests is of the moment.
    let lowered = |server: &Server| -> Vec<String> {
        let shown = explain(server);
        let kept = |line: &&str| line.contains("now: message_rate") || line.starts_with("  since ");
        shown.lines().filter(kept).map(str::to_owned).collect()
    };
    let shown = lowered(&server);
    assert!(shown.len() == 2 && shown[1].contains("slow down"), "{shown:?}");
    server.stop();
    server.launch();
    assert_eq!(lowered(&server), shown, "the same after a restart");
    for (before, after) in [(2, 3), (3, 1)] {
        server.stop();
        server.change(&format!("shards = {before}\n"), &format!("shards = {after}\n"));
        server.launch();
        assert_eq!(lowered(&server), shown, "the same with {after} shards");
    }
    let json: serde_json::Value = serde_json::from_str(&output(
        Command::new(binary("ringpost")).args(["explain", "sink.test", "--json", "-c"]).arg(server.config()),
    ))
    .expect("it is JSON");
    let now = json["sources"].as_array().expect("sources").iter().find(|source| !source["now"].is_null());
    assert_eq!(now.expect("one is adjusted")["now"]["signal"], "rate", "{json:#}");
}

#[test]
fn a_source_that_warms_up_sends_its_plan_and_the_rest_goes_from_a_warm_one_or_waits_and_says_why() {
    let mailbox = Mailbox::open();
    // As many on each day: midnight may come in between.
    let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let plan = format!("warm_up_from = \"{today}\"\nwarm_up_plan = [3]\n");
    let pool = POOL.replacen("addresses = [\"127.0.0.2\"]\n", &format!("addresses = [\"127.0.0.2\"]\n{plan}"), 1);
    let alone = format!("[[route]]\ndomains = [\"alone.test\"]\nnext_hop = \"{}\"\npool = \"s2\"\n", mailbox.address);
    let rest = format!("[[route]]\ndomains = [\"*\"]\nnext_hop = \"{}\"\n", mailbox.address);
    let mut server = Server::start(&Setup { more: format!("{alone}{rest}{pool}"), ..Setup::default() });
    let mut client = Client::greet(server.relay);
    for n in 0..20 {
        client.submit("a@sender.test", &[&format!("{n}@sink.test")], CONTENT);
    }
    server.wait_empty(PATIENCE);
    assert_eq!((mailbox.wait(20).len(), from(&mailbox, 2)), (20, 3));
    server.kill();
    server.launch();
    Client::greet(server.relay).submit("a@sender.test", &["b@alone.test"], CONTENT);
    wait_for("the reason to be shown", PATIENCE, || {
        server.queue(&["domains", "--resting"]).contains("allows").then_some(())
    });
    let id = server.wait_log(&["event=accepted", "recipients=1"]);
    let id = id.split(" id=").nth(1).and_then(|rest| rest.split(' ').next()).expect("an id").to_owned();
    let shown = server.queue(&["show", &id]);
    assert!(shown.contains("3 messages on day 1 of 1, which are used up until 00:00 UTC"), "{shown}");
    assert_eq!(from(&mailbox, 2), 3, "not after a kill either");
    let toml = fs::read_to_string(server.config()).expect("read");
    fs::write(server.config(), toml.replace("warm_up_plan = [3]", "warm_up_plan = [4]")).expect("written");
    server.reload();
    server.wait_log(&["event=reloaded"]);
    server.queue(&["retry", &id]);
    server.wait_empty(PATIENCE);
    assert_eq!(from(&mailbox, 2), 4, "a changed plan holds from its reload on");
}
