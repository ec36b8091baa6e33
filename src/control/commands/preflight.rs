//! `ringpost preflight`.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{ConfigFile, Failure, in_file};
use crate::control::preflight;
use crate::preflight::{Finding, Verdict};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The message, header and body
    #[arg(value_name = "FILE.eml")]
    message: PathBuf,
    #[command(flatten)]
    config: ConfigFile,
    /// The reverse-path with which it leaves [default: the From address, or ours where its account has `return_path`]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    from: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn address(text: &str) -> Result<String, String> {
    match text.rsplit_once('@') {
        Some((local, domain)) if !local.is_empty() && !domain.is_empty() => Ok(text.to_owned()),
        _ => Err("must be an address, LOCAL@DOMAIN".into()),
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (config_file, config) = arguments.config.load()?;
    let file = arguments.message.display();
    let content = preflight::read(&arguments.message).map_err(|why| Failure::Wrong(vec![format!("{file}: {why}")]))?;
    let findings = preflight::look(&config, &content, arguments.from.as_deref())
        .map_err(|mistakes| in_file(&config_file, &mistakes))?;
    if arguments.json {
        println!("{:#}", as_json(&findings));
    } else {
        print!("{}", in_words(&findings));
    }
    match findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count() {
        0 => Ok(()),
        1 => Err(Failure::Failed("one rule fails".into())),
        failed => Err(Failure::Failed(format!("{failed} rules fail"))),
    }
}

fn as_json(findings: &[Finding]) -> Value {
    let worst = findings.iter().map(|finding| finding.verdict).max();
    let findings: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "rule": finding.rule.id, "verdict": finding.verdict.name(), "what": finding.what,
                "remedy": (!finding.remedy.is_empty()).then_some(&finding.remedy), "source": finding.rule.sources(),
            })
        })
        .collect();
    json!({ "verdict": worst.unwrap_or(Verdict::Pass).name(), "findings": findings })
}

/// A line for each rule; below what is not as it should be, what to do, and whose rule it is.
fn in_words(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.rule.id.len()).max().unwrap_or(0);
    let mut words = String::new();
    for Finding { rule, verdict, what, remedy } in findings {
        let _ = writeln!(words, "{:<7}  {:<width$}  {}", verdict.name(), rule.id, safe(what));
        if !remedy.is_empty() {
            let _ = writeln!(words, "{:<7}  {:<width$}  -> {} [{}]", "", "", safe(remedy), rule.sources());
        }
    }
    words
}

/// What messages and DNS hold may be meant for the terminal.
fn safe(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::{Receiver, Rule};

    #[test]
    fn words_and_json_say_the_same() {
        let rule = |id| Rule { id, source: "RFC 7208 §4", asked_by: &[Receiver::Gmail] };
        let finding = |id, verdict, remedy: &str| Finding {
            rule: rule(id),
            verdict,
            what: "it\u{1b}is".into(),
            remedy: remedy.into(),
        };
        let findings = [finding("spf", Verdict::Pass, ""), finding("alignment", Verdict::Unknown, "try again")];
        assert_eq!(
            in_words(&findings),
            "pass     spf        it is\nunknown  alignment  it is\n                    -> try again [RFC 7208 §4; Gmail: bulk senders]\n"
        );
        let said = as_json(&findings);
        assert_eq!(said["verdict"], "unknown");
        assert_eq!(said["findings"][0]["remedy"], Value::Null);
        assert_eq!(said["findings"][1]["remedy"], "try again");
        assert!(address("a@b").is_ok() && address("a").is_err() && address("@b").is_err() && address("a@").is_err());
    }
}
