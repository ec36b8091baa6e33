//! `[[webhook]]`: who is told over HTTP what becomes of messages.

use std::path::Path;
use std::time::Duration;

use super::assurance::named;
use super::read::{Placed, Reading, Section, number, text, word};
use super::validate::{path, positive_duration, to_usize, values};
use super::{Account, NamedFile, machine, units};

/// Webhooks that can be configured: each is a queue of its own on every shard.
pub const WEBHOOKS_MAX: usize = 16;
/// Octets of a name.
const NAME_BYTES_MAX: usize = 64;
/// Events in one request.
const BATCH_MAX: u64 = 1000;
/// The longest wait for an endpoint: events behind it wait as long.
const TIMEOUT_MAX: Duration = Duration::from_secs(300);
/// The smallest room for events: less holds no batch.
const WAITING_BYTES_MIN: u64 = 1 << 20;
/// The largest.
const WAITING_BYTES_MAX: u64 = 1 << 40;

/// A `[[webhook]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// `name`: lower-case letters, digits, `-` and `_`. What waits for it is kept under it.
    pub name: Box<str>,
    /// `url`.
    pub url: Url,
    /// `secret_file`, absolute; absent: created with a random secret, mode 0600.
    pub secret_file: NamedFile,
    /// `events`, at least one.
    pub events: Vec<Kind>,
    /// `accounts`: only messages of these are told; `None`: all are, also relayed ones.
    pub accounts: Option<Vec<Box<str>>>,
    /// `ca_file`, absolute: whom `https` trusts instead of the system's authorities.
    pub ca_file: Option<NamedFile>,
    /// `timeout` of one request in all.
    pub timeout: Duration,
    /// `batch_max`: events in one request.
    pub batch_max: usize,
    /// `waiting_bytes_max`: of events that wait for the endpoint, on all shards. When there are more, the oldest go.
    pub waiting_bytes_max: u64,
}

/// What a webhook can be told of, for each recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The next hop has taken responsibility.
    Delivered,
    /// It has not been delivered after `[retry] delay_notice_after`; once.
    Delayed,
    /// An attempt did not succeed and another will follow.
    Deferred,
    /// It will not be tried again.
    Failed,
    /// It was given up for its age.
    Expired,
    /// It was delivered, and came back later.
    Bounced,
    /// Its recipient complained.
    Complaint,
}

impl Kind {
    /// Its name in the configuration and in events.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

const KINDS: &[(&str, Kind)] = &[
    ("delivered", Kind::Delivered),
    ("delayed", Kind::Delayed),
    ("deferred", Kind::Deferred),
    ("failed", Kind::Failed),
    ("expired", Kind::Expired),
    ("bounced", Kind::Bounced),
    ("complaint", Kind::Complaint),
];
const KINDS_BY_DEFAULT: &[Kind] =
    &[Kind::Delivered, Kind::Delayed, Kind::Failed, Kind::Expired, Kind::Bounced, Kind::Complaint];

/// An `http` or `https` URL. What is behind the host may be a secret, so only the host is ever logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// `https`.
    pub tls: bool,
    /// A name or an address, without brackets.
    pub host: Box<str>,
    /// The port; 80 and 443 by default.
    pub port: u16,
    /// Path and query; at least `/`.
    pub target: Box<str>,
}

/// Reads every `[[webhook]]`.
pub(super) fn webhooks(
    document: &mut Section<'_>,
    accounts: &[Account],
    base_dir: &Path,
    reading: &mut Reading,
) -> Vec<Webhook> {
    let mut webhooks: Vec<Placed<Webhook>> = Vec::new();
    for section in document.sections("webhook", reading) {
        let Some(new) = webhook(section, accounts, base_dir, reading) else { continue };
        match webhooks.iter().find(|other| other.value.name == new.value.name) {
            Some(other) => {
                let text = format!("webhook.name: `{}` is used already in line {}", new.value.name, other.line);
                reading.mistake(new.line, text);
            }
            None if webhooks.len() == WEBHOOKS_MAX => {
                reading.mistake(new.line, format!("[[webhook]]: at most {WEBHOOKS_MAX}"));
            }
            None => webhooks.push(new),
        }
    }
    values(webhooks)
}

/// One `[[webhook]]`; its line is that of its name.
fn webhook(
    mut section: Section<'_>,
    accounts: &[Account],
    base_dir: &Path,
    reading: &mut Reading,
) -> Option<Placed<Webhook>> {
    let name = section.required("name", reading, text(name));
    let url = section.required("url", reading, text(url));
    let secret_file = section.required("secret_file", reading, machine::secret(base_dir));
    let events = section.list("events", reading, word(KINDS));
    let selected = section.list("accounts", reading, text(|written| account(written, accounts)));
    let ca_file = section.optional("ca_file", reading, path(base_dir));
    let timeout = section.optional("timeout", reading, text(timeout));
    let batch_max = section.optional("batch_max", reading, number(1..=BATCH_MAX));
    let waiting = section.optional("waiting_bytes_max", reading, text(waiting_bytes));
    section.end(reading);
    if let (Some(ca_file), Some(Placed { value: Url { tls: false, .. }, .. })) = (&ca_file, &url) {
        reading.mistake(ca_file.line, "webhook.ca_file: only an https url is verified; this one is http");
    }
    let name = name?;
    Some(Placed {
        line: name.line,
        value: Webhook {
            name: name.value,
            url: url?.value,
            secret_file: named(secret_file?),
            events: events.map_or_else(|| KINDS_BY_DEFAULT.to_vec(), |list| values(list.value)),
            accounts: selected.map(|list| values(list.value)),
            ca_file: ca_file.map(named),
            timeout: timeout.map_or(Duration::from_secs(30), |timeout| timeout.value),
            batch_max: batch_max.map_or(100, |number| to_usize(number.value)),
            waiting_bytes_max: waiting.map_or(256 << 20, |size| size.value),
        },
    })
}

fn name(text: &str) -> Result<Box<str>, String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.chars().all(good) {
        return Err(format!(
            "`{text}` must be 1 to {NAME_BYTES_MAX} lower-case letters, digits, hyphens and underscores, such as \"crm\""
        ));
    }
    Ok(text.into())
}

fn account(written: &str, accounts: &[Account]) -> Result<Box<str>, String> {
    let found = accounts.iter().find(|account| account.name.eq_ignore_ascii_case(written));
    found.map(|account| account.name.clone()).ok_or_else(|| format!("there is no [[account]] named `{written}`"))
}

fn timeout(text: &str) -> Result<Duration, String> {
    positive_duration(text).and_then(|timeout| {
        if timeout > TIMEOUT_MAX { Err(format!("`{text}` must be at most 5m")) } else { Ok(timeout) }
    })
}

fn waiting_bytes(text: &str) -> Result<u64, String> {
    units::size(text).and_then(|bytes| {
        if (WAITING_BYTES_MIN..=WAITING_BYTES_MAX).contains(&bytes) {
            Ok(bytes)
        } else {
            Err(format!("`{text}` must be between 1MiB and 1024GiB"))
        }
    })
}

/// `http://HOST/PATH` or `https://HOST:PORT/PATH?QUERY`. The mistakes do not repeat what may be a secret.
pub fn url(text: &str) -> Result<Url, String> {
    let wanted = || "must be a URL such as \"https://hooks.example.org/mail\"".to_owned();
    let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err(format!("{}: it begins with https:// or http://", wanted())),
    };
    let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err("must hold no user and password: every request is signed with the secret of secret_file".into());
    }
    if target.contains('#') {
        return Err("must hold no fragment (#): it is never sent".into());
    }
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must be ASCII without spaces: percent-encode the others".into());
    }
    let (host, port) = units::host_and_port(authority, if tls { 443 } else { 80 }).ok_or_else(wanted)?;
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok(Url { tls, host, port, target: format!("{slash}{target}").into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_a_host_and_perhaps_a_port_and_a_path() {
        for (text, tls, host, port, target) in [
            ("https://hooks.example.org/mail?key=1", true, "hooks.example.org", 443, "/mail?key=1"),
            ("http://127.0.0.1:8080", false, "127.0.0.1", 8080, "/"),
            ("http://[::1]:8080/a", false, "::1", 8080, "/a"),
            ("https://[2001:db8::1]", true, "2001:db8::1", 443, "/"),
            ("https://Host?x", true, "host", 443, "/?x"),
        ] {
            assert_eq!(url(text), Ok(Url { tls, host: host.into(), port, target: target.into() }), "{text}");
        }
        for (text, why) in [
            ("", "https://"),
            ("ftp://host/", "begins with"),
            ("https://", "must be a URL"),
            ("https://host:0/", "must be a URL"),
            ("https://user:s3cret@host/", "no user and password"),
            ("https://host/s3cret#x", "no fragment"),
            ("https://host/s3cret x", "percent-encode"),
        ] {
            let mistake = url(text).expect_err(text);
            assert!(mistake.contains(why) && !mistake.contains("s3cret"), "{mistake}");
        }
    }
}
