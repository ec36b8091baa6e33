//! What watches the server: metrics as Prometheus wants them, health, and a log that a flood does not fill.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::mailbox::Mailbox;
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::Client;
use crate::harness::{PATIENCE, free_address, wait_for};

fn watched() -> (Mailbox, Server, SocketAddr) {
    let (mailbox, http) = (Mailbox::open(), free_address());
    let more = format!(
        "[http]\naddress = \"{http}\"\ntoken_file = \"http.token\"\n\
         [[webhook]]\nname = \"crm\"\nurl = \"http://{}/\"\nsecret_file = \"crm.secret\"\n",
        free_address()
    );
    let server = Server::start(&Setup { more, ..Setup::relay_to(mailbox.address) });
    (mailbox, server, http)
}

fn metrics(server: &Server, http: SocketAddr) -> String {
    let token = fs::read_to_string(server.folder.path().join("http.token")).expect("a token");
    let header = format!("Authorization: Bearer {}", token.trim());
    crate::harness::output(Command::new("curl").args(["-sSf", "-H", &header, &format!("http://{http}/metrics")]))
}

/// Prometheus' own opinion of a text; it says nothing of what is good.
fn promtool_says(text: &str) -> String {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, which tests/setup installs");
    promtool.stdin.take().expect("its input").write_all(text.as_bytes()).expect("written");
    let output = promtool.wait_with_output().expect("it ends");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn by_metrics_as_prometheus_wants_them() {
    let (mailbox, server, http) = watched();
    Client::greet(server.relay).submit("a@sender.test", &["b@sink.test"], "Subject: hi\r\n\r\nbody\r\n");
    mailbox.wait(1);
    server.wait_empty(PATIENCE);
    let text = metrics(&server, http);
    assert_eq!(promtool_says(&text), "", "{text}");
    assert!(promtool_says("a_bytes_total{} 1\n").contains("a_bytes_total"), "promtool does complain of what is not");
    let families = |kind: &str| -> BTreeSet<String> {
        let names = text.lines().filter_map(|line| line.strip_prefix(kind)?.split(' ').next());
        names.map(str::to_owned).collect()
    };
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/control/http/families.rs");
    let source = fs::read_to_string(source).expect("the list of families");
    let listed: BTreeSet<String> =
        source.split("    (\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect();
    assert_eq!(families("# TYPE ringpost_"), listed, "all that is listed is there, and nothing else");
    assert_eq!(families("# HELP ringpost_"), listed, "and has its meaning");
    assert!(text.contains("ringpost_outbound_recipients_total{outcome=\"delivered\",shard=\"0\"} "), "{text}");
}

#[test]
fn by_its_health_without_a_token() {
    let (_mailbox, _server, http) = watched();
    let health = crate::harness::output(Command::new("curl").args(["-sSf", &format!("http://{http}/health")]));
    assert_eq!(health, r#"{"shards":2,"status":"ok"}"#);
}

/// Two hundred refusals of one client are a hundred lines and a number; the message after them has its own.
#[test]
fn by_a_log_that_a_flood_does_not_fill() {
    const FLOOD: usize = 200;
    let (mailbox, mut server, http) = watched();
    // An address always meets the same shard.
    for _ in 0..FLOOD {
        Client::greet(server.relay).expect("MAIL FROM:<a\u{1}@x.test>", "500");
    }
    Client::greet(server.relay).submit("a@sender.test", &["b@sink.test"], "Subject: hi\r\n\r\nbody\r\n");
    mailbox.wait(1);
    server.wait_log(&["event=delivered", "b@sink.test"]);
    let text = wait_for("all to be counted", PATIENCE, || {
        let text = metrics(&server, http);
        let suppressed = text.lines().filter(|line| line.starts_with("ringpost_log_lines_suppressed_total"));
        let lines: usize = suppressed.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum();
        (lines == FLOOD / 2).then_some(text)
    });
    assert!(text.contains("ringpost_log_lines_suppressed_total{kind=\"refusals\",shard="), "{text}");
    assert_eq!(server.log().matches("event=refused").count(), FLOOD / 2);
    server.stop();
    assert!(server.log().contains("event=suppressed shard="), "{}", server.log());
    assert!(server.log().contains(&format!("kind=refusals lines={} window_s=60", FLOOD / 2)), "{}", server.log());
}
