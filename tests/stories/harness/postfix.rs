//! A real Postfix: a next hop that takes everything, and tells later what became of it.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::peers::Certificate;
use super::{Process, free_address, output, wait_listening};

/// A running Postfix; it ends with the story.
pub struct Postfix {
    process: Process,
    folder: TempDir,
    /// Where it takes mail.
    pub address: SocketAddr,
}

impl Postfix {
    /// Starts one with these lines of transport(5): `DOMAIN TRANSPORT:HOP`.
    pub fn start(transports: &str) -> Postfix {
        Self::start_with(transports, "", "")
    }

    /// Starts one that keeps what it takes, shows this certificate after STARTTLS, and has these settings too.
    pub fn with_tls(certificate: &Certificate, settings: &str) -> Postfix {
        let tls = format!(
            "smtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\nsmtpd_tls_security_level = may\nsmtpd_tls_loglevel = 1\n",
            certificate.chain.display(),
            certificate.key.display()
        );
        Self::start_with("", "check_client_access static:HOLD", &(tls + settings))
    }

    fn start_with(transports: &str, restrictions: &str, settings: &str) -> Postfix {
        let folder = tempfile::Builder::new().prefix("ringpost-postfix-").tempdir().expect("a folder");
        // Its services run as a user of their own.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("set");
        let (address, tls) = (free_address(), free_address());
        for name in ["conf", "data", "state"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        output(Command::new("chown").arg("postfix").arg(folder.path().join("state")));
        for name in ["main.cf", "master.cf"] {
            let text = template(name).replace("{{folder}}", &folder.path().display().to_string());
            let text = text.replace("{{plain_port}}", &address.port().to_string());
            let text = text.replace("{{tls_port}}", &tls.port().to_string()).replace("{{hold}}", restrictions);
            let text = text.replace("{{connections_max}}", "5").replace("{{first_retry_s}}", "1");
            let text = text.replace("{{last_retry_s}}", "2").replace("smtpd_tls_security_level = may", "");
            let text = text.lines().filter(|line| !line.contains("{{")).collect::<Vec<_>>().join("\n");
            let more = if name == "main.cf" { settings } else { "" };
            fs::write(folder.path().join("conf").join(name), text + "\n" + more).expect("written");
        }
        fs::write(folder.path().join("conf/transport"), transports).expect("written");
        output(Command::new("postfix").arg("-c").arg(folder.path().join("conf")).arg("check"));
        let mut master = Command::new("/usr/lib/postfix/sbin/master");
        let process = Process::start(master.arg("-c").arg(folder.path().join("conf")).arg("-d"));
        wait_listening("Postfix", address);
        Postfix { process, folder, address }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postfix {
    /// Its master takes all of its services with it where it is asked to end.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("Postfix has logged:\n{}", self.log());
        }
        self.process.signal("-TERM");
        let _ = self.process.0.wait();
    }
}

/// The settings with which Postfix is also measured.
fn template(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("loadtest/servers/postfix").join(name);
    fs::read_to_string(path).expect("a template")
}
