//! What a running server was doing when its story failed: where its threads wait, its sockets, and what it counted of clients.
//! Nothing here fails: whoever asks is failing already.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// All of it, for people.
pub fn of(pid: u32, listeners: &[SocketAddr], control_socket: &Path) -> String {
    let mut text = String::from("threads (name: where it waits in the kernel):\n");
    for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let read = |name: &str| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
        let _ = writeln!(text, "  {}: {}", read("comm").trim(), read("wchan").trim());
    }
    let ports = listeners.iter().map(|address| format!("sport = :{}", address.port())).collect::<Vec<_>>().join(" or ");
    let sockets = said(Command::new("ss").args(["--tcp", "--all", "--numeric", "--options", "--extended", &ports]));
    let _ =
        writeln!(text, "sockets of its listeners (bytes that it has not read, and that the peer has not):\n{sockets}");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--max-time", "5", "--unix-socket"]).arg(control_socket).arg("http://localhost/metrics");
    for line in said(&mut curl).lines().filter(|line| line.starts_with("ringpost_inbound")) {
        let _ = writeln!(text, "  {line}");
    }
    text
}

fn said(command: &mut Command) -> String {
    match command.output() {
        Ok(output) => String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        Err(error) => error.to_string(),
    }
}
