//! `[delivery.tls]` and a route's `tls`: what connections to next hops must prove.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::read::{Placed, Reading, Section, number, truth, word};
use super::validate::path;

const LEVELS: &[(&str, TlsLevel)] = &[
    ("off", TlsLevel::Off),
    ("opportunistic", TlsLevel::Opportunistic),
    ("required", TlsLevel::Required),
    ("verified", TlsLevel::Verified),
];

/// How much TLS a next hop must offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsLevel {
    /// STARTTLS is not used.
    Off,
    /// It is used where offered, whatever the certificate (RFC 7435); plain text where it fails.
    #[default]
    Opportunistic,
    /// No mail without it, whatever the certificate.
    Required,
    /// No mail without it, nor to a host whose certificate is not its own.
    Verified,
}

/// A file of PEM certificates or keys, and the line that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// 1-based.
    pub line: usize,
    /// Absolute.
    pub path: Arc<Path>,
}

/// `[delivery.tls]`.
#[derive(Clone, Debug)]
pub struct DeliveryTls {
    /// `mode`: where no route says otherwise.
    pub level: TlsLevel,
    /// `ca_file`: whom certificates are trusted by; absent: the system's authorities.
    pub ca_file: Option<NamedFile>,
    /// `dane` (RFC 7672).
    pub dane: bool,
    /// `mta_sts` (RFC 8461).
    pub mta_sts: bool,
    /// `mta_sts_port`: where policy hosts answer.
    pub mta_sts_port: u16,
}

impl Default for DeliveryTls {
    fn default() -> Self {
        Self { level: TlsLevel::default(), ca_file: None, dane: false, mta_sts: true, mta_sts_port: 443 }
    }
}

/// Reads `[delivery.tls]`.
pub(super) fn delivery_tls(delivery: &mut Section<'_>, base_dir: &Path, reading: &mut Reading) -> DeliveryTls {
    let mut section = delivery.section_or_empty("tls", reading);
    let level = section.optional("mode", reading, word(LEVELS));
    let ca_file = section.optional("ca_file", reading, path(base_dir));
    let dane = section.optional("dane", reading, truth);
    let mta_sts = section.optional("mta_sts", reading, truth);
    let port = section.optional("mta_sts_port", reading, number(1..=65_535));
    section.end(reading);
    if let (Some(level), Some(dane)) = (&level, &dane)
        && level.value == TlsLevel::Off
        && dane.value
    {
        reading.mistake(dane.line, "delivery.tls.dane: never used, as delivery.tls.mode is \"off\"");
    }
    let default = DeliveryTls::default();
    DeliveryTls {
        level: level.map_or(default.level, |level| level.value),
        ca_file: ca_file.map(named),
        dane: dane.is_some_and(|dane| dane.value),
        mta_sts: mta_sts.map_or(default.mta_sts, |mta_sts| mta_sts.value),
        mta_sts_port: port.and_then(|port| u16::try_from(port.value).ok()).unwrap_or(default.mta_sts_port),
    }
}

/// A route's `tls` and `ca_file`.
pub(super) fn route_tls(
    section: &mut Section<'_>,
    base_dir: &Path,
    reading: &mut Reading,
) -> (Option<TlsLevel>, Option<NamedFile>) {
    let level = section.optional("tls", reading, word(LEVELS));
    let ca_file = section.optional("ca_file", reading, path(base_dir));
    let is_verified = level.as_ref().is_some_and(|level| level.value == TlsLevel::Verified);
    if let Some(file) = ca_file.as_ref().filter(|_| !is_verified) {
        reading.mistake(file.line, "route.ca_file: only with tls = \"verified\", which checks certificates");
    }
    (level.map(|level| level.value), ca_file.map(named))
}

pub(super) fn named(file: Placed<PathBuf>) -> NamedFile {
    NamedFile { line: file.line, path: file.value.into() }
}
