//! A client that speaks nothing newer than TLS 1.1 is told so, and one that speaks TLS 1.2 or 1.3 is served.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::server::{Server, Setup};
use crate::harness::{Process, free_address, wait_listening};

/// OpenSSL's client, confined to one version; what it says, and whether the handshake came about.
fn handshake(address: SocketAddr, starttls: bool, version: &str) -> (String, bool) {
    let mut client = Command::new("openssl");
    client.args(["s_client", "-brief", "-connect", &address.to_string(), version]);
    // Without it OpenSSL itself would not offer versions that old.
    client.args(["-cipher", "DEFAULT@SECLEVEL=0"]);
    if starttls {
        client.args(["-starttls", "smtp"]);
    }
    let output = client.stdin(Stdio::null()).output().expect("openssl runs");
    let said = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&said).into_owned(), output.status.success())
}

#[test]
fn on_both_submission_ports() {
    let server = Server::start(&Setup::relay_to(free_address()));
    for (address, starttls) in [(server.submissions, false), (server.submission, true)] {
        for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
            let (said, served) = handshake(address, starttls, version);
            assert!(served && said.contains(&format!("Protocol version: {name}")), "{version}:\n{said}");
        }
        for version in ["-tls1", "-tls1_1"] {
            let (said, served) = handshake(address, starttls, version);
            assert!(!served && said.contains("SSL alert number"), "{version}:\n{said}");
        }
    }
    // It is not the client's fault: a server that speaks these versions serves it.
    for (version, name) in [("-tls1", "TLSv1"), ("-tls1_1", "TLSv1.1")] {
        let address = free_address();
        let _old = old_server(address, version, server.folder.path());
        let (said, served) = handshake(address, false, version);
        assert!(served && said.contains(&format!("Protocol version: {name}\n")), "{version}:\n{said}");
    }
}

/// OpenSSL's server, confined to one version, with our server's certificate.
fn old_server(address: SocketAddr, version: &str, folder: &Path) -> Process {
    let mut server = Command::new("openssl");
    server.args(["s_server", "-www", "-quiet", "-accept", &address.to_string(), version]);
    server.args(["-cipher", "DEFAULT@SECLEVEL=0", "-cert", "server.chain.pem", "-key", "server.key"]);
    server.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let server = Process::start(&mut server);
    wait_listening("openssl s_server", address);
    server
}
