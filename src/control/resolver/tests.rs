//! The resolver against a real authoritative DNS server on loopback, and against one that says nothing.

mod signed;

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use futures::SinkExt;
use futures::channel::oneshot;

use super::*;
use crate::assurance::Trust;

const ZONE: &str = r#"$ORIGIN ringpost.test.
$TTL 300
@          SOA ns.ringpost.test. admin.ringpost.test. 1 7200 3600 86400 77
           NS  ns
ns         A   127.0.0.1
two        MX  20 Backup.mx
           MX  10 main.mx
null       0 MX 0 .
plain      A   192.0.2.7
alias      60 CNAME two
dangling   CNAME nowhere
main.mx    A   192.0.2.1
           120 AAAA 2001:db8::1
v4.mx      A   192.0.2.2
text       TXT no-addresses
           TXT ( "in two " "pieces" )
many       TXT LARGE
7          PTR Main.mx
away       CNAME www.elsewhere.test.
"#;

/// Where the servers of these tests listen.
const PORTS: std::ops::Range<u16> = 28_000..32_000;

/// Knot DNS with [`ZONE`], or with nothing, on a free loopback port, stopped by its process id.
struct Knot {
    process: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Knot {
    fn start() -> Knot {
        Knot::start_with("zone:\n  - domain: ringpost.test\n    file: zone\n")
    }

    fn start_with(zones: &str) -> Knot {
        let large = "\"abcdefghij\" ".repeat(TEXTS_BYTES_MAX / 10 + 1);
        Knot::start_serving(zones, &[("zone", &ZONE.replace("LARGE", &format!("( {large})")))])
    }

    /// With these zone files.
    #[expect(clippy::disallowed_methods, reason = "a blocking pipe is read beside the runtime's thread")]
    fn start_serving(zones: &str, files: &[(&str, &str)]) -> Knot {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let path = directory.path().display();
        let settings = format!(
            "server:\n  rundir: {path}\n  listen: 127.0.0.1@{port}\ndatabase:\n  storage: {path}\nlog:\n  - target: \
             stderr\n    any: info\ntemplate:\n  - id: default\n    storage: {path}\n{zones}"
        );
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).expect("written");
        }
        std::fs::write(directory.path().join("knot.conf"), settings).expect("written");
        let mut process = Command::new(knotd())
            .arg("-c")
            .arg(directory.path().join("knot.conf"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("knotd starts");
        let stderr = process.stderr.take().expect("piped");
        let (started, wait) = std::sync::mpsc::channel();
        // Reads to the end, so that its last words never fill the pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if line.contains("server started") {
                    let _ = started.send(());
                }
            }
        });
        wait.recv_timeout(Duration::from_secs(10)).expect("knotd starts within 10 s");
        Knot { process, address: (Ipv4Addr::LOCALHOST, port).into(), _directory: directory }
    }
}

impl Drop for Knot {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that no other server of these tests gets, free for UDP and TCP, and below those that clients are given.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(PORTS.start);
    let first = PORTS.start + (std::process::id() % 10) as u16 * 300;
    NEXT.fetch_max(first, Ordering::Relaxed);
    std::iter::repeat_with(|| NEXT.fetch_add(1, Ordering::Relaxed))
        .take_while(|port| PORTS.contains(port))
        .find(|port| {
            let address = (Ipv4Addr::LOCALHOST, *port);
            UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok()
        })
        .expect("a free port")
}

/// Debian's knotd; `/usr/sbin` need not be in a user's PATH.
fn knotd() -> &'static Path {
    ["/usr/sbin/knotd", "/usr/local/sbin/knotd", "/usr/bin/knotd"]
        .iter()
        .map(Path::new)
        .find(|path| path.exists())
        .expect("knotd is installed (Debian package knot)")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn mx(domain: &str) -> Question {
    Question::Mx(domain.into())
}

fn host(name: &str) -> Question {
    Question::Addresses(name.into())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_real_server_is_understood() {
    let knot = Knot::start();
    runtime().block_on(async {
        let resolver = build(&[knot.address], PATIENCE).expect("built");
        let ask = async |question: Question| look_up(&resolver, &question).await;

        let Answer::Mx(mut list, ttl) = ask(mx("two.ringpost.test")).await else { panic!("no list") };
        list.sort();
        let two = [(10, "main.mx.ringpost.test".into()), (20, "backup.mx.ringpost.test".into())];
        assert_eq!((&list[..], ttl), (&two[..], seconds(300)));

        assert_eq!(ask(mx("null.ringpost.test")).await, Answer::Mx(vec![(0, "".into())], Duration::ZERO));
        assert_eq!(ask(mx("plain.ringpost.test")).await, Answer::NoData(seconds(77)), "SOA's negative TTL");
        assert_eq!(ask(mx("nope.ringpost.test")).await, Answer::NoSuchName(seconds(77)));
        assert_eq!(ask(mx("dangling.ringpost.test")).await, Answer::NoSuchName(seconds(77)));
        let Answer::Mx(list, ttl) = ask(mx("alias.ringpost.test")).await else { panic!("no list") };
        assert_eq!((list.len(), ttl), (2, seconds(60)), "the alias's TTL counts too");

        let both = vec!["2001:db8::1".parse().expect("address"), "192.0.2.1".parse().expect("address")];
        assert_eq!(ask(host("main.mx.ringpost.test")).await, Answer::Addresses(both, seconds(120)));
        let one = vec!["192.0.2.2".parse().expect("address")];
        assert_eq!(ask(host("V4.mx.ringpost.test")).await, Answer::Addresses(one, seconds(300)));
        let v4_alone = ask(Question::Ipv4("main.mx.ringpost.test".into())).await;
        assert_eq!(v4_alone, Answer::Addresses(vec!["192.0.2.1".parse().expect("address")], seconds(300)));
        let v6_alone = ask(Question::Ipv6("main.mx.ringpost.test".into())).await;
        let v6 = "2001:db8::1".parse().expect("address");
        assert_eq!(v6_alone, Answer::Addresses(vec![v6], seconds(120)));
        let Answer::Texts(mut texts, _) = ask(Question::Texts("text.ringpost.test".into())).await else {
            panic!("none")
        };
        texts.sort();
        assert_eq!(texts, ["in two pieces".into(), "no-addresses".into()]);
        assert_eq!(ask(Question::Texts("nope.ringpost.test".into())).await, Answer::NoSuchName(seconds(77)));
        assert!(matches!(ask(Question::Texts("many.ringpost.test".into())).await, Answer::Trouble(_)), "too many");
        let name = ask(Question::Names("7.ringpost.test".into())).await;
        assert_eq!(name, Answer::Texts(vec!["main.mx.ringpost.test".into()], seconds(300)));
        assert_eq!(ask(Question::Ipv4("text.ringpost.test".into())).await, Answer::NoData(seconds(77)));
        assert_eq!(ask(Question::Ipv4("nope.ringpost.test".into())).await, Answer::NoSuchName(seconds(77)));
        assert_eq!(ask(host("text.ringpost.test")).await, Answer::NoData(seconds(77)));
        assert_eq!(ask(host("nope.ringpost.test")).await, Answer::NoSuchName(seconds(77)));
    });
}

#[test]
fn what_the_server_does_not_serve_is_trouble_and_no_bounce() {
    let knot = Knot::start();
    runtime().block_on(async {
        let resolver = build(&[knot.address], PATIENCE).expect("built");
        // Knot answers REFUSED outside its zone.
        for question in [mx("example.org"), host("example.org"), host("away.ringpost.test")] {
            let answer = look_up(&resolver, &question).await;
            assert!(matches!(answer, Answer::Trouble(_)), "{question:?}: {answer:?}");
        }
    });
}

#[test]
fn a_name_that_can_be_in_no_zone_does_not_exist() {
    runtime().block_on(async {
        let nobody = build(&["127.0.0.1:1".parse().expect("address")], PATIENCE).expect("built");
        let too_long = format!("{}.test", "x".repeat(64));
        for name in [too_long.as_str(), "a..test"] {
            let answer = look_up(&nobody, &mx(name)).await;
            assert_eq!(answer, Answer::NoSuchName(BAD_NAME_TTL), "{name}");
        }
    });
}

#[test]
fn a_silent_server_is_trouble_in_bounded_time() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    let address = silent.local_addr().expect("address");
    runtime().block_on(async {
        let patience = Duration::from_millis(100);
        let resolver = build(&[address], patience).expect("built");
        let begin = tokio::time::Instant::now();
        let answer = look_up(&resolver, &mx("two.ringpost.test")).await;
        assert!(matches!(answer, Answer::Trouble(_)), "{answer:?}");
        // Far from each other: a hang or a default of seconds fails, a slow machine does not.
        assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
    });
}

#[test]
fn a_change_of_servers_holds_for_the_next_question_and_the_task_ends_with_its_senders() {
    let ignorant = Knot::start_with("");
    let knot = Knot::start();
    runtime().block_on(async {
        let (mut queries, receiver) = mpsc::channel(8);
        let data = tempfile::tempdir().expect("a folder");
        let policies = sts::Store::open(data.path()).expect("a store");
        let settings = |server: SocketAddr| Settings {
            servers: vec![server],
            anchors: None,
            policies: sts::Access::new(&Trust::default(), 443),
        };
        let (servers, watched) = watch::channel(settings(ignorant.address));
        let asker = async move {
            let mut ask = async || {
                let (reply, answer) = oneshot::channel();
                queries.send(Query { question: mx("null.ringpost.test"), reply }).await.expect("taken");
                answer.await.expect("answered")
            };
            let refused = ask().await;
            // Senders and domains are told what is wrong, and of no server of ours.
            let ours = ignorant.address.to_string();
            assert!(matches!(&refused, Answer::Trouble(why) if !why.contains(&ours)), "{refused:?}");
            let shown = naming(&names_of(&[ignorant.address]), refused);
            assert!(matches!(&shown, Answer::Trouble(why) if why.ends_with(&format!("(asked: {ours})"))), "{shown:?}");
            servers.send_replace(settings(knot.address));
            assert_eq!(ask().await, Answer::Mx(vec![(0, "".into())], Duration::ZERO));
        };
        tokio::join!(answer_queries(receiver, watched, policies), asker);
    });
}
