//! What the host lacks, with its remedy: at the start, while the server runs, and by `doctor`.

use std::io::{BufRead, BufReader};
use std::process::Command;

use crate::{RINGPOST, Server, configuration, err, out, ringpost};

/// A command with no more than `most` open files.
fn limited(most: u32) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={most}:{most}")).arg(RINGPOST);
    command
}

#[test]
fn too_few_open_files_are_told_with_their_remedy_at_the_start_and_when_they_run_out() {
    let (folder, file) = configuration();
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let text = std::fs::read_to_string(&file).expect("the file").replace("127.0.0.1:0", &port.to_string());
    std::fs::write(&file, text).expect("written");
    let refused = limited(100).args(["serve", "-c"]).arg(&file).output().expect("it runs");
    assert_eq!(refused.status.code(), Some(1), "{}", err(&refused));
    let begin = "ringpost: error: 100 files may be open, and all allowed connections need ";
    assert!(err(&refused).starts_with(begin) && err(&refused).contains(": set LimitNOFILE="), "{}", err(&refused));
    assert!(!folder.path().join("data").exists(), "nothing was begun");

    let doctor = limited(300).args(["doctor", "-c"]).arg(&file).output().expect("it runs");
    assert!(out(&doctor).contains("warning  300 files may be open"), "{}", out(&doctor));
    let mut command = limited(300);
    command.args(["serve", "-c"]).arg(&file);
    let mut server = Server::run(command);
    let mut connections = Vec::new();
    // A few more than there can be; most of the 300 are for them.
    while connections.len() < 310 {
        connections.push(std::net::TcpStream::connect(port).expect("the kernel takes it"));
    }
    let told = server.wait_for("Too many open files");
    assert!(told.contains("event=trouble") && told.contains("set a larger LimitNOFILE in the systemd unit"), "{told}");
    drop(connections);
    let mut greeted = BufReader::new(std::net::TcpStream::connect(port).expect("connected"));
    let mut greeting = String::new();
    greeted.read_line(&mut greeting).expect("it is greeted once there is room");
    assert!(greeting.starts_with("220 "), "{greeting}");
}

/// On a terminal a remedy stands below its problem.
#[test]
fn warnings_at_the_start_are_readable_on_a_terminal() {
    let (_folder, file) = configuration();
    let shown = Command::new("script")
        .args(["-qec", &format!("prlimit --nofile=100:100 {RINGPOST} serve -c {}", file.display()), "/dev/null"])
        .output()
        .expect("script runs");
    let shown = out(&shown).replace('\r', "");
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("ringpost: error: 100 files may be open") && lines[0].len() < 100, "{shown}");
    assert!(lines[1].starts_with("         -> set LimitNOFILE="), "{shown}");
}

#[test]
fn doctor_tells_what_is_wrong_and_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ringpost.toml");
    let toml = "[server]\nhostname = \"mta\"\ndata_dir = \"data\"\nshards = 1\n[dns]\nservers = \
                [\"127.0.0.1:1\"]\n[[listener]]\nkind = \"relay\"\naddress = \"192.0.2.1:25\"\ntls = \"off\"\n\
                networks = [\"127.0.0.0/8\"]\n";
    std::fs::write(&file, toml).expect("written");
    let done = ringpost(&["doctor"], &file);
    assert_eq!(done.status.code(), Some(1), "nobody answers at the DNS server, and the address is none of this host");
    let said = String::from_utf8(done.stdout.clone()).expect("UTF-8");
    for expected in [
        "ok       io_uring works",
        "ok       the limits of locked memory and open files suffice",
        "error    192.0.2.1:25 cannot be listened on",
        "error    the EHLO name mta is not a full name",
        "error    DNS does not answer",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let complaints = said.lines().filter(|line| line.starts_with("error ") || line.starts_with("warning "));
    assert_eq!(complaints.count(), said.matches("         -> ").count(), "{said}");
    assert!(err(&done).contains("3 things must be mended"), "{}", err(&done));
}
