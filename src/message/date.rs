//! Dates as mail and logs write them.

use shards::Timestamp;

/// RFC 5322 §3.3 `date-time`, in UTC: `Mon, 23 Nov 2026 07:44:43 +0000`.
pub fn rfc5322(time: Timestamp) -> String {
    format(time, "%a, %d %b %Y %H:%M:%S +0000")
}

/// RFC 3339 with milliseconds, in UTC: `2026-11-23T07:44:43.120Z`.
pub fn rfc3339(time: Timestamp) -> String {
    format(time, "%Y-%m-%dT%H:%M:%S%.3fZ")
}

/// The time that an RFC 5322 `date-time` names (§3.3, obsolete zones of §4.3 and comments too; a wrong day of the week
/// does not matter). `None`: it is none, or before 1970.
pub fn parse(value: &[u8]) -> Option<Timestamp> {
    let parser = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true);
    let time = parser.parse_timestamp(value.trim_ascii()).ok()?;
    u64::try_from(time.as_millisecond()).ok().map(Timestamp::from_millis)
}

/// A time beyond what the calendar library covers (the year 9999) is shown as the last one that it does.
fn format(time: Timestamp, pattern: &str) -> String {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let timestamp = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    timestamp.strftime(pattern).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_every_form_that_mail_has() {
        for text in [
            "Mon, 23 Nov 2026 07:46:40 +0000",
            " 23 Nov 2026 08:46:40 +0100 (CET)",
            "Mon, 23 Nov 26 02:46:40 EST",
            "Sun, 23 Nov 2026\r\n 07:46:40 GMT",
        ] {
            assert_eq!(parse(text.as_bytes()), Some(Timestamp::from_millis(1_795_420_000_000)), "{text}");
        }
        for text in
            ["", "tomorrow", "Mon, 32 Nov 2026 07:46:40 +0000", "2026-11-23T07:46:40Z", "1 Jan 1960 00:00:00 +0000"]
        {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse(b"Mon, 23 Nov 2026 07:46:40 \xff"), None);
    }

    #[test]
    fn dates_are_written_as_the_field_reads_them() {
        let time = Timestamp::from_millis(1_795_420_000_007);
        assert_eq!(rfc5322(time), "Mon, 23 Nov 2026 07:46:40 +0000");
        assert_eq!(rfc3339(time), "2026-11-23T07:46:40.007Z");
        assert_eq!(rfc5322(Timestamp::from_millis(0)), "Thu, 01 Jan 1970 00:00:00 +0000");
        assert!(rfc3339(Timestamp::from_millis(u64::MAX)).starts_with("9999-"));
    }
}
