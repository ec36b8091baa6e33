//! The server under test.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

use super::{PATIENCE, Process, binary, free_address, wait_for};

/// The account of every story.
pub const USER: &str = "user@accept.test";
/// Its password, with what breaks careless clients.
pub const PASSWORD: &str = "pa$s wo=rd";

/// What a story wants of the configuration.
pub struct Setup {
    /// `[[route]]` sections in order: domain pattern and next hop.
    pub routes: Vec<(String, String)>,
    /// `[dns] servers`.
    pub dns: Option<SocketAddr>,
    /// `[retry] schedule`.
    pub schedule: String,
    /// `[retry] lifetime`.
    pub lifetime: String,
    /// `[retry] delay_notice_after`; its default if absent.
    pub delay_notice_after: Option<String>,
    /// More TOML, at the end.
    pub more: String,
    /// More arguments of `serve`.
    pub arguments: Vec<String>,
    /// Where the data lives; a folder of its own if absent.
    pub data: Option<PathBuf>,
    /// `[server] shards`.
    pub shards: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            routes: Vec::new(),
            dns: None,
            schedule: r#"["1s", "1s", "2s"]"#.into(),
            lifetime: "5d".into(),
            delay_notice_after: None,
            more: String::new(),
            arguments: Vec::new(),
            data: None,
            shards: 2,
        }
    }
}

impl Setup {
    /// Everything goes to `next_hop`.
    pub fn relay_to(next_hop: SocketAddr) -> Self {
        Self { routes: vec![("*".into(), next_hop.to_string())], ..Self::default() }
    }
}

/// A running `ringpost serve`.
pub struct Server {
    process: Option<Process>,
    arguments: Vec<String>,
    starts: usize,
    ahead: Duration,
    data: PathBuf,
    /// Its folder: configuration, data, certificate, logs; `ca.pem` is the authority behind the certificate.
    pub folder: TempDir,
    /// Implicit TLS.
    pub submissions: SocketAddr,
    /// STARTTLS.
    pub submission: SocketAddr,
    /// No AUTH.
    pub relay: SocketAddr,
}

impl Server {
    /// Starts a server and waits until it accepts.
    pub fn start(setup: &Setup) -> Self {
        let mut server = Self::prepare(setup);
        server.launch();
        server
    }

    fn prepare(setup: &Setup) -> Self {
        let folder = tempfile::Builder::new().prefix("ringpost-story-").tempdir().expect("a folder");
        write_certificates(folder.path());
        let server = Self {
            process: None,
            arguments: setup.arguments.clone(),
            starts: 0,
            ahead: Duration::ZERO,
            data: folder.path().join(setup.data.as_deref().unwrap_or(Path::new("data"))),
            folder,
            submissions: free_address(),
            submission: free_address(),
            relay: free_address(),
        };
        fs::write(server.config(), server.toml(setup)).expect("written");
        server
    }

    /// The configuration's path.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("ringpost.toml")
    }

    /// Changes the configuration for the next start.
    pub fn change(&self, before: &str, after: &str) {
        let toml = fs::read_to_string(self.config()).expect("read");
        assert!(toml.contains(before), "{toml}");
        fs::write(self.config(), toml.replacen(before, after, 1)).expect("written");
    }

    fn toml(&self, setup: &Setup) -> String {
        let data = setup.data.clone().unwrap_or_else(|| "data".into());
        let mut toml = format!(
            "[server]\nhostname = \"mta.ringpost.test\"\ndata_dir = \"{}\"\nshards = {}\n\n\
             [tls]\ncertificate = \"server.chain.pem\"\nprivate_key = \"server.key\"\n\n",
            data.display(),
            setup.shards
        );
        for (kind, address, tls) in
            [("submission", self.submissions, "implicit"), ("submission", self.submission, "starttls")]
        {
            let _ = writeln!(toml, "[[listener]]\nkind = \"{kind}\"\naddress = \"{address}\"\ntls = \"{tls}\"\n");
        }
        let _ = writeln!(
            toml,
            "[[listener]]\nkind = \"relay\"\naddress = \"{}\"\ntls = \"optional\"\nnetworks = [\"127.0.0.0/8\"]\n",
            self.relay
        );
        let _ = writeln!(
            toml,
            "[[account]]\nname = \"{USER}\"\npassword = \"{}\"\nsenders = [\"{USER}\", \"@bulk.accept.test\"]\n",
            password_hash()
        );
        for (pattern, next_hop) in &setup.routes {
            let _ = writeln!(toml, "[[route]]\ndomains = [\"{pattern}\"]\nnext_hop = \"{next_hop}\"\n");
        }
        if let Some(dns) = setup.dns {
            let _ = writeln!(toml, "[dns]\nservers = [\"{dns}\"]\n");
        }
        let _ = writeln!(toml, "[retry]\nschedule = {}\nlifetime = \"{}\"", setup.schedule, setup.lifetime);
        if let Some(after) = &setup.delay_notice_after {
            let _ = writeln!(toml, "delay_notice_after = \"{after}\"");
        }
        toml + &setup.more
    }

    /// From its next start on, the server's wall clock (and no other) is `ahead` of ours: libfaketime's doing.
    pub fn set_ahead(&mut self, ahead: Duration) {
        self.ahead = ahead;
    }

    /// Starts the process (again) and waits until it accepts connections; returns how long that took.
    pub fn launch(&mut self) -> Duration {
        assert!(self.process.is_none(), "it runs already");
        self.starts += 1;
        let log = fs::File::create(self.log_path()).expect("a log file");
        let begin = std::time::Instant::now();
        let mut command = Command::new(binary("ringpost"));
        command.arg("serve").arg("-c").arg(self.config()).args(&self.arguments).stdin(Stdio::null()).stderr(log);
        if !self.ahead.is_zero() {
            // The dynamic linker puts the machine's library folder in place of $LIB.
            command.env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1");
            command.env("FAKETIME", format!("+{}s", self.ahead.as_secs()));
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
        }
        let mut process = Process::start(&mut command);
        wait_for("the server to accept", PATIENCE, || {
            if let Some(status) = process.0.try_wait().expect("its status") {
                panic!("ringpost serve ended with {status}:\n{}", self.log());
            }
            self.log().contains("event=ready").then_some(())
        });
        self.process = Some(process);
        begin.elapsed()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join(format!("log.{}", self.starts))
    }

    /// What the current process has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).expect("the log")
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").0.id()
    }

    /// SIGKILL: no chance to tidy up.
    pub fn kill(&mut self) {
        drop(self.process.take().expect("it runs"));
    }

    /// SIGTERM, and waits for a clean end.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.signal("-TERM");
        let status = wait_for("the server to stop", PATIENCE, || process.0.try_wait().expect("its status"));
        assert!(status.success(), "it ended with {status}:\n{}", self.log());
    }

    /// SIGHUP.
    pub fn reload(&self) {
        self.process.as_ref().expect("it runs").signal("-HUP");
    }

    /// Submits a message by curl, over STARTTLS, as `account` with [`PASSWORD`].
    pub fn submit(&self, account: &str, recipients: &[&str], content: &str) {
        let file = self.folder.path().join("message");
        fs::write(&file, content).expect("written");
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--insecure", "--ssl-reqd", "--upload-file"]).arg(&file);
        curl.args(["--user", &format!("{account}:{PASSWORD}"), "--mail-from", account]);
        recipients.iter().for_each(|to| _ = curl.args(["--mail-rcpt", to]));
        super::output(curl.arg(format!("smtp://{}/story.test", self.submission)));
    }

    /// `ringpost queue …` against it.
    pub fn queue(&self, arguments: &[&str]) -> String {
        super::output(Command::new(binary("ringpost")).arg("queue").args(arguments).arg("-c").arg(self.config()))
    }

    /// `ringpost tls-report …` against it.
    pub fn tls_report(&self, arguments: &[&str]) -> serde_json::Value {
        let mut command = Command::new(binary("ringpost"));
        let said = super::output(command.arg("tls-report").args(arguments).arg("-c").arg(self.config()));
        serde_json::from_str(&said).expect("JSON")
    }

    /// The same, without waiting for its end.
    pub fn start_tls_report(&self, arguments: &[&str]) -> Process {
        let mut command = Command::new(binary("ringpost"));
        command.arg("tls-report").args(arguments).arg("-c").arg(self.config()).stdout(Stdio::null());
        Process::start(&mut command)
    }

    /// `ringpost queue …` where it may fail: its output, or `None`.
    pub fn try_queue(&self, arguments: &[&str]) -> Option<String> {
        let mut command = Command::new(binary("ringpost"));
        let output = command.arg("queue").args(arguments).arg("-c").arg(self.config()).output().expect("it runs");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Queued recipients.
    pub fn queued(&self) -> u64 {
        self.queue(&["list", "--count"]).trim().parse().expect("a number")
    }

    /// The metrics, from the control socket.
    pub fn metrics(&self) -> String {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--unix-socket"]).arg(self.data.join("control.sock"));
        super::output(curl.arg("http://localhost/metrics"))
    }

    /// Waits until so many recipients are left, on disk too: no kill makes a delivery uncertain that was seen to end.
    pub fn wait_empty_but(&self, left: u64) {
        self.wait_left(left, PATIENCE);
    }

    /// Waits until the queue is empty, on disk too.
    pub fn wait_empty(&self, patience: Duration) {
        self.wait_left(0, patience);
    }

    fn wait_left(&self, left: u64, patience: Duration) {
        wait_for(&format!("{left} recipients in the queue"), patience, || (self.queued() == left).then_some(()));
        self.wait_on_disk();
    }

    /// Waits until all that has happened so far is on disk: a kill takes none of it.
    pub fn wait_on_disk(&self) {
        wait_for("that to be on disk", PATIENCE, || {
            let metrics = self.metrics();
            let pending: Vec<&str> =
                metrics.lines().filter(|line| line.starts_with("ringpost_journal_pending")).collect();
            (!pending.is_empty() && pending.iter().all(|line| line.ends_with(" 0"))).then_some(())
        });
    }

    /// Waits for a log line that holds all of `words`.
    pub fn wait_log(&self, words: &[&str]) -> String {
        wait_for(&format!("a log line with {words:?}"), PATIENCE, || {
            self.log().lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
        })
    }

    /// A line of `/proc/PID/status` in KiB, such as `VmHWM`.
    pub fn memory_kib(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("its status");
        let line = status.lines().find(|line| line.starts_with(key)).expect("the line");
        line.split_whitespace().nth(1).and_then(|value| value.parse().ok()).expect("a number")
    }
}

impl Drop for Server {
    /// A story that fails shows what the server said and did.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let shown = log.len().saturating_sub(8 * 1024);
            eprintln!("the server's log ends with:\n{}", log.get(shown..).unwrap_or(&log));
            if let Some(process) = &self.process {
                let listeners = [self.submissions, self.submission, self.relay];
                let state = super::state::of(process.0.id(), &listeners, &self.data.join("control.sock"));
                eprintln!("it was running:\n{state}");
            }
        }
    }
}

/// An authority, and the server's certificate with its whole chain, as a public authority gives it.
fn write_certificates(folder: &Path) {
    let made = |result: Result<_, rcgen::Error>| result.expect("a certificate");
    let authority_key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::new([]).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    authority.distinguished_name.push(DnType::CommonName, "Ringpost's stories");
    let root = made(authority.self_signed(&authority_key));
    let key = KeyPair::generate().expect("a key");
    let mut leaf = CertificateParams::new(["localhost".into(), "127.0.0.1".into()]).expect("parameters");
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.distinguished_name.push(DnType::CommonName, "localhost");
    let leaf = made(leaf.signed_by(&key, &Issuer::from_params(&authority, &authority_key)));
    fs::write(folder.join("ca.pem"), root.pem()).expect("written");
    fs::write(folder.join("server.chain.pem"), leaf.pem() + &root.pem()).expect("written");
    fs::write(folder.join("server.key"), key.serialize_pem()).expect("written");
}

/// The account's hash, made by the command that administrators use.
pub fn password_hash() -> String {
    use std::io::Write as _;
    let mut hash = Process(
        Command::new(binary("ringpost"))
            .args(["account", "hash"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("ringpost account hash"),
    );
    hash.0.stdin.take().expect("its input").write_all(PASSWORD.as_bytes()).expect("written");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut hash.0.stdout.take().expect("its output"), &mut text).expect("read");
    assert!(hash.0.wait().expect("its status").success());
    text.trim().to_owned()
}
