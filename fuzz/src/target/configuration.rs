//! What an administrator writes.

use std::path::Path;

use ringpost::config::Config;

/// Sections and keys.
pub const WORDS: &[&str] = &[
    "[server]\n",
    "[[listener]]\n",
    "[[account]]\n",
    "[[route]]\n",
    "[delivery]\n",
    "[retry]\n",
    "[limits]\n",
    "[http]\n",
    "[tls]\n",
    "[[dkim]]\n",
    "[[webhook]]\n",
    "[screening]\n",
    "[screening.block_lists]\n",
    "hostname = ",
    "address = ",
    "\"127.0.0.1:25\"",
    "\"5d\"",
    "\"25MiB\"",
    "networks = [",
    "\"::/0\"",
    "domains = [\"*.x\"]\n",
    "next_hop = ",
    "shards = ",
    "\"auto\"",
    "18446744073709551616",
    "-1",
    "1e400",
    "inf",
    "zones = [\"bl.x=127.0.0.[2..9]\"]\n",
];
/// The same of a script for `ringload sink`.
pub const SCRIPT_WORDS: &[&str] = &[
    "seed = 1\n",
    "[[fault]]\n",
    "at = \"data\"\n",
    "at = \"rcpt\"\n",
    "reply = \"450 4.2.0 x\"\n",
    "delay = \"1s..2s\"\n",
    "probability = 0.5\n",
    "times = ",
    "recipient = \"a*\"\n",
    "reset = true\n",
    "silent = true\n",
    "garbage = true\n",
    "every = ",
];

/// Every mistake has a line of the file, in order, and there are no more of them than a file has places for.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Err(mistakes) = Config::parse(text, Path::new("/etc/ringpost")) else { return };
    let lines = text.split('\n').count();
    assert!(!mistakes.is_empty(), "refused without a reason");
    assert!(mistakes.len() <= 2 * data.len() + 16, "{} mistakes in {} bytes", mistakes.len(), data.len());
    assert!(mistakes.iter().all(|mistake| mistake.line <= lines), "a mistake behind the end: {mistakes:?}");
    assert!(mistakes.is_sorted_by_key(|mistake| mistake.line), "not in order: {mistakes:?}");
    assert!(mistakes.iter().all(|mistake| !mistake.text.trim().is_empty()));
}

/// A script is right, or its first mistake is told in one line.
pub fn script(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(mistake) = loadtest::sink::check_script(text) {
        assert!(mistake.len() <= 4096 + 2 * data.len() && !mistake.is_empty(), "{mistake:?}");
    }
}
