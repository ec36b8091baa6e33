//! TLS and AUTH, with a certificate that is verified and with none that is.

use super::*;

#[test]
fn both_kinds_of_tls_carry_messages() {
    for how in ["implicit", "starttls"] {
        let folder = Folder::new();
        let certificate = folder.path("sink.pem");
        let sink = start("--listen=127.0.0.1:0", &["--tls", how, &option("--certificate", &certificate)]);
        let trusting = generate(&sink, "--messages 10 --connections 2 --pipelining", &["--tls", how]);
        assert_eq!((trusting.accepted, trusting.unexpected), (10, 0), "{trusting}");
        let ca = option("--ca", &certificate);
        let verifying = generate(&sink, "--messages 10 --messages-per-connection 2", &["--tls", how, &ca]);
        assert_eq!((verifying.accepted, verifying.connections), (10, 5), "{verifying}");
        let report = sink.stop().expect("the sink ends");
        assert_eq!((report.messages, report.damaged), (20, 0));
    }
}

#[test]
fn another_ones_certificate_is_not_trusted() {
    let folder = Folder::new();
    let (ours, others) = (folder.path("ours.pem"), folder.path("others.pem"));
    let sink = start("--listen=127.0.0.1:0 --tls starttls", &[&option("--certificate", &ours)]);
    let other = start("--listen=127.0.0.1:0 --tls starttls", &[&option("--certificate", &others)]);
    let load = generate(&sink, "--messages 1 --tls starttls", &[&option("--ca", &others)]);
    assert_eq!(load.lost.get("starttls"), Some(&1), "{load}");
    assert_eq!(sink.stop().expect("the sink ends").messages, 0);
    other.stop().expect("the other ends");
}

#[test]
fn a_password_opens_a_sink_that_requires_one() {
    let folder = Folder::new();
    let password = folder.write("password", "secret\n");
    let sink = start("--listen=127.0.0.1:0 --tls starttls --auth", &[]);
    let without = generate(&sink, "--messages 1 --tls starttls", &[]);
    assert_eq!(without.refused.get(&530), Some(&1), "{without}");
    let user = ["--user=u@a.test", &option("--password-file", &password)];
    let with = generate(&sink, "--messages 3", &[&["--tls=starttls"], &user[..]].concat());
    assert_eq!((with.accepted, with.unexpected), (3, 0), "{with}");
    assert_eq!(sink.stop().expect("the sink ends").messages, 3);
}

#[test]
fn sessions_are_resumed_unless_that_is_not_wanted() {
    for how in ["implicit", "starttls"] {
        let sink = start("--listen=127.0.0.1:0", &["--tls", how]);
        let load = "--messages 6 --messages-per-connection 1";
        let resuming = generate(&sink, load, &["--tls", how]);
        let whole = generate(&sink, load, &["--tls", how, "--no-resumption"]);
        assert_eq!((resuming.resumed, whole.resumed), (5, 0), "{how}: {resuming}");
        assert_eq!((whole.accepted, whole.phases_us["tls"].count), (6, 6), "{how}: {whole}");
        sink.stop().expect("the sink ends");
    }
}

#[test]
fn tls_that_fails_is_lost_where_it_fails() {
    for action in ["drop", "reset", "garbage"] {
        for (how, phase) in [("implicit", "connect"), ("starttls", "starttls")] {
            let folder = Folder::new();
            let script = folder.write("faults.toml", &format!("[[fault]]\nat = \"handshake\"\n{action} = true\n"));
            let sink = start("--listen=127.0.0.1:0", &["--tls", how, &option("--script", &script)]);
            let load = generate(&sink, "--messages 1", &["--tls", how]);
            assert_eq!(load.lost.get(phase), Some(&1), "{how} {action}: {load}");
            sink.stop().expect("the sink ends");
        }
    }
    let folder = Folder::new();
    let script = folder.write("faults.toml", "[[fault]]\nat = \"starttls\"\nreply = \"454 4.7.0 Not now\"\n");
    let sink = start("--listen=127.0.0.1:0 --tls starttls", &[&option("--script", &script)]);
    let load = generate(&sink, "--messages 1 --tls starttls", &[]);
    assert_eq!(load.refused.get(&454), Some(&1), "{load}");
    sink.stop().expect("the sink ends");
}

#[test]
fn a_bad_certificate_is_bad() {
    for (kind, phase) in [("good", None), ("expired", Some("starttls")), ("other-name", Some("starttls"))] {
        let folder = Folder::new();
        let certificate = folder.path("sink.pem");
        let script = folder.write("faults.toml", &format!("certificate = \"{kind}\"\n"));
        let files = [option("--certificate", &certificate), option("--script", &script)];
        let sink = start("--listen=127.0.0.1:0 --tls starttls", &[&files[0], &files[1]]);
        let load = generate(&sink, "--messages 1 --tls starttls", &[&option("--ca", &certificate)]);
        assert_eq!(load.lost.keys().next().copied(), phase, "{kind}: {load}");
        sink.stop().expect("the sink ends");
    }
}
