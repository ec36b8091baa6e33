//! Takes one path as often as it is told, for instruments that count from outside: `hot-path server-session 1000`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let times = arguments.next().and_then(|times| times.parse::<u64>().ok());
    let path = bench::PATHS.iter().find(|path| path.name == name);
    let (Some(path), Some(times)) = (path, times) else {
        let names: Vec<&str> = bench::PATHS.iter().map(|path| path.name).collect();
        eprintln!("usage: hot-path PATH TIMES, where PATH is one of {}", names.join(", "));
        return ExitCode::from(2);
    };
    let mut run = (path.prepare)();
    (0..times).for_each(|_| run());
    ExitCode::SUCCESS
}
