//! Rules on the header: the fields that must be there, and unsubscribing with one click. Pure.

use super::{Finding, GMAIL_AND_YAHOO, Receiver, Rule};
use crate::authentication::Signer;
use crate::message::scan::{fields, from_mailboxes};

const FROM: Rule = Rule { id: "from", source: "RFC 5322 §3.6.2, RFC 7489 §6.6.1", asked_by: Receiver::ALL };
const DATE: Rule = Rule { id: "date", source: "RFC 5322 §3.6.1", asked_by: GMAIL_AND_YAHOO };
const MESSAGE_ID: Rule = Rule { id: "message-id", source: "RFC 5322 §3.6.4", asked_by: GMAIL_AND_YAHOO };
const ONE_CLICK: Rule = Rule { id: "one-click", source: "RFC 8058 §3.1", asked_by: GMAIL_AND_YAHOO };
const ONE_CLICK_SIGNED: Rule = Rule { id: "one-click-signed", source: "RFC 8058 §4", asked_by: GMAIL_AND_YAHOO };
const SIGNED: Rule = Rule { id: "signed", source: "RFC 6376", asked_by: Receiver::ALL };
/// Octets of a domain as it is written (RFC 1035 §2.3.4).
const DOMAIN_BYTES_MAX: usize = 253;
/// What `List-Unsubscribe-Post` must say (RFC 8058 §2).
const POST: &str = "List-Unsubscribe=One-Click";

/// The domain of the author, as DNS has it: of the one mailbox in From. `None` where there is not exactly one.
pub fn author_domain(content: &[u8]) -> Option<String> {
    let mailboxes = from_mailboxes(content)?;
    let [mailbox] = &mailboxes[..] else { return None };
    let (_, domain) = mailbox.rsplit_once('@')?;
    idna::domain_to_ascii(domain).ok().filter(|domain| (1..=DOMAIN_BYTES_MAX).contains(&domain.len()))
}

/// What the rules make of the header of `content`, which `signers` will sign.
pub fn examine(content: &[u8], signers: &[Signer]) -> Vec<Finding> {
    let mut findings = vec![
        from(content),
        identified(content, DATE, "Date"),
        identified(content, MESSAGE_ID, "Message-ID"),
        one_click(content),
    ];
    if signers.is_empty() {
        let remedy = "make one: `ringpost dkim generate DOMAIN`";
        findings.push(if is_signed(content) {
            SIGNED.unknown(
                "no [[dkim]] key signs for the domain of From; the signature that is there is not checked",
                remedy,
            )
        } else {
            SIGNED.fail("no [[dkim]] key signs for the domain of From", remedy)
        });
    }
    if count(content, "List-Unsubscribe") > 0 {
        // Every signature of ours covers both fields where they are: see `authentication::signature`.
        findings.push(match signers {
            [] if is_signed(content) => {
                ONE_CLICK_SIGNED.unknown("the signature that is there is not checked", "see that it covers both fields")
            }
            [] => ONE_CLICK_SIGNED.fail(
                "nothing signs List-Unsubscribe and List-Unsubscribe-Post",
                "add a [[dkim]] key for the domain of From: its signature covers both",
            ),
            [first, ..] => ONE_CLICK_SIGNED.pass(format!("the signature of {} covers both fields", first.domain())),
        });
    }
    findings
}

/// Whether somebody has signed it already.
pub fn is_signed(content: &[u8]) -> bool {
    count(content, "DKIM-Signature") > 0
}

fn count(content: &[u8], name: &str) -> usize {
    fields(content).filter(|field| field.is(name)).count()
}

fn value(content: &[u8], name: &str) -> Option<String> {
    let field = fields(content).find(|field| field.is(name))?;
    Some(String::from_utf8_lossy(field.value).split_ascii_whitespace().collect())
}

fn from(content: &[u8]) -> Finding {
    match count(content, "From") {
        0 => FROM.fail("there is no From field", "add one with one address"),
        1 => match (author_domain(content), from_mailboxes(content)) {
            (Some(domain), _) => FROM.pass(format!("one From field, one address, of {domain}")),
            (None, Some(several)) if several.len() > 1 => FROM.fail(
                "From has several addresses: DMARC cannot be judged",
                "leave one, and name the others in Reply-To",
            ),
            (None, _) => FROM.fail("From has no address with a domain", "write it as Name <local@domain>"),
        },
        more => FROM.fail(format!("there are {more} From fields"), "leave one"),
    }
}

/// A field that must stand there once.
fn identified(content: &[u8], rule: Rule, name: &str) -> Finding {
    match count(content, name) {
        0 => rule.warn(format!("there is no {name} field"), "add one; at submission Ringpost adds what is missing"),
        1 => rule.pass(format!("one {name} field")),
        more => rule.fail(format!("there are {more} {name} fields"), "leave one"),
    }
}

fn one_click(content: &[u8]) -> Finding {
    let (uris, post) = ("List-Unsubscribe", "List-Unsubscribe-Post");
    let remedy = format!("have both fields, once each: {uris}: <https://...> and {post}: {POST}");
    for name in [uris, post] {
        if count(content, name) > 1 {
            return ONE_CLICK.fail(format!("there are {} {name} fields", count(content, name)), "leave one");
        }
    }
    match (value(content, uris), value(content, post)) {
        (None, None) => ONE_CLICK.warn(
            "recipients cannot unsubscribe with one click: receivers ask for it in promotional and subscribed mail",
            remedy,
        ),
        (None, Some(_)) => ONE_CLICK.fail(format!("{post} stands there without {uris}"), remedy),
        (Some(list), _) if !has_https(&list) => ONE_CLICK.fail(format!("{uris} has no https URI"), remedy),
        (Some(_), None) => ONE_CLICK.fail(format!("{uris} stands there without {post}"), remedy),
        (Some(_), Some(said)) if !said.eq_ignore_ascii_case(POST) => {
            ONE_CLICK.fail(format!("{post} does not say {POST}"), remedy)
        }
        (Some(_), Some(_)) => ONE_CLICK.pass("recipients can unsubscribe with one click"),
    }
}

/// Whether one of the URIs in angle brackets (RFC 2369 §2) goes to a host by https.
fn has_https(list: &str) -> bool {
    let uris = list.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(uri, _)| uri);
    let mut schemes = uris.filter_map(|uri| uri.split_once("://"));
    schemes.any(|(scheme, rest)| scheme.eq_ignore_ascii_case("https") && !rest.is_empty() && !rest.starts_with('/'))
}
