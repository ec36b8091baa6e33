//! `ringpost doctor` asks a real DNS server what the world will ask of the host and its sources: PTR, SPF, DKIM, DMARC, MX; and
//! looks at the certificate as clients do.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::harness::dns::Dns;
use crate::harness::{binary, dkim_key, free_address, output};

/// An address that is nobody's, so that no host of a test has it (RFC 5737).
const ADDRESS: &str = "198.51.100.7";
const REVERSE: &str = "100.51.198.in-addr.arpa";

/// A configuration whose host is mta.test, with an account of a.test whose mail is signed.
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

    /// The doctor's findings, asked of `dns`, and whether it is content.
    fn examined(&self, dns: &Dns, more: &str, roots: &Path) -> (String, bool) {
        let file = self.folder.path().join("ringpost.toml");
        let text = format!(
            "[server]\nhostname = \"mta.test\"\ndata_dir = \"data\"\nshards = 1\n[dns]\nservers = [\"{}\"]\n\
             [[listener]]\nkind = \"submission\"\naddress = \"{}\"\ntls = \"implicit\"\n\
             [tls]\ncertificate = \"chain.pem\"\nprivate_key = \"key.pem\"\n\
             [[account]]\nname = \"u@a.test\"\npassword = \"{}\"\nsenders = [\"@a.test\"]\n\
             [[dkim]]\ndomain = \"a.test\"\nselector = \"s1\"\nprivate_key = \"s1.a.test.pem\"\n{more}",
            dns.address,
            free_address(),
            hashed(),
        );
        fs::write(&file, text).expect("written");
        let mut command = Command::new(binary("ringpost"));
        let Output { stdout, stderr, .. } = command
            .args(["doctor", "-c"])
            .arg(file)
            .env("SSL_CERT_FILE", roots)
            .env_remove("SSL_CERT_DIR")
            .output()
            .expect("it runs");
        let said = String::from_utf8(stdout).expect("text");
        assert!(!said.is_empty(), "{}", String::from_utf8_lossy(&stderr));
        let is_content = !said.lines().any(|line| line.starts_with("error"));
        (said, is_content)
    }

    /// Writes a certificate for mta.test with what goes into its file; gives the file of the root.
    fn certify(&self, with_intermediate: bool) -> std::path::PathBuf {
        let parameters = |name: &str, is_ca| {
            let mut parameters = CertificateParams::new([name.to_owned()]).expect("parameters");
            parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
            parameters.is_ca = is_ca;
            parameters
        };
        let authority = |name| parameters(name, IsCa::Ca(BasicConstraints::Unconstrained));
        let [root_key, between_key, leaf_key] = [(); 3].map(|()| KeyPair::generate().expect("a key"));
        let root = authority("root.test");
        let root_pem = root.self_signed(&root_key).expect("a root").pem();
        let between = authority("between.test");
        let between_pem = between.signed_by(&between_key, &Issuer::new(root, root_key)).expect("signed").pem();
        let leaf = parameters("mta.test", IsCa::NoCa);
        let leaf_pem = leaf.signed_by(&leaf_key, &Issuer::new(between, between_key)).expect("signed").pem();
        let file = |name: &str| self.folder.path().join(name);
        let rest = if with_intermediate { between_pem } else { String::new() };
        fs::write(file("chain.pem"), leaf_pem + &rest).expect("written");
        fs::write(file("key.pem"), leaf_key.serialize_pem()).expect("written");
        fs::write(file("root.pem"), root_pem).expect("written");
        file("root.pem")
    }
}

/// A return path with its listener.
fn bounces() -> String {
    let address = free_address();
    format!(
        "[return_path]\ndomain = \"back.test\"\n[[listener]]\nkind = \"bounce\"\naddress = \"{address}\"\ntls = \"off\"\n"
    )
}

fn hashed() -> String {
    let mut command = Command::new("sh");
    command.args(["-c", "echo secret | \"$0\" account hash"]).arg(binary("ringpost"));
    output(&mut command).trim().to_owned()
}

fn assert_says(said: &str, expected: &[&str]) {
    for words in expected {
        assert!(said.contains(words), "it does not say `{words}`:\n{said}");
    }
}

#[test]
fn and_finds_everything_as_it_should_be() {
    let host = Host::new();
    let roots = host.certify(true);
    let zone = format!(
        "mta A {ADDRESS}\nout A 198.51.100.8\n_dmarc.a TXT \"v=DMARC1; p=reject\"\nback MX 10 mta\na TXT \"v=spf1 ip4:198.51.100.0/24 -all\"\n{}",
        host.record
    );
    let dns = Dns::start_with_reverse(&zone, REVERSE, "7 PTR mta.test.\n8 PTR out.test.\n");
    let source = "[[source]]\nname = \"out\"\naddresses = [\"198.51.100.8\"]\nehlo = \"out.test\"\n";
    let (said, _) = host.examined(&dns, &format!("{source}{}", bounces()), &roots);
    let file = host.folder.path().join("s1.a.test.pem");
    assert_says(
        &said,
        &[
            "ok       198.51.100.7 is called mta.test, and back",
            "ok       198.51.100.8 is called out.test, and back",
            "ok       the SPF record of a.test names 198.51.100.7, 198.51.100.8",
            "ok       _dmarc.a.test publishes the policy reject",
            "ok       the MX record of back.test leads here, so bounces come back",
            &format!("ok       the DKIM record s1._domainkey.a.test publishes the key in {}", file.display()),
            "ok       the certificate is for mta.test",
            "ok       the certificate's chain ends at an authority that this system trusts",
        ],
    );
}

#[test]
fn and_tells_what_is_wrong_with_the_record_to_publish() {
    let host = Host::new();
    let roots = host.certify(false);
    let other = tempfile::tempdir().expect("a folder");
    let another = dkim_key(other.path(), "a.test", "s1", "ed25519");
    dkim_key(host.folder.path(), "a.test", "s2", "ed25519");
    let zone = format!("mta A {ADDRESS}\na TXT \"v=spf1 ip4:192.0.2.1 -all\"\n{another}");
    let dns = Dns::start_with_reverse(&zone, REVERSE, "7 PTR other.test.\n");
    let second = "[[dkim]]\ndomain = \"a.test\"\nselector = \"s2\"\nprivate_key = \"s2.a.test.pem\"\n";
    let (said, is_content) = host.examined(&dns, second, &roots);
    assert!(!is_content, "{said}");
    assert_says(
        &said,
        &[
            "warning  the PTR record of 198.51.100.7 is other.test, and the EHLO name mta.test\n         -> have whoever owns",
            "error    the DKIM record s1._domainkey.a.test publishes another key",
            "error    DNS has no DKIM record s2._domainkey.a.test",
            "warning  the certificate stands alone",
            "fullchain.pem",
        ],
    );
    // A host may have public addresses of its own besides.
    let (unnamed, remedy) = said
        .split_once("error    the SPF record of a.test does not name ")
        .and_then(|(_, rest)| rest.split_once("\n         -> add "))
        .expect("what SPF lacks");
    assert!(unnamed.contains("198.51.100.7"), "{said}");
    assert!(remedy.lines().next().is_some_and(|add| add.contains("ip4:198.51.100.7 to the TXT record")), "{said}");
    // The remedy is the record that `dkim generate` told to publish.
    let key = host.record.split("p=").nth(1).and_then(|rest| rest.split('"').next()).expect("a key");
    let remedy = format!("-> publish this TXT record at s1._domainkey.a.test: v=DKIM1; k=ed25519; p={key}");
    assert_says(&said, &[&remedy]);
}

#[test]
fn and_tells_what_is_missing() {
    let host = Host::new();
    let roots = host.certify(true);
    let zone = format!("mta A {ADDRESS}\na A {ADDRESS}\ns1._domainkey.a TXT \"v=DKIM1; p=\"\n");
    let dns = Dns::start_with_reverse(&zone, REVERSE, "");
    let (said, is_content) = host.examined(&dns, &bounces(), &roots);
    assert!(!is_content, "{said}");
    assert_says(
        &said,
        &[
            "error    198.51.100.7 has no PTR record",
            "warning  a.test has no DMARC record, or several: large receivers want one of bulk senders\n         -> publish",
            "error    back.test has no MX record: no bounce or complaint comes back\n         -> publish the MX record `10 mta.test.`",
            "warning  a.test has no SPF record: large receivers want one\n         -> add the TXT record `v=spf1 ip4:",
            "ip4:198.51.100.7 -all` to a.test",
            "error    the DKIM record s1._domainkey.a.test publishes no key: the key is revoked",
        ],
    );
}
