//! Tasks and time on the real machine.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use shards::launch;
use shards::reactor::Elapsed;

const PATIENT: Duration = Duration::from_secs(30);
const MOMENT: Duration = Duration::from_millis(5);

#[test]
fn sleepers_wake_in_the_order_of_their_alarms() {
    let order = launch::run(|reactor| async move {
        let order = Rc::new(RefCell::new(Vec::new()));
        // Set in falling order, so that each is earlier than what the ringing task waits for.
        let sleepers: Vec<_> = (1..=5u32)
            .rev()
            .map(|number| {
                let (machine, order) = (reactor.clone(), order.clone());
                reactor.spawn(async move {
                    let (began, delay) = (machine.now(), MOMENT * number);
                    machine.sleep(delay).await;
                    assert!(machine.now().since(began) >= delay);
                    order.borrow_mut().push(number);
                })
            })
            .collect();
        for sleeper in sleepers {
            sleeper.await;
        }
        order.take()
    });
    assert_eq!(order.expect("the ring starts"), [1, 2, 3, 4, 5]);
}

#[test]
fn who_is_in_time_is_not_timed_out() {
    let story = launch::run(|reactor| async move {
        assert_eq!(reactor.timeout(PATIENT, async { 7 }).await, Ok(7));
        assert_eq!(reactor.timeout(Duration::ZERO, async { 7 }).await, Ok(7));
        assert_eq!(reactor.timeout(PATIENT, reactor.sleep(MOMENT)).await, Ok(()));
        assert_eq!(reactor.timeout(MOMENT, reactor.sleep(PATIENT)).await, Err(Elapsed));
        // Long patience is rounded up, never down.
        let (began, patience) = (reactor.now(), Duration::from_secs(1));
        assert_eq!(reactor.timeout(patience, reactor.sleep(PATIENT)).await, Err(Elapsed));
        assert!(reactor.now().since(began) >= patience);
    });
    story.expect("the ring starts");
}

#[test]
fn a_dropped_task_ends_and_a_detached_one_goes_on() {
    let story = launch::run(|reactor| async move {
        let held = Rc::new(());
        let (machine, hold) = (reactor.clone(), held.clone());
        let task = reactor.spawn(async move {
            machine.sleep(PATIENT).await;
            drop(hold);
        });
        reactor.yield_now().await;
        drop(task);
        let (done, finish) = (Rc::new(Cell::new(false)), reactor.clone());
        let detached = done.clone();
        reactor
            .spawn(async move {
                finish.yield_now().await;
                detached.set(true);
            })
            .detach();
        while Rc::strong_count(&held) > 1 || !done.get() {
            reactor.yield_now().await;
        }
    });
    story.expect("the ring starts");
}

#[test]
fn blocking_work_leaves_the_shard_running() {
    let story = launch::run(|reactor| async move {
        let (say, hear) = std::sync::mpsc::channel();
        let work = reactor.blocking(move || hear.recv());
        let saying = async {
            reactor.sleep(MOMENT).await;
            say.send(42).expect("it is listening");
        };
        assert_eq!(futures::join!(work, saying).0, Ok(42));
    });
    story.expect("the ring starts");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the work blocks a thread of the pool")]
fn blocking_work_ends_before_its_executor_does() {
    const JOBS: usize = 10;
    let done = Arc::new(AtomicUsize::new(0));
    let counted = done.clone();
    let story = launch::run(|reactor| async move {
        for _ in 0..JOBS {
            let (working, done) = (reactor.clone(), counted.clone());
            let work = move || {
                std::thread::sleep(MOMENT);
                done.fetch_add(1, Relaxed);
            };
            reactor.spawn(async move { working.blocking(work).await }).detach();
        }
        // Now they are in line, more of them than there are threads.
        reactor.yield_now().await;
    });
    story.expect("the ring starts");
    assert_eq!((done.load(Relaxed), Arc::strong_count(&done)), (JOBS, 1), "nothing is left behind");
}

#[test]
#[should_panic(expected = "on purpose")]
fn a_panic_unwinds_to_who_runs_a_tool() {
    let story = launch::run(|reactor| async move {
        reactor.spawn(async { panic!("on purpose") }).detach();
        reactor.sleep(PATIENT).await;
    });
    story.expect("the ring starts");
}
