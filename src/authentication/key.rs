//! Signing keys: read from PEM, made, and the record that publishes the public half (RFC 6376 §3.6.1, RFC 8463 §4).

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{self, PemObject};

use super::SigningError;

/// Letters of a line of PEM (RFC 7468 §2).
const PEM_LINE: usize = 64;

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA with SHA-256: every verifier knows it.
    Rsa,
    /// Ed25519 with SHA-256 (RFC 8463): short and fast, and not known everywhere yet.
    Ed25519,
}

impl Algorithm {
    /// The `k=` of a key's record (RFC 6376 §3.6.1).
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Rsa => "rsa",
            Algorithm::Ed25519 => "ed25519",
        }
    }
}

/// A private key. Never shown.
pub struct Key(Pair);

enum Pair {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A text that is no signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not PEM, or PEM of something else.
    #[error("holds no private key (-----BEGIN PRIVATE KEY-----); `ringpost dkim generate` makes one")]
    NoKey,
    /// It needs a password.
    #[error("the private key is encrypted; ringpost needs it in the clear, in a file that others cannot read")]
    Encrypted,
    /// Of another kind, or damaged.
    #[error("is neither an RSA key nor an Ed25519 key, which are the kinds that DKIM has")]
    WrongKind,
    /// RFC 8301 §3.2.
    #[error("the RSA key has less than 2048 bits; verifiers distrust such keys: make a new one")]
    Weak,
    /// More than any verifier takes.
    #[error("the RSA key has more than 8192 bits; 2048 are enough")]
    TooLarge,
}

impl Key {
    /// Reads PKCS #8 or PKCS #1, PEM.
    ///
    /// # Errors
    /// What the text holds instead.
    pub fn from_pem(text: &[u8]) -> Result<Key, KeyError> {
        if memchr::memmem::find(text, b"BEGIN ENCRYPTED PRIVATE KEY").is_some()
            || memchr::memmem::find(text, b"Proc-Type: 4,ENCRYPTED").is_some()
        {
            return Err(KeyError::Encrypted);
        }
        let der = PrivateKeyDer::from_pem_slice(text).map_err(|_: pem::Error| KeyError::NoKey)?;
        let rsa = match &der {
            PrivateKeyDer::Pkcs8(der) => {
                if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()) {
                    return Ok(Key(Pair::Ed25519(pair)));
                }
                RsaKeyPair::from_pkcs8(der.secret_pkcs8_der())
            }
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            _ => return Err(KeyError::WrongKind),
        };
        rsa.map(|pair| Key(Pair::Rsa(pair))).map_err(|rejected| match rejected.description_() {
            "TooSmall" => KeyError::Weak,
            "TooLarge" => KeyError::TooLarge,
            _ => KeyError::WrongKind,
        })
    }

    /// A new key (RSA with 2048 bits), and its PEM (PKCS #8).
    ///
    /// # Errors
    /// The system gave no random numbers.
    pub fn generate(algorithm: Algorithm) -> Result<(String, Key), SigningError> {
        match algorithm {
            Algorithm::Rsa => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048)?;
                let der: Pkcs8V1Der<'_> = pair.as_der()?;
                Ok((pem_of(der.as_ref()), Key(Pair::Rsa(pair))))
            }
            Algorithm::Ed25519 => {
                let pair = Ed25519KeyPair::generate()?;
                let der: Pkcs8V1Der<'_> = pair.as_der()?;
                Ok((pem_of(der.as_ref()), Key(Pair::Ed25519(pair))))
            }
        }
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Pair::Rsa(_) => Algorithm::Rsa,
            Pair::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// The text of the TXT record at `SELECTOR._domainkey.DOMAIN` that publishes the key.
    ///
    /// # Errors
    /// The public half cannot be encoded, which does not happen with keys that were read or made here.
    pub fn record(&self) -> Result<String, SigningError> {
        let public = match &self.0 {
            Pair::Rsa(pair) => {
                let der: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
                STANDARD.encode(der.as_ref())
            }
            Pair::Ed25519(pair) => STANDARD.encode(pair.public_key().as_ref()),
        };
        Ok(format!("v=DKIM1; k={}; p={public}", self.algorithm().name()))
    }

    /// The signature of `data` (RFC 6376 §3.3.1, RFC 8463 §3: Ed25519 signs the hash).
    pub(super) fn sign(&self, data: &[u8]) -> Result<Vec<u8>, SigningError> {
        match &self.0 {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), data, &mut signature)?;
                Ok(signature)
            }
            Pair::Ed25519(pair) => {
                let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data);
                Ok(pair.try_sign(hash.as_ref())?.as_ref().to_vec())
            }
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.algorithm())
    }
}

fn pem_of(der: &[u8]) -> String {
    let letters = STANDARD.encode(der);
    let mut text = String::from("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = letters.as_str();
    while !rest.is_empty() {
        let (line, behind) = rest.split_at(rest.len().min(PEM_LINE));
        text.push_str(line);
        text.push('\n');
        rest = behind;
    }
    text + "-----END PRIVATE KEY-----\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_key_is_read_again_and_published_alike() {
        for algorithm in [Algorithm::Rsa, Algorithm::Ed25519] {
            let (pem, made) = Key::generate(algorithm).expect("a key");
            let read = Key::from_pem(pem.as_bytes()).expect("the same key");
            assert_eq!(read.algorithm(), algorithm);
            assert_eq!(read.record().expect("a record"), made.record().expect("a record"));
            assert!(pem.lines().all(|line| line.len() <= PEM_LINE));
        }
    }

    #[test]
    fn records_say_what_verifiers_look_for() {
        let (_, rsa) = Key::generate(Algorithm::Rsa).expect("a key");
        assert!(rsa.record().expect("a record").starts_with("v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIB"));
        let (_, ed25519) = Key::generate(Algorithm::Ed25519).expect("a key");
        let record = ed25519.record().expect("a record");
        assert_eq!(record.strip_prefix("v=DKIM1; k=ed25519; p=").map(str::len), Some(44));
    }

    #[test]
    fn what_is_no_signing_key_is_told_from_what_is_a_bad_one() {
        let curve = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        for (text, error) in [
            ("", KeyError::NoKey),
            ("v=DKIM1; k=rsa; p=MIIB", KeyError::NoKey),
            ("-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n", KeyError::NoKey),
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMCow\n-----END ENCRYPTED PRIVATE KEY-----\n", KeyError::Encrypted),
            ("-----BEGIN PRIVATE KEY-----\nMCow\n-----END PRIVATE KEY-----\n", KeyError::WrongKind),
            (WEAK, KeyError::Weak),
            (&curve, KeyError::WrongKind),
        ] {
            assert_eq!(Key::from_pem(text.as_bytes()).err(), Some(error), "{text}");
        }
    }

    /// RSA with 1024 bits.
    const WEAK: &str = "\
        -----BEGIN PRIVATE KEY-----\n\
        MIICdgIBADANBgkqhkiG9w0BAQEFAASCAmAwggJcAgEAAoGBALin2WfuMqyko29L\n\
        57Nm5++aSpkCkM9EvNjK2tv5vsIIL0DE+u4pkAWrpfoh+A6il6NdrYQPk2GPTxuI\n\
        HGM+Y7vZSjJHJG47L3PCXJYnBXTBtCu1ERm/ZRcv3ZTBaCOg28dWgGW94eoSH4Jg\n\
        +8AN+D/CnbVkeA9orxSbGEsDe61xAgMBAAECgYA4/b0Q4aiMNkgm+pNpgHJHNiSd\n\
        8vfEsN9kPb+ssvkYI7SJ1gHobbWAuoiAmelYgwAwMKJ0JuaC7tsokSrJyqC2+8Z2\n\
        EeXDW6f/vf5LED7P9kjieHymy/MAnodj2hUq1Aw+sdKwvh94ffTuzdj+QZkzKhS6\n\
        v9B4Axz2vSYPySBEAQJBAO4jQPPe3ZC0PX85Yi1tg1x4iUSLwrwA9KpBXgyb65nV\n\
        B0WzQmF9Aaa7jiu4y1IBKejpn65McWxcCR+QDZ/Y4zECQQDGgaCcdyy9Hpzxfa68\n\
        GQ93ODUvakBwepE+364MtWARxUt8tFmOyf/AnOkZOvSzkXhz1XY1mrq7xv3Wa4K+\n\
        Xl5BAkAiN8yYfjimF1AS3OL/lhHfEq7eu5piu1xsrnHeK/VhqFugJ07thTHcjGy0\n\
        WZxVjzc/cXpxaCiQInVpJKDgjCCxAkEAjL3npEgS3lvQJqBXvWF/R6YAf4ez/IvK\n\
        Y2uwOa53WOIrrVUpkkXCIUyfMJZOXOqtHmOglk0ITI6/9sDvSA4cgQJAG53dDZg6\n\
        rNsnd2TZCDD6TRvSL3UB1l7kTSbDk2TuwuLtf06tetqeFQuE1KsiVnan3Rol1Lj/\n\
        Lh+pYOLU+P7Cow==\n\
        -----END PRIVATE KEY-----\n";
}
