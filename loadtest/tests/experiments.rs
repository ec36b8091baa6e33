//! `ringload run` with a real server in the middle, a little of everything.

#![allow(missing_docs, reason = "the tests' names and bodies are the documentation")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use loadtest::run::{Run, Scenario};

/// The release build of Ringpost.
fn ringpost() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let words = ["build", "--release", "--package", "ringpost", "--bins", "--quiet"];
        let built = Command::new(cargo).args(words).current_dir(root).status().expect("cargo runs");
        assert!(built.success(), "the release build failed");
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        target.join("release/ringpost")
    })
}

fn ringload(words: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringload"));
    command.arg("run").args(words).arg("--out").arg(folder).arg("--ringpost").arg(ringpost());
    command.output().expect("ringload runs")
}

fn run(words: &[&str], folder: &Path) -> Run {
    let output = ringload(words, folder);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}\n{}", String::from_utf8_lossy(&output.stdout));
    Run::load(folder).expect("its record")
}

fn figure(run: &Run, step: &str, figure: &str) -> f64 {
    run.servers[0].spread(step, figure).unwrap_or_else(|| panic!("{step} has no {figure}")).median
}

#[test]
fn a_relay_is_measured_and_every_message_accounted_for() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let folder = folder.path().join("run");
    let run = run(&["relay", "--scale", "0.01", "--repeat", "2"], &folder);

    let repetitions = &run.servers[0].repetitions;
    assert_eq!(repetitions.len(), 2);
    for repetition in repetitions {
        let account = &repetition.account;
        assert_eq!((account.accepted, account.received, account.lost, account.queued), (480, 480, 0, 0), "{account:?}");
        assert_eq!(repetition.sinks["sink"]["delivery_ms"]["count"], 480);
        let samples = std::fs::read_to_string(folder.join(&repetition.folder).join("samples.csv")).expect("samples");
        assert!(samples.lines().count() > 4, "{samples}");
        assert!(!folder.join(&repetition.folder).join("server/data").exists(), "the queue is gone");
    }
    assert_eq!(figure(&run, "relay", "messages"), 400.0);
    assert!(figure(&run, "relay", "flushes_per_message") > 0.0);
    assert!(figure(&run, "relay", "dot_p99_ms") >= figure(&run, "relay", "dot_p50_ms"));
    assert!(figure(&run, "relay-100k", "written_bytes_per_message") > 100.0 * 1024.0);
    assert!(figure(&run, "relay", "memory_peak_bytes") > 0.0);
    assert!(run.machine.cores > 0 && run.servers[0].version.starts_with("ringpost "));
    assert!(folder.join("summary.json").exists());
    the_page_holds_everything(&folder);
}

fn the_page_holds_everything(folder: &Path) {
    let other = folder.with_extension("html");
    let mut report = Command::new(env!("CARGO_BIN_EXE_ringload"));
    let output = report.arg("report").arg(folder).arg("--html").arg(&other).output().expect("ringload runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("messages per server CPU-second") && said.contains("480 accepted"), "{said}");
    let page = std::fs::read_to_string(&other).expect("the page");
    assert!(folder.join("report.html").exists(), "the page that the run has made");
    for part in ["Server CPU per message", "Latency: ", "Messages per second", "Server memory", "Queued recipients"] {
        assert!(page.contains(&format!("<figcaption>{part}")), "{part}");
    }
    assert!(page.contains("0 lost</b>") && page.contains("relay-100k"));
    for foreign in ["http:", "https:", "<script", "@import", "url("] {
        assert!(!page.contains(foreign), "the page asks for nothing: {foreign}");
    }
    let opened = page.matches("<figure").count();
    assert_eq!(
        (opened, page.matches("<svg").count()),
        (page.matches("</figure>").count(), page.matches("</svg>").count())
    );
}

#[test]
fn what_is_held_over_restarts_is_delivered_in_the_end() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let run = run(&["restart", "--scale", "0.002", "--repeat", "1"], &folder.path().join("run"));
    let account = &run.servers[0].repetitions[0].account;
    assert_eq!((account.accepted, account.received, account.lost), (2000, 2000, 0), "{account:?}");
    assert_eq!(figure(&run, "kill", "queued"), 2000.0);
    assert!(figure(&run, "kill", "start_s") > 0.0 && figure(&run, "stop", "memory_bytes_per_queued").is_finite());
    assert!(figure(&run, "drain", "messages_per_second") > 0.0);
}

#[test]
fn a_lost_reply_after_the_dot_is_seen_as_a_duplicate() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let scenario = folder.path().join("lost-reply.toml");
    let text = "title = \"A lost 250\"\nabout = \"A\"\nretry_s = [1]\n\n[[sink]]\nname = \"s\"\ndomains = [\"sink.test\"]\n\
                script = \"[[fault]]\\nat = 'dot'\\ntimes = 3\\ndrop = true\\naccept = true\\n\"\n\n\
                [[step]]\nname = \"load\"\nload = \"--messages 50\"\nuntil = \"delivered\"\n";
    std::fs::write(&scenario, text).expect("written");
    let name = scenario.display().to_string();
    let run = run(&[&name, "--repeat", "1"], &folder.path().join("run"));
    let account = &run.servers[0].repetitions[0].account;
    assert_eq!((account.accepted, account.lost, account.duplicated), (50, 0, 3), "{account:?}");
}

#[test]
fn servers_are_compared_in_turn() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("its mode");
    let out = folder.path().join("run");
    let mut compare = Command::new(env!("CARGO_BIN_EXE_ringload"));
    compare.args(["compare", "accept-keep", "relay", "--servers", "ringpost,postfix", "--scale", "0.01"]);
    compare.args(["--repeat", "2", "--ringpost"]).arg(ringpost()).arg("--out").arg(&out);
    let output = compare.output().expect("ringload runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("how many times as good ringpost is") && said.contains("postfix"), "{said}");

    let text = std::fs::read_to_string(out.join("ratios.json")).expect("the ratios");
    let ratios: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let rows = ratios[1]["rows"].as_array().expect("rows");
    let row = rows.iter().find(|row| row["step"] == "relay" && row["figure"] == "messages_per_cpu_second");
    let row = row.expect("the figure of merit");
    let (own, other) = (&row["value"], &row["others"]["postfix"]);
    let ratio = other["times_as_good"]["median"].as_f64().expect("a ratio");
    assert!(ratio > 0.0 && own["median"].as_f64() > Some(0.0) && other["value"]["median"].as_f64() > Some(0.0));
    let run = Run::load(&out.join("relay")).expect("the record of one of them");
    assert_eq!(run.servers.iter().map(|server| server.repetitions.len()).collect::<Vec<_>>(), [2, 2]);
    let page = std::fs::read_to_string(out.join("report.html")).expect("the page");
    assert!(page.contains("How many times as good ringpost is") && page.contains("Accepting over kept-alive sessions"));

    let again = compare.output().expect("ringload runs");
    assert_eq!(again.status.code(), Some(2), "a folder that exists is not written to");
    let mut alone = Command::new(env!("CARGO_BIN_EXE_ringload"));
    let output = alone.args(["compare", "relay", "--servers", "ringpost,ringpost"]).output().expect("ringload runs");
    assert_eq!(output.status.code(), Some(2), "nobody is compared with himself");
}

#[test]
fn mistakes_are_exit_code_2_with_their_line() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let scenario = folder.path().join("wrong.toml");
    std::fs::write(&scenario, "title = \"T\"\nabout = \"A\"\n[[step]]\nname = \"a\"\nload = \"--mesages 1\"\n")
        .expect("written");
    let name = scenario.display().to_string();
    for (words, what) in [([name.as_str()], "wrong.toml:3: "), (["nowhere"], "accept-keep, ")] {
        let output = ringload(&words, &folder.path().join("run"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(what), "{said}");
    }
    let output = ringload(&["relay"], folder.path());
    assert_eq!(output.status.code(), Some(2), "a folder that exists is not written to");
    let list = ringload(&["--list"], &folder.path().join("run"));
    let list = String::from_utf8_lossy(&list.stdout);
    assert!(Scenario::names().all(|name| list.contains(name)), "{list}");
}
