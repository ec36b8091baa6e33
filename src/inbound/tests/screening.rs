//! Scanners and block lists that find something, find nothing, or do not answer.

use std::collections::VecDeque;

use futures::StreamExt;
use futures::channel::mpsc;

use super::*;
use crate::config::screening::{BlockList, OnFailure, Scanner, ScannerAddress};
use crate::config::{ListenerKind, Network};
use crate::dns::{self, Answer, Query, Question};

const CLAMD: u16 = 3310;
const RSPAMD: u16 = 11333;
/// The client's machine, where the scanners run, too.
const CLIENT: &str = "10.0.0.2";
const MESSAGE: &str = "From: user@accept.test\r\nMessage-ID: <1@x>\r\n\r\nhello\r\n.";
const CLEAN: &[u8] = b"stream: OK\0";

/// A resolver that knows what [`super::preflight`] asks, and lists: the client is listed in `bl.test`, `down.test` is
/// in trouble, `slow.test` is silent.
pub(super) fn lists(reactor: &Reactor) -> dns::Cache {
    let (resolver, mut queries) = mpsc::channel::<Query>(8);
    let answering = async move {
        let mut unanswered = Vec::new();
        while let Some(query) = queries.next().await {
            let Question::Ipv4(name) = &query.question else {
                super::preflight::answer(query, &mut unanswered);
                continue;
            };
            let answer = match &**name {
                "mta.test" => Answer::Addresses(vec![[192, 0, 2, 7].into()], Duration::from_secs(60)),
                "2.0.0.10.bl.test" => Answer::Addresses(vec![[127, 0, 0, 2].into()], Duration::from_secs(60)),
                "2.0.0.10.down.test" => Answer::Trouble("SERVFAIL".into()),
                "2.0.0.10.slow.test" => {
                    unanswered.push(query);
                    continue;
                }
                _ => Answer::NoSuchName(Duration::from_secs(60)),
            };
            query.reply.send(answer).expect("it is waited for");
        }
    };
    reactor.spawn(answering).detach();
    dns::Cache::new(reactor.clone(), resolver)
}

/// What a scanner does with a request.
#[derive(Clone)]
enum Act {
    Answer(Vec<u8>),
    Close,
    Hang,
}

/// A scanner that does what it was told, then the last of it again and again, and keeps what it was asked.
#[derive(Clone, Default)]
struct Fake {
    acts: Rc<RefCell<VecDeque<Act>>>,
    asked: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Fake {
    fn open(reactor: &Reactor, port: u16, acts: impl IntoIterator<Item = Act>) -> Fake {
        let fake = Fake { acts: Rc::new(RefCell::new(acts.into_iter().collect())), asked: Rc::default() };
        let listener = reactor.listen(SocketAddr::new(CLIENT.parse().expect("an address"), port)).expect("listens");
        let (serving, of) = (fake.clone(), reactor.clone());
        let serve = async move {
            while let Ok(stream) = listener.accept().await {
                of.spawn(serving.clone().serve(stream)).detach();
            }
        };
        reactor.spawn(serve).detach();
        fake
    }

    async fn serve(self, mut stream: Stream) {
        let mut request = Vec::new();
        while !is_whole(&request) {
            match stream.receive(PATIENCE).await {
                Ok(bytes) if !bytes.is_empty() => request.extend_from_slice(&bytes),
                _ => return,
            }
        }
        self.asked.borrow_mut().push(request);
        let act = {
            let mut acts = self.acts.borrow_mut();
            if acts.len() > 1 { acts.pop_front() } else { acts.front().cloned() }
        };
        match act.expect("it was told what to do") {
            // Whoever hung up has heard enough.
            Act::Answer(mut bytes) => drop(stream.send(&mut bytes, PATIENCE).await),
            Act::Close => {}
            Act::Hang => drop(stream.receive(PATIENCE).await),
        }
    }

    fn asked(&self) -> usize {
        self.asked.borrow().len()
    }

    /// The content of an INSTREAM request.
    fn streamed(&self, request: usize) -> Vec<u8> {
        let asked = self.asked.borrow();
        let mut rest = asked[request].strip_prefix(b"zINSTREAM\0").expect("the command");
        let mut content = Vec::new();
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let (chunk, behind) = behind.split_at(u32::from_be_bytes(*length) as usize);
            content.extend_from_slice(chunk);
            rest = behind;
        }
        content
    }
}

/// Of clamd's protocol, or of HTTP.
fn is_whole(request: &[u8]) -> bool {
    if request.starts_with(b"z") {
        return request.ends_with(b"\0\0\0\0");
    }
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split("Content-Length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    length.is_some_and(|length| length.parse() == Ok(body.len()))
}

fn scanner(port: u16) -> Scanner {
    Scanner {
        address: ScannerAddress::Tcp(CLIENT.into(), port),
        timeout: Duration::from_secs(30),
        on_failure: OnFailure::Defer,
        message_bytes_max: None,
        connections_max: 2,
    }
}

/// With `[screening]` as the keys in `toml` say.
fn screened(config: &mut Config, toml: &str) {
    let base = format!(
        "[server]\nhostname = 'x'\ndata_dir = 'x'\n[[listener]]\nkind = 'relay'\naddress = '127.0.0.1:1'\ntls = 'off'\n\
         networks = ['::1']\n{toml}"
    );
    config.screening = Config::parse(&base, Path::new("/")).unwrap_or_else(|mistakes| panic!("{mistakes:?}")).screening;
}

fn with_clamav(config: &mut Config) {
    config.screening.listeners = vec![ListenerKind::Submission];
    config.screening.clamav = Some(scanner(CLAMD));
}

fn with_rspamd(config: &mut Config) {
    screened(config, &format!("[screening.rspamd]\nurl = 'http://{CLIENT}:{RSPAMD}'\n"));
}

fn with_lists(config: &mut Config, zones: &[&str]) {
    screened(config, "[screening.block_lists]\nzones = ['x']\nprivate_addresses = true\n");
    let lists = config.screening.block_lists.as_mut().expect("lists");
    lists.zones = zones.iter().map(|zone| BlockList { zone: (*zone).into(), answers: None }).collect();
}

fn json(json: &str) -> Act {
    Act::Answer(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{json}", json.len()).into_bytes())
}

impl Client {
    /// A message, whose fate must be `expected`.
    async fn submits(&mut self, expected: &str) -> String {
        self.begins("user@accept.test", "b@next.test").await;
        self.says(MESSAGE, expected).await
    }
}

impl World {
    fn metric(&self, wanted: &str) -> u64 {
        self.inbound.0.screening.counts().find(|(name, _)| *name == wanted).expect("a metric").1
    }
}

#[test]
fn malware_is_refused_by_its_name_and_what_is_clean_passes() {
    story(with_clamav, |world| async move {
        let found = Act::Answer(b"stream: Eicar-Test-Signature FOUND\0".to_vec());
        let clamd = Fake::open(&world.reactor, CLAMD, [found, Act::Answer(CLEAN.to_vec())]);
        let mut client = world.authenticated().await;
        let refusal = client.submits("554 5.7.1").await;
        assert!(refusal.contains("malware (Eicar-Test-Signature)"), "{refusal}");
        client.submits("250 2.6.0").await;
        assert_eq!(clamd.streamed(1), b"From: user@accept.test\r\nMessage-ID: <1@x>\r\n\r\nhello\r\n");
        let log = world.logged();
        let line = |event: &str| log.lines().find(|line| line.contains(event)).expect("a line").to_owned();
        assert!(line("event=refused").contains("what=message"), "{log}");
        assert!(line("event=refused").ends_with("screening=clamav:Eicar-Test-Signature"), "{log}");
        assert!(line("event=accepted").ends_with("screening=clean"), "{log}");
        let counts = ["scans", "hits", "failures"]
            .map(|what| world.metric(&format!("screening_{what}_total{{scanner=\"clamav\"}}")));
        assert_eq!(counts, [2, 1, 0]);
    });
}

#[test]
fn large_content_arrives_whole_at_the_scanner() {
    story(with_clamav, |world| async move {
        let clamd = Fake::open(&world.reactor, CLAMD, [Act::Answer(CLEAN.to_vec())]);
        let mut client = world.authenticated().await;
        let lines: String = (0..9_000).map(|number| format!("line {number} {}\r\n", "x".repeat(80))).collect();
        let content = format!("From: user@accept.test\r\n\r\n{lines}");
        client.begins("user@accept.test", "b@next.test").await;
        client.sends(content.as_bytes()).await;
        client.says(".", "250 2.6.0").await;
        assert!(clamd.streamed(0) == content.as_bytes(), "{} of {} octets", clamd.streamed(0).len(), content.len());
    });
}

#[test]
fn rspamd_is_told_who_sends_and_its_actions_are_taken() {
    story(with_rspamd, |world| async move {
        let rspamd = Fake::open(
            &world.reactor,
            RSPAMD,
            [
                json(r#"{"action":"reject","score":15,"required_score":15,"messages":{"smtp_message":"Gtube"}}"#),
                json(r#"{"action":"soft reject","score":1,"required_score":15}"#),
                json(r#"{"action":"add header","score":7.2,"required_score":15}"#),
            ],
        );
        let mut client = world.authenticated().await;
        let refusal = client.submits("554 5.7.1").await;
        assert!(refusal.contains("looks like spam (Gtube)"), "{refusal}");
        client.submits("451 4.7.1").await;
        client.submits("250 2.6.0").await;
        let content = world.queued().await;
        assert!(content.contains("\r\nX-Spam: Yes\r\n"), "{content}");
        assert!(world.logged().contains("screening=rspamd:add_header(7.2/15.0)"));
        let asked = String::from_utf8(rspamd.asked.borrow()[0].clone()).expect("text");
        for field in [
            "IP: 10.0.0.2",
            "Helo: client.test",
            "From: user@accept.test",
            "Rcpt: b@next.test",
            "User: user@accept.test",
        ] {
            assert!(asked.contains(&format!("\r\n{field}\r\n")), "{field} in {asked}");
        }
        assert!(asked.contains("\r\nQueue-Id: ") && asked.ends_with("\r\n\r\nhello\r\n"), "{asked}");
    });
}

#[test]
fn a_scanner_that_is_down_defers_or_lets_pass() {
    story(with_clamav, |world| async move {
        let mut client = world.authenticated().await;
        client.submits("451 4.7.1").await;
        let log = world.logged();
        assert!(log.contains("event=scanner_failed shard=0 scanner=clamav why=\"connection: "), "{log}");
        assert!(log.contains("screening=clamav:failed"), "{log}");
        let mut config = super::config(world.server.address());
        with_clamav(&mut config);
        config.screening.clamav.as_mut().expect("a scanner").on_failure = OnFailure::Accept;
        world.reload(config);
        client.submits("250 2.6.0").await;
        assert!(world.logged().contains("screening=clamav:failed"));
    });
}

#[test]
fn garbage_is_no_verdict() {
    story(with_clamav, |world| async move {
        let acts = [
            Act::Answer(b"220 mail.test ESMTP\r\n".to_vec()),
            Act::Answer(vec![b'x'; 100_000]),
            Act::Answer(Vec::new()),
            Act::Close,
            Act::Answer(b"INSTREAM size limit exceeded. ERROR\0".to_vec()),
            Act::Answer(CLEAN.to_vec()),
        ];
        let clamd = Fake::open(&world.reactor, CLAMD, acts);
        let mut client = world.authenticated().await;
        for _ in 0..5 {
            client.submits("451 4.7.1").await;
        }
        client.submits("250 2.6.0").await;
        assert_eq!(clamd.asked(), 6, "a scanner that answers is asked again at once");
        let log = world.logged();
        assert!(log.contains("longer than 4096 octets") && log.contains("size limit exceeded"), "{log}");
    });
}

#[test]
fn a_silent_scanner_does_not_make_every_message_wait() {
    story(with_clamav, |world| async move {
        let mut acts = vec![Act::Hang; 4];
        acts.push(Act::Answer(CLEAN.to_vec()));
        let clamd = Fake::open(&world.reactor, CLAMD, acts);
        let mut client = world.authenticated().await;
        let mut took = Vec::new();
        for _ in 0..5 {
            let began = world.reactor.now();
            client.submits("451 4.7.1").await;
            took.push(world.reactor.now().since(began).as_secs());
        }
        assert_eq!(took, [30, 30, 30, 0, 0]);
        world.reactor.sleep(Duration::from_secs(10)).await;
        client.submits("451 4.7.1").await;
        client.submits("451 4.7.1").await;
        assert_eq!(clamd.asked(), 4, "one found out for the other");
        world.reactor.sleep(Duration::from_secs(10)).await;
        client.submits("250 2.6.0").await;
        client.submits("250 2.6.0").await;
        assert_eq!((clamd.asked(), world.metric("screening_timeouts_total{scanner=\"clamav\"}")), (6, 4));
    });
}

#[test]
fn a_hit_of_one_does_not_wait_for_another() {
    let both = |config: &mut Config| {
        with_rspamd(config);
        with_clamav(config);
    };
    story(both, |world| async move {
        let _clamd = Fake::open(&world.reactor, CLAMD, [Act::Hang]);
        let _rspamd = Fake::open(&world.reactor, RSPAMD, [json(r#"{"action":"reject"}"#)]);
        let mut client = world.authenticated().await;
        let began = world.reactor.now();
        client.submits("554 5.7.1").await;
        assert!(world.reactor.now().since(began) < Duration::from_secs(5));
    });
}

#[test]
fn scans_have_their_turns() {
    let narrow = |config: &mut Config| {
        with_clamav(config);
        config.screening.clamav.as_mut().expect("a scanner").connections_max = 1;
    };
    story(narrow, |world| async move {
        let clamd = Fake::open(&world.reactor, CLAMD, [Act::Hang, Act::Answer(CLEAN.to_vec())]);
        let (mut first, mut second) = (world.authenticated().await, world.authenticated().await);
        first.begins("user@accept.test", "b@next.test").await;
        second.begins("user@accept.test", "b@next.test").await;
        first.sends(format!("{MESSAGE}\r\n").as_bytes()).await;
        while clamd.asked() == 0 {
            world.reactor.sleep(Duration::from_millis(1)).await;
        }
        world.reactor.sleep(Duration::from_secs(5)).await;
        second.sends(format!("{MESSAGE}\r\n").as_bytes()).await;
        first.hears("451 4.7.1").await;
        assert_eq!(clamd.asked(), 1, "the second waits for its turn");
        second.hears("250 2.6.0").await;
    });
}

#[test]
fn an_overload_of_ours_is_not_the_scanners_silence() {
    let narrow = |config: &mut Config| {
        with_clamav(config);
        config.screening.clamav.as_mut().expect("a scanner").connections_max = 1;
    };
    story(narrow, |world| async move {
        let clamd = Fake::open(&world.reactor, CLAMD, [Act::Hang, Act::Hang, Act::Answer(CLEAN.to_vec())]);
        let mut clients = Vec::new();
        for _ in 0..4 {
            let mut client = world.authenticated().await;
            client.begins("user@accept.test", "b@next.test").await;
            client.sends(format!("{MESSAGE}\r\n").as_bytes()).await;
            clients.push(client);
        }
        for client in &mut clients {
            client.hears("451 4.7.1").await;
        }
        let log = world.logged();
        assert_eq!((clamd.asked(), log.matches("no answer in time").count()), (1, 1), "{log}");
        assert_eq!(log.matches("too many scans at a time").count(), 3, "{log}");
        // Another silence is the second in a row, not the fifth: the scanner is not left alone.
        clients[0].submits("451 4.7.1").await;
        clients[1].submits("250 2.6.0").await;
        assert_eq!(clamd.asked(), 3);
    });
}

#[test]
fn who_comes_while_the_scanner_rests_does_not_wait_for_a_turn() {
    let narrow = |config: &mut Config| {
        with_clamav(config);
        config.screening.clamav.as_mut().expect("a scanner").connections_max = 1;
    };
    story(narrow, |world| async move {
        let clamd = Fake::open(&world.reactor, CLAMD, [Act::Hang]);
        let mut client = world.authenticated().await;
        for _ in 0..3 {
            client.submits("451 4.7.1").await;
        }
        // One message finds out whether it is back, and takes the only turn for a while.
        world.reactor.sleep(Duration::from_secs(11)).await;
        let mut finds_out = world.authenticated().await;
        finds_out.begins("user@accept.test", "b@next.test").await;
        finds_out.sends(format!("{MESSAGE}\r\n").as_bytes()).await;
        while clamd.asked() < 4 {
            world.reactor.sleep(Duration::from_millis(1)).await;
        }
        let began = world.reactor.now();
        client.submits("451 4.7.1").await;
        assert!(world.reactor.now().since(began) < Duration::from_secs(1), "it is told at once");
        assert_eq!(clamd.asked(), 4);
    });
}

#[test]
fn what_is_too_large_for_a_scanner_is_not_given_to_it() {
    let small = |config: &mut Config| {
        with_clamav(config);
        config.screening.clamav.as_mut().expect("a scanner").message_bytes_max = Some(10);
    };
    story(small, |world| async move {
        let mut client = world.authenticated().await;
        client.submits("250 2.6.0").await;
        assert!(world.logged().contains("screening=clamav:too_large"));
    });
}

#[test]
fn a_listed_client_is_refused_by_the_name_of_the_list() {
    let lists = |config: &mut Config| with_lists(config, &["other.test", "bl.test"]);
    story(lists, |world| async move {
        let mut client = world.authenticated().await;
        let refusal = client.says("MAIL FROM:<user@accept.test>", "554 5.7.1").await;
        assert!(refusal.contains("10.0.0.2 is listed at bl.test"), "{refusal}");
        client.says("MAIL FROM:<boss@accept.test>", "553 5.7.1").await;
        let log = world.logged();
        assert!(log.contains("what=mail") && log.contains("screening=block_lists:bl.test(127.0.0.2)"), "{log}");
        let mut relayed = world.greeted(RELAY).await;
        relayed.says("MAIL FROM:<a@x.test>", "250").await;
    });
}

#[test]
fn clients_of_exempt_networks_and_exempt_accounts_are_not_looked_up() {
    type Exempt = fn(&mut config::Screening);
    let exemptions: [Exempt; 4] = [
        |screening| screening.exempt_accounts = vec!["user@accept.test".into()],
        |screening| screening.listeners = vec![ListenerKind::Relay],
        |screening| {
            let network = Network { address: CLIENT.parse().expect("an address"), prefix: 32 };
            screening.block_lists.as_mut().expect("lists").exempt_networks = vec![network];
        },
        |screening| screening.block_lists.as_mut().expect("lists").private_addresses = false,
    ];
    for exempt in exemptions {
        let lists = move |config: &mut Config| {
            with_lists(config, &["bl.test"]);
            exempt(&mut config.screening);
        };
        story(lists, |world| async move {
            world.authenticated().await.submits("250 2.6.0").await;
            assert_eq!(world.metric("screening_scans_total{scanner=\"block_lists\"}"), 0);
        });
    }
}

#[test]
fn lists_that_do_not_answer_defer_or_let_pass() {
    for (zone, took_s) in [("down.test", 0), ("slow.test", 10)] {
        story(
            move |config| with_lists(config, &[zone]),
            move |world| async move {
                let mut client = world.authenticated().await;
                let began = world.reactor.now();
                client.says("MAIL FROM:<user@accept.test>", "451 4.7.1").await;
                assert_eq!(world.reactor.now().since(began).as_secs(), took_s);
                let mut config = super::config(world.server.address());
                with_lists(&mut config, &[zone]);
                config.screening.block_lists.as_mut().expect("lists").on_failure = OnFailure::Accept;
                world.reload(config);
                client.submits("250 2.6.0").await;
                assert!(world.logged().contains("screening=block_lists:failed"));
            },
        );
    }
}

#[test]
fn a_client_that_no_list_knows_is_clean() {
    let lists = |config: &mut Config| with_lists(config, &["other.test"]);
    story(lists, |world| async move {
        world.authenticated().await.submits("250 2.6.0").await;
        assert!(world.logged().contains("screening=clean"));
    });
}
