//! Commands that need no running server.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::{RINGPOST, configuration, err, out, ringpost};

#[test]
fn account_hash_reads_a_password_from_stdin() {
    let hash = |password: &[u8]| {
        let mut process = Command::new(RINGPOST)
            .args(["account", "hash"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        process.stdin.take().expect("a pipe").write_all(password).expect("it reads");
        process.wait_with_output().expect("it ends")
    };
    assert!(out(&hash(b"s3cret\n")).starts_with("$argon2id$v=19$"));
    let refused = hash(b"\n");
    assert_eq!((refused.status.code(), err(&refused).as_str()), (Some(1), "ringpost: the password is empty\n"));
}

#[test]
fn classify_tells_what_a_reply_means() {
    let classify = |arguments: &[&str], stdin: &[u8]| {
        let mut process = Command::new(RINGPOST)
            .arg("classify")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        process.stdin.take().expect("a pipe").write_all(stdin).expect("it reads");
        process.wait_with_output().expect("it ends")
    };
    let verdicts = |output: &Output| -> Vec<serde_json::Value> {
        assert_eq!(output.status.code(), Some(0), "{}", err(output));
        out(output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    assert_eq!(
        verdicts(&classify(&["552 5.2.2 Mailbox full"], b"")),
        [serde_json::json!({
            "action": "defer", "category": "mailbox-full", "code": 552, "status": "5.2.2", "rule": "mailbox-full",
            "powermta": "quota-issues", "kumomta": "QuotaIssues", "signal": null,
        })]
    );
    // Words need no quotes; what is known of the conversation helps.
    let hm08 = ["554", "5.7.1", "[HM08] refused [192.0.2.1]"];
    let ours = [&["--mx", "mx01.mail.icloud.com", "--address", "192.0.2.1"], &hm08[..]].concat();
    let others = [&["--mx", "mx01.mail.icloud.com", "--address", "192.0.2.2"], &hm08[..]].concat();
    assert_eq!(verdicts(&classify(&ours, b""))[0]["rule"], "apple-address");
    assert_eq!(verdicts(&classify(&others, b""))[0]["rule"], "apple-content");
    let lines = verdicts(&classify(&["-"], b"550 5.1.1 User unknown\n\nsmtp; 421 4.7.0 Too many connections\n"));
    let actions: Vec<_> = lines.iter().map(|line| line["action"].as_str().unwrap_or_default()).collect();
    assert_eq!(actions, ["reject", "unknown", "defer"]);
    assert_eq!(lines[2]["signal"], "connections");
    let nothing = serde_json::json!({
        "action": "unknown", "category": null, "code": null, "status": null, "rule": null, "powermta": null, "kumomta": null,
        "signal": null,
    });
    assert_eq!(verdicts(&classify(&["hello", "world"], b"")), [nothing]);
    let words = out(&classify(&["--text", "-"], b"552 5.2.2 Mailbox full\nhello world\nmailbox is busy\n"));
    let words: Vec<&str> = words.lines().collect();
    assert_eq!(words[0], "defer: try again later. About: mailbox-full, of 552 5.2.2, by rule mailbox-full");
    assert!(words[1].starts_with("unknown: this tells of no mail server's reply"), "{words:?}");
    assert_eq!(words[2], "defer: try again later. About: recipient-rate, without a code, by rule mailbox-busy");
    assert_eq!(classify(&[], b"").status.code(), Some(2));
    assert_eq!(classify(&["550 no", "--address", "mx"], b"").status.code(), Some(2));
}

#[test]
fn explain_tells_which_limits_hold_and_who_says_so() {
    let (_folder, file) = configuration();
    let more = "[[route]]\ndomains = [\"hosted.test\"]\nnext_hop = \"aspmx.l.google.com\"\n[[limit]]\n\
                provider = \"gmail\"\nconnections_max = 3\n[[limit]]\ntenant = \"acme\"\nmessage_rate = \"10/1h\"\n";
    let text = std::fs::read_to_string(&file).expect("the file") + more;
    std::fs::write(&file, text).expect("written");
    let said = out(&ringpost(&["explain", "jo@hosted.test", "--tenant", "acme"], &file));
    let line = |key: &str, value: &str, by: &str| format!("  {key:<28}  {value:<12}  {by}\n");
    for expected in [
        "hosted.test: hosts aspmx.l.google.com; provider gmail\n".to_owned(),
        line("connections_max", "3", "[[limit]] for provider gmail"),
        line("messages_per_connection_max", "50", "[[provider]] gmail"),
        line("message_rate", "100/1s", "[[provider]] gmail"),
        line("message_rate", "10/1h", "[[limit]] for tenant acme"),
        line("idle_timeout", "5s", "[delivery]"),
        line("google-rate", "rate", "comes along for [[provider]] gmail"),
    ] {
        assert!(said.contains(&expected), "{expected}: {said}");
    }
    let json = ringpost(&["explain", "hosted.test", "--json"], &file);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    let of_host = &json["sources"][0]["limits"][0];
    assert_eq!(of_host["connections_max"], serde_json::json!({ "value": "3", "from": "[[limit]] for provider gmail" }));
    assert_eq!(ringpost(&["explain", "hosted.test", "--source", "s9"], &file).status.code(), Some(2));
    let no_domain = ringpost(&["explain", "not a domain"], &file);
    assert_eq!(no_domain.status.code(), Some(2), "{}", err(&no_domain));
    assert!(err(&no_domain).contains(": name a recipient's domain or address, such as gmail.com or jo@gmail.com"));
}
