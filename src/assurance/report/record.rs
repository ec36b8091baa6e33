//! What a `_smtp._tls` record says: where a domain wants its reports (RFC 8460 §3).

/// Addresses of a record that are heeded.
const TARGETS_MAX: usize = 4;

/// Octets of one of them.
const TARGET_BYTES_MAX: usize = 1000;

/// Where a domain wants its reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To this address.
    Mail(Box<str>),
    /// Posted to this URL, whose scheme is `https`.
    Https(Box<str>),
}

/// What the TXT records of `_smtp._tls.DOMAIN` say (§3): nothing unless exactly one of them is a record.
pub fn targets(records: &[Box<str>]) -> Vec<Target> {
    let is_record = |record: &&str| record.split(';').next().is_some_and(|field| field.trim() == "v=TLSRPTv1");
    let mut found = records.iter().map(|record| &**record).filter(is_record);
    let (Some(record), None) = (found.next(), found.next()) else { return Vec::new() };
    let Some(addresses) = record.split(';').find_map(|field| field.trim().strip_prefix("rua=")) else {
        return Vec::new();
    };
    let target = |uri: &str| {
        let uri = uri.trim();
        let (scheme, rest) = uri.split_once(':')?;
        if scheme.eq_ignore_ascii_case("mailto") {
            let address = percent_decoded(rest.split('?').next().unwrap_or(rest));
            return is_harmless(&address).then(|| Target::Mail(address.into()));
        }
        let is_https = scheme.eq_ignore_ascii_case("https") && rest.starts_with("//");
        (is_https && is_harmless(uri)).then(|| Target::Https(uri.into()))
    };
    addresses.split(',').filter_map(target).take(TARGETS_MAX).collect()
}

/// `%41` and the like: commas, semicolons and exclamation marks are written so (§3).
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether a stranger's text can stand in a header, a command or a request: it neither ends them nor begins another word.
fn is_harmless(text: &str) -> bool {
    text.len() <= TARGET_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_say_where_reports_go() {
        let of = |records: &[&str]| targets(&records.iter().map(|record| (*record).into()).collect::<Vec<_>>());
        let mail = |address: &str| Target::Mail(address.into());
        let post = |url: &str| Target::Https(url.into());
        assert_eq!(of(&["v=TLSRPTv1; rua=mailto:r@a.test"]), [mail("r@a.test")]);
        assert_eq!(
            of(&["v=spf1 -all", "v=TLSRPTv1;rua=https://a.test/x?y=1, MAILTO:a%2Cb@a.test?subject=x;ext=1"]),
            [post("https://a.test/x?y=1"), mail("a,b@a.test")]
        );
        for none in
            [&[][..], &["v=TLSRPTv1"], &["v=TLSRPTv2; rua=mailto:r@a.test"], &["v=TLSRPTv1; rua=http://a.test/"]]
        {
            assert_eq!(of(none), [], "{none:?}");
        }
        for odd in [
            "mailto:r@a.test%0D%0ABcc:%20x@b.test",
            "mailto:r@a.test\r\nBcc: x@b.test",
            "mailto:r@a.test%00",
            "mailto:r@a.test> SIZE=1",
            "mailto:r@b%C3%BCcher.test",
            "https://a.test/\r\nHost: b.test",
            "https://a.test/x y",
            "https:/a.test",
        ] {
            assert_eq!(of(&[&format!("v=TLSRPTv1; rua={odd}")]), [], "{odd}");
        }
        let long = format!("v=TLSRPTv1; rua=https://a.test/{}", "x".repeat(TARGET_BYTES_MAX));
        assert_eq!(of(&[&long]), []);
        let two = "v=TLSRPTv1; rua=mailto:r@a.test";
        assert_eq!(of(&[two, two]), [], "two records are none");
    }
}
