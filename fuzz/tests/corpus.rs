//! Replays every input that is kept: what once was found stays found.

use fuzz::{TARGETS, corpus};

/// Bytes of a kept input, and inputs of a target: a corpus is read by people too, and runs in every check.
const BYTES_MAX: u64 = 64 * 1024;
const INPUTS_MAX: usize = 800;

#[test]
fn every_kept_input_is_taken() {
    for target in TARGETS {
        let inputs = corpus::inputs(target.name).unwrap_or_else(|why| panic!("{}: {why}", target.name));
        assert!(!inputs.is_empty() && inputs.len() <= INPUTS_MAX, "{}: {} inputs", target.name, inputs.len());
        for (file, bytes) in inputs {
            assert!(bytes.len() as u64 <= BYTES_MAX, "{} is too large", file.display());
            let ran = std::panic::catch_unwind(|| (target.run)(&bytes));
            assert!(ran.is_ok(), "{} {}", target.name, file.display());
        }
    }
}

#[test]
fn every_folder_belongs_to_a_target() {
    let folders = std::fs::read_dir(corpus::folder("")).expect("the corpora");
    for folder in folders {
        let name = folder.expect("a folder").file_name();
        assert!(TARGETS.iter().any(|target| *target.name == *name), "{name:?}");
    }
}
