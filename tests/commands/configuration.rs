//! What is wrong with a configuration: told alike by all that read it, with the line and what to do.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::{RINGPOST, configuration, err, out, ringpost};

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
fn addresses_that_cannot_be_listened_on_are_told_with_their_line_and_what_to_do() {
    let (folder, file) = configuration();
    let text = std::fs::read_to_string(&file).expect("the file");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = (taken.local_addr().expect("its address").to_string(), taken);
    let http = |address: &str| format!("{text}[http]\naddress = \"{address}\"\ntoken_file = \"token\"\n");
    let foreign = "192.0.2.1:2525: this host does not have that address: write one that `ip address` shows";
    let in_use = format!("port {} is taken ({})", taken.0.rsplit(':').next().expect("a port"), taken.0);
    for (text, line, key, why) in [
        (text.replace("127.0.0.1:0", "192.0.2.1:2525"), 8, "listener.address", foreign),
        (http("192.0.2.1:2525"), 12, "http.address", foreign),
        (http(&taken.0), 12, "http.address", &*in_use),
    ] {
        std::fs::write(&file, text).expect("written");
        let at = format!("{}:{line}: ", file.display());
        let served = ringpost(&["serve"], &file);
        assert_eq!(served.status.code(), Some(1), "it may have gone by the next start: {}", err(&served));
        assert!(err(&served).contains(&format!("ringpost: {at}{key}: {why}")), "{}", err(&served));
        assert!(!folder.path().join("data").exists(), "nothing was begun");
        let checked = ringpost(&["check"], &file);
        assert_eq!(checked.status.code(), Some(0), "an interface may come, a program go: {}", err(&checked));
        let is_warned = err(&checked).contains(&format!("{at}warning: {key}: {why}"));
        assert_eq!(is_warned, why == foreign, "{}", err(&checked));
    }
}
