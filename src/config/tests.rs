//! The reference configuration as it is, and every kind of mistake with its line.

mod reference;
mod told;

use std::path::Path;
use std::time::Duration;

use super::*;

/// The smallest good configuration; nine lines.
const SMALLEST: &str = "\
[server]
hostname = \"mta.example.org\"
data_dir = \"data\"

[[listener]]
kind = \"relay\"
address = \"127.0.0.1:2525\"
tls = \"off\"
networks = [\"127.0.0.0/8\"]
";
const SMALLEST_LINES: usize = 9;

fn parse(text: &str) -> Result<Config, Vec<Mistake>> {
    Config::parse(text, Path::new("/etc/ringpost"))
}

#[test]
fn the_reference_is_accepted_as_it_is() {
    let config = parse(REFERENCE).expect("the reference configuration is good");
    assert_eq!(&*config.hostname, "mta.ringpost.test");
    assert_eq!(config.data_dir, Path::new("/etc/ringpost/data"));
    assert!(config.shards >= 1);
    let tls = config.tls.expect("[tls]");
    assert_eq!(tls.private_key, Path::new("/etc/ringpost/server.key"));
    let kinds: Vec<_> = config.listeners.iter().map(|listener| (listener.kind, listener.tls)).collect();
    assert_eq!(
        kinds,
        [
            (ListenerKind::Submission, ListenerTls::Implicit),
            (ListenerKind::Submission, ListenerTls::StartTls),
            (ListenerKind::Relay, ListenerTls::Optional)
        ]
    );
    let account = &config.accounts[0];
    assert_eq!((&*account.name, account.smtp, account.daily_limit), ("user@accept.test", true, None));
    assert_eq!(account.senders, ["user@accept.test".into(), "@bulk.accept.test".into()]);
    assert_eq!(account.notify, Notices { failed: true, delayed: true, delivered: false });
    assert_eq!(config.dns_servers, ["127.0.0.1:53".parse().expect("an address")]);
    assert_eq!((config.routes[0].host.as_deref(), config.routes[0].port), (Some("127.0.0.1"), 2526));
    assert_eq!(config.retry.schedule.len(), 10);
    assert_eq!(config.retry.lifetime, Duration::from_secs(5 * 86_400));
    assert_eq!(config.retention.content, Duration::from_secs(30 * 86_400));
    assert_eq!(config.limits.message_bytes_max, 50 << 20);
    let screening = &config.screening;
    assert!(screening.clamav.is_none() && screening.rspamd.is_none() && screening.block_lists.is_none());
    assert_eq!(&*config.http.expect("[http]").token_file.path, Path::new("/etc/ringpost/http.token"));
}

#[test]
fn a_schedule_that_is_faster_than_a_reasons_own_takes_its_place() {
    let seconds = Duration::from_secs;
    let config = parse(&format!("{SMALLEST}[retry]\nschedule = [\"1s\", \"10m\"]\n")).expect("it is good");
    assert_eq!(config.retry.greylist, [seconds(300), seconds(300), seconds(600)]);
    assert_eq!(config.retry.mailbox_full, config.retry.schedule);
    assert_eq!(config.retry.block_pause, seconds(3_600));
    let config =
        parse(&format!("{SMALLEST}[retry]\nschedule = [\"1s\"]\nmailbox_full = [\"1d\"]\n")).expect("it is good");
    assert_eq!((config.retry.greylist, config.retry.rate_pause), (vec![seconds(1)], vec![seconds(1)]));
    assert_eq!(config.retry.mailbox_full, [seconds(86_400)]);
}

#[test]
fn what_is_absent_has_the_defaults_of_the_reference() {
    let config = parse(SMALLEST).expect("the smallest configuration is good");
    let reference = parse(REFERENCE).expect("the reference configuration is good");
    assert!(config.tls.is_none() && config.http.is_none() && config.routes.is_empty() && config.accounts.is_empty());
    assert!(config.dns_servers.is_empty());
    assert_eq!(config.delivery.port, reference.delivery.port);
    assert_eq!(config.delivery.connections_max, reference.delivery.connections_max);
    assert_eq!(config.delivery.messages_per_connection_max, reference.delivery.messages_per_connection_max);
    assert_eq!(config.delivery.idle_timeout, reference.delivery.idle_timeout);
    assert_eq!(config.delivery.connect_timeout, reference.delivery.connect_timeout);
    assert_eq!(config.delivery.reply_timeout, reference.delivery.reply_timeout);
    assert_eq!(config.delivery.final_dot_timeout, reference.delivery.final_dot_timeout);
    assert_eq!(config.delivery.uncertain, Uncertain::Retry);
    let tls =
        |config: &Config| (config.delivery.tls.level, config.delivery.tls.mta_sts, config.delivery.tls.mta_sts_port);
    assert_eq!(tls(&config), tls(&reference));
    assert!(!config.delivery.tls.dane && config.delivery.tls.ca_file.is_none() && config.dns_trust_anchor.is_none());
    assert_eq!(config.retry.schedule, reference.retry.schedule);
    assert_eq!(config.retry.lifetime, reference.retry.lifetime);
    assert_eq!(config.retry.greylist, reference.retry.greylist);
    assert_eq!(config.retry.mailbox_full, reference.retry.mailbox_full);
    assert_eq!(config.retry.block_pause, reference.retry.block_pause);
    assert_eq!(config.retry.rate_pause, reference.retry.rate_pause);
    assert_eq!(config.retry.delay_notice_after, reference.retry.delay_notice_after);
    assert_eq!(config.retention.content, reference.retention.content);
    assert_eq!(config.retention.placeholder, reference.retention.placeholder);
    assert_eq!(config.limits.message_bytes_max, reference.limits.message_bytes_max);
    assert_eq!(config.limits.recipients_max, reference.limits.recipients_max);
    assert_eq!(config.limits.connections_per_address_max, reference.limits.connections_per_address_max);
    assert_eq!(config.limits.content_memory_bytes_max, reference.limits.content_memory_bytes_max);
    assert_eq!(config.log, reference.log);
}

fn shown_screening() -> String {
    shown("# [screening]", "[log]")
}

/// What the reference shows behind `#` from one place to another, without the `#`.
fn shown(from: &str, to: &str) -> String {
    let begin = REFERENCE.find(from).expect("it is shown");
    let end = REFERENCE.find(to).expect("it follows");
    REFERENCE[begin..end].lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_webhook_that_the_reference_shows_has_the_defaults() {
    let account = shown("[[account]]", "[dns]");
    let shown = parse(&format!("{SMALLEST}{account}\n{}", shown("# [[webhook]]", "# [screening]"))).expect("good");
    let required =
        "[[webhook]]\nname = \"crm\"\nurl = \"https://hooks.example.org/mail\"\nsecret_file = \"crm.secret\"\n";
    let given = parse(&format!("{SMALLEST}{required}")).expect("good").webhooks.remove(0);
    let shown = shown.webhooks[0].clone();
    assert_eq!(shown.accounts.as_deref(), Some(&["user@accept.test".into()][..]));
    assert_eq!(shown.ca_file.as_ref().map(|file| &*file.path), Some(Path::new("/etc/ringpost/ca.pem")));
    let secret_file = NamedFile { line: given.secret_file.line, ..shown.secret_file };
    assert_eq!(Webhook { accounts: None, ca_file: None, secret_file, ..shown }, given);
}

#[test]
fn the_return_path_that_the_reference_shows_has_the_defaults() {
    let bounce = "[[listener]]\nkind = \"bounce\"\naddress = \"127.0.0.1:25\"\ntls = \"off\"\n";
    let shown = parse(&format!("{SMALLEST}{bounce}{}", shown("# [return_path]", "# [[webhook]]"))).expect("good");
    let shown = shown.return_path.expect("it is there");
    let given = parse(&format!("{SMALLEST}{bounce}[return_path]\ndomain = \"bounces.accept.test\"\n")).expect("good");
    let given = given.return_path.expect("it is there");
    assert_eq!(&*given.key_file.path, Path::new("/etc/ringpost/data/return_path.key"));
    assert_eq!((&*shown.domain, shown.valid_days), (&*given.domain, given.valid_days));
    assert_eq!((shown.feedback, given.feedback), (vec!["fbl".into()], vec![]));
}

#[test]
fn the_screening_that_the_reference_shows_is_accepted() {
    use super::screening::{OnFailure, ScannerAddress, Treatment};
    let screening = parse(&format!("{SMALLEST}{}", shown_screening())).expect("good").screening;
    assert_eq!(screening.listeners, [ListenerKind::Submission]);
    let clamav = screening.clamav.expect("[screening.clamav]");
    assert_eq!(clamav.address, ScannerAddress::Unix("/run/clamav/clamd.ctl".into()));
    assert_eq!((clamav.on_failure, clamav.message_bytes_max), (OnFailure::Defer, Some(25 << 20)));
    let rspamd = screening.rspamd.expect("[screening.rspamd]");
    assert_eq!(rspamd.scanner.address, ScannerAddress::Tcp("127.0.0.1".into(), 11333));
    assert_eq!(rspamd.password_file.as_ref().map(|file| &*file.path), Some(Path::new("/etc/ringpost/rspamd.password")));
    assert_eq!((rspamd.actions.greylist, rspamd.actions.add_header), (Treatment::Defer, Treatment::Mark));
    let lists = screening.block_lists.expect("[screening.block_lists]");
    assert_eq!((lists.zones.len(), lists.private_addresses), (2, false));
}

#[test]
fn the_screening_that_the_reference_shows_has_the_defaults() {
    let smallest = "[screening.clamav]\naddress = \"unix:/run/clamav/clamd.ctl\"\n\
                    [screening.rspamd]\nurl = \"http://127.0.0.1:11333\"\n\
                    [screening.block_lists]\nzones = [\"bl.example.org\"]\n";
    let given = parse(&format!("{SMALLEST}{smallest}")).expect("good").screening;
    let shown = parse(&format!("{SMALLEST}{}", shown_screening())).expect("good").screening;
    let (given_clamav, shown_clamav) = (given.clamav.expect("given"), shown.clamav.expect("shown"));
    assert_eq!(super::screening::Scanner { message_bytes_max: None, ..shown_clamav }, given_clamav);
    let (given_rspamd, shown_rspamd) = (given.rspamd.expect("given"), shown.rspamd.expect("shown"));
    assert_eq!(
        (given_rspamd.actions, given_rspamd.scanner.timeout),
        (shown_rspamd.actions, shown_rspamd.scanner.timeout)
    );
    let (given_lists, shown_lists) = (given.block_lists.expect("given"), shown.block_lists.expect("shown"));
    assert_eq!((given_lists.timeout, given_lists.on_failure), (shown_lists.timeout, shown_lists.on_failure));
    assert_eq!(given.listeners, shown.listeners);
}

#[test]
fn defaults_give_way_to_what_is_set() {
    let config = parse(&format!("{SMALLEST}[limits]\nmessage_bytes_max = \"100MiB\"\n[retry]\nlifetime = \"30s\"\n"))
        .expect("good without the keys that depend on these");
    assert_eq!(config.limits.content_memory_bytes_max, 100 << 20);
    let config = parse(&format!("{SMALLEST}[retention]\nplaceholder = \"1d\"\n")).expect("good");
    assert_eq!(config.retention.content, Duration::from_secs(86_400));
    let config = parse(&format!("{SMALLEST}[retention]\ncontent = \"0s\"\nplaceholder = \"0s\"\n")).expect("good");
    assert_eq!(config.retention.content, Duration::ZERO);
}

/// Each row: what is wrong, lines added to the smallest configuration, the line of the mistake among them, and words
/// that its text must hold.
const ADDED: &[(&str, &str, usize, &str)] = &[
    ("an unknown section", "[listeners]\n", 1, "did you mean `listener`?"),
    (
        "an unknown key",
        "[delivery]\nconections_max = 3\n",
        2,
        "unknown key `conections_max` in [delivery]: did you mean `connections_max`?",
    ),
    (
        "an unknown key like no other",
        "[retry]\ncolour = 3\n",
        2,
        "known are schedule, greylist, mailbox_full, rate_pause, lifetime,",
    ),
    ("a string for a number", "[delivery]\nport = \"25\"\n", 2, "delivery.port: must be a number, not a string"),
    ("a number for a string", "[retry]\nlifetime = 5\n", 2, "must be a string in quotes, not a number"),
    ("a string for a list", "[retry]\nschedule = \"5m\"\n", 2, "must be a list in brackets"),
    ("a number out of range", "[delivery]\n\nport = 70000\n", 3, "between 1 and 65535"),
    ("a negative number", "[limits]\nrecipients_max = -1\n", 2, "between 1 and"),
    ("a bad duration", "[retry]\nlifetime = \"5 days\"\n", 2, "`5 days` is not a duration"),
    ("a bad duration in a list", "[retry]\nschedule = [\n\"5m\",\n\"soon\",\n]\n", 4, "`soon` is not a duration"),
    ("no wait between attempts", "[retry]\nschedule = [\"0s\"]\n", 2, "more than zero"),
    ("no pause", "[retry]\nblock_pause = \"0s\"\n", 2, "retry.block_pause: `0s` must be more than zero"),
    ("an empty list of pauses", "[retry]\nrate_pause = []\n", 2, "retry.rate_pause: the list is empty"),
    ("an empty schedule", "[retry]\nschedule = []\n", 2, "the list is empty"),
    ("a notice after the end", "[retry]\nlifetime = \"30m\"\ndelay_notice_after = \"1h\"\n", 3, "never be sent"),
    ("a bad size", "[limits]\nmessage_bytes_max = \"25M\"\n", 2, "`25M` is not a size"),
    ("a size for no message", "[limits]\nmessage_bytes_max = \"1B\"\n", 2, "between 1KiB and 500MiB"),
    ("memory less than a message", "[limits]\ncontent_memory_bytes_max = \"1MiB\"\n", 2, "would not fit"),
    ("content longer than its message", "[retention]\ncontent = \"2d\"\nplaceholder = \"1d\"\n", 2, "longer than"),
    ("a word that is none of them", "[delivery]\nuncertain = \"drop\"\n", 2, "one of \"retry\", \"hold\""),
    ("no wait for a connection", "[delivery]\nconnect_timeout = \"0s\"\n", 2, "more than zero"),
    ("no wait for a reply", "[delivery]\nreply_timeout = \"0s\"\n", 2, "more than zero"),
    ("a wait longer than all replies", "[delivery]\nfinal_dot_timeout = \"2h\"\n", 2, "at most 30m"),
    ("a connection that idles for hours", "[delivery]\nidle_timeout = \"1h\"\n", 2, "at most 5m"),
    ("a connection that takes hours", "[delivery]\nconnect_timeout = \"1h\"\n", 2, "at most 10m"),
    ("a DNS server by name", "[dns]\nservers = [\"localhost\"]\n", 2, "not an address"),
    ("no DNS server", "[dns]\nservers = []\n", 2, "the list is empty"),
    ("a section in double brackets", "[[dns]]\n", 1, "single brackets"),
    ("a list of sections in single brackets", "[route]\ndomains = [\"*\"]\n", 1, "write [[route]]"),
    (
        "a webhook without a secret",
        "[[webhook]]\nname = \"a\"\nurl = \"http://h\"\n",
        1,
        "webhook.secret_file is missing",
    ),
    (
        "a webhook's odd name",
        "[[webhook]]\nname = \"A b\"\nurl = \"http://h\"\nsecret_file = \"s\"\n",
        2,
        "lower-case letters",
    ),
    (
        "a webhook's bad URL",
        "[[webhook]]\nurl = \"hooks.test/mail\"\nname = \"a\"\nsecret_file = \"s\"\n",
        2,
        "begins with https:// or http://",
    ),
    (
        "an unknown event",
        "[[webhook]]\nname = \"a\"\nurl = \"http://h\"\nsecret_file = \"s\"\nevents = [\"returned\"]\n",
        5,
        "one of \"delivered\", \"delayed\"",
    ),
    (
        "a webhook of nobody",
        "[[webhook]]\nname = \"a\"\nurl = \"http://h\"\nsecret_file = \"s\"\naccounts = [\"jo@a.test\"]\n",
        5,
        "no [[account]] named `jo@a.test`",
    ),
    (
        "an authority for nothing",
        "[[webhook]]\nname = \"a\"\nurl = \"http://h\"\nsecret_file = \"s\"\nca_file = \"ca.pem\"\n",
        5,
        "only an https url",
    ),
    (
        "the same webhook twice",
        "[[webhook]]\nname = \"a\"\nurl = \"http://h\"\nsecret_file = \"s\"\n\
         [[webhook]]\nname = \"a\"\nurl = \"http://h\"\nsecret_file = \"s\"\n",
        6,
        "used already in line 11",
    ),
    ("half of [tls]", "[tls]\ncertificate = \"c.pem\"\n", 1, "tls.private_key is missing"),
    ("a source without an address", "[[source]]\nname = \"a\"\n", 1, "source.addresses is missing"),
    ("a source's odd name", "[[source]]\nname = \"a b\"\naddresses = [\"192.0.2.1\"]\n", 2, "is not a name"),
    (
        "two addresses of a family",
        "[[source]]\nname = \"a\"\naddresses = [\"192.0.2.1\",\n\"192.0.2.2\"]\n",
        4,
        "one IPv4 and one IPv6",
    ),
    ("an address of no host", "[[source]]\nname = \"a\"\naddresses = [\"0.0.0.0\"]\n", 3, "address of one host"),
    (
        "a source twice",
        "[[source]]\nname = \"a\"\naddresses = [\"192.0.2.1\"]\n[[source]]\nname = \"a\"\naddresses = [\"192.0.2.2\"]\n",
        5,
        "already, in line 11",
    ),
    ("a pool of nobody", "[[pool]]\nname = \"p\"\n", 1, "pool.sources is missing"),
    (
        "a pool of an unknown source",
        "[[source]]\nname = \"a\"\naddresses = [\"192.0.2.1\"]\n[[pool]]\nname = \"p\"\n\
         sources = [{ source = \"a\" }, { source = \"b\" }]\n",
        6,
        "no [[source]] named `b`",
    ),
    ("an unknown pool", "[delivery]\npool = \"p\"\n", 2, "no [[pool]] or [[source]] named `p`: there is none"),
    (
        "a misspelt pool",
        "[[source]]\nname = \"bulk\"\naddresses = [\"192.0.2.1\"]\n[delivery]\npool = \"bluk\"\n",
        5,
        "named `bluk`: did you mean `bulk`?",
    ),
    (
        "a source that is no table",
        "[[source]]\nname = \"a\"\naddresses = [\"192.0.2.1\"]\n[[pool]]\nname = \"p\"\nsources = [{ source = \"a\" }, \"b\"]\n",
        6,
        "pool.sources: a list of tables, not a string: write [{ … }, { … }]",
    ),
    (
        "a weight of nothing",
        "[[source]]\nname = \"a\"\naddresses = [\"192.0.2.1\"]\n[[pool]]\nname = \"p\"\nsources = [{ source = \"a\", weight = 0 }]\n",
        6,
        "left out of the list",
    ),
    ("a route to nowhere", "[[route]]\ndomains = [\"a.test\"]\n", 1, "route.next_hop is missing"),
    ("a bad route", "[[route]]\ndomains = [\"*.\"]\nnext_hop = \"h\"\n", 2, "is not a domain"),
    ("a bad level of a route", "[[route]]\ndomains = [\"*\"]\nnext_hop = \"h\"\ntls = \"may\"\n", 4, "must be one of"),
    (
        "authorities for nothing",
        "[[route]]\ndomains = [\"*\"]\nnext_hop = \"h\"\nca_file = \"c\"\n",
        4,
        "route.ca_file: only with tls",
    ),
    ("a bad mode", "[delivery.tls]\nmode = \"on\"\n", 2, "delivery.tls.mode: `on` must be one of"),
    ("dane without TLS", "[delivery.tls]\nmode = \"off\"\ndane = true\n", 3, "never used"),
    ("a bad port of policy hosts", "[delivery.tls]\nmta_sts_port = 0\n", 2, "between 1 and 65535"),
    ("a bad next hop", "[[route]]\ndomains = [\"*\"]\nnext_hop = \"h:0\"\n", 3, "is not a next hop"),
    (
        "a route nobody reaches",
        "[[route]]\ndomains = [\"*\"]\nnext_hop = \"h\"\n[[route]]\ndomains = [\"a.test\"]\nnext_hop = \"h\"\n",
        5,
        "line 11 matches first",
    ),
    (
        "the same listener twice",
        "[[listener]]\nkind = \"relay\"\naddress = \"127.0.0.1:2525\"\ntls = \"off\"\nnetworks = [\"::1\"]\n",
        3,
        "used already in line 7",
    ),
    (
        "a relay for everybody",
        "[[listener]]\nkind = \"relay\"\naddress = \"127.0.0.1:26\"\ntls = \"off\"\n",
        1,
        "must say who may use it",
    ),
    (
        "a relay for an empty list",
        "[[listener]]\nkind = \"relay\"\naddress = \"127.0.0.1:26\"\ntls = \"off\"\nnetworks = []\n",
        5,
        "the list is empty",
    ),
    (
        "a bad network",
        "[[listener]]\nkind = \"relay\"\naddress = \"127.0.0.1:26\"\ntls = \"off\"\nnetworks = [\"127.0.0.1/8\"]\n",
        5,
        "write 127.0.0.0/8",
    ),
    (
        "a bad address",
        "[[listener]]\nkind = \"relay\"\naddress = \"localhost:26\"\ntls = \"off\"\nnetworks = [\"::1\"]\n",
        3,
        "a number, not a name",
    ),
    (
        "TLS without a certificate",
        "[[listener]]\nkind = \"submission\"\naddress = \"127.0.0.1:26\"\ntls = \"starttls\"\n",
        4,
        "[tls]",
    ),
    (
        "submission without TLS",
        "[[listener]]\nkind = \"submission\"\naddress = \"127.0.0.1:26\"\ntls = \"off\"\n",
        4,
        "submission needs TLS",
    ),
    (
        "a free port for several shards",
        "[[listener]]\nkind = \"relay\"\naddress = \"127.0.0.1:0\"\ntls = \"off\"\nnetworks = [\"::1\"]\n",
        3,
        "shards = 1",
    ),
    (
        "HTTP on a listener's address",
        "[http]\naddress = \"127.0.0.1:2525\"\ntoken_file = \"t\"\n",
        2,
        "a listener's already, in line 7",
    ),
    ("HTTP without a token", "[http]\naddress = \"127.0.0.1:80\"\n", 1, "http.token_file is missing"),
    (
        "a plain password",
        "[[account]]\nname = \"a\"\npassword = \"secret\"\nsenders = [\"a@b\"]\n",
        3,
        "ringpost account hash",
    ),
    (
        "another algorithm's password",
        "[[account]]\nname = \"a\"\npassword = \"$argon2i$v=19$m=16,t=2,p=1$c29tZXNhbHQ$SqlVijFGiPG+935vDSGEsA\"\nsenders = [\"a@b\"]\n",
        3,
        "argon2id",
    ),
    (
        "a password without its hash",
        "[[account]]\nname = \"a\"\npassword = \"$argon2id$v=19$m=16,t=2,p=1$c29tZXNhbHQ\"\nsenders = [\"a@b\"]\n",
        3,
        "argon2id",
    ),
    (
        "a bad sender",
        "[[account]]\nname = \"a\"\npassword = \"$argon2id$...\"\nsenders = [\"a@b\", \"b\"]\n",
        4,
        "`b` is not an address",
    ),
    ("no sender", "[[account]]\nname = \"a\"\npassword = \"$argon2id$...\"\nsenders = []\n", 4, "the list is empty"),
    (
        "a bad notice",
        "[[account]]\nname = \"a\"\npassword = \"$argon2id$...\"\nsenders = [\"a@b\"]\nnotify = [\"sent\"]\n",
        5,
        "one of \"failed\"",
    ),
    (
        "an account twice",
        "[[account]]\nname = \"a\"\npassword = \"$argon2id$...\"\nsenders = [\"a@b\"]\n[[account]]\nname = \"A\"\npassword = \"$argon2id$...\"\nsenders = [\"a@b\"]\n",
        6,
        "exists already, in line 11",
    ),
    ("an unknown scanner", "[screening.clamd]\n", 1, "unknown key `clamd` in [screening]: did you mean `clamav`?"),
    ("a scanner without an address", "[screening.clamav]\n", 1, "screening.clamav.address is missing"),
    ("a scanner nowhere", "[screening.clamav]\naddress = \"/run/clamd\"\n", 2, "unix:/path/to/socket"),
    (
        "an rspamd behind TLS",
        "[screening.rspamd]\nurl = \"https://r.test\"\n",
        2,
        "screening.rspamd.url: `https://r.test`",
    ),
    (
        "an action of no kind",
        "[screening.rspamd]\nurl = \"http://r.test\"\n[screening.rspamd.actions]\nreject = \"discard\"\n",
        4,
        "screening.rspamd.actions.reject: `discard` must be one of \"reject\"",
    ),
    (
        "a failure that rejects",
        "[screening.clamav]\naddress = \"127.0.0.1:3310\"\non_failure = \"reject\"\n",
        3,
        "one of \"defer\", \"accept\"",
    ),
    ("no list", "[screening.block_lists]\nzones = []\n", 2, "the list is empty"),
    ("a list that is none", "[screening.block_lists]\nzones = [\"a b\"]\n", 2, "`a b` is not a domain name"),
    ("screening twice", "[[screening]]\n", 1, "[screening] exists once"),
    ("not TOML", "[retry\n", 1, "not TOML"),
    ("a key twice", "[retry]\nlifetime = \"1d\"\nlifetime = \"2d\"\n", 3, "not TOML: duplicate key at `lifetime`"),
];

#[test]
fn every_kind_of_mistake_is_found_on_its_line() {
    for (what, added, line, words) in ADDED {
        let mistakes = parse(&format!("{SMALLEST}{added}")).expect_err(what);
        let [mistake] = mistakes.as_slice() else { panic!("{what}: one mistake was made, not {mistakes:?}") };
        assert_eq!(mistake.line, SMALLEST_LINES + line, "{what}: {mistake:?}");
        assert!(mistake.text.contains(words), "{what}: {mistake:?}");
    }
}

#[test]
fn what_every_configuration_needs_is_missed() {
    let words =
        |mistakes: Vec<Mistake>| mistakes.into_iter().map(|mistake| mistake.text).collect::<Vec<_>>().join("\n");
    let text = words(parse("").expect_err("nothing is there"));
    assert!(text.contains("[server] is missing") && text.contains("[[listener]] is missing"), "{text}");
    let text = words(parse("[server]\nshards = 0\n[[listener]]\n").expect_err("nearly nothing is there"));
    for key in [
        "server.hostname is missing",
        "server.data_dir is missing",
        "server.shards: must be \"auto\"",
        "listener.kind is missing",
        "listener.address is missing",
        "listener.tls is missing",
    ] {
        assert!(text.contains(key), "{key} in {text}");
    }
    assert!(words(parse("listener = []\n").expect_err("none")).contains("[[listener]] is missing"));
}
