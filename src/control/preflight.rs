//! `ringpost preflight`: a message as this configuration would send it, for the rules of [`crate::preflight`].
//!
//! Owns: which keys, reverse-path and source addresses the message would have. Never: sends it, or changes anything.
//! Limits: a header of [`HEADER_BYTES_MAX`] bytes is read, and no body.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::lookup::{self, World};
use super::signing;
use crate::config::{Account, Config, ListenerKind, Mistake, Pool, Standard};
use crate::message::scan::{HEADER_BYTES_MAX, from_mailboxes, routing, scan};
use crate::policy;
use crate::preflight::host::egress;
use crate::preflight::{Departure, Finding, examine};

/// Reads what counts of a message in a file, which may have lines that end in LF alone.
///
/// # Errors
/// Why it cannot be looked at, for people; the file is not named.
pub fn read(file: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    let mut text = Vec::new();
    // One byte more, so that a header that is too large shows.
    let limit = u64::try_from(HEADER_BYTES_MAX + 1).unwrap_or(u64::MAX);
    File::open(file).map_err(cannot)?.take(limit).read_to_end(&mut text).map_err(cannot)?;
    let content = with_crlf(&text);
    let facts = scan(&content);
    if facts.too_large {
        return Err(format!("its header has more than {HEADER_BYTES_MAX} bytes"));
    }
    if facts.body_start == 0 {
        return Err("does not begin with a header field: is it a message?".into());
    }
    Ok(content)
}

fn with_crlf(text: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(text.len() + text.len() / 16);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let bare = line.strip_suffix(b"\n");
        content.extend_from_slice(bare.map_or(line, |bare| bare.strip_suffix(b"\r").unwrap_or(bare)));
        if bare.is_some() {
            content.extend_from_slice(b"\r\n");
        }
    }
    content
}

/// What the rules make of `content`, sent by `config` with the reverse-path `from`, or else with that of its author or, where
/// the author's account has it so, our own.
///
/// # Errors
/// Keys that cannot be used, each on its line, or no resolver.
pub fn look(config: &Config, content: &[u8], from: Option<&str>) -> Result<Vec<Finding>, Vec<Mistake>> {
    let signers = signing::of(config)?.of(content);
    let account = account(config, content);
    let own = config.return_path.as_ref().filter(|_| account.is_some_and(|account| account.return_path));
    let from = from.and_then(|address| address.rsplit_once('@')).map(|(_, domain)| domain);
    let from = from.map(|domain| idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_ascii_lowercase()));
    let reverse_domain = from.as_deref().or(own.map(|section| &*section.domain));
    let pool = pool(config, account, content);
    let looked = World::visit(config, async |world| {
        // Without an answer, what the host knows of itself is left.
        let named = world.addresses(&config.hostname).await.unwrap_or_default();
        let egress = egress(config, &pool, &lookup::chosen(), &named);
        let signers = signers.as_deref().unwrap_or_default();
        examine(world, &Departure { content, reverse_domain, signers, egress: &egress }).await
    });
    looked.map_err(|text| vec![Mistake { line: 0, text }])
}

/// The account that may send what is from this author.
fn account<'a>(config: &'a Config, content: &[u8]) -> Option<&'a Account> {
    let mailboxes = from_mailboxes(content)?;
    let author = mailboxes.first()?;
    config.accounts.iter().find(|account| policy::may_send(account, author))
}

/// The pool that the message takes, as far as its account (or else the first relay listener) and its header say: routes of
/// recipients' domains are not looked at.
fn pool(config: &Config, account: Option<&Account>, content: &[u8]) -> Arc<Pool> {
    let relay = || config.listeners.iter().find(|listener| listener.kind == ListenerKind::Relay);
    let standard: Option<&Standard> =
        account.map(|account| &account.standard).or_else(|| relay().map(|listener| &*listener.standard));
    let [asked, ..] = routing(content);
    let asked = asked.filter(|_| standard.is_some_and(|standard| standard.headers));
    let asked = asked.and_then(|name| std::str::from_utf8(name).ok()).filter(|name| !name.is_empty());
    config.pool_for(asked.or(standard.and_then(|standard| standard.pool.as_deref())), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_message_is_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("message.eml");
        let of = |text: &[u8]| {
            std::fs::write(&file, text).expect("written");
            read(&file)
        };
        assert_eq!(of(b"A: b\n c\r\nD: e\n\nbody"), Ok(b"A: b\r\n c\r\nD: e\r\n\r\nbody".to_vec()));
        assert!(of(b"just text\n").is_err_and(|why| why.contains("header field")));
        assert!(of(&b"A: b\r\n".repeat(HEADER_BYTES_MAX / 6 + 1)).is_err_and(|why| why.contains("more than")));
        assert!(read(&folder.path().join("none")).is_err_and(|why| why.contains("cannot be read")));
    }

    #[test]
    fn the_pool_is_that_of_the_account_or_of_the_header_where_it_counts() {
        let text = "[server]\nhostname = 'mta.test'\ndata_dir = 'data'\n[[listener]]\nkind = 'relay'\n\
                    address = '127.0.0.1:2525'\ntls = 'off'\nnetworks = ['127.0.0.0/8']\nrouting_headers = true\n\
                    [[source]]\nname = 'one'\naddresses = ['192.0.2.1']\n[[source]]\nname = 'two'\naddresses = ['192.0.2.2']\n\
                    [delivery]\npool = 'two'\n[[account]]\nname = 'u'\npassword = '$argon2id$...'\nsenders = ['@a.test']\npool = 'one'\n";
        let config = Config::parse(text, Path::new("/nowhere")).expect("good");
        let of = |content: &[u8]| pool(&config, account(&config, content), content).name.to_string();
        assert_eq!(of(b"From: x@a.test\r\n\r\n"), "one");
        assert_eq!(of(b"From: x@a.test\r\nX-Virtual-MTA: two\r\n\r\n"), "one", "the account may not say");
        assert_eq!(of(b"From: x@b.test\r\n\r\n"), "two");
        assert_eq!(of(b"From: x@b.test\r\nX-Virtual-MTA: one\r\n\r\n"), "one", "the relay may");
    }
}
