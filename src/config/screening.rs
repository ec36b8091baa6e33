//! `[screening]`: who looks at messages and clients before a message is accepted.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::assurance::named;
use super::read::{Placed, Reading, Section, number, text, truth, word};
use super::validate::{positive_duration, to_usize, values};
use super::{ListenerKind, NamedFile, Network, machine, units};

/// Port of clamd, as its packages set it.
const CLAMD_PORT: u16 = 3310;
/// Port of rspamd's normal worker.
const RSPAMD_PORT: u16 = 11333;
/// Listeners whose messages can be screened: what comes to a return path is read, and goes nowhere.
const SCREENED: &[(&str, ListenerKind)] = &[("submission", ListenerKind::Submission), ("relay", ListenerKind::Relay)];
/// Zones that are asked about one client.
const ZONES_MAX: usize = 16;

/// `[screening]`. Without scanners and lists nothing is screened.
#[derive(Clone, Debug, Default)]
pub struct Screening {
    /// `listeners`: the kinds whose messages are screened.
    pub listeners: Vec<ListenerKind>,
    /// `exempt_accounts`: names of accounts whose messages are not, in lower case.
    pub exempt_accounts: Vec<Box<str>>,
    /// `[screening.clamav]`.
    pub clamav: Option<Scanner>,
    /// `[screening.rspamd]`.
    pub rspamd: Option<Rspamd>,
    /// `[screening.block_lists]`.
    pub block_lists: Option<BlockLists>,
}

/// What any scanner needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanner {
    /// `address`, or what `url` names.
    pub address: ScannerAddress,
    /// `timeout` of one scan in all.
    pub timeout: Duration,
    /// `on_failure`.
    pub on_failure: OnFailure,
    /// `message_bytes_max`: larger messages are not given to it; `None`: all are.
    pub message_bytes_max: Option<u64>,
    /// `connections_max`: scans at a time, per shard.
    pub connections_max: usize,
}

/// Where a scanner listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScannerAddress {
    /// `unix:PATH`, absolute.
    Unix(PathBuf),
    /// `HOST:PORT`.
    Tcp(Box<str>, u16),
}

impl fmt::Display for ScannerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScannerAddress::Unix(path) => write!(f, "unix:{}", path.display()),
            ScannerAddress::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            ScannerAddress::Tcp(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

/// What becomes of a message when the scanner gives no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// 451: the client tries again later.
    Defer,
    /// It is taken unscreened.
    Accept,
}

/// `[screening.rspamd]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rspamd {
    /// What it has in common with other scanners.
    pub scanner: Scanner,
    /// `password_file`: holds what its `Password` header says, for workers that want one.
    pub password_file: Option<NamedFile>,
    /// `[screening.rspamd.actions]`.
    pub actions: Actions,
}

/// What is done for each action that rspamd recommends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actions {
    /// `reject`; also `discard` and `quarantine`, which no reply can tell a client.
    pub reject: Treatment,
    /// `soft_reject`.
    pub soft_reject: Treatment,
    /// `greylist`.
    pub greylist: Treatment,
    /// `rewrite_subject`.
    pub rewrite_subject: Treatment,
    /// `add_header`.
    pub add_header: Treatment,
}

/// What is done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// 554.
    Reject,
    /// 451.
    Defer,
    /// Taken, with the field `X-Spam: Yes`.
    Mark,
    /// Taken as it is.
    Accept,
}

/// `[screening.block_lists]`.
#[derive(Clone, Debug)]
pub struct BlockLists {
    /// `zones`, at least one.
    pub zones: Vec<BlockList>,
    /// `exempt_networks`: clients that are not asked about.
    pub exempt_networks: Vec<Network>,
    /// `private_addresses`: whether lists are asked about loopback, link-local and private addresses.
    pub private_addresses: bool,
    /// `timeout` of all answers together.
    pub timeout: Duration,
    /// `on_failure`.
    pub on_failure: OnFailure,
}

/// One list: `ZONE`, or `ZONE=127.0.0.[2..9]` where only some of its answers count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockList {
    /// The zone, in lower case.
    pub zone: Box<str>,
    /// For each octet of an answer, what it may be; `None`: any answer of 127.0.0.0/8 counts.
    pub answers: Option<[Vec<RangeInclusive<u8>>; 4]>,
}

const ON_FAILURE: &[(&str, OnFailure)] = &[("defer", OnFailure::Defer), ("accept", OnFailure::Accept)];
const TREATMENTS: &[(&str, Treatment)] = &[
    ("reject", Treatment::Reject),
    ("defer", Treatment::Defer),
    ("mark", Treatment::Mark),
    ("accept", Treatment::Accept),
];

/// Reads `[screening]`.
pub(super) fn screening(document: &mut Section<'_>, base_dir: &Path, reading: &mut Reading) -> Screening {
    let Some(mut section) = document.section("screening", reading) else { return Screening::default() };
    let listeners = section.list("listeners", reading, word(SCREENED));
    let exempt_accounts =
        section.list_or_empty("exempt_accounts", reading, text(|name| Ok(name.to_lowercase().into())));
    let clamav = section.section("clamav", reading).and_then(|section| clamav(section, reading));
    let rspamd = section.section("rspamd", reading).and_then(|section| rspamd(section, base_dir, reading));
    let block_lists = section.section("block_lists", reading).and_then(|section| block_lists(section, reading));
    section.end(reading);
    Screening {
        listeners: listeners.map_or_else(|| vec![ListenerKind::Submission], |list| values(list.value)),
        exempt_accounts: exempt_accounts.map(|list| values(list.value)).unwrap_or_default(),
        clamav,
        rspamd,
        block_lists,
    }
}

fn clamav(mut section: Section<'_>, reading: &mut Reading) -> Option<Scanner> {
    let address = section.required("address", reading, text(|text| scanner_address(text, CLAMD_PORT)));
    let scanner = scanner(&mut section, address, reading);
    section.end(reading);
    scanner
}

fn rspamd(mut section: Section<'_>, base_dir: &Path, reading: &mut Reading) -> Option<Rspamd> {
    let address = section.required("url", reading, text(rspamd_url));
    let password_file = section.optional("password_file", reading, machine::secret(base_dir));
    let scanner = scanner(&mut section, address, reading);
    let actions = actions(section.section_or_empty("actions", reading), reading);
    section.end(reading);
    Some(Rspamd { scanner: scanner?, password_file: password_file.map(named), actions })
}

fn actions(mut section: Section<'_>, reading: &mut Reading) -> Actions {
    let mut treatment =
        |action, default| section.optional(action, reading, word(TREATMENTS)).map_or(default, |t| t.value);
    let actions = Actions {
        reject: treatment("reject", Treatment::Reject),
        soft_reject: treatment("soft_reject", Treatment::Defer),
        greylist: treatment("greylist", Treatment::Defer),
        rewrite_subject: treatment("rewrite_subject", Treatment::Mark),
        add_header: treatment("add_header", Treatment::Mark),
    };
    section.end(reading);
    actions
}

/// The keys that all scanners have.
fn scanner(
    section: &mut Section<'_>,
    address: Option<Placed<ScannerAddress>>,
    reading: &mut Reading,
) -> Option<Scanner> {
    let timeout = section.optional("timeout", reading, text(positive_duration));
    let on_failure = section.optional("on_failure", reading, word(ON_FAILURE));
    let message_bytes_max = section.optional("message_bytes_max", reading, text(units::size));
    let connections_max = section.optional("connections_max", reading, number(1..=1_000));
    Some(Scanner {
        address: address?.value,
        timeout: timeout.map_or(Duration::from_secs(30), |timeout| timeout.value),
        on_failure: on_failure.map_or(OnFailure::Defer, |choice| choice.value),
        message_bytes_max: message_bytes_max.map(|size| size.value),
        connections_max: connections_max.map_or(10, |number| to_usize(number.value)),
    })
}

fn block_lists(mut section: Section<'_>, reading: &mut Reading) -> Option<BlockLists> {
    let zones = section.required_list("zones", reading, text(block_list));
    let exempt_networks = section.list_or_empty("exempt_networks", reading, text(units::network));
    let private_addresses = section.optional("private_addresses", reading, truth);
    let timeout = section.optional("timeout", reading, text(positive_duration));
    let on_failure = section.optional("on_failure", reading, word(ON_FAILURE));
    let line = section.line;
    section.end(reading);
    let zones = values(zones?);
    if zones.len() > ZONES_MAX {
        reading.mistake(line, format!("screening.block_lists.zones: at most {ZONES_MAX}"));
    }
    Some(BlockLists {
        zones,
        exempt_networks: exempt_networks.map(|list| values(list.value)).unwrap_or_default(),
        private_addresses: private_addresses.is_some_and(|asked| asked.value),
        timeout: timeout.map_or(Duration::from_secs(10), |timeout| timeout.value),
        on_failure: on_failure.map_or(OnFailure::Defer, |choice| choice.value),
    })
}

/// `unix:PATH` or `HOST:PORT`.
fn scanner_address(text: &str, port: u16) -> Result<ScannerAddress, String> {
    let address = match text.strip_prefix("unix:") {
        Some(path) if path.starts_with('/') => Some(ScannerAddress::Unix(path.into())),
        Some(_) => None,
        None => units::host_and_port(text, port).map(|(host, port)| ScannerAddress::Tcp(host, port)),
    };
    address.ok_or_else(|| format!("`{text}` is not an address: write \"unix:/path/to/socket\" or \"127.0.0.1:{port}\""))
}

/// `http://HOST:PORT`, or a Unix socket.
fn rspamd_url(text: &str) -> Result<ScannerAddress, String> {
    if text.starts_with("unix:") {
        return scanner_address(text, RSPAMD_PORT);
    }
    let wanted = || format!("`{text}` is not rspamd's URL: write \"http://127.0.0.1:{RSPAMD_PORT}\" or \"unix:/path\"");
    let place = text.strip_prefix("http://").ok_or_else(wanted)?;
    let place = place.strip_suffix("/checkv2").or_else(|| place.strip_suffix('/')).unwrap_or(place);
    let (host, port) = units::host_and_port(place, RSPAMD_PORT).ok_or_else(wanted)?;
    Ok(ScannerAddress::Tcp(host, port))
}

/// `ZONE` or `ZONE=ANSWERS`, where an octet of the answers is a number or a list such as `[2;4..9]`.
fn block_list(text: &str) -> Result<BlockList, String> {
    let (zone, answers) = text.split_once('=').map_or((text, None), |(zone, answers)| (zone, Some(answers)));
    let zone = units::domain(zone)?;
    let answers = answers.map(|answers| {
        octets(answers).ok_or_else(|| format!("`{answers}` are not answers: write them like \"127.0.0.[2;4..9]\""))
    });
    Ok(BlockList { zone, answers: answers.transpose()? })
}

fn octets(text: &str) -> Option<[Vec<RangeInclusive<u8>>; 4]> {
    let mut rest = text;
    let mut octets: [Vec<RangeInclusive<u8>>; 4] = Default::default();
    for (at, octet) in octets.iter_mut().enumerate() {
        if at > 0 {
            rest = rest.strip_prefix('.')?;
        }
        let written = match rest.strip_prefix('[') {
            Some(list) => {
                let (list, behind) = list.split_once(']')?;
                rest = behind;
                list
            }
            None => {
                let (number, behind) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
                rest = behind;
                number
            }
        };
        *octet = written.split(';').map(octet_range).collect::<Option<_>>()?;
    }
    rest.is_empty().then_some(octets)
}

/// `4` or `4..9`.
fn octet_range(text: &str) -> Option<RangeInclusive<u8>> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scanners_have_addresses_of_two_kinds() {
        let tcp = |host: &str, port| Ok(ScannerAddress::Tcp(host.into(), port));
        assert_eq!(scanner_address("unix:/run/clamd", 1), Ok(ScannerAddress::Unix("/run/clamd".into())));
        assert_eq!(scanner_address("127.0.0.1:3310", 1), tcp("127.0.0.1", 3310));
        assert_eq!(scanner_address("clamd.example.org", 3310), tcp("clamd.example.org", 3310));
        for text in ["", "unix:", "unix:clamd.ctl", "/run/clamd", "host:0", "http://host"] {
            assert!(scanner_address(text, 1).is_err(), "{text}");
        }
        for url in ["http://127.0.0.1:11333", "http://127.0.0.1:11333/", "http://127.0.0.1/checkv2"] {
            assert_eq!(rspamd_url(url), tcp("127.0.0.1", 11333), "{url}");
        }
        assert_eq!(rspamd_url("unix:/run/rspamd.sock"), Ok(ScannerAddress::Unix("/run/rspamd.sock".into())));
        for url in ["", "https://127.0.0.1", "127.0.0.1:11333", "http://", "http://host/other", "http://h:x"] {
            assert!(rspamd_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn lists_may_say_which_answers_count() {
        assert_eq!(block_list("Bl.Example.ORG"), Ok(BlockList { zone: "bl.example.org".into(), answers: None }));
        let some = block_list("bl.example.org=127.0.[0;1].[2..9;11]").expect("good").answers.expect("some answers");
        assert_eq!(some, [vec![127..=127], vec![0..=0], vec![0..=0, 1..=1], vec![2..=9, 11..=11]]);
        for text in ["", "bl..org", "bl.org=", "bl.org=127.0.0", "bl.org=127.0.0.2.3", "bl.org=127.0.0.[9..2]"] {
            assert!(block_list(text).is_err(), "{text}");
        }
        for text in ["bl.org=127.0.0.256", "bl.org=127.0.0.[2", "bl.org=127.0.0.[]", "bl.org=127.0.0.2x"] {
            assert!(block_list(text).is_err(), "{text}");
        }
    }
}
