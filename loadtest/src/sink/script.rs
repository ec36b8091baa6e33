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

/// The profiles that come along: destinations that behave like those of the world.
pub(super) const PROFILES: &[(&str, &str)] = &[
    ("gmail", include_str!("../../profiles/gmail.toml")),
    ("outlook", include_str!("../../profiles/outlook.toml")),
    ("yahoo", include_str!("../../profiles/yahoo.toml")),
    ("greylister", include_str!("../../profiles/greylister.toml")),
    ("tarpit", include_str!("../../profiles/tarpit.toml")),
    ("flaky", include_str!("../../profiles/flaky.toml")),
    ("full-mailboxes", include_str!("../../profiles/full-mailboxes.toml")),
    ("bad-tls", include_str!("../../profiles/bad-tls.toml")),
];

/// What a sink does beside accepting. Without faults: nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    pub(super) seed: u64,
    pub(super) certificate: Certificate,
    pub(super) faults: Vec<Fault>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) at: At,
    pub(super) recipient: Option<Pattern>,
    pub(super) when: When,
    /// Only while more connections than this are open.
    pub(super) connections_over: Option<u64>,
    /// Only once the connection has brought this many messages.
    pub(super) messages_over: Option<u32>,
    /// How often at most (on each thread).
    pub(super) times: Option<u64>,
    /// From least to most.
    pub(super) delay: (Duration, Duration),
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
    /// The reply to STARTTLS.
    Starttls,
    /// The TLS handshake, after STARTTLS or at once.
    Handshake,
    /// Before every reply from EHLO's to the dot's.
    Any,
}

/// What a sink's certificate is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Certificate {
    /// For localhost and 127.0.0.1, valid.
    #[default]
    Good,
    /// No longer valid.
    Expired,
    /// For another name.
    OtherName,
}

/// Which of the occasions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum When {
    Always,
    /// With this probability.
    Share(f64),
    /// The nth, the 2nth, and so on.
    Every(u64),
    /// Those beyond a number within each stretch of time (on each thread).
    Over(u64, Duration),
    /// Until this long after the same client, sender and recipient were first seen.
    Greylist(Duration),
}

/// What happens instead of the normal reply.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    Reply(Reply),
    Reset,
    Drop,
    Silent,
    /// Bytes that are no TLS.
    Garbage,
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
    #[serde(rename = "about")]
    _about: Option<String>,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    certificate: Certificate,
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
    over: Option<u64>,
    within: Option<String>,
    greylist: Option<String>,
    connections_over: Option<u64>,
    messages_over: Option<u32>,
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
    garbage: bool,
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

    /// The profile of this name, which comes along.
    ///
    /// # Errors
    /// [`Failure::Usage`] where there is none.
    pub(super) fn profile(name: &str) -> Result<Self, Failure> {
        let Some((_, text)) = PROFILES.iter().find(|(known, _)| *known == name) else {
            return Err(Failure::Usage(format!("there is no profile `{name}`")));
        };
        Self::parse(text).map_err(|mistakes| Failure::Usage(format!("profile {name}: {mistakes:?}")))
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
        if mistakes.is_empty() {
            Ok(Self { seed: file.seed, certificate: file.certificate, faults })
        } else {
            Err(mistakes)
        }
    }
}

/// Whether a script is right; if not, its first mistake in one line.
pub fn check(text: &str) -> Result<(), String> {
    Script::parse(text).map(|_| ()).map_err(|mistakes| match mistakes.first() {
        Some((line, what)) => format!("line {line} of the script: {what}"),
        None => "the script cannot be read".to_owned(),
    })
}

impl Entry {
    fn check(self) -> Result<Fault, Vec<String>> {
        let mut mistakes = self.contradictions();
        let contradicts_itself = !mistakes.is_empty();
        let mut take = |result: Result<(), String>| mistakes.extend(result.err());
        let (mut delay, mut reply, mut when) = (Default::default(), None, When::Always);
        take(self.delay.as_deref().map_or(Ok(()), |text| range(text).map(|range| delay = range)));
        take(self.reply.as_deref().map_or(Ok(()), |text| refusal(text).map(|refusal| reply = Some(refusal))));
        if !contradicts_itself {
            take(self.when().map(|chosen| when = chosen));
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let action = match reply {
            Some(reply) => Some(Action::Reply(reply)),
            None if self.reset => Some(Action::Reset),
            None if self.drop => Some(Action::Drop),
            None if self.silent => Some(Action::Silent),
            None if self.garbage => Some(Action::Garbage),
            None => None,
        };
        Ok(Fault {
            at: self.at,
            recipient: self.recipient.map(Pattern),
            when,
            connections_over: self.connections_over,
            messages_over: self.messages_over,
            times: self.times,
            delay,
            action,
            accept: self.accept,
        })
    }

    /// What does not go together.
    fn contradictions(&self) -> Vec<String> {
        let count = |marks: &[bool]| marks.iter().filter(|mark| **mark).count();
        let actions = count(&[self.reply.is_some(), self.reset, self.drop, self.silent, self.garbage]);
        let luck = count(&[self.share.is_some(), self.every.is_some(), self.over.is_some(), self.greylist.is_some()]);
        let about_recipients = matches!(self.at, At::Rcpt | At::Dot);
        let may_accept = self.at == At::Dot && actions == 1 && self.reply.is_none();
        let rules = [
            (actions <= 1, "only one of `reply`, `reset`, `drop`, `silent` and `garbage` can happen"),
            (actions > 0 || self.delay.is_some(), "say what happens: `reply`, `reset`, `drop`, `silent` or `delay`"),
            (luck <= 1, "`share`, `every`, `over` and `greylist` exclude each other"),
            (self.share.is_none_or(|share| (0.0..=1.0).contains(&share)), "`share` is between 0 and 1"),
            (self.every != Some(0), "`every` is at least 1"),
            (self.over.is_some() == self.within.is_some(), "`over` and `within` go together"),
            (self.recipient.is_none() || about_recipients, "`recipient` has a meaning at \"rcpt\" and \"dot\" only"),
            (self.greylist.is_none() || self.at == At::Rcpt, "`greylist` has a meaning at \"rcpt\" only"),
            (!self.garbage || self.at == At::Handshake, "`garbage` has a meaning at \"handshake\" only"),
            (self.at != At::Handshake || self.reply.is_none(), "nothing can be replied at \"handshake\""),
            (self.at != At::Any || actions == 0, "\"any\" is for `delay`"),
            (!self.accept || may_accept, "`accept` goes with `reset`, `drop` or `silent` at \"dot\""),
        ];
        rules.iter().filter(|(good, _)| !good).map(|(_, mistake)| (*mistake).to_owned()).collect()
    }

    fn when(&self) -> Result<When, String> {
        Ok(match (self.share, self.every, self.over, &self.greylist) {
            (Some(share), ..) => When::Share(share),
            (_, Some(every), ..) => When::Every(every),
            (_, _, Some(over), _) => When::Over(over, units::duration(self.within.as_deref().unwrap_or(""))?),
            (_, _, _, Some(time)) => When::Greylist(units::duration(time)?),
            (None, None, None, None) => When::Always,
        })
    }
}

/// `200ms`, or `100ms-400ms`.
fn range(text: &str) -> Result<(Duration, Duration), String> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (units::duration(from)?, units::duration(to)?);
    if from <= to { Ok((from, to)) } else { Err(format!("`{text}` does not grow")) }
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
            connections_over: None,
            messages_over: None,
            delay: (Duration::from_millis(200), Duration::from_millis(200)),
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
            ("[[fault]]\nat = \"mail\"\ndelay = \"2s-1s\"\n", 1, "does not grow"),
            ("[[fault]]\nat = \"mail\"\ndrop = true\nover = 5\n", 1, "go together"),
            ("[[fault]]\nat = \"mail\"\ndrop = true\nover = 5\nwithin = \"1\"\n", 1, "not a duration"),
            ("[[fault]]\nat = \"mail\"\ndrop = true\ngreylist = \"5s\"\n", 1, "`greylist`"),
            ("[[fault]]\nat = \"mail\"\ngarbage = true\n", 1, "`garbage`"),
            ("[[fault]]\nat = \"handshake\"\nreply = \"454 4.7.0 No\"\n", 1, "replied"),
            ("[[fault]]\nat = \"any\"\ndrop = true\n", 1, "\"any\""),
            ("certificate = \"good\"\n[[fault]]\nat = \"dot\"\nevery = 1\nshare = 0.1\ndrop = true\n", 2, "exclude"),
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
    fn every_profile_is_right() {
        for (name, _) in PROFILES {
            let script = Script::profile(name).unwrap_or_else(|failure| panic!("{failure}"));
            assert!(!script.faults.is_empty() || script.certificate != Certificate::Good, "{name}");
        }
        let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles")).expect("the folder");
        assert_eq!(files.count(), PROFILES.len(), "every file is known");
        assert!(Script::profile("nobody").is_err());
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
