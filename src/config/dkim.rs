//! `[[dkim]]`: which keys sign what is sent.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::read::{Placed, Reading, Section, text, truth};
use super::{machine, units};

/// Keys of a domain: two kinds, each with the next one published ahead of its use.
const KEYS_MAX: usize = 4;
/// Octets of a selector, which is part of a domain name.
const SELECTOR_BYTES_MAX: usize = 63;

/// A `[[dkim]]`.
#[derive(Clone, Debug)]
pub struct Dkim {
    /// The line of `private_key`, 1-based.
    pub line: usize,
    /// `domain`: `d=`, as DNS has it, in lower case.
    pub domain: Box<str>,
    /// `selector`: `s=`, in lower case.
    pub selector: Box<str>,
    /// `private_key`: PEM, absolute path.
    pub private_key: PathBuf,
    /// `subdomains`: it also signs what comes from subdomains that have no keys.
    pub subdomains: bool,
    /// `convert_8bit`: eight-bit bodies are made seven-bit before they are signed.
    pub convert_8bit: bool,
}

/// Reads every `[[dkim]]`.
pub(super) fn keys(document: &mut Section<'_>, base_dir: &Path, reading: &mut Reading) -> Vec<Dkim> {
    let mut keys = Vec::new();
    let mut lines: HashMap<(Box<str>, Box<str>), usize> = HashMap::new();
    let mut counts: HashMap<Box<str>, usize> = HashMap::new();
    for section in document.sections("dkim", reading) {
        let Some(Placed { value: key, line }) = key(section, base_dir, reading) else { continue };
        if let Some(before) = lines.insert((key.domain.clone(), key.selector.clone()), line) {
            let text = format!("dkim.selector: `{}` of {} exists already, in line {before}", key.selector, key.domain);
            reading.mistake(line, text);
        }
        let count = counts.entry(key.domain.clone()).or_default();
        *count += 1;
        if *count > KEYS_MAX {
            reading.mistake(line, format!("dkim.domain: at most {KEYS_MAX} keys for one domain"));
        }
        keys.push(key);
    }
    keys
}

/// One `[[dkim]]`; its line is that of its selector.
fn key(mut section: Section<'_>, base_dir: &Path, reading: &mut Reading) -> Option<Placed<Dkim>> {
    let domain = section.required("domain", reading, text(domain));
    let selector = section.required("selector", reading, text(selector));
    let private_key = section.required("private_key", reading, machine::secret(base_dir));
    let subdomains = section.optional("subdomains", reading, truth);
    let convert_8bit = section.optional("convert_8bit", reading, truth);
    section.end(reading);
    let (selector, private_key) = (selector?, private_key?);
    let value = Dkim {
        line: private_key.line,
        domain: domain?.value,
        selector: selector.value,
        private_key: private_key.value,
        subdomains: subdomains.is_some_and(|subdomains| subdomains.value),
        convert_8bit: convert_8bit.is_none_or(|converts| converts.value),
    };
    Some(Placed { line: selector.line, value })
}

/// A domain that can hold keys, as DNS has it.
pub fn domain(text: &str) -> Result<Box<str>, String> {
    let domain = units::domain(text)?;
    idna::domain_to_ascii(&domain).map(Box::from).map_err(|_| format!("`{text}` is not a domain name"))
}

/// A selector (RFC 6376 §3.1): one label, or several with dots.
pub fn selector(text: &str) -> Result<Box<str>, String> {
    let wanted = || format!("`{text}` is not a selector: write a word such as \"s2026\" (letters, digits, hyphens)");
    if !text.is_ascii() || text.len() > SELECTOR_BYTES_MAX {
        return Err(wanted());
    }
    units::domain(text).map_err(|_| wanted())
}
