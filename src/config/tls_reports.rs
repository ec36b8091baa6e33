//! `[tls_reports]`: domains are told how TLS with their hosts went (RFC 8460).

use super::read::{Reading, Section, text};
use super::units;

/// Octets of a name or contact.
const TEXT_BYTES_MAX: usize = 200;

/// `[tls_reports]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsReports {
    /// `organization`: who reports.
    pub organization: Box<str>,
    /// `contact`: whom to ask about a report.
    pub contact: Box<str>,
    /// `from`: the address that reports come from; a DKIM key of its domain signs them.
    pub from: Box<str>,
}

/// Reads `[tls_reports]`; absent: nothing is counted or sent.
pub(super) fn tls_reports(document: &mut Section<'_>, reading: &mut Reading) -> Option<TlsReports> {
    let mut section = document.section("tls_reports", reading)?;
    let organization = section.required("organization", reading, text(words));
    let contact = section.required("contact", reading, text(words));
    let from = section.required("from", reading, text(address));
    section.end(reading);
    Some(TlsReports { organization: organization?.value, contact: contact?.value, from: from?.value })
}

fn words(written: &str) -> Result<Box<str>, String> {
    let is_good = !written.trim().is_empty() && written.len() <= TEXT_BYTES_MAX && !written.contains(char::is_control);
    if is_good { Ok(written.into()) } else { Err(format!("must be 1 to {TEXT_BYTES_MAX} octets of text")) }
}

fn address(written: &str) -> Result<Box<str>, String> {
    match units::sender(written) {
        Ok(address) if !address.starts_with('@') => Ok(address),
        _ => Err(format!("`{written}` is not an address")),
    }
}
