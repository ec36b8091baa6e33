//! The `ringpost` command: parse, call, exit code.

use std::process::ExitCode;

use clap::Parser;
use ringpost::control::commands::CommandLine;

/// Thread-local heaps fit a thread per core.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match CommandLine::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
