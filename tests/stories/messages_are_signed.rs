//! DKIM: odd messages are signed so that three independent verifiers agree, with keys that `ringpost dkim` made and a DNS
//! server publishes; who adds or changes what is signed is found out by each of them. Keys are exchanged by SIGHUP.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::dns::Dns;
use crate::harness::mailbox::{Effect, Mailbox};
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::Client;
use crate::harness::{binary, dkim_key, full, output};

/// How large a huge message is; in the long form as large as one may be.
const HUGE_BYTES: [usize; 2] = [3 << 20, 49 << 20];

/// The section that names a key; it also signs for subdomains. What comes last can have more.
fn section(folder: &Path, domain: &str, selector: &str) -> String {
    let file = folder.join(format!("{selector}.{domain}.pem"));
    format!(
        "[[dkim]]\ndomain = \"{domain}\"\nselector = \"{selector}\"\nprivate_key = \"{}\"\nsubdomains = true\n",
        file.display()
    )
}

/// Messages that break careless signers, each with its name.
fn odd_messages() -> Vec<(&'static str, Vec<u8>)> {
    let header = "From: News <user@accept.test>\r\nTo: b@sink.test\r\nSubject: x\r\n";
    let with = |body: &str| format!("{header}\r\n{body}").into_bytes();
    let folded = format!(
        "from:  \"A,  B\"\r\n\t <user@accept.test>\r\nTO: b@sink.test,\r\n {}c@sink.test\r\nSubject:\r\n  folded \t twice\r\n\
         \tand  thrice \r\nMIME-Version: 1.0\r\nReferences: {}<z@x>\r\n\r\nbody\r\n",
        "\"Somebody with a name\" <d@sink.test>,\r\n\t".repeat(60),
        "<a@x>\r\n ".repeat(40),
    );
    let bulk = format!(
        "{header}List-Unsubscribe: <https://accept.test/u?t=1>,\r\n <mailto:u@accept.test>\r\n\
         List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nList-Id: <news.accept.test>\r\nX-Own: 1\r\n\r\nbody\r\n"
    );
    let mut latin =
        format!("{header}X-Name: M\u{fc}ller\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\n").into_bytes();
    latin.extend_from_slice(b"Gr\xfc\xdfe  aus  K\xf6ln \xff\x80\r\n");
    let parts = format!(
        "{header}MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\
         \r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGr\u{fc}\u{df}e = x \r\n--b\r\nContent-Type: text/html; \
         charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n<p title='a=b'>Gr\u{fc}\u{df}e</p>\r\n--b--\r\n"
    );
    let mut huge = with("");
    while huge.len() < HUGE_BYTES[usize::from(full())] {
        huge.extend_from_slice(b"All work  and no play makes\tJack a dull boy. \r\n\r\n");
    }
    vec![
        ("plain", with("body\r\n")),
        ("folded header", folded.into_bytes()),
        ("bulk mail's fields", bulk.into_bytes()),
        ("fields twice", format!("Resent-To: c@x.test\r\n{header}Resent-To: d@x.test\r\n\r\nbody\r\n").into_bytes()),
        ("empty body", with("")),
        ("body of empty lines", with("\r\n\r\n \r\n")),
        ("white space at the end", with("text  \r\n\t\r\n \r\n\r\n")),
        ("dots", with(".\r\n..\r\n.x\r\n")),
        ("UTF-8", with("Gr\u{fc}\u{df}e  \u{2709}\r\n").into_iter().chain(*b"\r\n").collect()),
        ("8-bit", latin),
        ("8-bit parts", parts.into_bytes()),
        ("no final line end", with("first\r\nlast")),
        ("long lines", with(&format!("{}\r\n{} \r\n", "x".repeat(990), "y ".repeat(490)))),
        ("huge", huge),
        ("8-bit and large", with(&"Gr\u{fc}\u{df}e  = \u{2709} \r\n".repeat(100_000))),
    ]
}

/// Sends by BDAT, so that every byte goes as it is.
fn submit(client: &mut Client, content: &[u8]) {
    client.expect("MAIL FROM:<bounces@accept.test> BODY=8BITMIME", "250");
    client.expect("RCPT TO:<b@sink.test>", "250");
    client.send(format!("BDAT {} LAST\r\n", content.len()).as_bytes());
    client.send(content);
    let reply = client.reply();
    assert!(reply.starts_with("250 2.6.0"), "{reply}");
}

/// A program's standard output and whether it succeeded, with `message` as its input.
fn ask(mut command: Command, message: &[u8]) -> (bool, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut input = child.stdin.take().expect("its input");
    let message = message.to_vec();
    // A verifier may have seen enough before the end.
    let writer = std::thread::spawn(move || _ = input.write_all(&message));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("written");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text.into_owned())
}

/// What a verifier says of one signature.
struct Verdict {
    verifier: &'static str,
    signature: &'static str,
    good: bool,
    text: String,
}

/// What each verifier says of each of a message's two signatures, the other one left out.
fn verdicts(dns: &Dns, message: &[u8]) -> Vec<Verdict> {
    let second = memchr::memmem::rfind(message, b"DKIM-Signature: ").expect("two signatures");
    let lines = memchr::memmem::find_iter(&message[second..], b"\r\n").map(|end| second + end + 2);
    let rest = lines.into_iter().find(|next| !b" \t".contains(&message[*next])).expect("another field");
    let rsa = [&message[..second], &message[rest..]].concat();
    let mut verdicts = Vec::new();
    for (signature, message) in [("rsa-sha256", &rsa[..]), ("ed25519-sha256", &message[second..])] {
        let mut heard = |verifier, good, text| verdicts.push(Verdict { verifier, signature, good, text });
        let (good, text) = ask(dns.asked_by("opendkim-testmsg"), message);
        heard("OpenDKIM", good, text);
        let (good, text) = ask(dns.asked_by("/usr/bin/dkimverify"), message);
        heard("dkimpy", good, text);
        let (_, text) = ask(dns.asked_by("/usr/bin/dkimproxy-verify"), message);
        // Before its release of 2024 it knew no Ed25519.
        if !(signature == "ed25519-sha256" && text.contains("unsupported algorithm ed25519-sha256")) {
            heard("Mail::DKIM", text.contains("verify result: pass\n"), text);
        }
    }
    assert!(verdicts.len() >= 5, "who knew no signature but ours?");
    verdicts
}

/// The odd messages arrive at a next hop that has this offer and takes them so, signed by keys of which the last one's section
/// also says `more`; all verifiers agree. What arrived, with the names.
fn odd_messages_are_verified(offer: &[&'static str], more: &str) -> Vec<(&'static str, Vec<u8>)> {
    let keys = tempfile::tempdir().expect("a folder");
    let records =
        dkim_key(keys.path(), "accept.test", "r1", "rsa") + &dkim_key(keys.path(), "accept.test", "e1", "ed25519");
    let dns = Dns::start_for_the_system(&records);
    let mailbox = Mailbox::open();
    mailbox.offer(offer);
    let more = section(keys.path(), "accept.test", "r1") + &section(keys.path(), "accept.test", "e1") + more;
    let server = Server::start(&Setup { more, ..Setup::relay_to(mailbox.address) });
    let shown = output(Command::new(binary("ringpost")).args(["dkim", "show", "-c"]).arg(server.config()));
    assert_eq!(shown, records, "what is shown is what was printed when the keys were made");

    let mut client = Client::greet(server.relay);
    let mut all = Vec::new();
    for (number, (name, content)) in odd_messages().into_iter().enumerate() {
        submit(&mut client, &content);
        let arrived = mailbox.wait(number + 1).pop().expect("it arrived").content;
        for Verdict { verifier, signature, good, text } in verdicts(&dns, &arrived) {
            assert!(
                good,
                "{name}: of {signature} {verifier} says {text}\n{}",
                String::from_utf8_lossy(&arrived[..arrived.len().min(4096)])
            );
        }
        all.push((name, arrived));
    }
    all
}

/// A body's beginning, behind the header.
fn body(content: &[u8]) -> &[u8] {
    let end = memchr::memmem::find(content, b"\r\n\r\n").expect("a body");
    &content[end + 4..]
}

#[test]
fn and_three_verifiers_agree_on_odd_messages() {
    let arrived = odd_messages_are_verified(&["8BITMIME", "SIZE 52428800"], "convert_8bit = false\n");
    for ((name, sent), (_, arrived)) in odd_messages().iter().zip(&arrived) {
        // A line end that is missing at the end the last server adds.
        assert!(body(arrived).starts_with(body(sent)), "{name}: eight bits are kept");
    }
}

#[test]
fn and_also_where_the_next_hop_takes_seven_bits_only() {
    for (name, arrived) in odd_messages_are_verified(&["SIZE 78643200"], "") {
        assert!(body(&arrived).is_ascii(), "{name}");
    }
}

#[test]
fn and_signatures_of_others_are_kept() {
    let keys = tempfile::tempdir().expect("a folder");
    dkim_key(keys.path(), "accept.test", "e1", "ed25519");
    let mailbox = Mailbox::open();
    mailbox.offer(&["8BITMIME"]);
    let more = section(keys.path(), "accept.test", "e1");
    let server = Server::start(&Setup { more, ..Setup::relay_to(mailbox.address) });
    let mut client = Client::greet(server.relay);
    let signed_parts = "Content-Type: multipart/signed; boundary=b; protocol=\"application/pgp-signature\"";
    let part =
        "--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGr\u{fc}\u{df}e\r\n--b\r\n\r\nsignature\r\n--b--\r\n";
    for (number, (field, is_kept)) in
        [("DKIM-Signature: v=1; d=other.test", true), (signed_parts, true), ("X-Signature: 1", false)]
            .iter()
            .enumerate()
    {
        submit(&mut client, format!("From: user@accept.test\r\nMIME-Version: 1.0\r\n{field}\r\n\r\n{part}").as_bytes());
        let received = mailbox.wait(number + 1).pop().expect("it arrived");
        assert!(received.text().contains("DKIM-Signature: v=1; a=ed25519-sha256"), "it is signed by us, too");
        assert_eq!(body(&received.content) == part.as_bytes(), *is_kept, "{}", received.text());
        assert_eq!(received.mail.contains("BODY=8BITMIME"), *is_kept, "{}", received.mail);
    }
}

#[test]
fn and_our_own_notices_too() {
    let keys = tempfile::tempdir().expect("a folder");
    // Our name is one below the domain.
    let records =
        dkim_key(keys.path(), "ringpost.test", "r1", "rsa") + &dkim_key(keys.path(), "ringpost.test", "e1", "ed25519");
    let dns = Dns::start_for_the_system(&records);
    let mailbox = Mailbox::open();
    mailbox.fault("RCPT TO:<nobody@sink.test>", Effect::Reply("550 5.1.1 no such user"));
    let more = section(keys.path(), "ringpost.test", "r1") + &section(keys.path(), "ringpost.test", "e1");
    let server = Server::start(&Setup { more, ..Setup::relay_to(mailbox.address) });
    let mut client = Client::greet(server.relay);
    client.expect("MAIL FROM:<a@sender.test>", "250");
    client.expect("RCPT TO:<nobody@sink.test>", "250");
    client.expect("DATA", "354");
    client.expect("From: a@sender.test\r\nSubject: x\r\n\r\nbody\r\n.", "250");
    let notice = mailbox.wait(1).pop().expect("it arrived");
    assert!(
        notice.text().contains("From: Mail Delivery System <MAILER-DAEMON@mta.ringpost.test>"),
        "{}",
        notice.text()
    );
    for Verdict { verifier, signature, good, text } in verdicts(&dns, &notice.content) {
        assert!(good, "of {signature} {verifier} says {text}\n{}", notice.text());
    }
}

#[test]
fn and_whoever_changes_or_adds_something_is_found_out() {
    let keys = tempfile::tempdir().expect("a folder");
    let records =
        dkim_key(keys.path(), "accept.test", "r1", "rsa") + &dkim_key(keys.path(), "accept.test", "e1", "ed25519");
    let dns = Dns::start_for_the_system(&records);
    let mailbox = Mailbox::open();
    let more = section(keys.path(), "accept.test", "r1") + &section(keys.path(), "accept.test", "e1");
    let server = Server::start(&Setup { more, ..Setup::relay_to(mailbox.address) });
    let content =
        "From: user@shop.accept.test\r\nSubject: x\r\nList-Unsubscribe: <https://accept.test/u>\r\n\r\nbody\r\n";
    submit(&mut Client::greet(server.relay), content.as_bytes());
    let arrived = mailbox.wait(1)[0].text();
    assert!(
        verdicts(&dns, arrived.as_bytes()).iter().all(|verdict| verdict.good),
        "a subdomain's mail is signed: {arrived}"
    );

    let added = |field: &str| arrived.replacen("\r\nMessage-ID: <", &format!("\r\n{field}\r\nMessage-ID: <"), 1);
    let harmless = added("X-Seen: yes").replace("\r\nSubject: x\r\n", "\r\nSUBJECT:\r\n\tx \r\n") + "\r\n \r\n";
    for Verdict { verifier, signature, good, text } in verdicts(&dns, harmless.as_bytes()) {
        assert!(
            good,
            "{verifier} ({signature}) minds white space, letter case or a field of no concern: {text}\n{harmless}"
        );
    }
    let unsubscribe = arrived.replace("https://accept.test/u", "https://attack.test/u");
    for forged in [
        arrived.replace("\r\nbody\r\n", "\r\nbody!\r\n"),
        unsubscribe,
        added("From: boss@accept.test"),
        added("Subject: another"),
        added("To: c@sink.test"),
        added("Reply-To: c@attack.test"),
        added("Content-Type: text/html"),
        added("List-Unsubscribe: <https://attack.test/u>"),
    ] {
        assert_ne!(forged, arrived);
        for Verdict { verifier, signature, good, .. } in verdicts(&dns, forged.as_bytes()) {
            assert!(!good, "{verifier} ({signature}) was deceived by\n{forged}");
        }
    }
}

#[test]
fn with_keys_that_are_exchanged_while_it_runs() {
    let keys = tempfile::tempdir().expect("a folder");
    dkim_key(keys.path(), "accept.test", "old", "ed25519");
    dkim_key(keys.path(), "accept.test", "new", "ed25519");
    let mailbox = Mailbox::open();
    let old = section(keys.path(), "accept.test", "old");
    let server = Server::start(&Setup { more: old.clone(), ..Setup::relay_to(mailbox.address) });
    let mut client = Client::greet(server.relay);
    let mut selector = |count: usize| {
        submit(&mut client, b"From: user@accept.test\r\n\r\nbody\r\n");
        let text = mailbox.wait(count).pop().expect("it arrived").text();
        assert_eq!(text.matches("DKIM-Signature:").count(), 1, "{text}");
        text.split("; s=").nth(1).and_then(|rest| rest.split(';').next()).expect("a selector").to_owned()
    };
    assert_eq!(selector(1), "old");

    let toml = fs::read_to_string(server.config()).expect("read");
    fs::write(server.config(), toml.replace(&old, &section(keys.path(), "accept.test", "new"))).expect("written");
    server.reload();
    server.wait_log(&["event=reloaded"]);
    assert_eq!(selector(2), "new");

    let file = keys.path().join("new.accept.test.pem");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("its mode");
    server.reload();
    server.wait_log(&["event=reload_refused", "ringpost.toml:", "new.accept.test.pem", "chmod 600"]);
    assert_eq!(selector(3), "new");
    let mut check = Command::new(binary("ringpost"));
    let refused = check.args(["check", "-c"]).arg(server.config()).output().expect("it runs");
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("chmod 600"), "{refused:?}");
}
