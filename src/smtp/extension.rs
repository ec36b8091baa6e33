//! Service extensions: what EHLO's reply offers (RFC 5321 §4.1.1.1).
//!
//! Owns: the keywords and their form, for both sides. Never: what an offer permits (the sessions' matter).
//! RFC: 2920, 1870, 6152, 6531, 2034, 3030, 3461, 9422, 3207, 4954, 8689.

use super::reply;

/// Extensions that need no condition.
const ALWAYS: [&str; 6] = ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING", "DSN"];

/// What our server offers on a connection at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// SIZE: octets of content.
    pub message_bytes_max: u64,
    /// LIMITS RCPTMAX.
    pub recipients_max: usize,
    /// LIMITS MAILMAX; 0: no limit.
    pub messages_max: u32,
    /// STARTTLS.
    pub starttls: bool,
    /// AUTH PLAIN LOGIN.
    pub auth: bool,
    /// REQUIRETLS.
    pub requiretls: bool,
}

impl Offer {
    /// Appends the whole reply to EHLO.
    pub fn write(&self, hostname: &str, out: &mut Vec<u8>) {
        let mut text = String::with_capacity(256);
        text.push_str(hostname);
        for keyword in ALWAYS {
            text.push('\n');
            text.push_str(keyword);
        }
        text.push_str(&format!("\nSIZE {}\nLIMITS RCPTMAX={}", self.message_bytes_max, self.recipients_max));
        if self.messages_max > 0 {
            text.push_str(&format!(" MAILMAX={}", self.messages_max));
        }
        if self.starttls {
            text.push_str("\nSTARTTLS");
        }
        if self.auth {
            text.push_str("\nAUTH PLAIN LOGIN");
        }
        if self.requiretls {
            text.push_str("\nREQUIRETLS");
        }
        reply::write_hello(&text, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(offer: &Offer) -> String {
        let mut out = Vec::new();
        offer.write("mta.example", &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn only_what_holds_is_offered() {
        let mut offer = Offer {
            message_bytes_max: 1000,
            recipients_max: 10,
            messages_max: 0,
            starttls: false,
            auth: false,
            requiretls: false,
        };
        assert_eq!(
            lines(&offer),
            "250-mta.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n\
             250-CHUNKING\r\n250-DSN\r\n250-SIZE 1000\r\n250 LIMITS RCPTMAX=10\r\n"
        );
        (offer.messages_max, offer.starttls, offer.auth) = (5, true, true);
        assert!(lines(&offer).ends_with("250-LIMITS RCPTMAX=10 MAILMAX=5\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n"));
        offer.requiretls = true;
        assert!(lines(&offer).ends_with("250-AUTH PLAIN LOGIN\r\n250 REQUIRETLS\r\n"));
    }
}
