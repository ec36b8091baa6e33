//! Records as bytes: back again, and whatever a disk may make of them.

use std::net::IpAddr;
use std::sync::Arc;

use super::encode::{Corrupt, Reader, SCREENING, put_number, put_tagged};
use super::record::{self, Accepted, Change, Record, SAID_BYTES_MAX, Said, Standing, State, Tagged};
use super::*;
use crate::assurance::{Assurance, Security};
use crate::bounce::classify::{Category, Reason};
use crate::message::Demand;
use crate::message::Origin;
use crate::queue::outcome::Answer;
use crate::smtp::client::Phase;
use crate::smtp::envelope::{Body, Notify, Recipient, Return, Sender};
use crate::smtp::path::{Mailbox, ReversePath};
use crate::smtp::reply::EnhancedCode;

fn mailbox(address: &str) -> Mailbox {
    Mailbox::parse(address, true).expect("an address")
}

fn full_message(address: IpAddr) -> Message {
    let notify = Notify { never: false, success: true, failure: true, delay: true };
    Message {
        id: MessageId::new(3, 77),
        arrival: Timestamp::from_millis(1_795_420_000_007),
        envelope: Envelope {
            sender: Sender {
                path: ReversePath::Mailbox(mailbox("\"a b\"@sender.test")),
                body: Body::EightBitMime,
                smtputf8: true,
                size: Some(0),
                ret: Some(Return::Headers),
                envid: Some("QQ314159".into()),
                requiretls: false,
            },
            recipients: vec![
                Recipient { path: mailbox("jürgen@bücher.example"), notify, orcpt: Some("rfc822;x@y".into()) },
                Recipient { path: mailbox("x@[192.0.2.1]"), notify: Notify::default(), orcpt: None },
            ],
        },
        account: Some("user@sender.test".into()),
        client: Some(Client { address, name: "[127.0.1.1]".into() }),
        tagged: Tagged {
            origin: Origin {
                pool: Some("bulk".into()),
                tenant: None,
                campaign: Some("spring".into()),
                demand: Demand::Waived,
            },
            screening: Some("rspamd:add header (7.1 of 15)".into()),
            preflight: Some("fail: dkim spf".into()),
            scheduled: Some(Timestamp::from_millis(1_795_500_000_000)),
            message_id: Some("<a@sender.test>".into()),
            return_path: true,
            noted: true,
        },
        content: b"Subject: x\r\n\r\nbody\r\n".to_vec(),
    }
}

fn plain_message() -> Message {
    let sender = Sender {
        path: ReversePath::Null,
        body: Body::SevenBit,
        smtputf8: false,
        size: None,
        ret: None,
        envid: None,
        requiretls: false,
    };
    let recipients = vec![Recipient { path: mailbox("x@y.test"), notify: Notify::default(), orcpt: None }];
    Message {
        id: MessageId(u64::MAX),
        arrival: Timestamp::default(),
        envelope: Envelope { sender, recipients },
        account: None,
        client: None,
        tagged: Tagged::default(),
        content: Vec::new(),
    }
}

fn changes() -> Vec<Change> {
    let said = Said {
        status: EnhancedCode(4, 2, 999),
        text: "450 später".into(),
        remote: Some("mx [::1]".into()),
        at_s: 1_795_420_000,
        replied: true,
        reason: Some(Reason::by("mailbox-full", Category::MailboxFull)),
        tls: Some(Arc::new(Security::refused(&Assurance::enforced()))),
    };
    let states = [State::Due { at_s: u32::MAX }, State::Held, State::Delivered { at_s: 1 }, State::Failed { at_s: 0 }];
    let change = |(index, state)| Change {
        message: MessageId::new(1, index),
        index: u16::MAX - index as u16,
        standing: Standing { state, attempts: index as u16, last: (index % 2 == 0).then(|| said.clone()) },
    };
    (0..).zip(states).map(change).collect()
}

fn payload(head: Vec<u8>, contents: &[&Message]) -> Vec<u8> {
    contents.iter().fold(head, |payload, message| [payload, message.content.clone()].concat())
}

fn assert_same(accepted: &Accepted, message: &Message, payload: &[u8]) {
    let content = &payload[accepted.skip as usize..(accepted.skip + accepted.len) as usize];
    assert_eq!(content, message.content);
    assert_eq!((accepted.id, accepted.arrival), (message.id, message.arrival));
    assert_eq!((&accepted.envelope, &accepted.account), (&message.envelope, &message.account));
    assert_eq!((&accepted.client, &accepted.tagged), (&message.client, &message.tagged));
}

#[test]
fn what_came_back_comes_back_as_it_was() {
    let said = Said {
        status: EnhancedCode(5, 1, 1),
        text: "550 no".into(),
        remote: Some("mx.test".into()),
        at_s: 9,
        replied: true,
        reason: Some(Reason::without_reply(Category::RecipientUnknown)),
        tls: None,
    };
    for what in [record::What::Bounced, record::What::Complaint] {
        let came = record::Return { message: MessageId::new(1, 2), index: 3, what, said: said.clone() };
        let bytes = record::returned(&came);
        assert_eq!(Record::decode(&bytes), Ok(Record::Return(came)));
        for len in 0..bytes.len() {
            assert!(Record::decode(&bytes[..len]).is_err(), "cut after {len} bytes");
        }
    }
}

#[test]
fn a_message_comes_back_as_it_was() {
    let addresses = [IpAddr::from([192, 0, 2, 7]), IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 9])];
    for message in addresses.map(full_message).into_iter().chain([plain_message()]) {
        let payload = payload(record::message_head(&message), &[&message]);
        match Record::decode(&payload) {
            Ok(Record::Message(accepted)) => assert_same(&accepted, &message, &payload),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn records_of_the_first_version_are_read() {
    let message = Message { tagged: Tagged::default(), ..full_message(IpAddr::from([192, 0, 2, 7])) };
    let mut head = record::message_head(&message);
    assert_eq!(head.pop(), Some(0), "no tagged values");
    head[0] = 1;
    let payload = payload(head, &[&message]);
    match Record::decode(&payload) {
        Ok(Record::Message(accepted)) => assert_same(&accepted, &message, &payload),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tags_of_a_newer_program_are_passed_over() {
    let mut bytes = Vec::new();
    put_tagged(&mut bytes, &[(999, Some(b"new")), (7, None), (SCREENING, Some(b"clean"))]);
    let expected = Tagged { screening: Some("clean".into()), ..Tagged::default() };
    assert_eq!(Tagged::read(&mut Reader::new(&bytes)), Ok(expected));
}

#[test]
fn a_delay_with_its_notice_comes_back_as_it_was() {
    let notice = full_message(IpAddr::from([127, 0, 0, 1]));
    let payload = payload(record::delay_head(MessageId::new(2, 9), &[0, 7, u16::MAX], Some(&notice)), &[&notice]);
    match Record::decode(&payload) {
        Ok(Record::Delay(message, indices, accepted)) => {
            assert_eq!((message, indices), (MessageId::new(2, 9), vec![0, 7, u16::MAX]));
            assert_eq!(accepted.len(), 1);
            assert_same(&accepted[0], &notice, &payload);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_said_by_a_peer_is_told_from_what_happened() {
    let said = |text: &str, replied| Said {
        status: EnhancedCode(4, 2, 2),
        text: text.into(),
        remote: None,
        reason: None,
        at_s: 1,
        replied,
        tls: None,
    };
    let reply = said("452 4.2.2 mailbox full", true).reply().expect("a reply");
    assert_eq!((reply.code, reply.enhanced, &*reply.text), (452, Some(EnhancedCode(4, 2, 2)), "mailbox full"));
    assert_eq!(said("452 4.2.2 mailbox full", false).reply(), None);
    assert_eq!(said("no host took a connection: mx: 452 no", true).reply(), None);
}

#[test]
fn a_settlement_with_notices_comes_back_as_it_was() {
    let notices = [full_message(IpAddr::from([127, 0, 0, 1])), plain_message(), full_message(IpAddr::from([1; 4]))];
    let payload =
        payload(record::settlement_head(&changes(), &notices.each_ref()), &[&notices[0], &notices[1], &notices[2]]);
    match Record::decode(&payload) {
        Ok(Record::Settlement(decoded, accepted)) => {
            assert_eq!(decoded, changes());
            assert_eq!(accepted.len(), 3);
            accepted.iter().zip(&notices).for_each(|(accepted, notice)| assert_same(accepted, notice, &payload));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_note_comes_back_as_it_was() {
    let payload = record::note(MessageId(5), &[0, 7, u16::MAX]);
    assert_eq!(Record::decode(&payload), Ok(Record::Note(MessageId(5), vec![0, 7, u16::MAX])));
}

#[test]
fn cut_records_are_errors() {
    let message = full_message(IpAddr::from([127, 0, 0, 1]));
    let records = [
        payload(record::message_head(&message), &[&message]),
        payload(record::settlement_head(&changes(), &[&message]), &[&message]),
        record::note(MessageId(5), &[0, 7]),
    ];
    for record in records {
        for len in 0..record.len() {
            assert!(Record::decode(&record[..len]).is_err(), "cut after {len} of {} bytes", record.len());
        }
        assert!(Record::decode(&[&*record, b"x"].concat()).is_err(), "a byte too many");
    }
}

#[test]
fn whatever_the_bytes_are_decoding_them_does_not_panic() {
    let message = full_message(IpAddr::from([127, 0, 0, 1]));
    let whole = payload(record::settlement_head(&changes(), &[&message]), &[&message]);
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        let _ = Record::decode(&bytes);
    }
}

#[test]
fn numbers_of_any_size_come_back_and_longer_ones_are_errors() {
    for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
        let mut bytes = Vec::new();
        put_number(&mut bytes, number);
        assert_eq!(Reader::new(&bytes).number(), Ok(number));
    }
    assert_eq!(Reader::new(&[0xff; 10]).number(), Err(Corrupt("a number is too long")));
    assert_eq!(Reader::new(&[5, 1, 2]).bytes(), Err(Corrupt("a count is larger than what follows")));
}

#[test]
fn long_answers_are_cut_between_characters() {
    let answer = Answer {
        phase: Phase::Dot,
        status: EnhancedCode(5, 0, 0),
        reason: None,
        reply: None,
        text: "ü".repeat(SAID_BYTES_MAX).into(),
        remote: None,
        tls: None,
    };
    assert_eq!(Said::new(&answer, 0).text.len(), SAID_BYTES_MAX);
    let odd = Answer { text: format!("x{}", answer.text).into(), ..answer };
    assert_eq!(Said::new(&odd, 0).text.len(), SAID_BYTES_MAX - 1);
}

#[test]
fn the_proof_names_message_and_id() {
    let durable = Durable { id: MessageId::new(1, 10), message_id: "<a@b>".into() };
    assert_eq!(durable.text(), "<a@b> queued as 001000000000000a");
}
