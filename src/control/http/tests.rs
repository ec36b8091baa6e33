//! The API as its clients see it: over a real socket, with shards that answer like a queue of three messages each.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hyper::Method;
use serde_json::{Value, json};
use shards::mesh::{Port, mesh};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::config::Config;
use crate::control::client::{self, ClientError};
use crate::control::socket;
use crate::crossing::Crossing;
use crate::events::Style;
use crate::queue::MessageId;
use crate::queue::behind::{Behind, Obstacles, Stage, WayThere};
use crate::queue::orders::{Lifted, Order, Reopen, Report, Resting, Suspended, Waiting};
use crate::queue::webhook::Counts;

async fn play_shard(port: Port<Crossing>) {
    let mut suspended = Vec::new();
    loop {
        let (order, answer) = match port.receive().await.1 {
            Crossing::Order(order, answer) => (order, answer),
            Crossing::Suppress(_, answer) => {
                answer.send(()).expect("it is waited for");
                continue;
            }
            _ => continue,
        };
        let message = |number| json!({ "id": MessageId::new(port.shard(), number).to_string(), "recipients": [] });
        let report = match *order {
            Order::List { after, limit, .. } => {
                let first = after.map_or(1, |after| after.number() + 1);
                Report::Messages((first..=3).take(limit).map(message).collect())
            }
            Order::Show(id) => Report::Message((id.number() <= 3).then(|| message(id.number()))),
            Order::Find(message_id) if &*message_id == "<a+b@c>" => Report::Messages(vec![message(2)]),
            Order::Find(_) => Report::Messages(Vec::new()),
            Order::Suspend(scope, on) => {
                suspended.retain(|other| *other != scope);
                suspended.extend(on.then_some(scope));
                Report::Suspended(Suspended { scopes: suspended.clone(), recipients: 3 })
            }
            Order::Suspensions => Report::Suspended(Suspended { scopes: suspended.clone(), recipients: 0 }),
            Order::Domains { domains, after, .. } => {
                let rest = Some(Resting {
                    until: shards::Timestamp::from_millis(1_800_000_000_000),
                    why: "554 listed".into(),
                    destination: "mx.test".into(),
                });
                let all = [("a.test", rest.clone()), ("b.test", rest), ("c.test", None)];
                let all = all.map(|(domain, rest)| waiting(domain, rest));
                let is_wanted = |waiting: &Waiting| {
                    domains.domain.as_ref().is_none_or(|domain| *domain == waiting.domain)
                        && after.as_ref().is_none_or(|after| waiting.domain > *after)
                        && (!domains.resting || waiting.rest.is_some())
                };
                Report::Domains(all.into_iter().filter(is_wanted).collect())
            }
            Order::Metrics => Report::Metrics(vec![("accepted_total", 3)]),
            Order::Webhooks => Report::Webhooks(vec![Counts {
                webhook: "crm".into(),
                waiting: 2,
                waiting_bytes: 0,
                told: 7,
                failures: 1,
                dropped: 0,
            }]),
            Order::Behind(lanes) => Report::Behind(lanes.into_iter().map(behind).collect()),
            Order::Obstacles(ways) => Report::Obstacles(obstacles(ways, port.shard())),
            Order::Adjusted(destination) => Report::Adjusted(vec![json!({ "destination": destination })]),
            Order::Lift(lift) if lift.source.as_deref() == Some("s9") => {
                Report::Lifted(Lifted::NoSource(vec!["both".into(), "s1".into()]))
            }
            Order::Lift(lift) if &*lift.domain == "nowhere.test" => Report::Lifted(Lifted::Nowhere("no MX".into())),
            Order::Lift(lift) => Report::Lifted(Lifted::Done {
                destination: "mx.test".into(),
                paths: vec![json!({ "source": port.shard().to_string(), "lifted": [&*lift.asked_by] })],
                reopen: Reopen {
                    sources: ["s1".into()].into(),
                    destinations: [format!("{}.{}", port.shard(), lift.domain).into()].into(),
                    domain: None,
                },
            }),
            Order::Reopen(reopen) => Report::Count((reopen.destinations.len() + reopen.domain.iter().len()) as u64),
            Order::TlsSessions | Order::Submit(..) | Order::TakeEvents { .. } | Order::CountFailure(_) => {
                Report::Failed("not asked here".into())
            }
            Order::Bounce(_) => Report::Failed("the disk is full".into()),
            Order::Count(selection) | Order::Hold(selection) | Order::Release(selection) | Order::Retry(selection) => {
                Report::Count(if selection.domain.as_deref() == Some("example.org") { 1 } else { 3 })
            }
        };
        let _ = answer.send(report);
    }
}

/// What waits for a domain.
fn waiting(domain: &str, rest: Option<Resting>) -> Waiting {
    let lanes = rest.is_none().then(|| domain.into()).into_iter().collect();
    Waiting { domain: domain.into(), recipients: 2, due: 1, rest, lanes, waits_for: None }
}

/// Every lane goes one way …
fn behind(lane: Box<str>) -> Behind {
    let way = WayThere { source: "".into(), name: "mx.test".into(), rest: None };
    Behind { lane, destination: "mx.test:25".into(), ways: vec![way], stage: Stage::Turns }
}

/// … whose home is shard 1.
fn obstacles(ways: BTreeSet<Box<str>>, shard: usize) -> Obstacles {
    ways.into_iter().filter(|_| shard == 1).map(|way| (way, "all are in use".into())).collect()
}

/// A keeper of suppressions in `folder`, whose lists have room for three.
fn keeper(folder: &Path, desk: &Desk) -> Keeper {
    let text = "[server]\nhostname = \"mta.test\"\ndata_dir = \".\"\n[[listener]]\nkind = \"relay\"\n\
                address = \"127.0.0.1:2525\"\ntls = \"off\"\nnetworks = [\"127.0.0.0/8\"]\n\
                [[account]]\nname = \"A@a.test\"\npassword = \"$argon2id$...\"\nsenders = [\"a@a.test\"]\n\
                [[account]]\nname = \"b@a.test\"\npassword = \"$argon2id$...\"\nsenders = [\"b@a.test\"]\n\
                [suppression]\nentries_max = 3\n";
    let config = Config::parse(text, folder).expect("good");
    let keeper = Keeper::open(&config, &Channel::new(Style::Logfmt)).expect("opened");
    keeper.start(desk);
    keeper
}

fn listeners() -> Arc<[SocketAddr]> {
    ["127.0.0.1:25", "[::1]:25"].map(|address| address.parse().expect("an address")).into()
}

/// Runs `test` beside a server with two shards on a control socket.
fn with_socket(test: impl FnOnce(PathBuf) + Send + 'static) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    let (ports, inlet) = mesh(2, 1, 4);
    for port in ports {
        local.spawn_local(play_shard(port));
    }
    let running = local.run_until(async {
        let (_bound, listener) = socket::bind(folder.path()).expect("a socket");
        let path = socket::path(folder.path());
        let desk = Desk::new(inlet);
        let keeper = keeper(folder.path(), &desk);
        let reporter = tokio::sync::mpsc::channel(1).0;
        let router = router(desk, keeper, Channel::new(Style::Logfmt), reporter, listeners(), Access::Socket);
        let server = tokio::spawn(async { axum::serve(listener, router).await });
        let ended = tokio::task::spawn_blocking(move || test(path)).await;
        server.abort();
        ended
    });
    if let Err(panic) = runtime.block_on(running) {
        std::panic::resume_unwind(panic.into_panic());
    }
}

fn refused(answer: Result<Value, ClientError>) -> String {
    match answer {
        Err(ClientError::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_socket_is_for_its_owner_only_and_goes_with_its_server() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    let (left_by_a_crash, _listener) = socket::bind(folder.path()).expect("a socket");
    std::mem::forget(left_by_a_crash);
    let (bound, _listener) = socket::bind(folder.path()).expect("in place of the old one");
    let mode = std::fs::metadata(socket::path(folder.path())).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(bound);
    assert!(!socket::path(folder.path()).exists());
}

#[test]
fn pages_counts_and_single_messages_come_as_json() {
    with_socket(|socket| {
        let get = |target: &str| client::request(&socket, Method::GET, target, None);
        let page = get("/api/v1/queue?limit=4").expect("a page");
        assert_eq!(page["messages"].as_array().map(Vec::len), Some(4));
        let next = page["next"].as_str().expect("there is more").to_owned();
        let page = get(&format!("/api/v1/queue?limit=4&after={next}")).expect("the last page");
        assert_eq!((page["messages"].as_array().map(Vec::len), &page["next"]), (Some(2), &Value::Null));
        assert_eq!(get("/api/v1/queue/count").expect("a count"), json!({ "recipients": 6 }));
        assert_eq!(get("/api/v1/queue/count?domain=Example.ORG").expect("a count"), json!({ "recipients": 2 }));
        assert_eq!(get(&format!("/api/v1/queue/{next}")).expect("a message")["id"], next.as_str());
        for target in ["/api/v1/messages?message_id=%3Ca%2Bb%40c%3E", "/api/v1/messages?message_id=a%2Bb@c"] {
            assert_eq!(get(target).expect("messages")["messages"].as_array().map(Vec::len), Some(2), "one a shard");
        }
        assert_eq!(get("/api/v1/messages?message_id=x@y").expect("none"), json!({ "messages": [] }));
        assert_eq!(get("/health").expect("healthy")["status"], "ok");
        assert_eq!(get("/api/v1/listeners").expect("addresses"), json!({ "listeners": ["127.0.0.1:25", "[::1]:25"] }));
    });
}

#[test]
fn domains_come_with_why_they_rest_and_a_retry_says_what_it_does_not_reach() {
    with_socket(|socket| {
        let get = |target: &str| client::request(&socket, Method::GET, target, None).expect("a page");
        let page = get("/api/v1/queue/domains?limit=2");
        let expected = json!({
            "domain": "a.test", "recipients": 4, "due": 2,
            "rests_until": "2027-01-15T08:00:00.000Z", "destination": "mx.test", "why": "554 listed",
        });
        assert_eq!((&page["domains"][0], &page["next"]), (&expected, &"b.test".into()));
        let page = get("/api/v1/queue/domains?after=b.test");
        let due = json!({ "domain": "c.test", "recipients": 4, "due": 2, "waits_for": "all are in use" });
        assert_eq!(page, json!({ "domains": [due], "next": null }));
        let retry = |domain: &str| {
            let body = json!({ "domain": domain });
            client::request(&socket, Method::POST, "/api/v1/queue/retry", Some(&body)).expect("done")
        };
        // All that the shards count behind a destination is 6, 4 of it at this domain.
        let still = json!({ "destination": "mx.test", "recipients": 2 });
        assert_eq!(retry("A.test"), json!({ "recipients": 6, "waiting_still": still }));
        assert_eq!(retry("c.test"), json!({ "recipients": 6 }));
    });
}

#[test]
fn what_is_wrong_is_said() {
    with_socket(|socket| {
        let get = |target: &str| refused(client::request(&socket, Method::GET, target, None));
        assert!(get("/api/v1/queue/0000000000000009").contains("there is no message 0000000000000009"));
        assert!(get("/api/v1/queue/xyz").contains("`xyz` is not the id of a message"));
        assert!(get("/api/v1/queue?limit=0").contains("between 1 and 1000"));
        assert!(get("/api/v1/queue?state=leased").contains("`suspended`, `held`, `uncertain`"));
        assert!(get("/api/v1/queue?colour=red").contains("unknown field `colour`"));
        assert!(get("/api/v1/messages").contains("message_id"));
        assert!(get("/api/v2").contains("nothing at this address"));
        let post = |body: Value| refused(client::request(&socket, Method::POST, "/api/v1/queue/hold", Some(&body)));
        assert!(post(json!({})).contains("say `all`"));
        assert!(post(json!({ "all": true, "domain": "example.org" })).contains("without a condition"));
        assert!(post(json!({ "domain": 7 })).contains("domain"));
        let bounced = client::request(&socket, Method::POST, "/api/v1/queue/bounce", Some(&json!({ "all": true })));
        assert!(refused(bounced).contains("the disk is full"));
    });
}

#[test]
fn releasing_everything_resumes_suspended_delivery() {
    with_socket(|socket| {
        let post = |verb: &str, body: Value| {
            client::request(&socket, Method::POST, &format!("/api/v1/queue/{verb}"), Some(&body)).expect("done")
        };
        let all = json!([{ "suspension": "all", "resume": "ringpost queue resume --all" }]);
        assert_eq!(post("suspend", json!({ "all": true }))["suspensions"], all);
        let answer = post("release", json!({ "domain": "example.org" }));
        assert_eq!(answer, json!({ "recipients": 2, "suspensions": all }), "a part is not everything");
        assert_eq!(post("release", json!({ "all": true })), json!({ "recipients": 6 }));
        let none = client::request(&socket, Method::GET, "/api/v1/queue/suspensions", None).expect("none");
        assert_eq!(none, json!({ "suspensions": [] }));
    });
}

#[test]
fn what_stays_suspended_is_told_and_so_is_what_was_not() {
    with_socket(|socket| {
        let post = |verb: &str, body: Value| {
            client::request(&socket, Method::POST, &format!("/api/v1/queue/{verb}"), Some(&body)).expect("done")
        };
        let acme = json!([{ "suspension": "tenant acme", "resume": "ringpost queue resume --tenant acme" }]);
        assert_eq!(post("suspend", json!({ "tenant": "acme" }))["changed"], true);
        assert_eq!(post("suspend", json!({ "all": true }))["changed"], true);
        let all = post("resume", json!({ "all": true }));
        assert_eq!(all, json!({ "suspended": false, "changed": true, "recipients": 6, "suspensions": acme }));
        let misspelt = post("resume", json!({ "tenant": "acne" }));
        assert_eq!(misspelt, json!({ "suspended": false, "changed": false, "recipients": 6, "suspensions": acme }));
        let last = post("resume", json!({ "tenant": "acme" }));
        assert_eq!(last, json!({ "suspended": false, "changed": true, "recipients": 6, "suspensions": [] }));
    });
}

#[test]
fn a_lift_asks_all_shards_twice_and_names_the_sources_that_there_are() {
    with_socket(|socket| {
        let lift = |body: Value| client::request(&socket, Method::POST, "/api/v1/paths/lift", Some(&body));
        let by = |name: &str| json!([{ "source": "0", "lifted": [name] }, { "source": "1", "lifted": [name] }]);
        let answer = lift(json!({ "domain": "A.test", "source": "s1", "asked_by": "jo" })).expect("done");
        // Each shard lets go what the others have named, too.
        assert_eq!(answer, json!({ "destination": "mx.test", "paths": by("jo"), "recipients": 6 }));
        assert_eq!(lift(json!({ "domain": "a.test" })).expect("done")["paths"], by("the HTTP API"));
        let misspelt = refused(lift(json!({ "domain": "a.test", "source": "s9" })));
        assert_eq!(misspelt, "there is no [[source]] or [[pool]] named `s9`; there are: both, s1");
        assert_eq!(refused(lift(json!({ "domain": "nowhere.test" }))), "no MX");
        assert!(refused(lift(json!({ "domain": "a b" }))).contains("`a b` is not the domain of an address"));
        assert!(refused(lift(json!({}))).contains("domain"));
    });
}

#[test]
fn metrics_have_the_webhooks_of_each_shard() {
    with_socket(|socket| {
        let told = "ringpost_webhook_events_told_total{webhook=\"crm\",shard=\"1\"} 7";
        assert!(metrics_text(&socket).contains(told));
    });
}

/// The metrics, which are no JSON, read without our client.
fn metrics_text(socket: &std::path::Path) -> String {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(socket).expect("a connection");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn over_tcp_only_the_page_and_its_health_come_without_the_token() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let token = Arc::new(Token::read_or_make(&folder.path().join("token")).expect("a token"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    let (ports, inlet) = mesh(2, 1, 4);
    for port in ports {
        local.spawn_local(play_shard(port));
    }
    runtime.block_on(local.run_until(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let desk = Desk::new(inlet);
        let keeper = keeper(folder.path(), &desk);
        let reporter = tokio::sync::mpsc::channel(1).0;
        let access = Access::Bearer(token.clone());
        let router = router(desk, keeper, Channel::new(Style::Logfmt), reporter, listeners(), access);
        tokio::spawn(async { axum::serve(listener, router).await });
        let get = async |path: &str, token: &str| {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            let request =
                format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("sent");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("an answer");
            answer
        };
        for path in [
            "/metrics",
            "/api/v1/suppressions",
            "/api/v1/queue",
            "/api/v1/queue/0000000000000001",
            "/api/v1/messages?message_id=x",
        ] {
            let answer = get(path, "wrong-token-0123456789").await;
            assert!(
                answer.starts_with("HTTP/1.1 401 ") && answer.contains("www-authenticate: Bearer"),
                "{path}: {answer}"
            );
            assert!(get(path, token.as_str()).await.starts_with("HTTP/1.1 200 "), "{path}");
        }
        for path in ["/", "/console.js", "/console.css", "/health"] {
            assert!(get(path, "").await.starts_with("HTTP/1.1 200 "), "{path}");
        }
        let page = get("/", "").await;
        assert!(page.contains("content-security-policy: default-src 'none'"), "{page}");
        assert!(!page.contains("://"), "the page needs nothing from elsewhere: {page}");
    }));
}

#[test]
fn suppressions_are_added_listed_in_pages_exported_and_removed() {
    with_socket(|socket| {
        let get = |query: &str| client::request(&socket, Method::GET, &format!("/api/v1/suppressions{query}"), None);
        let post = |verb: &str, body: Value| {
            client::request(&socket, Method::POST, &format!("/api/v1/suppressions/{verb}"), Some(&body))
        };
        let both = json!({ "addresses": ["Jo@X.test", "ann@x.test"], "list": "account:a@a.test" });
        assert_eq!(post("add", both).expect("added"), json!({ "added": 2 }));
        let one = json!({ "addresses": ["jo@x.test"], "cause": "complaint", "until": "2099-01-01" });
        assert_eq!(post("add", one).expect("added"), json!({ "added": 1 }));

        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let page = get(&format!("?limit=1{after}")).expect("a page");
            for entry in page["suppressions"].as_array().expect("a list") {
                let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
                found.push([text("address"), text("list"), text("cause"), text("until")].join(" "));
            }
            let Some(next) = page["next"].as_str() else { break };
            after = client::query(&json!({ "after": next })).replace('?', "&");
        }
        assert_eq!(
            found,
            [
                "jo@x.test global complaint 2099-01-01T00:00:00.000Z",
                "ann@x.test account:a@a.test operator ",
                "jo@x.test account:a@a.test operator ",
            ]
        );
        let of_jo = get("?address=JO@x.test").expect("a page");
        assert_eq!(of_jo["suppressions"].as_array().map(Vec::len), Some(2));

        let full = refused(client::send_text(
            &socket,
            "/api/v1/suppressions/import?list=account:a@a.test",
            "b@x.test\nc@x.test\n".into(),
        ));
        assert!(full.contains("`account:a@a.test` would have more entries"), "{full}");
        let wrong = refused(client::send_text(&socket, "/api/v1/suppressions/import", "b@x.test\nnobody\n".into()));
        assert!(wrong.contains("nothing was imported: line 2: `nobody`"), "{wrong}");
        let of_others =
            client::send_text(&socket, "/api/v1/suppressions/import?list=account:b@a.test", "b@x.test\n".into());
        assert_eq!(of_others.expect("another list has room"), json!({ "imported": 1 }));

        let mut all = Vec::new();
        client::copy_text(&socket, "/api/v1/suppressions/export", &mut all).expect("a text");
        assert_eq!(String::from_utf8_lossy(&all).lines().count(), 1 + 4);
        assert_eq!(post("remove", json!({ "addresses": ["JO@x.test"] })).expect("removed"), json!({ "removed": 2 }));
        let rest = json!({ "addresses": [], "list": "account:a@a.test", "all": true });
        assert_eq!(post("remove", rest).expect("removed"), json!({ "removed": 1 }));
        for wrong in [json!({ "addresses": [] }), json!({ "addresses": ["x"] }), json!({ "all": true })] {
            assert!(matches!(post("remove", wrong.clone()), Err(ClientError::Refused(_))), "{wrong}");
        }
        assert!(refused(get("?list=mine")).contains("`mine` must be"));
        assert_eq!(get("").expect("a page")["on"], true);
    });
}

#[test]
fn a_misspelt_account_is_refused_with_the_one_that_is_like_it() {
    with_socket(|socket| {
        let refusals = [
            client::request(&socket, Method::GET, "/api/v1/suppressions?list=account:aa@a.test", None),
            client::request(
                &socket,
                Method::POST,
                "/api/v1/suppressions/add",
                Some(&json!({ "addresses": ["jo@x.test"], "list": "account:aa@a.test" })),
            ),
            client::request(
                &socket,
                Method::POST,
                "/api/v1/suppressions/remove",
                Some(&json!({ "addresses": ["jo@x.test"], "list": "account:aa@a.test" })),
            ),
            client::send_text(&socket, "/api/v1/suppressions/import?list=account:aa@a.test", "jo@x.test\n".into()),
            client::send_text(
                &socket,
                "/api/v1/suppressions/import",
                "address,list\njo@x.test,account:a@a.test\njo@x.test,account:aa@a.test\n".into(),
            ),
        ];
        for refusal in refusals {
            assert_eq!(refused(refusal), "the configuration has no account `aa@a.test`: did you mean `a@a.test`?");
        }
        let lists = client::request(&socket, Method::GET, "/api/v1/suppressions", None).expect("a page");
        assert_eq!(lists["suppressions"], json!([]), "nothing of it was done");
        let far = client::request(&socket, Method::GET, "/api/v1/suppressions?list=account:somebody.else", None);
        assert_eq!(refused(far), "the configuration has no account `somebody.else`");
    });
}
