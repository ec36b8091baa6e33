//! Scenarios: experiments as files that people read.
//!
//! A scenario says what the server is to do with its mail, which destinations there are, and which steps follow each
//! other. `loadtest/README.md` has the keys. A mistake is reported with its line.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use crate::{Failure, generate, sink, units};

/// How long a step may take where it does not say.
const STEP_PATIENCE: Duration = Duration::from_secs(3600);
/// The waits between attempts where a scenario does not say: short, so that an experiment ends.
const RETRY_S: [u32; 3] = [2, 5, 10];

/// The scenarios that come with ringload, by name.
const SHIPPED: &[(&str, &str)] = &[
    ("accept-keep", include_str!("../../scenarios/accept-keep.toml")),
    ("accept-new", include_str!("../../scenarios/accept-new.toml")),
    ("relay", include_str!("../../scenarios/relay.toml")),
    ("mixed-destinations", include_str!("../../scenarios/mixed-destinations.toml")),
    ("provider-storm", include_str!("../../scenarios/provider-storm.toml")),
    ("idle-connections", include_str!("../../scenarios/idle-connections.toml")),
    ("tls-handshakes", include_str!("../../scenarios/tls-handshakes.toml")),
    ("backlog", include_str!("../../scenarios/backlog.toml")),
    ("slow-destination", include_str!("../../scenarios/slow-destination.toml")),
    ("large-messages", include_str!("../../scenarios/large-messages.toml")),
    ("restart", include_str!("../../scenarios/restart.toml")),
    ("steady", include_str!("../../scenarios/steady.toml")),
];

/// An experiment.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its file's name without ending.
    pub name: String,
    /// One line.
    pub title: String,
    /// What it shows.
    pub about: String,
    /// The file.
    pub text: String,
    pub(super) hold: bool,
    pub(super) retry_s: Vec<u32>,
    pub(super) sinks: Vec<Destination>,
    pub(super) steps: Vec<Step>,
}

/// A sink, and the domains whose mail it gets.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    pub(super) name: String,
    pub(super) domains: Vec<String>,
    /// Words of `ringload sink`.
    pub(super) options: Vec<String>,
    /// Its script.
    pub(super) script: Option<String>,
}

/// Something that is done and measured.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) action: Action,
    /// The step lasts until everything is delivered.
    pub(super) delivered: bool,
    pub(super) patience: Duration,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Sends messages: words of `ringload generate`.
    Load(Vec<String>),
    /// Opens connections and looks at the server's memory: words of `ringload generate`.
    Idle(Vec<String>),
    /// Ends the server, by SIGKILL or in peace, and starts it again.
    Restart { kill: bool },
    /// Lets the server deliver what it has held.
    Release,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: String,
    about: String,
    #[serde(default)]
    hold: bool,
    retry_s: Option<Vec<u32>>,
    #[serde(default)]
    sink: Vec<Spanned<SinkEntry>>,
    step: Vec<Spanned<StepEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SinkEntry {
    name: String,
    domains: Vec<String>,
    #[serde(default)]
    options: String,
    script: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepEntry {
    name: String,
    load: Option<String>,
    idle: Option<String>,
    restart: Option<Ending>,
    #[serde(default)]
    release: bool,
    until: Option<Until>,
    patience: Option<String>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Ending {
    Stop,
    Kill,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Until {
    Accepted,
    Delivered,
}

impl Scenario {
    /// The scenario of this name, or in this file.
    ///
    /// # Errors
    /// [`Failure::Usage`] where there is none, or with its mistakes as `FILE:LINE: …`.
    pub fn find(wanted: &str) -> Result<Self, Failure> {
        let (name, text) = match SHIPPED.iter().find(|(shipped, _)| *shipped == wanted) {
            Some((name, text)) => ((*name).to_owned(), (*text).to_owned()),
            None => {
                let path = Path::new(wanted);
                let text = std::fs::read_to_string(path).map_err(|error| {
                    let names: Vec<&str> = Self::names().collect();
                    Failure::Usage(format!("{wanted}: {error}; the scenarios that come along are {}", names.join(", ")))
                })?;
                (path.file_stem().unwrap_or(path.as_os_str()).display().to_string(), text)
            }
        };
        Self::parse(&name, &text).map_err(|(line, what)| Failure::Usage(format!("{wanted}:{line}: {what}")))
    }

    /// The names of the scenarios that come along.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SHIPPED.iter().map(|(name, _)| *name)
    }

    /// The scenario, or its first mistake with its line.
    fn parse(name: &str, text: &str) -> Result<Self, (usize, String)> {
        let line = |offset: usize| 1 + text[..offset.min(text.len())].matches('\n').count();
        let file: File = toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            (line(offset), error.message().to_owned())
        })?;
        let mut sinks = Vec::new();
        for entry in file.sink {
            let at = line(entry.span().start);
            sinks.push(entry.into_inner().check().map_err(|what| (at, what))?);
        }
        if sinks.is_empty() {
            let domains = vec!["sink.test".to_owned()];
            sinks.push(Destination { name: "sink".into(), domains, options: Vec::new(), script: None });
        }
        let mut steps: Vec<Step> = Vec::new();
        for entry in file.step {
            let at = line(entry.span().start);
            let step = entry.into_inner().check().map_err(|what| (at, what))?;
            if steps.iter().any(|known| known.name == step.name) {
                return Err((at, format!("there is a step `{}` already", step.name)));
            }
            steps.push(step);
        }
        let retry_s = file.retry_s.unwrap_or_else(|| RETRY_S.to_vec());
        if steps.is_empty() || retry_s.is_empty() {
            return Err((1, "a scenario has at least one step, and one wait in `retry_s`".into()));
        }
        let about = file.about.trim().to_owned();
        let (title, hold) = (file.title, file.hold);
        Ok(Self { name: name.to_owned(), title, about, text: text.to_owned(), hold, retry_s, sinks, steps })
    }

    /// The same with a share of its messages and its idle connections.
    #[must_use]
    pub fn scaled(mut self, scale: f64) -> Self {
        for step in &mut self.steps {
            match &mut step.action {
                Action::Load(words) => multiply(words, "--messages", scale),
                Action::Idle(words) => multiply(words, "--connections", scale),
                Action::Restart { .. } | Action::Release => {}
            }
        }
        self
    }
}

/// Multiplies the number after `option`; never to less than 1.
fn multiply(words: &mut [String], option: &str, scale: f64) {
    for at in 1..words.len() {
        if words[at - 1] == option
            && let Ok(number) = words[at].parse::<f64>()
        {
            words[at] = format!("{:.0}", (number * scale).max(1.0));
        }
    }
}

impl SinkEntry {
    fn check(self) -> Result<Destination, String> {
        if !is_word(&self.name) {
            return Err(format!("`{}` is no name for a sink: letters, digits and `-`", self.name));
        }
        if self.domains.is_empty() {
            return Err(format!("the sink `{}` needs `domains`", self.name));
        }
        let options: Vec<String> = self.options.split_whitespace().map(str::to_owned).collect();
        sink::Options::of_words(["--listen", "127.0.0.1:0"].into_iter().chain(options.iter().map(String::as_str)))?;
        if let Some(script) = &self.script {
            sink::check_script(script)?;
        }
        Ok(Destination { name: self.name, domains: self.domains, options, script: self.script })
    }
}

impl StepEntry {
    fn check(self) -> Result<Step, String> {
        let actions = [self.load.is_some(), self.idle.is_some(), self.restart.is_some(), self.release];
        if actions.into_iter().filter(|action| *action).count() != 1 {
            return Err("a step has one of `load`, `idle`, `restart` and `release`".into());
        }
        if !is_word(&self.name) {
            return Err(format!("`{}` is no name for a step: letters, digits and `-`", self.name));
        }
        let action = match (self.load, self.idle, self.restart) {
            (Some(load), ..) => Action::Load(generator_words(&load, &[])?),
            (None, Some(idle), _) => Action::Idle(generator_words(&idle, &["--idle", "1h"])?),
            (None, None, Some(ending)) => Action::Restart { kill: ending == Ending::Kill },
            (None, None, None) => Action::Release,
        };
        let moves_mail = matches!(action, Action::Load(_) | Action::Release);
        if self.until.is_some() && !moves_mail {
            return Err("`until` goes with `load` and `release`".into());
        }
        let delivered = self.until == Some(Until::Delivered) || action == Action::Release;
        let patience = self.patience.map_or(Ok(STEP_PATIENCE), |patience| units::duration(&patience))?;
        Ok(Step { name: self.name, action, delivered, patience })
    }
}

/// The words of a generator's options, once they are known to be right.
fn generator_words(text: &str, more: &[&str]) -> Result<Vec<String>, String> {
    let words = text.split_whitespace().chain(more.iter().copied());
    generate::Options::of_words(["--to", "127.0.0.1:25"].into_iter().chain(words.clone()))?;
    Ok(words.map(str::to_owned).collect())
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "title = \"T\"\nabout = \"A\"\n";

    #[test]
    fn what_comes_along_is_right() {
        for name in Scenario::names() {
            let scenario = Scenario::find(name).unwrap_or_else(|failure| panic!("{failure}"));
            assert!(!scenario.about.is_empty() && !scenario.title.is_empty(), "{name}");
        }
        let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")).expect("the folder");
        assert_eq!(files.count(), SHIPPED.len(), "every file is known");
    }

    #[test]
    fn a_scale_changes_messages_and_idle_connections_only() {
        let text = "[[step]]\nname = \"a\"\nload = \"--messages 1000 --connections 20\"\n\
                    [[step]]\nname = \"b\"\nidle = \"--connections 3000\"\n";
        let scenario = Scenario::parse("x", &format!("{HEAD}{text}")).expect("a good scenario").scaled(0.01);
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(scenario.steps[0].action, Action::Load(words("--messages 10 --connections 20")));
        assert_eq!(scenario.steps[1].action, Action::Idle(words("--connections 30 --idle 1h")));
        assert_eq!((&*scenario.sinks[0].name, scenario.sinks.len()), ("sink", 1));
    }

    #[test]
    fn mistakes_are_reported_with_their_line() {
        let cases = [
            ("step = []\n", 1, "at least one step"),
            ("[[step]]\nname = \"a\"\n", 3, "one of `load`"),
            ("[[step]]\nname = \"a b\"\nrelease = true\n", 3, "no name"),
            ("[[step]]\nname = \"a\"\nload = \"--messages x\"\n", 3, "--messages"),
            ("[[step]]\nname = \"a\"\nload = \"--mesages 1\"\n", 3, "--mesages"),
            ("[[step]]\nname = \"a\"\nrestart = \"later\"\n", 5, "unknown variant"),
            ("[[step]]\nname = \"a\"\nrestart = \"kill\"\nuntil = \"delivered\"\n", 3, "`until`"),
            ("[[step]]\nname = \"a\"\nrelease = true\n[[step]]\nname = \"a\"\nrelease = true\n", 6, "already"),
            ("[[sink]]\nname = \"a\"\ndomains = []\n[[step]]\nname = \"a\"\nrelease = true\n", 3, "`domains`"),
            ("[[sink]]\nname = \"a\"\ndomains = [\"x\"]\noptions = \"--scrip x\"\n[[step]]\n", 7, "name"),
        ];
        for (text, line, what) in cases {
            let (at, mistake) = Scenario::parse("x", &format!("{HEAD}{text}")).expect_err(text);
            assert_eq!(at, line, "{text}: {mistake}");
            assert!(mistake.contains(what), "{text}: {mistake}");
        }
    }
}
