//! Instructions of the hot paths, counted by callgrind: a gate that a busy machine cannot move.
//!
//! `instructions.txt` holds what each path takes. A path may take 5 % more, or a few instructions where it is short; one
//! that takes as much less has become cheaper, and the file is to say so. Other compilers give other counts: `UPDATE=1
//! cargo test -p bench` writes the file anew, and the diff is part of the change that caused it.

#![allow(missing_docs, reason = "the tests' names and bodies are the documentation")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs between the two that are compared: start-up and set-up cancel out.
const TIMES: u64 = 200;
const CHANGE_PERCENT_MAX: i64 = 5;
/// What inlining moves even where nothing was changed.
const CHANGE_MIN: i64 = 100;

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The program as users' builds have it: optimised.
fn hot_path() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--workspace", "--bins", "--quiet"])
        .current_dir(here(""))
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the release build failed");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| here("../target"), PathBuf::from);
    target.join("release/hot-path")
}

/// Instructions of the whole program.
fn instructions(program: &Path, path: &str, times: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([path, &times.to_string()])
        .output()
        .expect("valgrind runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{path}: {said}");
    let collected = said.lines().find_map(|line| line.split("Collected : ").nth(1));
    collected.and_then(|count| count.trim().parse().ok()).unwrap_or_else(|| panic!("{path}: no count in {said}"))
}

/// By how much a count may move.
fn allowed(before: i64) -> i64 {
    (before * CHANGE_PERCENT_MAX / 100).max(CHANGE_MIN)
}

fn known(text: &str) -> BTreeMap<&str, i64> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (path, count) = line.split_once(' ').expect("a path and its count");
            (path, count.trim().parse().expect("a number"))
        })
        .collect()
}

#[test]
fn no_hot_path_has_become_dearer() {
    let program = hot_path();
    let file = here("instructions.txt");
    let text = std::fs::read_to_string(&file).expect("instructions.txt");
    let known = known(&text);
    let mut complaints = Vec::new();
    let mut counted = String::from("# Instructions each time the path is taken; see tests/instructions.rs.\n");
    for path in bench::PATHS {
        let [few, many] = [1, 1 + TIMES].map(|times| instructions(&program, path.name, times));
        let each = i64::try_from((many - few) / TIMES).expect("a count");
        let _ = writeln!(counted, "{} {each}", path.name);
        println!("{}: {each} instructions", path.name);
        match known.get(path.name) {
            Some(before) if each - before > allowed(*before) => {
                complaints.push(format!("{}: {each} instructions, {before} before", path.name));
            }
            Some(before) if before - each > allowed(*before) => {
                complaints.push(format!("{}: {each} instructions are less than {before}: keep it", path.name));
            }
            Some(_) => {}
            None => complaints.push(format!("{}: {each} instructions, not in the file", path.name)),
        }
    }
    if std::env::var_os("UPDATE").is_some() {
        return std::fs::write(&file, counted).expect("written");
    }
    assert!(complaints.is_empty(), "UPDATE=1 writes the file anew\n{}", complaints.join("\n"));
}
