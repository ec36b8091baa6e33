//! Groups of fields, as the parts for programs hold them.

use crate::message::scan;

/// Groups that are looked at.
const GROUPS_MAX: usize = 200;

/// One group of fields.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The first group of a text whose lines end in CRLF.
    pub(super) fn of(text: &'a str) -> Fields<'a> {
        Fields(text.trim_start().as_bytes())
    }

    /// The value of the first field of that name, on one line.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let field = scan::fields(self.0).find(|field| field.is(name))?;
        let value = String::from_utf8_lossy(field.value);
        Some(value.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

/// The groups of a text, which empty lines part.
pub(super) fn groups(text: &str) -> Vec<Fields<'_>> {
    let groups = text.split("\r\n\r\n").filter(|group| !group.trim().is_empty());
    groups.take(GROUPS_MAX).map(Fields::of).collect()
}
