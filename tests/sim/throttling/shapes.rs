//! Providers of the kinds that the large ones are: whatever each counts and however it says so, from the third hour on nearly
//! all that it allows is sent, and so it is two hours after a block.

use std::net::IpAddr;
use std::time::Duration;

use super::{HOUR, ONE_SOURCE, World};
use crate::provider::{self, Allows, Provider};
use crate::seeds;

/// Runs of each shape: they take long.
const RUNS: u64 = 1;
/// What is sent of all that is allowed, at least.
const SHARE_MIN: f64 = 0.9;

/// Seven hours with a provider: it blocks us in between.
fn nearly_all_is_sent(seed: u64, provider: &provider::Shared, recipients: usize) {
    let of_message = provider.borrow().recipients_max.min(recipients) as f64 / recipients as f64;
    let messages = (provider.borrow().rate() * of_message * 7.0 * HOUR.as_secs_f64()) as u32;
    let world = World::with_recipients(seed, provider.clone(), (messages, recipients), ONE_SOURCE);
    world.simulation.run_for(2 * HOUR);
    let converged = world.now();
    world.simulation.run_for(HOUR);
    assert!(world.share(converged) >= SHARE_MIN, "after two hours: {}", world.share(converged));
    provider.borrow_mut().blocks = Some(IpAddr::from([10, 77, 0, 1]));
    world.simulation.run_for(HOUR);
    provider.borrow_mut().blocks = None;
    world.simulation.run_for(2 * HOUR);
    let recovered = world.now();
    world.simulation.run_for(HOUR);
    assert!(world.share(recovered) >= SHARE_MIN, "two hours after a block: {}", world.share(recovered));
    world.check_limits();
}

#[test]
fn one_with_so_many_connections_and_messages_on_each() {
    seeds::usually(RUNS, |seed| {
        let provider = Provider::that(Allows::Evenly { rate: 1e9, saved_max: 1e9 }, 4);
        provider.borrow_mut().messages_per_connection_max = 12;
        provider.borrow_mut().looks_for = Duration::from_secs(30);
        nearly_all_is_sent(seed, &provider, 1);
    });
}

#[test]
fn one_with_so_many_messages_an_hour() {
    seeds::usually(RUNS, |seed| {
        nearly_all_is_sent(seed, &Provider::that(Allows::Hourly(400.0), 10), 1);
    });
}

#[test]
fn one_that_trusts_whoever_sends_little() {
    seeds::usually(RUNS, |seed| {
        nearly_all_is_sent(seed, &Provider::that(Allows::WhileTrusted(0.4), 10), 1);
    });
}

#[test]
fn one_with_so_many_recipients_of_a_message() {
    seeds::usually(RUNS, |seed| {
        let provider = Provider::new(0.2, 6.0, 4);
        provider.borrow_mut().recipients_max = 5;
        nearly_all_is_sent(seed, &provider, 10);
    });
}
