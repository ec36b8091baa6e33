//! Replies in the style of real servers, in words of our own, with what they mean.

use super::*;

/// Text, action, category.
const EXAMPLES: &[(&str, &str, &str)] = &[
    // The recipient.
    (
        "550 5.1.1 <jo@b.test>: Recipient address rejected: User unknown in relay recipient table",
        "reject",
        "recipient-unknown",
    ),
    (
        "550-5.1.1 The account you wrote to does not exist. Please check\r\n550 5.1.1 the recipient's address - gsmtp",
        "reject",
        "recipient-unknown",
    ),
    ("550 No such user here", "reject", "recipient-unknown"),
    (
        "554 delivery error: dd This user doesn't have a mail.test account (jo@mail.test) [-5]",
        "reject",
        "recipient-unknown",
    ),
    (
        "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient jo@b.test not found by SMTP address lookup",
        "reject",
        "recipient-unknown",
    ),
    (
        "550 5.4.1 Recipient address rejected: Access denied. [AM7EUR03FT012.eop-EUR03.prod.protection.outlook.com]",
        "reject",
        "recipient-unknown",
    ),
    ("550 Requested action not taken: mailbox unavailable", "reject", "recipient-unknown"),
    ("450 4.2.0 <jo@b.test>: Recipient address rejected: User unknown", "defer", "recipient-unknown"),
    ("Remote host said: 511 sorry, no mailbox here by that name (#5.1.1)", "reject", "recipient-unknown"),
    ("550 Unbekannter Empf\u{e4}nger", "reject", "recipient-unknown"),
    ("550 Mailbox unavailable or access denied [mail.qq.test]", "reject", "recipient-unknown"),
    ("User jo (jo@b.test) not listed in Domino Directory", "reject", "recipient-unknown"),
    ("550 5.2.1 The mailbox is disabled and takes no messages", "reject", "recipient-inactive"),
    ("550 5.7.1 User jo@b.test is temporarily locked. Please try again later", "reject", "recipient-inactive"),
    (
        "554 30 Sorry, your message cannot be delivered. This account has been disabled or discontinued [#102]",
        "reject",
        "recipient-inactive",
    ),
    ("550 5.1.6 recipient no longer on server: jo@b.test", "reject", "recipient-inactive"),
    ("525 5.7.13 Mailbox of recipient is off", "reject", "recipient-inactive"),
    ("450 4.2.1 The user you are trying to contact is receiving mail too quickly", "defer", "recipient-rate"),
    (
        "550 5.2.122 The recipient has exceeded their limit for messages they can receive per hour",
        "defer",
        "recipient-rate",
    ),
    ("550 5.1.2 <jo@b.test>: Domain not found", "reject", "domain-unknown"),
    ("556 5.1.10 Domain doesn't accept mail (null MX)", "reject", "domain-unknown"),
    ("Sorry, I couldn't find any host named b.test. (#5.1.2)", "reject", "domain-unknown"),
    ("mailbox is busy", "defer", "recipient-rate"),
    ("450 4.2.1 Requested action not taken: mailbox busy", "defer", "recipient-rate"),
    // Its room.
    ("452 4.2.2 Mailbox full", "defer", "mailbox-full"),
    ("552 5.2.2 Mailbox full", "defer", "mailbox-full"),
    (
        "552-5.2.2 The inbox of the person you write to is out of storage\r\n552 5.2.2 space. - gsmtp",
        "defer",
        "mailbox-full",
    ),
    ("550 The mailfolder of the user is over the allowed quota (#5.2.2)", "defer", "mailbox-full"),
    ("5.2.2 - Bad destination mailbox address 'Mailbox full'", "defer", "mailbox-full"),
    ("550 5.1.1 <jo@b.test>: user is over quota", "defer", "mailbox-full"),
    ("554 5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException", "defer", "mailbox-full"),
    ("550 Account jo@b.test has exceeded its storage quota", "defer", "mailbox-full"),
    ("552 Requested mail action aborted: exceeded storage allocation", "defer", "mailbox-full"),
    ("552 5.2.2", "defer", "mailbox-full"),
    ("550 5.2.2 Boite pleine", "defer", "mailbox-full"),
    ("550 Postfach ist voll", "defer", "mailbox-full"),
    ("x-unix; maildir: Disk quota exceeded", "defer", "mailbox-full"),
    // Lists.
    (
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org; https://www.spamhaus.org/query/ip/192.0.2.1",
        "defer",
        "blocklist",
    ),
    (
        "550 5.7.1 Messages from [192.0.2.1] were not sent: part of their network is on our block list (S3140)",
        "defer",
        "blocklist",
    ),
    ("550 5.7.606 Access denied, banned sending IP [192.0.2.1]", "defer", "blocklist"),
    (
        "553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.1, because the ip is in a policy list",
        "defer",
        "blocklist",
    ),
    ("554 5.7.1 Your IP 192.0.2.1 has been blacklisted", "defer", "blocklist"),
    ("550 SPF ok, but 192.0.2.1 is listed at bl.b.test", "defer", "blocklist"),
    ("550 5.7.0 Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.1", "defer", "blocklist"),
    ("554 5.7.1 <mx.a.test[192.0.2.1]>: Client host rejected: Access denied", "defer", "blocklist"),
    ("554-mx.b.test ESMTP 554-No SMTP service 554 IP address is block listed", "defer", "blocklist"),
    ("554 IP=192.0.2.1 - A problem occurred. (Ask your postmaster to write to tosa@b.test) (BL)", "defer", "blocklist"),
    ("550 5.1.0 <b@a.test> sender rejected. AUP#CXRBL", "defer", "blocklist"),
    ("550 Connections from the host mx.a.test (192.0.2.1) are not accepted: spammer", "defer", "blocklist"),
    ("571 Email from 192.0.2.1 is currently blocked by our anti-spam system", "defer", "blocklist"),
    (
        "550 5.7.1 The IP you are using to send mail is not authorized to send email directly to our servers - gsmtp",
        "defer",
        "blocklist",
    ),
    (
        "550 5.7.1 [192.0.2.1 12] Our system has seen an unusual rate of unsolicited mail from you. It has been blocked",
        "defer",
        "blocklist",
    ),
    ("554 HL:IPB 163 smtp3,abc http://mail.163.test/help?m=192.0.2.1", "defer", "blocklist"),
    ("550 Suspected spam ip https://service.mail.qq.test", "defer", "blocklist"),
    ("550 5.5.0 Adresse IP source bloqu\u{e9}e pour incident de spam. OFR_102", "defer", "blocklist"),
    ("550 Mail from dynamic addresses is not taken here", "defer", "blocklist"),
    ("554 5.7.1 Sender address <b@a.test> blocked using dbl.spamhaus.org", "defer", "reputation"),
    ("550 [192.0.2.1] not welcome here", "defer", "blocklist"),
    ("421 4.7.0 [TSS04] Messages from 192.0.2.1 deferred due to user complaints", "defer", "blocklist"),
    (
        "554 Your access to this mail system has been rejected due to the sending MTA's poor reputation",
        "defer",
        "blocklist",
    ),
    ("554 5.7.1 Connection refused: 192.0.2.1 has a poor reputation", "defer", "reputation"),
    ("550 5.7.1 Very low reputation of the sending domain", "defer", "reputation"),
    ("550 DNSBL:RBL 521< 192.0.2.1 >_is_blocked. Write to abuse_rbl@b.test", "defer", "blocklist"),
    ("550 We do not take mail from your country", "defer", "blocklist"),
    ("554 Denied [CS] [192.0.2.1] (Mode: normal)", "defer", "blocklist"),
    // Our name.
    ("550 5.7.25 The sending address has no PTR record - gsmtp", "defer", "host-name"),
    ("554 Bad DNS PTR resource record", "defer", "host-name"),
    ("550 Client host rejected: cannot find your hostname, [192.0.2.1]", "defer", "host-name"),
    ("550 Access denied - Invalid HELO name (See RFC2821 4.1.1.1)", "defer", "host-name"),
    ("550 5.7.1 Fix reverse DNS for 192.0.2.1", "defer", "host-name"),
    // Too much.
    ("550 Connection frequency limited", "defer", "rate"),
    ("421 4.7.28 Mail from your address range has been rate limited", "defer", "rate"),
    ("421 4.7.28 Unusual rate of mail from your address, slow down", "defer", "rate"),
    ("554 5.7.0 Too many connections from 192.0.2.1, slow down", "defer", "rate"),
    ("550 5.1.1 192.0.2.1 has sent to too many recipients this hour. IB607", "defer", "rate"),
    ("550 Domain a.test has exceeded the max emails per hour (120/100) allowed. Message discarded", "defer", "rate"),
    ("550 5.4.5 Daily sending quota exceeded", "defer", "rate"),
    ("452 4.5.3 Too many recipients", "defer", "too-many-recipients"),
    ("552 Too many recipients", "defer", "too-many-recipients"),
    ("450 4.2.0 Greylisted, see http://postgrey.b.test/help", "defer", "greylisting"),
    ("550 5.7.1 Greylisting in action, please come back later", "defer", "greylisting"),
    // The content.
    ("554 5.7.1 Message rejected: identified as spam", "reject", "spam"),
    ("451 4.7.1 The message was identified as spam", "reject", "spam"),
    (
        "550-5.7.1 [192.0.2.1] This message is likely unsolicited mail and has been blocked\r\n550 5.7.1 - gsmtp",
        "reject",
        "spam",
    ),
    ("554 DT:SPM 163 smtp12,abc", "reject", "spam"),
    ("550 Mail content denied", "reject", "spam"),
    ("554 5.7.1 URL in the body is blacklisted by SURBL", "reject", "spam"),
    ("550 5.7.1 Message content rejected, UBE, id=1-2", "reject", "spam"),
    ("554 5.7.1 Virus detected: Eicar-Test-Signature", "reject", "virus"),
    ("550 5.7.1 The message contains malware and was refused", "reject", "virus"),
    ("451 4.7.1 Virus scanner unavailable, try again later", "defer", "system"),
    ("552 5.7.0 This message was blocked because its attachment is a potential danger", "reject", "attachment"),
    ("552 5.3.4 Message size exceeds fixed limit", "reject", "message-size"),
    ("550 5.2.3 RESOLVER.RST.RecipSizeLimit; message too large for this recipient's mailbox", "reject", "message-size"),
    ("550 5.7.1 Messages with several addresses in the From: header are not accepted", "reject", "message-form"),
    ("554 5.6.0 Message contains bare LF", "reject", "message-form"),
    // Who may.
    (
        "550 5.7.26 This mail is unauthenticated: neither SPF nor DKIM passed. It has been blocked - gsmtp",
        "reject",
        "authentication",
    ),
    ("421 4.7.26 This mail has been rate limited because it is unauthenticated", "defer", "authentication"),
    (
        "550 5.7.509 Access denied, a.test does not pass DMARC verification and has a policy of reject",
        "reject",
        "authentication",
    ),
    ("554 5.7.1 <jo@b.test>: Relay access denied", "reject", "relaying"),
    ("553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)", "reject", "relaying"),
    ("550 Please turn on SMTP Authentication in your mail client", "reject", "credentials"),
    ("553 5.1.8 <b@a.test>... Domain of sender address b@a.test does not exist", "reject", "sender"),
    ("451 4.1.8 <b@a.test>: Sender address rejected: Domain not found", "defer", "sender"),
    ("554 5.7.9 Message not accepted for policy reasons", "reject", "policy"),
    ("550 5.7.1 Sender is on the recipient's list of blocked senders", "reject", "policy"),
    ("530 5.7.0 Must issue a STARTTLS command first", "reject", "tls"),
    // The way.
    ("421 4.3.2 Service shutting down", "defer", "network"),
    ("421 The mailbox server is too busy", "defer", "network"),
    ("554 mx.b.test ESMTP not accepting connections", "defer", "network"),
    ("connect to mx.b.test[192.0.2.1]:25: Connection refused", "defer", "network"),
    ("554 5.4.0 Network is unreachable", "defer", "network"),
    ("451 4.4.3 Temporary lookup failure", "defer", "dns"),
    ("DNS Error: 1 DNS type 'mx' lookup of b.test responded with code SERVFAIL", "defer", "dns"),
    ("554 5.4.6 Too many hops 26 (25 max)", "defer", "routing-loop"),
    ("550 4.4.7 QUEUE.Expired; message expired", "defer", "expired"),
    ("550 5.4.7 Delivery expired (message too old)", "reject", "expired"),
    ("452 4.3.1 Insufficient system storage", "defer", "system"),
    ("554 5.3.0 Internal error", "reject", "system"),
    ("500 5.5.1 Command unrecognized", "reject", "protocol"),
    // Words that only ask to come again.
    ("550 Not now. Please try again later", "defer", "other"),
    // Nothing but a code, and less.
    ("550 Nope", "reject", "other"),
    ("450 Nope", "defer", "other"),
    ("421", "defer", "network"),
    ("550 5.1.1", "reject", "recipient-unknown"),
    ("550 5.7.8", "reject", "credentials"),
    ("550 5.7.99", "reject", "policy"),
    ("354 what", "defer", "other"),
    ("250 2.0.0 Ok: spam and virus and blacklist", "deliver", "accepted"),
    ("x-unix; something went wrong for good", "reject", "other"),
    ("temporary failure", "defer", "system"),
    ("smtp;", "defer", "other"),
    // What tells of no reply is not judged.
    ("Something went wrong for good", "unknown", ""),
    ("hello world", "unknown", ""),
    ("to: whom; it may concern", "unknown", ""),
    ("", "unknown", ""),
];

/// Action, category and rule of a text.
fn told(text: &str, context: &Context<'_>) -> (&'static str, &'static str, &'static str) {
    classify_text(text, context).map_or(("unknown", "", ""), |verdict| match verdict.rule {
        Cow::Borrowed(rule) => (verdict.action.name(), verdict.category.name(), rule),
        Cow::Owned(rule) => panic!("{rule} does not come along"),
    })
}

fn judged(text: &str) -> Classification {
    classify_text(text, &Context::default()).expect("a reply")
}

#[test]
fn replies_mean_what_their_words_say() {
    let mut wrong = Vec::new();
    for (text, action, category) in EXAMPLES {
        let (does, about, rule) = told(text, &Context::default());
        if (does, about) != (*action, *category) {
            wrong.push(format!("{does} {about} by {rule}, not {action} {category}: {text}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), EXAMPLES.len(), wrong.join("\n"));
}

#[test]
fn a_provider_means_something_of_its_own() {
    let cases = [
        // The same words, with and without our address, at the same host.
        (
            "mx01.mail.icloud.com",
            "554 5.7.1 [HM08] Message rejected due to local policy [192.0.2.1]",
            "defer blocklist apple-address",
        ),
        ("mx01.mail.icloud.com", "554 5.7.1 [HM08] Message rejected due to local policy", "reject spam apple-content"),
        (
            "mx01.mail.icloud.com",
            "554 5.7.1 [HM08] Message rejected due to local policy [198.51.100.9]",
            "reject spam apple-content",
        ),
        // Google's own use of a code that elsewhere means SPF.
        ("gmail-smtp-in.l.google.com", "550 5.7.23 No.", "defer host-name google-reverse-dns"),
        ("mx.b.test", "550 5.7.23 No.", "reject authentication enhanced:x.7.23"),
        ("notgoogle.com", "550 5.7.23 No.", "reject authentication enhanced:x.7.23"),
        ("mta5.am0.yahoodns.net", "421 4.7.0 [TSS04] Deferred due to user complaints", "defer rate yahoo-rate"),
        (
            "mta5.am0.yahoodns.net.",
            "554 5.7.9 [PH01] Email not accepted for policy reasons",
            "reject spam yahoo-content",
        ),
        ("rx.t-online.de", "554 Ask your postmaster for help", "defer blocklist t-online-address"),
        ("mx1.qq.com", "550 Connection denied", "defer blocklist tencent-address"),
        (
            "a-com.mail.protection.outlook.com",
            "451 4.7.500 Server busy. Please try again later",
            "defer rate microsoft-rate",
        ),
    ];
    for (mx, text, expected) in cases {
        let context = Context { mx: Some(mx), address: "192.0.2.1".parse().ok(), ..Context::default() };
        let (action, category, rule) = told(text, &context);
        assert_eq!(format!("{action} {category} {rule}"), expected, "{mx}: {text}");
    }
}

#[test]
fn what_a_provider_means_counts_at_all_hosts_that_the_configuration_says_are_its() {
    let at = |provider| Context { mx: Some("mx.moved.test"), provider, ..Context::default() };
    assert_eq!(told("550 5.7.23 No.", &at(Some("gmail"))).2, "google-reverse-dns");
    assert_eq!(told("550 5.7.23 No.", &at(None)).2, "enhanced:x.7.23");
    let known = |host, provider| known_of(host, provider).map(|(rule, _)| rule).collect::<Vec<_>>();
    assert_eq!(known("mx.moved.test", Some("gmail")), known("aspmx.l.google.com", None));
    assert!(known("aspmx.l.google.com", None).contains(&"google-rate") && known("mx.moved.test", None).is_empty());
}

#[test]
fn a_reply_is_judged_like_its_text() {
    for (text, action, category) in EXAMPLES {
        let Some(code) =
            text.get(..3).and_then(|code| code.parse().ok()).filter(|_| text.len() == 3 || text[3..].starts_with(' '))
        else {
            continue;
        };
        let reply = Reply { code, enhanced: None, text: text[3..].trim().into() };
        let verdict = classify(&reply, &Context::default());
        assert_eq!(
            (verdict.action.name(), verdict.category.name(), verdict.code),
            (*action, *category, Some(code)),
            "{text}"
        );
    }
}

#[test]
fn codes_are_kept_and_contradictions_are_not() {
    let cases = [
        ("550 5.1.1 User unknown", Some(550), Some("5.1.1")),
        ("550 4.2.2 User unknown", Some(550), Some("5.0.0")),
        ("User unknown (#5.1.1)", None, Some("5.1.1")),
        ("User unknown", None, None),
    ];
    for (text, code, status) in cases {
        let verdict = judged(text);
        assert_eq!(
            (verdict.code, verdict.status.map(|status| status.to_string()).as_deref()),
            (code, status),
            "{text}"
        );
    }
}

#[test]
fn other_systems_have_their_names_for_it() {
    for category in Category::ALL {
        let named = !category.powermta().is_empty() && !category.kumomta().is_empty();
        assert_eq!(named, *category != Category::Accepted, "{category:?}");
    }
    let cases = [
        ("550 5.1.1 User unknown", "bad-mailbox", "InvalidRecipient"),
        ("552 5.2.2 Mailbox full", "quota-issues", "QuotaIssues"),
        ("554 5.7.1 Virus found", "virus-related", "VirusRelated"),
        ("450 Nope", "other", "TransientFailure"),
        ("550 Nope", "other", "Uncategorized"),
        ("554 5.3.0 Internal error", "other", "Uncategorized"),
    ];
    for (text, powermta, kumomta) in cases {
        let verdict = judged(text);
        assert_eq!((verdict.powermta(), verdict.kumomta()), (powermta, kumomta), "{text}");
    }
}

/// Fragments that replies are made of, some of them broken.
const FRAGMENTS: &[&str] = &[
    "550",
    "421",
    "250",
    "5.1.1",
    "4.2.2",
    "5.7.",
    "9.9.9",
    "-",
    " ",
    " ",
    "\r\n",
    ";",
    "smtp;",
    "X-Unix;",
    "said: ",
    "<",
    ">",
    "@",
    "[192.0.2.1]",
    "::1",
    ":",
    "://",
    "?",
    "mailbox full",
    "spam",
    "\u{fffd}",
    "\u{130}",
    "\u{e9}",
    "ß",
    "Ǆ",
    "邮箱已满",
    "'",
    "#",
    "\0",
];

#[test]
fn garbage_is_judged_without_panic_and_in_bounded_text() {
    let mut random = fastrand::Rng::with_seed(11);
    let context = Context { mx: Some("mx.mail.icloud.com"), address: "192.0.2.1".parse().ok(), ..Context::default() };
    for _ in 0..3_000 {
        let count = random.usize(..60);
        let text: String = (0..count).map(|_| FRAGMENTS[random.usize(..FRAGMENTS.len())]).collect();
        let said = Said::of_text(&text);
        assert!(said.text.len() <= diagnostic::TEXT_BYTES_MAX);
        let words = diagnostic::words(&said);
        assert!(words.starts_with(' ') && words.ends_with(' ') && !words.contains("  "), "{text:?}: {words:?}");
        let verdict = classify_text(&text, &context);
        assert!(said.code.is_none() || verdict.is_some(), "{text:?}");
        assert!(said.code != Some(250) || verdict.is_some_and(|said| said.action == Action::Deliver), "{text:?}");
    }
}

#[test]
fn what_stands_beyond_the_bound_does_not_count() {
    let text = format!("550 {} mailbox full", "x ".repeat(diagnostic::TEXT_BYTES_MAX));
    assert_eq!(judged(&text).category, Category::Other);
    let huge = "550 ".to_owned() + &"é".repeat(1 << 20);
    assert_eq!(judged(&huge).category, Category::Other);
}
