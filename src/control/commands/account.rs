//! `ringpost account`.

use std::io::{IsTerminal, Read};

use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHasher, SaltString};
use clap::Subcommand;

use shards::terminal::Hidden;

use super::Failure;

/// The longest password: more than anyone types, less than a mistake of a pipe.
const PASSWORD_BYTES_MAX: u64 = 4_096;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Read a password from stdin and print the argon2id string for `password = "…"`
    #[command(after_help = "Example:\n  ringpost account hash < password.txt")]
    Hash,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Hash => {
            println!("{}", hash(&read(std::io::stdin().lock(), std::io::stdin().is_terminal())?)?);
            Ok(())
        }
    }
}

/// Reads a password; one line end after it does not belong to it.
fn read(mut input: impl Read, typed: bool) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| Failure::Failed(format!("stdin: {error}"));
    let mut password = Vec::new();
    if typed {
        // One octet at a time: what comes after the line is not for us.
        let _hidden = Hidden::begin(std::io::stdin());
        eprint!("Password (it is not shown): ");
        while password.last() != Some(&b'\n') && input.by_ref().take(1).read_to_end(&mut password).map_err(failed)? > 0
        {
        }
    } else {
        input.take(PASSWORD_BYTES_MAX + 3).read_to_end(&mut password).map_err(failed)?;
    }
    if password.last() == Some(&b'\n') {
        password.pop();
        if password.last() == Some(&b'\r') {
            password.pop();
        }
    }
    Ok(password)
}

/// Hashes with argon2id in the parameters that OWASP recommends (19 MiB, 2 passes, 1 lane), which are the library's.
pub(crate) fn hash(password: &[u8]) -> Result<String, Failure> {
    if password.is_empty() {
        return Err(Failure::Failed("the password is empty".into()));
    }
    if password.len() as u64 > PASSWORD_BYTES_MAX {
        return Err(Failure::Failed(format!("the password is longer than {PASSWORD_BYTES_MAX} octets")));
    }
    if password.contains(&0) {
        return Err(Failure::Failed("the password holds a NUL, which AUTH cannot carry".into()));
    }
    let salt = SaltString::generate(&mut OsRng);
    let hashed = argon2::Argon2::default().hash_password(password, &salt);
    hashed.map(|hash| hash.to_string()).map_err(|error| Failure::Failed(format!("argon2: {error}")))
}

#[cfg(test)]
mod tests {
    use argon2::PasswordVerifier;
    use argon2::password_hash::PasswordHash;

    use super::*;

    #[test]
    fn a_hash_verifies_its_password_and_no_other() {
        let text = hash(b"s3cret").expect("a hash");
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        let parsed = PasswordHash::new(&text).expect("a PHC string");
        assert!(argon2::Argon2::default().verify_password(b"s3cret", &parsed).is_ok());
        assert!(argon2::Argon2::default().verify_password(b"s3cret\n", &parsed).is_err());
        assert_ne!(text, hash(b"s3cret").expect("another salt"));
    }

    #[test]
    fn one_line_end_is_not_part_of_a_password() {
        for (typed, password) in
            [("a\n", "a"), ("a\r\n", "a"), ("a", "a"), ("a\n\n", "a\n"), (" a \n", " a "), ("\n", "")]
        {
            assert_eq!(read(typed.as_bytes(), false).ok().as_deref(), Some(password.as_bytes()), "{typed:?}");
        }
        assert_eq!(read(&b"a\nb\n"[..], true).ok().as_deref(), Some(&b"a"[..]), "what is typed ends with its line");
        assert!(hash(b"").is_err() && hash(b"a\0b").is_err());
        assert!(hash(&[b'x'; 5_000]).is_err());
    }
}
