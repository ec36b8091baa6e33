//! The disk of the queue runs full: new messages are put off, nothing is lost, delivery goes on, and when space comes
//! back so does acceptance, without a restart.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::mailbox::Mailbox;
use crate::harness::server::{Server, Setup};
use crate::harness::smtp::Client;
use crate::harness::{PATIENCE, output, wait_for};

/// Acceptance begins again this soon after space has come back.
const RECOVERY_MAX: Duration = Duration::from_secs(10);

/// A small ext4 of its own, in a file.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn new(mebibytes: u64) -> Self {
        let folder = tempfile::Builder::new().prefix("ringpost-disk-").tempdir().expect("a folder");
        let image = folder.path().join("image");
        fs::File::create(&image).and_then(|file| file.set_len(mebibytes << 20)).expect("an image");
        output(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image));
        let disk = Self { folder };
        fs::create_dir(disk.path()).expect("a mount point");
        output(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(disk.path()));
        disk
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn fill(file: &Path) {
    // dd ends with an error when the disk is full, which is what it is for here.
    let _ = Command::new("dd")
        .args(["if=/dev/zero", "bs=4k", "status=none"])
        .arg(format!("of={}", file.display()))
        .output();
}

/// Offers a message; the reply to the first command that is refused, or to the final dot.
fn offer(client: &mut Client, recipient: &str, body: &str) -> String {
    let reply = client.say("MAIL FROM:<a@sender.test>");
    if !reply.starts_with("250") {
        return reply;
    }
    client.expect(&format!("RCPT TO:<{recipient}>"), "250");
    client.expect("DATA", "354");
    client.send(body.as_bytes());
    client.say(".")
}

#[test]
fn of_what_was_acknowledged() {
    let disk = SmallDisk::new(128);
    let mailbox = Mailbox::open();
    let setup = Setup {
        data: Some(disk.path().join("data")),
        arguments: vec!["--hold".into()],
        ..Setup::relay_to(mailbox.address)
    };
    let server = Server::start(&setup);
    let body = format!(
        "Subject: big\r\n\r\n{}",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n".repeat(1024)
    );
    let mut client = Client::greet(server.relay);

    let mut accepted = 0;
    let ballast = disk.path().join("ballast");
    client.submit("a@sender.test", &["b0@sink.test"], &body);
    accepted += 1;
    fill(&ballast);
    let refusal = loop {
        assert!(accepted < 4000, "it never ran full");
        let reply = offer(&mut client, &format!("b{accepted}@sink.test"), &body);
        if !reply.starts_with("250") {
            break reply;
        }
        accepted += 1;
    };
    assert!(refusal.starts_with("452 4.3.1"), "{refusal}");
    assert_eq!(server.queued(), accepted as u64);

    server.queue(&["release", "--all"]);
    let received = mailbox.wait(accepted);
    assert_eq!(received.len(), accepted, "delivery goes on");
    for message in &received {
        assert!(message.content.ends_with(&body.as_bytes()[body.len() - 66..]), "whole");
    }
    server.wait_empty(PATIENCE);

    fs::remove_file(&ballast).expect("space comes back");
    let begin = Instant::now();
    // A command alone says little: what fits is known when the message has come.
    wait_for("acceptance without a restart", PATIENCE, || {
        offer(&mut client, "after@sink.test", &body).starts_with("250").then_some(())
    });
    assert!(begin.elapsed() < RECOVERY_MAX, "it took {:?}", begin.elapsed());
    let received = mailbox.wait(accepted + 1);
    assert_eq!(received.len(), accepted + 1, "what was refused is not delivered");
    server.wait_empty(PATIENCE);
}
