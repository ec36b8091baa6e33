//! The `DKIM-Signature` field (RFC 6376 §3.5), relaxed in header and body.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use shards::Timestamp;

use super::canonical;
use super::key::{Algorithm, Key};
use crate::message::scan::{Field, fields};
use crate::message::seven_bit_to_be_signed;

/// What every signature covers, also where it is missing: each is named once more than it occurs, so that nobody can add
/// one without breaking the signature (RFC 6376 §8.15).
const COVERED: &[&str] = &[
    "From",
    "Reply-To",
    "Subject",
    "Date",
    "Message-ID",
    "To",
    "Cc",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
];
/// What it covers in the same way where there is one; servers on the way, such as those of mailing lists, may add it.
const COVERED_IF_PRESENT: &[&str] = &[
    "Sender",
    "In-Reply-To",
    "References",
    "Resent-Date",
    "Resent-From",
    "Resent-To",
    "Resent-Cc",
    "List-Id",
    "List-Help",
    "List-Subscribe",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Post",
    "List-Owner",
    "List-Archive",
    "Auto-Submitted",
    "Feedback-ID",
];
/// Fields of one name that a signature covers: the last ones of a header that has more, as no mail has.
pub const INSTANCES_MAX: usize = 32;
/// Letters of a line of the field, where it can be folded.
const LINE: usize = 76;

/// A key with the name under which it is published.
#[derive(Clone, Debug)]
pub struct Signer {
    domain: Box<str>,
    selector: Box<str>,
    key: Arc<Key>,
    keeps_8bit: bool,
}

/// The cryptographic library failed; nothing that a message causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library failed")]
pub struct SigningError;

impl From<aws_lc_rs::error::Unspecified> for SigningError {
    fn from(_: aws_lc_rs::error::Unspecified) -> SigningError {
        SigningError
    }
}

impl Signer {
    /// A key that is published at `SELECTOR._domainkey.DOMAIN`, both as DNS has them: in ASCII and lower case.
    pub fn new(domain: &str, selector: &str, key: Key) -> Signer {
        Signer { domain: domain.into(), selector: selector.into(), key: Arc::new(key), keeps_8bit: false }
    }

    /// Signs eight-bit bodies as they are.
    pub fn keeping_8bit(self) -> Signer {
        Signer { keeps_8bit: true, ..self }
    }

    /// `d=`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// `s=`.
    pub fn selector(&self) -> &str {
        &self.selector
    }

    /// The name of the TXT record, and its text.
    ///
    /// # Errors
    /// As [`Key::record`].
    pub fn record(&self) -> Result<(String, String), SigningError> {
        Ok((format!("{}._domainkey.{}", self.selector, self.domain), self.key.record()?))
    }

    /// The field with its signature, for a header and a body of which all signers know the same.
    fn field(&self, covered: &Covered, body_hash: &str, time: Timestamp) -> Result<String, SigningError> {
        let algorithm = match self.key.algorithm() {
            Algorithm::Rsa => "rsa-sha256",
            Algorithm::Ed25519 => "ed25519-sha256",
        };
        let mut field = format!(
            "DKIM-Signature: v=1; a={algorithm}; c=relaxed/relaxed;\r\n\td={}; s={}; t={};\r\n\th={};\r\n\tbh={body_hash};\r\n\tb=",
            self.domain,
            self.selector,
            time.as_millis() / 1_000,
            covered.names,
        );
        let mut signed = covered.canonical.clone();
        canonical::field(field.as_bytes(), &mut signed);
        // The field signs itself without its signature and without its end (RFC 6376 §3.7).
        signed.truncate(signed.len() - "\r\n".len());
        fold(&mut field, "b=".len(), &STANDARD.encode(self.key.sign(&signed)?));
        field.push_str("\r\n");
        Ok(field)
    }
}

/// As [`sign`]; but a next hop without 8BITMIME makes eight-bit bodies seven-bit, and no signature over them survives. So they
/// are made so before (RFC 6376 §5.3), unless a signer keeps them, the message came with a signature that this would break, or
/// it would be larger than `bytes_max` then. Gives whether all of `content` is seven-bit now.
///
/// # Errors
/// [`SigningError`]; then `content` has no signature of ours.
pub fn sign_seven_bit(
    signers: &[Signer],
    time: Timestamp,
    content: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<bool, SigningError> {
    if !signers.iter().any(|signer| signer.keeps_8bit)
        && let Some(converted) = seven_bit_to_be_signed(content, bytes_max)
    {
        *content = converted;
    }
    let is_seven_bit = content.is_ascii();
    sign(signers, time, content)?;
    Ok(is_seven_bit)
}

/// Puts a signature of each signer before `content`, which is a whole message. `time` is that of signing.
///
/// # Errors
/// [`SigningError`]; then `content` is as it was.
pub fn sign(signers: &[Signer], time: Timestamp, content: &mut Vec<u8>) -> Result<(), SigningError> {
    let (covered, body) = Covered::of(content);
    let mut hash = Context::new(&SHA256);
    canonical::body(body, |piece| hash.update(piece));
    let body_hash = STANDARD.encode(hash.finish().as_ref());
    let signatures: Vec<String> =
        signers.iter().map(|signer| signer.field(&covered, &body_hash, time)).collect::<Result<_, _>>()?;
    content.splice(0..0, signatures.concat().into_bytes());
    Ok(())
}

/// What is signed of a header.
struct Covered {
    /// `h=`, folded.
    names: String,
    /// The fields in the order of `names`, in their canonical form.
    canonical: Vec<u8>,
}

impl Covered {
    /// What `content`'s header has, and the body behind it.
    fn of(content: &[u8]) -> (Covered, &[u8]) {
        let all: Vec<Field<'_>> = fields(content).collect();
        let mut covered = Covered { names: String::with_capacity(512), canonical: Vec::with_capacity(2048) };
        let mut column = "\th=".len();
        for (names, always) in [(COVERED, true), (COVERED_IF_PRESENT, false)] {
            for name in names {
                // From the last one upwards (RFC 6376 §5.4.2), and none after that.
                let instances = all.iter().rev().filter(|field| field.is(name)).take(INSTANCES_MAX);
                let mut count = 0;
                for field in instances {
                    canonical::field(&content[field.start..field.end], &mut covered.canonical);
                    count += 1;
                }
                let mentions = if count > 0 || always { count + 1 } else { 0 };
                (0..mentions).for_each(|_| covered.name(name, &mut column));
            }
        }
        let end = all.last().map_or(0, |field| field.end);
        let body = content[end..].strip_prefix(b"\r\n").unwrap_or(&content[end..]);
        (covered, body)
    }

    fn name(&mut self, name: &str, column: &mut usize) {
        if !self.names.is_empty() {
            self.names.push(':');
            *column += 1;
        }
        if *column + name.len() >= LINE {
            self.names.push_str("\r\n\t ");
            *column = "\t ".len();
        }
        self.names.push_str(name);
        *column += name.len();
    }
}

/// Appends letters to a field whose last line has `column` of them, folded.
fn fold(field: &mut String, column: usize, letters: &str) {
    let (line, mut rest) = letters.split_at(letters.len().min(LINE - column));
    field.push_str(line);
    while !rest.is_empty() {
        let (line, behind) = rest.split_at(rest.len().min(LINE));
        field.push_str("\r\n\t");
        field.push_str(line);
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    const TIME: Timestamp = Timestamp::from_millis(1_795_420_000_999);

    fn signer(algorithm: Algorithm) -> Signer {
        Signer::new("example.org", "s1", Key::generate(algorithm).expect("a key").1)
    }

    fn signed(content: &str) -> String {
        let mut content = content.as_bytes().to_vec();
        sign(&[signer(Algorithm::Ed25519)], TIME, &mut content).expect("signed");
        String::from_utf8(content).expect("text")
    }

    /// A tag of the first signature, without white space.
    fn tag(content: &str, name: &str) -> String {
        let unfolded = content.replace("\r\n\t", " ");
        let field = unfolded.lines().next().expect("a field");
        let tags = field.strip_prefix("DKIM-Signature:").expect("a signature").split(';');
        let mut values = tags.filter_map(|tag| tag.trim().strip_prefix(name)?.strip_prefix('='));
        values.next().expect("the tag").chars().filter(|c| !c.is_whitespace()).collect()
    }

    #[test]
    fn a_signature_is_before_the_message_and_the_message_as_it_was() {
        let content = "From: a@example.org\r\nSubject: hi\r\n\r\nbody\r\n";
        let signed = signed(content);
        assert!(signed.ends_with(content));
        let expected =
            [("v", "1"), ("a", "ed25519-sha256"), ("c", "relaxed/relaxed"), ("d", "example.org"), ("s", "s1")];
        for (name, value) in expected.into_iter().chain([("t", "1795420000")]) {
            assert_eq!(tag(&signed, name), value);
        }
        assert!(signed.lines().all(|line| line.len() <= LINE + 2), "{signed}");
    }

    #[test]
    fn what_is_there_and_what_must_not_come_is_covered_once_more() {
        let names = tag(
            &signed("X-Own: 1\r\nfrom: a@example.org\r\nList-Unsubscribe: <https://x>\r\nTo: b\r\nTo: c\r\n\r\n"),
            "h",
        );
        assert_eq!(
            names,
            "From:From:Reply-To:Subject:Date:Message-ID:To:To:To:Cc:MIME-Version:Content-Type:\
             Content-Transfer-Encoding:List-Unsubscribe:List-Unsubscribe"
        );
        let many = "To: x\r\n".repeat(INSTANCES_MAX + 5) + "\r\n";
        assert_eq!(tag(&signed(&many), "h").split(':').filter(|name| *name == "To").count(), INSTANCES_MAX + 1);
    }

    #[test]
    fn the_body_has_the_hash_that_rfc_8463_shows() {
        let body = "Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";
        let hash = "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=";
        assert_eq!(tag(&signed(&format!("From: a@example.org\r\n\r\n{body}")), "bh"), hash);
        let empty = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        for content in
            ["From: a@example.org\r\n", "From: a@example.org\r\n\r\n", "From: a@example.org\r\n\r\n \r\n\r\n"]
        {
            assert_eq!(tag(&signed(content), "bh"), empty, "{content:?}");
        }
    }

    #[test]
    fn both_kinds_of_key_sign_the_canonical_header_and_the_field_itself() {
        let signers = [signer(Algorithm::Rsa), signer(Algorithm::Ed25519)];
        let mut content = b"Subject:  two\r\n\twords\r\nFROM: a@example.org\r\n\r\nbody\r\n".to_vec();
        sign(&signers, TIME, &mut content).expect("signed");
        let text = String::from_utf8(content).expect("text");
        let second = text[1..].find("DKIM-Signature:").expect("two signatures") + 1;
        for (signer, field) in signers.iter().zip([&text[..second], &text[second..]]) {
            let unsigned = &field[..field.find("\tb=").expect("its tag") + 3];
            let mut expected = "from:a@example.org\r\nsubject:two words\r\n".as_bytes().to_vec();
            canonical::field(unsigned.as_bytes(), &mut expected);
            expected.truncate(expected.len() - 2);
            let signature = STANDARD.decode(tag(field, "b")).expect("base64");
            let (name, record) = signer.record().expect("a record");
            assert_eq!(name, "s1._domainkey.example.org");
            let public = STANDARD.decode(record.rsplit_once("p=").expect("a key").1).expect("base64");
            let verified = match signer.key.algorithm() {
                // Without the frame that names the algorithm (RFC 8017 §A.1).
                Algorithm::Rsa => {
                    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &public[24..]).verify(&expected, &signature)
                }
                Algorithm::Ed25519 => {
                    let hash = aws_lc_rs::digest::digest(&SHA256, &expected);
                    UnparsedPublicKey::new(&ED25519, &public).verify(hash.as_ref(), &signature)
                }
            };
            assert!(verified.is_ok(), "{field}");
        }
    }
}
