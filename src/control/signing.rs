//! The keys that sign what is sent: read from their files, checked, and handed to the shards.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use crate::authentication::{Key, Signer, Signers};
use crate::config::{Config, Dkim, Mistake, unreadable};

/// The largest file that is read as a key: an RSA key of 8192 bits is a tenth of it.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Permissions that nobody may have on a private key but its owner and group.
const OF_OTHERS: u32 = 0o007;

/// Reads every key that `config` names; every one that cannot be used is a mistake, on its line.
pub fn of(config: &Config) -> Result<Arc<Signers>, Vec<Mistake>> {
    let mut keys = Vec::with_capacity(config.dkim.len());
    let mut mistakes = Vec::new();
    for section in &config.dkim {
        match load(section) {
            Ok(signer) => keys.push((signer, section.subdomains)),
            Err(why) => {
                let text = format!("dkim.private_key: {}: {why}", section.private_key.display());
                mistakes.push(Mistake { line: section.line, text });
            }
        }
    }
    if mistakes.is_empty() { Ok(Arc::new(Signers::new(keys))) } else { Err(mistakes) }
}

/// One of them, with its names.
///
/// # Errors
/// Why it cannot be used, for people; the file is not named.
pub fn load(section: &Dkim) -> Result<Signer, String> {
    let text = read(&section.private_key)?;
    let key = Key::from_pem(&text).map_err(|error| error.to_string())?;
    let signer = Signer::new(&section.domain, &section.selector, key);
    Ok(if section.convert_8bit { signer } else { signer.keeping_8bit() })
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {}", unreadable(&error));
    let file = File::open(path).map_err(cannot)?;
    let mode = file.metadata().map_err(cannot)?.permissions().mode();
    if mode & OF_OTHERS != 0 {
        let path = path.display();
        return Err(format!("others on this machine have access to it (mode {:04o}): chmod 600 {path}", mode & 0o7777));
    }
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(cannot)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;
    use crate::authentication::Algorithm;

    fn config(folder: &Path, keys: &[(&str, &str)]) -> Config {
        let mut text = String::from(
            "[server]\nhostname = 'mta.test'\ndata_dir = 'data'\n[[listener]]\nkind = 'relay'\n\
             address = '127.0.0.1:2525'\ntls = 'off'\nnetworks = ['127.0.0.0/8']\n",
        );
        for (selector, file) in keys {
            text += &format!("[[dkim]]\ndomain = 'example.org'\nselector = '{selector}'\nprivate_key = '{file}'\n");
        }
        Config::parse(&text, folder).expect("good")
    }

    #[test]
    fn keys_are_read_and_every_one_that_cannot_be_used_is_told_with_its_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str, mode: u32| {
            std::fs::write(folder.path().join(name), text).expect("a file");
            std::fs::set_permissions(folder.path().join(name), Permissions::from_mode(mode)).expect("its mode");
        };
        let (pem, _) = Key::generate(Algorithm::Ed25519).expect("a key");
        write("good.pem", &pem, 0o640);
        write("open.pem", &pem, 0o644);
        write("other.pem", "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n", 0o600);
        let signers = of(&config(folder.path(), &[("a", "good.pem")])).expect("usable");
        assert!(signers.of(b"From: x@example.org\r\n").is_some());

        let keys = [("a", "good.pem"), ("b", "open.pem"), ("c", "none.pem"), ("d", "other.pem")];
        let mistakes = of(&config(folder.path(), &keys)).expect_err("three cannot be used");
        let expected = [
            (16, "open.pem: others on this machine have access to it (mode 0644): chmod 600 "),
            (20, "none.pem: cannot be read: No such file"),
            (24, "other.pem: holds no private key"),
        ];
        assert_eq!(mistakes.len(), expected.len(), "{mistakes:?}");
        for (mistake, (line, words)) in mistakes.iter().zip(expected) {
            assert!(mistake.line == line && mistake.text.contains(words), "{mistake:?}");
        }
    }
}
