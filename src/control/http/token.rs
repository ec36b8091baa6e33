//! The bearer token of the TCP side.

use std::hint::black_box;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use argon2::password_hash::rand_core::{OsRng, RngCore};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Refusal;
use crate::config::unreadable;
use crate::control::secret_file;

/// Octets of randomness in a token that we make.
const RANDOM_BYTES: usize = 32;
/// The shortest token that is not a joke.
const TOKEN_BYTES_MIN: usize = 16;
/// The longest.
const TOKEN_BYTES_MAX: usize = 1_024;

/// Octets of the file that are read: a token, with its line's end.
const FILE_BYTES_MAX: u64 = TOKEN_BYTES_MAX as u64 + 2;

/// A token.
pub struct Token(Box<str>);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file system.
    #[error("{0}: {why}", why = unreadable(.1))]
    Io(std::path::PathBuf, std::io::Error),
    /// What the file holds is none.
    #[error(
        "{0}: must hold one line of {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} printable characters; remove the file to get a new token"
    )]
    Bad(std::path::PathBuf),
}

impl TokenError {
    /// Whether it is for the operator to mend, and not for the machine to overcome.
    pub fn is_of_the_file(&self) -> bool {
        match self {
            Self::Io(_, error) => {
                matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::InvalidData)
            }
            Self::Bad(_) => true,
        }
    }
}

impl Token {
    /// Reads the token of `file`; where there is no file, makes one with a random token, readable by its owner only.
    pub fn read_or_make(file: &Path) -> Result<Token, TokenError> {
        Self::understood(file, secret_file::read_or_make(file, FILE_BYTES_MAX, new))
    }

    /// Reads the token of `file`.
    pub fn read(file: &Path) -> Result<Token, TokenError> {
        Self::understood(file, secret_file::read(file, FILE_BYTES_MAX))
    }

    fn understood(file: &Path, text: std::io::Result<String>) -> Result<Token, TokenError> {
        let text = text.map_err(|error| TokenError::Io(file.to_owned(), error))?;
        Self::parse(&text).ok_or_else(|| TokenError::Bad(file.to_owned()))
    }

    fn parse(text: &str) -> Option<Token> {
        let token = text.trim_ascii();
        let good = (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len())
            && token.bytes().all(|byte| byte.is_ascii_graphic());
        good.then(|| Token(token.into()))
    }

    /// The token itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Compares in a time that depends on the length of `offered` alone: how far it is right cannot be measured.
    fn is(&self, offered: &[u8]) -> bool {
        let mine = self.0.as_bytes();
        let mut differing = usize::from(mine.len() != offered.len());
        for (n, byte) in offered.iter().enumerate() {
            differing |= usize::from(mine[n % mine.len()] ^ byte);
            differing = black_box(differing);
        }
        differing == 0
    }
}

/// Lets a request through that brings the token.
pub(super) async fn ask(State(token): State<Arc<Token>>, request: Request, next: Next) -> Response {
    let offered = request.headers().get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if offered.is_some_and(|offered| token.is(offered)) {
        return next.run(request).await;
    }
    let refusal = Refusal(
        StatusCode::UNAUTHORIZED,
        "send the header `Authorization: Bearer TOKEN`, with the token of [http] token_file".into(),
    );
    ([("www-authenticate", "Bearer")], refusal).into_response()
}

/// A random token, as a file holds it.
fn new() -> String {
    let mut random = [0; RANDOM_BYTES];
    OsRng.fill_bytes(&mut random);
    random.iter().map(|byte| format!("{byte:02x}")).chain(["\n".into()]).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_absent_file_gets_a_random_token_that_only_its_owner_reads() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("http.token");
        let made = Token::read_or_make(&file).expect("a token");
        assert_eq!(std::fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o600);
        let read = Token::read_or_make(&file).expect("the same token");
        assert_eq!((made.as_str(), made.as_str().len()), (read.as_str(), 2 * RANDOM_BYTES));
        let other = Token::read_or_make(&folder.path().join("other")).expect("a token");
        assert_ne!(made.as_str(), other.as_str());
    }

    #[test]
    fn a_file_without_a_usable_token_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("http.token");
        for text in ["", "short\n", "two words that are long enough\n", &"x".repeat(2_000)] {
            std::fs::write(&file, text).expect("a file");
            assert!(matches!(Token::read_or_make(&file), Err(TokenError::Bad(_))), "{text}");
        }
        std::fs::write(&file, "  a-token-of-ours-0001\n").expect("a file");
        assert_eq!(Token::read_or_make(&file).expect("a token").as_str(), "a-token-of-ours-0001");
        assert!(matches!(Token::read_or_make(&folder.path().join("no/file")), Err(TokenError::Io(..))));
    }

    #[test]
    fn only_the_whole_token_is_the_token() {
        let token = Token("0123456789abcdef".into());
        assert!(token.is(b"0123456789abcdef"));
        for wrong in ["", "0", "0123456789abcdeF", "0123456789abcdef0", "0123456789abcdef0123456789abcdef"] {
            assert!(!token.is(wrong.as_bytes()), "{wrong}");
        }
    }
}
