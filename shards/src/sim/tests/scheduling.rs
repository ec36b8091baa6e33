//! Tasks, clocks, crashes, reproducibility.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use super::{Log, log};
use crate::Reactor;
use crate::reactor::Elapsed;
use crate::sim::Simulation;

const SECOND: Duration = Duration::from_secs(1);

/// The order in which ten tasks of three steps each run, and the trace.
fn ten_tasks(seed: u64) -> (Vec<(u32, u32)>, u64) {
    let simulation = Simulation::new(seed);
    let node = simulation.node("node");
    let steps: Log<(u32, u32)> = log();
    for task in 0..10 {
        let steps = steps.clone();
        node.spawn(|reactor| async move {
            for step in 0..3 {
                steps.borrow_mut().push((task, step));
                reactor.yield_now().await;
            }
        });
    }
    simulation.run_until("all steps", SECOND, || steps.borrow().len() == 30).expect("tasks run");
    (steps.take(), simulation.trace())
}

#[test]
fn one_seed_is_one_run_and_another_is_another() {
    assert_eq!(ten_tasks(1), ten_tasks(1));
    assert_ne!(ten_tasks(1).0, ten_tasks(2).0);
    assert_ne!(ten_tasks(1).1, ten_tasks(2).1);
}

#[test]
fn sleepers_wake_in_the_order_of_their_deadlines() {
    let simulation = Simulation::new(3);
    let node = simulation.node("node");
    let woken: Log<u64> = log();
    for delay_s in [5, 1, 4, 2, 3] {
        let woken = woken.clone();
        node.spawn(|reactor| async move {
            let before = reactor.now();
            reactor.sleep(Duration::from_secs(delay_s)).await;
            assert!(reactor.now().since(before) >= Duration::from_secs(delay_s));
            woken.borrow_mut().push(delay_s);
        });
    }
    simulation.run_until("all awake", 6 * SECOND, || woken.borrow().len() == 5).expect("all wake");
    assert_eq!(woken.take(), [1, 2, 3, 4, 5]);
}

#[test]
fn both_clocks_jump_over_idle_time_together() {
    let simulation = Simulation::new(4);
    let node = simulation.node("node");
    let (now, wall) = (simulation.now(), simulation.wall());
    simulation.run(&node, |reactor| async move { reactor.sleep(5 * 24 * 3600 * SECOND).await });
    let (passed, passed_wall) = (simulation.now().since(now), simulation.wall().since(wall));
    assert!(passed >= 5 * 24 * 3600 * SECOND && passed < 5 * 24 * 3600 * SECOND + SECOND);
    assert!(passed.abs_diff(passed_wall) < Duration::from_millis(2));
}

#[test]
fn a_timeout_ends_what_takes_longer_and_nothing_else() {
    let simulation = Simulation::new(5);
    let node = simulation.node("node");
    let (quick, slow) = simulation.run(&node, |reactor| async move {
        let quick = reactor.timeout(2 * SECOND, reactor.sleep(SECOND)).await;
        let slow = reactor.timeout(2 * SECOND, reactor.sleep(3 * SECOND)).await;
        (quick, slow)
    });
    assert_eq!((quick, slow), (Ok(()), Err(Elapsed)));
}

#[test]
fn a_dropped_task_is_cancelled_and_a_detached_one_is_not() {
    let simulation = Simulation::new(6);
    let node = simulation.node("node");
    let done: Log<&str> = log();
    let later = |reactor: Reactor, name: &'static str| {
        let done = done.clone();
        async move {
            reactor.sleep(SECOND).await;
            done.borrow_mut().push(name);
        }
    };
    let reactor = node.reactor();
    drop(reactor.spawn(later(reactor.clone(), "dropped")));
    reactor.spawn(later(reactor.clone(), "detached")).detach();
    let joined = reactor.spawn(later(reactor.clone(), "joined"));
    simulation.run(&node, |_| joined);
    simulation.run_for(SECOND);
    let mut done = done.take();
    done.sort_unstable();
    assert_eq!(done, ["detached", "joined"]);
}

#[test]
fn blocking_work_is_done_even_if_nobody_waits() {
    let simulation = Simulation::new(7);
    let node = simulation.node("node");
    let (told, heard) = std::sync::mpsc::channel();
    simulation.run(&node, |reactor| async move {
        let work = reactor.blocking(move || told.send(42));
        let _gave_up = reactor.timeout(Duration::ZERO, work).await;
        reactor.sleep(SECOND).await;
    });
    assert_eq!(heard.try_recv(), Ok(42));
}

#[test]
fn a_crash_drops_every_task_of_its_node_and_of_no_other() {
    struct Dropped(Rc<Cell<u32>>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let simulation = Simulation::new(8);
    let (a, b) = (simulation.node("a"), simulation.node("b"));
    let count = Rc::new(Cell::new(0));
    for node in [&a, &a, &b] {
        let held = Dropped(count.clone());
        node.spawn(|reactor| async move {
            let _held = held;
            reactor.sleep(100 * SECOND).await;
        });
    }
    simulation.run_for(SECOND);
    a.crash();
    assert_eq!(count.get(), 2);
    // It starts again with what is spawned from now on.
    simulation.run(&a, |reactor| async move { reactor.sleep(SECOND).await });
    drop(simulation);
    assert_eq!(count.get(), 3);
}

#[test]
fn a_task_may_crash_its_own_node() {
    let simulation = Simulation::new(9);
    let node = simulation.node("node");
    let doomed = node.clone();
    let survived = Rc::new(Cell::new(false));
    let flag = survived.clone();
    node.spawn(|reactor| async move {
        doomed.crash();
        reactor.yield_now().await;
        flag.set(true);
    });
    simulation.run_for(SECOND);
    assert!(!survived.get());
}

#[test]
fn a_broken_invariant_a_caught_panic_and_a_livelock_end_the_run() {
    let fails = |set_up: &dyn Fn(&Simulation)| {
        let simulation = Simulation::new(10);
        set_up(&simulation);
        catch_unwind(AssertUnwindSafe(|| simulation.run_for(SECOND))).is_err()
    };
    assert!(!fails(&|_| ()));
    assert!(fails(&|simulation| simulation.at_every_tick(|| Err("broken".into()))));
    assert!(fails(&|simulation| {
        simulation.node("node").spawn(|_| async {
            let _caught = catch_unwind(|| panic!("caught by the program"));
        });
    }));
    assert!(fails(&|simulation| {
        simulation.set_ticks_max(1000);
        simulation.node("node").spawn(|reactor| async move {
            loop {
                reactor.yield_now().await;
            }
        });
    }));
}
