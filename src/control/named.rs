//! The files that a configuration names: the certificate with its key, keys that sign, secrets, authorities. One way for whoever needs
//! them (a start, a reload, `ringpost check`), so that what one refuses the others refuse in the same words.

use std::sync::Arc;

use super::trust::{self, Trusted};
use super::{certificate, return_path, signing, webhook};
use crate::authentication::Signers;
use crate::config::{Config, Mistake};
use crate::crossing::Certificate;

/// What they hold.
pub struct Named {
    /// The server's certificate and key.
    pub certificate: Option<Arc<Certificate>>,
    /// The keys that sign.
    pub signers: Arc<Signers>,
    /// Whom certificates and DNS are trusted by.
    pub trusted: Trusted,
}

/// Reads all of them; every one that cannot be used is a mistake, on its line.
pub fn by(config: &Config) -> Result<Named, Vec<Mistake>> {
    let mut mistakes = webhook::mistakes(config);
    mistakes.extend(return_path::mistake(config));
    match (certificate::of(config), signing::of(config), trust::of(config)) {
        (Ok(certificate), Ok(signers), Ok(trusted)) if mistakes.is_empty() => {
            Ok(Named { certificate, signers, trusted })
        }
        (certificate, signers, trusted) => {
            mistakes.extend(certificate.err());
            mistakes.extend(signers.err().into_iter().chain(trusted.err()).flatten());
            mistakes.sort_by_key(|mistake| mistake.line);
            Err(mistakes)
        }
    }
}
