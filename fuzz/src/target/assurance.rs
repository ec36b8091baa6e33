//! MTA-STS: what a domain publishes about its mail, in a record and in a file of its web server.

use std::time::Duration;

use ringpost::assurance::sts::{Mode, Policy, id};

/// What records and policies are made of.
pub const WORDS: &[&str] = &[
    "v=STSv1; id=20160831085700Z;\n",
    "v=spf1 -all\n",
    "\n\n",
    "version: STSv1\r\n",
    "mode: enforce\r\n",
    "mode: testing\n",
    "mode: none\n",
    "mx: mail.b.test\r\n",
    "mx: *.b.test\r\n",
    "max_age: 604800\r\n",
    "99999999999999999999",
    ":",
];

/// Records, an empty line, the policy. An id is one word; a policy that asks for something permits somebody, and never for
/// longer than a year; a pattern stands for one label alone.
pub fn assurance(data: &[u8]) {
    let end = data.windows(2).position(|window| window == b"\n\n").unwrap_or(data.len());
    let records: Vec<Box<str>> = String::from_utf8_lossy(&data[..end]).lines().map(Into::into).collect();
    if let Some(id) = id(&records) {
        assert!((1..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    }
    let Ok(policy) = Policy::parse(data.get(end + 2..).unwrap_or_default()) else { return };
    assert!(policy.max_age <= Duration::from_secs(366 * 24 * 60 * 60), "{:?}", policy.max_age);
    assert!(policy.mode == Mode::None || !policy.patterns.is_empty());
    for pattern in &policy.patterns {
        assert_eq!(pattern.to_ascii_lowercase(), **pattern);
        if let Some(parent) = pattern.strip_prefix("*.") {
            assert!(policy.permits(&format!("x.{parent}")));
        } else {
            assert!(policy.permits(pattern));
        }
    }
    let deeper = |pattern: &str| policy.permits(&format!("a.b.c.d.e.f.g.{pattern}"));
    assert!(!deeper("nobody-has-this-name.test"));
}
