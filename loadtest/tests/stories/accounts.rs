//! What the generator got 250 for is what the sink received.

use loadtest::verify;

use super::*;

const LISTEN: &str = "--listen=127.0.0.1:0";

#[test]
fn both_ends_agree_in_every_way_of_sending() {
    let ways = [
        "",
        "--pipelining",
        "--chunking",
        "--pipelining --chunking",
        "--messages-per-connection 1",
        "--messages-per-connection 7 --pipelining",
        "--recipients 5 --rcpt-domain a.test,b.test --pipelining",
        "--size 300KiB --pipelining --chunking",
        "--sources 9",
        "--bdat --body 8bit",
        "--body multipart --size mix:2KiB=50,20KiB=50",
        "--size uniform:1KiB-64KiB --pipelining",
    ];
    for way in ways {
        let folder = Folder::new();
        let (sent, received) = (folder.path("sent"), folder.path("received"));
        let sink = start(LISTEN, &[&option("--ids", &received), "--per-recipient"]);
        let load = format!("--messages 60 --connections 4 --per-recipient {way}");
        let load = generate(&sink, &load, &[&option("--ids", &sent)]);
        let received_report = sink.stop().expect("the sink ends");

        let recipients = if way.contains("--recipients 5") { 300 } else { 60 };
        assert_eq!((load.sent, load.accepted, load.unexpected), (60, 60, 0), "{way}: {load}");
        assert_eq!((received_report.messages, received_report.recipients), (60, recipients), "{way}");
        assert_eq!((received_report.damaged, received_report.duplicates, received_report.unmarked), (0, 0, 0), "{way}");
        assert_eq!(received_report.connections, load.connections, "{way}");
        let account = verify::account(&[&sent], &[&received]).expect("both files are there");
        assert_eq!((account.sent, account.received), (recipients, recipients), "{way}");
        assert_eq!((account.lost, account.duplicated, account.unacknowledged), (0, 0, 0), "{way}");
    }
}

#[test]
fn a_connection_carries_as_many_messages_as_it_may() {
    let sink = start(LISTEN, &[]);
    assert_eq!(generate(&sink, "--messages 20 --messages-per-connection 7", &[]).connections, 3);
    assert_eq!(generate(&sink, "--messages 20", &[]).connections, 1);
    assert_eq!(sink.stop().expect("the sink ends").connections, 4);
}

#[test]
fn lost_doubled_and_unacknowledged_messages_are_told_apart() {
    let folder = Folder::new();
    let sent = folder.write("sent", "a\nb\nc\n");
    let received = folder.write("received", "a\nb\nb\nx\n");
    let account = verify::account(&[&sent], &[&received]).expect("both files are there");
    assert_eq!((account.sent, account.received), (3, 4));
    assert_eq!((account.lost, account.duplicated, account.unacknowledged), (1, 1, 1));
    assert_eq!((account.lost_examples, account.duplicated_examples), (vec!["c".into()], vec!["b".into()]));
}

#[test]
fn the_sink_ends_by_itself_after_its_messages() {
    let sink = start(LISTEN, &["--messages=30"]);
    let load = generate(&sink, "--messages 30 --connections 3", &[]);
    assert_eq!(load.accepted, 30, "the last 250 is heard: {load}");
    while !sink.has_ended() {
        std::thread::yield_now();
    }
    assert_eq!(sink.stop().expect("the sink ends").messages, 30);
}

#[test]
fn several_threads_add_up() {
    let sink = start(LISTEN, &["--listen=127.0.0.2:0"]);
    let load = generate(&sink, "--messages 101 --connections 5 --threads 2", &[]);
    assert_eq!((load.accepted, load.connections), (101, 5));
    assert_eq!(sink.stop().expect("the sink ends").messages, 101);
}

#[test]
fn sizes_of_a_distribution_all_occur() {
    let sink = start(LISTEN, &[]);
    let load = generate(&sink, "--messages 400 --size mix:1KiB=50,9KiB=50 --pipelining", &[]);
    let report = sink.stop().expect("the sink ends");
    assert_eq!((load.accepted, report.damaged), (400, 0));
    let mean = report.bytes / 400;
    assert!((4 * 1024..6 * 1024).contains(&mean), "{mean}");
    assert_eq!(report.delivery_ms.count, 400, "each says when it was due: {report}");
}

#[test]
fn idle_connections_say_nothing() {
    let folder = Folder::new();
    let series = folder.path("series.csv");
    let sink = start(LISTEN, &[]);
    let load = generate(&sink, "--idle 200ms --connections 70", &[&option("--series", &series)]);
    let report = sink.stop().expect("the sink ends");
    assert_eq!((load.sent, load.connections, load.unexpected), (0, 70, 0), "{load}");
    assert_eq!((report.connections, report.messages), (70, 0));
    let text = std::fs::read_to_string(series).expect("the series");
    assert!(text.starts_with("unix_ms,accepted,failed,connections\n"), "{text}");
    assert!(text.lines().any(|line| line.ends_with(",70")), "all were open at once: {text}");
    assert!(text.lines().last().is_some_and(|line| line.ends_with(",0,0,0")), "{text}");
}
