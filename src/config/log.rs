//! `[log]`: what is logged, and to whom.

use std::fmt;

use super::read::{Reading, Section, word};

/// How much an event matters: syslog's severities, of which these are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something to mend: the service is impaired.
    Error,
    /// Something to look at: a peer or a limit is in the way.
    Warn,
    /// The server's own life, and what operators do.
    Notice,
    /// The normal life of mail.
    Info,
}

const LEVELS: &[(&str, Level)] =
    &[("error", Level::Error), ("warn", Level::Warn), ("notice", Level::Notice), ("info", Level::Info)];

impl Level {
    /// The level of that name.
    pub fn named(name: &str) -> Option<Level> {
        LEVELS.iter().find(|level| level.0 == name).map(|level| level.1)
    }

    /// The severity, as syslog(3) and the journal's `PRIORITY` have it.
    pub fn severity(self) -> u8 {
        match self {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Notice => 5,
            Level::Info => 6,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Notice => "notice",
            Level::Info => "info",
        })
    }
}

/// Where the log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The journal where stderr is connected to it, stderr everywhere else.
    Auto,
    /// The journal of this machine.
    Journal,
    /// stderr, as lines.
    Stderr,
}

const TARGETS: &[(&str, Target)] = &[("auto", Target::Auto), ("journal", Target::Journal), ("stderr", Target::Stderr)];

/// `[log]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// `to`.
    pub to: Target,
    /// `level`: what matters less is not logged.
    pub level: Level,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(TARGETS.iter().find(|target| target.1 == *self).map_or("", |target| target.0))
    }
}

/// Reads `[log]`.
pub(super) fn log(document: &mut Section<'_>, reading: &mut Reading) -> Log {
    let mut section = document.section_or_empty("log", reading);
    let to = section.optional("to", reading, word(TARGETS));
    let level = section.optional("level", reading, word(LEVELS));
    section.end(reading);
    Log { to: to.map_or(Target::Auto, |to| to.value), level: level.map_or(Level::Info, |level| level.value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_their_names_and_severities() {
        for (name, level) in LEVELS {
            assert_eq!((level.to_string().as_str(), Level::named(name)), (*name, Some(*level)));
        }
        assert!(LEVELS.is_sorted_by(|a, b| a.1 < b.1 && a.1.severity() < b.1.severity()));
        assert_eq!(Level::named("fatal"), None);
    }
}
