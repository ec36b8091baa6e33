//! A webhook's endpoint: Python's HTTP server, which verifies each request by itself.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{PATIENCE, Process, free_address, wait_for, wait_listening};

/// An endpoint; it ends with the story.
pub struct Receiver {
    process: Option<Process>,
    folder: PathBuf,
    name: &'static str,
    tls: bool,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Receiver {
    /// An endpoint of webhook `name` that does not listen yet. Secret and record lie in `folder`, as does the certificate.
    pub fn new(folder: &Path, name: &'static str, tls: bool) -> Receiver {
        Receiver { process: None, folder: folder.to_owned(), name, tls, address: free_address() }
    }

    /// The `[[webhook]]` that tells it, with `more` keys.
    pub fn section(&self, more: &str) -> String {
        let (scheme, ca) = if self.tls { ("https", "ca_file = \"ca.pem\"\n") } else { ("http", "") };
        let (name, address) = (self.name, self.address);
        format!(
            "[[webhook]]\nname = \"{name}\"\nurl = \"{scheme}://{address}/hook?key=s3cret\"\n\
             secret_file = \"{name}.secret\"\n{ca}{more}\n"
        )
    }

    /// Begins to listen.
    pub fn listen(&mut self) {
        let mut python = Command::new("python3");
        python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/webhook_receiver.py"));
        python.arg(self.address.port().to_string());
        python.arg(self.folder.join(format!("{}.secret", self.name))).arg(self.record());
        if self.tls {
            python.arg(self.folder.join("server.chain.pem")).arg(self.folder.join("server.key"));
        }
        self.process = Some(Process::start(&mut python));
        wait_listening("the endpoint", self.address);
    }

    /// Ceases to listen.
    pub fn stop(&mut self) {
        drop(self.process.take());
    }

    fn record(&self) -> PathBuf {
        self.folder.join(format!("{}.jsonl", self.name))
    }

    /// The requests so far, all of them genuine.
    pub fn requests(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.record()).unwrap_or_default();
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let requests: Vec<Value> = whole.map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert!(requests.iter().all(|request| request["refusal"].is_null()), "{requests:?}");
        requests
    }

    /// The events so far in the order of their arrival, each once.
    pub fn events(&self) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        for request in self.requests() {
            for event in request["events"].as_array().into_iter().flatten() {
                if !events.iter().any(|known| known["event"] == event["event"]) {
                    events.push(event.clone());
                }
            }
        }
        events
    }

    /// Waits until so many different events have come.
    pub fn wait(&self, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} event(s) at the endpoint"), PATIENCE, || {
            let events = self.events();
            (events.len() >= count).then_some(events)
        })
    }
}
