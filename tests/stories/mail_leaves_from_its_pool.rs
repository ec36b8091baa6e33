//! Mail leaves from the sources of its pool, each by its weight, under the source's own name; the pool is that of the message,
//! of its account, of its recipient's domain, or the usual one, and the address that of the destination's family. A
//! source that is blocked at a destination, or cannot be used at all, leaves its messages to the others.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use crate::harness::mailbox::{Effect, Mailbox};
use crate::harness::server::{Server, Setup, password_hash};
use crate::harness::smtp::Client;
use crate::harness::{PATIENCE, free_address};

const CONTENT: &str = "Subject: hi\r\n\r\nbody\r\n";

/// A source at 127.0.0.N that calls itself sourceN.test.
fn source(number: u8) -> String {
    format!("[[source]]\nname = \"s{number}\"\naddresses = [\"127.0.0.{number}\"]\nehlo = \"source{number}.test\"\n")
}

fn pool(name: &str, sources: &[(u8, u32)]) -> String {
    let members: Vec<String> =
        sources.iter().map(|(number, weight)| format!("{{ source = \"s{number}\", weight = {weight} }}")).collect();
    format!("[[pool]]\nname = \"{name}\"\nsources = [{}]\n", members.join(", "))
}

fn start(mailbox: &Mailbox, more: &str) -> Server {
    Server::start(&Setup { more: more.into(), ..Setup::relay_to(mailbox.address) })
}

/// How many messages came from each address.
fn shares(mailbox: &Mailbox, messages: usize) -> BTreeMap<(IpAddr, String), usize> {
    let mut shares = BTreeMap::new();
    mailbox.wait(messages).into_iter().for_each(|received| *shares.entry(received.client).or_default() += 1);
    shares
}

fn from(number: u8) -> (IpAddr, String) {
    (IpAddr::from(Ipv4Addr::new(127, 0, 0, number)), format!("source{number}.test"))
}

#[test]
fn by_weight_under_the_names_of_its_sources() {
    let mailbox = Mailbox::open();
    let more = [source(2), source(3), pool("usual", &[(2, 1), (3, 3)]), "[delivery]\npool = \"usual\"\n".into()];
    let server = start(&mailbox, &more.concat());
    let mut client = Client::greet(server.relay);
    (0..40).for_each(|n| _ = client.submit("a@sender.test", &[&format!("{n}@sink.test")], CONTENT));
    let shares = shares(&mailbox, 40);
    assert_eq!(shares.keys().cloned().collect::<Vec<_>>(), [from(2), from(3)]);
    assert!(shares[&from(2)].abs_diff(10) <= 2, "{shares:?}");
    server.wait_log(&["event=delivered", "source=s2"]);
}

#[test]
fn the_message_chooses_where_it_may_and_the_domain_otherwise() {
    let mailbox = Mailbox::open();
    let trusting = free_address();
    let listener = format!(
        "[[listener]]\nkind = \"relay\"\naddress = \"{trusting}\"\ntls = \"off\"\nnetworks = [\"127.0.0.0/8\"]\n\
         routing_headers = true\n"
    );
    let domain =
        format!("[[route]]\ndomains = [\"special.test\"]\nnext_hop = \"{}\"\npool = \"s4\"\n", mailbox.address);
    let more = [listener, source(2), source(3), source(4), "[delivery]\npool = \"s2\"\n".into()].concat();
    let setup = Setup { more, ..Setup::default() };
    let rest = format!("[[route]]\ndomains = [\"*\"]\nnext_hop = \"{}\"\n", mailbox.address);
    let server = Server::start(&Setup { more: domain + &rest + &setup.more, ..setup });
    let asking = format!("X-Virtual-MTA: s3\r\n{CONTENT}");
    let cases = [
        (trusting, &*asking, "a@x.test", 3),
        (server.relay, &asking, "b@x.test", 2),
        (server.relay, CONTENT, "c@special.test", 4),
    ];
    for (count, (listener, content, recipient, source)) in (1..).zip(cases) {
        Client::greet(listener).submit("a@sender.test", &[recipient], content);
        let received = mailbox.wait(count).pop().expect("it arrived");
        assert_eq!(received.client, from(source), "{recipient}");
        assert!(!received.text().to_lowercase().contains("x-virtual-mta"), "{}", received.text());
    }
    let refused = Client::greet(trusting).submit("a@sender.test", &["d@x.test"], "X-Virtual-MTA: s9\r\n\r\n");
    assert!(refused.starts_with("550 5.6.0") && refused.contains("`s9`"), "{refused}");
}

#[test]
fn an_account_sends_from_its_own() {
    let mailbox = Mailbox::open();
    let account = |name: &str, more: &str| {
        format!("[[account]]\nname = \"{name}\"\npassword = \"{}\"\nsenders = [\"{name}\"]\n{more}\n", password_hash())
    };
    let accounts = [account("bulk@pool.test", "pool = \"s3\""), account("rest@pool.test", "")].concat();
    let server = start(&mailbox, &[source(2), source(3), "[delivery]\npool = \"s2\"\n".into(), accounts].concat());
    for (count, (name, number)) in (1..).zip([("bulk@pool.test", 3), ("rest@pool.test", 2)]) {
        server.submit(name, &["a@sink.test"], &format!("From: {name}\r\n{CONTENT}"));
        assert_eq!(mailbox.wait(count).pop().expect("it arrived").client, from(number), "{name}");
    }
}

#[test]
fn a_message_of_an_account_chooses_where_the_account_may_and_never_shows_it() {
    let mailbox = Mailbox::open();
    let account = |name: &str, more: &str| {
        format!("[[account]]\nname = \"{name}\"\npassword = \"{}\"\nsenders = [\"{name}\"]\n{more}\n", password_hash())
    };
    let accounts = [account("may@pool.test", "routing_headers = true"), account("not@pool.test", "")].concat();
    let server = start(&mailbox, &[source(2), source(3), "[delivery]\npool = \"s2\"\n".into(), accounts].concat());
    let headers = "X-Virtual-MTA: s3\r\nX-Tenant: acme\r\nX-Campaign: spring\r\n";
    for (count, (name, number)) in (1..).zip([("may@pool.test", 3), ("not@pool.test", 2)]) {
        server.submit(name, &["a@sink.test"], &format!("From: {name}\r\n{headers}{CONTENT}"));
        let received = mailbox.wait(count).pop().expect("it arrived");
        assert_eq!(received.client, from(number), "{name}");
        let text = received.text().to_lowercase();
        assert!(!["x-virtual-mta", "x-tenant", "x-campaign"].iter().any(|name| text.contains(name)), "{text}");
    }
    server.wait_log(&["event=delivered", "tenant=acme", "campaign=spring"]);
    server.wait_empty(PATIENCE);
    assert_eq!(
        server.log().lines().filter(|line| line.contains("event=delivered") && line.contains("acme")).count(),
        1
    );
}

#[test]
fn from_the_address_of_the_destinations_family() {
    let (four, six) = (Mailbox::open(), Mailbox::open_at("[::1]:0".parse().expect("an address")));
    let routes = vec![("four.test".into(), four.address.to_string()), ("six.test".into(), six.address.to_string())];
    let both = "[[source]]\nname = \"both\"\naddresses = [\"127.0.0.2\", \"::1\"]\nehlo = \"both.test\"\n";
    let foreign = "[[source]]\nname = \"foreign\"\naddresses = [\"2001:db8::77\"]\n";
    let elsewhere = format!("[[route]]\ndomains = [\"*\"]\nnext_hop = \"{}\"\npool = \"foreign\"\n", six.address);
    let more = [&elsewhere, both, foreign, "[delivery]\npool = \"both\"\n"].concat();
    let server = Server::start(&Setup { routes, more, ..Setup::default() });
    let mut client = Client::greet(server.relay);
    client.submit("a@sender.test", &["a@four.test"], CONTENT);
    client.submit("a@sender.test", &["a@six.test"], CONTENT);
    assert_eq!(four.wait(1)[0].client, (IpAddr::from(Ipv4Addr::new(127, 0, 0, 2)), "both.test".into()));
    assert_eq!(six.wait(1)[0].client, (IpAddr::from(Ipv6Addr::LOCALHOST), "both.test".into()));
    // An address that the host does not have shows that the address is really asked for.
    client.submit("a@sender.test", &["a@elsewhere.test"], CONTENT);
    let deferred = server.wait_log(&["event=deferred", "a@elsewhere.test", "status=4.3.5"]);
    assert!(deferred.contains("2001:db8::77") && deferred.contains("source=foreign"), "{deferred}");
}

#[test]
fn a_source_that_is_blocked_leaves_its_mail_to_another() {
    let mailbox = Mailbox::open();
    mailbox.fault("MAIL", Effect::Reply("554 5.7.1 Client host blocked using bl.test"));
    let more = [source(2), source(3), pool("usual", &[(2, 1), (3, 1)]), "[delivery]\npool = \"usual\"\n".into()];
    let server = start(&mailbox, &more.concat());
    let mut client = Client::greet(server.relay);
    client.submit("a@sender.test", &["first@sink.test"], CONTENT);
    let blocked = server.wait_log(&["event=deferred", "category=blocklist", "attempt=0 "]);
    let other = if blocked.contains("source=s2") { 3 } else { 2 };
    (0..20).for_each(|n| _ = client.submit("a@sender.test", &[&format!("{n}@sink.test")], CONTENT));
    server.wait_empty(PATIENCE);
    assert_eq!(shares(&mailbox, 21).into_keys().collect::<Vec<_>>(), [from(other)]);
}

#[test]
fn a_source_that_is_not_ours_is_told_of_and_fails_no_mail() {
    let mailbox = Mailbox::open();
    let absent = "[[source]]\nname = \"absent\"\naddresses = [\"192.0.2.77\"]\n";
    let both = "[[pool]]\nname = \"both\"\nsources = [{ source = \"absent\" }, { source = \"s2\" }]\n";
    let alone =
        format!("[[route]]\ndomains = [\"alone.test\"]\nnext_hop = \"{}\"\npool = \"absent\"\n", mailbox.address);
    let rest = format!("[[route]]\ndomains = [\"*\"]\nnext_hop = \"{}\"\n", mailbox.address);
    let more = [&alone, &rest, absent, &source(2), both, "[delivery]\npool = \"both\"\n"].concat();
    let server = Server::start(&Setup { more, ..Setup::default() });
    let mut client = Client::greet(server.relay);
    (0..10).for_each(|n| _ = client.submit("a@sender.test", &[&format!("{n}@sink.test")], CONTENT));
    assert_eq!(shares(&mailbox, 10).into_keys().collect::<Vec<_>>(), [from(2)]);
    server.wait_empty(PATIENCE);
    client.submit("a@sender.test", &["x@alone.test"], CONTENT);
    let deferred = server.wait_log(&["event=deferred", "x@alone.test", "status=4.3.5", "attempt=0 "]);
    assert!(deferred.contains("192.0.2.77") && deferred.contains("source=absent"), "{deferred}");
    server.wait_log(&["level=error", "event=source_failed", "source=absent"]);
    assert_eq!(server.queued(), 1);
    assert!(!server.log().contains("event=failed"), "{}", server.log());
}

/// Reads the header of the PROXY protocol, and passes on what follows to where it says.
fn proxy() -> (SocketAddr, std::sync::mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let (told, headers) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut header = [0; 28];
            client.read_exact(&mut header).expect("a header");
            let to = SocketAddr::from((
                [header[20], header[21], header[22], header[23]],
                u16::from_be_bytes([header[26], header[27]]),
            ));
            // A story that is over listens no more.
            let _ = told.send(header.to_vec());
            let mut server = TcpStream::connect(to).expect("connected");
            let (mut back, mut answers) = (client.try_clone().expect("cloned"), server.try_clone().expect("cloned"));
            std::thread::spawn(move || _ = std::io::copy(&mut answers, &mut back));
            let _ = std::io::copy(&mut client, &mut server);
            let _ = server.flush();
        }
    });
    (address, headers)
}

#[test]
fn through_a_proxy_that_is_told_the_address() {
    let mailbox = Mailbox::open();
    let (address, headers) = proxy();
    let far = format!(
        "[[source]]\nname = \"far\"\naddresses = [\"192.0.2.7\"]\nehlo = \"far.test\"\nproxy = \"{address}\"\n\
         [delivery]\npool = \"far\"\n"
    );
    let server = start(&mailbox, &far);
    Client::greet(server.relay).submit("a@sender.test", &["b@sink.test"], CONTENT);
    assert_eq!(mailbox.wait(1)[0].client.1, "far.test");
    let header = headers.recv_timeout(PATIENCE).expect("a header");
    assert_eq!(header[..14], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11");
    assert_eq!(header[16..24], [192, 0, 2, 7, 127, 0, 0, 1]);
    server.wait_empty(PATIENCE);
}
