//! What scanners, block lists and DNS servers answer.

use std::net::{IpAddr, Ipv4Addr};

use hickory_resolver::proto::op::Message;
use ringpost::config::screening::{Actions, BlockList, Treatment};
use ringpost::control::resolver::{addresses_among, exchangers_among};
use ringpost::dns::{Answer, TTL_MAX};
use ringpost::route::{HOSTS_MAX, Missing, interleaved, site_of_exchangers};
use ringpost::screening::{Failure, Finding, Refusal, block_list, clamd as clamd_answers, rspamd as rspamd_answers};

/// What rspamd's answers are made of.
pub const RSPAMD_WORDS: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "Content-Length: ",
    "Transfer-Encoding: chunked\r\n",
    "\r\n\r\n",
    "{\"action\":\"reject\"",
    ",\"score\":15.0",
    "}",
    ",\"messages\":{\"smtp_message\":\"x\"}",
    "\"no action\"",
    "\"soft reject\"",
    "\"add header\"",
    "\"greylist\"",
    "1e999",
    "[",
    "\\u0000",
];

/// Bytes of what is kept of an answer, for a log line or a reply.
const KEPT_BYTES_MAX: usize = 1024;

/// What is told to clients, and to the log, is one line and short.
fn check(finding: Result<Finding, Failure>) {
    let kept = match finding {
        Ok(Finding::Clean) => return,
        Ok(Finding::Noted(remark) | Finding::Marked(remark)) => remark,
        Ok(Finding::Refuse(Refusal::Malware(words) | Refusal::Spam(words) | Refusal::Later(words), remark)) => {
            format!("{words} {remark}")
        }
        Ok(Finding::Refuse(Refusal::Listed(_) | Refusal::Unscreened(_), remark)) => remark,
        Err(why) => why.to_string(),
    };
    assert!(kept.len() <= KEPT_BYTES_MAX, "{} bytes are kept", kept.len());
    assert!(!kept.chars().any(char::is_control), "{kept:?} is not one line");
}

/// An answer that is whole is no less whole in pieces, and only a whole one is a verdict.
pub fn clamd(data: &[u8]) {
    let finding = clamd_answers::finding(data);
    assert!(finding.is_err() || clamd_answers::is_whole(data), "half an answer is a verdict");
    check(finding);
}

/// The same for rspamd.
pub fn rspamd(data: &[u8]) {
    let actions = Actions {
        reject: Treatment::Reject,
        soft_reject: Treatment::Defer,
        greylist: Treatment::Accept,
        rewrite_subject: Treatment::Mark,
        add_header: Treatment::Mark,
    };
    if rspamd_answers::is_whole(data) {
        assert!(rspamd_answers::is_whole(&[data, b"x"].concat()), "more bytes made it less whole");
    }
    check(rspamd_answers::finding(data, &actions));
}

/// A DNS message: where its mail goes, and whether a block list names us. Hosts are bounded, and a list's answer is only one
/// of 127.0.0.0/8.
pub fn dns(data: &[u8]) {
    let Ok(message) = Message::from_vec(data) else { return };
    let exchangers = exchangers_among(&message.answers);
    let addresses = addresses_among(&message.answers);
    for answer in [&exchangers, &addresses] {
        assert!(answer.ttl() <= TTL_MAX);
    }
    let site = match &exchangers {
        Answer::Mx(list, _) => site_of_exchangers("b.test", Ok(list), "mta.example", 25),
        _ => site_of_exchangers("b.test", Err(Missing::NoData), "mta.example", 25),
    };
    if let Ok(site) = site {
        assert!((1..=HOSTS_MAX).contains(&site.hosts.len()), "{} hosts", site.hosts.len());
        assert!(
            site.hosts.iter().all(|host| !host.name.is_empty() && *host.name != *"mta.example"),
            "{:?}",
            site.hosts
        );
    }
    let list = BlockList { zone: "bl.test".into(), answers: None };
    let finding = block_list::finding(&list, &addresses);
    if let Answer::Addresses(found, _) = &addresses {
        assert_eq!(interleaved(found).len(), found.len());
        let is_listing = |address: &IpAddr| matches!(address, IpAddr::V4(address) if address.octets()[0] == 127);
        let is_refused = matches!(finding, Ok(Finding::Refuse(..)));
        assert!(!is_refused || found.iter().any(is_listing), "{found:?}");
        if let [IpAddr::V4(address)] = found[..] {
            let _ = block_list::name(IpAddr::V4(Ipv4Addr::from_bits(address.to_bits())), &list.zone);
        }
    }
    check(finding);
}
