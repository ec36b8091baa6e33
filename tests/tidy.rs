//! Style, executed. What a reader would otherwise have to watch for is checked here, and it may only get better: a
//! limit below is lowered when the tree allows it, and never raised.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of ARCHITECTURE.md.
const ARCHITECTURE_LINES_MAX: usize = 200;
/// Lines of a function, signature and braces included.
const FUNCTION_LINES_MAX: usize = 80;
/// Lines of a source file, unit tests and folders of tests left out.
const FILE_LINES_MAX: usize = 500;
/// Columns of a line of comment; rows of tables cannot be broken.
const COMMENT_COLUMNS_MAX: usize = 140;

/// What each module of the MTA may use of the others; what is not listed may not be used.
const MAY_USE: &[(&str, &[&str])] = &[
    ("smtp", &[]),
    // Phrases of [[reply]] are checked by whoever reads them, and are kept ready for use.
    ("config", &["bounce"]),
    ("message", &[]),
    ("assurance", &["config", "message"]),
    ("route", &["assurance", "config", "dns", "smtp"]),
    ("authentication", &["message"]),
    ("policy", &["config", "message", "smtp"]),
    ("preflight", &["authentication", "config", "message"]),
    ("bounce", &["message", "queue", "smtp"]),
    ("events", &["assurance", "config", "message", "queue", "smtp", "spool"]),
    ("spool", &["assurance", "bounce", "message", "queue", "smtp"]),
    ("queue", &["assurance", "authentication", "bounce", "config", "events", "message", "smtp", "spool"]),
    ("dns", &["assurance", "preflight"]),
    ("suppression", &["bounce", "config", "message", "queue", "smtp", "spool"]),
    ("screening", &["config", "dns", "events", "smtp"]),
    (
        "inbound",
        &[
            "authentication",
            "bounce",
            "config",
            "dns",
            "events",
            "message",
            "policy",
            "preflight",
            "queue",
            "screening",
            "smtp",
            "spool",
            "suppression",
        ],
    ),
    (
        "outbound",
        &[
            "assurance",
            "bounce",
            "config",
            "crossing",
            "dns",
            "events",
            "message",
            "queue",
            "route",
            "smtp",
            "suppression",
        ],
    ),
    (
        "crossing",
        &["assurance", "authentication", "bounce", "config", "inbound", "outbound", "queue", "spool", "suppression"],
    ),
    (
        "shard",
        &[
            "assurance",
            "authentication",
            "bounce",
            "config",
            "crossing",
            "dns",
            "events",
            "inbound",
            "outbound",
            "policy",
            "queue",
            "screening",
            "spool",
            "suppression",
        ],
    ),
];

/// Modules that compute only: no reactor, no clock, no file, no socket.
const PURE: &[&str] = &[
    "smtp",
    "assurance",
    "authentication",
    "message",
    "policy",
    "preflight",
    "route",
    "bounce",
    "suppression",
    "queue/describe.rs",
    "queue/lane.rs",
    "queue/schedule.rs",
    "queue/shares.rs",
    "queue/webhook/event.rs",
    "screening/block_list.rs",
    "screening/clamd.rs",
    "screening/finding.rs",
    "screening/health.rs",
    "screening/http.rs",
    "screening/rspamd.rs",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` that ends in `ending`, in a stable order.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("a folder's entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if path.is_dir() {
                if !["target", "node_modules", ".git"].contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The code before a file's unit tests.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text)
}

fn fail_with(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} complaint(s):\n{}", complaints.len(), complaints.join("\n"));
}

fn sources() -> Vec<PathBuf> {
    ["src", "shards/src", "loadtest/src", "bench", "fuzz", "tests"]
        .iter()
        .flat_map(|folder| files(&root().join(folder), ".rs"))
        .collect()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[test]
fn architecture_and_tree_agree() {
    let text = read(&root().join("ARCHITECTURE.md"));
    assert!(text.lines().count() <= ARCHITECTURE_LINES_MAX, "ARCHITECTURE.md has {} lines", text.lines().count());
    let mut complaints = Vec::new();
    let named: BTreeSet<&str> =
        text.split('`').skip(1).step_by(2).filter(|word| word.contains('/') || word.ends_with(".rs")).collect();
    for word in &named {
        let looks_like_path = word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
        let known = ["", "src", "shards/src", "loadtest/src"].iter().any(|base| root().join(base).join(word).exists());
        if looks_like_path && !word.starts_with('/') && !known {
            complaints.push(format!("ARCHITECTURE.md names `{word}`, which the tree lacks"));
        }
    }
    for base in ["src", "shards/src", "loadtest/src"] {
        for entry in fs::read_dir(root().join(base)).expect("a source folder") {
            let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
            let stem = name.trim_end_matches(".rs").to_owned();
            if !["lib", "main"].contains(&stem.as_str()) && !text.contains(&format!("`{base}/{stem}")) {
                complaints.push(format!("{base}/{name} is not named in ARCHITECTURE.md as `{base}/{stem}…`"));
            }
        }
    }
    fail_with(&complaints);
}

#[test]
fn modules_depend_one_way() {
    let mut complaints = Vec::new();
    for (module, may_use) in MAY_USE {
        for path in module_files(module) {
            let text = read(&path);
            for used in crate_paths(without_tests(&text)) {
                let is_module = MAY_USE.iter().any(|(name, _)| *name == used) || used == "control";
                if is_module && used != *module && !may_use.contains(&used.as_str()) {
                    complaints.push(format!("{}: `{module}` may not use `{used}`", shown(&path)));
                }
            }
        }
    }
    fail_with(&complaints);
}

fn module_files(module: &str) -> Vec<PathBuf> {
    let folder = root().join("src").join(module);
    if folder.is_dir() {
        // Tests stand outside: they may bring together what the modules keep apart.
        return files(&folder, ".rs").into_iter().filter(|path| !shown(path).contains("/tests/")).collect();
    }
    let file = if module.ends_with(".rs") { folder } else { folder.with_extension("rs") };
    vec![file]
}

/// The first segments after `crate::` in code.
fn crate_paths(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect())
        .collect()
}

#[test]
fn pure_modules_do_not_reach_for_the_world() {
    const DOORS: &[&str] = &[
        "Reactor",
        "std::fs",
        "std::process",
        "std::thread",
        "TcpStream",
        "UdpSocket",
        "libc::",
        "std::env",
        "glommio",
        "tokio",
    ];
    let mut complaints = Vec::new();
    for path in PURE.iter().flat_map(|module| module_files(module)) {
        let text = read(&path);
        for (number, line) in
            without_tests(&text).lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            for door in DOORS.iter().filter(|door| line.contains(*door)) {
                complaints.push(format!("{}:{}: a pure module uses {door}", shown(&path), number + 1));
            }
        }
    }
    fail_with(&complaints);
}

#[test]
fn only_the_ring_names_its_runtime() {
    let outside = sources()
        .into_iter()
        .filter(|path| !shown(path).starts_with("shards/src/ring") && !shown(path).starts_with("tests/tidy"));
    let complaints: Vec<_> = outside
        .filter(|path| {
            read(path).lines().any(|line| {
                !line.trim_start().starts_with("//") && (line.contains("glommio::") || line.contains("io_uring::"))
            })
        })
        .filter(|path| shown(path) != "shards/src/probe.rs" && shown(path) != "shards/src/launch.rs")
        .map(|path| format!("{}: only shards/src/ring may use glommio and io-uring", shown(&path)))
        .collect();
    fail_with(&complaints);
}

#[test]
fn functions_and_files_stay_readable() {
    let mut complaints = Vec::new();
    for path in sources() {
        let text = read(&path);
        let lines = without_tests(&text).lines().count();
        if lines > FILE_LINES_MAX && !shown(&path).contains("/tests/") {
            complaints.push(format!("{}: {lines} lines, at most {FILE_LINES_MAX}", shown(&path)));
        }
        for (start, length) in function_lengths(&text) {
            if length > FUNCTION_LINES_MAX {
                complaints.push(format!(
                    "{}:{start}: a function of {length} lines, at most {FUNCTION_LINES_MAX}",
                    shown(&path)
                ));
            }
        }
    }
    fail_with(&complaints);
}

#[test]
fn comments_can_be_read_without_scrolling() {
    let mut complaints = Vec::new();
    for path in sources() {
        let text = read(&path);
        let words = |line: &str| line.trim_start_matches(['/', '!']).trim_start().to_owned();
        for (number, line) in text.lines().enumerate() {
            let comment = line.trim_start();
            let columns = line.chars().count();
            if comment.starts_with("//") && !words(comment).starts_with('|') && columns > COMMENT_COLUMNS_MAX {
                let at = format!("{}:{}", shown(&path), number + 1);
                complaints.push(format!("{at}: a comment of {columns} columns, at most {COMMENT_COLUMNS_MAX}"));
            }
        }
    }
    fail_with(&complaints);
}

/// First line and length of every function: from its `fn` to the closing brace at the same indentation (rustfmt's).
fn function_lengths(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut lengths = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let words: Vec<&str> = code.split_whitespace().take(5).collect();
        let is_function = words.contains(&"fn") && !code.starts_with("//") && !code.contains("\"");
        if !is_function || code.ends_with(';') {
            continue;
        }
        let closing = format!("{}}}", " ".repeat(indent));
        if let Some(length) = lines[start..].iter().position(|line| *line == closing) {
            lengths.push((start + 1, length + 1));
        }
    }
    lengths
}

#[test]
fn names_and_comments_are_clean() {
    const BANNED_NAMES: &[&str] = &["common", "utils", "util", "helpers", "helper", "manager", "handler"];
    // Spelled in two halves, so that this file does not accuse itself.
    let notes = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
    ];
    let mut complaints = Vec::new();
    for path in sources() {
        let text = read(&path);
        let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if BANNED_NAMES.contains(&stem.as_str()) {
            complaints.push(format!("{}: say what it is about instead of `{stem}`", shown(&path)));
        }
        for (number, line) in text.lines().enumerate() {
            for note in notes.iter().filter(|note| line.contains(*note)) {
                complaints.push(format!("{}:{}: {note}", shown(&path), number + 1));
            }
            for name in BANNED_NAMES
                .iter()
                .filter(|name| line.trim_start().trim_start_matches("pub ").starts_with(&format!("mod {name}")))
            {
                complaints.push(format!("{}:{}: a module called {name}", shown(&path), number + 1));
            }
        }
    }
    fail_with(&complaints);
}

#[test]
fn every_dependency_has_its_reason() {
    let text = read(&root().join("Cargo.toml"));
    let section =
        text.split("[workspace.dependencies]").nth(1).and_then(|rest| rest.split("\n[").next()).expect("the section");
    let mut reason = false;
    let mut complaints = Vec::new();
    for line in section.lines().map(str::trim) {
        if line.starts_with('#') {
            reason = true;
        } else if line.is_empty() {
            reason = false;
        } else if !reason && !line.contains("path =") {
            complaints.push(format!("Cargo.toml: no reason stands before `{line}`"));
        }
    }
    fail_with(&complaints);
}
