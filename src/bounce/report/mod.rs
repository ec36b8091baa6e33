//! What comes back about a message later: delivery reports (RFC 3464) and the many that are not, complaints (RFC 5965),
//! automatic replies (RFC 3834). Pure.
//!
//! Owns: what kind of mail it is, and what it says of the recipient whose return path it came to.
//! Never: answers, or trusts: whoever knows a return path can write to it, and can say no more with it than that one
//! recipient failed.
//!
//! The first of these that applies decides: a feedback report; a delivery report's fields; the marks of a server that
//! writes its own form of bounce (qmail, Exim, Exchange); an automatic reply; a text that tells of a failure, where it comes
//! from a mailer. The text that says why goes through [`classify()`](super::classify()).
//!
//! Limits: the first [`READ_BYTES_MAX`] of a message count; [`parts::DEPTH_MAX`] levels of parts and
//! [`parts::PARTS_MAX`] parts; [`TEXT_BYTES_MAX`] of what is said are kept.

mod fields;
mod parts;
mod plain;
#[cfg(test)]
mod tests;

use std::cell::LazyCell;

use crate::bounce::classify::{Category, Classification, Context, Reason, classify_text};
use crate::smtp::reply::EnhancedCode;
use fields::Fields;
use parts::{Letter, Part};

/// Octets of a message that are read: what is told stands before what is returned.
pub const READ_BYTES_MAX: usize = 256 << 10;
/// Octets of a text that are kept.
pub const TEXT_BYTES_MAX: usize = 1000;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The message did not reach its recipient, and will not.
    Bounced(Finding),
    /// The recipient called it spam, or worse.
    Complaint(Finding),
    /// A server is still trying.
    Delayed,
    /// It was delivered, relayed or expanded.
    Delivered,
    /// Nobody read it: somebody is on holiday.
    AutoReply,
    /// None of these, as far as can be told.
    Unclear,
}

impl Report {
    /// What it is called in the log.
    pub fn name(&self) -> &'static str {
        match self {
            Report::Bounced(_) => "bounced",
            Report::Complaint(_) => "complaint",
            Report::Delayed => "delayed",
            Report::Delivered => "delivered",
            Report::AutoReply => "auto-reply",
            Report::Unclear => "unclear",
        }
    }
}

/// What a bounce or a complaint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The status (RFC 3463): 5.0.0 where none is told.
    pub status: EnhancedCode,
    /// Why, in the words of whoever said it; at most [`TEXT_BYTES_MAX`] octets on one line.
    pub text: Box<str>,
    /// Who reports it; as the text.
    pub reporter: Option<Box<str>>,
    /// What it is about; `None` for a complaint.
    pub reason: Option<Reason>,
}

/// What a message is that came to a return path. `null`: from the null reverse-path.
pub fn read(content: &[u8], null: bool) -> Report {
    let letter = Letter::read(&content[..content.len().min(READ_BYTES_MAX)]);
    if let Some(part) = letter.part("message/feedback-report") {
        return feedback(&Fields::of(&part.text));
    }
    let status = letter
        .parts
        .iter()
        .find(|part| matches!(&*part.media_type, "message/delivery-status" | "message/global-delivery-status"));
    let told = status.map(|part| delivery_status(part, &letter)).filter(|report| *report != Report::Unclear);
    told.unwrap_or_else(|| plain::read(&letter, null))
}

/// RFC 5965 §3. What is no complaint (`not-spam`, RFC 6591's `auth-failure`) says nothing of the recipient.
fn feedback(fields: &Fields<'_>) -> Report {
    let kind = fields.get("Feedback-Type").unwrap_or_else(|| "other".into()).to_ascii_lowercase();
    if !matches!(&*kind, "abuse" | "fraud" | "virus" | "opt-out" | "opt-out-list" | "other") {
        return Report::Unclear;
    }
    let text = match fields.get("User-Agent") {
        Some(agent) => format!("feedback report of type {kind} from {agent}"),
        None => format!("feedback report of type {kind}"),
    };
    let reporter = fields.get("Reporting-MTA").map(|name| one_line(without_type(&name)));
    Report::Complaint(Finding { status: EnhancedCode(5, 7, 1), text: one_line(&text), reporter, reason: None })
}

/// RFC 3464 §2: a group of fields about the message, and one for each recipient. A return path is one recipient's; where
/// that one was an alias there may be several, of which a failure counts most.
fn delivery_status(part: &Part, letter: &Letter) -> Report {
    let groups: Vec<Fields<'_>> = fields::groups(&part.text);
    let reporter = groups.iter().find_map(|group| group.get("Reporting-MTA"));
    // Read once, however many groups say nothing themselves.
    let telling_line = LazyCell::new(|| plain::telling_line(letter));
    let told = groups.iter().filter_map(|group| about_recipient(group, reporter.as_deref(), &telling_line));
    let weight = |report: &Report| match report {
        Report::Bounced(_) => 3,
        Report::Delayed => 2,
        Report::Delivered => 1,
        _ => 0,
    };
    told.reduce(|one, other| if weight(&other) > weight(&one) { other } else { one }).unwrap_or(Report::Unclear)
}

fn about_recipient(
    group: &Fields<'_>,
    reporter: Option<&str>,
    telling_line: &LazyCell<Option<String>, impl FnOnce() -> Option<String>>,
) -> Option<Report> {
    let status = group.get("Status").and_then(|status| enhanced(&status));
    let action = group.get("Action").map(|action| action.to_ascii_lowercase());
    let report = match (action.as_deref().and_then(|action| action.split_whitespace().next()), status) {
        (Some("failed"), _) | (None, Some(EnhancedCode(5, ..))) => {
            let said = group.get("Diagnostic-Code").map(|said| without_type(&said).to_owned());
            let said = said.filter(|said| !said.is_empty());
            let text = said.or_else(|| (**telling_line).clone()).unwrap_or_else(|| {
                status.map_or_else(|| "no reason is told".into(), |status| format!("status {status}"))
            });
            let remote = group.get("Remote-MTA").map(|name| without_type(&name).to_owned());
            Report::Bounced(finding(&text, status, remote.as_deref().or(reporter.map(without_type))))
        }
        (Some("delayed"), _) | (None, Some(EnhancedCode(4, ..))) => Report::Delayed,
        (Some("delivered" | "relayed" | "expanded"), _) | (None, Some(EnhancedCode(2, ..))) => Report::Delivered,
        _ => return None,
    };
    Some(report)
}

/// What a text says that tells of a failure. `status` is what the report says outside of it.
fn finding(text: &str, status: Option<EnhancedCode>, reporter: Option<&str>) -> Finding {
    let text = one_line(text);
    let told = status.filter(|status| status.1 != 0 || status.2 != 0);
    let of_text = classify_text(&text, &Context::default());
    let says_what = |found: &Classification| found.category != Category::Other;
    let classified = of_text.filter(says_what).or_else(|| {
        let with_status = told.map_or_else(|| text.to_string(), |status| format!("{status} {text}"));
        classify_text(&with_status, &Context::default())
    });
    let reason = classified.as_ref().map_or_else(|| Reason::without_reply(Category::Other), |found| found.reason());
    let of_text = classified.and_then(|found| found.status);
    let status = told.or(of_text).or(status).unwrap_or(EnhancedCode(5, 0, 0));
    let reporter = reporter.map(one_line);
    Finding { status, text, reporter, reason: Some(reason) }
}

/// `dns; mx.example.org` and `smtp; 550 …` without what stands before the semicolon.
fn without_type(value: &str) -> &str {
    match value.split_once(';') {
        Some((kind, rest)) if kind.trim().len() <= 16 && !kind.trim().contains(' ') => rest.trim(),
        _ => value.trim(),
    }
}

fn enhanced(text: &str) -> Option<EnhancedCode> {
    let mut numbers = text.split_whitespace().next()?.splitn(3, '.');
    let status = EnhancedCode(
        numbers.next()?.parse().ok()?,
        numbers.next()?.parse().ok()?,
        numbers.next()?.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok()?,
    );
    ([2, 4, 5].contains(&status.0) && status.1 <= 999 && status.2 <= 999).then_some(status)
}

/// Text on one line, without control characters, cut at [`TEXT_BYTES_MAX`].
fn one_line(text: &str) -> Box<str> {
    let clean = super::field::clean(text);
    let mut line = String::with_capacity(clean.len().min(TEXT_BYTES_MAX));
    for word in clean.split_whitespace() {
        if line.len() + 1 + word.len() > TEXT_BYTES_MAX {
            let room = TEXT_BYTES_MAX.saturating_sub(line.len() + 1);
            let cut = &word[..word.floor_char_boundary(room)];
            if line.is_empty() && !cut.is_empty() {
                line.push_str(cut);
            }
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line.into()
}
