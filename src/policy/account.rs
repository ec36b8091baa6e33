//! Accounts: finding one, and whether its password is right.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use argon2::{Argon2, PasswordHash, PasswordVerifier};

use super::{Authorized, Rights};
use crate::config::Account;

/// The accounts by name. Letter case of the name does not count.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    by_name: HashMap<Box<str>, Arc<Account>>,
    /// Hashes that names without one are verified against, for the time that it takes.
    decoys: Vec<Box<str>>,
    /// Chooses a name's decoy, always the same one.
    choice: RandomState,
}

impl Accounts {
    /// Those of a configuration.
    pub fn new(accounts: &[Account]) -> Self {
        let by_name = accounts.iter().map(|account| (key(&account.name), Arc::new(account.clone()))).collect();
        let set = accounts.iter().map(|account| &account.password).filter(|hash| is_complete(hash));
        Self { by_name, decoys: set.cloned().collect(), choice: RandomState::new() }
    }

    /// The account called `name`.
    pub fn find(&self, name: &str) -> Option<&Arc<Account>> {
        self.by_name.get(&key(name))
    }

    /// How to find out whether `name` may authenticate. An unknown name, a wrong password and an account without
    /// `smtp` take the same time and give the same answer, so that nobody learns which names exist.
    pub fn challenge(&self, name: &str) -> Challenge {
        let account = self.find(name).cloned();
        let hash = match &account {
            Some(account) if is_complete(&account.password) => account.password.clone(),
            _ => self.decoy(name),
        };
        Challenge { account, hash }
    }

    /// A hash that costs what the accounts' own do, whatever their parameters are.
    fn decoy(&self, name: &str) -> Box<str> {
        let choice = self.choice.hash_one(key(name)) as usize;
        match self.decoys.len() {
            0 => NOBODY.into(),
            count => self.decoys[choice % count].clone(),
        }
    }
}

fn key(name: &str) -> Box<str> {
    name.to_ascii_lowercase().into()
}

/// Whether verifying against `hash` takes its time: a password that was not set yet has none.
fn is_complete(hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| hash.hash.is_some())
}

/// A hash of nothing anybody knows, where no account has one.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5LWtub3dzLXRoaXM$Q0VQd0b3dI4S7yZ0mHqCkXnGJ0m7hJ4nNnQm9m3v1Zk";

/// One AUTH attempt. `Send`, so that it can be verified off the reactor.
#[derive(Debug)]
pub struct Challenge {
    account: Option<Arc<Account>>,
    /// The account's, or a decoy.
    hash: Box<str>,
}

impl Challenge {
    /// Verifies `password`; tens of milliseconds. `Some` only for an account that may use SMTP and whose password it is.
    pub fn verify(self, password: &[u8]) -> Option<Authorized> {
        let right =
            PasswordHash::new(&self.hash).is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok());
        match self.account {
            Some(account) if right && account.smtp && account.password == self.hash => {
                Some(Authorized(Rights::Account(account)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use argon2::PasswordHasher;
    use argon2::password_hash::SaltString;

    use super::super::tests::account;
    use super::*;
    use crate::config::PASSWORD_UNSET;

    fn accounts(smtp: bool) -> Accounts {
        let salt = SaltString::from_b64("c2FsdHNhbHRzYWx0").expect("a salt");
        let cheap = argon2::Params::new(8, 1, 1, None).expect("parameters");
        let hash = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, cheap)
            .hash_password(b"pa$s wo=rd", &salt)
            .expect("a hash")
            .to_string();
        Accounts::new(&[Account { smtp, password: hash.into(), ..(*account(&["user@example.org"])).clone() }])
    }

    #[test]
    fn the_right_password_of_a_permitted_account_opens() {
        let opened = accounts(true).challenge("User@Example.org").verify(b"pa$s wo=rd");
        assert_eq!(opened.expect("authorized").account().map(|a| a.name.as_ref()), Some("user@example.org"));
    }

    #[test]
    fn everything_else_stays_closed() {
        assert!(accounts(true).challenge("user@example.org").verify(b"wrong").is_none());
        assert!(accounts(true).challenge("nobody@example.org").verify(b"pa$s wo=rd").is_none());
        assert!(accounts(false).challenge("user@example.org").verify(b"pa$s wo=rd").is_none());
    }

    #[test]
    fn an_unknown_name_costs_a_real_verification() {
        assert!(is_complete(NOBODY));
        let known = accounts(true);
        let hash = |name: &str| known.challenge(name).hash;
        assert_eq!(hash("nobody@example.org"), hash("user@example.org"), "the same parameters, the same time");
        assert_eq!(&*Accounts::default().challenge("nobody").hash, NOBODY);
        let unset = Account { password: PASSWORD_UNSET.into(), ..(*account(&["a@example.org"])).clone() };
        let challenge = Accounts::new(&[unset]).challenge("user@example.org");
        assert_eq!(&*challenge.hash, NOBODY);
        assert!(challenge.verify(b"").is_none());
    }

    #[test]
    fn a_decoys_password_opens_nothing() {
        assert!(accounts(true).challenge("nobody@example.org").verify(b"pa$s wo=rd").is_none());
    }
}
