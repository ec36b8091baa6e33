//! Peers with TLS of their own: destinations on OpenSSL, policy hosts, and the authority that vouches for them.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256};
use serde_json::Value;
use tempfile::TempDir;

use super::{PATIENCE, Process, free_address, output, wait_for};

/// A folder with an authority, `ca.pem`, and what peers write down.
pub struct Peers {
    /// The folder.
    pub folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
    /// The port of all destinations; each has an address of its own.
    pub port: u16,
    /// The port of all policy hosts.
    pub policy_port: u16,
}

impl Peers {
    /// An authority without peers.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("ringpost-peers-").tempdir().expect("a folder");
        let mut params = CertificateParams::new([]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(rcgen::DnType::CommonName, "The authority of the peers");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("made");
        fs::write(folder.path().join("ca.pem"), authority.pem()).expect("written");
        Self { folder, authority, port: free_address().port(), policy_port: free_address().port() }
    }

    /// The authority's certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for `name` from the authority, with an RSA key, which the oldest servers have.
    pub fn certificate(&self, name: &str) -> Certificate {
        let (key, params) = rsa(name);
        let leaf = params.signed_by(&key, &self.authority).expect("made");
        self.write(name, &(leaf.pem() + &self.authority.pem()), &key)
    }

    /// A certificate for `name` that nobody but itself vouches for.
    pub fn self_signed(&self, name: &str) -> Certificate {
        let (key, params) = rsa(name);
        self.write(name, &params.self_signed(&key).expect("made").pem(), &key)
    }

    fn write(&self, name: &str, pem: &str, key: &KeyPair) -> Certificate {
        let (chain, file) =
            (self.folder.path().join(format!("{name}.pem")), self.folder.path().join(format!("{name}.key")));
        fs::write(&chain, pem).expect("written");
        fs::write(&file, key.serialize_pem()).expect("written");
        Certificate { chain, key: file }
    }

    /// A destination at `address` that offers TLS in this `mode`: `none`, `modern`, `requiretls`, `tls1` or `static-rsa`.
    pub fn destination(&self, last: u8, mode: &str, certificate: &Certificate) -> Destination {
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 7, last));
        let record = self.folder.path().join(format!("{address}.jsonl"));
        let mut python = python("tls_destination.py");
        python.args([&address.to_string(), &self.port.to_string()]).arg(&record).arg(mode);
        if mode != "none" {
            python.arg(&certificate.chain).arg(&certificate.key);
        }
        let process = start(&mut python, SocketAddr::new(address, self.port));
        Destination { _process: process, address, record }
    }

    /// A receiver of TLS reports at `127.0.7.LAST`, at the port of policy hosts.
    pub fn report_receiver(&self, last: u8, certificate: &Certificate) -> ReportReceiver {
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 7, last));
        let record = self.folder.path().join(format!("{address}.reports"));
        let mut python = python("report_receiver.py");
        python.args([&address.to_string(), &self.policy_port.to_string()]).arg(&record);
        python.arg(&certificate.chain).arg(&certificate.key);
        let process = start(&mut python, SocketAddr::new(address, self.policy_port));
        ReportReceiver { _process: process, record }
    }

    /// A policy host at `127.0.7.LAST` with this policy.
    pub fn policy_host(&self, last: u8, certificate: &Certificate, policy: &str) -> PolicyHost {
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 7, last));
        let file = self.folder.path().join(format!("{address}.txt"));
        let record = self.folder.path().join(format!("{address}.hosts"));
        fs::write(&file, policy).expect("written");
        let mut python = python("policy_host.py");
        python.args([&address.to_string(), &self.policy_port.to_string()]).arg(&record);
        python.arg(&certificate.chain).arg(&certificate.key).arg(&file);
        let process = start(&mut python, SocketAddr::new(address, self.policy_port));
        PolicyHost { _process: process, record }
    }
}

/// A receiver of TLS reports; it ends with the story.
pub struct ReportReceiver {
    _process: Process,
    record: PathBuf,
}

impl ReportReceiver {
    /// What was posted.
    pub fn reports(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.record).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

fn rsa(name: &str) -> (KeyPair, CertificateParams) {
    let bits = output(Command::new("openssl").args(["genpkey", "-quiet", "-algorithm", "RSA"]));
    let key = KeyPair::from_pem_and_sign_algo(&bits, &PKCS_RSA_SHA256).expect("a key");
    (key, CertificateParams::new([name.to_owned()]).expect("parameters"))
}

fn python(script: &str) -> Command {
    let mut python = Command::new("python3");
    python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script));
    python
}

fn start(command: &mut Command, address: SocketAddr) -> Process {
    let mut process = Process::start(command);
    wait_for("a peer to listen", PATIENCE, || {
        assert!(process.0.try_wait().expect("its status").is_none(), "it has ended");
        std::net::TcpStream::connect(address).ok()
    });
    process
}

/// A certificate with its chain, and its key.
pub struct Certificate {
    /// PEM.
    pub chain: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

impl Certificate {
    /// What a TLSA record with usage, selector and SHA-256 names it by; the authority behind it for usage 2.
    pub fn tlsa(&self, usage: u8, selector: u8) -> String {
        let authority = "-----END CERTIFICATE-----";
        let pem = fs::read_to_string(&self.chain).expect("the chain");
        let (leaf, rest) = pem.split_once(authority).expect("a certificate");
        let certificate = if usage == 2 { rest.to_owned() } else { format!("{leaf}{authority}\n") };
        let script = match selector {
            0 => "openssl x509 -outform DER",
            _ => "openssl x509 -pubkey -noout | openssl pkey -pubin -outform DER",
        };
        let script = format!("{script} | sha256sum | cut -d' ' -f1");
        let file = self.chain.with_extension("one");
        fs::write(&file, certificate).expect("written");
        let input = fs::File::open(&file).expect("just written");
        let digest = output(Command::new("sh").args(["-c", &script]).stdin(input));
        format!("TLSA {usage} {selector} 1 {}", digest.trim())
    }
}

/// A destination; it ends with the story.
pub struct Destination {
    _process: Process,
    /// Where it listens.
    pub address: IpAddr,
    record: PathBuf,
}

impl Destination {
    fn records(&self, kind: &str) -> Vec<Value> {
        let text = fs::read_to_string(&self.record).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let records = whole.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        records.filter(|record| record.get(kind).is_some()).collect()
    }

    /// What has arrived: `message`, `mail`, `rcpt`, and `tls` with version and cipher, or null.
    pub fn messages(&self) -> Vec<Value> {
        self.records("message")
    }

    /// Handshakes that failed.
    pub fn failures(&self) -> usize {
        self.records("handshake").len()
    }

    /// Waits for so many messages.
    pub fn wait(&self, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} message(s) at {}", self.address), PATIENCE, || {
            let messages = self.messages();
            (messages.len() >= count).then_some(messages)
        })
    }
}

/// A policy host; it ends with the story.
pub struct PolicyHost {
    _process: Process,
    record: PathBuf,
}

impl PolicyHost {
    /// The names that it was asked by.
    pub fn asked(&self) -> Vec<String> {
        fs::read_to_string(&self.record).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}
