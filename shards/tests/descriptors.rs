//! Out of descriptors, on the real machine. Alone in its process, whose limit it lowers.

use std::net::Ipv4Addr;
use std::time::Duration;

use shards::{launch, net};
use socket2::{Domain, Socket, Type};

const PATIENT: Duration = Duration::from_secs(30);

/// Sets the soft limit of open files and gives what it was.
fn limit_files(most: libc::rlim_t) -> libc::rlim_t {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read and write no more than the limit, which outlives them.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        let before = std::mem::replace(&mut limit.rlim_cur, most);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
        before
    }
}

#[test]
fn accept_goes_on_when_descriptors_are_free_again() {
    launch::run(|reactor| async move {
        let listener = reactor.listen((Ipv4Addr::LOCALHOST, 0).into()).expect("listens");
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("makes a socket");
        // Every descriptor that is in use now stays; there are no new ones.
        let before = limit_files(3);
        client.connect(&listener.address().into()).expect("the kernel completes it");
        for _ in 0..2 {
            let Err(error) = reactor.timeout(PATIENT, listener.accept()).await.expect("in time") else {
                panic!("none is free")
            };
            assert!(net::exhausted(&error).is_some_and(|remedy| remedy.contains("LimitNOFILE")), "{error}");
        }
        limit_files(before);
        let mut server = reactor.timeout(PATIENT, listener.accept()).await.expect("in time").expect("accepts");
        client.send(b"patience").expect("sends");
        assert_eq!(*server.receive(PATIENT).await.expect("receives"), *b"patience");
    })
    .expect("the ring starts");
}
