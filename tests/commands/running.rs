//! A running server, and the commands that talk to it.

use std::io::{BufReader, Write};
use std::process::{Command, Stdio};

use crate::{RINGPOST, Server, configuration, err, out, ringpost};

#[test]
fn queue_commands_say_when_nobody_runs_and_when_they_are_used_wrongly() {
    let (_folder, file) = configuration();
    let nobody = ringpost(&["queue", "list"], &file);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(err(&nobody).contains("no ringpost is running"), "{}", err(&nobody));
    for wrong in
        [&["queue", "hold"][..], &["queue", "hold", "--all", "--domain", "x"], &["queue", "show", "xyz"], &["fly"]]
    {
        assert_eq!(ringpost(wrong, &file).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_server_starts_reloads_answers_and_stops() {
    let (_folder, file) = configuration();
    let mut server = Server::start(&file, &[]);
    let count = ringpost(&["queue", "list", "--count"], &file);
    assert_eq!((out(&count).as_str(), count.status.code()), ("0\n", Some(0)), "{}", err(&count));
    let json = ringpost(&["queue", "list", "--json"], &file);
    let page: serde_json::Value = serde_json::from_str(&out(&json)).expect("JSON");
    assert_eq!(page, serde_json::json!({ "messages": [], "next": null }));
    assert_eq!(ringpost(&["queue", "show", "0000000000000001"], &file).status.code(), Some(1));
    for command in ["list", "export"] {
        let suppressed = ringpost(&["suppression", command], &file);
        assert!(err(&suppressed).starts_with("Suppression is off"), "{command}: {}", err(&suppressed));
    }
    let held = ringpost(&["queue", "hold", "--domain", "example.org"], &file);
    assert_eq!((out(&held), err(&held)), ("0 recipients held\n".into(), "Nothing is queued that fits.\n".into()));

    let second = ringpost(&["serve"], &file);
    assert_eq!(second.status.code(), Some(1));
    assert!(err(&second).contains("in use by another ringpost"), "{}", err(&second));

    let text = std::fs::read_to_string(&file).expect("the file");
    std::fs::write(&file, format!("{text}[retry]\nlifetime = \"2d\"\n")).expect("a file");
    server.signal("-HUP");
    server.wait_for("event=reloaded");
    std::fs::write(&file, text.replace("\"data\"", "\"other\"").replace("relay", "realy")).expect("a file");
    server.signal("-HUP");
    assert!(server.wait_for("event=reload_refused").contains(":7: listener.kind"));
    std::fs::write(&file, text.replace("\"data\"", "\"other\"")).expect("a file");
    server.signal("-HUP");
    let refused = server.wait_for("event=reload_refused");
    assert!(refused.contains("server.data_dir cannot change from /") && refused.contains("/other while"), "{refused}");

    std::fs::write(&file, text).expect("a file");
    server.signal("-TERM");
    server.wait_for("event=draining");
    server.wait_for("event=stopped");
    assert_eq!(server.process.wait().expect("it ends").code(), Some(0));
    assert!(!file.with_file_name("data").join("control.sock").exists());
}

#[test]
fn a_server_that_starts_on_hold_resumes_when_everything_is_released() {
    let (folder, file) = configuration();
    let _server = Server::start(&file, &["--hold"]);
    let shown = out(&ringpost(&["queue", "suspensions"], &file));
    assert_eq!(shown, "all, until `ringpost queue resume --all`\n");
    let explained = out(&ringpost(&["explain", "[192.0.2.1]"], &file));
    assert!(explained.ends_with("suspended now: all, until `ringpost queue resume --all`\n"), "{explained}");
    let misspelt = ringpost(&["queue", "resume", "--tenant", "acme"], &file);
    assert_eq!(out(&misspelt), "it was not suspended: 0 recipients in the queue now\n");
    assert_eq!(err(&misspelt), "Still suspended: all, until `ringpost queue resume --all`\n");
    let suspended = || {
        use std::io::Read;
        let socket = folder.path().join("data/control.sock");
        let mut stream = std::os::unix::net::UnixStream::connect(socket).expect("a connection");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer.contains("ringpost_delivery_suspended{shard=\"0\"} 1\n")
    };
    assert!(suspended());
    assert_eq!(ringpost(&["queue", "release", "--all"], &file).status.code(), Some(0));
    assert!(!suspended());
}

#[test]
fn what_led_to_ready_stands_before_it_in_the_log() {
    let (_folder, file) = configuration();
    let mut process = Command::new(RINGPOST)
        .args(["serve", "-c"])
        .arg(&file)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut server = Server { log: BufReader::new(process.stderr.take().expect("a pipe")), process };
    server.wait_for("event=recovered");
    server.wait_for("event=listening");
    server.wait_for("event=ready");
}

#[test]
fn a_tenant_that_nothing_is_queued_of_may_be_misspelt() {
    let (_folder, file) = configuration();
    let text = std::fs::read_to_string(&file).expect("the file") + "tenant = \"acme\"\n";
    std::fs::write(&file, text).expect("written");
    let _server = Server::start(&file, &[]);
    let of = |verb: &str, tenant: &str| {
        let done = ringpost(&["queue", verb, "--tenant", tenant], &file);
        assert_eq!(done.status.code(), Some(0), "{}", err(&done));
        (out(&done), err(&done))
    };
    let unknown = " No account or listener has the tenant `acne`; did you mean `acme`?\n";
    let waits = "Nothing is queued that it is about; what comes later will wait.";
    let suspended = "suspended: 0 recipients in the queue now\n".to_owned();
    assert_eq!(of("suspend", "acne"), (suspended.clone(), format!("{waits}{unknown}")));
    assert_eq!(of("suspend", "acme"), (suspended, format!("{waits}\n")), "that one is known");
    assert_eq!(of("hold", "acne"), ("0 recipients held\n".into(), format!("Nothing is queued that fits.{unknown}")));
    let none = ringpost(&["queue", "list", "--state", "suspended"], &file);
    assert_eq!(out(&none), "Nothing is queued that fits.\n");
}

#[test]
fn a_day_without_reports_is_no_success() {
    let (_folder, file) = configuration();
    let text = std::fs::read_to_string(&file).expect("the file");
    let reports = "[tls_reports]\norganization = \"Accept Ltd\"\ncontact = \"postmaster@accept.test\"\n\
                   from = \"tls-reports@accept.test\"\n";
    std::fs::write(&file, text + reports).expect("written");
    let _server = Server::start(&file, &[]);
    let sent = ringpost(&["tls-report", "send"], &file);
    assert_eq!(sent.status.code(), Some(1), "{}", out(&sent));
    assert!(err(&sent).starts_with("ringpost: nothing was sent: no domain with sessions of "), "{}", err(&sent));
    assert_eq!(ringpost(&["tls-report", "show"], &file).status.code(), Some(0));
}
