//! What a message costs before it meets the disk: session, scan, trace.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput};
use ringpost::message::{Trace, scan};
use ringpost::smtp::server::{Acceptance, Answer, Question, Session, Settings, Step};
use shards::Timestamp;

struct Taken;

impl Acceptance for Taken {
    fn text(&self) -> String {
        "<a@b> queued as 0000000000000001".into()
    }
}

fn settings() -> Arc<Settings> {
    Arc::new(Settings {
        hostname: "mta.example".into(),
        starttls: false,
        tls_required: false,
        auth_required: false,
        message_bytes_max: 50 << 20,
        recipients_max: 1000,
        messages_max: 0,
        errors_max: 20,
    })
}

fn content() -> Vec<u8> {
    let mut content = b"From: a@example.org\r\nSubject: hello\r\nDate: now\r\nMessage-ID: <1@a>\r\n\r\n".to_vec();
    while content.len() < 10 * 1024 {
        content.extend_from_slice(b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab\r\n");
    }
    content
}

/// Drives a session over `input`, read in pieces of 16 KiB; returns how many messages it accepted.
fn converse(session: &mut Session, input: &[u8]) -> usize {
    let mut accepted = 0;
    for chunk in input.chunks(16 * 1024) {
        session.receive(chunk);
        loop {
            match session.next() {
                Step::Send => session.output().clear(),
                Step::Ask(Question::Message(envelope, content)) => {
                    black_box((envelope, content));
                    accepted += 1;
                    session.accepted(&Taken);
                }
                Step::Ask(_) => session.answer(Answer::Accept),
                Step::Read(_) | Step::Close | Step::StartTls => break,
            }
        }
    }
    accepted
}

fn benches(criterion: &mut Criterion) {
    let content = content();
    let mut input = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n".to_vec();
    input.extend_from_slice(&content);
    input.extend_from_slice(b".\r\n");

    let mut group = criterion.benchmark_group("message of 10 KiB");
    group.throughput(Throughput::Elements(1));
    group.bench_function("server session, pipelined", |bencher| {
        let mut session = Session::new(settings(), false);
        converse(&mut session, b"EHLO client.example\r\n");
        bencher.iter(|| assert_eq!(converse(&mut session, black_box(&input)), 1));
    });
    group.bench_function("header scan", |bencher| bencher.iter(|| scan(black_box(&content))));
    let facts = scan(&content);
    let trace = Trace {
        client_name: "client.example",
        client_address: std::net::Ipv4Addr::LOCALHOST.into(),
        hostname: "mta.example",
        protocol: "ESMTP",
        tls: None,
        id: "0000000000000001",
        time: Timestamp::from_millis(1_795_420_000_000),
        looks_like_spam: false,
    };
    group.bench_function("trace fields", |bencher| bencher.iter(|| black_box(&trace).fields(&facts)));
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    benches(&mut criterion);
    criterion.final_summary();
}
