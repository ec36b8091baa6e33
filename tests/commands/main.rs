//! The commands as their users meet them: the real program, its output and its exit codes.

mod configuration;
mod host;
mod running;
mod without_a_server;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

const RINGPOST: &str = env!("CARGO_BIN_EXE_ringpost");

fn ringpost(arguments: &[&str], config: &Path) -> Output {
    Command::new(RINGPOST).args(arguments).arg("-c").arg(config).output().expect("the program runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder with a configuration whose one listener has a port of its own.
fn configuration() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("ringpost.toml");
    let text = "[server]\nhostname = \"mta.example.org\"\ndata_dir = \"data\"\nshards = 1\n\n[[listener]]\nkind = \"relay\"\n\
                address = \"127.0.0.1:0\"\ntls = \"off\"\nnetworks = [\"127.0.0.0/8\"]\n";
    std::fs::write(&file, text).expect("a file");
    (folder, file)
}

/// A running server and its log.
struct Server {
    process: Child,
    log: BufReader<ChildStderr>,
}

impl Server {
    fn start(config: &Path, more: &[&str]) -> Server {
        let mut command = Command::new(RINGPOST);
        command.args(["serve", "-c"]).arg(config).args(more);
        Server::run(command)
    }

    fn run(mut command: Command) -> Server {
        let mut process = command.stderr(Stdio::piped()).spawn().expect("the program runs");
        let log = BufReader::new(process.stderr.take().expect("a pipe"));
        let mut server = Server { process, log };
        server.wait_for("event=ready");
        server
    }

    /// Reads the log up to a line with `words`.
    fn wait_for(&mut self, words: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.log.read_line(&mut line).expect("the log");
            assert!(read > 0, "the server ended before it said {words}");
            if line.contains(words) {
                return line;
            }
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.process.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
