//! The files that a configuration names: the certificate with its key, keys that sign, secrets, authorities. One way for whoever needs
//! them (a start, a reload, `ringpost check`), so that what one refuses the others refuse in the same words.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use super::http::Token;
use super::trust::{self, Trusted};
use super::{certificate, return_path, signing, webhook};
use crate::authentication::Signers;
use crate::config::{Config, Mistake, NamedFile, unreadable};
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
    mistakes.extend(return_path::mistake(config).into_iter().chain(token(config)).chain(password(config)));
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

/// What is wrong with a file that the server makes where it is missing: what `read` says of it, or that there is no folder to
/// make it in (the data directory will be there).
pub(super) fn mistake<T, E: Display>(
    what: &str,
    file: &NamedFile,
    config: &Config,
    read: impl FnOnce(&Path) -> Result<T, E>,
) -> Option<Mistake> {
    let is_to_be_made = matches!(file.path.try_exists(), Ok(false));
    let folder_is_good = || file.path.parent().is_none_or(|folder| folder.is_dir() || folder == config.data_dir);
    let why = match is_to_be_made {
        true if folder_is_good() => return None,
        true => {
            let path = file.path.display();
            format!("{path}: there is no such folder: make it, or name a file in the data_dir")
        }
        false => read(&file.path).err()?.to_string(),
    };
    Some(Mistake { line: file.line, text: format!("{what}: {why}") })
}

fn token(config: &Config) -> Option<Mistake> {
    mistake("http.token_file", &config.http.as_ref()?.token_file, config, Token::read)
}

/// What a spam scanner's password is read from must be there.
fn password(config: &Config) -> Option<Mistake> {
    let file = config.screening.rspamd.as_ref()?.password_file.as_ref()?;
    let error = std::fs::File::open(&file.path).err()?;
    let text = format!("screening.rspamd.password_file: {}: {}", file.path.display(), unreadable(&error));
    Some(Mistake { line: file.line, text })
}
