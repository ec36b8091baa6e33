//! `[return_path]`: where bounces and complaints about our mail come back to.

use std::path::Path;
use std::time::Duration;

use super::assurance::named;
use super::read::{Placed, Reading, Section, text};
use super::validate::{positive_duration, values};
use super::{Listener, ListenerKind, NamedFile, machine, units};

/// The key's file in the data directory, where none is named.
const KEY_FILE: &str = "return_path.key";
/// Octets of the domain: with the token before it, it still is an address.
const DOMAIN_BYTES_MAX: usize = 200;
/// Addresses for complaints.
const FEEDBACK_MAX: usize = 16;
/// How long an address is good, at least and at most.
const VALID: std::ops::RangeInclusive<u64> = 1..=365;
const DAY_S: u64 = 86_400;

/// `[return_path]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnPath {
    /// `domain`, as DNS has it, in lower case. Its MX is the `bounce` listener.
    pub domain: Box<str>,
    /// `key_file`, absolute; absent: `return_path.key` in the data directory. Made with a random key where it is missing.
    pub key_file: NamedFile,
    /// `valid_for`, in days: how old a message may be about which something comes back.
    pub valid_days: u32,
    /// `feedback`: local parts to which providers send complaints, in lower case.
    pub feedback: Vec<Box<str>>,
}

/// Reads `[return_path]`; its value is absent where it has mistakes. `data_dir` is absent where it could not be read.
pub(super) fn return_path(
    document: &mut Section<'_>,
    data_dir: Option<&Path>,
    base_dir: &Path,
    reading: &mut Reading,
) -> Option<Placed<Option<ReturnPath>>> {
    let section = document.section("return_path", reading)?;
    let line = section.line;
    Some(Placed { line, value: whole(section, data_dir, base_dir, reading) })
}

fn whole(
    mut section: Section<'_>,
    data_dir: Option<&Path>,
    base_dir: &Path,
    reading: &mut Reading,
) -> Option<ReturnPath> {
    let section_line = section.line;
    let domain = section.required("domain", reading, text(domain));
    let key_file = section.optional("key_file", reading, machine::secret(base_dir));
    let valid_for = section.optional("valid_for", reading, text(days));
    let feedback = section.list("feedback", reading, text(local_part));
    section.end(reading);
    if let Some(list) = feedback.as_ref().filter(|list| list.value.len() > FEEDBACK_MAX) {
        reading.mistake(list.line, format!("return_path.feedback: at most {FEEDBACK_MAX}"));
    }
    let by_default = || data_dir.map(|folder| NamedFile { line: section_line, path: folder.join(KEY_FILE).into() });
    let key_file = key_file.map(named).or_else(by_default);
    Some(ReturnPath {
        domain: domain?.value,
        key_file: key_file?,
        valid_days: valid_for.map_or(30, |days| days.value),
        feedback: feedback.map(|list| values(list.value)).unwrap_or_default(),
    })
}

/// What contradicts the listeners. Where not all of them could be read, the one that is missing may be among the others.
pub(super) fn contradictions(
    return_path: Option<&Placed<Option<ReturnPath>>>,
    listeners: &[Placed<Listener>],
    all_listeners: bool,
    reading: &mut Reading,
) {
    let bounce = listeners.iter().find(|listener| listener.value.kind == ListenerKind::Bounce);
    match (return_path, bounce) {
        (Some(return_path), None) if all_listeners => {
            let text = "return_path: nothing would come back: it needs a [[listener]] of kind = \"bounce\"";
            reading.missing(return_path.line, text);
        }
        (None, Some(bounce)) => {
            let text = "listener.kind: \"bounce\" needs the section [return_path], whose domain's mail it takes";
            reading.missing(bounce.line, text);
        }
        _ => {}
    }
    if let (None, Some(asking)) = (return_path, listeners.iter().find(|listener| listener.value.return_path)) {
        reading.missing(asking.line, NEEDS_SECTION.replace("WHO", "listener"));
    }
}

/// What is said where a return path is asked for that there is not. `WHO` asks.
pub(super) const NEEDS_SECTION: &str = "WHO.return_path: needs the section [return_path] with a domain";

fn domain(written: &str) -> Result<Box<str>, String> {
    let domain = units::domain(written)?;
    let ascii = idna::domain_to_ascii(&domain).map_err(|_| format!("`{written}` is not a domain name"))?;
    if ascii.len() > DOMAIN_BYTES_MAX {
        return Err(format!("`{written}` is too long: at most {DOMAIN_BYTES_MAX} octets"));
    }
    Ok(ascii.into())
}

fn days(written: &str) -> Result<u32, String> {
    let duration: Duration = positive_duration(written)?;
    let days = duration.as_secs().div_ceil(DAY_S);
    if !VALID.contains(&days) {
        return Err(format!("`{written}` must be between {}d and {}d", VALID.start(), VALID.end()));
    }
    u32::try_from(days).map_err(|_| format!("`{written}` is too long"))
}

fn local_part(written: &str) -> Result<Box<str>, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
    if written.is_empty() || written.len() > 64 || !written.chars().all(good) {
        return Err(format!("`{written}` is not a local part: write a word such as \"fbl\", without the domain"));
    }
    Ok(written.to_lowercase().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const SERVER: &str = "[server]\nhostname = \"mta.test\"\ndata_dir = \"data\"\n[[listener]]\nkind = \"relay\"\n\
        address = \"127.0.0.1:2525\"\ntls = \"off\"\nnetworks = [\"127.0.0.0/8\"]\n";
    const SERVER_LINES: usize = 8;

    #[test]
    fn every_contradiction_is_found_on_its_line() {
        let wrong: &[(&str, &str, usize, &str)] = &[
            (
                "a return path without a listener",
                "[return_path]\ndomain = \"bounces.example.org\"\n",
                1,
                "needs a [[listener]] of kind = \"bounce\"",
            ),
            (
                "a listener for bounces without a return path",
                "[[listener]]\nkind = \"bounce\"\naddress = \"127.0.0.1:2526\"\ntls = \"off\"\n",
                3,
                "\"bounce\" needs the section [return_path]",
            ),
            (
                "a listener for bounces at an address that is taken",
                "[[listener]]\nkind = \"bounce\"\naddress = \"127.0.0.1:2525\"\ntls = \"off\"\n[return_path]\ndomain = \"a.test\"\n",
                3,
                "127.0.0.1:2525 is used already in line 6",
            ),
            (
                "a listener for bounces with a mistake of its own",
                "[[listener]]\nkind = \"bounce\"\naddress = \"nowhere\"\ntls = \"off\"\n[return_path]\ndomain = \"a.test\"\n",
                3,
                "nowhere",
            ),
            (
                "an account that asks for a return path that there is not",
                "[[account]]\nname = \"a\"\npassword = \"$argon2id$...\"\nsenders = [\"a@b\"]\nreturn_path = true\n",
                5,
                "account.return_path: needs the section [return_path]",
            ),
            (
                "a return path of no domain",
                "[[listener]]\nkind = \"bounce\"\naddress = \"127.0.0.1:2526\"\ntls = \"off\"\n[return_path]\ndomain = \"a b\"\n",
                6,
                "`a b` is not a domain name",
            ),
            (
                "a feedback address with its domain",
                "[[listener]]\nkind = \"bounce\"\naddress = \"127.0.0.1:2526\"\ntls = \"off\"\n[return_path]\ndomain = \"a.test\"\n\
         feedback = [\"fbl@a.test\"]\n",
                7,
                "without the domain",
            ),
            (
                "return paths that are good for too long",
                "[[listener]]\nkind = \"bounce\"\naddress = \"127.0.0.1:2526\"\ntls = \"off\"\n[return_path]\ndomain = \"a.test\"\n\
         valid_for = \"400d\"\n",
                7,
                "between 1d and 365d",
            ),
            (
                "networks that may bounce",
                "[[listener]]\nkind = \"bounce\"\naddress = \"127.0.0.1:2526\"\ntls = \"off\"\nnetworks = [\"10.0.0.0/8\"]\n\
         [return_path]\ndomain = \"a.test\"\n",
                5,
                "bounces come from everywhere",
            ),
        ];
        for (what, added, line, words) in wrong {
            let mistakes = Config::parse(&format!("{SERVER}{added}"), Path::new("/etc")).expect_err(what);
            let [mistake] = mistakes.as_slice() else { panic!("{what}: one mistake was made, not {mistakes:?}") };
            assert_eq!(mistake.line, SERVER_LINES + line, "{what}: {mistake:?}");
            assert!(mistake.text.contains(words), "{what}: {mistake:?}");
        }
    }
}
