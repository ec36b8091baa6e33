//! `[preflight]`: whether messages are held against the rules of large receivers before they are taken.

use super::read::{Reading, Section, word};

/// What is done about the rules of large receivers at submission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtSubmission {
    /// Nothing is looked at.
    #[default]
    Off,
    /// A message that breaks one is taken, and an event tells of it.
    Warn,
    /// It is refused.
    Refuse,
}

/// The words for it.
pub(super) const AT_SUBMISSION: &[(&str, AtSubmission)] =
    &[("off", AtSubmission::Off), ("warn", AtSubmission::Warn), ("refuse", AtSubmission::Refuse)];

/// Reads `[preflight]`: what holds for accounts and relay listeners that do not say it themselves.
pub(super) fn preflight(document: &mut Section<'_>, reading: &mut Reading) -> AtSubmission {
    let mut section = document.section_or_empty("preflight", reading);
    let at_submission = section.optional("at_submission", reading, word(AT_SUBMISSION));
    section.end(reading);
    at_submission.map_or(AtSubmission::Off, |choice| choice.value)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    #[test]
    fn it_is_off_unless_said_and_an_account_or_a_listener_has_the_last_word() {
        let base = "[server]\nhostname = 'mta.test'\ndata_dir = 'data'\n[[listener]]\nkind = 'relay'\n\
                    address = '127.0.0.1:2525'\ntls = 'off'\nnetworks = ['127.0.0.0/8']\n";
        let read = |more: &str| {
            let told = |mistakes| format!("{mistakes:?}");
            Config::parse(&format!("{base}{more}"), Path::new("/nowhere")).map_err(told)
        };
        let config = read("").expect("good");
        assert_eq!((config.preflight, config.listeners[0].standard.preflight), (AtSubmission::Off, None));
        let account =
            "[[account]]\nname = 'u'\npassword = '$argon2id$...'\nsenders = ['@a.test']\npreflight = 'warn'\n";
        let config = read(&format!("preflight = 'refuse'\n{account}")).expect("good");
        assert_eq!(config.listeners[0].standard.preflight, Some(AtSubmission::Refuse));
        assert_eq!(config.accounts[0].standard.preflight, Some(AtSubmission::Warn));
        assert_eq!(read("[preflight]\nat_submission = 'refuse'\n").expect("good").preflight, AtSubmission::Refuse);
        assert!(read("[preflight]\nat_submission = 'maybe'\n").expect_err("no such word").contains("at_submission"));
    }
}
