//! The commands as their users meet them: the real program, its output and its exit codes.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

const RINGPOST: &str = env!("CARGO_BIN_EXE_ringpost");

fn ringpost(arguments: &[&str], config: &Path) -> Output {
    Command::new(RINGPOST).args(arguments).arg("-c").arg(config).output().expect("the program runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder with a configuration whose one listener has a port of its own.
fn configuration() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("ringpost.toml");
    let text = "[server]\nhostname = \"mta.example.org\"\ndata_dir = \"data\"\nshards = 1\n\n[[listener]]\nkind = \"relay\"\n\
                address = \"127.0.0.1:0\"\ntls = \"off\"\nnetworks = [\"127.0.0.0/8\"]\n";
    std::fs::write(&file, text).expect("a file");
    (folder, file)
}

/// A running server and its log.
struct Server {
    process: Child,
    log: BufReader<ChildStderr>,
}

impl Server {
    fn start(config: &Path, more: &[&str]) -> Server {
        let mut command = Command::new(RINGPOST);
        command.args(["serve", "-c"]).arg(config).args(more);
        Server::run(command)
    }

    fn run(mut command: Command) -> Server {
        let mut process = command.stderr(Stdio::piped()).spawn().expect("the program runs");
        let log = BufReader::new(process.stderr.take().expect("a pipe"));
        let mut server = Server { process, log };
        server.wait_for("event=ready");
        server
    }

    /// Reads the log up to a line with `words`.
    fn wait_for(&mut self, words: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.log.read_line(&mut line).expect("the log");
            assert!(read > 0, "the server ended before it said {words}");
            if line.contains(words) {
                return line;
            }
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.process.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn check_names_every_mistake_with_its_file_and_line() {
    let (_folder, file) = configuration();
    let good = ringpost(&["check"], &file);
    assert_eq!(good.status.code(), Some(0), "{}", err(&good));
    assert!(out(&good).contains("OK (1 shard, 1 listener, 0 accounts, 0 routes)"), "{}", out(&good));
    let text =
        std::fs::read_to_string(&file).expect("the file").replace("relay", "realy").replace("hostname", "hostnam");
    std::fs::write(&file, text).expect("a file");
    let bad = ringpost(&["check"], &file);
    assert_eq!(bad.status.code(), Some(2));
    let lines: Vec<String> = err(&bad).lines().map(str::to_owned).collect();
    let shown = file.display();
    assert!(lines.iter().any(|line| line.starts_with(&format!("{shown}:7: listener.kind: `realy`"))), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with(&format!("{shown}:2: unknown key `hostnam`"))), "{lines:?}");
}

#[test]
fn without_c_the_configuration_of_this_folder_is_taken_or_both_places_are_named() {
    let (folder, file) = configuration();
    let run = |folder: &Path, arguments: &[&str]| {
        Command::new(RINGPOST).args(arguments).current_dir(folder).output().expect("the program runs")
    };
    let checked = run(folder.path(), &["check"]);
    assert!(out(&checked).starts_with("ringpost.toml: OK"), "{}{}", out(&checked), err(&checked));
    assert!(err(&run(folder.path(), &["queue", "list"])).contains("no ringpost is running"));

    std::fs::rename(&file, folder.path().join("elsewhere.toml")).expect("renamed");
    if Path::new("/etc/ringpost/ringpost.toml").exists() {
        // On a host where Ringpost is installed that one is taken.
        assert!(out(&run(folder.path(), &["check"])).contains("/etc/ringpost/ringpost.toml"));
        return;
    }
    for command in
        [&["check"][..], &["doctor"], &["queue", "list"], &["explain", "a.test"], &["serve"], &["dkim", "show"]]
    {
        let nowhere = run(folder.path(), command);
        assert_eq!(nowhere.status.code(), Some(2), "{command:?}");
        let expected = "ringpost: there is no configuration: neither ./ringpost.toml nor /etc/ringpost/ringpost.toml exists; \
                        name one: -c FILE\n";
        assert_eq!(err(&nowhere), expected, "{command:?}");
    }
    let named = run(folder.path(), &["check", "-c", "elsewhere.toml"]);
    assert_eq!(named.status.code(), Some(0), "{}", err(&named));
}

/// A command with no more than `most` open files.
fn limited(most: u32) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={most}:{most}")).arg(RINGPOST);
    command
}

#[test]
fn too_few_open_files_are_told_with_their_remedy_at_the_start_and_when_they_run_out() {
    let (folder, file) = configuration();
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let text = std::fs::read_to_string(&file).expect("the file").replace("127.0.0.1:0", &port.to_string());
    std::fs::write(&file, text).expect("written");
    let refused = limited(100).args(["serve", "-c"]).arg(&file).output().expect("it runs");
    assert_eq!(refused.status.code(), Some(1), "{}", err(&refused));
    let begin = "ringpost: error: 100 files may be open, and all allowed connections need ";
    assert!(err(&refused).starts_with(begin) && err(&refused).contains(": set LimitNOFILE="), "{}", err(&refused));
    assert!(!folder.path().join("data").exists(), "nothing was begun");

    let doctor = limited(300).args(["doctor", "-c"]).arg(&file).output().expect("it runs");
    assert!(out(&doctor).contains("warning  300 files may be open"), "{}", out(&doctor));
    let mut command = limited(300);
    command.args(["serve", "-c"]).arg(&file);
    let mut server = Server::run(command);
    let mut connections = Vec::new();
    // A few more than there can be; most of the 300 are for them.
    while connections.len() < 310 {
        connections.push(std::net::TcpStream::connect(port).expect("the kernel takes it"));
    }
    let told = server.wait_for("Too many open files");
    assert!(told.contains("event=trouble") && told.contains("set a larger LimitNOFILE in the systemd unit"), "{told}");
    drop(connections);
    let mut greeted = BufReader::new(std::net::TcpStream::connect(port).expect("connected"));
    let mut greeting = String::new();
    greeted.read_line(&mut greeting).expect("it is greeted once there is room");
    assert!(greeting.starts_with("220 "), "{greeting}");
}

/// On a terminal a remedy stands below its problem.
#[test]
fn warnings_at_the_start_are_readable_on_a_terminal() {
    let (_folder, file) = configuration();
    let shown = Command::new("script")
        .args(["-qec", &format!("prlimit --nofile=100:100 {RINGPOST} serve -c {}", file.display()), "/dev/null"])
        .output()
        .expect("script runs");
    let shown = out(&shown).replace('\r', "");
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("ringpost: error: 100 files may be open") && lines[0].len() < 100, "{shown}");
    assert!(lines[1].starts_with("         -> set LimitNOFILE="), "{shown}");
}

#[test]
fn doctor_tells_what_is_wrong_and_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ringpost.toml");
    let toml = "[server]\nhostname = \"mta\"\ndata_dir = \"data\"\nshards = 1\n[dns]\nservers = \
                [\"127.0.0.1:1\"]\n[[listener]]\nkind = \"relay\"\naddress = \"192.0.2.1:25\"\ntls = \"off\"\n\
                networks = [\"127.0.0.0/8\"]\n";
    std::fs::write(&file, toml).expect("written");
    let done = ringpost(&["doctor"], &file);
    assert_eq!(done.status.code(), Some(1), "nobody answers at the DNS server, and the address is none of this host");
    let said = String::from_utf8(done.stdout.clone()).expect("UTF-8");
    for expected in [
        "ok       io_uring works",
        "ok       the limits of locked memory and open files suffice",
        "error    192.0.2.1:25 cannot be listened on",
        "error    the EHLO name mta is not a full name",
        "error    DNS does not answer",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let complaints = said.lines().filter(|line| line.starts_with("error ") || line.starts_with("warning "));
    assert_eq!(complaints.count(), said.matches("         -> ").count(), "{said}");
    assert!(err(&done).contains("3 things must be mended"), "{}", err(&done));
}

#[test]
fn check_warns_of_webhooks_that_anybody_can_read() {
    let (_folder, file) = configuration();
    let text = std::fs::read_to_string(&file).expect("the file");
    let webhook = |name: &str, url: &str| {
        format!("[[webhook]]\nname = \"{name}\"\nurl = \"{url}\"\nsecret_file = \"{name}.secret\"\n")
    };
    let webhooks = webhook("far", "http://hooks.example.org/s3cret")
        + &webhook("here", "http://127.0.0.1:8080/")
        + &webhook("safe", "https://hooks.example.org/");
    std::fs::write(&file, text + &webhooks).expect("a file");
    let checked = ringpost(&["check"], &file);
    assert!(out(&checked).contains("0 routes, 3 webhooks)"), "{}", out(&checked));
    let warnings = err(&checked);
    assert_eq!(warnings.lines().count(), 1, "{warnings}");
    assert!(warnings.contains("webhook `far` goes unencrypted to hooks.example.org"), "{warnings}");
    assert!(!warnings.contains("s3cret"), "{warnings}");
    assert!(!file.with_file_name("far.secret").exists(), "nothing is made by looking");
}

/// What `check` says of a configuration that it refuses, and `serve` in the same words.
fn refused_alike(file: &Path) -> String {
    let (checked, served) = (ringpost(&["check"], file), ringpost(&["serve"], file));
    assert_eq!((checked.status.code(), served.status.code()), (Some(2), Some(2)), "{}{}", err(&checked), err(&served));
    assert!(err(&served).ends_with(&err(&checked)), "in the same words: {}", err(&served));
    err(&checked)
}

#[test]
fn check_refuses_the_certificates_that_serve_refuses() {
    let (folder, file) = configuration();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
    let other = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    write("chain.pem", &made.cert.pem());
    write("key.pem", &made.signing_key.serialize_pem());
    write("foreign.pem", &other.signing_key.serialize_pem());
    write("nothing.pem", "no PEM at all\n");
    let text = std::fs::read_to_string(&file).expect("the file");
    let with = |certificate: &str, key: &str| {
        let tls = format!("{text}[tls]\ncertificate = \"{certificate}\"\nprivate_key = \"{key}\"\n");
        std::fs::write(&file, tls).expect("a file");
    };
    with("chain.pem", "key.pem");
    assert_eq!(ringpost(&["check"], &file).status.code(), Some(0));
    let wrong = [
        ("chain.pem", "foreign.pem", 13, "does not belong"),
        ("chain.pem", "none.pem", 13, "none.pem: No such file"),
        ("chain.pem", "nothing.pem", 13, "no private key"),
        ("none.pem", "key.pem", 12, "none.pem: No such file"),
        ("nothing.pem", "key.pem", 12, "no certificate"),
    ];
    for (certificate, key, line, why) in wrong {
        with(certificate, key);
        let said = refused_alike(&file);
        assert!(said.starts_with(&format!("{}:{line}: tls.", file.display())) && said.contains(why), "{said}");
        assert!(!folder.path().join("data").exists(), "nothing was begun");
    }
}

#[test]
fn check_refuses_the_secrets_that_serve_refuses_and_makes_none() {
    let (folder, file) = configuration();
    let text = std::fs::read_to_string(&file).expect("the file");
    let secrets = "[[listener]]\nkind = \"bounce\"\naddress = \"127.0.0.1:0\"\ntls = \"off\"\n\
                   [return_path]\ndomain = \"bounces.test\"\nkey_file = \"path.key\"\n\
                   [[webhook]]\nname = \"crm\"\nurl = \"https://hooks.test/\"\nsecret_file = \"crm.secret\"\nca_file = \"ca.pem\"\n\
                   [http]\naddress = \"127.0.0.1:0\"\ntoken_file = \"token\"\n";
    std::fs::write(&file, format!("{text}{secrets}")).expect("a file");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    let authority = rcgen::generate_simple_self_signed(vec!["ca.test".into()]).expect("a certificate").cert.pem();
    write("ca.pem", &authority);
    assert!(ringpost(&["check"], &file).status.success(), "what is not there will be made");
    let made = ["path.key", "crm.secret", "token"].map(|name| folder.path().join(name).exists());
    assert_eq!(made, [false; 3], "by serve, not by check");
    let wrong = [
        ("path.key", 17, "return_path.key_file", "64 hex digits"),
        ("crm.secret", 21, "webhook.secret_file", "line 1 is no secret"),
        ("ca.pem", 22, "webhook.ca_file", "ca.pem: "),
        ("token", 25, "http.token_file", "16 to 1024"),
    ];
    for (name, line, key, why) in wrong {
        write(name, "nothing of use\n");
        let said = refused_alike(&file);
        assert!(said.starts_with(&format!("{}:{line}: {key}: ", file.display())) && said.contains(why), "{said}");
        std::fs::remove_file(folder.path().join(name)).expect("the file");
        write("ca.pem", &authority);
    }
}

#[test]
fn check_looks_at_the_certificate_whatever_else_is_wrong_and_warns_before_it_expires() {
    let (folder, file) = configuration();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    let mut parameters = rcgen::CertificateParams::new(["mx.test".into()]).expect("parameters");
    parameters.not_after = rcgen::date_time_ymd(2020, 5, 31);
    let key = rcgen::KeyPair::generate().expect("a key");
    write("chain.pem", &parameters.self_signed(&key).expect("a certificate").pem());
    write("key.pem", &key.serialize_pem());
    let text = std::fs::read_to_string(&file).expect("the file");
    let tls = "[tls]\ncertificate = \"chain.pem\"\nprivate_key = \"key.pem\"\n";
    std::fs::write(&file, format!("{text}{tls}")).expect("a file");
    let checked = ringpost(&["check"], &file);
    assert_eq!(checked.status.code(), Some(0), "{}", err(&checked));
    let expired = format!("{}:12: warning: tls.certificate: the certificate expired on 2020-05-31", file.display());
    assert!(err(&checked).starts_with(&expired), "{}", err(&checked));

    std::fs::write(&file, format!("{}{tls}", text.replace("relay", "realy"))).expect("a file");
    let checked = ringpost(&["check"], &file);
    assert_eq!(checked.status.code(), Some(2));
    assert!(err(&checked).contains(&expired) && err(&checked).contains("`realy`"), "{}", err(&checked));

    write("key.pem", "no PEM at all\n");
    let checked = ringpost(&["check"], &file);
    assert_eq!(checked.status.code(), Some(2));
    let said = err(&checked);
    assert!(said.contains(":13: ") && said.contains("no private key") && said.contains("`realy`"), "{said}");
}

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
            "powermta": "quota-issues", "kumomta": "QuotaIssues",
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
    let nothing = serde_json::json!({
        "action": "unknown", "category": null, "code": null, "status": null, "rule": null, "powermta": null, "kumomta": null,
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
    assert_eq!(out(&ringpost(&["queue", "hold", "--domain", "example.org"], &file)), "0 recipients held\n");

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
    assert!(server.wait_for("event=reload_refused").contains("server.data_dir cannot change"));

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
    assert_eq!(out(&misspelt), "it was not suspended\n");
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
        line("message_rate", "10/3600s", "[[limit]] for tenant acme"),
    ] {
        assert!(said.contains(&expected), "{expected}: {said}");
    }
    let json = ringpost(&["explain", "hosted.test", "--json"], &file);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    let of_host = &json["sources"][0]["limits"][0];
    assert_eq!(of_host["connections_max"], serde_json::json!({ "value": "3", "from": "[[limit]] for provider gmail" }));
    assert_eq!(ringpost(&["explain", "hosted.test", "--source", "s9"], &file).status.code(), Some(2));
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
