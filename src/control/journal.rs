//! The journal's native protocol: an event as a datagram of fields.
//!
//! | field | is |
//! |---|---|
//! | `MESSAGE` | the line without its time and level |
//! | `PRIORITY` | the level's severity, as in syslog(3) |
//! | `SYSLOG_IDENTIFIER`, `SYSLOG_FACILITY` | `ringpost`, 2 (mail) |
//! | `RINGPOST_…` | each key of the line, in upper case; `id` is `RINGPOST_QUEUE_ID` |
//!
//! Values come whole, as they were said: one with line ends has its length before it, so nobody's words become a field.
//! Never: waits longer than [`PATIENCE`] for a journal that does not read.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::log::{Level, Target};
use crate::events::line;

/// Where the journal takes entries.
const SOCKET: &str = "/run/systemd/journal/socket";
/// How long an entry waits for room in the journal's socket, which holds some hundred.
const PATIENCE: Duration = Duration::from_millis(100);
/// syslog(3)'s LOG_MAIL.
const FACILITY_MAIL: u8 = 2;

/// The way to the journal.
pub struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    /// The journal of this machine, where the log goes there.
    ///
    /// # Errors
    /// The socket of our side could not be made.
    pub fn of(target: Target) -> io::Result<Option<Journal>> {
        let wanted = match target {
            Target::Journal => true,
            Target::Stderr => false,
            Target::Auto => stderr_is_a_stream_of_the_journal(),
        };
        wanted.then(|| Journal::at(Path::new(SOCKET))).transpose()
    }

    /// The journal that takes entries at `path`, now or later.
    pub(super) fn at(path: &Path) -> io::Result<Journal> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Journal { socket, path: path.to_owned() })
    }

    /// Sends one line of the log as an entry.
    ///
    /// # Errors
    /// Nobody is there, or has room in time.
    pub fn send(&self, line: &str) -> io::Result<()> {
        // Named each time: after a restart of the journal the same path is another socket.
        self.socket.send_to(&entry(line), &self.path).map(drop)
    }
}

/// $JOURNAL_STREAM names the device and inode of the stream that systemd connected (systemd.exec(5)).
fn stderr_is_a_stream_of_the_journal() -> bool {
    let ours = || {
        let file = std::fs::File::from(io::stderr().as_fd().try_clone_to_owned().ok()?);
        file.metadata().ok().map(|stderr| format!("{}:{}", stderr.dev(), stderr.ino()))
    };
    std::env::var("JOURNAL_STREAM").is_ok_and(|stream| ours() == Some(stream))
}

fn entry(line: &str) -> Vec<u8> {
    let mut entry = Vec::new();
    put(&mut entry, "MESSAGE", message(line));
    put(&mut entry, "SYSLOG_IDENTIFIER", env!("CARGO_PKG_NAME"));
    put(&mut entry, "SYSLOG_FACILITY", &FACILITY_MAIL.to_string());
    for (key, value) in line::fields(line) {
        if let ("level", Some(level)) = (key, Level::named(&value)) {
            put(&mut entry, "PRIORITY", &level.severity().to_string());
        }
        let name = if key == "id" { "QUEUE_ID".into() } else { key.to_ascii_uppercase() };
        put(&mut entry, &format!("RINGPOST_{name}"), &value);
    }
    entry
}

/// The line without time and level, which the journal shows by itself.
fn message(line: &str) -> &str {
    line.find("event=").map_or(line, |begin| &line[begin..]).trim_end_matches('\n')
}

fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of an entry, read as the journal reads them.
    fn read(mut entry: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        while !entry.is_empty() {
            let end = entry.iter().position(|byte| *byte == b'\n').expect("a line end");
            let (name, value);
            if let Some(is) = entry[..end].iter().position(|byte| *byte == b'=') {
                (name, value) = (&entry[..is], &entry[is + 1..end]);
                entry = &entry[end + 1..];
            } else {
                let (length, rest) = entry[end + 1..].split_first_chunk::<8>().expect("a length");
                let (content, rest) = rest.split_at(u64::from_le_bytes(*length).try_into().expect("a length"));
                (name, value) = (&entry[..end], content);
                entry = rest.strip_prefix(b"\n").expect("a line end");
            }
            fields.push((text(name), text(value)));
        }
        fields
    }

    #[test]
    fn a_line_becomes_fields() {
        let line =
            "time=2026-01-02T03:04:05.678Z level=warn event=failed shard=1 id=0010000000000a2f answer=\"550 no\"\n";
        let pairs = [
            ("MESSAGE", "event=failed shard=1 id=0010000000000a2f answer=\"550 no\""),
            ("SYSLOG_IDENTIFIER", "ringpost"),
            ("SYSLOG_FACILITY", "2"),
            ("RINGPOST_TIME", "2026-01-02T03:04:05.678Z"),
            ("PRIORITY", "4"),
            ("RINGPOST_LEVEL", "warn"),
            ("RINGPOST_EVENT", "failed"),
            ("RINGPOST_SHARD", "1"),
            ("RINGPOST_QUEUE_ID", "0010000000000a2f"),
            ("RINGPOST_ANSWER", "550 no"),
        ];
        assert_eq!(read(&entry(line)), pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_peers_words_become_no_field() {
        let said = "no\nPRIORITY=0\nRINGPOST_EVENT=delivered\n\u{1b}[2J\" event=delivered";
        let mut line = String::new();
        line::Line::new(&mut line).put("level", "info").put("event", "failed").put("answer", said).end();
        let fields = read(&entry(&line));
        let names: Vec<&str> = fields.iter().map(|field| &*field.0).collect();
        let expected = ["MESSAGE", "SYSLOG_IDENTIFIER", "SYSLOG_FACILITY", "PRIORITY"];
        assert_eq!(names, [&expected[..], &["RINGPOST_LEVEL", "RINGPOST_EVENT", "RINGPOST_ANSWER"]].concat());
        assert_eq!(fields[6].1, said, "it comes whole");
        assert!(!fields[0].1.contains(char::is_control), "and the message is one line: {}", fields[0].1);
    }

    #[test]
    fn an_entry_waits_for_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let journal = Journal::at(&path).expect("a socket");
        assert_eq!(journal.send("event=a\n").expect_err("nobody").kind(), io::ErrorKind::NotFound);
        let reader = UnixDatagram::bind(&path).expect("bound");
        // Nobody reads: it takes so many, and then none.
        let sent = (0..100_000).take_while(|n| journal.send(&format!("event=a n={n}\n")).is_ok()).count();
        assert!((1..100_000).contains(&sent), "{sent}");
        let mut bytes = [0; 1024];
        let length = reader.recv(&mut bytes).expect("an entry");
        assert_eq!(read(&bytes[..length])[0], ("MESSAGE".to_owned(), "event=a n=0".to_owned()));
        journal.send("event=a\n").expect("there is room again");
    }
}
