//! What goes wrong, and that it stays where it happened.

use shards::sim::DiskBehaviour;

use super::*;

#[test]
fn a_client_that_vanishes_leaves_nothing() {
    story(
        |_| (),
        |world| async move {
            let mut client = world.greeted(RELAY).await;
            client.begins("a@x.test", "b@y.test").await;
            client.sends(&[b'x'; 100_000]).await;
            world.reactor.sleep(Duration::from_secs(1)).await;
            drop(client);
            world.emptied().await;
            let counts = world.inbound.counts();
            assert_eq!((counts.messages, counts.open), (0, 0));
        },
    );
}

#[test]
fn content_beyond_the_memory_is_refused_for_now() {
    let memory = |config: &mut Config| config.limits.content_memory_bytes_max = 1 << 20;
    story(memory, |world| async move {
        let (mut first, mut second) = (world.greeted(RELAY).await, world.greeted(RELAY).await);
        let block = [&[b'x'; 998][..], b"\r\n"].concat().repeat(900);
        for client in [&mut first, &mut second] {
            client.begins("a@x.test", "b@y.test").await;
            client.sends(&block).await;
        }
        world.reactor.sleep(Duration::from_secs(60)).await;
        first.sends(b"\r\n.\r\n").await;
        second.sends(b"\r\n.\r\n").await;
        let mut codes = [first.reply().await, second.reply().await].map(|reply| reply[..9].to_owned());
        codes.sort();
        assert_eq!(codes, ["250 2.6.0", "452 4.3.1"]);
        for mut client in [first, second] {
            client.begins("a@x.test", "b@y.test").await;
            client.says("Subject: small\r\n.", "250 2.6.0").await;
        }
    });
}

#[test]
fn a_full_disk_is_said_before_the_content_comes() {
    story(
        |_| (),
        |world| async move {
            let mut client = world.greeted(RELAY).await;
            let full = DiskBehaviour { capacity_bytes: 0, ..DiskBehaviour::default() };
            world.server.set_disk(full);
            let lines = [&[b'x'; 998][..], b"\r\n"].concat().repeat(900);
            let mut taken = 0;
            while client.takes("MAIL FROM:<a@x.test> SIZE=900000", "250", "452 4.3.1").await {
                taken += 1;
                assert!(taken < 1000, "MAIL is never refused");
                client.says("RCPT TO:<b@y.test>", "250").await;
                client.says("DATA", "354").await;
                client.sends(&lines).await;
                client.takes(".", "250 2.6.0", "452 4.3.1").await;
            }
            world.server.set_disk(DiskBehaviour::default());
            world.reactor.sleep(Duration::from_secs(10)).await;
            client.begins("a@x.test", "b@y.test").await;
            client.says("Subject: there is room again\r\n.", "250 2.6.0").await;
        },
    );
}

#[test]
fn who_is_cut_off_hears_why_though_it_sends_on() {
    story(
        |_| (),
        |world| async move {
            let mut client = world.greeted(RELAY).await;
            client.sends(b"GET / HTTP/1.1\r\n").await;
            client.sends(&[b'x'; 200_000]).await;
            client.hears("500 5.5.1").await;
            let began = world.reactor.now();
            client.hears_no_more().await;
            assert!(world.reactor.now().since(began) <= Duration::from_secs(3));
            world.emptied().await;
        },
    );
}

#[test]
fn a_panic_costs_one_conversation() {
    let directory = tempfile::tempdir().expect("a folder");
    let mut config = config([127, 0, 0, 1].into());
    config.data_dir = directory.path().to_path_buf();
    shards::launch::run(|reactor| async move {
        let channel = Channel::new(Style::Logfmt);
        let log = Log::new(&reactor, 0, channel.clone());
        let config = Arc::new(config);
        let queue = Queue::open(&reactor, config.clone(), 0, log.clone()).await.expect("the queue opens");
        let dns = super::screening::lists(&reactor);
        let screening = Screening::new(&reactor, &config.screening, dns.clone(), log.clone());
        let gate = Gate::new(&config, Arc::default());
        let inbound = Inbound::new(
            &reactor,
            config.clone(),
            None,
            Arc::default(),
            Quotas::new(&config),
            None,
            queue,
            screening,
            dns,
            gate,
            no_returns(),
            log.clone(),
        );
        let client: SocketAddr = "192.0.2.1:4711".parse().expect("an address");
        let ticket = inbound.0.admissions.admit(client.ip(), 1).unwrap_or_else(|_| panic!("there is room"));
        inbound.spawn(client, async { panic!("a defect") }, ticket);
        inbound.0.admissions.emptied().await;
        assert_eq!(inbound.counts().panics, 1);
        log.flush();
        let line = channel.try_next().expect("a line");
        assert!(line.contains("event=session_panicked") && line.contains("a defect"), "{line}");
    })
    .expect("an executor");
}
