//! `ringpost classify`.

use std::ffi::OsString;
use std::io::{BufRead, Read, Write};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use serde_json::{Value, json};

use super::Failure;
use crate::bounce::classify::{Context, classify_text};

/// Bytes of a line of stdin that are looked at.
const LINE_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The reply, or what a notice says of it; `-` reads one from each line of stdin
    #[arg(value_name = "REPLY TEXT", required = true)]
    text: Vec<OsString>,
    /// The host that said it, as its MX record names it
    #[arg(long, value_name = "HOST")]
    mx: Option<String>,
    /// The address that the host saw us come from
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let context = Context { mx: arguments.mx.as_deref(), address: arguments.address };
    let mut out = std::io::stdout().lock();
    let done = if arguments.text == ["-"] {
        each_line(std::io::stdin().lock(), &mut out, &context)
    } else {
        let words: Vec<&[u8]> = arguments.text.iter().map(|word| word.as_bytes()).collect();
        writeln!(out, "{}", verdict(&words.join(&b' '), &context))
    };
    done.map_err(|error| Failure::Failed(error.to_string()))
}

/// One verdict for each line, as a line.
fn each_line(mut input: impl BufRead, mut out: impl Write, context: &Context<'_>) -> std::io::Result<()> {
    let mut line = Vec::new();
    while input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? > 0 {
        if line.last() != Some(&b'\n') {
            input.skip_until(b'\n')?;
        }
        writeln!(out, "{}", verdict(line.trim_ascii_end(), context))?;
        line.clear();
    }
    Ok(())
}

fn verdict(text: &[u8], context: &Context<'_>) -> Value {
    let verdict = classify_text(&String::from_utf8_lossy(text), context);
    json!({
        "action": verdict.action.name(),
        "category": verdict.category.name(),
        "code": verdict.code,
        "status": verdict.status.map(|status| status.to_string()),
        "rule": verdict.rule,
        "powermta": verdict.powermta(),
        "kumomta": verdict.kumomta(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_gets_its_verdict_however_long_it_is() {
        let long = [b"550 5.1.1 User unknown ".to_vec(), vec![b'x'; 3 * 64 * 1024]].concat();
        let input = [long, b"\r\n\xff\n452 4.2.2 Mailbox full".to_vec()].concat();
        let mut out = Vec::new();
        each_line(&input[..], &mut out, &Context::default()).expect("a buffer takes everything");
        let out = String::from_utf8(out).expect("JSON");
        let verdicts: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let categories: Vec<_> = verdicts.iter().map(|verdict| verdict["category"].as_str()).collect();
        assert_eq!(categories, [Some("recipient-unknown"), Some("other"), Some("mailbox-full")]);
    }
}
