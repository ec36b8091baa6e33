//! Replies: the one table of what our server says, and the parser of what other servers say.
//!
//! Server side: every reply of ours is a function or constant here, whose basic and enhanced codes agree by
//! construction (checked at compile time by a `const fn`). Client side: [`Reply::parse`] takes what real servers send.

use std::fmt;

/// RFC 3463 `class.subject.detail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EnhancedCode(pub u8, pub u16, pub u16);

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// A reply, ours or a peer's: code, enhanced code where there is one, text lines without both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 200–599.
    pub code: u16,
    /// Of the same class as the code; a peer's contradictory one is dropped here (and stays in the text).
    pub enhanced: Option<EnhancedCode>,
    /// The text, lines joined with `\n`; valid UTF-8 (a peer's other bytes are replaced), ≤ 4 KiB.
    pub text: Box<str>,
}

impl Reply {
    /// 2xx.
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 4xx.
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5xx.
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }
}

impl fmt::Display for Reply {
    /// On one line: `550 5.1.1 text`, lines joined by a space.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, "{enhanced} ")?;
        }
        f.write_str(&self.text.replace('\n', " "))
    }
}
