//! `ringload`: the command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use loadtest::{Failure, generate, report, run, sink, verify};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Loads SMTP servers, receives what they send, and counts what was lost.
#[derive(Parser)]
#[command(name = "ringload", version, after_help = "Exit codes: 0 done, 1 it failed, 2 wrong usage.")]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Generate(generate::Options),
    Sink(sink::Options),
    Verify(verify::Options),
    Run(run::Options),
    Compare(run::compare::Options),
    Report(report::Options),
}

fn main() -> ExitCode {
    let done = match Line::parse().command {
        Command::Generate(options) => generate::main(&options),
        Command::Sink(options) => sink::main(&options),
        Command::Verify(options) => verify::main(&options),
        Command::Run(options) => run::main(&options),
        Command::Compare(options) => run::compare::main(&options),
        Command::Report(options) => report::main(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("ringload: {failure}");
            match failure {
                Failure::Failed(_) => ExitCode::from(1),
                Failure::Usage(_) => ExitCode::from(2),
            }
        }
    }
}
