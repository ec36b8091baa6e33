//! A real Exim: a next hop that takes everything and keeps it.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::peers::Certificate;
use super::{Process, free_address, output, wait_listening};

/// Where its packages' files are unpacked, see `loadtest/servers/install`.
const PROGRAM: &str = "/opt/ringload/exim/usr/sbin/exim4";

/// A running Exim; it ends with the story.
pub struct Exim {
    _process: Process,
    folder: TempDir,
    /// Where it takes mail, with STARTTLS.
    pub address: SocketAddr,
}

impl Exim {
    /// Starts one that shows this certificate.
    pub fn start(certificate: &Certificate) -> Exim {
        let folder = tempfile::Builder::new().prefix("ringpost-exim-").tempdir().expect("a folder");
        // It becomes a user of its own.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("set");
        let (address, tls) = (free_address(), free_address());
        let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
        fs::copy(&certificate.chain, &chain).expect("copied");
        fs::copy(&certificate.key, &key).expect("copied");
        for name in ["data", "log"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("loadtest/servers/exim/exim.conf");
        let mut text = fs::read_to_string(template).expect("a template");
        for (word, value) in [
            ("program", PROGRAM.to_owned()),
            ("folder", folder.path().display().to_string()),
            ("plain_port", address.port().to_string()),
            ("tls_port", tls.port().to_string()),
            ("certificate", chain.display().to_string()),
            ("key", key.display().to_string()),
            ("hold", "true".to_owned()),
            ("first_retry_s", "1".to_owned()),
        ] {
            text = text.replace(&format!("{{{{{word}}}}}"), &value);
        }
        // What an administrator logs who wants to know.
        text = text.replacen("begin routers", "log_selector = +tls_cipher\n\nbegin routers", 1);
        let conf = folder.path().join("exim.conf");
        fs::write(&conf, text).expect("written");
        output(
            Command::new("chown")
                .args(["-R", "Debian-exim"])
                .args([&chain, &key])
                .args(["data", "log"].map(|name| folder.path().join(name))),
        );
        let process = Process::start(Command::new(PROGRAM).arg("-C").arg(&conf).arg("-bdf"));
        wait_listening("Exim", address);
        Exim { _process: process, folder, address }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log/mainlog")).unwrap_or_default()
    }
}

impl Drop for Exim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("Exim has logged:\n{}", self.log());
        }
    }
}
