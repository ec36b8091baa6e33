//! SASL PLAIN (RFC 4616) and LOGIN, the server's and the client's side.
//!
//! Owns: the exchanges of AUTH (RFC 4954) as states. Never: whether credentials are right (policy's matter), or
//! whether AUTH may be said at all (the session's).
//! Limits: a line is bounded by the session (12,288 octets), so is what it decodes to.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Some clients leave the padding away.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `Username:` in base64: what LOGIN's clients wait for.
const USERNAME_CHALLENGE: &str = "VXNlcm5hbWU6";
/// `Password:` in base64.
const PASSWORD_CHALLENGE: &str = "UGFzc3dvcmQ6";

/// A mechanism that we offer and use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// draft-murchison-sasl-login: obsolete, and still what many clients try first.
    Login,
}

impl Mechanism {
    /// The mechanism of this name, in any case.
    pub fn named(name: &str) -> Option<Mechanism> {
        if name.eq_ignore_ascii_case("PLAIN") {
            Some(Mechanism::Plain)
        } else if name.eq_ignore_ascii_case("LOGIN") {
            Some(Mechanism::Login)
        } else {
            None
        }
    }
}

/// The server's side of an exchange that waits for the client's next line.
#[derive(Debug)]
pub struct Exchange(Awaited);

#[derive(Debug)]
enum Awaited {
    Plain,
    LoginUser,
    LoginPassword { user: Box<str> },
}

/// What the client's line led to.
pub enum Progress {
    /// Say `334` and this, then wait for the next line.
    Challenge(&'static str, Exchange),
    /// The exchange is complete.
    Credentials {
        /// The authentication identity.
        user: Box<str>,
        /// The secret; never logged.
        password: Box<str>,
    },
    /// The client said `*` (RFC 4954 §4).
    Cancelled,
    /// Not base64, not UTF-8, or not the mechanism's form.
    Malformed,
}

impl Exchange {
    /// Begins an exchange, with AUTH's initial response where there is one (`=` is an empty one).
    pub fn start(mechanism: Mechanism, initial: Option<&str>) -> Progress {
        let exchange = match mechanism {
            Mechanism::Plain => Exchange(Awaited::Plain),
            Mechanism::Login => Exchange(Awaited::LoginUser),
        };
        match (initial, mechanism) {
            (Some("="), _) => exchange.respond(b""),
            (Some(response), _) => exchange.respond(response.as_bytes()),
            (None, Mechanism::Plain) => Progress::Challenge("", exchange),
            (None, Mechanism::Login) => Progress::Challenge(USERNAME_CHALLENGE, exchange),
        }
    }

    /// Takes the client's next line, without its CRLF.
    pub fn respond(self, line: &[u8]) -> Progress {
        if line == b"*" {
            return Progress::Cancelled;
        }
        let Some(text) = decode(line) else { return Progress::Malformed };
        match self.0 {
            Awaited::Plain => plain(&text),
            Awaited::LoginUser => {
                let exchange = Exchange(Awaited::LoginPassword { user: text.into() });
                Progress::Challenge(PASSWORD_CHALLENGE, exchange)
            }
            Awaited::LoginPassword { user } => Progress::Credentials { user, password: text.into() },
        }
    }
}

/// `[authzid] NUL authcid NUL passwd`. Nobody acts for somebody else here: an authorization identity that differs
/// is malformed.
fn plain(text: &str) -> Progress {
    let mut parts = text.split('\0');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(on_behalf_of), Some(user), Some(password), None)
            if !user.is_empty() && (on_behalf_of.is_empty() || on_behalf_of == user) =>
        {
            Progress::Credentials { user: user.into(), password: password.into() }
        }
        _ => Progress::Malformed,
    }
}

fn decode(line: &[u8]) -> Option<String> {
    BASE64.decode(line.trim_ascii_end()).ok().and_then(|bytes| String::from_utf8(bytes).ok())
}

/// The client's initial response of AUTH PLAIN.
pub fn plain_response(user: &str, password: &str) -> String {
    BASE64.encode(format!("\0{user}\0{password}"))
}

/// The client's response to a challenge of LOGIN: the user name, then the password.
pub fn login_response(text: &str) -> String {
    BASE64.encode(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(progress: Progress) -> (String, String) {
        match progress {
            Progress::Credentials { user, password } => (user.into(), password.into()),
            Progress::Challenge(text, _) => panic!("challenge {text:?}"),
            Progress::Cancelled => panic!("cancelled"),
            Progress::Malformed => panic!("malformed"),
        }
    }

    fn challenge(progress: Progress) -> (&'static str, Exchange) {
        match progress {
            Progress::Challenge(text, exchange) => (text, exchange),
            _ => panic!("no challenge"),
        }
    }

    #[test]
    fn plain_takes_any_password() {
        for password in ["secret", "pa$$ w=rd", "", "пароль з пробілом", "\\\"'%0A"] {
            let response = plain_response("user@example.org", password);
            let expected = ("user@example.org".to_owned(), password.to_owned());
            assert_eq!(credentials(Exchange::start(Mechanism::Plain, Some(&response))), expected);
            let (text, exchange) = challenge(Exchange::start(Mechanism::Plain, None));
            assert_eq!(text, "");
            assert_eq!(credentials(exchange.respond(response.as_bytes())), expected);
        }
    }

    #[test]
    fn plain_with_an_authorization_identity() {
        let same = BASE64.encode("user\0user\0secret");
        assert_eq!(credentials(Exchange::start(Mechanism::Plain, Some(&same))), ("user".into(), "secret".into()));
        let other = BASE64.encode("root\0user\0secret");
        assert!(matches!(Exchange::start(Mechanism::Plain, Some(&other)), Progress::Malformed));
    }

    #[test]
    fn malformed_responses_are_told_apart_from_wrong_ones() {
        for text in ["", "user", "user\0secret", "\0\0secret", "\0user\0sec\0ret"] {
            let response = BASE64.encode(text);
            assert!(matches!(Exchange::start(Mechanism::Plain, Some(&response)), Progress::Malformed), "{text:?}");
        }
        for response in ["=", "!", "AHVzZXIA\u{e9}", "////", "A"] {
            assert!(matches!(Exchange::start(Mechanism::Plain, Some(response)), Progress::Malformed), "{response:?}");
        }
    }

    #[test]
    fn login_with_and_without_an_initial_user() {
        let (text, exchange) = challenge(Exchange::start(Mechanism::Login, None));
        assert_eq!(BASE64.decode(text).expect("base64"), b"Username:");
        let (text, exchange) = challenge(exchange.respond(login_response("user").as_bytes()));
        assert_eq!(BASE64.decode(text).expect("base64"), b"Password:");
        assert_eq!(credentials(exchange.respond(login_response("p w").as_bytes())), ("user".into(), "p w".into()));

        let (text, exchange) = challenge(Exchange::start(Mechanism::Login, Some(&login_response("user"))));
        assert_eq!(text, PASSWORD_CHALLENGE);
        assert_eq!(credentials(exchange.respond(b"cGFzcw")), ("user".into(), "pass".into()), "padding may be missing");
    }

    #[test]
    fn a_star_cancels_at_every_point() {
        assert!(matches!(Exchange::start(Mechanism::Plain, Some("*")), Progress::Cancelled));
        let (_, exchange) = challenge(Exchange::start(Mechanism::Login, None));
        assert!(matches!(exchange.respond(b"*"), Progress::Cancelled));
        let (_, exchange) = challenge(Exchange::start(Mechanism::Login, Some("dXNlcg==")));
        assert!(matches!(exchange.respond(b"*"), Progress::Cancelled));
    }
}
