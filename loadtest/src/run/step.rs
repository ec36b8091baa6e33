//! The steps of a scenario, each with the figures that it gives.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::flush_calls::FlushCalls;
use super::record::StepResult;
use super::scenario::{Action, Step};
use super::stage::{Moment, Stage};
use super::{own_program, place};
use crate::Failure;
use crate::clock::{self, Stopwatch};
use crate::series::Series;
use crate::server::process::Process;
use crate::server::{Door, FLUSHES};

/// How long a generator may take to end once it was told to.
const END_PATIENCE: Duration = Duration::from_secs(60);
/// How long idle connections are left alone before the server's memory is read.
const SETTLE: Duration = Duration::from_millis(1500);
/// Queued recipients below which a share of memory for each says nothing.
const QUEUED_MIN: f64 = 1000.0;

type Figures = BTreeMap<String, f64>;

/// Runs a step and measures it.
pub(super) fn run(stage: &mut Stage, step: &Step) -> Result<StepResult, Failure> {
    stage.peak_bytes = 0.0;
    let counted = stage.path(&format!("flushes-{}", step.name));
    let flush_calls = FlushCalls::start(stage.server.group(), &stage.file_system, counted);
    let before = stage.look()?;
    let mut figures = Figures::new();
    let load = match &step.action {
        Action::Load(words) => Some(load(stage, step, words)?),
        Action::Idle(words) => {
            idle(stage, step, words, &before, &mut figures)?;
            None
        }
        Action::Restart { kill } => {
            restart(stage, *kill, &mut figures)?;
            None
        }
        Action::Release => {
            stage.server.release()?;
            None
        }
    };
    if step.delivered {
        let what = format!("step `{}`: delivery", step.name);
        stage.watch(&what, step.patience, |stage| Ok(stage.server.queued()? == 0))?;
    }
    let after = stage.look()?;
    let flush_calls = flush_calls.and_then(FlushCalls::stop);
    let mut ended_ms = after.unix_ms;
    match (&load, &step.action) {
        (Some(report), _) => {
            if step.delivered {
                ended_ms = arrival_of_last(stage, &before)?.unwrap_or(ended_ms);
            }
            let seconds = if step.delivered { seconds(&before, ended_ms) } else { number(report, "seconds") };
            work(&mut figures, &before, &after, number(report, "accepted"), seconds);
            of_load(&mut figures, report);
        }
        (None, Action::Release) => {
            ended_ms = arrival_of_last(stage, &before)?.unwrap_or(ended_ms);
            let messages = before.queued - after.queued;
            work(&mut figures, &before, &after, messages, seconds(&before, ended_ms));
        }
        (None, _) => {}
    }
    if let (Some(calls), Some(messages)) = (flush_calls, figures.get("messages").filter(|messages| **messages > 0.0)) {
        figures.insert("flush_calls_per_message".into(), calls / messages);
    }
    of_memory(&mut figures, stage, &after);
    // Only a process that has done nothing but read its queue has no other use of its memory.
    if matches!(step.action, Action::Restart { .. }) && after.queued >= QUEUED_MIN {
        let each = (after.usage.memory_bytes - stage.fresh.usage.memory_bytes) / after.queued;
        figures.insert("memory_bytes_per_queued".into(), each);
    }
    Ok(StepResult { name: step.name.clone(), began_ms: before.unix_ms, ended_ms, figures, load })
}

fn seconds(before: &Moment, ended_ms: u64) -> f64 {
    ended_ms.saturating_sub(before.unix_ms) as f64 / 1000.0
}

fn number(report: &Value, name: &str) -> f64 {
    report[name].as_f64().unwrap_or(0.0)
}

/// When the last message reached a sink, if one did in this step.
fn arrival_of_last(stage: &Stage, before: &Moment) -> Result<Option<u64>, Failure> {
    // A sink writes its course every 100 ms: the last row has come when no more can change.
    clock::pause(Duration::from_millis(2 * crate::series::PERIOD_MS));
    let (_, last_ms) = stage.sinks.arrived()?;
    Ok(last_ms.map(|last_ms| last_ms as u64).filter(|last_ms| *last_ms > before.unix_ms))
}

/// Sends messages; the generator's report.
fn load(stage: &mut Stage, step: &Step, words: &[String]) -> Result<Value, Failure> {
    let mut generator = generator(stage, step, words)?;
    let what = format!("step `{}`: load", step.name);
    stage.watch(&what, step.patience, |_| Ok(generator.ended()?.is_some()))?;
    let path = stage.path(&format!("load-{}.json", step.name));
    let text = fs::read_to_string(&path).unwrap_or_default();
    serde_json::from_str(&text).map_err(|_| {
        let said = fs::read_to_string(path.with_extension("log")).unwrap_or_default();
        Failure::Failed(format!("step `{}`: {}", step.name, said.trim()))
    })
}

fn generator(stage: &Stage, step: &Step, words: &[String]) -> Result<Process, Failure> {
    let path = |ending: &str| stage.path(&format!("load-{}.{ending}", step.name));
    let create = |ending: &str| {
        File::create(path(ending)).map_err(|error| Failure::Failed(format!("{}: {error}", path(ending).display())))
    };
    let implicit = words.windows(2).any(|pair| pair[0] == "--tls" && pair[1] == "implicit");
    let door = if implicit { Door::Tls } else { Door::Plain };
    let mut command = Command::new(own_program()?);
    command.args(["generate", "--json", "--to", &stage.server.address(door).to_string()]).args(words);
    if let Some(opening_max) = stage.kind.opening_max() {
        command.arg("--opening").arg(opening_max.to_string());
    }
    command.arg("--series").arg(path("csv"));
    command.arg("--per-recipient").arg("--ids").arg(stage.path(&format!("sent-{}.ids", step.name)));
    command.stdout(create("json")?).stderr(create("log")?);
    place::on_core(&mut command, 0);
    Process::start(&mut command)
}

/// Opens connections, reads the server's memory, and closes them.
fn idle(
    stage: &mut Stage,
    step: &Step,
    words: &[String],
    before: &Moment,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let wanted = words.windows(2).find(|pair| pair[0] == "--connections").and_then(|pair| pair[1].parse().ok());
    let wanted: f64 = wanted.unwrap_or(1.0);
    let mut generator = generator(stage, step, words)?;
    let series = stage.path(&format!("load-{}.csv", step.name));
    let what = format!("step `{}`: {wanted} open connections", step.name);
    stage.watch(&what, step.patience, |_| {
        if generator.ended()?.is_some() {
            return Err(Failure::Failed(format!("{what}: the generator has ended")));
        }
        let course = Series::read(&series).unwrap_or_default();
        if course.last("failed").is_some_and(|failed| failed > 0.0) {
            return Err(Failure::Failed(format!("{what}: the server did not take all of them")));
        }
        Ok(course.last("connections") == Some(wanted))
    })?;
    let settling = Stopwatch::start();
    stage.watch(&what, step.patience, |_| Ok(settling.elapsed() >= SETTLE))?;
    let with = stage.look()?;
    figures.insert("connections".into(), wanted);
    let each = (with.usage.memory_bytes - before.usage.memory_bytes) / wanted;
    figures.insert("memory_bytes_per_connection".into(), each);
    generator.terminate(END_PATIENCE).map(|_| ())
}

fn restart(stage: &mut Stage, kill: bool, figures: &mut Figures) -> Result<(), Failure> {
    if kill {
        stage.server.kill()
    } else {
        stage.server.stop()?
    }
    let began = Stopwatch::start();
    stage.server.start()?;
    figures.insert("start_s".into(), began.elapsed().as_secs_f64());
    Ok(())
}

/// What the server's work on `messages` cost it.
fn work(figures: &mut Figures, before: &Moment, after: &Moment, messages: f64, seconds: f64) {
    let user_s = after.usage.user_s - before.usage.user_s;
    let system_s = after.usage.system_s - before.usage.system_s;
    let counted = |moment: &Moment| moment.counters.get(FLUSHES).map(|flushes| *flushes as f64);
    figures.insert("messages".into(), messages);
    figures.insert("seconds".into(), seconds);
    if messages <= 0.0 {
        return;
    }
    if user_s + system_s > 0.0 {
        figures.insert("messages_per_cpu_second".into(), messages / (user_s + system_s));
    }
    if seconds > 0.0 {
        figures.insert("messages_per_second".into(), messages / seconds);
    }
    figures.insert("cpu_us_per_message".into(), (user_s + system_s) * 1e6 / messages);
    figures.insert("user_us_per_message".into(), user_s * 1e6 / messages);
    figures.insert("system_us_per_message".into(), system_s * 1e6 / messages);
    if let (Some(before), Some(after)) = (counted(before), counted(after)) {
        figures.insert("flushes_per_message".into(), (after - before) / messages);
    }
    figures.insert("disk_flushes_per_message".into(), (after.disk_flushes - before.disk_flushes) / messages);
    let written = after.usage.written_bytes - before.usage.written_bytes;
    figures.insert("written_bytes_per_message".into(), written / messages);
}

/// What the generator saw.
fn of_load(figures: &mut Figures, report: &Value) {
    let (connections, accepted) = (number(report, "connections"), number(report, "accepted"));
    figures.insert("connections".into(), connections);
    // Where connections are what is measured, they are as many as the messages.
    if connections >= accepted && connections > 0.0 {
        figures.insert("connections_per_second".into(), connections / number(report, "seconds").max(1e-3));
        if let Some(cpu_us) = figures.get("cpu_us_per_message") {
            figures.insert("cpu_us_per_connection".into(), cpu_us * accepted / connections);
        }
    }
    let quantiles = [
        ("dot_p50_ms", "dot_us", "p50"),
        ("dot_p99_ms", "dot_us", "p99"),
        ("due_p50_ms", "due_us", "p50"),
        ("due_p99_ms", "due_us", "p99"),
        ("due_p999_ms", "due_us", "p999"),
    ];
    for (figure, histogram, quantile) in quantiles {
        figures.insert(figure.into(), number(&report[histogram], quantile) / 1000.0);
    }
    figures.insert("generator_us_per_message".into(), number(report, "cpu_us_per_message"));
}

fn of_memory(figures: &mut Figures, stage: &Stage, after: &Moment) {
    figures.insert("memory_bytes".into(), after.usage.memory_bytes);
    figures.insert("memory_peak_bytes".into(), stage.peak_bytes);
    figures.insert("mapped_bytes".into(), after.usage.mapped_bytes);
    figures.insert("queued".into(), after.queued);
}
