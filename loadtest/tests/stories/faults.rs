//! Each scripted fault shows the result that it implies at the other end.

use std::collections::BTreeMap;

use super::*;

/// What happened at both ends.
struct Both {
    load: generate::Report,
    sink: sink::Report,
}

fn play(script: &str, load: &str) -> Both {
    let folder = Folder::new();
    let script = folder.write("faults.toml", script);
    let sink = start("--listen=127.0.0.1:0", &[&option("--script", &script)]);
    let load = generate(&sink, load, &[]);
    Both { load, sink: sink.stop().expect("the sink ends") }
}

#[test]
fn a_scripted_reply_is_the_replys_code_at_the_client() {
    let cases = [
        ("connect", "421 4.3.2 Busy"),
        ("connect", "554 5.7.1 Go away"),
        ("ehlo", "450 4.7.0 Later"),
        ("mail", "451 4.3.0 Later"),
        ("rcpt", "550 5.1.1 Who?"),
        ("rcpt", "421 4.3.2 Busy"),
        ("data", "451 4.3.0 Later"),
        ("content", "552 5.3.4 Too large"),
        ("dot", "452 4.2.2 Full"),
    ];
    for (at, reply) in cases {
        let both = play(&format!("[[fault]]\nat = \"{at}\"\nreply = \"{reply}\"\n"), "--messages 3");
        let code: u16 = reply[..3].parse().expect("a code");
        assert_eq!(both.load.refused, BTreeMap::from([(code, 3)]), "{at} {reply}: {}", both.load);
        assert_eq!(both.load.examples[&code.to_string()], reply, "{at}");
        assert_eq!((both.load.accepted, both.load.unexpected), (0, 3), "{at} {reply}");
        assert_eq!((both.sink.messages, &both.sink.faults[..]), (0, &[3][..]), "{at} {reply}");
    }
}

#[test]
fn a_connection_that_ends_is_lost_at_the_phase_where_it_ended() {
    let phases =
        [("ehlo", "ehlo"), ("mail", "mail"), ("rcpt", "rcpt"), ("data", "data"), ("content", "dot"), ("dot", "dot")];
    for (at, phase) in phases {
        for action in ["drop", "reset"] {
            let both = play(&format!("[[fault]]\nat = \"{at}\"\n{action} = true\n"), "--messages 2");
            assert_eq!(both.load.lost, BTreeMap::from([(phase, 2)]), "{at} {action}: {}", both.load);
            assert_eq!(both.sink.messages, 0, "{at} {action}");
        }
    }
}

#[test]
fn a_connection_that_ends_at_once_is_lost_before_the_greeting() {
    let both = play("[[fault]]\nat = \"connect\"\ndrop = true\n", "--messages 2");
    assert_eq!(both.load.lost, BTreeMap::from([("greeting", 2)]), "{}", both.load);
    // A reset may overtake the end of the connect.
    let both = play("[[fault]]\nat = \"connect\"\nreset = true\n", "--messages 2");
    assert_eq!(both.load.lost.values().sum::<u64>(), 2, "{}", both.load);
    assert!(both.load.lost.keys().all(|phase| ["connect", "greeting"].contains(phase)), "{}", both.load);
}

#[test]
fn much_content_that_is_cut_off_was_not_sent_to_its_end() {
    let script = "[[fault]]\nat = \"content\"\nreset = true\n";
    let both = play(script, "--messages 1 --size 32MiB --pipelining --chunking");
    assert_eq!(both.load.lost, BTreeMap::from([("content", 1)]), "{}", both.load);
}

#[test]
fn a_dropped_dot_leaves_open_whether_the_message_was_taken() {
    for (accept, taken) in [("false", 0), ("true", 4)] {
        for action in ["drop", "reset"] {
            let script = format!("[[fault]]\nat = \"dot\"\n{action} = true\naccept = {accept}\n");
            let both = play(&script, "--messages 4 --pipelining --chunking --expect lost");
            assert_eq!(both.load.lost, BTreeMap::from([("dot", 4)]), "{}", both.load);
            assert_eq!(both.load.unexpected, 0, "it was expected");
            assert_eq!(both.sink.messages, taken);
        }
    }
}

#[test]
fn silence_ends_the_clients_patience() {
    for (at, phase) in [("connect", "greeting"), ("rcpt", "rcpt"), ("dot", "dot")] {
        let script = format!("[[fault]]\nat = \"{at}\"\nsilent = true\n");
        let both = play(&script, "--messages 1 --patience 1s");
        assert_eq!(both.load.lost, BTreeMap::from([(phase, 1)]), "{at}: {}", both.load);
    }
}

#[test]
fn latency_is_measured_where_it_is() {
    let both = play("[[fault]]\nat = \"dot\"\ndelay = \"50ms\"\n", "--messages 4");
    assert_eq!(both.load.accepted, 4);
    assert!(both.load.dot_us.p50 >= 50_000, "{}", both.load);
    let both = play("[[fault]]\nat = \"mail\"\ndelay = \"50ms\"\n", "--messages 4");
    assert!(both.load.due_us.p50 >= 50_000, "{}", both.load);
    assert!(both.load.dot_us.p50 < 50_000, "{}", both.load);
}

#[test]
fn only_those_who_are_meant_are_hit() {
    let pattern = "[[fault]]\nat = \"rcpt\"\nrecipient = \"u1@*\"\nreply = \"550 5.1.1 Who?\"\n";
    let both = play(pattern, "--messages 1 --recipients 4 --pipelining");
    assert_eq!((both.load.accepted, both.load.recipients_accepted), (1, 3));
    assert_eq!(both.load.refused, BTreeMap::from([(550, 1)]));
    assert_eq!((both.sink.messages, both.sink.recipients), (1, 3));

    let third = "[[fault]]\nat = \"dot\"\nevery = 3\ntimes = 2\nreply = \"451 4.3.0 Later\"\n";
    let both = play(third, "--messages 12 --expect 4xx");
    assert_eq!((both.load.accepted, both.load.unexpected), (10, 0), "{}", both.load);

    let half = "seed = 5\n[[fault]]\nat = \"dot\"\nshare = 0.5\nreply = \"451 4.3.0 Later\"\n";
    let (first, again) = (play(half, "--messages 40"), play(half, "--messages 40"));
    assert!((10..=30).contains(&first.load.accepted), "{}", first.load);
    assert_eq!(first.load.accepted, again.load.accepted, "the seed decides");
}

#[test]
fn a_kept_connection_that_was_closed_meanwhile_costs_no_message() {
    // The second MAIL of each connection meets a server that has gone.
    let script = "[[fault]]\nat = \"mail\"\nevery = 2\ndrop = true\n";
    let both = play(script, "--messages 5");
    assert_eq!((both.load.accepted, both.load.unexpected), (5, 0), "{}", both.load);
}

#[test]
fn limits_of_connections_messages_and_rates_are_kept() {
    let crowd = "[[fault]]\nat = \"connect\"\nconnections_over = 0\nreply = \"421 4.7.0 Too many\"\n";
    assert_eq!(play(crowd, "--messages 2").load.refused, BTreeMap::from([(421, 2)]));
    let room = crowd.replace("over = 0", "over = 1");
    assert_eq!(play(&room, "--messages 2").load.accepted, 2);

    let tired = "[[fault]]\nat = \"mail\"\nmessages_over = 2\nreply = \"421 4.7.0 Enough\"\n";
    let both = play(tired, "--messages 6");
    assert_eq!((both.load.accepted, both.load.connections), (6, 3), "{}", both.load);

    let rate = "[[fault]]\nat = \"mail\"\nover = 4\nwithin = \"1h\"\nreply = \"451 4.7.0 Slower\"\n";
    let both = play(rate, "--messages 10");
    assert_eq!((both.load.accepted, both.load.refused), (4, BTreeMap::from([(451, 6)])));
    assert_eq!(both.load.replies, BTreeMap::from([(250, 4), (451, 6)]));
}

#[test]
fn a_greylist_refuses_strangers() {
    let script = "[[fault]]\nat = \"rcpt\"\ngreylist = \"1h\"\nreply = \"450 4.2.0 Later\"\n";
    assert_eq!(play(script, "--messages 3").load.refused, BTreeMap::from([(450, 3)]));
    let short = script.replace("1h", "0s");
    assert_eq!(play(&short, "--messages 3").load.accepted, 3);
}

#[test]
fn a_tarpit_makes_every_reply_late() {
    let both = play("[[fault]]\nat = \"any\"\ndelay = \"20ms-30ms\"\n", "--messages 2");
    for phase in ["ehlo", "mail", "rcpt", "data", "dot"] {
        assert!(both.load.phases_us[phase].p50 >= 20_000, "{phase}: {}", both.load);
    }
}

#[test]
fn a_profile_behaves_like_its_destination() {
    let sink = start("--listen=127.0.0.1:0 --profile flaky", &[]);
    let load = generate(&sink, "--messages 400 --connections 4 --expect 4xx,lost", &[]);
    let report = sink.stop().expect("the sink ends");
    assert_eq!(load.unexpected, 0, "{load}");
    assert!(load.failed > 0 && load.accepted > 200, "{load}");
    assert!(report.messages > load.accepted, "some replies were lost: {load}\n{report}");
    assert_eq!((report.duplicates, report.damaged), (0, 0), "{report}");
}
