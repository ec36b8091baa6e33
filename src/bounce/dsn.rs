//! Delivery status notifications: a whole message out of what is known about some recipients of another one.

use std::fmt::Write as _;
use std::net::IpAddr;

use memchr::memmem;
use shards::Timestamp;

use super::explain::explain;
use super::field::{self, Charset};
use super::original::{self, Original};
use crate::message::{date, scan};
use crate::queue::MessageId;
use crate::queue::outcome::Answer;
use crate::smtp::envelope::{Body, Envelope, Notify, Recipient, Sender};
use crate::smtp::path::ReversePath;
use crate::smtp::reply::EnhancedCode;

/// Recipients that the text for people lists; programs read them all in the second part.
pub const LISTED_MAX: usize = 50;
/// Octets of a Message-ID or Subject of the original that a notice repeats.
const REPEATED_BYTES_MAX: usize = 500;

/// What has happened to the recipients of a notice (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// They will not get the message.
    Failed,
    /// They do not have it yet; it is tried on.
    Delayed,
    /// They have it.
    Delivered,
    /// A next hop that sends no notices of success has it.
    Relayed,
}

impl Action {
    /// As it stands in a notice.
    pub fn name(self) -> &'static str {
        match self {
            Action::Failed => "failed",
            Action::Delayed => "delayed",
            Action::Delivered => "delivered",
            Action::Relayed => "relayed",
        }
    }
}

/// One recipient that a notice tells about.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// The recipient, with its ORCPT.
    pub recipient: &'a Recipient,
    /// What was said about it last.
    pub answer: &'a Answer,
    /// When that was; `None` if it was never tried.
    pub attempted: Option<Timestamp>,
}

/// What a notice tells.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// What has happened; the same for all of `recipients`.
    pub action: Action,
    /// Our name.
    pub hostname: &'a str,
    /// The message that the notice is about.
    pub about: MessageId,
    /// The notice's own identity.
    pub id: MessageId,
    /// When the message was accepted.
    pub arrival: Timestamp,
    /// When delivery is given up (told in a notice of delay).
    pub expiry: Timestamp,
    /// The clock.
    pub now: Timestamp,
    /// MAIL of the message: to whom the notice goes, and what it shall return.
    pub sender: &'a Sender,
    /// Whom it tells about; at least one.
    pub recipients: &'a [Told<'a>],
    /// The message's content; the header is enough where `sender` does not say RET=FULL.
    pub content: &'a [u8],
}

/// A composed notice, ready for the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// From the null reverse-path, to the sender of the message, which never causes another notice.
    pub envelope: Envelope,
    /// Its Message-ID field's value.
    pub message_id: Box<str>,
    /// Header and body; lines end in CRLF.
    pub content: Vec<u8>,
}

/// Composes the notice, or nothing: about a message from the null reverse-path nobody is told (RFC 5321 §4.5.5).
pub fn compose(report: &Report<'_>) -> Option<Notice> {
    let ReversePath::Mailbox(to) = &report.sender.path else { return None };
    let composer = Composer::new(report, to.as_str());
    let original = original::choose(report, composer.global);
    let people = composer.part_for_people(&original);
    let programs = composer.part_for_programs();
    let boundary = free_boundary(report.id, &[people.as_bytes(), programs.as_bytes(), original.bytes]);

    let mut content = composer.header(&boundary).into_bytes();
    let programs_type = if composer.global { "message/global-delivery-status" } else { "message/delivery-status" };
    begin_part(&mut content, &boundary, "text/plain; charset=utf-8", "Notification", people.as_bytes());
    content.extend_from_slice(people.as_bytes());
    begin_part(&mut content, &boundary, programs_type, "Delivery report", programs.as_bytes());
    content.extend_from_slice(programs.as_bytes());
    begin_part(&mut content, &boundary, original.media_type, "Original message", original.bytes);
    original::put(&mut content, &original);
    content.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());

    let body = if content.is_ascii() { Body::SevenBit } else { Body::EightBitMime };
    let sender = Sender {
        path: ReversePath::Null,
        body,
        smtputf8: !to.as_str().is_ascii(),
        size: Some(content.len() as u64),
        ret: None,
        envid: None,
        // RFC 8689 §5: what tells of a message is protected as it is.
        requiretls: report.sender.requiretls,
    };
    let notify = Notify { never: true, ..Notify::default() };
    let envelope = Envelope { sender, recipients: vec![Recipient { path: to.clone(), notify, orcpt: None }] };
    Some(Notice { envelope, message_id: composer.message_id.into(), content })
}

fn begin_part(content: &mut Vec<u8>, boundary: &str, media_type: &str, description: &str, bytes: &[u8]) {
    let encoding = if bytes.is_ascii() { "7bit" } else { "8bit" };
    let fields = format!(
        "\r\n--{boundary}\r\nContent-Type: {media_type}\r\nContent-Description: {description}\r\n\
         Content-Transfer-Encoding: {encoding}\r\n\r\n"
    );
    content.extend_from_slice(fields.as_bytes());
}

/// A boundary that none of `parts` holds. Each candidate that is found in them uses up some of their bytes, so the
/// search ends.
fn free_boundary(id: MessageId, parts: &[&[u8]]) -> String {
    let mut number: u64 = 0;
    loop {
        let candidate = format!("=_{id}_{number}_");
        if !parts.iter().any(|part| memmem::find(part, candidate.as_bytes()).is_some()) {
            return candidate;
        }
        number += 1;
    }
}

/// A report with what was worked out of it.
struct Composer<'a> {
    report: &'a Report<'a>,
    to: &'a str,
    message_id: String,
    /// The message used SMTPUTF8, and an address in the notice needs it, too: the types of RFC 6533.
    global: bool,
}

impl<'a> Composer<'a> {
    fn new(report: &'a Report<'a>, to: &'a str) -> Self {
        let needs_utf8 =
            !to.is_ascii() || report.recipients.iter().any(|told| !told.recipient.path.as_str().is_ascii());
        let message_id = format!("<{}.{}@{}>", report.now.as_millis(), report.id, report.hostname);
        Self { report, to, message_id, global: needs_utf8 && report.sender.smtputf8 }
    }

    fn charset(&self) -> Charset {
        if self.global { Charset::Utf8 } else { Charset::Ascii }
    }

    fn header(&self, boundary: &str) -> String {
        let report = self.report;
        let mut out = String::with_capacity(1_024);
        let charset = if self.to.is_ascii() { Charset::Ascii } else { Charset::Utf8 };
        field::put(&mut out, "Date", &date::rfc5322(report.now), charset);
        let from = format!("Mail Delivery System <MAILER-DAEMON@{}>", report.hostname);
        field::put(&mut out, "From", &from, charset);
        field::put(&mut out, "To", &format!("<{}>", self.to), charset);
        field::put(&mut out, "Subject", &self.subject(), charset);
        field::put(&mut out, "Message-ID", &self.message_id, charset);
        let original_id = scan(report.content).message_id.filter(|id| id.len() <= REPEATED_BYTES_MAX);
        if let Some(id) = original_id {
            field::put(&mut out, "In-Reply-To", &id, charset);
            field::put(&mut out, "References", &id, charset);
        }
        field::put(&mut out, "Auto-Submitted", "auto-replied", charset);
        field::put(&mut out, "MIME-Version", "1.0", charset);
        // The boundary holds characters that need quotes, and a quoted string must not be folded inside.
        let _ = write!(
            out,
            "Content-Type: multipart/report; report-type={};\r\n boundary=\"{boundary}\"\r\n\r\n",
            if self.global { "global-delivery-status" } else { "delivery-status" }
        );
        out.push_str("This is a notice in MIME format, about the delivery of a message.\r\n");
        out
    }

    fn subject(&self) -> String {
        let what = match self.report.action {
            Action::Failed => "Undelivered mail",
            Action::Delayed => "Delayed mail (still being retried)",
            Action::Delivered => "Delivered mail",
            Action::Relayed => "Relayed mail",
        };
        match self.report.recipients {
            [told] => format!("{what}: your message to {}", told.recipient.path),
            many => format!("{what}: your message to {} recipients", many.len()),
        }
    }

    /// The text for someone who does not know SMTP.
    fn part_for_people(&self, original: &Original<'_>) -> String {
        let report = self.report;
        let mut out = String::with_capacity(1_024);
        line(&mut out, "", &format!("This is the mail system at {}.", report.hostname));
        empty_line(&mut out);
        paragraph(&mut out, "", &self.opening());
        empty_line(&mut out);
        for told in report.recipients.iter().take(LISTED_MAX) {
            put_told(&mut out, report.action, told);
        }
        let unlisted = report.recipients.len().saturating_sub(LISTED_MAX);
        if unlisted > 0 {
            line(
                &mut out,
                "",
                &format!("{unlisted} more recipients are listed in the delivery report (the second part)."),
            );
            empty_line(&mut out);
        }
        line(&mut out, "", "About your message:");
        empty_line(&mut out);
        if let Some(subject) = subject_of(report.content) {
            line(&mut out, "  ", &format!("Subject:   {subject}"));
        }
        line(&mut out, "  ", &format!("Accepted:  {}", date::rfc5322(report.arrival)));
        line(&mut out, "  ", &format!("Queue ID:  {} (name it when you ask your mail administrator)", report.about));
        empty_line(&mut out);
        let returned = if original.media_type.ends_with("headers") { "Its header" } else { "The message" };
        line(&mut out, "", &format!("{returned} is attached as the third part of this notice."));
        out
    }

    fn opening(&self) -> String {
        let report = self.report;
        let those = if report.recipients.len() == 1 { "the recipient below" } else { "the recipients below" };
        match report.action {
            Action::Failed => format!(
                "Your message could not be delivered to {those}, and will not be tried again. Recipients that are not \
                 listed here are not concerned."
            ),
            Action::Delayed => format!(
                "Your message has not yet been delivered to {those}. You do not need to send it again: it is being \
                 retried until {}. If that is in vain, you will receive another notice.",
                date::rfc5322(report.expiry)
            ),
            Action::Delivered => format!("Your message was delivered to {those}, as you had asked to be told."),
            Action::Relayed => format!(
                "Your message for {those} was handed on to a server that sends no such notices itself. Unless \
                 something goes wrong later, this is the last notice about it."
            ),
        }
    }

    /// RFC 3464: a group of fields for the message, and one for each recipient.
    fn part_for_programs(&self) -> String {
        let report = self.report;
        let charset = self.charset();
        let mut out = String::with_capacity(512);
        field::put(&mut out, "Reporting-MTA", &format!("dns; {}", report.hostname), charset);
        if let Some(envid) = &report.sender.envid {
            field::put(&mut out, "Original-Envelope-Id", &field::decode_xtext(envid), charset);
        }
        field::put(&mut out, "Arrival-Date", &date::rfc5322(report.arrival), charset);
        for told in report.recipients {
            out.push_str("\r\n");
            self.put_recipient(&mut out, told);
        }
        out
    }

    fn put_recipient(&self, out: &mut String, told: &Told<'_>) {
        let charset = self.charset();
        let answer = told.answer;
        if let Some((kind, address)) = told.recipient.orcpt.as_deref().and_then(|orcpt| orcpt.split_once(';')) {
            let address = field::decode_xtext(address);
            let address = match kind.eq_ignore_ascii_case("utf-8") {
                true => in_charset(&field::decode_unicode(&address), charset),
                false => address,
            };
            field::put(out, "Original-Recipient", &format!("{kind}; {address}"), charset);
        }
        let address = told.recipient.path.as_str();
        let kind = if address.is_ascii() { "rfc822" } else { "utf-8" };
        field::put(out, "Final-Recipient", &format!("{kind}; {}", in_charset(address, charset)), charset);
        let action = self.report.action;
        field::put(out, "Action", action.name(), charset);
        field::put(out, "Status", &status(action, answer.status).to_string(), charset);
        if let Some(remote) = &answer.remote {
            field::put(out, "Remote-MTA", &format!("dns; {}", remote_name(remote)), charset);
        }
        match &answer.reply {
            Some(reply) => field::put(out, "Diagnostic-Code", &format!("smtp; {reply}"), charset),
            None => field::put(out, "Diagnostic-Code", &format!("x-ringpost; {}", answer.text), charset),
        }
        if let Some(attempted) = told.attempted {
            field::put(out, "Last-Attempt-Date", &date::rfc5322(attempted), charset);
        }
        if action == Action::Delayed {
            field::put(out, "Will-Retry-Until", &date::rfc5322(self.report.expiry), charset);
        }
    }
}

/// An address as it may stand in a field of the report for programs (RFC 6533 §3).
fn in_charset(address: &str, charset: Charset) -> String {
    match charset {
        Charset::Ascii if !address.is_ascii() => field::address_in_ascii(address),
        Charset::Ascii | Charset::Utf8 => address.to_owned(),
    }
}

/// The status that goes with an action. What is only delayed has class 4 (RFC 3464 §2.3.4), also where a server has called
/// passing trouble permanent, as many do with a full mailbox.
fn status(action: Action, said: EnhancedCode) -> EnhancedCode {
    match action {
        Action::Delayed => EnhancedCode(4, said.1, said.2),
        Action::Failed | Action::Delivered | Action::Relayed => said,
    }
}

/// One recipient, in the text for people.
fn put_told(out: &mut String, action: Action, told: &Told<'_>) {
    let answer = told.answer;
    line(out, "  ", told.recipient.path.as_str());
    empty_line(out);
    if matches!(action, Action::Failed | Action::Delayed) {
        let explanation = explain(answer.status);
        paragraph(out, "    ", explanation.why);
        if action == Action::Failed {
            paragraph(out, "    ", explanation.remedy);
        }
        empty_line(out);
    }
    match (&answer.reply, answer.remote.as_deref()) {
        (Some(reply), remote) => {
            line(out, "    ", &format!("The server {} said:", remote.unwrap_or("there")));
            for (n, text) in reply.text.split('\n').enumerate() {
                let code = if n == 0 { reply_code(reply) } else { String::new() };
                line(out, "      ", &format!("{code}{text}"));
            }
        }
        (None, Some(remote)) if !answer.text.contains(remote) => {
            line(out, "    ", &format!("At the server {remote}: {}", answer.text))
        }
        (None, _) => line(out, "    ", &format!("What happened: {}", answer.text)),
    }
    empty_line(out);
}

fn reply_code(reply: &crate::smtp::reply::Reply) -> String {
    match reply.enhanced {
        Some(enhanced) => format!("{} {enhanced} ", reply.code),
        None => format!("{} ", reply.code),
    }
}

/// Adds a paragraph, broken at spaces where a line is longer than people like to read.
fn paragraph(out: &mut String, indent: &str, text: &str) {
    const WIDTH: usize = 76;
    let mut row = String::new();
    for word in text.split(' ') {
        if !row.is_empty() && indent.len() + row.chars().count() + 1 + word.chars().count() > WIDTH {
            line(out, indent, &row);
            row.clear();
        }
        if !row.is_empty() {
            row.push(' ');
        }
        row.push_str(word);
    }
    line(out, indent, &row);
}

/// Adds a line as it is, cut only where mail could not carry it.
fn line(out: &mut String, indent: &str, text: &str) {
    const PIECE_BYTES_MAX: usize = 900;
    for piece in field::pieces(&field::clean(text), PIECE_BYTES_MAX) {
        let _ = write!(out, "{indent}{piece}\r\n");
    }
}

fn empty_line(out: &mut String) {
    out.push_str("\r\n");
}

/// The host's name alone, of `name[address]:port` and the like; an address that stands for a name gets brackets.
fn remote_name(remote: &str) -> String {
    let name = remote.split([' ', '[']).find(|part| !part.is_empty()).unwrap_or(remote);
    let name = name.split_once(']').map_or(name, |(address, _)| address);
    match name.parse::<IpAddr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => name.to_owned(),
    }
}

/// The original's Subject, decoded and short enough to repeat.
fn subject_of(content: &[u8]) -> Option<String> {
    let found = scan::fields(content).find(|field| field.is("Subject"))?;
    let whole = &content[found.start..found.end];
    let parsed = mail_parser::MessageParser::new().header_text("Subject").parse_headers(whole)?;
    let subject = parsed.subject()?;
    let end = subject.floor_char_boundary(REPEATED_BYTES_MAX);
    Some(subject[..end].to_owned()).filter(|subject| !subject.trim().is_empty())
}

#[cfg(test)]
mod tests;
