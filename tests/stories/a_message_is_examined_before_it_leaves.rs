//! `ringpost preflight` asks a real DNS server what receivers will ask about a message.

use std::fs;
use std::process::{Command, Output};

use crate::harness::dns::Dns;
use crate::harness::{binary, dkim_key, free_address};

/// An address that is nobody's (RFC 5737).
const ADDRESS: &str = "198.51.100.7";
const REVERSE: &str = "100.51.198.in-addr.arpa";
/// Lines end as a file on this system has them.
const BULK: &str = "From: News <news@a.test>\nDate: Thu, 26 Nov 2026 04:00:00 +0000\nMessage-ID: <1@a.test>\n\
                    List-Unsubscribe: <mailto:u@a.test>,\n <https://a.test/u?1>\n\
                    List-Unsubscribe-Post: List-Unsubscribe=One-Click\n\nHello\n";

/// A relay that signs for a.test and sends from [`ADDRESS`].
struct Host {
    folder: tempfile::TempDir,
    /// The zone-file line that publishes its key.
    record: String,
}

impl Host {
    fn new() -> Host {
        let folder = tempfile::tempdir().expect("a folder");
        let record = dkim_key(folder.path(), "a.test", "s1", "ed25519");
        Host { folder, record }
    }

    /// What the command prints of a message, and its exit code.
    fn examined(&self, dns: &str, message: &str, more: &[&str]) -> (String, Option<i32>) {
        let [config, file] = ["ringpost.toml", "message.eml"].map(|name| self.folder.path().join(name));
        let text = format!(
            "[server]\nhostname = \"mta.test\"\ndata_dir = \"data\"\nshards = 1\n[dns]\nservers = [\"{dns}\"]\n\
             [[listener]]\nkind = \"relay\"\naddress = \"{}\"\ntls = \"off\"\nnetworks = [\"127.0.0.0/8\"]\n\
             [[source]]\nname = \"one\"\naddresses = [\"{ADDRESS}\"]\nehlo = \"out.test\"\n[delivery]\npool = \"one\"\n\
             [[dkim]]\ndomain = \"a.test\"\nselector = \"s1\"\nprivate_key = \"s1.a.test.pem\"\n",
            free_address(),
        );
        fs::write(&config, text).expect("written");
        fs::write(&file, message).expect("written");
        let mut command = Command::new(binary("ringpost"));
        let done = command.arg("preflight").arg(file).arg("-c").arg(config).args(more).output().expect("it runs");
        let Output { stdout, stderr, status } = done;
        (String::from_utf8(stdout).expect("text") + &String::from_utf8_lossy(&stderr), status.code())
    }
}

#[test]
fn and_passes_where_dns_says_what_receivers_want() {
    let host = Host::new();
    let zone = format!(
        "out A {ADDRESS}\na TXT \"v=spf1 include:_spf.a.test -all\"\n_spf.a TXT \"v=spf1 mx:b.test -all\"\nb MX 10 out\n\
         bounce.a TXT \"v=spf1 redirect=a.test\"\n_dmarc.a TXT \"v=DMARC1; p=none\"\n{}",
        host.record
    );
    let dns = Dns::start_with_reverse(&zone, REVERSE, "7 PTR out.test.\n");
    let servers = dns.address.to_string();
    let (said, code) = host.examined(&servers, BULK, &["--from", "b-1@bounce.a.test"]);
    assert_eq!(code, Some(0), "{said}");
    for expected in [
        "one-click         recipients can unsubscribe",
        "one-click-signed  the signature of a.test covers both",
        "dkim              s1._domainkey.a.test publishes the key",
        "spf               the SPF record of bounce.a.test names 198.51.100.7",
        "dmarc             _dmarc.a.test publishes the policy none",
        "alignment         DKIM of a.test is aligned",
        "ptr               198.51.100.7 is called out.test, and back",
    ] {
        assert!(said.contains(&format!("pass     {expected}")), "it does not say `{expected}`:\n{said}");
    }
    let (json, code) = host.examined(&servers, BULK, &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((code, &json["verdict"]), (Some(0), &"pass".into()), "{json}");
    assert_eq!(json["findings"].as_array().map(Vec::len), Some(10), "{json}");
}

#[test]
fn and_fails_with_what_to_change() {
    let host = Host::new();
    let dns =
        Dns::start_with_reverse("out A 198.51.100.8\na TXT \"v=spf1 a:out.test -all\"\n", REVERSE, "7 PTR out.test.\n");
    let message = BULK.replace("List-Unsubscribe-Post", "X-Post");
    let (said, code) = host.examined(&dns.address.to_string(), &message, &[]);
    assert_eq!(code, Some(1), "{said}");
    for expected in [
        "one-click         List-Unsubscribe stands there without List-Unsubscribe-Post",
        "dkim              DNS has no record s1._domainkey.a.test",
        "spf               the SPF record of a.test does not name 198.51.100.7",
        "dmarc             a.test has no DMARC record",
        "alignment         neither SPF nor DKIM is aligned with a.test",
        "ptr               198.51.100.7 is called out.test, which does not have that address",
    ] {
        assert!(said.contains(&format!("fail     {expected}")), "it does not say `{expected}`:\n{said}");
    }
    assert!(said.contains("-> add ip4:198.51.100.7 to the TXT record of a.test"), "{said}");
    assert!(said.contains("ringpost: 6 rules fail"), "{said}");
}

#[test]
fn and_knows_nothing_where_dns_does_not_answer() {
    let host = Host::new();
    let (said, code) = host.examined("127.0.0.1:1", BULK, &[]);
    assert_eq!(code, Some(0), "what is unknown is no failure: {said}");
    assert_eq!(said.matches("\nunknown  ").count(), 5, "{said}");
    let (said, code) = host.examined("127.0.0.1:1", "no message\n", &[]);
    assert!(code == Some(2) && said.contains("message.eml: does not begin with a header field"), "{said}");
}
