//! Generator and sink against each other, over loopback.

mod accounts;
mod command_line;
mod encryption;
mod faults;
mod pace;
mod servers;

use std::path::{Path, PathBuf};

use clap::Parser;
use loadtest::{generate, sink};

#[derive(Parser)]
struct GenerateLine {
    #[command(flatten)]
    options: generate::Options,
}

#[derive(Parser)]
struct SinkLine {
    #[command(flatten)]
    options: sink::Options,
}

fn words<'a>(options: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    std::iter::once("ringload").chain(options.split_whitespace()).chain(more.iter().copied()).collect()
}

fn start(options: &str, more: &[&str]) -> sink::Sink {
    let line = SinkLine::try_parse_from(words(options, more)).expect("good options");
    sink::Sink::start(&line.options).expect("the sink starts")
}

fn generate(sink: &sink::Sink, options: &str, more: &[&str]) -> generate::Report {
    let to = format!("--to={}", sink.addresses()[0]);
    let more = [&[to.as_str()], more].concat();
    let line = GenerateLine::try_parse_from(words(options, &more)).expect("good options");
    generate::run(&line.options).expect("the load runs")
}

/// A folder of its own for a test's files.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder for the test"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("writes the file");
        path
    }
}

fn option(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}
