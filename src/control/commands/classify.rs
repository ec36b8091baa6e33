//! `ringpost classify`.

use std::ffi::OsString;
use std::io::{BufRead, IsTerminal, Read, Write};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{Failure, in_file};
use crate::bounce::classify::{Action, Classification, Context, InForce, PathSignal, classify_text};
use crate::config::Config;
use crate::config::limit::{Part, Party};

/// Bytes of a line of stdin that are looked at.
const LINE_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Say it in words, as on a terminal, and not as JSON
    #[arg(long, conflicts_with = "json")]
    text: bool,
    /// Say it as JSON even on a terminal
    #[arg(long)]
    json: bool,
    /// The reply, or what a notice says of it; `-` reads one from each line of stdin
    #[arg(value_name = "REPLY TEXT", required = true)]
    reply: Vec<OsString>,
    /// The host that said it, as its MX record names it
    #[arg(long, value_name = "HOST")]
    mx: Option<String>,
    /// The address that the host saw us come from
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// Also by the [[reply]] rules of this configuration
    #[arg(short = 'c', long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// For mail to this domain (for [[reply]] rules; so are --source, --tenant and --campaign)
    #[arg(long, requires = "config")]
    domain: Option<String>,
    /// For mail from this source
    #[arg(long, requires = "config")]
    source: Option<String>,
    /// For mail of this tenant
    #[arg(long, requires = "config")]
    tenant: Option<String>,
    /// For mail of this campaign
    #[arg(long, requires = "config")]
    campaign: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let own = match &arguments.config {
        Some(file) => {
            let config = Config::load(file).map_err(|mistakes| in_file(file, &mistakes))?;
            own(&config, arguments)
        }
        None => None,
    };
    let context = Context { mx: arguments.mx.as_deref(), address: arguments.address, own: own.as_ref() };
    let mut out = std::io::stdout().lock();
    let in_words = arguments.text || (out.is_terminal() && !arguments.json);
    let say = |text: &[u8]| {
        let verdict = classify_text(&String::from_utf8_lossy(text), &context);
        if in_words { words(verdict.as_ref()) } else { json(verdict.as_ref()).to_string() }
    };
    let done = if arguments.reply == ["-"] {
        each_line(std::io::stdin().lock(), &mut out, say)
    } else {
        let words: Vec<&[u8]> = arguments.reply.iter().map(|word| word.as_bytes()).collect();
        writeln!(out, "{}", say(&words.join(&b' ')))
    };
    done.map_err(|error| Failure::Failed(error.to_string()))
}

/// The rules of `config` that are in force for what the arguments name.
fn own(config: &Config, arguments: &Arguments) -> Option<InForce> {
    let host = arguments.mx.as_deref().map(|host| host.trim_end_matches('.').to_lowercase());
    let provider = host.and_then(|host| config.providers.iter().find(|provider| provider.has(&host)));
    let domain = arguments.domain.as_deref().unwrap_or_default().to_lowercase();
    config.replies.in_force(&Part {
        provider: provider.map(|provider| &*provider.name),
        domain: &domain,
        source: arguments.source.as_deref().unwrap_or_default(),
        party: Party {
            tenant: arguments.tenant.as_deref().unwrap_or_default(),
            campaign: arguments.campaign.as_deref().unwrap_or_default(),
        },
    })
}

/// One verdict for each line, as a line.
fn each_line(mut input: impl BufRead, mut out: impl Write, say: impl Fn(&[u8]) -> String) -> std::io::Result<()> {
    let mut line = Vec::new();
    while input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? > 0 {
        if line.last() != Some(&b'\n') {
            input.skip_until(b'\n')?;
        }
        writeln!(out, "{}", say(line.trim_ascii_end()))?;
        line.clear();
    }
    Ok(())
}

/// A verdict with all its names; `unknown` where the text tells of no reply.
fn json(verdict: Option<&Classification>) -> Value {
    json!({
        "action": verdict.map_or("unknown", |verdict| verdict.action.name()),
        "category": verdict.map(|verdict| verdict.category.name()),
        "code": verdict.and_then(|verdict| verdict.code),
        "status": verdict.and_then(|verdict| verdict.status).map(|status| status.to_string()),
        "rule": verdict.map(|verdict| &*verdict.rule),
        "signal": verdict.and_then(|verdict| verdict.signal).map(PathSignal::name),
        "powermta": verdict.map(Classification::powermta),
        "kumomta": verdict.map(Classification::kumomta),
    })
}

/// A verdict for people, on one line.
fn words(verdict: Option<&Classification>) -> String {
    let Some(verdict) = verdict else {
        return "unknown: this tells of no mail server's reply (no code, and no words that a rule knows)".into();
    };
    let means = match verdict.action {
        Action::Deliver => "the next hop has taken it",
        Action::Defer => "try again later",
        Action::Reject => "give up",
    };
    let codes = [verdict.code.map(|code| code.to_string()), verdict.status.map(|status| status.to_string())];
    let codes = codes.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let of = if codes.is_empty() { "without a code".to_owned() } else { format!("of {codes}") };
    format!("{}: {means}. About: {}, {of}, by rule {}", verdict.action.name(), verdict.category.name(), verdict.rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_gets_its_verdict_however_long_it_is() {
        let long = [b"550 5.1.1 User unknown ".to_vec(), vec![b'x'; 3 * 64 * 1024]].concat();
        let input = [long, b"\r\n\xff\n452 4.2.2 Mailbox full".to_vec()].concat();
        let mut out = Vec::new();
        let say =
            |text: &[u8]| json(classify_text(&String::from_utf8_lossy(text), &Context::default()).as_ref()).to_string();
        each_line(&input[..], &mut out, say).expect("a buffer takes everything");
        let out = String::from_utf8(out).expect("JSON");
        let verdicts: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let categories: Vec<_> = verdicts.iter().map(|verdict| verdict["category"].as_str()).collect();
        assert_eq!(categories, [Some("recipient-unknown"), None, Some("mailbox-full")]);
    }
}
