//! What a peer offers in its EHLO reply (RFC 5321 §4.1.1.1).

/// The extensions that matter to a client. After HELO there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// SIZE (RFC 1870) and its octets of content; 0: no fixed maximum.
    pub size: Option<u64>,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// REQUIRETLS (RFC 8689).
    pub requiretls: bool,
    /// AUTH with PLAIN among its mechanisms (RFC 4954, 4616).
    pub auth_plain: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhanced_status_codes: bool,
    /// LIMITS MAILMAX: transactions of one connection (RFC 9422).
    pub mails_max: Option<u32>,
    /// LIMITS RCPTMAX: recipients of one transaction (RFC 9422).
    pub recipients_max: Option<usize>,
    /// LIMITS RCPTDOMAINMAX: domains of all recipients of one connection (RFC 9422).
    pub domains_max: Option<usize>,
}

impl Capabilities {
    /// Reads the text of a positive reply to EHLO: the first line greets, each other line names one extension. What is
    /// unknown or malformed is not offered.
    pub(super) fn parse(text: &str) -> Self {
        let mut offered = Self::default();
        for line in text.lines().skip(1) {
            let mut words = line.split_ascii_whitespace();
            let Some(keyword) = words.next() else { continue };
            offered.add(&keyword.to_ascii_uppercase(), words);
        }
        offered
    }

    fn add<'a>(&mut self, keyword: &str, mut words: impl Iterator<Item = &'a str>) {
        match keyword {
            "PIPELINING" => self.pipelining = true,
            "SIZE" => self.size = Some(words.next().and_then(|octets| octets.parse().ok()).unwrap_or(0)),
            "8BITMIME" => self.eight_bit_mime = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "CHUNKING" => self.chunking = true,
            "DSN" => self.dsn = true,
            "STARTTLS" => self.starttls = true,
            "REQUIRETLS" => self.requiretls = true,
            "AUTH" => self.auth_plain |= words.any(is_plain),
            // Before RFC 2554 some servers joined the first mechanism with an equals sign; many still say both.
            "AUTH=PLAIN" => self.auth_plain = true,
            "ENHANCEDSTATUSCODES" => self.enhanced_status_codes = true,
            "LIMITS" => words.for_each(|word| self.add_limit(word)),
            _ => {}
        }
    }

    /// One `NAME=NUMBER` of LIMITS; zero is not a limit that the RFC allows, and is ignored.
    fn add_limit(&mut self, word: &str) {
        let Some((name, number)) = word.split_once('=') else { return };
        let Some(number) = number.parse::<u32>().ok().filter(|number| *number > 0) else { return };
        match name.to_ascii_uppercase().as_str() {
            "MAILMAX" => self.mails_max = Some(number),
            "RCPTDOMAINMAX" => self.domains_max = usize::try_from(number).ok(),
            "RCPTMAX" => self.recipients_max = usize::try_from(number).ok(),
            _ => {}
        }
    }
}

fn is_plain(mechanism: &str) -> bool {
    mechanism.eq_ignore_ascii_case("PLAIN")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_matters_is_understood_in_any_case() {
        let text = "mx.example greets\nPipelining\nSIZE 1000\n8BITMIME\nsmtputf8\nCHUNKING\nDSN\nSTARTTLS\nRequireTLS\n\
                    AUTH LOGIN plain\nENHANCEDSTATUSCODES\nLIMITS MAILMAX=5 rcptmax=20 RCPTDOMAINMAX=1\nX-OTHER 1";
        let all = Capabilities {
            pipelining: true,
            size: Some(1000),
            eight_bit_mime: true,
            smtputf8: true,
            chunking: true,
            dsn: true,
            starttls: true,
            requiretls: true,
            auth_plain: true,
            enhanced_status_codes: true,
            mails_max: Some(5),
            recipients_max: Some(20),
            domains_max: Some(1),
        };
        assert_eq!(Capabilities::parse(text), all);
    }

    #[test]
    fn the_greeting_line_offers_nothing() {
        assert_eq!(Capabilities::parse("PIPELINING"), Capabilities::default());
        assert_eq!(Capabilities::parse(""), Capabilities::default());
    }

    #[test]
    fn malformed_parameters_offer_no_limit() {
        let cases = [
            ("x\nSIZE", Capabilities { size: Some(0), ..Default::default() }),
            ("x\nSIZE many", Capabilities { size: Some(0), ..Default::default() }),
            ("x\nLIMITS MAILMAX=0 RCPTMAX=-1 RCPTMAX", Capabilities::default()),
            ("x\nAUTH LOGIN", Capabilities::default()),
            ("x\nAUTH=PLAIN LOGIN", Capabilities { auth_plain: true, ..Default::default() }),
            ("x\n\n  \nDSN", Capabilities { dsn: true, ..Default::default() }),
        ];
        for (text, expected) in cases {
            assert_eq!(Capabilities::parse(text), expected, "{text:?}");
        }
    }
}
