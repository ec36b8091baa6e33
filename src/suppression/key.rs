//! An address in the form in which lists hold it.

use crate::smtp::path::{BadPath, MAILBOX_BYTES_MAX, Mailbox};

/// An address as lists hold it: in lower case, its domain in ASCII.
pub struct Key(Form);

#[expect(clippy::large_enum_variant, reason = "it lives on the stack for one look, and is not to cost an allocation")]
enum Form {
    /// The octets, and how many of them.
    Short([u8; MAILBOX_BYTES_MAX], usize),
    /// Not ASCII, which is rare.
    Long(Box<str>),
}

impl Key {
    /// Of a mailbox. An ASCII one, as nearly all are, costs no allocation.
    pub fn of(mailbox: &Mailbox) -> Key {
        let text = mailbox.as_str();
        if text.is_ascii() && text.len() <= MAILBOX_BYTES_MAX {
            let mut octets = [0; MAILBOX_BYTES_MAX];
            octets[..text.len()].copy_from_slice(text.as_bytes());
            octets.make_ascii_lowercase();
            return Key(Form::Short(octets, text.len()));
        }
        let domain = mailbox.domain();
        let domain = idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_lowercase());
        Key(Form::Long(format!("{}@{domain}", mailbox.local().to_lowercase()).into()))
    }

    /// Of a text for people, perhaps with brackets.
    ///
    /// # Errors
    /// The text is no address; the reason says why.
    pub fn parse(text: &str) -> Result<Key, BadPath> {
        let text = text.trim();
        let inside = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(text);
        Mailbox::parse(inside, true).map(|mailbox| Key::of(&mailbox))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            // What was ASCII still is.
            Form::Short(octets, len) => std::str::from_utf8(&octets[..*len]).unwrap_or_default(),
            Form::Long(text) => text,
        }
    }
}

impl From<Key> for Box<str> {
    fn from(key: Key) -> Box<str> {
        key.as_str().into()
    }
}
