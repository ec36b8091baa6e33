//! What may go wrong in a load without being its failure.

use std::str::FromStr;

/// One word of `--expect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A reply code.
    Code(u16),
    /// A class of reply codes: 4 or 5.
    Class(u16),
    /// A connection that was lost, or could not be made.
    Lost,
}

impl Expected {
    /// Whether a refusal with `code` is meant.
    pub(super) fn covers(self, code: u16) -> bool {
        match self {
            Expected::Code(expected) => code == expected,
            Expected::Class(class) => code / 100 == class,
            Expected::Lost => false,
        }
    }
}

impl FromStr for Expected {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match (word, word.parse::<u16>()) {
            ("lost", _) => Ok(Expected::Lost),
            ("4xx", _) => Ok(Expected::Class(4)),
            ("5xx", _) => Ok(Expected::Class(5)),
            (_, Ok(code @ 400..=599)) => Ok(Expected::Code(code)),
            _ => Err("expect a reply code such as 450, a class (4xx, 5xx), or `lost`".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_classes_and_losses_are_understood() {
        assert_eq!("450".parse(), Ok(Expected::Code(450)));
        assert_eq!("5xx".parse(), Ok(Expected::Class(5)));
        assert_eq!("lost".parse(), Ok(Expected::Lost));
        for wrong in ["", "250", "6xx", "4.2.1"] {
            assert!(wrong.parse::<Expected>().is_err(), "{wrong}");
        }
        assert!(Expected::Class(4).covers(450) && !Expected::Class(4).covers(550));
        assert!(Expected::Code(450).covers(450) && !Expected::Code(450).covers(451));
        assert!(!Expected::Lost.covers(450));
    }
}
