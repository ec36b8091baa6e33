//! Headers: what is read of them, taken out of them, and put before them.

use ringpost::message::date;
use ringpost::message::scan::{Facts, fields, from_mailboxes, remove_blind, scan, sender_mailboxes};
use ringpost::message::trace::Trace;
use shards::Timestamp;

/// Fields and what they hold.
pub const WORDS: &[&str] = &[
    "From: ",
    "Sender: ",
    "To: ",
    "Bcc: ",
    "Resent-Bcc: ",
    "Date: ",
    "Message-ID: <",
    "Received: ",
    "Subject: ",
    "\r\n ",
    "\r\n\t",
    "\r\n\r\n",
    "=?utf-8?Q?",
    "=?utf-8?B?",
    "?=",
    "<a@b.test>",
    "\"x\" <a@b.test>",
    "(comment)",
    "group: a@b, c@d;",
    "Content-Type: ",
    "boundary=",
    "Thu, 1 Jan 2026 00:00:00 +0000",
    "DKIM-Signature: ",
    "List-Unsubscribe: ",
];

/// Fields follow each other without a gap; Bcc goes, and nothing else; what we put before a header completes it.
pub fn header(data: &[u8]) {
    let facts = scan(data);
    let mut end = 0;
    for field in fields(data) {
        assert!(field.start == end && field.end > field.start, "a gap before {}", field.start);
        end = field.end;
    }
    assert!(facts.body_start == end || facts.body_start == end + 2 || facts.too_large, "{facts:?}");
    check_mailboxes(data);
    check_removal(data);
    check_trace(data, &facts);
}

fn check_mailboxes(data: &[u8]) {
    for mailboxes in [from_mailboxes(data), sender_mailboxes(data)].into_iter().flatten() {
        let bytes: usize = mailboxes.iter().map(String::len).sum();
        // Words in another character set can grow to three bytes for each.
        assert!(bytes <= 4 * data.len(), "more came out than went in");
    }
    for field in fields(data) {
        if let Some(time) = date::parse(field.value) {
            // To the second, which is all that a date says.
            let again = date::parse(date::rfc5322(time).as_bytes()).expect("our own date");
            assert_eq!(again.as_millis() / 1000, time.as_millis() / 1000);
        }
    }
}

fn check_removal(data: &[u8]) {
    let is_blind = |name: &[u8]| name.eq_ignore_ascii_case(b"Bcc") || name.eq_ignore_ascii_case(b"Resent-Bcc");
    let mut rest = data.to_vec();
    remove_blind(&mut rest);
    let blind: usize = fields(data).filter(|field| is_blind(field.name)).map(|field| field.end - field.start).sum();
    assert_eq!(rest.len(), data.len() - blind, "something else went");
    let names = |from: &[u8]| {
        fields(from).filter(|field| !is_blind(field.name)).map(|field| field.name.to_vec()).collect::<Vec<_>>()
    };
    // What stood behind a Bcc at the header's end may be a field now that it stands alone; nothing that was one is lost.
    assert!(names(&rest).starts_with(&names(data)), "a field was lost");
}

fn check_trace(data: &[u8], facts: &Facts) {
    let client_name = String::from_utf8_lossy(&data[..data.len().min(300)]);
    let trace = Trace {
        client_name: &client_name,
        client_address: [192, 0, 2, 1].into(),
        hostname: "mta.example",
        protocol: "ESMTP",
        tls: None,
        id: "0010000000000001",
        time: Timestamp::from_millis(1_800_000_000_000),
        looks_like_spam: data.len() % 2 == 1,
    };
    let whole = [trace.fields(facts).as_bytes(), data].concat();
    let completed = scan(&whole);
    assert!(completed.date && completed.has_message_id, "{completed:?}");
    assert_eq!(completed.hops, facts.hops + 1, "a client's name made a field");
    assert_eq!(completed.from_fields, facts.from_fields);
    if !facts.has_message_id {
        assert_eq!(completed.message_id.as_deref(), Some(&*trace.message_id()));
    }
}
