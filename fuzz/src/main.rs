//! `fuzz`: runs every target for a while, from a seed that it prints.

use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs};

use fastrand::Rng;
use fuzz::{TARGETS, Target, corpus, mutate, target};

const USAGE: &str = "usage: fuzz [--seconds N] [--seed N] [TARGET…]     N seconds for each target
       fuzz --show TARGET SEED RUN                the input of a run, on standard output
       fuzz --input TARGET FILE                   runs one input";

/// Computing time of one input, of at most 64 KiB. A thousandth of it is usual: more means that work grows faster than input.
const RUN_MAX: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["--show", name, seed, run] => show(name, seed, run),
        ["--input", name, file] => one_input(name, file),
        _ => fuzz(&words),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("fuzz: {why}");
            ExitCode::FAILURE
        }
    }
}

fn wanted(name: &str) -> Result<&'static Target, String> {
    target(name).ok_or_else(|| {
        format!(
            "there is no target {name}; there are: {}",
            TARGETS.iter().map(|t| t.name).collect::<Vec<_>>().join(" ")
        )
    })
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is no number\n{USAGE}"))
}

fn fuzz(words: &[&str]) -> Result<(), String> {
    let (mut seconds, mut seed, mut targets) = (3, Rng::new().u64(..1 << 32), Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--seconds" => seconds = number(words.next().ok_or(USAGE)?)?,
            "--seed" => seed = number(words.next().ok_or(USAGE)?)?,
            word if word.starts_with('-') => return Err(USAGE.to_owned()),
            name => targets.push(wanted(name)?),
        }
    }
    if targets.is_empty() {
        targets.extend(TARGETS);
    }
    println!("SEED={seed}");
    for target in targets {
        search(target, seed, Duration::from_secs(seconds))?;
    }
    Ok(())
}

fn kept(target: &Target) -> Result<Vec<Vec<u8>>, String> {
    let inputs = corpus::inputs(target.name).map_err(|why| format!("the corpus of {}: {why}", target.name))?;
    Ok(inputs.into_iter().map(|(_, bytes)| bytes).collect())
}

/// The input of a run: of the kept ones, the seed and the number, and nothing else.
fn made(target: &Target, kept: &[Vec<u8>], seed: u64, run: u64) -> Vec<u8> {
    let kept: Vec<&[u8]> = kept.iter().map(Vec::as_slice).collect();
    mutate::input(&mut Rng::with_seed(seed.wrapping_mul(1 << 32).wrapping_add(run)), &kept, target.words)
}

#[expect(clippy::disallowed_methods, reason = "real time, for a tool that runs so long")]
fn search(target: &Target, seed: u64, time: Duration) -> Result<(), String> {
    let kept = kept(target)?;
    let begin = Instant::now();
    let mut run = 0;
    while begin.elapsed() < time {
        let input = made(target, &kept, seed, run);
        one(target, &input).map_err(|why| {
            format!(
                "{}: {why}\nto repeat it: fuzz --show {} {seed} {run} >FILE; fuzz --input {} FILE",
                target.name, target.name, target.name
            )
        })?;
        run += 1;
    }
    println!("{:14} {run:>8} runs from {} inputs", target.name, kept.len());
    Ok(())
}

fn one(target: &Target, input: &[u8]) -> Result<(), String> {
    let before = computed();
    // What the panic says stands on stderr already.
    std::panic::catch_unwind(|| (target.run)(input)).map_err(|_| "a promise was broken".to_owned())?;
    let took = computed().saturating_sub(before);
    if took > RUN_MAX {
        return Err(format!("{} bytes took {} ms", input.len(), took.as_millis()));
    }
    Ok(())
}

/// Computing time of this thread so far: what else runs on the machine does not count.
fn computed() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes to `time` alone.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn show(name: &str, seed: &str, run: &str) -> Result<(), String> {
    let target = wanted(name)?;
    let input = made(target, &kept(target)?, number(seed)?, number(run)?);
    std::io::Write::write_all(&mut std::io::stdout(), &input).map_err(|why| why.to_string())
}

fn one_input(name: &str, file: &str) -> Result<(), String> {
    let input = fs::read(file).map_err(|why| format!("{file}: {why}"))?;
    one(wanted(name)?, &input)
}
