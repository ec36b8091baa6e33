//! The script of a sink: which faults it plays, when and how often.
//!
//! A mistake is reported with its line, all mistakes of a script at once.

use std::path::Path;
use std::time::Duration;

use ringpost::smtp::remote::ReplyReader;
use ringpost::smtp::reply::Reply;
use serde::Deserialize;
use toml::Spanned;

use crate::{Failure, units};

/// What a sink does beside accepting. Without faults: nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    pub(super) seed: u64,
    pub(super) faults: Vec<Fault>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) at: At,
    pub(super) recipient: Option<Pattern>,
    pub(super) when: When,
    /// How often at most (on each thread).
    pub(super) times: Option<u64>,
    pub(super) delay: Duration,
    pub(super) action: Option<Action>,
    /// At the dot: the message counts as received before the action.
    pub(super) accept: bool,
}

/// Where in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum At {
    Connect,
    Ehlo,
    Mail,
    Rcpt,
    Data,
    Content,
    Dot,
}

/// Which of the occasions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum When {
    Always,
    /// With this probability.
    Share(f64),
    /// The nth, the 2nth, and so on.
    Every(u64),
}

/// What happens instead of the normal reply.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    Reply(Reply),
    Reset,
    Drop,
    Silent,
}

/// Text in which `*` stands for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(pub(super) String);

impl Pattern {
    pub(super) fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
        let mut parts = parts.peekable();
        if parts.peek().is_none() {
            return rest.is_empty();
        }
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.ends_with(part);
            }
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        true
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    fault: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    at: At,
    recipient: Option<String>,
    share: Option<f64>,
    every: Option<u64>,
    times: Option<u64>,
    delay: Option<String>,
    reply: Option<String>,
    #[serde(default)]
    reset: bool,
    #[serde(default)]
    drop: bool,
    #[serde(default)]
    silent: bool,
    #[serde(default)]
    accept: bool,
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// [`Failure::Usage`] with every mistake as `FILE:LINE: …`.
    pub(super) fn read(file: &Path) -> Result<Self, Failure> {
        let shown = file.display();
        let text = std::fs::read_to_string(file).map_err(|error| Failure::Usage(format!("{shown}: {error}")))?;
        Self::parse(&text).map_err(|mistakes| {
            let lines: Vec<String> = mistakes.iter().map(|(line, what)| format!("{shown}:{line}: {what}")).collect();
            Failure::Usage(lines.join("\n"))
        })
    }

    /// The script, or its mistakes with their lines.
    fn parse(text: &str) -> Result<Self, Vec<(usize, String)>> {
        let line = |offset: usize| 1 + text[..offset.min(text.len())].matches('\n').count();
        let file: File = toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            vec![(line(offset), error.message().to_owned())]
        })?;
        let (mut faults, mut mistakes) = (Vec::new(), Vec::new());
        for entry in file.fault {
            let line = line(entry.span().start);
            match entry.into_inner().check() {
                Ok(fault) => faults.push(fault),
                Err(wrong) => mistakes.extend(wrong.into_iter().map(|what| (line, what))),
            }
        }
        if mistakes.is_empty() { Ok(Self { seed: file.seed, faults }) } else { Err(mistakes) }
    }
}

/// Whether a script is right; if not, its first mistake in one line.
pub(crate) fn check(text: &str) -> Result<(), String> {
    Script::parse(text).map(|_| ()).map_err(|mistakes| match mistakes.first() {
        Some((line, what)) => format!("line {line} of the script: {what}"),
        None => "the script cannot be read".to_owned(),
    })
}

impl Entry {
    fn check(self) -> Result<Fault, Vec<String>> {
        let mut mistakes = Vec::new();
        let mut require = |good: bool, text: &str| {
            if !good {
                mistakes.push(text.to_owned());
            }
        };
        let actions = [self.reply.is_some(), self.reset, self.drop, self.silent];
        let actions = actions.into_iter().filter(|action| *action).count();
        require(actions <= 1, "only one of `reply`, `reset`, `drop` and `silent` can happen");
        require(actions > 0 || self.delay.is_some(), "say what happens: `reply`, `reset`, `drop`, `silent` or `delay`");
        require(self.share.is_none() || self.every.is_none(), "`share` and `every` exclude each other");
        require(self.share.is_none_or(|share| (0.0..=1.0).contains(&share)), "`share` is between 0 and 1");
        require(self.every != Some(0), "`every` is at least 1");
        let has_recipients = matches!(self.at, At::Rcpt | At::Dot);
        require(self.recipient.is_none() || has_recipients, "`recipient` has a meaning at \"rcpt\" and \"dot\" only");
        let may_accept = self.at == At::Dot && actions == 1 && self.reply.is_none();
        require(!self.accept || may_accept, "`accept` goes with `reset`, `drop` or `silent` at \"dot\"");
        let delay = self.delay.map_or(Ok(Duration::ZERO), |delay| units::duration(&delay));
        let reply = self.reply.map(|reply| refusal(&reply)).transpose();
        let (delay, reply) = match (delay, reply) {
            (Ok(delay), Ok(reply)) if mistakes.is_empty() => (delay, reply),
            (delay, reply) => {
                mistakes.extend(delay.err());
                mistakes.extend(reply.err());
                return Err(mistakes);
            }
        };
        let when = match (self.share, self.every) {
            (Some(share), _) => When::Share(share),
            (None, Some(every)) => When::Every(every),
            (None, None) => When::Always,
        };
        let action = match reply {
            Some(reply) => Some(Action::Reply(reply)),
            None if self.reset => Some(Action::Reset),
            None if self.drop => Some(Action::Drop),
            None if self.silent => Some(Action::Silent),
            None => None,
        };
        let recipient = self.recipient.map(Pattern);
        Ok(Fault { at: self.at, recipient, when, times: self.times, delay, action, accept: self.accept })
    }
}

/// A reply as people write it: `452 4.2.2 Mailbox full`.
fn refusal(text: &str) -> Result<Reply, String> {
    let mut reader = ReplyReader::default();
    reader.receive(text.as_bytes());
    reader.receive(b"\r\n");
    match reader.next_reply() {
        Ok(Some(reply)) if reply.is_transient() || reply.is_permanent() => Ok(reply),
        _ => Err(format!("`{text}` is not a refusal; write it as \"452 4.2.2 Mailbox full\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read() {
        let script = Script::parse(
            "seed = 7\n[[fault]]\nat = \"rcpt\"\nrecipient = \"full*@*\"\nshare = 0.5\nreply = \"452 4.2.2 Full\"\n\
             [[fault]]\nat = \"dot\"\nevery = 3\ntimes = 2\ndrop = true\naccept = true\ndelay = \"200ms\"\n",
        )
        .expect("a good script");
        assert_eq!(script.seed, 7);
        let Some(Action::Reply(reply)) = &script.faults[0].action else { panic!("no reply") };
        assert_eq!(reply.to_string(), "452 4.2.2 Full");
        let drop = Fault {
            at: At::Dot,
            recipient: None,
            when: When::Every(3),
            times: Some(2),
            delay: Duration::from_millis(200),
            action: Some(Action::Drop),
            accept: true,
        };
        assert_eq!(script.faults[1], drop);
        assert!(Script::parse("").expect("nothing is a script").faults.is_empty());
    }

    #[test]
    fn mistakes_are_reported_with_their_line() {
        let cases = [
            ("seed = 1\nsed = 2\n", 2, "unknown field"),
            ("\n[[fault]]\nat = \"helo\"\n", 3, "unknown variant"),
            ("[[fault]]\nat = \n", 2, ""),
            ("\n\n[[fault]]\nat = \"mail\"\n", 3, "say what happens"),
            ("[[fault]]\nat = \"mail\"\nreset = true\ndrop = true\n", 1, "only one of"),
            ("[[fault]]\nat = \"mail\"\nreset = true\nshare = 2.0\n", 1, "between 0 and 1"),
            ("[[fault]]\nat = \"mail\"\nreset = true\nshare = 0.1\nevery = 2\n", 1, "exclude each other"),
            ("[[fault]]\nat = \"mail\"\nreset = true\nevery = 0\n", 1, "at least 1"),
            ("[[fault]]\nat = \"mail\"\nreset = true\nrecipient = \"x\"\n", 1, "`recipient`"),
            ("[[fault]]\nat = \"mail\"\nreset = true\naccept = true\n", 1, "`accept`"),
            ("[[fault]]\nat = \"mail\"\nreply = \"250 fine\"\n", 1, "not a refusal"),
            ("[[fault]]\nat = \"mail\"\ndelay = \"10\"\n", 1, "not a duration"),
        ];
        for (text, line, what) in cases {
            let mistakes = Script::parse(text).expect_err(text);
            assert_eq!(mistakes.len(), 1, "{text}: {mistakes:?}");
            assert_eq!(mistakes[0].0, line, "{text}: {mistakes:?}");
            assert!(mistakes[0].1.contains(what), "{text}: {mistakes:?}");
        }
        let both = Script::parse("[[fault]]\nat = \"mail\"\n[[fault]]\nat = \"mail\"\nevery = 0\nreset = true\n");
        assert_eq!(both.expect_err("two mistakes").iter().map(|mistake| mistake.0).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn a_star_stands_for_anything() {
        let cases = [
            ("a@b", "a@b", true),
            ("a@b", "a@bc", false),
            ("*", "", true),
            ("full*@*", "full1@x.test", true),
            ("full*@*", "empty@x.test", false),
            ("*@x.test", "a@x.test", true),
            ("*@x.test", "a@y.test", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("ab*ba", "aba", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(Pattern(pattern.into()).matches(text), expected, "{pattern} on {text}");
        }
    }
}
