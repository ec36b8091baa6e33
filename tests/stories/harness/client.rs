//! Real mail software as it submits: the guide's example in a folder of its own, with our host, ports and credentials.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::server::{PASSWORD, Server, USER};
use super::{free_address, guide};

/// Whom every client writes to.
pub const RECIPIENT: &str = "recipient@sink.test";
/// Whom no account may send as.
pub const STRANGER: &str = "boss@elsewhere.test";
/// The end of every raw message: what careless software breaks.
pub const RAW_BODY: &str = "Hello,\n.a line that begins with a dot\n..two dots\nGrüße ✉\n\nlast line\n";

/// How a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Port 465.
    Implicit,
    /// Port 587.
    StartTls,
}

/// How a client composes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// `multipart/alternative` of text and HTML, as the guide's examples have them.
    Alternative,
    /// One text.
    Text,
    /// A message that it was given whole, which ends with [`RAW_BODY`].
    Raw,
}

/// A client: how to run it and what to expect.
pub struct Client {
    /// Its section of the guide; without one, a script of `tests/clients` takes its settings from the environment.
    pub section: Option<&'static str>,
    /// What runs it, in bash, in a folder with the example's files; `$CLIENTS` is `tests/clients`.
    pub run: &'static str,
    /// What it sends.
    pub content: Content,
    /// What to exchange in the example so that it sends as [`STRANGER`].
    pub foreign: &'static [(&'static str, &'static str)],
    /// What to exchange in the example so that it shows the server's words.
    pub tells: &'static [(&'static str, &'static str)],
    /// What it says about a wrong password, in lower case.
    pub wrong_password: &'static str,
    /// What it says about a foreign From besides naming the addresses, in lower case.
    pub foreign_from: &'static str,
    /// What it says about a certificate that it does not trust, in lower case.
    pub untrusted: &'static str,
}

/// One use of a client.
pub struct Attempt {
    /// Which port.
    pub tls: Tls,
    /// Whether it trusts the server's authority.
    pub trusting: bool,
    /// The password that it gives.
    pub password: &'static str,
    /// Whether it sends as [`STRANGER`].
    pub foreign: bool,
}

impl Attempt {
    /// One that should succeed.
    pub fn over(tls: Tls) -> Self {
        Self { tls, trusting: true, password: PASSWORD, foreign: false }
    }
}

impl Client {
    /// Runs it against `server`; everything it printed, and its exit status at the end.
    pub fn send(&self, server: &Server, attempt: &Attempt) -> String {
        let folder = tempfile::Builder::new().prefix("ringpost-client-").tempdir().expect("a folder");
        for (name, content) in self.files(server, attempt) {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(&path, content).expect("written");
        }
        let mut command = self.command(server, attempt);
        let output = command.current_dir(&folder).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let said = [output.stdout, output.stderr].concat();
        format!("{}\n{}", String::from_utf8_lossy(&said), output.status)
    }

    /// The example's files (and a message for those that take one), adapted.
    fn files(&self, server: &Server, attempt: &Attempt) -> Vec<(String, String)> {
        let Some(section) = self.section else { return Vec::new() };
        let example = guide::example(section);
        let mut exchanges: Vec<(String, String)> = Vec::new();
        let own = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect::<Vec<_>>()
        };
        exchanges.extend(own(self.tells));
        if attempt.foreign {
            exchanges.extend(own(self.foreign));
        }
        if attempt.tls == Tls::StartTls {
            exchanges.extend(example.starttls);
        }
        let mut files = example.files;
        files.push(("message.eml".into(), raw_message("app@example.org")));
        for (from, to) in &exchanges {
            assert!(files.iter().any(|(_, content)| content.contains(from)), "{section} holds no {from:?}");
            files.iter_mut().for_each(|(_, content)| *content = content.replace(from, to));
        }
        let places = places(server, attempt);
        files.into_iter().map(|(name, content)| (name, settled(&content, &places))).collect()
    }

    fn command(&self, server: &Server, attempt: &Attempt) -> Command {
        const SECONDS_MAX: &str = "180";
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let authority = server.folder.path().join("ca.pem");
        let port = match attempt.tls {
            Tls::Implicit => server.submissions.port(),
            Tls::StartTls => server.submission.port(),
        };
        let from = if attempt.foreign { STRANGER } else { USER };
        let mut command = Command::new("timeout");
        command
            .args([SECONDS_MAX, "bash", "-euo", "pipefail", "-c", self.run])
            .env("CLIENTS", &clients)
            .env("NODE_PATH", clients.join("node_modules"))
            .env("PYTHONPATH", clients.join("python_modules"))
            .env("SMTP_HOST", "localhost")
            .env("SMTP_PORT", port.to_string())
            .env("SMTP_TLS", if attempt.tls == Tls::Implicit { "implicit" } else { "starttls" })
            .env("SMTP_USER", USER)
            .env("SMTP_PASSWORD", attempt.password)
            .env("SMTP_FROM", from)
            .env("SMTP_TO", RECIPIENT)
            .env("SMTP_CA", if attempt.trusting { authority.as_path() } else { Path::new("") })
            .env("SMTP_MESSAGE", raw_message(from).replace('\n', "\r\n"));
        if attempt.trusting {
            for variable in ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE"] {
                command.env(variable, &authority);
            }
        }
        command
    }
}

/// What stands in the guide, and our host, ports, credentials and authority for it.
fn places(server: &Server, attempt: &Attempt) -> [(&'static str, String); 8] {
    let system = "/etc/ssl/certs/ca-certificates.crt";
    let authority = server.folder.path().join("ca.pem").display().to_string();
    [
        ("smtp.example.org", "localhost".into()),
        ("465", server.submissions.port().to_string()),
        ("587", server.submission.port().to_string()),
        ("3000", free_address().port().to_string()),
        ("app@example.org", USER.into()),
        ("your-password", attempt.password.into()),
        ("recipient@example.net", RECIPIENT.into()),
        (system, if attempt.trusting { authority } else { system.into() }),
    ]
}

/// Exchanges every place in one pass, so that nothing exchanged is exchanged again.
fn settled(content: &str, places: &[(&str, String)]) -> String {
    let mut settled = String::new();
    let mut rest = content;
    while let Some(next) = rest.chars().next() {
        let place = places.iter().find(|(place, _)| rest.starts_with(place));
        let taken = place.map_or(next.len_utf8(), |(place, _)| place.len());
        settled.push_str(place.map_or(&rest[..taken], |(_, ours)| ours));
        rest = &rest[taken..];
    }
    settled
}

fn raw_message(from: &str) -> String {
    format!(
        "From: {from}\nTo: {RECIPIENT}\nSubject: raw\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\
         Content-Transfer-Encoding: 8bit\n\n{RAW_BODY}"
    )
}
