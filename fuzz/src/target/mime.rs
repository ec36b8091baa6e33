//! MIME: a message whose bodies are made seven-bit for a next hop that takes no more.

use ringpost::message::scan::fields;
use ringpost::message::seven_bit;

use super::{is_strict, strict};

/// What MIME bodies are made of.
pub const WORDS: &[&str] = &[
    "MIME-Version: 1.0\r\n",
    "Content-Type: multipart/mixed; boundary=b\r\n",
    "Content-Type: multipart/alternative; boundary=\"a \\\"b\"\r\n",
    "Content-Type: message/rfc822\r\n",
    "Content-Type: text/plain; charset=utf-8\r\n",
    "Content-Transfer-Encoding: 8bit\r\n",
    "Content-Transfer-Encoding: base64\r\n",
    "Content-Transfer-Encoding: quoted-printable\r\n",
    "\r\n\r\n--b\r\n",
    "\r\n--b--\r\n",
    "=\r\n",
    "=C3=BC",
    "\u{fc}",
    "\r\n.\r\n",
];

/// Fields that the conversion may add.
const OURS: [&str; 3] = ["MIME-Version", "Content-Type", "Content-Transfer-Encoding"];

/// Seven-bit messages stay as they are; of others no field is lost, none comes that is not about the encoding, the lines
/// stay lines, and a second time changes nothing more.
pub fn mime(data: &[u8]) {
    for content in [data.to_vec(), strict(data)] {
        let converted = seven_bit(&content);
        assert!(!content.is_ascii() || *converted == content[..], "what is seven-bit was changed");
        // Three bytes for each and soft line breaks; and an encoding said in every part, which may be a few bytes long.
        assert!(converted.len() <= 12 * content.len() + 256, "{} bytes of {}", converted.len(), content.len());
        assert!(!is_strict(&content) || is_strict(&converted), "{}", converted.escape_ascii());
        check_fields(&content, &converted);
        let again = seven_bit(&converted);
        assert_eq!(*again, *converted, "a second time it is something else");
    }
}

fn check_fields(content: &[u8], converted: &[u8]) {
    let kept = |content: &[u8]| -> Vec<Vec<u8>> {
        let others = fields(content).filter(|field| !OURS.iter().any(|name| field.is(name)));
        others.map(|field| content[field.start..field.end].to_vec()).collect()
    };
    assert_eq!(kept(content), kept(converted), "fields were lost or added");
}
